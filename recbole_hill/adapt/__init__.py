"""Test-time training: interest rates, <user, node> pairs, fine-tuning on them, and controls."""
