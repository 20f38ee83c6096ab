"""How cost grows with sounds, layers and targets: processor time and memory of extraction, encoding and RSA.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py [--out docs/pictures] [--quick]

Every point is a process of its own, so that its peak memory is its own; a small call beforehand takes what importing
costs. Processor time is given because other work on the machine moves it less than elapsed time. ``plan.py`` says
how cost grows and what follows from it. Written: ``scaling.csv`` with all points, ``scaling.svg`` with curves.
`--quick` leaves out the largest points.

* extraction: 100 to 20,000 sounds of 1.5 s, kim2024-cnn with random weights, five layers, with a cache;
* encoding, sounds: 100 to 20,000 sounds, one layer of 256 units, 200 targets;
* encoding, layers: 1 to 100 layers of 256 units, 165 sounds, 1,000 targets;
* encoding, targets: 1,000 to 200,000 targets, one layer of 256 units, 165 sounds;
* encoding, permutations: 1 to 100 permutations, 1,000 targets, one layer, 165 sounds;
* scores alone: the same encoding without permutations and resamples;
* RSA, sounds: 100 to 1,000 sounds (a matrix has n (n - 1) / 2 pairs, and its interval leaves each sound out in turn);
  RSA, layers: 1 to 100.

Encoding is ``voxel-encoding``: ten half-splits, 20 penalties, 10 permutations, 100 resamples.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = {
    "extraction, sounds": [100, 300, 1_000, 3_000, 10_000, 20_000],
    "encoding, sounds": [100, 300, 1_000, 3_000, 10_000, 20_000],
    "encoding, layers": [1, 3, 10, 30, 100],
    "encoding, targets": [1_000, 3_000, 10_000, 30_000, 100_000, 200_000],
    "scores alone, sounds": [100, 300, 1_000, 3_000, 10_000, 20_000],
    "scores alone, targets": [1_000, 3_000, 10_000, 30_000, 100_000, 200_000],
    "encoding, permutations": [1, 3, 10, 30, 100],
    "RSA, sounds": [100, 300, 1_000],
    "RSA, layers": [1, 3, 10, 30, 100],
}
#: Sizes of the call that is not measured.
SMALL = {what: 1 if what.endswith("layers") else 30 for what in SIZES}


def measure(what: str, size: int) -> dict[str, float]:
    """Return processor time and memory above that of the imports, of one point."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as small:
        PREPARE[what](SMALL[what], Path(small))()
        work = PREPARE[what](size, Path(folder))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        work()
        cpu_s = time.process_time() - start
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"cpu_s": cpu_s, "data_mb": before / 1024, "extra_mb": (after - before) / 1024}


def _extraction(n: int, folder: Path):
    import numpy as np
    import scipy.io.wavfile

    from brainalign import extract, load_model
    from brainalign.stimuli.sets import read_stimulus_set

    rng = np.random.default_rng(0)
    sounds = folder / "sounds"
    sounds.mkdir()
    for k in range(n):
        noise = rng.uniform(-0.2, 0.2, 33_075) * rng.uniform(0.1, 1)
        scipy.io.wavfile.write(sounds / f"{k}.wav", 22_050, (32_767 * noise).astype(np.int16))
    rows = "".join(f"s{k},{k}.wav,noise\n" for k in range(n))
    (sounds / "stimuli.csv").write_text("stimulus_id,file,category\n" + rows, encoding="utf-8")
    manifest = "".join(f'{key} = "{key}"\n' for key in ("name", "version", "citation", "licence"))
    (sounds / "stimulus_set.toml").write_text(manifest, encoding="utf-8")
    stimuli = read_stimulus_set(sounds)
    model = load_model("kim2024-cnn@random:0")
    layers = ["conv1", "conv2", "conv3", "conv4", "avgpool"]
    return lambda: extract(model, stimuli, layers=layers, cache=folder / "cache")


