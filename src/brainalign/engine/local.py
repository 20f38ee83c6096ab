"""Engines on this machine: this process, or several beside it."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from brainalign.engine.costs import Cost, measured
from brainalign.engine.tasks import Done, Task, call, one_thread, perform, unpack
from brainalign.errors import EngineError

#: A task may end its process so many times before the run gives up; the machine may have been short of memory once.
TRIES = 3


class ThisProcess:
    """One task after the other, here."""

    n_workers = 1
    here = True

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Any, Cost]]:
        """Perform tasks in their order.

        Parameters
        ----------
        tasks : sequence of Task
            What to compute.

        Yields
        ------
        tuple of int, object and Cost
            Position of the task, what it gave, what it took.
        """
        for i, task in enumerate(tasks):
            with one_thread(), measured() as cost:
                value = call(task)
            yield i, value, cost

    def close(self) -> None:
        """Nothing is open."""


class Processes:
    """Several processes on this machine, by joblib's loky; large arrays are mapped, not copied.

    Parameters
    ----------
    n_workers : int
        How many.
    """

    here = False

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Any, Cost]]:
        """Perform tasks side by side.

        When a process is killed (by the system, for want of memory), what was being computed is computed again, alone.

        Parameters
        ----------
        tasks : sequence of Task
            What to compute.

        Yields
        ------
        tuple of int, object and Cost
            Position of the task, what it gave, what it took; in the order in which tasks end.

        Raises
        ------
        EngineError
            If a task ends its process three times.
        """
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        left = dict(enumerate(tasks))
        tries: Counter[int] = Counter()
        with tempfile.TemporaryDirectory(prefix="brainalign-") as marks:
            while left:
                # What was under way when a process ended goes alone, so that it is known which task ends processes.
                alone = [i for i in left if tries[i]]
                try:
                    for i, done in self._pass({i: left[i] for i in (alone or left)}, Path(marks), bool(alone)):
                        yield i, *unpack(left.pop(i), done)
                except TerminatedWorkerError as why:
                    started = {int(p.name) for p in Path(marks).iterdir()} & set(left)
                    for mark in Path(marks).iterdir():
                        mark.unlink()
                    # With none started, a process ended between two tasks; it counts for the next ones.
                    tries.update(started or list(left)[: self.n_workers])
                    worst = max(left, key=lambda i: tries[i])
                    if tries[worst] >= TRIES:
                        raise EngineError(
                            f"{left[worst].name}: the process that computed it was killed {TRIES} times, as the system "
                            f"does when memory runs out; use fewer --jobs, or a machine with more memory"
                        ) from why

    def _pass(self, tasks: Mapping[int, Task], marks: Path, alone: bool) -> Iterator[tuple[int, Done]]:
        from joblib import Parallel, delayed, parallel_config

        with parallel_config(backend="loky", inner_max_num_threads=1):
            work = Parallel(
                # One worker would be this process.
                n_jobs=max(2, self.n_workers),
                pre_dispatch=1 if alone else "2 * n_jobs",
                batch_size=1,
                return_as="generator_unordered",
            )
            yield from work(
                delayed(_marked)(i, Task(t.name, t.function, t.own), t.given, marks) for i, t in tasks.items()
            )

    def close(self) -> None:
        """End the processes."""
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)


def _marked(i: int, task: Task, given: Mapping[str, Any], marks: Path) -> tuple[int, Done]:
    """Leave a mark while the task runs, by which it is found if the process is killed."""
    mark = marks / str(i)
    mark.touch()
    done = perform(task, given, {})  # it runs from the same files
    mark.unlink(missing_ok=True)
    return i, done
