"""The number of CPU threads of torch and FAISS."""

import torch

from recbole_hill.checks import integer

#: The largest number that is accepted; with far more, the libraries crash.
MOST = 1024


def set_threads(number: int | None) -> None:
    """Sets the number of threads; None leaves the libraries' default.

    Raises:
        ValueError: If it is no whole number from 1 to ``MOST``.
    """
    if number is None:
        return
    if integer("threads", number) > MOST:
        raise ValueError(f"threads must be at most {MOST}, got {number}")
    torch.set_num_threads(number)
