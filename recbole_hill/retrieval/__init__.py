"""Retrievers: exact and beam search under one contract."""
