"""Reports: rows of results as tables."""
