"""``brainalign report``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainalign.cli._shared import Json, Overwrite, Unchecked, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brainalign.report.saved import SavedRun


def report(
    runs: Annotated[list[Path], typer.Argument(help="Results folders that brainalign run wrote.", metavar="RUN...")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Page that compares two or more runs; its table goes beside it.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option("--figures", help="Folder for the figure of the comparison as SVG, PDF and CSV.")
    ] = None,
    unchecked: Unchecked = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Sum up one run, or compare two or more on a page: what differs, and every estimate side by side.

    Examples: brainalign report results/demo

    brainalign report results/demo results/demo-2 --out comparison.html --figures figures
    """
    from brainalign.errors import ResultsError
    from brainalign.report.saved import load_run

    loaded = [load_run(folder, check=not unchecked) for folder in runs]
    if len(loaded) == 1:
        if out is not None or figures is not None:
            raise ResultsError(
                f"--out and --figures are of a comparison; name a second run, or see the page {loaded[0].page}"
            )
        _sum_up(loaded[0], as_json)
        return
    from brainalign.report.run_comparison_page import write_run_comparison

    summary = write_run_comparison(loaded, out or Path("comparison.html"), figures_folder=figures, overwrite=overwrite)
    if as_json:
        print_json(summary)
    else:
        _print_comparison(summary)


def _sum_up(run: SavedRun, as_json: bool) -> None:
    from brainalign.report.run_comparison_page import summary_of

    rows, further = summary_of(run)
    page = run.page.resolve() if run.page.is_file() else None
    if as_json:
        extra = dict.fromkeys(c for columns in further.values() for c in columns if c != "brain")
        about = ["measure", "model", "layer", "brain", "target", *extra, "statistic"]
        shown = rows[[*about, "value", "ci_low", "ci_high", "p", "n"]]
        content = {
            "folder": str(run.folder), "title": run.title, "question": run.question, "answer": list(run.answer),
            "estimates": json.loads(shown.to_json(orient="records")), "n_estimates": len(run.table),
            "warnings": list(run.warnings), "page": page and str(page),
        }  # fmt: skip
        print_json(content)
        return
    from brainalign.report.words import records, scores, told_apart

    for line in (run.title, run.question, *run.answer):
        typer.echo(line)
    columns = ("measure", "model", "layer", "target", "statistic")
    further_column = ["further"] if any(further.values()) else []
    cells = []
    for row in records(rows):
        value, low, high = scores(row)
        about = [row[c] for c in columns]
        if further_column:
            about.append(" · ".join(told_apart(row, further[row["measure"]])))
        cells.append([*about, value, f"{low} to {high}" if low else "no interval"])
    print_table([*columns, *further_column, "value", "interval"], cells)
    typer.echo(f"{len(rows)} of {len(run.table)} estimates; all: {run.folder / 'results.csv'}")
    for warning in run.warnings:
        typer.echo(f"beware: {warning}")
    typer.echo(f"page: {page or 'missing; run again'}")


def _print_comparison(summary: Mapping[str, Any]) -> None:
    names = [run["name"] for run in summary["runs"]]
    if summary["identical"]:
        typer.echo(f"the results of {' and '.join(names)} are identical, byte for byte")
    for row in summary["differences"]:
        values = ", ".join(f"{n}: {v}" for n, v in zip(names, row["values"], strict=True))
        typer.echo(f"{row['part']}, {row['what']}: {values}")
    typer.echo(f"the same: {summary['n_same']} things that are recorded")
    for kind, n in summary["agreement"].items():
        typer.echo(f"{n:>6} estimates: {kind}")
    for name, n in summary["only_in_one"].items():
        typer.echo(f"{n:>6} estimates: in {name} alone")
    for caution in summary["cautions"]:
        typer.echo(f"- {caution}")
    typer.echo(f"table: {summary['table']}")
    typer.echo(f"page:  {Path(summary['page']).resolve()}")
