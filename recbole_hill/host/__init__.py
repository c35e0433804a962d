"""All changes to, and workarounds for, RecBole, PyTorch, pandas, NumPy and the C library."""
