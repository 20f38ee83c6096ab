"""``brainalign cache``: what extraction has kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="The cache of activations: what is in it, whether it is whole, and what to remove.", no_args_is_help=True
)

Folder = Annotated[Path | None, typer.Option("--folder", help="The cache, if it is not the usual one.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def show(folder: Folder = None, as_json: Json = False) -> None:
    """List the entries: model, sounds, layers, size, last use.

    Example: brainalign cache list
    """
    from brainalign.models.cache import cache_folder, list_entries

    entries = list_entries(folder)
    if as_json:
        fields = ("key", "model", "stimulus_set", "pooling", "layers", "n_sounds", "sounds_done", "n_bytes")
        rows = [{f: getattr(e, f) for f in fields} | {"last_used": e.last_used.isoformat()} for e in entries]
        typer.echo(json.dumps(rows, indent=2))
        return
    for e in entries:
        typer.echo(
            f"{e.key[:12]}  {e.model}  {e.stimulus_set}  {e.pooling}  {e.sounds_done} of {e.n_sounds} sounds  "
            f"{len(e.layers)} layers  {e.n_bytes / 1e6:.1f} MB  last used {e.last_used:%Y-%m-%d}"
        )
    total = sum(e.n_bytes for e in entries)
    typer.echo(f"{len(entries)} entries, {total / 1e6:.1f} MB in {folder or cache_folder()}")


@app.command()
def verify(folder: Folder = None) -> None:
    """Read every entry and compare it with its digests; exit code 1 if one is damaged.

    Example: brainalign cache verify
    """
    from brainalign.models.cache import verify as find_damage

    found = find_damage(folder)
    for key, problems in found.items():
        for problem in problems:
            typer.echo(f"{key[:12]}  {problem}")
    damaged = [key for key, problems in found.items() if problems]
    typer.echo(f"{len(damaged)} of {len(found)} entries are damaged")
    if damaged:
        typer.echo("remove them: brainalign cache prune --damaged")
        raise typer.Exit(1)


@app.command()
def prune(
    folder: Folder = None,
    older_than_days: Annotated[float | None, typer.Option(help="Those not used for so many days.")] = None,
    model: Annotated[str | None, typer.Option(help="Those of this model (a glob).")] = None,
    key: Annotated[str | None, typer.Option(help="The one whose key begins so.")] = None,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Those that lack sounds.")] = False,
    damaged: Annotated[bool, typer.Option("--damaged", help="Those that are damaged.")] = False,
    everything: Annotated[bool, typer.Option("--everything", help="All.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed.")] = False,
) -> None:
    """Remove entries; of several criteria all must hold.

    Example: brainalign cache prune --older-than-days 90
    """
    from brainalign.models.cache import prune as remove

    removed = remove(
        folder,
        older_than_days=older_than_days,
        model=model,
        key=key,
        unfinished=unfinished,
        damaged=damaged,
        everything=everything,
        dry_run=dry_run,
    )
    for entry in removed:
        typer.echo(f"{entry.key[:12]}  {entry.model}  {entry.stimulus_set}")
    freed = sum(e.n_bytes for e in removed) / 1e6
    typer.echo(f"{'would remove' if dry_run else 'removed'} {len(removed)} entries, {freed:.1f} MB")
