"""What every row of the table has: two sides, a cost, a target and an equality check."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch


@dataclass(frozen=True)
class Setting:
    """What the rows are measured on.

    Attributes:
        dataset: A prepared dataset.
        data_path: Folder of it.
        folder: An empty folder for what a run writes.
    """

    dataset: str
    data_path: str
    folder: Path


class Row:
    """One line of the table: ours beside a peer.

    A subclass prepares both sides, does one unit of work of each per call, and compares their
    values. The target is ``at_least`` (how many times the peer's cost ours must fit into) or
    ``at_most`` (ours over the peer's cost); ``limit`` is a bound on our cost itself.
    """

    what = ""
    beside = ""
    unit = "s"
    at_least: ClassVar[float | None] = None
    at_most: ClassVar[float | None] = None
    limit: ClassVar[float | None] = None
    #: False where the check has done a long turn of both sides already.
    warm_up = True

    def __init__(self, setting: Setting):
        self.setting = setting

    def prepare(self) -> None:
        """Loads and builds what both sides need; not measured."""

    def ours(self):
        """Does our unit of work."""
        raise NotImplementedError

    def peer(self):
        """Does the peer's unit of work."""
        raise NotImplementedError

    def check(self) -> str:
        """Says what was compared and the largest difference.

        Raises:
            AssertionError: If the two sides compute something else.
        """
        raise NotImplementedError

    def cost(self, side: Callable) -> float:
        """Returns what one call of a side costs: seconds of the processor, all threads together."""
        started = time.process_time()
        side()
        return time.process_time() - started

    def note(self) -> str:
        """Returns a remark for below the table."""
        return ""


def largest_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Returns the largest difference over the largest expected magnitude."""
    return float((found - expected).abs().max() / expected.abs().max())


def require_close(difference: float, bound: float, what: str) -> str:
    """Returns the check's text.

    Raises:
        AssertionError: If the difference is above the bound.
    """
    if not difference <= bound:
        raise AssertionError(f"{what} differ by {difference:.2g}, accepted is {bound:g}")
    return f"{what}: {difference:.1g}"
