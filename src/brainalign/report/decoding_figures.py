"""Figures of decoding and of the reliability of brain data, and what they show as a caption and as a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.measures.decoding_rows import ALL_SUBJECTS, LEFT_OUT, TEST
from brainalign.measures.result import Result
from brainalign.measures.voxel_fits import ALL_UNITS
from brainalign.report._draw import plain
from brainalign.report.colours import INK, MUTED, ModelStyle, category_order, model_styles
from brainalign.report.words import Row, p_words, present, records, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Styles = Mapping[str, ModelStyle]

ACCURACY = "identification_accuracy"
#: Most regions that are drawn, and most brains and models that a sentence lists.
MAX_REGIONS, MAX_LISTED = 12, 4
_SERIES = ["brain", "model"]


def plot_decoding(ax: Axes, table: pd.DataFrame, styles: Styles | None = None) -> Axes:
    """Draw how often the clip heard was identified: subjects, their mean and chance, and beside it each category.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw; gives half of its place to new axes if there are categories.
    table : DataFrame
        Rows of ``decoding``, of one or several models and brains.
    styles : mapping of str to ModelStyle, optional
        Style by model; several brains have styles of their own.

    Returns
    -------
    matplotlib Axes
        `ax`: large marks are means over subjects, small ones subjects. The short line above or below a mean is the 95th
        percentile of the null, where the table has it (``null_p95``).
    """
    rows = _of_test(table)
    named = _names(rows)
    if rows["brain"].nunique() > 1 or styles is None:
        styles = model_styles(list(named.values()))
        by_series = {key: styles[name] for key, name in named.items()}
    else:
        by_series = {key: styles[key[1]] for key in named}
    whole, parts = rows[rows["category"] == ""], rows[rows["category"] != ""]
    brains = list(dict.fromkeys(whole["brain"]))
    places = list(dict.fromkeys(zip(whole["brain"], whole["model"], whole["layer"], strict=True)))
    places.sort(key=lambda place: brains.index(place[0]))
    for i, (brain, model, layer) in enumerate(places):
        own = whole[(whole["brain"] == brain) & (whole["model"] == model) & (whole["layer"] == layer)]
        style = by_series[brain, model]
        subjects = own[own["target"] != ALL_SUBJECTS]
        offsets = i + np.linspace(0.15, 0.4, len(subjects)) if len(subjects) > 1 else np.array([i + 0.25])
        _points(ax, offsets, subjects, MUTED, 0.6, marker=style.marker, ms=2.5)
        mean = own[own["target"] == ALL_SUBJECTS]
        label = None if (brain, model) in [p[:2] for p in places[:i]] else plain(named[brain, model], 40)
        _points(ax, np.full(len(mean), i - 0.1), mean, style.colour, 1.5, marker=style.marker, ms=6, label=label)
        if "null_p95" in mean and mean["null_p95"].notna().all():
            ax.hlines(mean["null_p95"], i - 0.28, i + 0.08, color=MUTED, lw=1.4)
    ax.set_xticks(range(len(places)), [_tick(place, places) for place in places], rotation=30, ha="right")
    ax.set_xlim(-0.6, len(places) - 0.4)
    for brain in brains if len(brains) > 1 else []:
        own_places = [i for i, place in enumerate(places) if place[0] == brain]
        middle = (own_places[0] + own_places[-1]) / 2
        ax.text(
            middle, 1.01, plain(brain, 24), transform=ax.get_xaxis_transform(), ha="center", va="bottom", size="small"
        )
        if own_places[0]:
            ax.axvline(own_places[0] - 0.5, color=MUTED, lw=0.7)
    _finish(ax, whole)
    ax.set_ylabel("clip identified, share of pairs")
    last = ax if parts.empty else _plot_categories(ax, table, parts, by_series)
    last.legend(*ax.get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    return ax


def _tick(place: tuple[str, str, str], places: Sequence[tuple[str, str, str]]) -> str:
    """Name the layer, or the model where that is its only layer and there are other models."""
    _, model, layer = place
    alone = len({p[2] for p in places if p[1] == model}) == 1 and len({p[1] for p in places}) > 1
    return plain(model if alone and model else layer, 18)


def _plot_categories(
    ax: Axes, table: pd.DataFrame, parts: pd.DataFrame, by_series: Mapping[tuple[str, str], ModelStyle]
) -> Axes:
    """Draw each category in the right half of the axes, for the model and layer that training clips chose."""
    grid = ax.get_subplotspec().subgridspec(1, 2, width_ratios=(1, 1.4))  # type: ignore[union-attr]
    ax.set_subplotspec(grid[0])
    beside = ax.figure.add_subplot(grid[1], sharey=ax)
    leader = leading_model(table)
    layers = {key: layer for key, layer in decoded_layers(table).items() if key[1] == leader}
    names = category_order(parts["category"])
    for i, (key, layer) in enumerate(layers.items()):
        own = parts[(parts["brain"] == key[0]) & (parts["model"] == key[1]) & (parts["layer"] == layer)]
        at = np.array([names.index(c) for c in own["category"]]) + 0.6 * ((i + 0.5) / len(layers) - 0.5)
        _points(beside, at, own, by_series[key].colour, 1.2, marker=by_series[key].marker, ms=4.5)
    beside.set_xticks(range(len(names)), [plain(n, 18) for n in names], rotation=30, ha="right")
    beside.set_xlim(-0.6, len(names) - 0.4)
    beside.tick_params(labelleft=False)
    _finish(beside, parts)
    return beside


def plot_reliability(ax: Axes, table: pd.DataFrame, styles: Styles | None = None) -> Axes:
    """Draw the reliability of each region in each subject, with its interval.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    table : DataFrame
        Rows of ``reliability``; drawn is the first statistic.
    styles : mapping of str to ModelStyle, optional
        Not used: no model is drawn.

    Returns
    -------
    matplotlib Axes
        `ax`: points are subjects, a line is their mean.
    """
    rows = table[table["statistic"] == table["statistic"].iloc[0]]
    targets = _drawn_targets(rows)
    for i, target in enumerate(targets):
        own = rows[rows["target"] == target]
        at = i + np.linspace(-0.25, 0.25, len(own) + 2)[1:-1]
        _points(ax, at, own, INK, 0.7, marker="o", ms=3.5)
        ax.hlines(own["value"].mean(), i - 0.3, i + 0.3, color=MUTED, lw=1.4)
    ax.set_xticks(range(len(targets)), [plain(t, 24) for t in targets], rotation=30, ha="right")
    ax.set_xlim(-0.6, len(targets) - 0.4)
    ax.axhline(0, color=MUTED, lw=0.7)
    ax.grid(axis="y")
    ax.set_ylabel(f"{plain(str(rows['statistic'].iloc[0]))}, median of units")
    return ax


def decoded_layers(table: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return the layer to quote of each brain and model: the best on left-out training clips, which no test clip chose.

    Parameters
    ----------
    table : DataFrame
        Rows of ``decoding``.

    Returns
    -------
    dict of (brain, model) to layer
        In the order of the table.
    """
    best = _best_left_out(table).drop_duplicates(_SERIES).sort_index()
    return {(str(r["brain"]), str(r["model"])): str(r["layer"]) for r in records(best)}


