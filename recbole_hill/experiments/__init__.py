"""Experiments of many runs: a paper's table as a study, a sweep of settings, both on Ray."""
