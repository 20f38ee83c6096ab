"""Labels and names of a recipe: files are called by them, and they stand in tables and on pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from brainalign._files import file_name
from brainalign._reading import check_names
from brainalign.errors import RecipeError
from brainalign.recipes.places import Place

if TYPE_CHECKING:
    from brainalign.recipes.schema import Recipe

MAX_LABEL = 100
#: File systems take 255 bytes; ``.nc`` and the name of the scratch folder beside a file need some of them.
MAX_FILE_NAME = 230
_NO_NAME = re.compile(r"[\s./\\]*")


def check_labels(recipe: Recipe) -> None:
    """Raise if a label cannot be read as a name, or if two names would be one file.

    Parameters
    ----------
    recipe : Recipe
        Whose labels, and names of models, are different from each other.

    Raises
    ------
    RecipeError
        With the place of the label or name.
    """
    labels = [(("measures", i), part.label) for i, part in enumerate(recipe.measures)]
    for place, label in labels + [(("brain", i), part.label) for i, part in enumerate(recipe.brain)]:
        if label is not None:
            _check_label(label, place)
    models = [part.name for part in recipe.models]
    for i, name in enumerate(models):
        _check_signs(name, f"models[{i}].name", ("models", i, "name"))
    measures, brains = [part.label or part.name for part in recipe.measures], [part.called for part in recipe.brain]
    _check_files(measures, "measures", "label", "give one of them another label")
    _check_files(brains, "brain", "label", "give one of them another label")
    _check_files(models, "models", "name", "rename a file or folder, or run one of them in a recipe of its own")
    for i, name in enumerate(measures):
        for other in measures:
            if file_name(name).casefold().startswith(f"{file_name(other).casefold()}--"):
                raise RecipeError(
                    f"measures[{i}]: the files of {name!r} could be taken for those of {other!r}, which end in "
                    f"--MODEL; give it another label",
                    ("measures", i, "label"),
                )
        longest = [max(map(_n_bytes, names), default=0) for names in ([name], models, brains)]
        if sum(longest) > MAX_FILE_NAME:
            raise RecipeError(
                f"measures[{i}]: the names of a measure, a model and brain data are a file name together, here of up "
                f"to {sum(longest)} bytes, expected at most {MAX_FILE_NAME}; shorten the label or the longest name",
                ("measures", i, "label"),
            )


def _check_label(label: str, place: Place) -> None:
    where, key = f"{place[0]}[{place[1]}].label", (*place, "label")
    if len(label) > MAX_LABEL:
        raise RecipeError(f"{where} has {len(label)} characters, expected at most {MAX_LABEL}; shorten it", key)
    if _NO_NAME.fullmatch(label):
        raise RecipeError(f"{where} is {label!r}, expected a name; write one, or leave the label out", key)
    _check_signs(label, f"{where}: the label", key)


def _check_signs(name: str, what: str, place: Place) -> None:
    try:
        check_names([name], what, RecipeError)
    except RecipeError as why:
        raise RecipeError(str(why), place) from why


def _check_files(names: list[str], where: str, key: str, remedy: str) -> None:
    first: dict[str, int] = {}
    for i, name in enumerate(names):
        # File systems of macOS and Windows do not tell capitals from small letters.
        other = names[first.setdefault(file_name(name).casefold(), i)]
        if other != name:
            raise RecipeError(
                f"{where}: {other!r} and {name!r} would have files of one name ({file_name(name)}); {remedy}",
                (where, i, key),
            )


def _n_bytes(name: str) -> int:
    """Return the bytes of a name in the name of a file, with the dashes between two names."""
    return len(file_name(name).encode()) + len("--")
