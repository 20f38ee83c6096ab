"""``brainalign replicate``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from brainalign.replication.scoreboard import Score

#: Width of the table where output is no terminal.
_FILE_WIDTH = 180


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
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes that compute side by side.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
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
        cache=cache_folder() if run else None,
        progress=run,
    )
    if as_json:
        typer.echo(json.dumps([asdict(s) for s in scores], indent=1, ensure_ascii=False))
    else:
        _print(scores)
    if out is not None:
        table, page = write_scoreboard(scores, out)
        typer.echo(f"table: {table}", err=as_json)
        typer.echo(f"page:  {page.resolve()}", err=as_json)


def _print(scores: Sequence[Score]) -> None:
    from rich.table import Table
    from rich.text import Text

    from brainalign.replication.scoreboard import count_verdicts, data_needed
    from brainalign.replication.verdicts import VERDICTS

    console = _console()
    for name in dict.fromkeys(s.paper for s in scores):
        table = Table(title=Text(name), title_justify="left", expand=True)
        for column, ratio in (
            ("what", 4), ("published", 3), ("ours", 3), ("interval", 2), ("verdict", 2), ("recipe", 2), ("reason", 6)
        ):  # fmt: skip
            table.add_column(column, ratio=ratio, overflow="fold")
        own = [s for s in scores if s.paper == name]
        for s in own:
            cells = (f"{s.what} ({s.where})", s.published, s.ours, s.interval, s.verdict_text, s.recipe, s.reason)
            table.add_row(*map(Text, cells))
        console.print(table)
        for needed, how in data_needed(own).items():
            console.print(Text(f"{needed}: {how}"))
    counts = Table(title=Text("Verdicts"), title_justify="left")
    for column in ("paper", "check", *VERDICTS):
        counts.add_column(column)
    for name, check, n in count_verdicts(scores):
        counts.add_row(Text(name), Text(check), *(str(n[v] or "") for v in VERDICTS))
    console.print(counts)


def _console() -> Console:
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=_FILE_WIDTH)
