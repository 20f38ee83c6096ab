"""Speed of RSA beside rsatoolbox: bootstraps on the same samples, RDMs, and tau-a.

    OMP_NUM_THREADS=1 python benchmarks/rsa_speed.py [--stimuli 165] [--models 10] [--subjects 10] [--samples 1000]

rsatoolbox draws with a seed; its draws are recorded and given to brainalign, and the values of each sample are
compared. Where rsatoolbox would take minutes, it computes the first samples only and its time is scaled up (every
sample costs it the same); how many is printed. The dual bootstrap of rsatoolbox always computes noise ceilings as
well: it is timed with this left out, so that both sides do the same, and once more as it is. Times are of the
processor, in one thread, so that other work on the machine does not count; the least of some runs for brainalign, one
for rsatoolbox.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import rsatoolbox
from rsatoolbox.inference import evaluate
from rsatoolbox.model import ModelFixed
from scipy.spatial.distance import pdist

from brainalign.measures.rdm import correlation_rdm
from brainalign.measures.rdm_compare import compare_rdms
from brainalign.measures.rdm_inference import weighted_scores
from brainalign.responses import make_responses


def seconds(function: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Return the least processor time of some runs, and what the last gave."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return min(times), result


def report(what: str, own: float, theirs: float, difference: float, note: str = "") -> None:
    print(
        f"{what}: brainalign {own:.3g} s, rsatoolbox {theirs:.3g} s{note}: {theirs / own:.0f} times as fast; "
        f"largest difference {difference:.1g}",
        flush=True,
    )


class Recorder:
    """Keeps the counts that rsatoolbox draws."""

    def __init__(self, name: str) -> None:
        self.name, self.draw = name, getattr(evaluate, name)
        self.counts: list[list[np.ndarray]] = []

    def __enter__(self) -> Recorder:
        def draw(data: Any, *args: Any, **kwargs: Any) -> Any:
            drawn = self.draw(data, *args, **kwargs)
            sizes = [data.n_rdm, data.n_cond][-len(drawn) + 1 :]
            self.counts.append([np.bincount(d, minlength=n) for d, n in zip(drawn[1:], sizes, strict=True)])
            return drawn

        setattr(evaluate, self.name, draw)
        return self

    def __exit__(self, *_: object) -> None:
        setattr(evaluate, self.name, self.draw)

    def array(self, which: int) -> np.ndarray:
        return np.array([c[which] for c in self.counts])


def even(n_samples: int, n_subjects: int) -> np.ndarray:
    return np.full((n_samples, 1, n_subjects), 1 / n_subjects)


def over_stimuli(models: np.ndarray, brains: np.ndarray, ours: str, theirs: str, n: int, n_peer: int) -> None:
    """Bootstrap over stimuli, without noise ceilings."""
    fixed, data = [ModelFixed(str(i), m) for i, m in enumerate(models)], rsatoolbox.rdm.RDMs(brains)
    np.random.seed(0)  # noqa: NPY002 - rsatoolbox has no other seed
    with Recorder("bootstrap_sample_pattern") as drawn:
        peer, result = seconds(
            lambda: evaluate.eval_bootstrap_pattern(fixed, data, method=theirs, N=n_peer, boot_noise_ceil=False)
        )
    n_stimuli = data.n_cond
    more = np.random.default_rng(0).multinomial(n_stimuli, np.full(n_stimuli, 1 / n_stimuli), n - n_peer)
    counts = np.concatenate([drawn.array(0), more])
    own, values = seconds(lambda: weighted_scores(models, brains, counts, ours, even(n, len(brains))), 3)
    difference = np.abs(values[:n_peer, :, 0] - result.evaluations).max()
    report(
        f"bootstrap over stimuli, {ours}, N={n}",
        own,
        peer * n / n_peer,
        difference,
        f" (from {n_peer} samples)" * (n_peer < n),
    )


def over_both(models: np.ndarray, brains: np.ndarray, n: int, n_peer: int) -> None:
    """Dual bootstrap: over both, over subjects, over stimuli."""
    fixed, data = [ModelFixed(str(i), m) for i, m in enumerate(models)], rsatoolbox.rdm.RDMs(brains)
    ceiling = evaluate.boot_noise_ceiling
    with_ceiling, _ = seconds(lambda: evaluate.eval_dual_bootstrap(fixed, data, method="corr", N=max(2, n_peer // 4)))
    evaluate.boot_noise_ceiling = lambda *args, **kwargs: (0.0, 0.0)
    try:
        with Recorder("bootstrap_sample") as drawn:
            peer, result = seconds(lambda: evaluate.eval_dual_bootstrap(fixed, data, method="corr", N=n_peer))
    finally:
        evaluate.boot_noise_ceiling = ceiling
    rng, s = np.random.default_rng(0), len(brains)
    stimuli = np.concatenate(
        [drawn.array(1), rng.multinomial(data.n_cond, np.full(data.n_cond, 1 / data.n_cond), n - n_peer)]
    )
    subjects = np.concatenate([drawn.array(0), rng.multinomial(s, np.full(s, 1 / s), n - n_peer)]) / s

    def compute() -> list[np.ndarray]:
        mixtures = np.concatenate([subjects[:, None], even(n, s)], axis=1)
        resampled = weighted_scores(models, brains, stimuli, "pearson", mixtures)
        return [resampled[:, :, 0], subjects @ compare_rdms(models, brains, "pearson").T, resampled[:, :, 1]]

    own, values = seconds(compute, 3)
    theirs = result.evaluations[:, :, 0, 0]
    difference = max(np.abs(v[:n_peer] - theirs[..., i]).max() for i, v in enumerate(values))
    report(
        f"dual bootstrap, pearson, N={n}",
        own,
        peer * n / n_peer,
        difference,
        f" (from {n_peer} samples, no noise ceilings)",
    )
    scaled = with_ceiling * n / max(2, n_peer // 4)
    print(
        f"  with the noise ceilings that it always computes, rsatoolbox takes {scaled:.3g} s: {scaled / own:.0f} times"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stimuli", type=int, default=165)
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--subjects", type=int, default=10)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--peer-samples", type=int, default=100, help="samples that rsatoolbox is timed on")
    args = parser.parse_args()
    n, samples, peer = args.stimuli, args.samples, min(args.samples, args.peer_samples)
    print(
        f"numpy {np.__version__}, rsatoolbox {version('rsatoolbox')}, Python {platform.python_version()}, "
        f"{platform.machine()}, {os.environ.get('OMP_NUM_THREADS', 'default')} threads; {n} stimuli, "
        f"{args.models} models, {args.subjects} subjects"
    )
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((n, 20))
    views = [pdist(latent + rng.standard_normal((n, 20)), "sqeuclidean") for _ in range(args.models + args.subjects)]
    models, brains = np.array(views[: args.models]), np.array(views[args.models :])
    over_stimuli(models, brains, "pearson", "corr", samples, peer)
    over_stimuli(models, brains, "spearman", "spearman", samples, max(2, peer // 5))
    over_both(models, brains, samples, max(2, peer // 5))

    patterns = rng.standard_normal((n, 10_000))
    responses = make_responses(patterns, [f"s{i}" for i in range(n)])
    dataset = rsatoolbox.data.Dataset(patterns)
    own, ours = seconds(lambda: correlation_rdm(responses), 5)
    theirs, peers = seconds(lambda: rsatoolbox.rdm.calc_rdm(dataset, method="correlation"), 5)
    report(
        f"correlation RDM, {n} x 10,000",
        own,
        theirs,
        np.abs(ours - peers.get_matrices()[0]).max(),
        " (both: best of 5)",
    )

    many, some = rng.random((50, n * (n - 1) // 2)), rng.random((10, n * (n - 1) // 2))
    own, ours = seconds(lambda: compare_rdms(many, some, "tau-a"), 5)
    one, two = rsatoolbox.rdm.RDMs(many), rsatoolbox.rdm.RDMs(some)
    theirs, peers = seconds(lambda: rsatoolbox.rdm.compare(one, two, "tau-a"), 3)
    report("tau-a, 50 x 10 RDMs", own, theirs, np.abs(ours - peers).max(), " (best of 5 and of 3)")


if __name__ == "__main__":
    main()
