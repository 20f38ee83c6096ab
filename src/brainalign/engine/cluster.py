"""Engines on a Dask cluster: workers on this machine, behind an address, or as SLURM jobs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from brainalign.engine.costs import Cost
from brainalign.engine.tasks import Task, fingerprint, perform, unpack
from brainalign.errors import EngineError, MissingExtraError

#: How long to wait for a scheduler, and for the first worker behind an address (s).
PATIENCE_S = 60
#: What keeps libraries from starting threads of their own, before they are loaded.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
#: A job of one worker, where dask's configuration says nothing else.
SLURM_JOB = {"cores": 1, "processes": 1, "memory": "4 GiB"}


class DaskWorkers:
    """Workers of a Dask scheduler.

    Parameters
    ----------
    client : distributed.Client
        Connected.
    close : callable
        Ends what was started for it.
    expected : mapping of str to str
        What the workers must have installed; nothing where they run from the same files.
    """

    here = False

    def __init__(self, client: Any, close: Callable[[], None], expected: Mapping[str, str]) -> None:
        self._client, self._close, self._expected = client, close, expected

    @property
    def n_workers(self) -> int:
        """How many there are now; more may come."""
        return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    @property
    def dashboard(self) -> str:
        """Address of the page that shows what the workers do."""
        return str(self._client.dashboard_link)

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Any, Cost]]:
        """Perform tasks on the workers.

        Dask gives the tasks of a worker that is gone to another one; a task that has ended four workers is an error.

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
            If a task ends its workers, or the scheduler is gone.
        """
        sent: dict[int, Any] = {}
        waiting = iter(enumerate(tasks))
        under_way: dict[Any, int] = {}
        done = _dask().as_completed(loop=self._client.loop)

        def submit() -> None:
            for i, task in waiting:
                small = Task(task.name, task.function, task.own)
                given = {name: self._send(value, sent) for name, value in task.given.items()}
                future = self._client.submit(perform, small, given, self._expected, pure=False)
                under_way[future] = i
                done.add(future)
                return

        try:
            # A window, so that neither the tasks nor what they give pile up.
            for _ in range(2 * self.n_workers + 2):
                submit()
            for future in done:
                i = under_way.pop(future)
                found = self._result(future, tasks[i])
                future.release()
                submit()
                yield i, *unpack(tasks[i], found)
        finally:
            for future in under_way:
                future.cancel()

    def _send(self, value: Any, sent: dict[int, Any]) -> Any:
        """Send a large argument once; as a task, so that Dask sends it anew when the worker that holds it is lost."""
        if isinstance(value, Mapping):
            return {name: self._send(part, sent) for name, part in value.items()}
        if id(value) not in sent:
            import dask

            with dask.config.set({"distributed.admin.large-graph-warning-threshold": "100 GiB"}):
                # The value is kept beside the future, so that its id stays its own.
                sent[id(value)] = (self._client.submit(_as_it_is, value, pure=False), value)
        return sent[id(value)][0]

    def _result(self, future: Any, task: Task) -> Any:
        from concurrent.futures import CancelledError

        from distributed import KilledWorker
        from distributed.comm.core import CommClosedError

        try:
            return future.result()
        except KilledWorker as why:
            raise EngineError(
                f"{task.name}: {why.allowed_failures + 1} workers that computed it were lost, as happens when memory "
                f"runs out; give the workers more memory"
            ) from why
        except (CancelledError, CommClosedError, TimeoutError, OSError) as why:
            raise EngineError(f"{task.name}: the Dask scheduler is gone ({type(why).__name__})") from why
        except ModuleNotFoundError as why:
            raise EngineError(f"{task.name}: on a worker, {why}; install the same on all machines") from why

    def close(self) -> None:
        """Leave the scheduler, and end what was started for it."""
        self._close()


def _dask() -> Any:
    """Return ``distributed``, whose functions carry few types."""
    try:
        return import_module("distributed")
    except ImportError as why:
        raise MissingExtraError(str(why.name), "cluster") from why


def _as_it_is(value: Any) -> Any:
    return value


def connect(cluster: str, jobs: int) -> DaskWorkers:
    """Start a Dask cluster, or connect with one.

    Parameters
    ----------
    cluster : str
        ``"local"``, ``"slurm"`` or the address of a scheduler.
    jobs : int
        Workers to start; not for an address.

    Returns
    -------
    DaskWorkers
        Ready.

    Raises
    ------
    EngineError
        If there is no such cluster.
    MissingExtraError
        If Dask is not installed.
    """
    _dask()
    if cluster == "local":
        return _local(jobs)
    if cluster == "slurm":
        return _slurm(jobs)
    if "://" not in cluster:
        raise EngineError(f"cluster is {cluster!r}, expected 'local', 'slurm' or an address such as 'tcp://host:8786'")
    return _at(cluster)


def _local(jobs: int) -> DaskWorkers:
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)  # workers inherit it
    try:
        own = _dask().LocalCluster(
            n_workers=jobs, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", silence_logs=40
        )
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return _started(_dask().Client(own), own, {})


def _started(client: Any, own: Any, expected: Mapping[str, str]) -> DaskWorkers:
    def close() -> None:
        client.close()
        own.close()

    return DaskWorkers(client, close, expected)


def _at(address: str) -> DaskWorkers:
    try:
        client = _dask().Client(address, timeout=PATIENCE_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as why:
        raise EngineError(f"no Dask scheduler answers at {address}: {why}") from why
    try:
        client.wait_for_workers(1, timeout=PATIENCE_S)
    except TimeoutError as why:
        client.close()
        raise EngineError(f"the scheduler at {address} has no worker; start one: dask worker {address}") from why
    return DaskWorkers(client, client.close, fingerprint())


def _slurm(jobs: int) -> DaskWorkers:
    if shutil.which("sbatch") is None:
        raise EngineError("cluster is 'slurm', but there is no command sbatch here; run this where jobs are sent from")
    try:
        import dask
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError as why:
        raise MissingExtraError(str(why.name), "cluster") from why
    said = dask.config.get("jobqueue.slurm", {})
    job: dict[str, Any] = {name: value for name, value in SLURM_JOB.items() if said.get(name) is None}
    prologue = [*(said.get("job-script-prologue") or []), *(f"export {n}={v}" for n, v in ONE_THREAD.items())]
    own: Any = SLURMCluster(**job, job_script_prologue=prologue)
    # By jobs, not workers: a job may hold several processes.
    own.scale(n=jobs)
    return _started(_dask().Client(own), own, fingerprint())
