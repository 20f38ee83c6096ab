"""``brainalign cache``: what extraction has kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainalign._files import MAX_AGE_DAYS
from brainalign.cli._shared import Json, finite, print_json

app = typer.Typer(
    help="The cache of activations: what is in it, whether it is whole, and what to remove.", no_args_is_help=True
)

Folder = Annotated[Path | None, typer.Option("--folder", help="The cache, if it is not the usual one.")]

Days = Annotated[
    float | None,
    typer.Option(
        "--older-than-days", min=0, max=MAX_AGE_DAYS, callback=finite, help="Those not used for so many days (0: all)."
    ),
]


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
        print_json(rows)
        return
    for e in entries:
        typer.echo(
            f"{e.key[:12]}  {e.model}  {e.stimulus_set}  {e.pooling}  {e.sounds_done} of {e.n_sounds} sounds  "
            f"{len(e.layers)} layers  {e.n_bytes / 1e6:.1f} MB  last used {e.last_used:%Y-%m-%d}"
        )
    total = sum(e.n_bytes for e in entries)
    typer.echo(f"{len(entries)} entries, {total / 1e6:.1f} MB in {folder or cache_folder()}")


@app.command()
def results(
    folder: Folder = None,
    older_than_days: Days = None,
    model: Annotated[str | None, typer.Option(help="Those of this model (a glob).")] = None,
    measure: Annotated[str | None, typer.Option(help="Those of this measure (a glob).")] = None,
    damaged: Annotated[bool, typer.Option("--damaged", help="Those that are damaged.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what is listed.")] = False,
    as_json: Json = False,
) -> None:
    """List the finished results that runs have kept, all or some, and remove them if asked.

    Examples: brainalign cache results

    brainalign cache results --older-than-days 90 --remove
    """
    from dataclasses import asdict

    from brainalign.engine.store import ResultStore
    from brainalign.models.cache import cache_folder
    from brainalign.recipes.runner import RESULTS

    store = ResultStore((folder or cache_folder()) / RESULTS)
    found = store.entries(older_than_days=older_than_days, model=model, measure=measure, damaged=damaged)
    for entry in found if remove else ():
        store.remove(entry.key)
    if as_json:
        print_json({"removed": remove, "entries": [asdict(entry) for entry in found]})
        return
    for e in found:
        about = "  ".join(e.about.get(name) or "-" for name in ("measure", "model", "brain"))
        typer.echo(f"{e.key[:12]}  {about}  {e.n_bytes / 1e6:.2f} MB  last used {e.last_used:%Y-%m-%d}")
    total = sum(e.n_bytes for e in found)
    typer.echo(f"{'removed ' if remove else ''}{len(found)} results, {total / 1e6:.1f} MB in {store.folder}")


@app.command()
def verify(folder: Folder = None, as_json: Json = False) -> None:
    """Read every entry and compare it with its digests; exit code 1 if one is damaged.

    Example: brainalign cache verify
    """
    from brainalign.models.cache import verify as find_damage

    found = find_damage(folder)
    if as_json:
        print_json(found)
        raise typer.Exit(1 if any(found.values()) else 0)
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
    older_than_days: Days = None,
    model: Annotated[str | None, typer.Option(help="Those of this model (a glob).")] = None,
    key: Annotated[str | None, typer.Option(help="The one whose key begins so.")] = None,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Those that lack sounds.")] = False,
    damaged: Annotated[bool, typer.Option("--damaged", help="Those that are damaged.")] = False,
    everything: Annotated[bool, typer.Option("--everything", help="All.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed.")] = False,
    as_json: Json = False,
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
    if as_json:
        entries = [
            {"key": e.key, "model": e.model, "stimulus_set": e.stimulus_set, "n_bytes": e.n_bytes} for e in removed
        ]
        print_json({"removed": not dry_run, "entries": entries})
        return
    for entry in removed:
        typer.echo(f"{entry.key[:12]}  {entry.model}  {entry.stimulus_set}")
    freed = sum(e.n_bytes for e in removed) / 1e6
    typer.echo(f"{'would remove' if dry_run else 'removed'} {len(removed)} entries, {freed:.1f} MB")
