"""Estimates of several runs side by side: matched, their differences, their agreement, and a figure of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from brainalign.errors import ResultsError
from brainalign.measures.encoding import CHOSEN
from brainalign.measures.result import COLUMNS
from brainalign.report._draw import plain
from brainalign.report.colours import GRID, ModelStyle, model_styles
from brainalign.report.saved import SavedRun
from brainalign.report.words import Row, records, telling_columns, told_apart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: What an estimate is about.
ABOUT = ("measure", "model", "layer", "brain", "target", "statistic")
#: How estimates agree, from the closest to the farthest.
AGREEMENT = (
    "identical",
    "each within the other's interval",
    "one within the other's interval",
    "intervals overlap",
    "intervals lie apart",
    "no interval to judge by",
)
#: Columns that are outcomes or counts, and never tell estimates apart.
_OUTCOMES = ("n_", "p_", "ci_")
_DERIVED = ("difference", "in_intervals", "agreement")
_COMPARED = ("value", "ci_low", "ci_high", "p", "n")
#: Rows of the figure.
MAX_ROWS = 24


@dataclass(frozen=True)
class RunComparison:
    """Estimates of runs side by side.

    Attributes
    ----------
    names : list of str
        Of the runs, see :func:`run_names`.
    both : DataFrame
        One row for each estimate that at least two runs have: what it is about (``measure`` to ``statistic``, and
        further columns of a measure where these do not tell its estimates apart), for each run ``value``, ``ci_low``,
        ``ci_high``, ``p`` and ``n`` followed by its name, ``difference`` (the last run that has it minus the first),
        ``in_intervals`` (its size over the mean half width of the intervals: a length, no test) and ``agreement``, one
        of `AGREEMENT`, of the two runs that agree least. Sorted: what differs most comes first.
    single : DataFrame
        Estimates that only one run has, with its name (``run``).
    ambiguous : dict of str to int
        For each measure, how many estimates no column tells apart, and which are therefore not compared.
    statistics : dict of str to str
        For each measure, the statistic that comes first in the tables of results, of those that several runs have.
    """

    names: list[str]
    both: pd.DataFrame
    single: pd.DataFrame
    ambiguous: dict[str, int]
    statistics: dict[str, str]

    @property
    def further(self) -> list[str]:
        """Columns of :attr:`both` and :attr:`single`, beside `ABOUT`, that say what an estimate is about."""
        return [str(c) for c in self.both if "|" not in str(c) and c not in (*ABOUT, *_DERIVED)]


def compare_runs(runs: Sequence[SavedRun]) -> RunComparison:
    """Match the estimates of runs.

    Parameters
    ----------
    runs : sequence of SavedRun
        Two or more.

    Returns
    -------
    RunComparison
        What several runs have, what only one has, and what cannot be matched.

    Raises
    ------
    ResultsError
        If there are fewer than two runs.
    """
    if len(runs) < 2:
        raise ResultsError(f"a comparison needs two runs or more, found {len(runs)}")
    names = run_names(runs)
    parts: list[pd.DataFrame] = []
    ambiguous: dict[str, int] = {}
    for measure in dict.fromkeys(m for run in runs for m in run.table["measure"]):
        part, n = _matched([run.table[run.table["measure"] == measure] for run in runs], names)
        parts.append(part)
        ambiguous |= {measure: n} if n else {}
    joined = pd.concat(parts, ignore_index=True)
    extra = [str(c) for c in joined if "|" not in str(c) and c not in ABOUT]
    there = joined[[f"there|{n}" for n in names]].notna().to_numpy()
    joined = joined[[*ABOUT, *extra, *(f"{c}|{n}" for n in names for c in _COMPARED)]]
    several = there.sum(axis=1) > 1
    both, alone = joined[several].reset_index(drop=True), joined[~several].reset_index(drop=True)
    owner = [names[int(row.argmax())] for row in there[~several]]
    own = {c: [alone[f"{c}|{name}"][i] for i, name in enumerate(owner)] for c in _COMPARED}
    single = alone[[*ABOUT, *extra]].assign(run=owner, **own)
    tables = pd.concat([run.table[["measure", "statistic"]] for run in runs]).drop_duplicates()
    first = tables.merge(both[["measure", "statistic"]].drop_duplicates()).drop_duplicates("measure")
    statistics = dict(first.itertuples(index=False, name=None))
    return RunComparison(names, _sorted(both.assign(**_agreement(both, names))), single, ambiguous, statistics)


def run_names(runs: Sequence[SavedRun]) -> list[str]:
    """Return a short name for each run: its folder, with as many of the folders above as tell them apart."""
    parts = [run.folder.resolve().parts for run in runs]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-depth:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{'/'.join(own[-1:])} ({i + 1})" for i, own in enumerate(parts)]


def _matched(tables: Sequence[pd.DataFrame], names: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """Join the estimates of one measure by what they are about; count those that nothing tells apart."""
    keys = _keys([t for t in tables if len(t)])
    parts, n = [], 0
    for table, name in zip(tables, names, strict=True):
        doubled = table.duplicated(keys, keep=False) if len(table) else pd.Series(False, index=table.index)
        n += int(doubled.sum())
        own = table[~doubled].reindex(columns=[*keys, *_COMPARED]).assign(there=1.0).set_index(keys)
        parts.append(own.add_suffix(f"|{name}"))
    return pd.concat(parts, axis=1, sort=False).reset_index(), n


def _keys(tables: Sequence[pd.DataFrame]) -> list[str]:
    """Choose columns that tell estimates apart: those of all measures, and further ones only where needed."""
    keys = list(ABOUT)
    extra = [str(c) for c in tables[0] if c not in COLUMNS and all(_is_key(t, str(c), tables[0]) for t in tables)]
    texts = [c for c in extra if not pd.api.types.is_numeric_dtype(tables[0][c])]
    for column in [*texts, *(c for c in extra if c not in texts)]:
        doubled = [int(t.duplicated(keys).sum()) for t in tables]
        if not any(doubled):
            break
        if [int(t.duplicated([*keys, column]).sum()) for t in tables] != doubled:
            keys.append(column)
    return keys


def _is_key(table: pd.DataFrame, column: str, first: pd.DataFrame) -> bool:
    """Tell whether a column may name estimates: a condition has the same values in all runs, an outcome has not."""
    if column not in table or column.startswith(_OUTCOMES):
        return False
    ours, theirs = (set(t[column].dropna()) for t in (table, first))
    return bool(ours & theirs) and 2 * len(ours & theirs) >= min(len(ours), len(theirs))


def _agreement(both: pd.DataFrame, names: Sequence[str]) -> dict[str, object]:
    value, low, high = (both[[f"{c}|{n}" for n in names]].to_numpy(float) for c in ("value", "ci_low", "ci_high"))
    code = np.zeros(len(both), dtype=int)
    for i in range(len(names)):
        for j in range(i + 1, len(names)):
            code = np.maximum(code, _pair(*(a[:, [i, j]] for a in (value, low, high))))
    half = np.full(len(both), np.nan)
    known = ~np.isnan(high - low).all(axis=1)
    half[known] = np.nanmean((high - low)[known] / 2, axis=1)
    first, last = _ends(value)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.abs(last - first) / half
    return {
        "difference": last - first,
        "in_intervals": np.where(half > 0, scaled, np.nan),
        "agreement": [AGREEMENT[c] for c in code],
    }


def _pair(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Tell how two estimates agree, as a place in `AGREEMENT`; 0 where one of the runs does not have it."""
    within = (value >= low[:, ::-1]) & (value <= high[:, ::-1])
    overlap = (low[:, 0] <= high[:, 1]) & (low[:, 1] <= high[:, 0])
    same = (value[:, 0] == value[:, 1]) & all_same(low) & all_same(high)
    missing = np.isnan(value).any(axis=1)
    unknown = np.isnan(low).any(axis=1) | np.isnan(high).any(axis=1)
    conditions = [missing, same, unknown, within.all(axis=1), within.any(axis=1), overlap]
    return np.select(conditions, [0, 0, 5, 1, 2, 3], 4)


