"""The hierarchical index: the value itself and the ways to learn it."""
