"""MoNN's parts: towers, over-arches and their sizes."""
