"""Data: LightGCN files, RecBole datasets with fixed splits, and the graph of the train set."""
