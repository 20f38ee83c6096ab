"""Speed of selectivity: all units in one pass, and label permutations beside a loop over scipy.

    OMP_NUM_THREADS=1 python benchmarks/selectivity_speed.py [--units 256] [--clips 15000] [--permutations 1000]

The loop calls ``scipy.stats.ttest_ind(equal_var=False)`` (Welch's t) or ``scipy.stats.mannwhitneyu`` (AUC) for each
unit and permutation. It is timed on some of the pairs, spread over units and permutations, and its time for all of them
is that times their number; its values are compared with those of brainalign. Times are of the processor, in one thread,
so that other work on the machine does not count; elapsed times are given beside.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable

import numpy as np
import scipy
from scipy import stats

from brainalign.measures.selectivity import Index, rank_units, selectivity

INDICES: tuple[Index, ...] = ("welch-t", "kim2024", "plain-sum", "d-prime", "auc")


def welch(x: np.ndarray, y: np.ndarray) -> float:
    return float(stats.ttest_ind(x, y, equal_var=False).statistic)


def area(x: np.ndarray, y: np.ndarray) -> float:
    return float(stats.mannwhitneyu(x, y, method="asymptotic").statistic / (len(x) * len(y)))


def seconds(function: Callable[[], object], repeats: int = 1) -> tuple[float, float]:
    """Return processor time and elapsed time, the least of some timings."""
    times = []
    for _ in range(repeats):
        start = time.process_time(), time.perf_counter()
        function()
        times.append((time.process_time() - start[0], time.perf_counter() - start[1]))
    return min(times)


def everything(values: np.ndarray, target: np.ndarray) -> None:
    """All indices, the ranking, and the response ratio of every unit."""
    for index in INDICES:
        selectivity(values, target, index)
    rank_units(values, target).top()
    values[target].mean(axis=0) / values[~target].mean(axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument("--clips", type=int, default=15_000)
    parser.add_argument("--permutations", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=400, help="pairs of unit and permutation that scipy is timed on")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, 1.0, (args.clips, args.units))
    target = np.arange(args.clips) < round(0.266 * args.clips)
    labels = np.stack([rng.permutation(target) for _ in range(args.permutations)])
    print(
        f"numpy {np.__version__}, scipy {scipy.__version__}, Python {platform.python_version()}, {platform.machine()}, "
        f"{os.environ.get('OMP_NUM_THREADS', 'default')} threads; {args.units} units, {args.clips} clips, "
        f"{args.permutations} permutations"
    )
    used, elapsed = seconds(lambda: everything(values, target), repeats=5)
    print(f"all indices, ranks and ratios, once: {used:.2f} s ({elapsed:.2f} s elapsed)")
    columns = np.ascontiguousarray(values.T)
    units = rng.integers(args.units, size=args.pairs)
    rows = rng.integers(args.permutations, size=args.pairs)
    for index, peer in (("welch-t", welch), ("auc", area)):
        theirs: list[float] = []
        loop, loop_elapsed = seconds(
            lambda peer=peer, theirs=theirs: theirs.extend(
                peer(columns[u, labels[r]], columns[u, ~labels[r]]) for u, r in zip(units, rows, strict=True)
            )
        )
        times = args.units * args.permutations / args.pairs
        own, own_elapsed = seconds(lambda index=index: selectivity(values, labels, index))
        np.testing.assert_allclose(selectivity(values, labels, index)[rows, units], theirs, rtol=1e-9, atol=1e-12)
        print(
            f"{index}: brainalign {own:.2f} s ({own_elapsed:.2f} s elapsed), scipy in a loop {loop * times:.0f} s "
            f"({loop_elapsed * times:.0f} s elapsed; from {args.pairs} pairs): {loop * times / own:.0f} times as fast, "
            f"same numbers"
        )


if __name__ == "__main__":
    main()
