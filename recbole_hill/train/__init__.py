"""Training: epochs, stages, resuming, and the results that one run takes over from another."""
