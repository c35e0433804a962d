"""MoNN and HSNN (arXiv 2408.06653): models of labelled impressions, their training and search."""
