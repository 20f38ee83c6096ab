"""Makes the figures and the table of the README from results folders.

Usage: python docs/figures.py results/natsound165 results/claim
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

IMAGES = Path(__file__).parent / "images"
CONDITIONS = ["all", "no-music", "no-music-no-speech", "random-labels", "random weights", "gbfb", "logmel"]
PUBLISHED = {"all": "1.61 ± 0.16", "no-music": "1.88 ± 0.13", "random weights": "1.03 ± 0.004", "gbfb": "0.95"}


def condition(model: str) -> str:
    """Return what a network was trained on, from its name."""
    if "@random" in model:
        return "random weights"
    return model.split(":")[1].split("/")[0] if ":" in model else model


def claim_table(results: pd.DataFrame) -> pd.DataFrame:
    """Return one row per network: ratio and likeness of its selective units, encoding of the music component."""
    results = results[results["layer"].isin(["avgpool", "gbfb", "logmel"])]
    ratio = results[(results["measure"] == "selective-ratio") & (results["target"] == "selected units")]
    ratio = ratio.set_index("model")
    profile = results[(results["measure"] == "selective-profile") & (results["units"] == "selected units")]
    likeness = profile.pivot(index="model", columns="target", values="value")
    encoding = results[(results["measure"] == "component-encoding") & (results["target"] == "music")]
    encoding = encoding.set_index("model")
    table = pd.DataFrame(
        {
            "ratio": ratio["value"],
            "low": ratio["ci_low"],
            "high": ratio["ci_high"],
            "effect": ratio["effect_size"],
            "r_music": likeness["music"],
            "r_best_other": likeness.drop(columns="music").max(axis=1),
            "best_other": likeness.drop(columns="music").idxmax(axis=1),
            "encoding": encoding["value"],
        }
    ).reset_index(names="model")
    table["condition"] = pd.Categorical(table["model"].map(condition), CONDITIONS, ordered=True)
    return table.sort_values(["condition", "model"])


def markdown(table: pd.DataFrame) -> str:
    """Return the table of the README: one row per network, and the mean and SD over networks of each condition."""
    lines = [
        "| network | response ratio (95 % interval) | effect size | r, music component | highest other | r² music |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, rows in table.groupby("condition", observed=True):
        published = f"; published {PUBLISHED[name]}" if name in PUBLISHED else ""
        for row in rows.itertuples():
            beside = published if len(rows) == 1 else ""
            lines.append(
                f"| {row.model} | {row.ratio:.2f} ({row.low:.2f} to {row.high:.2f}){beside} | {row.effect:.2f} "
                f"| {row.r_music:.2f} | {row.r_best_other:.2f} ({row.best_other}) | {row.encoding:.2f} |"
            )
        if len(rows) > 1:
            mean, sd = rows.mean(numeric_only=True), rows.std(numeric_only=True)
            lines.append(
                f"| **{name}, mean ± SD of {len(rows)}** | **{mean.ratio:.2f} ± {sd.ratio:.2f}**{published} "
                f"| {mean.effect:.2f} | {mean.r_music:.2f} ± {sd.r_music:.2f} | {mean.r_best_other:.2f} "
                f"| {mean.encoding:.2f} ± {sd.encoding:.2f} |"
            )
    return "\n".join(lines)


def claim_figure(table: pd.DataFrame) -> Figure:
    """Draw ratio, likeness to the music component and encoding of it, a point per network, by condition."""
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    names = list(dict.fromkeys(table["condition"]))
    panels = (
        ("ratio", "response ratio of music-selective units", 1.0),
        ("r_music", "r with the music component", 0.0),
        ("encoding", "held-out r² of the music component", 0.0),
    )
    for ax, (column, label, line) in zip(figure.subplots(1, 3, sharey=True), panels, strict=True):
        for y, name in enumerate(names):
            rows = table[table["condition"] == name]
            ax.plot(rows[column], [y] * len(rows), "o", color="#0072B2", alpha=0.6)
            ax.plot(rows[column].mean(), y, "|", color="black", markersize=18, markeredgewidth=2)
        ax.axvline(line, color="0.6", linewidth=0.8, linestyle="--")
        ax.set(xlabel=label, yticks=range(len(names)), yticklabels=names)
        ax.spines[["top", "right"]].set_visible(False)
    figure.axes[0].invert_yaxis()
    return figure


def main(natsound165: Path, claim: Path) -> None:
    """Write the images beside this file and print the table."""
    shutil.copyfile(natsound165 / "figures" / "main-music.svg", IMAGES / "natsound165.svg")
    table = claim_table(pd.read_csv(claim / "results.csv", keep_default_na=False, na_values=[""]))
    claim_figure(table).savefig(IMAGES / "claim.svg")
    print(markdown(table))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
