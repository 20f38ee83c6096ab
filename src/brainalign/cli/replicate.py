"""``brainalign replicate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainalign.cli._shared import Cache, Jobs, Json, Progress, print_json, print_table

if TYPE_CHECKING:
    from brainalign.replication.scoreboard import Score


def replicate(
    paper: Annotated[
        list[str] | None, typer.Option("--paper", help="kim2024, nh2015, tuckute2023 or brain2music; may be repeated.")
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option("--results", help="Results folder of a recipe that checks a number; may be repeated."),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Run the recipes that the data at hand allow; minutes.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for scoreboard.csv, scoreboard.html and, with --run, the runs."),
    ] = None,
    jobs: Jobs = 1,
    cache: Cache = True,
    progress: Progress = True,
    as_json: Json = False,
) -> None:
    """Compare published numbers with ours: value, interval, verdict and reason for each.

    Without --run only what takes seconds: statistics from the printed U and n, and counts of published data.

    Examples: brainalign replicate --paper kim2024

    brainalign replicate --results results/claim --out results/replication

    brainalign replicate --run
    """
    from brainalign.models import cache_folder
    from brainalign.replication.scoreboard import scoreboard, write_scoreboard

    if run:
        out = out or Path("results/replication")
    scores = scoreboard(
        paper or None,
        results=results or (),
        run_into=out if run else None,
        jobs=jobs,
        cache=cache_folder() if run and cache else None,
        progress=run and progress,
    )
    if as_json:
        print_json([asdict(s) for s in scores])
    else:
        _print(scores)
    if out is not None:
        table, page = write_scoreboard(scores, out)
        typer.echo(f"table: {table}", err=as_json)
        typer.echo(f"page:  {page.resolve()}", err=as_json)


def _print(scores: Sequence[Score]) -> None:
    from brainalign.replication.scoreboard import count_verdicts, data_needed

    columns = ("what", "published", "ours", "interval", "verdict", "recipe", "reason")
    for name in dict.fromkeys(s.paper for s in scores):
        typer.echo(name)
        own = [s for s in scores if s.paper == name]
        cells = [
            (f"{s.what} ({s.where})", s.published, s.ours, s.interval, s.verdict_text, s.recipe, s.reason) for s in own
        ]
        print_table(columns, cells)
        for needed, how in data_needed(own).items():
            typer.echo(f"{needed}: {how}")
        typer.echo()
    typer.echo("Verdicts")
    counts = [
        (name, check, ", ".join(f"{verdict} {k}" for verdict, k in n.items() if k))
        for name, check, n in count_verdicts(scores)
    ]
    print_table(("paper", "check", "verdicts"), counts)
