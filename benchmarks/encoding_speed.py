"""Speed of ridge encoding beside scikit-learn and himalaya, on the same data in the same run.

    OMP_NUM_THREADS=1 python benchmarks/encoding_speed.py [--repeats 3] [--voxels 7694] [--splits 10] [--timed 100]

Three rows, each with the ratio to the peers, and the time of a whole ``component_encoding``:

a. One layer, 165 sounds x 512 features, to 7,694 voxels: ten half-splits, 100 penalties (1e-50 to 1e49), four fits each
   (mean of three runs, each run) with noise correction as published. The peer is scikit-learn's RidgeCV called for each
   voxel and fit with demeaning, prediction and correlation around it, as the code released with Tuckute et al. 2023
   calls it; timed on some voxels and scaled up.
b. The same fits by himalaya's KernelRidgeCV, five inner folds and the same penalties, per split and fit, all voxels at
   once: with its defaults, and with its batches set to what was fastest here. brainalign with the same inner folds.
c. 165 x 512 to 11,065 targets, 20 penalties, fitted and predicted: scikit-learn's leave-one-out with a penalty for each
   target, and himalaya's RidgeCV with five folds; brainalign by leave-one-out.

The predictions of (a) and (c) are compared with scikit-learn's. Times are of the processor, the median of repeats:
other work on the machine moves them less than elapsed times.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable

import himalaya
import numpy as np
import sklearn
from himalaya.kernel_ridge import KernelRidgeCV
from himalaya.ridge import RidgeCV as HimalayaRidgeCV
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold

from brainalign.measures.encoding import component_encoding
from brainalign.measures.ridge import decompose, ridge_predict
from brainalign.measures.scores import score
from brainalign.measures.splits import make_splits
from brainalign.responses import make_responses
from brainalign.stats.ceilings import tuckute2023_divisor

N_SOUNDS, N_FEATURES = 165, 512
PUBLISHED = 10.0 ** np.arange(-50, 50)


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Return processor time, the median of repeats after one call that is not timed."""
    function()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return float(np.median(times))


