"""The hierarchical index: the value itself and the algorithms that learn it."""
