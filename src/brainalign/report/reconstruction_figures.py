"""The figure of a reconstruction, and what it shows as a caption and as a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from brainalign.measures.decoding_rows import ALL_SUBJECTS
from brainalign.measures.result import Result
from brainalign.reconstruction.steps import ITSELF, ORACLE, OTHER_PART
from brainalign.report._draw import plain
from brainalign.report.colours import MUTED, ModelStyle, model_styles
from brainalign.report.words import Row, number, p_words, present, records

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACCURACY = "identification_accuracy"
#: Order of kinds in the figure, and what they are called there.
_KINDS = {
    "decoded": "decoded", "retrieved": "retrieved", "generated": "generated", ORACLE: "true embedding",
    OTHER_PART: "other part",
}  # fmt: skip


def plot_reconstruction(ax: Axes, result: Result) -> Axes:
    """Draw how often the clip heard is identified by what was decoded, retrieved and generated, and how tags agree.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw; gives half of its place to new axes if there are tags.
    result : Result
        Of ``reconstruction``.

    Returns
    -------
    matplotlib Axes
        `ax`: marks are means over subjects with their intervals, short lines are chance, crosses what was published.
    """
    rows = _means(result.table)
    rows = rows.assign(order=rows["kind"].map(list(_KINDS).index)).sort_values("order", kind="stable")
    identified, tagged = rows[rows["statistic"] == ACCURACY], rows[_column(rows, "tags") != ""]
    brains = [b for b in dict.fromkeys(rows["brain"]) if b] or [""]
    styles = model_styles(brains)
    last = ax
    if not tagged.empty:
        grid = ax.get_subplotspec().subgridspec(1, 2, width_ratios=(1, 1.6), wspace=0.3)  # type: ignore[union-attr]
        ax.set_subplotspec(grid[0])
        last = ax.figure.add_subplot(grid[1])
        tagged = tagged.sort_values(["tags", "order"], kind="stable")
        groups = tagged["tags"] + ": " + tagged["kind"].map(_KINDS)
        _draw_rows(last, tagged, groups, brains, styles)
        last.set_ylabel("overlap of tags")
    _draw_rows(ax, identified, identified["kind"].map(_KINDS), brains, styles)
    ax.set_ylabel("clip identified, share of pairs")
    ax.set_ylim(top=1.02)
    last.legend(*ax.get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    return ax


def _draw_rows(
    ax: Axes, rows: pd.DataFrame, places: pd.Series[str], brains: list[str], styles: Mapping[str, ModelStyle]
) -> None:
    names = list(dict.fromkeys(places))
    for row, place in zip(records(rows), places, strict=True):
        of_brain = row["brain"] in brains and row["brain"] != ""
        k = brains.index(row["brain"]) if of_brain else (len(brains) - 1) / 2
        at = names.index(place) + 0.5 * ((k + 0.5) / len(brains) - 0.5)
        colour, marker = (styles[row["brain"]].colour, styles[row["brain"]].marker) if of_brain else (MUTED, "D")
        label = plain(row["brain"], 40) if of_brain and row["brain"] not in _labelled(ax) else None
        if present(row["ci_low"]):
            ax.vlines(at, row["ci_low"], row["ci_high"], color=colour, lw=1.5)
        ax.plot([at], [row["value"]], marker=marker, ms=5.5, color=colour, ls="none", label=label)
        if present(row.get("chance")):
            ax.hlines(row["chance"], names.index(place) - 0.4, names.index(place) + 0.4, color=MUTED, lw=1, ls=":")
        if present(row.get("chance_of_pairing")):
            ax.hlines(row["chance_of_pairing"], at - 0.15, at + 0.15, color=colour, lw=1)
        if present(row.get("published")):
            ax.plot([at + 0.12], [row["published"]], marker="x", ms=6, color=MUTED, ls="none")
    ax.set_xticks(range(len(names)), [plain(n, 40) for n in names], rotation=35, ha="right")
    ax.set_xlim(-0.6, len(names) - 0.4)
    ax.grid(axis="y")


def _labelled(ax: Axes) -> set[str]:
    return set(ax.get_legend_handles_labels()[1])


def _means(table: pd.DataFrame) -> pd.DataFrame:
    """Return the means over subjects, of all categories together; and what comes of the clips themselves."""
    whole = _column(table, "category") == ""
    return table[whole & table["target"].isin([ALL_SUBJECTS]) | whole & (table["target"] == ITSELF)].drop_duplicates(
        ["kind", "brain", "statistic", "tags"] if "tags" in table else ["kind", "brain", "statistic"]
    )


def _column(table: pd.DataFrame, name: str) -> pd.Series[str]:
    if name not in table:
        return pd.Series("", index=table.index)
    return table[name].astype(object).where(table[name].notna(), "").astype(str)


def reconstruction_caption(whose: str, result: Result) -> str:
    """Say what the figure shows.

    Parameters
    ----------
    whose : str
        Which model.
    result : Result
        Of ``reconstruction``.

    Returns
    -------
    str
        Two or three sentences.
    """
    tagged = (_column(result.table, "tags") != "").any()
    tags = " Right: share of the highest-ranked tags that both have; short lines: of random pairs." if tagged else ""
    published = " Crosses: Denk et al. 2023." if "published" in result.table else ""
    return (
        f"How often the clip that was heard is told from another by the embedding ({whose}) that was decoded, by that "
        f"of the music retrieved or generated for it, and by what the same path gives for the clip itself; means over "
        f"subjects, 95% intervals, dotted: chance.{tags}{published}"
    )


def reconstruction_answer(table: pd.DataFrame, results: Sequence[Result]) -> str:
    """Say how near the music comes to what was heard.

    Parameters
    ----------
    table : DataFrame
        Rows of ``reconstruction``.
    results : sequence of Result
        Not used.

    Returns
    -------
    str
        A sentence, empty if nothing was identified.
    """
    rows = [r for r in records(_means(table)) if r["statistic"] == ACCURACY and r["kind"] != "decoded"]
    if not rows:
        return ""
    listed = "; ".join(_said(r) for r in rows)
    return f"By the music itself, the clip heard is told from another in {listed}; chance 50%."


def _said(row: Row) -> str:
    value, low, high = (100 * float(row[c]) for c in ("value", "ci_low", "ci_high"))
    ends = f" ({number(low, 3)} to {number(high, 3)}%)" if np.isfinite(low) else ""
    brain = f", {row['brain']}" if row["brain"] else ""
    p = f", {p_words(row['p'])}" if present(row["p"]) else ""
    return f"{number(value, 3)}%{ends} of pairs ({row['kind']}{brain}{p})"


#: Figures of a result of these measures.
MAIN: dict[str, Callable[[Axes, Result], Axes]] = {"reconstruction": plot_reconstruction}
