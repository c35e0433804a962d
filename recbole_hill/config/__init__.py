"""Settings: RecBole's Config with our YAML files, their search and their units."""
