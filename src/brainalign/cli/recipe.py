"""``brainalign recipe``: what recipes there are, whether one is right, and the schema for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from brainalign.cli import _complete
from brainalign.cli._shared import Json, Overwrite, print_json, print_table

app = typer.Typer(help="Recipes: list those that ship, check one, get the schema for an editor.", no_args_is_help=True)

Recipe = Annotated[
    str,
    typer.Argument(help="A TOML file, or the name of a recipe that ships.", autocompletion=_complete.recipes),
]


@app.command("list")
def show_all(as_json: Json = False) -> None:
    """List the recipes that ship.

    Example: brainalign recipe list
    """
    import tomllib

    from brainalign.recipes.shipped import shipped_recipes

    rows = [
        {"name": name, "title": tomllib.loads(path.read_text(encoding="utf-8"))["title"], "file": str(path)}
        for name, path in shipped_recipes().items()
    ]
    if as_json:
        print_json(rows)
        return
    print_table(("recipe", "title"), [(r["name"], r["title"]) for r in rows])


@app.command()
def check(recipe: Recipe, as_json: Json = False) -> None:
    """Check every key, name and option of a recipe; nothing is computed. An error names file, line and key.

    No model, sound or brain data are loaded: that a layer exists, or that sounds and brain data share stimuli, is seen
    when the recipe is run. brainalign models layers and brainalign brain show tell beforehand.

    Example: brainalign recipe check my-study.toml
    """
    from brainalign.recipes import read_recipe
    from brainalign.recipes.shipped import find_recipe

    path = find_recipe(recipe)
    read = read_recipe(path)
    facts = {
        "file": str(path),
        "title": read.title,
        "stimuli": read.stimuli.set,
        "models": [m.name for m in read.models],
        "brain": [b.called for b in read.brain],
        "measures": [m.label or m.name for m in read.measures],
    }
    if as_json:
        print_json(facts)
        return
    print_table(("", ""), [(k, ", ".join(v) if isinstance(v, list) else v) for k, v in facts.items()])


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option("--out", help="File to write; printed if not given.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Give the JSON Schema of recipes, by which an editor completes and checks them (docs/recipes.md).

    Example: brainalign recipe schema --out recipe.schema.json
    """
    from brainalign._files import write_then_rename
    from brainalign.errors import ResultsError
    from brainalign.recipes import recipe_schema

    if out is None:
        print_json(recipe_schema())
        return
    if out.is_dir():
        raise ResultsError(f"--out is {str(out)!r}, a folder; expected the name of a file, such as recipe.schema.json")
    if out.exists() and not overwrite:
        raise ResultsError(f"{out} exists already; choose another name, or replace it with --overwrite")
    with write_then_rename(out) as temporary:
        temporary.write_text(json.dumps(recipe_schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if as_json:
        print_json({"schema": str(out)})
        return
    typer.echo(f"schema: {out}")
