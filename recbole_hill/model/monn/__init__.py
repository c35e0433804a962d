"""Modular Neural Network (HSNN, arXiv 2408.06653, section 2), module by module."""