def leading_model(table: pd.DataFrame) -> str:
    """Return the model that is best on left-out training clips, by any brain and layer.

    Parameters
    ----------
    table : DataFrame
        Rows of ``decoding``.

    Returns
    -------
    str
        Its name.
    """
    return str(_best_left_out(table)["model"].iloc[0])


def _best_left_out(table: pd.DataFrame) -> pd.DataFrame:
    keep = (table["statistic"] == ACCURACY) & (table["evaluated"] == LEFT_OUT) & (table["target"] == ALL_SUBJECTS)
    return table[keep].sort_values("value", ascending=False, kind="stable")


def decoding_caption(table: pd.DataFrame) -> str:
    """Say what the figure of decoding shows.

    Parameters
    ----------
    table : DataFrame
        Rows of ``decoding``, of one or several models and brains.

    Returns
    -------
    str
        Two to four sentences.
    """
    rows = _of_test(table)
    means = rows[(rows["category"] == "") & (rows["target"] == ALL_SUBJECTS)]
    text = (
        "Share of pairs of test clips in which the embedding predicted from the brain is more like that of the clip "
        "heard than that of the other. Large marks are means over subjects, small ones subjects, with intervals; the "
        "dotted line is chance"
    )
    if "null_p95" in means and means["null_p95"].notna().any():
        text += "; short lines: the 95th percentile of the null"
    if (rows["category"] != "").any():
        text += ". At the right the clips of each category, for the model and layer that are best on left-out "
        text += "training clips"
    places = records(means)
    listed = "; ".join(f"{_place(r, means)} {_percent(r)}" for r in places[:MAX_REGIONS])
    more = f"; the table has {len(places) - MAX_REGIONS} more" if len(places) > MAX_REGIONS else ""
    return f"{text}. Means: {listed}{more}."


