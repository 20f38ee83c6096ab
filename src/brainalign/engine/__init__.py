"""Where tasks are computed: in this process, in several, or on a cluster; the numbers are the same to the last bit."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from brainalign.engine.costs import COST_COLUMNS, Cost, measured
from brainalign.engine.local import Processes, ThisProcess
from brainalign.engine.tasks import Loaded, Task, code_digest, fingerprint, one_thread
from brainalign.errors import EngineError

__all__ = [
    "COST_COLUMNS",
    "Cost",
    "Engine",
    "Loaded",
    "Task",
    "code_digest",
    "fingerprint",
    "measured",
    "one_thread",
    "open_engine",
]


class Engine(Protocol):
    """What performs tasks.

    Every task runs in one thread, takes its random draws from its own arguments, and is put in its place by its
    position, so numbers depend neither on the engine nor on which task ends first.

    Attributes
    ----------
    n_workers : int
        How many tasks run at once.
    here : bool
        Whether tasks run in this process.
    """

    @property
    def n_workers(self) -> int: ...  # noqa: D102
    @property
    def here(self) -> bool: ...  # noqa: D102

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Any, Cost]]:
        """Perform tasks and give position, value and cost of each as it ends; an error of a task is raised."""
        ...

    def close(self) -> None:
        """End what the engine has started."""
        ...


@contextmanager
def open_engine(jobs: int = 1, cluster: str | None = None) -> Iterator[Engine]:
    """Start what performs tasks, and end it.

    Parameters
    ----------
    jobs : int
        Tasks at once: processes on this machine, or workers on a cluster. Idle where `cluster` is an address, whose
        workers are what they are.
    cluster : str, optional
        ``"local"`` for Dask workers on this machine, the address of a Dask scheduler (``"tcp://host:8786"``), or
        ``"slurm"``; see docs/cluster.md.

    Yields
    ------
    Engine
        Ready.

    Raises
    ------
    EngineError
        If there is no such cluster.
    MissingExtraError
        If Dask is not installed.
    """
    if jobs < 1:
        raise EngineError(f"jobs must be at least 1, found {jobs}")
    engine: Engine
    if cluster is None:
        engine = ThisProcess() if jobs == 1 else Processes(jobs)
    else:
        from brainalign.engine.cluster import connect

        engine = connect(cluster, jobs)
        print(f"dashboard: {engine.dashboard}", file=sys.stderr)
    try:
        yield engine
    finally:
        engine.close()
