"""``python -m recbole_hill`` is ``run_recbole_hill.py``, wherever the package lies."""

import sys

from recbole_hill.cli import main

if __name__ == "__main__":
    sys.exit(main())