def all_same(pair: np.ndarray) -> np.ndarray:
    """Tell in which rows two numbers are the same, or both missing."""
    same: np.ndarray = (pair[:, 0] == pair[:, 1]) | np.isnan(pair).all(axis=1)
    return same


def _ends(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the value of the first and of the last run that has one."""
    there = ~np.isnan(value)
    rows = np.arange(len(value))
    first = value[rows, there.argmax(axis=1)]
    last = value[rows, value.shape[1] - 1 - there[:, ::-1].argmax(axis=1)]
    return first, last


def _sorted(both: pd.DataFrame) -> pd.DataFrame:
    """Sort: farthest apart in intervals first, then those without intervals by the relative size of the difference."""
    values = both[[c for c in both if str(c).startswith("value|")]].abs().max(axis=1)
    relative = both["difference"].abs() / values.where(values > 0)
    order = pd.DataFrame({"scaled": both["in_intervals"].fillna(-1), "relative": relative.fillna(-1)})
    return both.loc[order.sort_values(["scaled", "relative"], ascending=False, kind="stable").index].reset_index(
        drop=True
    )


def main_estimates(both: pd.DataFrame, statistics: Mapping[str, str], limit: int = MAX_ROWS) -> pd.DataFrame:
    """Choose what the figure shows: one statistic of each measure, of chosen layers where there are any.

    Parameters
    ----------
    both : DataFrame
        Of a :class:`RunComparison`.
    statistics : mapping of str to str
        By measure.
    limit : int
        Most rows of one measure; those that differ most are kept.

    Returns
    -------
    DataFrame
        Rows of `both`, measure by measure, sorted by model, layer, brain and target within.
    """
    parts = []
    for measure, rows in both.groupby("measure", sort=False):
        own = rows[rows["statistic"] == statistics[str(measure)]]
        chosen = own[own["layer"] == CHOSEN]
        others = own[~own["model"].isin(chosen["model"])]
        own = pd.concat([chosen, others]) if len(chosen) else own
        own = own.sort_index().head(limit)
        parts.append(own.sort_values(["brain", "target", "model"], kind="stable") if len(chosen) else own)
    return pd.concat(parts, ignore_index=True) if parts else both


def plot_run_comparison(
    ax: Axes, table: pd.DataFrame, runs: Sequence[str], *, styles: Mapping[str, ModelStyle] | None = None
) -> Axes:
    """Draw paired dots: one row per estimate, one dot with its interval per run.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    table : DataFrame
        Rows of one statistic, as in a :class:`RunComparison`, drawn from top to bottom.
    runs : sequence of str
        Names of the runs, as in the columns of `table`.
    styles : mapping of str to ModelStyle, optional
        Colour and marker by run.

    Returns
    -------
    matplotlib Axes
        `ax`.
    """
    styles = styles or model_styles(list(runs))
    rows = np.arange(len(table))
    offsets = np.linspace(-0.18, 0.18, len(runs)) if len(runs) > 1 else np.zeros(1)
    for offset, run in zip(offsets, runs, strict=True):
        value, low, high = (table[f"{c}|{run}"].to_numpy(float) for c in ("value", "ci_low", "ci_high"))
        errors = np.nan_to_num(np.clip(np.stack([value - low, high - value]), 0, None), posinf=0.0)
        one = styles[run]
        ax.errorbar(
            value, rows + offset, xerr=errors, fmt=one.marker, color=one.colour, ms=4.5, lw=1.2, label=plain(run)
        )
    further = telling_columns(table.drop(columns=list(_DERIVED), errors="ignore"), ABOUT)
    ax.set_yticks(rows, [_label(row, table, further) for row in records(table)])
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.yaxis.grid(True, color=GRID)
    ax.tick_params(axis="y", length=0)
    statistic, measure = (str(table[c].iloc[0]) for c in ("statistic", "measure"))
    ax.set_title(plain(measure))
    ax.set_xlabel(plain(statistic))
    return ax


def _label(row: Row, table: pd.DataFrame, further: Sequence[str]) -> str:
    """Name a row by what tells it from the others."""
    parts = [str(row[c]) for c in ("model", "layer", "brain", "target") if table[c].nunique() > 1 and row[c]]
    parts += told_apart(row, further)
    return plain(" · ".join(dict.fromkeys(parts)) or str(row["model"] or row["brain"]), 56)


def plot_run_comparisons(figure: Figure, both: pd.DataFrame, runs: Sequence[str]) -> Figure:
    """Draw the main estimates of all measures, one panel each, into a figure.

    Parameters
    ----------
    figure : matplotlib Figure
        Where to draw.
    both : DataFrame
        Of :func:`main_estimates`.
    runs : sequence of str
        Names of the runs.

    Returns
    -------
    matplotlib Figure
        `figure`.
    """
    groups = [rows.reset_index(drop=True) for _, rows in both.groupby("measure", sort=False)]
    axes = figure.subplots(len(groups), 1, squeeze=False, height_ratios=[len(rows) + 1.5 for rows in groups])[:, 0]
    for ax, rows in zip(axes, groups, strict=True):
        plot_run_comparison(ax, rows, runs)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=min(len(runs), 4))
    return figure
