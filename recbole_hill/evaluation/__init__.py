"""Evaluation beyond RecBole's: index recall and the cost of a search."""
