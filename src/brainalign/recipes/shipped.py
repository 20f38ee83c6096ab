"""The recipes that ship, and the file that a name stands for; nothing else is imported, so listing them is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from brainalign._files import shipped
from brainalign.errors import RecipeError, did_you_mean


def shipped_recipes() -> dict[str, Path]:
    """Return the analyses that ship, by name (``"kim2024/natsound165"``); recipes for training are not among them."""
    return _shipped("[[measures]]")


def shipped_trainings() -> dict[str, Path]:
    """Return the recipes for training that ship, by name (``"kim2024/train-no-music"``)."""
    return _shipped("[training]")


def _shipped(table: str) -> dict[str, Path]:
    """Return the shipped TOML files that have a table, by name."""
    folder = shipped("analyses")
    files = [p for p in sorted(folder.rglob("*.toml")) if table in p.read_text(encoding="utf-8").splitlines()]
    return {p.relative_to(folder).with_suffix("").as_posix(): p for p in files}


def find_recipe(name: str | Path, kind: Literal["analysis", "training"] = "analysis") -> Path:
    """Return the file of a recipe.

    Parameters
    ----------
    name : str or path-like
        A TOML file, or the name of a recipe that ships (``"kim2024/natsound165"``, ``"kim2024/train-no-music"``).
    kind : {'analysis', 'training'}
        What the recipe is for.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    RecipeError
        If there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    known, other = shipped_recipes(), shipped_trainings()
    what, command = "a training", "train"
    if kind == "training":
        known, other = other, known
        what, command = "an analysis", "run"
    plain = str(name).removeprefix("analyses/").removesuffix(".toml")
    if plain in known:
        return known[plain]
    if plain in other:
        raise RecipeError(f"{plain} is {what}; do: brainalign {command} {plain}")
    raise RecipeError(f"no file and no shipped recipe for {kind} {str(name)!r}; {did_you_mean(plain, known)}")
