"""Bases that several models share: how vectors come about, how they are trained."""
