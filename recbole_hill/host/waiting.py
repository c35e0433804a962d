"""Threads that give their core away while they wait, also where torch was imported first."""

import os
import sys

import recbole_hill


def wait_passively() -> None:
    """Keeps OpenMP's threads from spinning at barriers, in a program that imported torch first.

    Threads that spin make an epoch a hundred times slower as soon as another process wants a core.
    ``OMP_WAIT_POLICY`` forbids it, and OpenMP reads the variable once, when torch loads it. After
    that, GNU's OpenMP spins a three-hundredth of the time if there are more threads than cores: so
    torch gets one more. A program that chose another number of threads keeps it.
    """
    if recbole_hill.TORCH_CAME_FIRST and sys.platform == "linux":
        import torch

        cores = len(os.sched_getaffinity(0))
        if torch.get_num_threads() == cores:
            torch.set_num_threads(cores + 1)
