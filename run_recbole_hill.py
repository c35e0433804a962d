"""Runs recbole_hill from a checkout: ``python run_recbole_hill.py --help``."""

import sys

from recbole_hill.cli import main

if __name__ == "__main__":
    sys.exit(main())
