"""Sweeps: settings chosen on validation by Ray Tune, the winner tested once."""