def decoding_answer(table: pd.DataFrame, results: Sequence[Result]) -> str:
    """Say how often the clip that was heard was identified from each brain.

    Parameters
    ----------
    table : DataFrame
        Rows of ``decoding`` that have a value.
    results : sequence of Result
        Not used: all is in the table.

    Returns
    -------
    str
        One sentence, and one more for other brains and models.
    """
    rows = _of_test(table)
    means = rows[(rows["category"] == "") & (rows["target"] == ALL_SUBJECTS)]
    layers = decoded_layers(table)
    first = _best_left_out(table).iloc[0]
    quoted = [r for r in records(means) if layers.get((r["brain"], r["model"])) == r["layer"]]
    own = next(r for r in quoted if (r["brain"], r["model"]) == (first["brain"], first["model"]))
    # All brains of this model are named: a control says what the number is worth.
    same = [r for r in quoted if r is not own and r["model"] == own["model"]]
    others = [r for r in quoted if r["model"] != own["model"]]
    of_several = means[(means["brain"] == own["brain"]) & (means["model"] == own["model"])]["layer"].nunique() > 1
    text = f"From {own['brain'] or 'the brain'}, the clip heard was told from another of {own['n_candidates']:.0f} in "
    whose = own["model"] or "the model"
    text += f"{_percent(own)} of pairs by its predicted embedding, that of {whose}"
    text += f" in {own['layer']}" if of_several else ""
    if of_several or others:
        text += f" (the best {'model' if others else 'layer'} on left-out training clips)"
    text += f", mean over {own['n']} {own['n_of'] if own['n'] != 1 else 'subject'}; chance {100 * own['chance']:.0f}%."
    listed = "; ".join(f"{_place(r, means)} {_percent(r)}" for r in [*same, *others[:MAX_LISTED]])
    more = f"; and {len(others) - MAX_LISTED} more" if len(others) > MAX_LISTED else ""
    return f"{text} Beside it: {listed}{more}." if listed else text


def reliability_caption(table: pd.DataFrame) -> str:
    """Say what the figure of reliability shows.

    Parameters
    ----------
    table : DataFrame
        Rows of ``reliability``.

    Returns
    -------
    str
        Two or three sentences.
    """
    rows = table[table["statistic"] == table["statistic"].iloc[0]]
    targets = _drawn_targets(rows)
    listed = "; ".join(f"{t} {_over_subjects(rows[rows['target'] == t])}" for t in targets)
    n = rows["target"].nunique()
    cut = f" Shown are the {len(targets)} of {n} regions of highest mean." if n > len(targets) else ""
    return (
        f"Reliability ({rows['statistic'].iloc[0]}, median over units) of each subject, with intervals over sounds; a "
        f"line is the mean over subjects.{cut} {listed[0].upper()}{listed[1:]}."
    )


