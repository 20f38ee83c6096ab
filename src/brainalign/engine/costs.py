"""What tasks cost: the table ``costs.csv`` of a results folder, which is ``Run.costs`` in Python.

One row per task, extractions first, measures in the order of the recipe after them. Columns:

* ``task``: ``"extraction"`` (a model hears a stimulus set) or ``"measure"``;
* ``model``: name of the model, as in ``results.csv``; of a measure that takes several models at once (or none), empty;
* ``measure``: name of the measure in ``results.csv``; empty for an extraction;
* ``brain``: name of the brain data; empty if there are none;
* ``stimulus_set``: name of the sounds that an extraction heard; empty for a measure;
* ``seconds``: wall time (s), summed over the shards of an extraction, so it does not fall with the number of workers;
* ``cpu_s``: processor time (s) of the process that computed it, all threads;
* ``peak_mb``: by how much the process's high-water mark of resident memory grew meanwhile (MB, 10^6 bytes). Empty where
  it did not grow, as an earlier task of the same process had needed as much or more, and where no system tells;
* ``from_store``: whether nothing was computed in this run. Time and memory are then those of the run that did;
* ``n_parameters``: parameters of the model; empty if it has none to count (acoustic models) and for measures.

Costs differ from run to run; they stand apart from ``results.csv``, which does not.
"""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: Columns of the table of costs, in this order.
COST_COLUMNS = (
    "task", "model", "measure", "brain", "stimulus_set", "seconds", "cpu_s", "peak_mb", "from_store", "n_parameters",
)  # fmt: skip


@dataclass
class Cost:
    """What a task took.

    Attributes
    ----------
    seconds : float
        Wall time (s).
    cpu_s : float
        Processor time (s) of the process, all threads.
    peak_mb : float
        Growth of the process's high-water mark of resident memory (MB); NaN if it did not grow, which says nothing of
        how much was needed, or if the system does not tell.
    """

    seconds: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = math.nan

    def add(self, other: Cost) -> None:
        """Add what another part of the same task took: times add up, of memory the largest counts."""
        self.seconds += other.seconds
        self.cpu_s += other.cpu_s
        known = [mb for mb in (self.peak_mb, other.peak_mb) if not math.isnan(mb)]
        self.peak_mb = max(known, default=math.nan)


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure what the block takes.

    Yields
    ------
    Cost
        Filled in when the block ends.
    """
    cost = Cost()
    wall, cpu, peak = time.perf_counter(), time.process_time(), _high_water_mb()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - wall
        cost.cpu_s = time.process_time() - cpu
        grown = _high_water_mb() - peak
        cost.peak_mb = grown if grown > 0 else math.nan


def _high_water_mb() -> float:
    # Linux: ru_maxrss of a process begins with what the one that started it had needed, VmHWM does not.
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        status = ""
    if found := re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE):
        return int(found[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # not a POSIX system
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
