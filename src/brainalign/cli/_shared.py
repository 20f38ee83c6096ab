"""What the commands share: options that are called the same everywhere, and how facts are printed."""

from __future__ import annotations

import functools
import inspect
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

#: The largest seed that every generator takes.
MOST_SEED = 2**63 - 1


def finite(value: float | None) -> float | None:
    """Refuse nan and inf, which no limit of an option keeps out."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number that can be used; give one such as 2 or 0.5.")
    return value


Out = Annotated[Path | None, typer.Option("--out", help="Results folder; it must not exist yet.")]
Seed = Annotated[
    int | None,
    typer.Option("--seed", min=0, max=MOST_SEED, help="Seed of all random draws; replaces the recipe's."),
]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Tasks side by side, one thread each; the same numbers.")]
Cluster = Annotated[
    str | None, typer.Option("--cluster", help="Dask workers: local, slurm, or the address of a scheduler.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Unchecked = Annotated[bool, typer.Option("--unchecked", help="Read a results.csv that was changed after the run.")]
Cache = Annotated[
    bool, typer.Option("--cache/--no-cache", help="Read and write the cache of activations and finished results.")
]
Progress = Annotated[bool, typer.Option("--progress/--quiet", help="Show how far it is, on standard error.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]


class _Asked:
    """What the command line asked for beside the work itself."""

    traceback = False


asked = _Asked()


def _keep(debug: bool) -> None:
    asked.traceback = asked.traceback or debug


Debug = Annotated[
    bool,
    typer.Option("--debug", is_eager=True, callback=_keep, help="Show the traceback of an error."),
]


def offer_debug(app: typer.Typer) -> None:
    """Let every command of an app take --debug, wherever it stands among its options."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = _with_debug(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            offer_debug(group.typer_instance)


def _with_debug(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def command(*args: Any, debug: bool = False, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    debug = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug)
    signature = inspect.signature(function, eval_str=True)
    parameters = [*signature.parameters.values(), debug]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def print_json(facts: Any) -> None:
    """Print facts as JSON; only ASCII where standard output can hold no other characters."""
    text = json.dumps(facts, indent=1, ensure_ascii=not _is_unicode(), allow_nan=False, default=str)
    typer.echo(text)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table: drawn and fitted to a terminal; else one line for each row, however long, without a head."""
    cells = [["" if c is None else " ".join(str(c).split()) for c in row] for row in rows]
    if not cells:
        return
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            typer.echo("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, show_edge=False)
    for row in cells:
        table.add_row(*map(Text, row))
    Console().print(table)


def _is_unicode() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
