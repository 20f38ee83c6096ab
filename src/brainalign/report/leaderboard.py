"""The leaderboard of a run: tables, figures and one HTML page that holds all it shows."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from brainalign._files import file_names, write_then_rename
from brainalign.measures.leaderboard import Leaderboard
from brainalign.report._draw import new_figure, plain, style
from brainalign.report.colours import GRID, INK, MUTED, ModelStyle, model_styles
from brainalign.report.svg import Drawing, safe_csv
from brainalign.report.words import estimate, join, number, present, records, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Models that a figure and a matrix of pairs show; tables and files hold all.
MAX_DRAWN = 60
MAX_PAIRED = 40
PAGE, TABLE, PAIRS = "leaderboard.html", "leaderboard.csv", "leaderboard-pairs.csv"

#: Columns of the table of ranks: what the page calls them, and what they are.
_COLUMNS = {
    "rank": ("rank", "1 + how many models the test sets before this one"),
    "rank_high": ("at worst", "the worst rank that the tests leave open"),
    "model": ("model", ""),
    "score": ("score", "as the measure gives it: for encoding, the median over splits"),
    "ci_low": ("from", "lower end of the interval; for encoding, around the mean over splits"),
    "ci_high": ("to", "upper end of the interval; for encoding, around the mean over splits"),
    "of_ceiling": ("of ceiling", "score over noise ceiling"),
    "seconds": ("time (s)", "wall time of all tasks, extraction included"),
    "cpu_s": ("CPU (s)", "processor time of all tasks, extraction included"),
    "peak_mb": (
        "memory (MB)",
        "by how much a task raised the memory of its process; – where no task needed more than an earlier one",
    ),
    "n_parameters": ("parameters", "numbers that the model has learned"),
    "layer": ("layer", "chosen: by each split on its training sounds"),
    "note": ("note", ""),
}
_SHARES = ("score", "ci_low", "ci_high", "of_ceiling")


def plot_leaderboard(
    ax: Axes,
    table: pd.DataFrame,
    *,
    statistic: str = "score",
    ceiling: tuple[float, float] = (np.nan, np.nan),
    styles: Mapping[str, ModelStyle] | None = None,
) -> Axes:
    """Draw the scores of models on one benchmark, best at the top, with intervals, ranks and the noise ceiling.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    table : DataFrame
        Rows of one benchmark, see :class:`~brainalign.measures.leaderboard.Leaderboard`; the first 60 are drawn.
    statistic : str
        Label of the scores.
    ceiling : tuple of float
        Lower and upper noise ceiling, drawn as a band; NaN for none.
    styles : mapping of str to ModelStyle, optional
        Style by model.

    Returns
    -------
    matplotlib Axes
        `ax`.
    """
    rows = records(table.head(MAX_DRAWN))
    styles = styles or model_styles([str(m) for m in table["model"]])
    if np.isfinite(ceiling).all():
        ax.axvspan(*ceiling, facecolor=GRID, edgecolor=MUTED, lw=0.8, gid=f"noise ceiling {number(ceiling[1])}")
    for place, row in enumerate(rows):
        look = styles[str(row["model"])]
        ax.plot([row["ci_low"], row["ci_high"]], [place, place], color=look.colour, lw=1.6, solid_capstyle="butt")
        name = f"{row['model']}: {score({**row, 'value': row['score']})}"
        ax.plot(row["score"], place, look.marker, color=look.colour, ms=6, mec=INK, mew=0.5, gid=name)
    ax.set_yticks(range(len(rows)), [f"{plain(row['model'])}   rank {_ranks(row)}" for row in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(axis="x")
    ax.set_xlabel(plain(statistic))
    return ax


def _ranks(row: Mapping[str, Any]) -> str:
    """Write the ranks that the tests leave open."""
    return str(row["rank"]) if row["rank"] == row["rank_high"] else f"{row['rank']}–{row['rank_high']}"


def write_leaderboard(board: Leaderboard, folder: Path, *, title: str = "Leaderboard", report: str = "") -> list[Path]:
    """Write the page, the tables and the figures of a leaderboard.

    Parameters
    ----------
    board : Leaderboard
        Of :func:`~brainalign.measures.leaderboard.leaderboard`.
    folder : Path
        Where to: ``leaderboard.html``, ``leaderboard.csv``, ``leaderboard-pairs.csv``, and ``figures/leaderboard-*`` as
        SVG, PDF and CSV.
    title : str
        Heading of the page.
    report : str
        Address of the page of the run, to link to.

    Returns
    -------
    list of Path
        The files written.
    """
    from jinja2 import Environment, StrictUndefined

    paths = []
    for name, table in ((TABLE, board.table), (PAIRS, board.pairs)):
        with write_then_rename(folder / name) as temporary:
            temporary.write_text(safe_csv(table), encoding="utf-8")
        paths.append(folder / name)
    facts = records(board.benchmarks)
    # The mean over benchmarks, if there is one, is the last of them and comes first on the page.
    if len(facts) > 1 and not facts[-1]["measure"]:
        facts = [facts[-1], *facts[:-1]]
    styles = model_styles([str(m) for m in board.table["model"]])
    with style():
        names = file_names([f"leaderboard-{fact['benchmark']}" for fact in facts])
        shown = [
            _section(board, fact, i, folder / "figures" / name, styles)
            for i, (fact, name) in enumerate(zip(facts, names, strict=True))
        ]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = files("brainalign.report").joinpath("leaderboard.html.j2").read_text(encoding="utf-8")
    context = {
        "title": title,
        "report": report,
        "sections": shown,
        "notes": board.notes,
        "columns": _COLUMNS,
        "settings": board.settings,
        "level": number(100 * (1 - board.settings["alpha"])),
        "files": [p.name for p in paths],
        "costs": board.table["seconds"].notna().any(),
        "max_drawn": MAX_DRAWN,
        "max_paired": MAX_PAIRED,
    }
    with write_then_rename(folder / PAGE) as temporary:
        temporary.write_text(environment.from_string(source).render(context), encoding="utf-8", errors="replace")
    return [folder / PAGE, *paths, *(path for section in shown for path in section["paths"])]


def _section(
    board: Leaderboard, fact: Mapping[str, Any], number_: int, path: Path, styles: Mapping[str, ModelStyle]
) -> dict[str, Any]:
    from markupsafe import Markup

    table = board.table[board.table["benchmark"] == fact["benchmark"]]
    pairs = board.pairs[board.pairs["benchmark"] == fact["benchmark"]]
    figure = new_figure(9.2, 0.9 + 0.3 * min(len(table), MAX_DRAWN))
    plot_leaderboard(
        figure.subplots(), table, statistic=str(fact["statistic"]), ceiling=(fact["ceiling_low"], fact["ceiling"]),
        styles=styles,
    )  # fmt: skip
    drawing = Drawing(figure)
    paths = drawing.save(table, path.parent, path.name)
    return {
        "id": f"benchmark-{number_}",
        "name": fact["benchmark"],
        "answer": _answer(table),
        # The drawing escapes what it writes.
        "svg": Markup(drawing.inline(f"leaderboard-{number_}", f"Scores of models on {fact['benchmark']}")),
        "paths": paths,
        "links": [(p.suffix[1:].upper(), f"{path.parent.name}/{p.name}") for p in paths],
        "facts": {k.replace("_", " "): _fact(v) for k, v in fact.items() if k != "benchmark" and _fact(v)},
        "n_models": len(table),
        "table": _table(table),
        "matrix": _matrix(table, pairs, float(board.settings["alpha"])),
    }


def _fact(value: Any) -> str:
    if not present(value):
        return ""
    return number(value) if isinstance(value, int | float | np.number) else str(value)


def _answer(table: pd.DataFrame) -> str:
    """Say who leads, and whom no test sets apart from the best score."""
    rows = records(table)
    first, others = rows[0], [str(r["model"]) for r in rows[1:] if r["rank"] == 1]
    text = f"{first['model']} has the highest score, {score({**first, 'value': first['score']})}"
    if not others:
        return f"{text}, and the test sets it before every other model."
    some = join(others[:6]) + (f" and {len(others) - 6} more" if len(others) > 6 else "")
    return f"{text}. The test sets no model before {some} either: they share rank 1."


def _table(table: pd.DataFrame) -> dict[str, Any]:
    columns = [c for c in _COLUMNS if c in table and table[c].map(lambda v: present(v) and v != "").any()]
    text = {"model", "layer", "note"}
    rows = [
        [
            {
                "text": str(row[c]) if c in text else _number(c, row[c]),
                "key": str(row[c]) if present(row[c]) else "",
            }
            for c in columns
        ]
        for row in records(table)
    ]
    return {"columns": [(c, c not in text) for c in columns], "rows": rows}


def _number(column: str, value: Any) -> str:
    if column == "n_parameters" and present(value):
        return f"{value:,}"
    return number(value, trailing=column in _SHARES)


def _matrix(table: pd.DataFrame, pairs: pd.DataFrame, alpha: float) -> dict[str, Any] | None:
    """Lay corrected p of all pairs out, models by score: is that of the row better or worse than that of the column."""
    models = [str(m) for m in table["model"]]
    if not 1 < len(models) <= MAX_PAIRED:
        return None
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in records(pairs):
        for sign, one, other in ((1, row["model"], row["model_2"]), (-1, row["model_2"], row["model"])):
            low, high = sorted((sign * row["ci_low"], sign * row["ci_high"]))
            value = {"value": sign * row["difference"], "ci_low": low, "ci_high": high, "p": row["p"]}
            kind = "" if row["p_adjusted"] >= alpha else "better" if value["value"] > 0 else "worse"
            cells[str(one), str(other)] = {
                "text": _p(row["p_adjusted"]),
                "kind": kind,
                "title": f"{one} less {other}: {estimate(value)}, before correction",
            }
    empty = {"text": "", "kind": "same", "title": ""}
    return {"models": models, "rows": [(m, [cells.get((m, other), empty) for other in models]) for m in models]}


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0") if value < 1 else "1"
