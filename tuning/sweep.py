#!/usr/bin/env python
"""Sweeps settings: `python tuning/sweep.py --model=BPR ...` is `run_recbole_hill.py sweep ...`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from recbole_hill.cli import main

    sys.exit(main(["sweep", *sys.argv[1:]]))
