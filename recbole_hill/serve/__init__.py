"""A finished run, loaded to recommend, to explain recommendations and to export."""
