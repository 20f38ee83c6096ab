"""What a recipe may say: a TOML file that names stimuli, models, brain data and measures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from brainalign._reading import parse_toml, read_toml_text
from brainalign.brain import BRAINS
from brainalign.errors import BrainalignError, ModelError, RecipeError, did_you_mean
from brainalign.measures import MEASURES
from brainalign.measures.benchmarks import RANKING
from brainalign.measures.resampling import Level, Seed
from brainalign.measures.score_difference import Population
from brainalign.models import MODELS
from brainalign.models._names import parse_name
from brainalign.models.pooling import parse_pooling
from brainalign.recipes.labels import check_labels
from brainalign.recipes.options import check_options, first_error, place_of
from brainalign.recipes.places import Place, line_of
from brainalign.registry import Registry
from brainalign.stats.multiple import AdjustMethod
from brainalign.stimuli import MANIPULATIONS, STIMULI


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ManipulationPart(BaseModel):
    """A manipulation of the sounds; further keys are its parameters.

    Attributes
    ----------
    name : str
        Which one; ``brainalign stimuli manipulate --list`` lists them.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """Parameters of the manipulation."""
        return dict(self.model_extra or {})


class StimuliPart(_Part):
    """Which sounds: a known set or a folder, whole or a subset asked for by name; as they are, or manipulated.

    Attributes
    ----------
    set : str
        A known set, or a folder, looked for beside the recipe.
    ids : list of str
        Only these stimuli, in this order.
    categories : list of str
        Only stimuli of these categories.
    manipulate : list of tables
        Manipulations, one after another.
    in_brain : bool
        Leave out sounds (after manipulation) to which some of the brain data have no response, and say how many.
    """

    set: str
    ids: list[str] | None = None
    categories: list[str] | None = None
    manipulate: list[ManipulationPart] = []
    in_brain: bool = False


class ModelPart(_Part):
    """Which model, which of its layers, and how its activations are pooled over time.

    Attributes
    ----------
    name : str
        ``NAME[:VARIANT][@random:SEED or @permuted:SEED]``; ``brainalign models list`` lists the names.
    layers : list of str
        Names, globs, indices (``"#-1"``) or stages; all layers if not given.
    pooling : str
        Over time: ``mean``, ``mean-sd``, ``max``, ``last``, ``segments:K`` or ``none``.
    """

    name: str
    layers: list[str] | None = None
    pooling: str = "mean"


