"""Retrievers: exact search, beam search and FAISS under one contract."""
