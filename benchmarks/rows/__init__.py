"""The rows of benchmarks/run.py: what is measured beside whom, and what the two must agree in."""

#: Modules of this package in the table's order; each has a list ``ROWS`` of `row.Row` classes.
NAMES = (
    "propagation",
    "lightgcn_epoch",
    "nescl_epoch",
    "table3_steps",
    "evaluation",
    "negatives",
    "bpr_epoch",
    "em_index",
    "em_index_large",
    "test_time_training",
    "memory",
    "loading",
    "imports",
)
