"""Where cells run: side by side on this machine, or on a Ray cluster."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import psutil

from recbole_hill.experiments.ray_session import start_ray
from recbole_hill.experiments.study.plan import Cell
from recbole_hill.experiments.study.run_cell import run_cell

#: How often Ray restarts a cell whose node or worker died.
RETRIES = 3


class LocalWorkers:
    """Processes on this machine.

    Args:
        jobs: Cells side by side.
        threads: CPU threads of a cell.
        memory_mib: Memory that the running cells may declare together; a larger cell runs alone.
            None: nine tenths of the memory that is free now.
    """

    def __init__(self, jobs: int, threads: int, memory_mib: int | None = None):
        self._threads = threads
        self._memory = memory_mib or int((psutil.virtual_memory().available >> 20) * 0.9)
        self._jobs = jobs
        self._pool = ThreadPoolExecutor(jobs)
        self._stop = Event()

    @property
    def slots(self) -> int:
        """Cells that may run side by side."""
        return self._jobs

    def fits(self, memory_mib: int, running_mib: int) -> bool:
        """Returns whether a cell of this size may start beside the running cells."""
        return not running_mib or memory_mib + running_mib <= self._memory

    def submit(self, study: Path, cell: Cell, memory_mib: int) -> Future:
        """Starts a cell; the future's result is the cell's record."""
        return self._pool.submit(
            run_cell,
            study,
            cell,
            threads=self._threads,
            memory_mib=memory_mib,
            stop=self._stop.is_set,
        )

    def stop(self) -> None:
        """Stops the running cells; they go on where they were another time."""
        self._stop.set()

    def close(self) -> None:
        """Waits for the running cells."""
        self._pool.shutdown(wait=True)


class RayWorkers:
    """Tasks on a Ray cluster; all its nodes must see the study's folder and the datasets.

    A cell whose node dies starts again on another node, from the state in its run's folder.

    Args:
        address: The cluster's address; ``local`` starts a cluster here, on loopback and without a
            dashboard.
        jobs: Cells side by side that a local cluster gets CPUs for.
        threads: CPU threads of a cell.
        gpus: GPUs, or the share of one, of a cell.
    """

    def __init__(self, address: str, jobs: int, threads: int, gpus: float = 0.0):
        self._ray = start_ray(address, jobs * threads, "--ray_address")
        self._threads, self._gpus = threads, gpus
        self._tasks: dict[Future, object] = {}

    @property
    def slots(self) -> int:
        """Cells that the cluster, as it is now, has CPUs and GPUs for."""
        have = self._ray.cluster_resources()
        slots = have.get("CPU", 0) / self._threads
        if self._gpus:
            slots = min(slots, have.get("GPU", 0) / self._gpus)
        return max(int(slots), 1)

    def fits(self, memory_mib: int, running_mib: int) -> bool:
        """Returns True: Ray places a cell on a node with the memory that it declares."""
        return True

    def submit(self, study: Path, cell: Cell, memory_mib: int) -> Future:
        """Starts a cell; the future's result is the cell's record."""
        largest = max(node["Resources"].get("memory", 0) for node in self._ray.nodes())
        task = (
            self._ray.remote(run_cell)
            .options(
                num_cpus=self._threads,
                num_gpus=self._gpus,
                memory=int(min(memory_mib << 20, largest)),  # for more it would wait for ever
                max_retries=RETRIES,
            )
            .remote(
                Path(study).absolute(),
                cell,
                threads=self._threads,
                memory_mib=memory_mib,
                working_folder=Path.cwd(),
            )
        )
        future = task.future()
        self._tasks[future] = task
        return future

    def stop(self) -> None:
        """Interrupts the running cells; they go on where they were another time."""
        for future, task in self._tasks.items():
            if not future.done():
                self._ray.cancel(task)

    def close(self) -> None:
        """Leaves the cluster; a cluster that was started here ends."""
        self._ray.shutdown()
