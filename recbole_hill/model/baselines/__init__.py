"""The baselines of HILL's Table 3 that RecBole lacks or builds otherwise; one difference per file."""
