"""Trials on Ray Tune: which run at once, and which ASHA stops. Only a sweep imports this module."""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from recbole_hill.experiments.ray_session import start_ray
from recbole_hill.experiments.sweep.trial import Trials, run_trial
from recbole_hill.run.files import refuse_link
from recbole_hill.run.ledger import DONE, FAILED, STOPPED


@contextlib.contextmanager
def session(address: str | None, cpus: int) -> Iterator[None]:
    """Joins a Ray cluster, or starts Ray on this machine for the block.

    Args:
        address: The cluster's address; None uses this process's Ray session, or starts one.
        cpus: CPUs of a session that is started here.
    """
    if ray.is_initialized():
        yield
        return
    start_ray(address, cpus, "a sweep")
    try:
        yield
    finally:
        ray.shutdown()


def search(
    trials: Trials,
    pending: list[dict],
    *,
    scheduler,
    jobs: int,
    threads: int,
    on_gpu: bool,
    seconds: float | None,
    on_event: Callable[[int], None],
    on_end: Callable[[dict], None],
) -> None:
    """Runs trials, each in a process of its own.

    Args:
        trials: What all trials share.
        pending: A mapping per trial with ``trial``, ``id`` and ``settings``.
        scheduler: A scheduler of Tune; see :func:`asha`.
        jobs: Trials at once.
        threads: CPU threads of a trial.
        on_gpu: Whether the trials share the session's GPUs.
        seconds: Seconds after which no trial goes on; None for no bound.
        on_event: Called with the number of running trials whenever a trial starts or reports.
        on_end: Called with the record of each trial that ended; a trial that ran out of time has
            not ended.
    """
    gpus = min(1.0, ray.cluster_resources().get("GPU", 0) / jobs) if on_gpu else 0
    # A sweep may be called again right after a kill: it does not go on in the old session's folder.
    storage = trials.folder / "ray"
    refuse_link(storage)
    shutil.rmtree(storage, ignore_errors=True)
    trainable = partial(_trainable, trials=trials, pending=pending, cwd=os.getcwd())
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": threads, "gpu": gpus}),
        param_space={"number": tune.grid_search(list(range(len(pending))))},
        tune_config=tune.TuneConfig(
            scheduler=scheduler,
            max_concurrent_trials=jobs,
            reuse_actors=False,
            time_budget_s=seconds,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(storage),
            callbacks=[_Watch(pending, on_event, on_end)],
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def asha(*, bigger: bool, epochs: int, eval_step: int) -> ASHAScheduler:
    """Returns ASHA on the best validation score so far, in epochs.

    Two thirds of the trials stop at the first rung, two thirds of the rest at three times as many
    epochs.

    Args:
        bigger: Whether a bigger score is better.
        epochs: Epochs of a whole trial; the first rung is at a ninth of them, and after at most 5
            validations.
        eval_step: Epochs between validations.
    """
    grace = eval_step * max(1, min(5, epochs // eval_step // 9))
    return ASHAScheduler(
        time_attr="epochs",
        metric="score",
        mode="max" if bigger else "min",
        grace_period=grace,
        max_t=max(epochs, grace) + 1,  # the last epoch is for the trial to end by itself
        reduction_factor=3,
    )


def all_to_the_end() -> FIFOScheduler:
    """Returns the scheduler that stops no trial."""
    return FIFOScheduler()


def _trainable(config: dict, *, trials: Trials, pending: list[dict], cwd: str) -> None:
    os.chdir(cwd)  # relative paths in the settings start from the sweep's working folder
    try:
        run_trial(trials, pending[config["number"]]["settings"], tune.report)
    except Exception as error:
        logging.getLogger().exception("the trial failed")
        text = str(error).strip().splitlines()
        tune.report({"error": f"{type(error).__name__}: {text[0] if text else ''}"})


class _Watch(tune.Callback):
    """Turns Tune's events into records of the trials that ended."""

    def __init__(self, pending, on_event, on_end):
        self.pending, self.on_event, self.on_end = pending, on_event, on_end
        self.started: dict[str, float] = {}

    def __getstate__(self):
        return {}  # Tune saves its callbacks for a restore, and a sweep never restores one

    def on_trial_start(self, iteration, trials, trial, **info):
        self.started[trial.trial_id] = time.monotonic()
        self.on_event(_running(trials))

    def on_trial_result(self, iteration, trials, trial, result, **info):
        self.on_event(_running(trials))

    def on_trial_complete(self, iteration, trials, trial, **info):
        last = trial.last_result
        if "error" in last:
            self._end(trial, FAILED, last["error"])
        else:
            self._end(trial, DONE if last.get("finished") else STOPPED)
        self.on_event(_running(trials) - 1)  # it still counts as running

    def on_trial_error(self, iteration, trials, trial, **info):
        # A trial reports its own exceptions: here its process died.
        self._end(trial, FAILED, str(trial.get_error()).strip().splitlines()[-1])
        self.on_event(_running(trials))

    def _end(self, trial, status: str, error: str | None = None) -> None:
        last = trial.run_metadata.last_result
        elapsed = time.monotonic() - self.started.get(trial.trial_id, time.monotonic())
        self.on_end(
            {
                **self.pending[trial.config["number"]],
                "status": status,
                "score": last.get("score"),
                "epochs": last.get("epochs", 0),
                "seconds": last.get("seconds", round(elapsed, 2)),
                "error": error,
            }
        )


def _running(trials) -> int:
    return sum(trial.status == "RUNNING" for trial in trials)
