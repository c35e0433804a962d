"""What a run is on disk: its folder, its weights, its rows and where they come from."""
