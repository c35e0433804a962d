"""``doctor``: check this environment."""

import argparse
import sys

HELP = "check this environment; exit status 1 if the main job cannot run"


def run(arguments: argparse.Namespace) -> int:
    """Prints what was found."""
    from recbole_hill.host import doctor

    return doctor.run(sys.stdout)