def simulate(n_targets: int, n_runs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return features whose variances fall over three decades, and runs of noisy linear targets."""
    features = rng.standard_normal((N_SOUNDS, N_FEATURES)) * np.logspace(0, -1.5, N_FEATURES) @ np.linalg.qr(
        rng.standard_normal((N_FEATURES, N_FEATURES))
    )[0]  # fmt: skip
    signal = features @ rng.standard_normal((N_FEATURES, n_targets))
    signal /= signal.std(axis=0)
    # From voxels that are all noise to voxels that are mostly signal.
    noise = 1 / np.linspace(0.01, 2, n_targets)
    return features, signal + noise * rng.standard_normal((n_runs, N_SOUNDS, n_targets))


class Layer:
    """The work of rows a and b: one layer to all voxels, all splits."""

    def __init__(self, n_voxels: int, n_splits: int, rng: np.random.Generator) -> None:
        self.features, self.runs = simulate(n_voxels, 3, rng)
        ids = [f"{i:03d}" for i in range(N_SOUNDS)]
        splits = make_splits(ids, "tuckute2023", n_splits=n_splits)
        self.positions = [([int(i) for i in s.train], [int(i) for i in s.test]) for s in splits]
        self.targets = [self.runs.mean(axis=0), *self.runs]
        self.folds = np.empty(len(self.positions[0][0]), dtype=int)
        for k, (_, fold) in enumerate(KFold(5).split(self.folds)):
            self.folds[fold] = k

    def brainalign(self, folds: np.ndarray | None = None) -> np.ndarray:
        """Return noise-corrected scores (split, voxel)."""
        n_voxels = self.runs.shape[2]
        columns = np.hstack(self.targets)
        corrected = []
        for train, test in self.positions:
            basis = decompose(self.features[train], self.features[test])
            predictions = ridge_predict(basis, columns[train], PUBLISHED, folds=folds).predictions
            single = predictions[:, n_voxels:].reshape(len(test), 3, n_voxels).transpose(1, 0, 2)
            divisor = tuckute2023_divisor(self.runs[:, train], single, repaired=False)
            corrected.append(score(predictions[:, :n_voxels], self.targets[0][test]) / divisor)
        return np.stack(corrected)

    def himalaya(self, **options: int) -> None:
        """Fit and predict the first split and the mean of runs."""
        train, test = self.positions[0]
        model = KernelRidgeCV(alphas=PUBLISHED, cv=KFold(5), fit_intercept=True, solver_params=options)
        model.fit(self.features[train], self.targets[0][train]).predict(self.features[test])

    def scikit_learn(self, voxel: int) -> tuple[list[np.ndarray], list[float]]:
        """Fit a voxel in the first split as the released code does, and return its four predictions and penalties."""
        train, test = self.positions[0]
        predicted, alphas = [], []
        for targets in self.targets:
            x_mean, y_mean = self.features[train].mean(axis=0), targets[train, voxel].mean()
            x, x_test = self.features[train] - x_mean, self.features[test] - x_mean
            y, y_test = targets[train, voxel] - y_mean, targets[test, voxel] - y_mean
            model = RidgeCV(alphas=PUBLISHED[::-1]).fit(x, y)
            np.corrcoef(y, model.predict(x))
            predicted.append(model.predict(x_test))
            np.corrcoef(y_test, predicted[-1])
            alphas.append(model.alpha_)
        return predicted, alphas


def layer_rows(n_voxels: int, n_splits: int, n_timed: int, repeats: int) -> None:
    """Print rows a and b."""
    work = Layer(n_voxels, n_splits, np.random.default_rng(0))
    train, test = work.positions[0]
    voxels = np.linspace(n_voxels // 10, n_voxels - 1, n_timed).astype(int)
    fit = ridge_predict(decompose(work.features[train], work.features[test]), np.hstack(work.targets)[train], PUBLISHED)
    start = time.process_time()
    results = [work.scikit_learn(v) for v in voxels]
    peer = (time.process_time() - start) / n_timed * n_voxels * n_splits
    theirs, alphas = (np.array(x) for x in zip(*results, strict=True))
    # As the released code, without the training mean; (voxel, fit) and (voxel, fit, stimulus).
    columns = voxels[:, None] + n_voxels * np.arange(4)
    ours = (
        fit.predictions[:, columns].transpose(1, 2, 0) - np.hstack(work.targets)[train].mean(axis=0)[columns][..., None]
    )
    # Above 1e12 left-out errors are equal to rounding, which picks one; far below the eigenvalues scikit-learn loses
    # digits (its issue 32459), and takes a penalty whose error, by refits without each stimulus, is not the least.
    decided = (alphas > 1e-8) & (alphas < 1e12)
    same = np.isclose(ours, theirs, rtol=1e-6, atol=1e-6).all(axis=2)
    own = seconds(work.brainalign, repeats)
    print(f"a. brainalign {own:.2f} s; scikit-learn {peer:.0f} s (from {n_timed} voxels): {peer / own:.0f} times")
    print(
        f"   predictions equal to 1e-6 in {(same & decided).sum()} of {decided.sum()} fits where scikit-learn takes a "
        f"penalty of 1e-8 to 1e12, and in {(same & ~decided).sum()} of {(~decided).sum()} others"
    )
    own = seconds(lambda: work.brainalign(work.folds), repeats)
    for name, options in (("defaults", {}), ("best batches", {"n_targets_batch": 500, "n_alphas_batch": 10})):
        peer = seconds(lambda options=options: work.himalaya(**options), repeats) * 4 * n_splits
        print(f"b. brainalign {own:.2f} s; himalaya KernelRidgeCV, {name}, {peer:.1f} s: {peer / own:.1f} times")


def target_row(repeats: int) -> None:
    """Print row c."""
    features, (targets,) = simulate(11_065, 1, np.random.default_rng(1))
    alphas = np.logspace(-3, 5, 20)

    def ours() -> np.ndarray:
        return ridge_predict(decompose(features, features), targets, alphas).predictions

    def scikit_learn() -> np.ndarray:
        return RidgeCV(alphas=alphas, alpha_per_target=True).fit(features, targets).predict(features)

    own = seconds(ours, repeats)
    np.testing.assert_allclose(ours(), scikit_learn(), rtol=1e-6, atol=1e-6)
    peers = {"scikit-learn, leave-one-out": seconds(scikit_learn, repeats)}
    for name, options in (("defaults", {}), ("batches of 1,000 targets", {"n_targets_batch": 1000})):
        model = HimalayaRidgeCV(alphas=alphas, cv=KFold(5), fit_intercept=True, solver_params=options)
        peers[f"himalaya RidgeCV, {name}"] = seconds(
            lambda model=model: model.fit(features, targets).predict(features), repeats
        )
    for name, peer in peers.items():
        print(f"c. brainalign {own:.3f} s; {name}, {peer:.3f} s: {peer / own:.1f} times")


def whole_measure(n_layers: int, repeats: int) -> None:
    """Print the time of component_encoding with its defaults."""
    rng = np.random.default_rng(2)
    layers = [simulate(1, 1, rng)[0] for _ in range(n_layers)]
    ids = [f"{i:03d}" for i in range(N_SOUNDS)]
    names = [f"layer{k}" for k in range(n_layers) for _ in range(N_FEATURES)]
    model = make_responses(np.hstack(layers).astype(np.float32), ids, unit_info={"layer": names})
    brain = make_responses(layers[0] @ rng.standard_normal((N_FEATURES, 6)) + rng.standard_normal((N_SOUNDS, 6)), ids)
    elapsed = []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        component_encoding(model, brain)
        elapsed.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    wall, used = np.median(elapsed, axis=0)
    print(
        f"component_encoding, {n_layers} layers, 6 targets, 1,000 permutations and resamples: "
        f"{wall:.1f} s elapsed, {used:.1f} s of the processor"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voxels", type=int, default=7694)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--timed", type=int, default=100, help="voxels that scikit-learn is timed on")
    parser.add_argument(
        "--layers", type=int, default=20, help="layers of the whole component_encoding; 0 leaves it out"
    )
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    # The grid over- and underflows where peers divide by it.
    warnings.filterwarnings("ignore")
    print(
        f"numpy {np.__version__}, scikit-learn {sklearn.__version__}, himalaya {himalaya.__version__}, Python "
        f"{platform.python_version()}, {platform.machine()}, {os.environ.get('OMP_NUM_THREADS', 'default')} threads, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    layer_rows(args.voxels, args.splits, args.timed, args.repeats)
    target_row(args.repeats)
    if args.layers:
        whole_measure(args.layers, 1)


if __name__ == "__main__":
    main()
