"""A task: what is computed apart from all others, here, in a process beside this one, or on another machine."""

from __future__ import annotations

import pickle
import platform
import sys
import traceback
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from brainalign.engine.costs import Cost, measured
from brainalign.engine.sources import digest_files
from brainalign.errors import BrainalignError, EngineError

#: Packages whose versions change numbers.
NUMERIC = ("numpy", "scipy", "scikit-learn", "statsmodels", "pandas", "xarray", "torch", "torchaudio", "soxr")
#: Rooms that no task computes with.
_APART = ("cli", "doctor", "engine", "recipes", "replication", "report", "training")


@dataclass(frozen=True)
class Task:
    """One call of a function.

    Attributes
    ----------
    name : str
        What messages call it.
    function : callable
        What is called. All that it draws at random must come from its arguments.
    own : mapping
        Small arguments.
    given : mapping
        Large ones, which other tasks may have too: each object travels to a worker once.
    """

    name: str
    function: Callable[..., Any]
    own: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)


class Loaded:
    """An argument that a worker loads by itself, once, because it is large or cannot travel.

    Parameters
    ----------
    load : callable
        Takes nothing and gives the value.
    key : str
        Tells values apart.
    here : object
        The value where it is at hand; it does not travel.
    """

    def __init__(self, load: Callable[[], Any], key: str, here: Any = None) -> None:
        self.load, self.key, self.here = load, key, here

    def __getstate__(self) -> dict[str, Any]:
        return {"load": self.load, "key": self.key, "here": None}

    def value(self) -> Any:
        """Return the value."""
        if self.here is not None:
            return self.here
        if self.key not in _LOADED:
            while len(_LOADED) >= _AT_ONCE:
                _LOADED.popitem(last=False)
            _LOADED[self.key] = self.load()
        _LOADED.move_to_end(self.key)
        return _LOADED[self.key]


#: What this process has loaded last; models are large.
_LOADED: OrderedDict[str, Any] = OrderedDict()
_AT_ONCE = 2


@dataclass(frozen=True)
class Done:
    """What a task gave: a value or an error, the warnings on the way, and what it took."""

    value: Any = None
    error: Exception | None = None
    warnings: tuple[tuple[str, type[Warning]], ...] = ()
    cost: Cost = field(default_factory=Cost)


def call(task: Task) -> Any:
    """Call the function of a task.

    Parameters
    ----------
    task : Task
        What to call.

    Returns
    -------
    object
        What it gives.
    """
    arguments = {name: v.value() if isinstance(v, Loaded) else v for name, v in {**task.own, **task.given}.items()}
    return task.function(**arguments)


def perform(task: Task, given: Mapping[str, Any], expected: Mapping[str, str]) -> Done:
    """Perform a task on a worker; errors come back as values, so that none is lost on the way.

    Parameters
    ----------
    task : Task
        Without its large arguments.
    given : mapping
        These.
    expected : mapping
        What :func:`fingerprint` said where the run was started.

    Returns
    -------
    Done
        Value or error.
    """
    differ = [f"{k} {fingerprint().get(k)} instead of {v}" for k, v in expected.items() if fingerprint().get(k) != v]
    if differ:
        place = platform.node()
        message = f"the worker on {place} has {', '.join(differ)}; install the same on all machines"
        return Done(error=EngineError(message))
    error: Exception | None = None
    value = None
    with warnings.catch_warnings(record=True) as caught, one_thread(), measured() as cost:
        warnings.simplefilter("always")
        try:
            value = call(Task(task.name, task.function, task.own, given))
        except Exception as why:
            error = _portable(why)
    said = tuple((str(w.message), w.category) for w in caught if issubclass(w.category, UserWarning))
    return Done(value, error, said, cost)


def _portable(why: Exception) -> Exception:
    """Return the error, or one of the same meaning where it would not survive the way back."""
    where = "".join(traceback.format_exception(why))
    try:
        found = pickle.loads(pickle.dumps(why))
    except Exception:
        found = (
            BrainalignError(str(why))
            if isinstance(why, BrainalignError)
            else RuntimeError(f"{type(why).__name__}: {why}")
        )
    found.add_note(f"on a worker:\n{where}")
    return found  # type: ignore[no-any-return]


def unpack(task: Task, done: Done) -> tuple[Any, Cost]:
    """Return what a task gave and what it took.

    Parameters
    ----------
    task : Task
        Which.
    done : Done
        As :func:`perform` gives it.

    Returns
    -------
    value : object
        What it gave.
    cost : Cost
        What it took.

    Raises
    ------
    Exception
        What the task raised.
    """
    for text, category in done.warnings:
        warnings.warn(f"{task.name}: {text}", category, stacklevel=3)
    if done.error is not None:
        raise done.error
    return done.value, done.cost


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread: sums that several threads share differ in their last digits with the number of threads."""
    # What is imported later would bring threads that nobody has limited.
    import scipy.linalg  # noqa: F401
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    with threadpool_limits(limits=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@cache
def fingerprint() -> dict[str, str]:
    """Return what must be the same on all workers: versions, and the digest of the code that computes.

    Returns
    -------
    dict of str to str
        Names and versions.
    """
    found = {"python": f"{sys.version_info.major}.{sys.version_info.minor}", "brainalign's code": code_digest()}
    for package in NUMERIC:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


@cache
def code_digest() -> str:
    """Return the digest of the sources of brainalign with which tasks compute, whatever rooms only show or steer.

    Returns
    -------
    str
        Hexadecimal.
    """
    root = Path(__file__).parents[1]
    rooms = [p for p in root.iterdir() if p.stem not in _APART and (p.is_dir() or p.suffix == ".py")]
    files = sorted(f for room in rooms for f in (room.rglob("*.py") if room.is_dir() else [room]))
    return digest_files(files, root)
