"""Converters from published file formats to RecBole's atomic files."""