def _responses(n_sounds: int, n_layers: int, n_targets: int):
    import numpy as np

    from brainalign.responses import make_responses

    rng = np.random.default_rng(0)
    ids = [f"s{k:05d}" for k in range(n_sounds)]
    features = rng.standard_normal((n_sounds, 256 * n_layers))
    layer = np.repeat([f"layer{k}" for k in range(n_layers)], 256)
    targets = features[:, :256] @ rng.standard_normal((256, n_targets)) / 16
    targets += rng.standard_normal((n_sounds, n_targets))
    brain = make_responses(targets, ids, attrs={"source": "simulated"})
    return make_responses(features, ids, unit_info={"layer": layer}, attrs={"source": "model"}), brain


def _encoding(n_sounds: int, n_layers: int, n_targets: int, n_permutations: int = 10, n_bootstrap: int = 100):
    from brainalign import voxel_encoding

    responses, brain = _responses(n_sounds, n_layers, n_targets)
    return lambda: voxel_encoding(responses, brain, n_permutations=n_permutations, n_bootstrap=n_bootstrap)


def _rsa(n_sounds: int, n_layers: int):
    from brainalign import rsa

    responses, brain = _responses(n_sounds, n_layers, 500)
    return lambda: rsa(responses, brain, n_permutations=100, n_bootstrap=100)


PREPARE = {
    "extraction, sounds": _extraction,
    "encoding, sounds": lambda n, _: _encoding(n, 1, 200),
    "encoding, layers": lambda n, _: _encoding(165, n, 1_000),
    "encoding, targets": lambda n, _: _encoding(165, 1, n),
    "scores alone, sounds": lambda n, _: _encoding(n, 1, 200, 0, 0),
    "scores alone, targets": lambda n, _: _encoding(165, 1, n, 0, 0),
    "encoding, permutations": lambda n, _: _encoding(165, 1, 1_000, n),
    "RSA, sounds": lambda n, _: _rsa(n, 1),
    "RSA, layers": lambda n, _: _rsa(165, n),
}


def draw(table, path: Path) -> None:
    """Draw time and memory over size, on logarithmic axes, with a line of slope 1."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(table["what"]))
    with plt.rc_context({"svg.fonttype": "none", "font.size": 8}):
        figure, axes = plt.subplots(2, len(names), figsize=(2.3 * len(names), 4), layout="constrained", sharey="row")
        for column, name in zip(axes.T, names, strict=True):
            own = table[table["what"] == name]
            for ax, values in zip(column, ("cpu_s", "extra_mb"), strict=True):
                ax.loglog(own["size"], own[values].clip(lower=1e-2), "o-", color="#0072B2")
            first = own.iloc[0]
            column[0].loglog(own["size"], first["cpu_s"] * own["size"] / first["size"], "--", color="0.6")
            column[0].set_title(name)
            column[1].set_xlabel(name.split(", ")[1])
        axes[0, 0].set_ylabel("processor time (s)")
        axes[1, 0].set_ylabel("memory beside the data (MB)")
        figure.savefig(path)
        plt.close(figure)


def main() -> None:
    """Measure all points, print a table, write it and its figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--point", nargs=2, metavar=("WHAT", "SIZE"), help="measure this point alone, print JSON")
    options = parser.parse_args()
    if options.point:
        print(json.dumps(measure(options.point[0], int(options.point[1]))))
        return
    rows = []
    for what, sizes in SIZES.items():
        for size in sizes[:-2] if options.quick else sizes:
            command = [sys.executable, __file__, "--point", what, str(size)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append({"what": what, "size": size, **json.loads(done.stdout.splitlines()[-1])})
            print(
                "{what:20} {size:>8,} {cpu_s:10.2f} s {data_mb:8.0f} MB data {extra_mb:8.0f} MB beside".format(
                    **rows[-1]
                ),
                flush=True,
            )
    # Imported late: what this process holds would count as the first memory of those that it starts.
    import pandas as pd

    table = pd.DataFrame(rows)
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "scaling.csv", index=False, float_format="%.4g")
    draw(table, options.out / "scaling.svg")


if __name__ == "__main__":
    main()
