"""Speed of decoding by regions beside himalaya, on the same data in the same run.

    OMP_NUM_THREADS=1 python benchmarks/decoding_speed.py [--rows 3840] [--targets 512] [--regions 50 140 260 420 700]

The work of Denk et al. 2023 (arXiv 2307.11078): in each region ridge regression from its voxels to an embedding, a
penalty for each dimension by five folds, then the fit to all rows and the prediction of 240 test rows. Voxels share 40
sources and have noise of their own. The peer is himalaya's RidgeCV with an intercept, with its defaults, on the same
folds and penalties, by its numpy and its torch backend on the processor. Penalties and predictions are compared.

A subject is the sum over its regions, and subjects are done one after another: the ratio for a study is that for its
regions. Times are of the processor: other work on the machine moves them less than elapsed times. ``--whole 60000``
fits one subject of 150 regions, and says how much memory that takes.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time

import himalaya
import numpy as np
from himalaya.backend import set_backend
from himalaya.ridge import RidgeCV
from sklearn.model_selection import PredefinedSplit

from brainalign.measures.region_decoder import RegionDecoder
from brainalign.measures.ridge import relative_alphas

N_SOURCES, WINDOWS = 40, 4


def simulate(n_rows: int, sizes: list[int], n_targets: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return voxels in single precision and targets that share sources with them."""
    sources = rng.standard_normal((n_rows, N_SOURCES), dtype=np.float32)
    voxels = np.empty((n_rows, sum(sizes)), dtype=np.float32)
    start = 0
    for size in sizes:
        own = voxels[:, start : start + size]
        own[:] = sources @ rng.standard_normal((N_SOURCES, size), dtype=np.float32)
        own += 6 * rng.standard_normal((n_rows, size), dtype=np.float32)
        start += size
    targets = sources @ rng.standard_normal((N_SOURCES, n_targets), dtype=np.float32)
    return voxels, (targets + 6 * rng.standard_normal(targets.shape, dtype=np.float32)).astype(np.float64)


def members(sizes: list[int]) -> dict[str, np.ndarray]:
    """Return the columns of each region."""
    edges = np.concatenate([[0], np.cumsum(sizes)])
    return {f"r{k:03d}": np.arange(edges[k], edges[k + 1]) for k in range(len(sizes))}


def compare(n_rows: int, sizes: list[int], n_targets: int) -> None:
    """Print the times of each region and peer, and what differs."""
    voxels, targets = simulate(n_rows + 60 * WINDOWS, sizes, n_targets, np.random.default_rng(0))
    rows, test = np.arange(n_rows), np.arange(n_rows, len(voxels))
    clips = [f"c{i // WINDOWS:05d}" for i in range(len(voxels))]
    totals: dict[str, float] = {"brainalign": 0.0}
    for name, columns in members(sizes).items():
        x = voxels[:, columns].astype(np.float64)
        alphas = relative_alphas(np.array([x[rows].var(axis=0).sum()]), 1)
        start = time.process_time()
        ours = RegionDecoder(1, alphas=alphas).fit(voxels, targets, {name: columns}, clips=clips, rows=rows)
        predicted = ours.predict(voxels, test)
        own = time.process_time() - start
        totals["brainalign"] += own
        line = f"{len(columns):5d} voxels x {n_rows} rows -> {n_targets}: brainalign {own:.2f} s"
        for backend in ("numpy", "torch"):
            set_backend(backend)
            model = RidgeCV(alphas=alphas, fit_intercept=True, cv=PredefinedSplit(ours.folds_))
            start = time.process_time()
            theirs = np.asarray(model.fit(x[rows], targets[rows]).predict(x[test]))
            peer = time.process_time() - start
            totals[backend] = totals.get(backend, 0.0) + peer
            other = ~np.isclose(np.asarray(model.best_alphas_), ours.alphas_[0], rtol=1e-6)
            line += f"; himalaya {backend} {peer:.2f} s, {peer / own:.1f} times, {other.sum()} penalties differ"
            line += f", predictions by at most {np.abs(theirs - predicted).max():.0e}"
        print(line, flush=True)
    for backend in ("numpy", "torch"):
        ratio = totals[backend] / totals["brainalign"]
        print(f"all regions: brainalign {totals['brainalign']:.1f} s, himalaya {backend} {ratio:.1f} times that")


def whole(n_rows: int, n_targets: int, n_voxels: int) -> None:
    """Print the time and memory of one subject."""
    sizes = np.random.default_rng(1).lognormal(np.log(280), 0.8, 150)
    sizes = np.maximum((sizes / sizes.sum() * n_voxels).astype(int), 20).tolist()
    voxels, targets = simulate(n_rows, sizes, n_targets, np.random.default_rng(0))
    clips = [f"c{i // WINDOWS:05d}" for i in range(n_rows)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.process_time(), time.perf_counter()
    RegionDecoder().fit(voxels, targets, members(sizes), clips=clips)
    used, elapsed = time.process_time() - start[0], time.perf_counter() - start[1]
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"one subject, {sum(sizes)} voxels in {len(sizes)} regions of {min(sizes)} to {max(sizes)}, {n_rows} rows -> "
        f"{n_targets}: {used:.0f} s of the processor, {elapsed:.0f} s elapsed; memory {before:.1f} GiB with the data, "
        f"at most {after:.1f} GiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3840, help="training windows")
    parser.add_argument("--targets", type=int, default=512)
    parser.add_argument("--regions", type=int, nargs="*", default=[50, 140, 260, 420, 700], help="voxels of each")
    parser.add_argument("--whole", type=int, default=0, help="voxels of one whole subject; 0 leaves it out")
    args = parser.parse_args()
    print(
        f"numpy {np.__version__}, himalaya {himalaya.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}, {os.environ.get('OMP_NUM_THREADS', 'default')} threads, load {os.getloadavg()[0]:.1f}"
    )
    if args.regions:
        compare(args.rows, args.regions, args.targets)
    if args.whole:
        whole(args.rows, args.targets, args.whole)


if __name__ == "__main__":
    main()
