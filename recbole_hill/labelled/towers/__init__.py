"""The parts of MoNN: towers, over-arches and their sizes."""
