"""Training: epochs, stages, resuming, and what one run takes over from another."""
