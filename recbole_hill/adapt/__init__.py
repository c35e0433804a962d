"""Test-time training: interest rates, <user, node> pairs, fine-tuning on pairs, and controls."""
