"""Studies: a paper's table as cells that run once each, one after another or on a cluster."""
