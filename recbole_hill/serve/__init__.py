"""A finished run, loaded to recommend, to explain and to export."""
