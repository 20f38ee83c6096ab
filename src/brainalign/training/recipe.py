"""A training run as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from brainalign._files import data_folder
from brainalign._reading import parse_toml, read_toml_text
from brainalign.errors import RecipeError

#: Epochs in Kim et al. 2024: 200 for random labels, 100 otherwise.
PUBLISHED_EPOCHS = {"random-labels": 200}


class TrainingRecipe(BaseModel):
    """What is trained, on what; the table ``[training]`` of a recipe file.

    Optimiser, learning rates, loss and dropout are those of Kim et al. 2024 and no options.

    Attributes
    ----------
    data : str
        A folder: AudioSet's own layout, or sounds with a table ``metadata.csv`` (docs/training.md shows both). A
        relative path is looked up beside the recipe, then in the working directory, then in the data folder
        (``BRAINALIGN_DATA``).
    ontology : str
        AudioSet's ``ontology.json``, looked up in the same way.
    label_map : str
        ``"minisounds"``, which ships, or a CSV that says what the labels of the table are called in AudioSet.
        AudioSet's own layout needs none and uses none.
    exclude : str
        A spreadsheet or text file with names of clips that were removed by hand.
    missing_clips : {'error', 'leave-out'}
        What to do about clips that a table or a segment list names but that are not there.
    condition : str
        ``all``, ``no-music``, ``no-music-no-speech``, ``random-labels`` or ``exclude:CATEGORY``.
    seed : int
        Of the initial weights, the order of clips, dropout, and random labels. The split does not depend on it.
    epochs : int
        100 if not given, 200 for random labels, as published; the learning rate's one cycle spans them.
    batch_size : int
        Clips per step, over all devices.
    keep : {'best', 'last'}
        Keep the epoch with the highest validation AP or the last one; the last for random labels, where validation is
        at chance by design, the best otherwise.
    mean_rms : float
        Level to which the clips are brought by one common factor; as they come if not given.
    licence : str
        Of the weights.
    device : {'auto', 'cpu', 'gpu'}
        Where it runs.
    n_devices : int
        On how many.
    precision : {'32-true', '16-mixed', 'bf16-mixed'}
        Of the arithmetic.
    cache : str
        A folder for log-mel spectrograms; they are held in memory if not given.
    workers : int
        Threads that read clips.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str
    ontology: str = "audioset/ontology.json"
    label_map: str | None = None
    exclude: str | None = None
    missing_clips: Literal["error", "leave-out"] = "error"
    condition: str = "no-music"
    seed: int = Field(default=0, ge=0)
    epochs: int = Field(default=0, ge=1, validate_default=False)
    batch_size: int = Field(default=32, ge=2)
    keep: Literal["best", "last"] | None = None
    mean_rms: float | None = Field(default=None, gt=0, le=1)
    licence: str = "not stated"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    n_devices: int = Field(default=1, ge=1)
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    cache: str | None = None
    workers: int = Field(default=2, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        if isinstance(given, dict):
            condition = given.get("condition", "no-music")
            published = PUBLISHED_EPOCHS.get(condition, 100)
            keep = "last" if condition == "random-labels" else "best"
            return {"epochs": published, "keep": keep, **given}
        return given

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.n_devices > 1 and self.batch_size % self.n_devices:
            raise ValueError(f"batch_size {self.batch_size} cannot be shared equally by {self.n_devices} devices")
        return self

    def what(self) -> dict[str, Any]:
        """Return the part that determines the result: not where and how fast it is computed."""
        return self.model_dump(exclude={"device", "n_devices", "cache", "workers", "data", "ontology", "exclude"})


def read_training_recipe(path: Path, **changes: Any) -> TrainingRecipe:
    """Read a recipe file.

    Parameters
    ----------
    path : Path
        A TOML file with a table ``[training]``.
    **changes
        Entries that replace those of the file.

    Returns
    -------
    TrainingRecipe
        With defaults filled in.

    Raises
    ------
    RecipeError
        If the file is missing, is not TOML, or has unknown or impossible entries.
    """
    content = parse_toml(read_toml_text(path, "a training recipe", RecipeError), path, RecipeError)
    if set(content) != {"training"} or not isinstance(content["training"], dict):
        raise RecipeError(f"{path}: expected one table [training], found {', '.join(content) or 'nothing'}")
    return make_training_recipe({**content["training"], **changes}, str(path))


def make_training_recipe(entries: dict[str, Any], source: str = "a training recipe") -> TrainingRecipe:
    """Check the entries of a recipe.

    Parameters
    ----------
    entries : dict
        As in a file.
    source : str
        Where they come from, for messages.

    Returns
    -------
    TrainingRecipe
        With defaults filled in.

    Raises
    ------
    RecipeError
        If entries are unknown, missing or impossible.
    """
    try:
        return TrainingRecipe(**entries)
    except ValidationError as why:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}" for e in why.errors())
        raise RecipeError(f"{source}: {problems}") from why


def find(key: str, name: str, beside: Path) -> Path:
    """Return where a file or folder of a recipe lies.

    Parameters
    ----------
    key : str
        The entry of the recipe that names it, for messages.
    name : str
        A path.
    beside : Path
        The folder of the recipe.

    Returns
    -------
    Path
        The first that exists of: beside the recipe, in the working directory, in the data folder.

    Raises
    ------
    RecipeError
        If none does.
    """
    places = [folder / Path(name).expanduser() for folder in (beside, Path.cwd(), data_folder())]
    for place in places:
        if place.exists():
            return place
    looked = ", ".join(dict.fromkeys(map(str, places)))
    raise RecipeError(
        f"{key} = {json.dumps(name, ensure_ascii=False)} is not there (looked for {looked}); name another path in the "
        f"recipe, or set BRAINALIGN_DATA; docs/training.md says what belongs there"
    )
