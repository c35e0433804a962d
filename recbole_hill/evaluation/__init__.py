"""Evaluation beyond RecBole: index recall and what a search costs."""