def reliability_answer(table: pd.DataFrame, results: Sequence[Result]) -> str:
    """Say how reliable the units are, and which region is most reliable.

    Parameters
    ----------
    table : DataFrame
        Rows of ``reliability`` that have a value.
    results : sequence of Result
        Not used: all is in the table.

    Returns
    -------
    str
        One sentence.
    """
    rows = table[(table["statistic"] == table["statistic"].iloc[0]) & (table["brain"] == table["brain"].iloc[0])]
    text = f"The {rows['statistic'].iloc[0]} reliability of the units of {rows['brain'].iloc[0] or 'the brain'} is "
    text += _over_subjects(rows[rows["target"] == ALL_UNITS])
    regions = rows[rows["target"] != ALL_UNITS]
    if regions["target"].nunique() > 1:
        best = regions.groupby("target", sort=False)["value"].mean().idxmax()
        text += f"; the most reliable of {regions['target'].nunique()} regions is {best}, "
        text += _over_subjects(regions[regions["target"] == best])
    return f"{text}."


def _of_test(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["statistic"] == ACCURACY) & (table["evaluated"] == TEST)]


def _names(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Name what is drawn by model, and by brain where there are several."""
    several = [c for c in _SERIES if rows[c].nunique() > 1] or ["model"]
    return {
        (str(r["brain"]), str(r["model"])): " · ".join(str(r[c]) for c in several if r[c]) or "brain"
        for r in records(rows.drop_duplicates(_SERIES))
    }


def _place(row: Row, among: pd.DataFrame) -> str:
    """Name a row by brain and model, if these differ among the rows, and by the layer if the model has several."""
    differ = [c for c in _SERIES if among[c].nunique() > 1]
    layers_of_model = among.loc[among["model"] == row["model"], "layer"].nunique()
    differ = [*differ, "layer"] if layers_of_model > 1 or not differ else differ
    return " ".join(str(row[c]) for c in differ if row[c])


def _points(ax: Axes, at: NDArray[np.float64], rows: pd.DataFrame, colour: str, lw: float, **how: Any) -> None:
    low, high = rows[["ci_low", "ci_high"]].to_numpy(float).T
    ax.vlines(at, low, high, color=colour, lw=lw)
    ax.plot(at, rows["value"].to_numpy(float), ls="none", color=colour, **how)


def _finish(ax: Axes, rows: pd.DataFrame) -> None:
    ax.axhline(rows["chance"].iloc[0], color=INK, lw=0.9, ls=":")
    ax.grid(axis="y")


def _percent(row: Row) -> str:
    """Write a share as ``87.6% (81.0 to 92.3%; p = 0.001)``."""
    ends = f"{100 * row['ci_low']:.1f} to {100 * row['ci_high']:.1f}%" if present(row["ci_low"]) else "no interval"
    p = p_words(row["p"]) if present(row["p"]) else "no p"
    return f"{100 * row['value']:.1f}% ({ends}; {p})"


def _over_subjects(rows: pd.DataFrame) -> str:
    """Write the mean over subjects and their range; of one subject the value and its interval."""
    if len(rows) == 1:
        return score(records(rows)[0])
    values = rows["value"]
    ends = {"value": values.mean(), "ci_low": values.min(), "ci_high": values.max()}
    return score(ends).replace("(", f"(mean over {len(rows)} subjects, ")


def _drawn_targets(rows: pd.DataFrame) -> list[str]:
    """Return all targets, or those of highest mean if there are many."""
    means = rows.groupby("target", sort=False)["value"].mean()
    return [str(t) for t in means.index if t in set(means.nlargest(MAX_REGIONS).index)]


#: Figures that hold all models, and all brains that they are given: drawn from the rows of all results of a measure.
TOGETHER: dict[str, Callable[[Axes, pd.DataFrame, Styles | None], Axes]] = {
    "decoding": plot_decoding,
    "reliability": plot_reliability,
}
