"""What a large benchmark will cost, from the constants that ``scaling.py`` measured.

    python benchmarks/plan.py [--models 1000] [--datasets 10] [--sounds 165] [--seconds 2] [--layers 12] [--units 512]
                              [--targets 10000] [--permutations 100]

Prints how cost grows, and one row for each kind of work: core hours, bytes kept, and how it is cut into tasks. Costs
are those of one core of the machine that made ``docs/pictures/scaling.csv``; those of listening are of kim2024-cnn (1.3
million parameters), and another model's go by its own forward pass.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

MEASURED = Path(__file__).parents[1] / "docs" / "pictures" / "scaling.csv"
#: Of the points in scaling.py.
SOUND_S, N_SOUNDS, N_TARGETS, N_UNITS, N_SPLITS = 1.5, 165, 1_000, 256, 10
#: Sounds that are one task of listening.
SHARD = 64


@dataclass(frozen=True)
class Plan:
    """What is asked: `n_models` of `n_layers` layers of `n_units` units each, and data sets of one size."""

    n_models: int = 1_000
    n_datasets: int = 10
    n_sounds: int = 165
    sound_s: float = 2.0
    n_layers: int = 12
    n_units: int = 512
    n_targets: int = 10_000
    n_permutations: int = 100


def slope(table: pd.DataFrame, what: str) -> float:
    """Return the seconds that one more costs, from the two largest sizes."""
    own = table[table["what"] == what].sort_values("size").iloc[-2:]
    return float(np.diff(own["cpu_s"])[0] / np.diff(own["size"])[0])


def costs(plan: Plan, measured: pd.DataFrame) -> pd.DataFrame:
    """Return core hours, gigabytes and tasks of each kind of work."""
    runs = plan.n_models * plan.n_datasets
    listening = slope(measured, "extraction, sounds") * plan.n_sounds * plan.sound_s / SOUND_S
    layers = plan.n_layers * plan.n_sounds / N_SOUNDS
    # A permutation repeats the fits of all layers and targets; what is left of a layer is its own fit and resamples.
    permuting = slope(measured, "encoding, permutations") * plan.n_targets / N_TARGETS
    fitting = slope(measured, "encoding, targets") * plan.n_targets - 10 * permuting
    encoding = layers * (max(fitting, 0.0) + plan.n_permutations * permuting)
    rsa = slope(measured, "RSA, layers") * plan.n_layers * (plan.n_sounds / N_SOUNDS) ** 2
    rows = [
        ("listening", listening, 4 * plan.n_sounds * plan.n_layers * plan.n_units, -(-plan.n_sounds // SHARD)),
        ("voxel-encoding", encoding, 8 * plan.n_targets * plan.n_layers * (N_SPLITS + 2), 1),
        ("rsa", rsa, 8 * plan.n_layers * plan.n_sounds**2 // 2, 1),
    ]
    table = pd.DataFrame(rows, columns=["work", "s", "bytes", "parts"])
    return pd.DataFrame(
        {
            "work": table["work"],
            "core hours": runs * table["s"] / 3_600,
            "GB kept": runs * table["bytes"] / 1e9,
            "tasks": runs * table["parts"],
            "s a task": table["s"] / table["parts"],
        }
    )


def as_markdown(table: pd.DataFrame) -> str:
    """Return the table as it stands in docs/scaling.md."""
    lines = ["| " + " | ".join(table.columns) + " |", "|" + " --- |" * len(table.columns)]
    for row in table.itertuples(index=False):
        cells = [
            f"{v:,.0f}"
            if isinstance(v, float) and v >= 10
            else f"{v:.2g}"
            if isinstance(v, float)
            else f"{v:,}"
            if isinstance(v, int)
            else v
            for v in row
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def growth(measured: pd.DataFrame) -> pd.DataFrame:
    """Return how time grows with size (the slope of log time over log size in the upper half) and the largest point."""
    rows = []
    for what, own in measured.groupby("what", sort=False):
        upper = own.iloc[len(own) // 2 - 1 :]
        power = float(np.polyfit(np.log(upper["size"]), np.log(upper["cpu_s"]), 1)[0])
        last = own.iloc[-1]
        rows.append((what, power, float(last["size"]), float(last["cpu_s"]), float(last["extra_mb"])))
    return pd.DataFrame(rows, columns=["what grows", "power", "largest size", "s", "MB beside the data"])


def main() -> None:
    """Print the plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, of in (("models", int), ("datasets", int), ("sounds", int), ("seconds", float), ("layers", int),
                     ("units", int), ("targets", int), ("permutations", int)):  # fmt: skip
        field = "sound_s" if name == "seconds" else f"n_{name}"
        parser.add_argument(f"--{name}", dest=field, type=of, default=getattr(Plan, field))
    print(as_markdown(growth(pd.read_csv(MEASURED))), end="\n\n")
    print(as_markdown(costs(Plan(**vars(parser.parse_args())), pd.read_csv(MEASURED))))


if __name__ == "__main__":
    main()
