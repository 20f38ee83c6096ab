"""How far a long computation is: a bar on a terminal and in a notebook, a line now and then in a log."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, Protocol, Self, TextIO, TypeVar

T = TypeVar("T")

#: What takes less long, in s, shows nothing.
QUIET_S = 2.0
#: Seconds between lines of a log; later a tenth of what has passed, so that a run of days gives no thousand lines.
BETWEEN_S = 10.0


class Bar(Protocol):
    """What counts along."""

    def update(self, n: int = 1) -> Any:
        """Count `n` more."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *why: object) -> Any: ...


def progress_bar(what: str, total: int | None, *, unit: str, done: int = 0, show: bool = True) -> Bar:
    """Make a bar, or what writes lines where standard error is no terminal.

    Parameters
    ----------
    what : str
        What is computed, in a word or two.
    total : int or None
        How many there are; None if that is not known.
    unit : str
        What is counted, in the singular.
    done : int
        How many there are from an earlier run.
    show : bool
        False shows nothing.

    Returns
    -------
    Bar
        To be used in a ``with`` block.
    """
    # A notebook is no terminal, and draws its own bar.
    if not show or _draws(sys.stderr) or "ipykernel" in sys.modules:
        from tqdm.auto import tqdm

        bar: Bar = tqdm(total=total, initial=done, desc=what, unit=unit, disable=not show, delay=QUIET_S)
        return bar
    return LogLines(what, total, unit, done)


def track(items: Iterable[T], what: str, *, unit: str, total: int | None = None, show: bool = True) -> Iterator[T]:
    """Yield items, and say how far one is.

    Parameters
    ----------
    items : iterable
        What is worked on.
    what : str
        What is computed, in a word or two.
    unit : str
        What is counted, in the singular.
    total : int, optional
        How many there are, where the items have no length.
    show : bool
        False shows nothing.

    Yields
    ------
    object
        Each item.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_bar(what, total, unit=unit, show=show) as bar:
        for item in items:
            yield item
            bar.update()


def _draws(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


class LogLines:
    """Writes a line now and then: how many of how many, the time that has passed, and the time left.

    Within a ``with`` block a thread sees to it that lines come also while nothing is finished.

    Parameters
    ----------
    what, total, unit, done
        As for :func:`progress_bar`.
    clock : callable
        Gives the time in s.
    """

    def __init__(
        self, what: str, total: int | None, unit: str, done: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.before = self.n = done
        self.clock = clock
        self.start = self.latest = clock()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"progress of {what}", daemon=True)

    def update(self, n: int = 1) -> None:
        """Count `n` more, and write a line if it is time for one.

        Parameters
        ----------
        n : int
            How many.
        """
        with self._lock:
            self.n += n
            self._write_if_due()

    def _watch(self) -> None:
        while not self._over.wait(self._wait_s()):
            with self._lock:
                if not self._over.is_set():
                    self._write_if_due()

    def _wait_s(self) -> float:
        """Return the time until a line is due; not less than a hundredth of the time between lines."""
        now = self.clock()
        return max(self.latest + self._between_s(now) - now, BETWEEN_S / 100)

    def _between_s(self, now: float) -> float:
        return max(BETWEEN_S, (now - self.start) / 10)

    def _write_if_due(self) -> None:
        now = self.clock()
        # The last line of all is written when the block ends.
        if now - self.latest >= self._between_s(now) and self.n != self.total:
            self.latest = now
            self._write(now - self.start)

    def _write(self, passed: float) -> None:
        of = "" if self.total is None else f"/{self.total}"
        many = self.n if self.total is None else self.total
        line = f"{self.what}: {self.n}{of} {self.unit if many == 1 else _plural(self.unit)}, {duration(passed)}"
        new = self.n - self.before
        if self.total is not None and self.n < self.total and new:
            line += f", {duration(passed / new * (self.total - self.n))} left"
        print(line, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *why: object) -> None:
        self._over.set()
        self._thread.join()
        passed = self.clock() - self.start
        if passed >= QUIET_S:
            self._write(passed)


def _plural(unit: str) -> str:
    if unit.endswith("s"):
        return unit
    return f"{unit[:-1]}ies" if unit.endswith("y") else f"{unit}s"


def duration(seconds: float) -> str:
    """Write a duration: ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
