"""Where a recipe comes from: a file, one that ships, or the record of an earlier run, by which that is repeated."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainalign._files import sha256
from brainalign.errors import RecipeError, ResultsError, name_some
from brainalign.recipes.schema import Recipe, read_recipe, recipe_from
from brainalign.recipes.shipped import find_recipe, shipped_recipes

#: Format of results folders. It rises when a reader of the old ones would misunderstand the new ones; further keys and
#: columns do not raise it. :func:`brainalign.report.saved.load_run` says what it reads.
FORMAT = 1


@dataclass(frozen=True)
class Source:
    """A recipe and where it comes from.

    Attributes
    ----------
    plan : Recipe
        Checked.
    folder : Path
        What its relative paths are relative to.
    name : str
        What the user called it.
    digest : str
        SHA-256 of the file of the recipe.
    ships_as : str
        Name of the recipe if it ships; else empty.
    before : mapping or None
        The record of the run that is repeated.
    """

    plan: Recipe
    folder: Path
    name: str
    digest: str
    ships_as: str = ""
    before: Mapping[str, Any] | None = None

    def place(self, out: Path) -> dict[str, str]:
        """Say in a record where the recipe lay, in a way that means something on another machine.

        Parameters
        ----------
        out : Path
            The results folder.

        Returns
        -------
        dict
            ``ships_as``, or ``folder`` from the results folder on: a study that is moved as a whole finds its files.
        """
        if self.ships_as:
            return {"ships_as": self.ships_as}
        try:
            return {"folder": Path(os.path.relpath(self.folder.resolve(), out.resolve())).as_posix()}
        except ValueError:  # another drive
            return {}

    def warn_of_differences(self, record: Mapping[str, Any]) -> None:
        """Warn of all that is no longer as it was in the run that is repeated.

        Parameters
        ----------
        record : mapping
            Provenance of the new run.
        """
        for text in differences(self.before, record) if self.before is not None else ():
            warnings.warn(f"not as in the run that is repeated: {text}", stacklevel=2)

    def same_results(self, table: Path) -> bool | None:
        """Compare a table of results with that of the run that is repeated.

        Parameters
        ----------
        table : Path
            ``results.csv`` of the new run.

        Returns
        -------
        bool or None
            Whether they are the same, byte for byte; None if no run is repeated, or its record does not tell.
        """
        before = None if self.before is None else self.before.get("results_sha256")
        return None if before is None else bool(sha256(table) == before)


def find_source(recipe: str | Path) -> Source:
    """Read a recipe from its file, or one that ships.

    Parameters
    ----------
    recipe : str or path-like
        A TOML file, or the name of a recipe that ships.

    Returns
    -------
    Source
        The recipe, checked.

    Raises
    ------
    RecipeError
        If there is none, or it cannot be used.
    """
    path = find_recipe(recipe)
    ships_as = next((name for name, file in shipped_recipes().items() if file.resolve() == path.resolve()), "")
    return Source(read_recipe(path), path.parent, str(recipe), sha256(path), ships_as)


def record_format(record: Mapping[str, Any], path: Path) -> int:
    """Return the format of the results folder that a record is from.

    Parameters
    ----------
    record : mapping
        What ``provenance.json`` holds.
    path : Path
        The file, for messages.

    Returns
    -------
    int
        At most :data:`FORMAT`; 0 if the record names none.

    Raises
    ------
    ResultsError
        If it is no number of a format, or one that only a newer brainalign understands.
    """
    number = record.get("format", 0)
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ResultsError(f"{path}: format is {number!r}, expected a whole number such as {FORMAT}")
    if number > FORMAT:
        raise ResultsError(
            f"{path} has format {number}, from a newer brainalign; this one reads up to {FORMAT}: update brainalign"
        )
    return number


def read_record(record: str | Path, folder: str | Path | None = None) -> Source:
    """Read the recipe of a run from its record.

    Parameters
    ----------
    record : path-like
        ``provenance.json``, or the results folder that holds it.
    folder : path-like, optional
        Where the recipe lay, if its files have moved; what it names relative to itself is looked for there.

    Returns
    -------
    Source
        The recipe as it was run, its seed included, and the record.

    Raises
    ------
    ResultsError
        If there is no such record, it holds no recipe, or it is from a newer brainalign.
    RecipeError
        If the recipe names what is not here.
    """
    path = Path(record) / "provenance.json" if Path(record).is_dir() else Path(record)
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        record_format(before, path)
        content, name, digest = before["recipe"], str(before["recipe_name"]), str(before["recipe_sha256"])
        place = dict(before["recipe_place"])
    except FileNotFoundError as why:
        raise ResultsError(f"there is no {path}; name a results folder, or its provenance.json") from why
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as why:
        raise ResultsError(f"{path} is no record of a run that can be repeated: {type(why).__name__} {why}") from why
    known, ships_as = shipped_recipes(), str(place.get("ships_as", ""))
    if folder is not None:
        base = Path(folder)
    elif ships_as in known:
        base = known[ships_as].parent
    else:
        base = Path(os.path.normpath(path.absolute().parent / str(place.get("folder", "."))))
    try:
        plan = recipe_from(content, base)
    except RecipeError as why:
        hint = "" if folder is not None or ships_as else f"--folder names another folder for its files than {base}: "
        raise RecipeError(f"{hint}{path}: {why}", why.place) from why
    return Source(plan, base, name, digest, ships_as, before)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Say what is no longer as it was.

    Parameters
    ----------
    before, now : mapping
        Two records of runs of one recipe.

    Yields
    ------
    str
        One difference: versions, sounds, models, brain data.
    """
    old, new = before.get("versions", {}), now["versions"]
    if changed := [f"{k} {old[k]} is now {new.get(k, 'not installed')}" for k in old if old[k] != new.get(k)]:
        yield ", ".join(changed)
    if before.get("seed") != now["seed"]:
        yield f"the seed {before.get('seed')} is now {now['seed']}"
    for part, what in (("stimuli", "the sounds"), ("selection", "the sounds of the selection")):
        was, is_now = (record.get(part, {}).get("sha256", {}) for record in (before, now))
        yield from _digests(f"{what} {{}} of {now.get(part, {}).get('name')}", was, is_now)
    models = [{m["name"]: m["record"] for m in record.get("models", [])} for record in (before, now)]
    for name, now_is in models[1].items():
        record = models[0].get(name, {})
        # As it is read back.
        if keys := [k for k in {**record, **now_is} if record.get(k) != json.loads(json.dumps(now_is.get(k)))]:
            yield f"the model {name}: {name_some(keys)}"
    known = {b["name"]: b for b in before.get("brains", [])}
    for brain in now["brains"]:
        facts = known.get(brain["name"], {})
        words = {"version": "version", "sha256": "responses"}
        if changed := [word for key, word in words.items() if facts.get(key) != brain[key]]:
            yield f"the brain data {brain['name']}: {' and '.join(changed)}"


def _digests(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for text, ids in (
        ("have changed", [i for i in now if i in before and before[i] != now[i]]),
        ("are new", [i for i in now if i not in before]),
        ("are gone", [i for i in before if i not in now]),
    ):
        if ids:
            yield f"{what.format(name_some(map(repr, ids)))} {text}"
