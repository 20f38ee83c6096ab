"""Peak memory of encoding: many features, many voxels, many permutations.

    OMP_NUM_THREADS=1 python benchmarks/encoding_memory.py [--features 25000] [--voxels 26792] [--permutations 4 8]

Each case runs in a process of its own, whose peak resident memory is printed beside that before the work began (Python
with its packages, and the data). More permutations must not need more memory: they are counted as they come.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

import numpy as np

from brainalign.measures.encoding import component_encoding
from brainalign.responses import make_responses

N_SOUNDS = 165


def megabytes() -> float:
    """Return the peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one_case(n_features: int, n_voxels: int, n_permutations: int, n_bootstrap: int, n_layers: int) -> None:
    rng = np.random.default_rng(0)
    ids = [f"{i:03d}" for i in range(N_SOUNDS)]
    features = rng.standard_normal((N_SOUNDS, n_features), dtype=np.float32)
    layers = [f"layer{k}" for k in np.arange(n_features) * n_layers // n_features]
    model = make_responses(features, ids, unit_info={"layer": layers})
    voxels = make_responses(rng.standard_normal((N_SOUNDS, n_voxels), dtype=np.float32), ids)
    before = megabytes()
    component_encoding(model, voxels, n_permutations=n_permutations, n_bootstrap=n_bootstrap)
    print(
        f"{N_SOUNDS} x {n_features:,} features in {n_layers} layers to {n_voxels:,} voxels, {n_permutations} "
        f"permutations, {n_bootstrap} resamples: peak {megabytes():.0f} MB, {before:.0f} MB before"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=int, default=25_000)
    parser.add_argument("--voxels", type=int, default=26_792)
    parser.add_argument("--permutations", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--case", type=int, nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        one_case(*args.case)
        return
    cases = [(args.features, args.voxels, 0, 0, 1), (args.features, args.voxels, 0, 100, 2)]
    cases += [(2048, 7694, n, 0, 2) for n in args.permutations]
    for case in cases:
        subprocess.run([sys.executable, __file__, "--case", *map(str, case)], check=True)


if __name__ == "__main__":
    main()
