"""Speed of voxel decomposition beside a plain numpy port of the published algorithm.

    OMP_NUM_THREADS=1 python benchmarks/decomposition_speed.py [--restarts 10] [--seeds 3] [--components components.mat]

The peer is the non-parametric ICA of Norman-Haignere et al. (2015) as its description reads: for each pair of
components and each of 61 angles, rotate the two rows, count a histogram of each, take the entropies. It counts with
np.bincount; ``--np-histogram`` lets it count with np.histogram. Data are the published components times their weights
(165 sounds, 11,065 voxels), or, without the file, a simulation of that size. Times are of the processor, in one thread,
both sides in turn, so that other work on the machine counts little. The two sides may stop at different ones of the
many ends that lie close together, so mean negentropies and correlations with the true profiles are printed, and whether
the peer's search, started from our end, stays there.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np

from brainalign.brain.decomposition import VoxelDecomposition
from brainalign.brain.matching import assign, correlations
from brainalign.brain.nh2015 import load_nh2015_components

ANGLES = np.linspace(-np.pi / 4, np.pi / 4, 61)
Counter = Callable[[np.ndarray, int, float, float], np.ndarray]


def by_bincount(x: np.ndarray, n_cells: int, lower: float, upper: float) -> np.ndarray:
    return np.bincount(((x - lower) / (upper - lower) * n_cells).astype(int), minlength=n_cells)


def by_histogram(x: np.ndarray, n_cells: int, lower: float, upper: float) -> np.ndarray:
    return np.histogram(x, n_cells, (lower, upper))[0]


class PlainPort:
    """The published search, pair by pair, angle by angle, row by row."""

    def __init__(self, count: Counter) -> None:
        self.count = count

    def negentropy(self, x: np.ndarray) -> float:
        n = len(x)
        n_cells = int(np.ceil(np.sqrt(n)))
        low, high = x.min(), x.max()
        spacing = (high - low) / (n - 1)
        lower, upper = low - spacing / 2, high + spacing / 2
        counts = self.count(x, n_cells, lower, upper)
        p = counts[counts > 0] / n
        entropy = -(p * np.log(p)).sum() + np.log((upper - lower) / n_cells) + (n_cells - 1) / (2 * n)
        return float(np.log(np.sqrt(2 * np.pi * np.e)) - entropy)

    def search(self, W: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        pairs = list(combinations(range(len(W)), 2))
        queue = set(pairs)
        while queue:
            following: set[tuple[int, int]] = set()
            for i, j in rng.permutation(sorted(queue)):
                curve = []
                for a in ANGLES:
                    first, second = np.cos(a) * W[i] - np.sin(a) * W[j], np.sin(a) * W[i] + np.cos(a) * W[j]
                    curve.append((self.negentropy(first) + self.negentropy(second)) / 2)
                best = int(np.argmax(curve))
                if best != len(ANGLES) // 2:
                    a = ANGLES[best]
                    W[i], W[j] = np.cos(a) * W[i] - np.sin(a) * W[j], np.sin(a) * W[i] + np.cos(a) * W[j]
                    following |= {pair for pair in pairs if i in pair or j in pair}
            queue = following
        return W

    def fit(self, X: np.ndarray, n_components: int, n_restarts: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return profiles and uncorrelated weights of the best start."""
        Z = X - X.mean(axis=1, keepdims=True)
        V = np.linalg.svd(Z, full_matrices=False)[2][:n_components] * np.sqrt(X.shape[1])
        rng, found = np.random.default_rng(seed), []
        for _ in range(n_restarts):
            W, pairs = V.copy(), list(combinations(range(n_components), 2))
            for i, j in rng.permutation(pairs):
                a = rng.uniform(0, 2 * np.pi)
                W[i], W[j] = np.cos(a) * W[i] - np.sin(a) * W[j], np.sin(a) * W[i] + np.cos(a) * W[j]
            found.append(self.search(W, rng))
        best = max(found, key=lambda W: sum(map(self.negentropy, W)))
        return Z @ np.linalg.pinv(best), best


def simulated(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    R = rng.standard_normal((165, 6)) + 1
    return R, R @ rng.gamma(0.8, size=(6, 11_065))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--components", type=Path, help="components.mat of the public release")
    parser.add_argument("--np-histogram", action="store_true")
    options = parser.parse_args()
    print(f"numpy {np.__version__}, {platform.machine()}, {platform.system()}; {options.restarts} restarts")
    if options.components:
        brain = load_nh2015_components(options.components)
        R = brain.responses.values
        X = R @ brain.arrays["weights"].values
    else:
        R, X = simulated(np.random.default_rng(0))
    plain = PlainPort(by_histogram if options.np_histogram else by_bincount)
    ratios = []
    for seed in range(options.seeds):
        start = time.process_time()
        ours = VoxelDecomposition(6, n_restarts=options.restarts, seed=seed).fit(X)
        own = time.process_time() - start
        start = time.process_time()
        profiles, weights = plain.fit(X, 6, options.restarts, seed)
        theirs = time.process_time() - start
        ratios.append(theirs / own)
        W = ours.weights_.values
        end = (W - W.mean(axis=1, keepdims=True)) / W.std(axis=1, keepdims=True)
        stays = np.array_equal(plain.search(end.copy(), np.random.default_rng(seed)), end)
        reached = np.mean([plain.negentropy(w) for w in end]), np.mean([plain.negentropy(w) for w in weights])
        print(
            f"seed {seed}: brainalign {own:.2f} s, plain port {theirs:.2f} s: {theirs / own:.1f} times as fast; mean "
            f"negentropy {reached[0]:.5f} and {reached[1]:.5f}; the plain search stays at our end: {stays}",
            flush=True,
        )
        for name, found in (("brainalign", ours.profiles_.values), ("plain port", profiles)):
            r = np.abs(correlations(R, found))
            print(f"  {name}, r with the true profiles:", *(f"{r[p]:.4f}" for p in assign(r, "hungarian")))
    print(f"median: {np.median(ratios):.1f} times as fast")


if __name__ == "__main__":
    main()
