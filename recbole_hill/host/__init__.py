"""Every place where we change or work around RecBole, PyTorch, pandas, NumPy and the C library."""
