"""Baselines of HILL's Table 3 that RecBole lacks or builds otherwise; a difference per file."""
