"""Test-time training: interest rates, <user, node> pairs, and fine-tuning on them."""
