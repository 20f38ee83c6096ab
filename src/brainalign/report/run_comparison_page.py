"""The page that compares runs: what differs, what can be said of it, estimates side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign._files import write_then_rename
from brainalign.errors import ResultsError
from brainalign.report._draw import new_figure, style
from brainalign.report.run_comparison import (
    ABOUT,
    AGREEMENT,
    RunComparison,
    compare_runs,
    main_estimates,
    plot_run_comparisons,
)
from brainalign.report.run_differences import Differences, differences
from brainalign.report.saved import SavedRun
from brainalign.report.svg import Drawing, safe_csv
from brainalign.report.words import Row, join, number, present, records, scores, telling_columns, told_apart

#: Most rows of a table in the page; the CSV beside it has all.
MAX_ROWS = 1000
_FIGURE = "runs-compared"
_NO_TEST = (
    "No p of a difference is given, because none follows from two results: intervals that overlap do not show that "
    "there is no difference, and intervals that lie apart are no test of one"
)


def write_run_comparison(
    runs: Sequence[SavedRun], path: Path, *, figures_folder: Path | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """Write a page that compares runs, and its table as CSV beside it.

    Parameters
    ----------
    runs : sequence of SavedRun
        Two or more.
    path : Path
        The HTML file; the CSV has the same name with ``.csv``.
    figures_folder : Path, optional
        Where the figure goes as SVG, PDF and CSV.
    overwrite : bool
        Replace a page, a table and figures that are there. Nothing is ever written into a results folder.

    Returns
    -------
    dict
        The summary that the page opens with, ready for JSON: ``runs``, ``identical``, ``differences``, ``n_same``,
        ``agreement`` (how many estimates of which kind), ``largest`` (the ten that differ most), ``only_in_one``,
        ``cautions``, ``page``, ``table``.

    Raises
    ------
    ResultsError
        If there are fewer than two runs, or something is in the way; nothing is written then.
    """
    from jinja2 import Environment, StrictUndefined

    path = Path(path)
    _check_free(path, figures_folder, runs, overwrite)
    compared, differ = compare_runs(runs), differences(runs)
    summary = _summary(runs, compared, differ)
    table = path.with_suffix(".csv")
    with write_then_rename(table) as temporary:
        temporary.write_text(safe_csv(compared.both), encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page, report = (
        environment.from_string(files("brainalign.report").joinpath(name).read_text(encoding="utf-8"))
        for name in ("run_comparison.html.j2", "template.html.j2")
    )
    html = page.render(
        summary,
        apart=_not_the_same(differ),
        asked=list(dict.fromkeys((run.title, run.question) for run in runs)),
        names=compared.names,
        rows=_rows(compared),
        figure=_figure(compared, figures_folder),
        single=[
            [str(r["run"]), *_about(r, compared.further), scores(r)[0]] for r in records(compared.single[:MAX_ROWS])
        ],
        style="".join(report.blocks["style"](report.new_context())),
        described=[(name, run) for name, run in zip(compared.names, runs, strict=True)],
        n_both=len(compared.both),
        csv=table.name,
    )
    with write_then_rename(path) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="replace")
    return {**summary, "page": str(path), "table": str(table)}


def _check_free(path: Path, figures_folder: Path | None, runs: Sequence[SavedRun], overwrite: bool) -> None:
    """Raise if what will be written would replace something, or lie in a results folder."""
    if path.suffix not in (".html", ".htm"):
        raise ResultsError(f"--out is {path}, expected a name that ends in .html; the table goes beside it as .csv")
    written = [path, path.with_suffix(".csv")]
    if figures_folder is not None:
        written += [Path(figures_folder) / f"{_FIGURE}.{suffix}" for suffix in ("svg", "pdf", "csv")]
    if len(set(written)) < len(written):
        raise ResultsError(f"{written[1]} would be the table of the page and of the figure; choose another --out")
    theirs = {run.folder.resolve() for run in runs}
    for folder in dict.fromkeys(one.parent for one in written):
        place = folder.resolve()
        if (place / "provenance.json").is_file() or theirs & {place, *place.parents}:
            raise ResultsError(f"{folder} belongs to a run, whose files stay as they are; choose a place outside of it")
        if place.exists() and not place.is_dir():
            raise ResultsError(f"{folder} is a file, expected a folder; choose another name")
    for one in written:
        if one.is_dir():
            raise ResultsError(f"{one} is a folder; choose another name")
        if one.exists() and not overwrite:
            raise ResultsError(f"{one} exists already; choose another name, or replace it with --overwrite")


def _not_the_same(differ: Differences) -> list[str]:
    """Say what makes the numbers of runs incomparable."""
    apart = [("sounds", differ.sounds), ("brain data", differ.brains)]
    return [
        f"The {what} are not the same, so the numbers are not about the same thing" for what, same in apart if not same
    ]


def comparison_cautions(runs: Sequence[SavedRun], compared: RunComparison, differ: Differences) -> list[str]:
    """Say what can and what cannot be concluded from runs side by side.

    Parameters
    ----------
    runs : sequence of SavedRun
        As compared.
    compared : RunComparison
        Their estimates.
    differ : Differences
        What differs between them.

    Returns
    -------
    list of str
        One sentence each, what matters most first.
    """
    said = _not_the_same(differ)
    if differ.sounds and differ.brains:
        said.append(
            "All runs rest on the same sounds and brain data, so their errors go together: intervals say how far other "
            "sounds would move a number, not how far two analyses of these sounds differ by chance"
        )
        if differ.recipes and differ.versions and differ.models and not differ.seeds:
            said.append(
                "Only the seed differs: what differs is the chance of splits, resamples and permutations; more of them "
                "make it smaller"
            )
    if any(row.part == "versions" and row.what == "brainalign" for row in differ.rows):
        said.append("The versions of brainalign differ: read the changelog before a difference is put down to the data")
    levels = sorted({str(r.settings["level"]) for run in runs for r in run.results if "level" in r.settings})
    if len(levels) > 1:
        said.append(f"Intervals have different levels ({join(levels)}), so their widths cannot be compared")
    said.append(f"{_NO_TEST}; to test a difference between models put both into one recipe (compare-models)")
    for measure, n in compared.ambiguous.items():
        said.append(f"{measure}: {n} estimates that no column tells apart are not compared")
    said += [f"{name}: {w}" for name, run in zip(compared.names, runs, strict=True) for w in run.warnings]
    return said


def _summary(runs: Sequence[SavedRun], compared: RunComparison, differ: Differences) -> dict[str, Any]:
    counts = compared.both["agreement"].value_counts()
    values = (f"value|{n}" for n in compared.names)
    about = [*ABOUT, *compared.further, *values, "difference", "in_intervals", "agreement"]
    differing = compared.both[compared.both["agreement"] != AGREEMENT[0]]
    largest = differing.head(10)[about].astype(object)
    return {
        "runs": [
            {"name": n, "title": r.title, "question": r.question, "folder": str(r.folder), "estimates": len(r.table)}
            for n, r in zip(compared.names, runs, strict=True)
        ],
        "identical": len({run.digest for run in runs}) == 1,
        "differences": [{"part": d.part, "what": d.what, "values": list(d.values)} for d in differ.rows],
        "n_same": differ.n_same,
        "agreement": {kind: int(counts[kind]) for kind in AGREEMENT if kind in counts},
        "largest": largest.where(largest.notna() & ~largest.isin([np.inf, -np.inf]), None).to_dict("records"),
        "only_in_one": {str(k): int(v) for k, v in compared.single["run"].value_counts().items()},
        "cautions": comparison_cautions(runs, compared, differ),
    }


def _rows(compared: RunComparison) -> list[dict[str, Any]]:
    rows = []
    for row in records(compared.both[:MAX_ROWS]):
        cells = []
        for name in compared.names:
            value, low, high = scores({c: row[f"{c}|{name}"] for c in ("value", "ci_low", "ci_high")})
            cells.append({"key": _key(row[f"value|{name}"]), "text": value, "range": f"{low} to {high}" if low else ""})
        rows.append(
            {
                "about": _about(row, compared.further),
                "cells": cells,
                "difference": number(row["difference"], 2),
                "difference_key": _key(row["difference"]),
                "in_intervals": number(row["in_intervals"], 2),
                "in_intervals_key": _key(row["in_intervals"]),
                "agreement": row["agreement"],
            }
        )
    return rows


def _about(row: Row, further: Sequence[str]) -> list[str]:
    """Write what an estimate is about; further conditions stand with the target."""
    target = " · ".join(filter(None, [str(row["target"]), *told_apart(row, further)]))
    return [target if c == "target" else str(row[c]) for c in ABOUT]


def _key(value: Any) -> str:
    return str(value) if present(value) else ""


def _figure(compared: RunComparison, folder: Path | None) -> Mapping[str, Any] | None:
    """Draw the main estimates, for the page and, if asked for, as files."""
    shown = main_estimates(compared.both, compared.statistics)
    shown = shown[shown["value|" + compared.names[0]].notna()] if len(shown) else shown
    if not len(shown):
        return None
    n_measures = shown["measure"].nunique()
    with style():
        figure = new_figure(9.5, 0.26 * len(shown) + 0.75 * n_measures + 0.4)
        drawing = Drawing(plot_run_comparisons(figure, shown, compared.names))
        if folder is not None:
            drawing.save(shown, Path(folder), _FIGURE)
    alt = (
        f"Estimates of {join(compared.names)} side by side with their intervals; the numbers stand in the table below."
    )
    return {"svg": drawing.inline("runs", alt), "n": len(shown)}


def summary_of(run: SavedRun) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Choose the main estimates of one run, for a summary: those that a figure of it would show.

    Parameters
    ----------
    run : SavedRun
        A results folder.

    Returns
    -------
    tuple of DataFrame and dict of str to list of str
        Rows of its table, and by measure the columns that tell rows apart which model, layer, target and statistic do
        not.
    """
    first = run.table.drop_duplicates("measure")
    rows = main_estimates(run.table, dict(zip(first["measure"], first["statistic"], strict=True)))
    named = ("measure", "model", "layer", "target", "statistic")
    return rows, {str(m): telling_columns(own, named) for m, own in rows.groupby("measure", sort=False)}
