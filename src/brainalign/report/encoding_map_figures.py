"""The figure of an encoding map, and what it shows as a caption and as a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from brainalign.measures.decoding_rows import ALL_SUBJECTS
from brainalign.measures.result import Result
from brainalign.measures.voxel_fits import ALL_UNITS
from brainalign.report._draw import plain
from brainalign.report.colours import MUTED, model_styles
from brainalign.report.words import Row, number, p_words, present, records, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Most regions that are drawn: those that are predicted best by any embedding.
MAX_REGIONS = 12


def plot_encoding_map(ax: Axes, result: Result) -> Axes:
    """Draw how well each embedding predicts the voxels of each region.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    result : Result
        Of ``encoding-map``.

    Returns
    -------
    matplotlib Axes
        `ax`: means over subjects with their intervals, all voxels first, then the regions that are predicted best.
    """
    rows = _spaces(_means(result.table))
    best = rows[rows["target"] != ALL_UNITS].groupby("target", sort=False)["value"].max().nlargest(MAX_REGIONS)
    targets = [ALL_UNITS, *best.index]
    models = list(dict.fromkeys(rows["space"]))
    styles = model_styles(models)
    for k, model in enumerate(models):
        own = rows[(rows["space"] == model) & rows["target"].isin(targets)]
        at = np.array([targets.index(t) for t in own["target"]]) + 0.6 * ((k + 0.5) / len(models) - 0.5)
        style = styles[model]
        ax.vlines(at, own["ci_low"].to_numpy(float), own["ci_high"].to_numpy(float), color=style.colour, lw=1.2)
        ax.plot(at, own["value"], ls="none", marker=style.marker, ms=4.5, color=style.colour, label=plain(model, 40))
    ax.axhline(0, color=MUTED, lw=0.7)
    ax.set_xticks(range(len(targets)), [plain(t, 24) for t in targets], rotation=30, ha="right")
    ax.set_ylabel("held-out r, mean over voxels")
    ax.grid(axis="y")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    return ax


def _means(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["statistic"] == "r_mean") & (table["subject"] == ALL_SUBJECTS)]


def _spaces(rows: pd.DataFrame) -> pd.DataFrame:
    """Name what predicts: the model, and its layer where a model has several."""
    several = rows.groupby("model")["layer"].transform("nunique") > 1
    return rows.assign(space=rows["model"].where(~several, rows["model"] + " " + rows["layer"]))


def encoding_map_caption(whose: str, result: Result) -> str:
    """Say what the figure shows.

    Parameters
    ----------
    whose : str
        Which models.
    result : Result
        Of ``encoding-map``.

    Returns
    -------
    str
        A sentence or two.
    """
    n_regions = _means(result.table)["target"].nunique() - 1
    left_out = f" The {MAX_REGIONS} regions of {n_regions} that are predicted best." if n_regions > MAX_REGIONS else ""
    return (
        f"Mean over voxels of the correlation between measured and predicted responses to test clips, by {whose}; 95% "
        f"intervals: bootstrap over subjects and test clips, fits held fixed.{left_out}"
    )


def encoding_map_answer(table: pd.DataFrame, results: Sequence[Result]) -> str:
    """Say how many voxels each embedding predicts, and how well.

    Parameters
    ----------
    table : DataFrame
        Rows of ``encoding-map``.
    results : sequence of Result
        Of which the first tells the null.

    Returns
    -------
    str
        A sentence, empty without rows.
    """
    whole = table[(table["subject"] == ALL_SUBJECTS) & (table["target"] == ALL_UNITS)]
    shares = {
        (r["model"], r["layer"]): r
        for r in records(whole[whole["statistic"] == "share_significant"])
        if _ours(r, results)
    }
    said = []
    for row in records(_spaces(whole[whole["statistic"] == "r_mean"])):
        share = shares.get((row["model"], row["layer"]))
        of = (
            f"; {100 * share['value']:.0f}% of them significant"
            if share is not None and present(share["value"])
            else ""
        )
        p = f", {p_words(row['p'])}" if present(row["p"]) else ""
        said.append(f"by {row['space']}, mean r over all voxels = {score(row)}{p}{of}")
    if not said:
        return ""
    q = number(results[0].settings.get("q", np.nan), 2) if results else "–"
    return f"On test clips: {'; '.join(said)} (false discovery rate {q})."


def _ours(row: Row, results: Sequence[Result]) -> bool:
    """Tell the share by the null that was asked for from the published one beside it."""
    null = str(results[0].settings.get("null", "permutation")) if results else "permutation"
    return "null" not in row or str(row["null"]).startswith(null)


#: Figures of a result of these measures.
MAIN: dict[str, Callable[[Axes, Result], Axes]] = {"encoding-map": plot_encoding_map}