class BrainPart(BaseModel):
    """Which brain data; further keys are options of their loader.

    Attributes
    ----------
    name : str
        A data set; ``brainalign brain list`` lists them.
    label : str
        What tables call it; needed where a recipe has the same data twice.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    name: str
    label: str | None = None

    @property
    def called(self) -> str:
        """Name in tables: the label, if there is one."""
        return self.label or self.name

    @property
    def options(self) -> dict[str, Any]:
        """Options of the loader."""
        return dict(self.model_extra or {})


class MeasurePart(BaseModel):
    """Which measure; further keys are its options.

    Attributes
    ----------
    name : str
        A measure.
    label : str
        What tables call it; needed where a recipe has the same measure twice.
    models : list of str
        Those of the recipe's models that it is about, if not all.
    brains : list of str
        Names or labels of those of the recipe's brain data that it is about, if not all.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    name: str
    label: str | None = None
    models: list[str] | None = None
    brains: list[str] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Options of the measure."""
        return dict(self.model_extra or {})


class ReconstructionPart(_Part):
    """Music from decoded embeddings: retrieved from a library, generated, and compared with what was heard.

    Attributes
    ----------
    model : str
        One of the recipe's models, whose embedding is decoded.
    layer : str
        Which of its layers; needed if several are decoded.
    measure : str
        The measure that decodes: its label, or its name.
    library : str
        A set of music to retrieve from: a known one, or a folder.
    centre : bool
        Take the mean of the library away before cosines are taken.
    tagger : str
        A model that names classes, by which music is compared.
    generator : str
        What generates music, such as ``musicldm:FOLDER``.
    generator_options : table
        Options of the generator.
    text_model : str
        One of the recipe's models, which gives embeddings of captions.
    n_samples : int
        Pieces of music for each embedding.
    duration_s : float
        Length of what is generated, in s; that of the clips if not given.
    stands_for : str
        What the sounds stand for, where they are stand-ins.
    """

    model: str
    layer: str | None = None
    measure: str = "decoding"
    library: str | None = None
    centre: bool = True
    tagger: str | None = None
    generator: str | None = None
    generator_options: dict[str, Any] = {}
    text_model: str | None = None
    n_samples: PositiveInt = 1
    duration_s: PositiveFloat | None = None
    stands_for: str | None = None


class LeaderboardPart(_Part):
    """How the models are ranked, on a page and in tables of their own; docs/leaderboard.md says how to read them.

    Attributes
    ----------
    measures : list of str
        Labels (or names) of the measures that count; all that rank models if not given.
    targets : list of str
        Targets that count, each with the same weight; all units, or all components, if not given.
    per_target : bool
        Make every target a benchmark of its own.
    generalise_to : {'stimuli', 'subjects', 'both'}
        What the tests of encoding speak about; both if the brain data have subjects, else stimuli.
    alpha : float
        Level of the tests, for all pairs of a benchmark together.
    correction : str
        For the number of pairs: ``holm``, ``fdr_bh``, ...
    """

    measures: list[str] | None = None
    targets: list[str] | None = None
    per_target: bool = False
    generalise_to: Population | None = None
    alpha: Level = 0.05
    correction: AdjustMethod = "holm"


def _named(parts: Any) -> Any:
    """Let a name stand for the table that says no more."""
    return [{"name": part} if isinstance(part, str) else part for part in parts] if isinstance(parts, list) else parts


class Recipe(_Part):
    """A whole analysis.

    Attributes
    ----------
    title : str
        Title of the page.
    question : str
        What the analysis asks; stands at the top of the page.
    seed : int
        Of all random draws, unless a measure has its own.
    stimuli : table
        The sounds.
    selection : table
        Other sounds, which select units or fit a read-out, so that the sounds of the tests do not.
    models : array of tables
        The models that listen; a name may stand for a table.
    brain : table or array of tables
        The brain data, one ``[brain]`` or several ``[[brain]]``.
    brains : list
        More brain data, by name.
    measures : array of tables
        What is computed.
    reconstruction : table
        Music from decoded embeddings.
    leaderboard : table
        Ranks of the models.
    """

    title: str
    question: str = ""
    seed: Seed = 0
    stimuli: StimuliPart
    selection: StimuliPart | None = None
    models: Annotated[list[ModelPart], BeforeValidator(_named)] = Field(min_length=1)
    brain: Annotated[list[BrainPart], BeforeValidator(lambda part: [part] if isinstance(part, dict) else part)] = []
    brains: Annotated[list[BrainPart], BeforeValidator(_named)] = Field(default=[], exclude=True)
    measures: list[MeasurePart] = Field(min_length=1)
    reconstruction: ReconstructionPart | None = None
    leaderboard: LeaderboardPart | None = None

    @model_validator(mode="after")
    def _join_brains(self) -> Recipe:
        self.brain, self.brains = [*self.brain, *self.brains], []
        return self

    def with_seed(self, seed: int) -> Recipe:
        """Return the recipe with this seed for all random draws, also where a measure had its own.

        Parameters
        ----------
        seed : int
            From 0 to 2^63 - 1.

        Returns
        -------
        Recipe
            A copy.

        Raises
        ------
        RecipeError
            If the seed is out of range.
        """
        content = self.model_dump(exclude_none=True)
        content["measures"] = [{k: v for k, v in m.items() if k != "seed"} for m in content["measures"]]
        try:
            return Recipe.model_validate({**content, "seed": seed})
        except ValidationError as why:
            raise RecipeError(first_error(why, Recipe)) from why


def read_recipe(path: Path) -> Recipe:
    """Read a recipe and check every name and option in it, before anything is computed.

    Parameters
    ----------
    path : Path
        A TOML file.

    Returns
    -------
    Recipe
        Checked.

    Raises
    ------
    RecipeError
        If the file is not TOML, a key is unknown or missing, a value has the wrong type, a name or option is
        unknown, or two labels would be one file; the message names the file, the line, the key and near misses.
    """
    text = read_toml_text(path, "valid TOML", RecipeError)
    content = parse_toml(text, path, RecipeError)
    try:
        return recipe_from(content, path.parent)
    except RecipeError as why:
        line = line_of(text, _written(content, why.place))
        raise RecipeError(f"{path}{'' if line is None else f':{line}'}: {why}", why.place) from why


def recipe_from(content: Mapping[str, Any], folder: Path) -> Recipe:
    """Make a recipe of what a file of one says, or a record of a run, and check every name and option in it.

    Parameters
    ----------
    content : mapping
        Keys and values.
    folder : Path
        What relative paths are relative to.

    Returns
    -------
    Recipe
        Checked.

    Raises
    ------
    RecipeError
        As :func:`read_recipe` does.
    """
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as why:
        raise RecipeError(first_error(why, Recipe), place_of(why)) from why
    _check_names(recipe, folder)
    return recipe


def _written(content: dict[str, Any], place: Place) -> Place:
    """Return a place as the file has it: one [brain] is read as a list of one, and the names in brains follow it."""
    if place[:1] != ("brain",) or len(place) < 2:
        return place
    own, position = content.get("brain", []), int(place[1])
    n_own = 1 if isinstance(own, dict) else len(own)
    if position >= n_own:
        return ("brains", position - n_own)
    return ("brain", *place[2:]) if isinstance(own, dict) else place


def _check_names(recipe: Recipe, folder: Path) -> None:
    for sounds, where in ((recipe.stimuli, "stimuli"), (recipe.selection, "selection")):
        if sounds is not None and sounds.set not in STIMULI.names() and not (folder / sounds.set).is_dir():
            hint = did_you_mean(sounds.set, STIMULI.names())
            raise RecipeError(f"{where}.set: no known set and no folder {sounds.set!r}; {hint}", (where, "set"))
        for i, step in enumerate(sounds.manipulate if sounds is not None else []):
            place: Place = (where, "manipulate", i)
            function = _registered(MANIPULATIONS, step.name.replace("_", "-"), (*place, "name"))
            taken = frozenset(list(inspect.signature(function).parameters)[:1])
            check_options(function, step.options, f"{where}.manipulate[{i}] ({step.name})", place, taken)
    for i, model in enumerate(recipe.models):
        name = model.name.split(":")[0].split("@")[0]
        if name not in MODELS.names():
            hint = did_you_mean(name, MODELS.names())
            raise RecipeError(f"models[{i}].name: no model named {name!r}; {hint}", ("models", i, "name"))
        for key, value, parse in (("name", model.name, parse_name), ("pooling", model.pooling, parse_pooling)):
            try:
                parse(value)
            except ModelError as why:
                raise RecipeError(f"models[{i}].{key}: {why}", ("models", i, key)) from why
    names = [model.name for model in recipe.models]
    _check_once(names, "models", "is named twice")
    own_label = 'stands twice; give each a label of its own, label = "..."'
    _check_once([m.label or m.name for m in recipe.measures], "measures", own_label)
    brains = [part.called for part in recipe.brain]
    _check_once(brains, "brain", own_label)
    check_labels(recipe)
    for i, part in enumerate(recipe.brain):
        loader = _registered(BRAINS, part.name, ("brain", i, "name"))
        where = f"brain[{i}]" if len(brains) > 1 else "brain"
        check_options(loader, part.options, where, ("brain", i), frozenset())
    for i, measure in enumerate(recipe.measures):
        place = ("measures", i)
        function, where = _registered(MEASURES, measure.name, (*place, "name")), f"measures[{i}] ({measure.name})"
        for key, asked, known in (("model", measure.models, names), ("brain", measure.brains, brains)):
            for name in asked or []:
                if name not in known:
                    message = f"{where}: {key}s: the recipe has no {key} {name!r}; {did_you_mean(name, known)}"
                    raise RecipeError(message, (*place, f"{key}s"))
        check_options(function, measure.options, where, place)
        if not recipe.brain and "brain" in inspect.signature(function).parameters:
            raise RecipeError(f"{where} compares with a brain, but the recipe has no [brain]", place)
    if recipe.stimuli.in_brain and not recipe.brain:
        message = "stimuli.in_brain asks for the sounds of the brain data, but the recipe has no [brain]"
        raise RecipeError(message, ("stimuli", "in_brain"))
    if recipe.reconstruction is not None:
        _check_reconstruction(recipe, recipe.reconstruction, folder)
    if recipe.leaderboard is not None:
        _check_leaderboard(recipe, recipe.leaderboard)
    if recipe.selection and not any("selection" in _parameters(measure) for measure in recipe.measures):
        message = "selection: no measure of this recipe selects or fits by other sounds; leave this part out"
        raise RecipeError(message, ("selection",))


def _check_once(names: list[str], where: str, what: str) -> None:
    for i, name in enumerate(names):
        if name in names[:i]:
            raise RecipeError(f"{where}: {name!r} {what}", (where, i, "name"))


def _registered(registry: Registry, name: str, place: Place) -> Callable[..., Any]:
    try:
        return registry.get(name)
    except BrainalignError as why:
        raise RecipeError(str(why), place) from why


def _check_reconstruction(recipe: Recipe, part: ReconstructionPart, folder: Path) -> None:
    names = [model.name for model in recipe.models]
    for key, value in (("model", part.model), ("text_model", part.text_model)):
        if value is not None and value not in names:
            _refuse(f"reconstruction.{key}: the recipe has no model {value!r}; {did_you_mean(value, names)}")
    labels = [m.label or m.name for m in recipe.measures if m.name == "decoding"]
    if part.measure not in labels:
        _refuse(f"reconstruction.measure: no measure decoding called {part.measure!r} in the recipe")
    if part.library is None and part.generator is None:
        _refuse("reconstruction: give a library to retrieve from, a generator, or both")
    if part.library is not None and part.library not in STIMULI.names() and not (folder / part.library).is_dir():
        hint = did_you_mean(part.library, STIMULI.names())
        _refuse(f"reconstruction.library: no known set and no folder {part.library!r}; {hint}")
    if part.tagger is not None and part.tagger.split(":")[0] not in MODELS.names():
        hint = did_you_mean(part.tagger, MODELS.names())
        _refuse(f"reconstruction.tagger: no model named {part.tagger!r}; {hint}")


def _check_leaderboard(recipe: Recipe, part: LeaderboardPart) -> None:
    known = [m.label or m.name for m in recipe.measures if m.name in RANKING]
    if not known:
        _refuse(f"leaderboard: no measure of the recipe ranks models; add one of {', '.join(RANKING)}")
    for name in part.measures or []:
        if name not in known:
            _refuse(f"leaderboard.measures: no measure {name!r} that ranks models; {did_you_mean(name, known)}")
    if len(recipe.models) < 2:
        _refuse("leaderboard: there is one model; ranks need at least two")


def _refuse(message: str) -> NoReturn:
    """Raise, with the key that the message begins with as its place."""
    raise RecipeError(message, message.partition(":")[0].split("."))


def _parameters(measure: MeasurePart) -> set[str]:
    return set(inspect.signature(MEASURES.get(measure.name)).parameters)
