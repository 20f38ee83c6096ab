"""What a recipe may say: a TOML file that names stimuli, models, brain data and measures."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    Strict,
    ValidationError,
    create_model,
)
from pydantic.fields import FieldInfo

from brainalign._files import shipped
from brainalign.brain import BRAINS
from brainalign.errors import BrainalignError, RecipeError, did_you_mean
from brainalign.measures import MEASURES
from brainalign.measures.resampling import Seed
from brainalign.models import MODELS
from brainalign.stimuli import STIMULI

#: Parameters of a measure that the runner passes; all others are options.
GIVEN = frozenset({"responses", "all_responses", "selection", "brain", "model", "stimuli"})


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ManipulationPart(BaseModel):
    """A manipulation of the sounds; further keys are its parameters."""

    model_config = ConfigDict(extra="allow", strict=True)

    name: str


class StimuliPart(_Part):
    """Which sounds: a known set or a folder, whole or a subset asked for by name; as they are, or manipulated.

    `in_brain` leaves out sounds (after manipulation) to which some of the brain data have no response, and says how
    many.
    """

    set: str
    ids: list[str] | None = None
    categories: list[str] | None = None
    manipulate: list[ManipulationPart] = []
    in_brain: bool = False


class ModelPart(_Part):
    """Which model, which of its layers (all if not given), and how its activations are pooled over time."""

    name: str
    layers: list[str] | None = None
    pooling: str = "mean"


class BrainPart(BaseModel):
    """Which brain data; a label where a recipe has the same data twice; further keys are options of their loader."""

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
    """Which measure; a label where a recipe has the same measure twice; further keys are its options.

    `models` and `brains` name those of the recipe's models and brain data that it is about, if not all.
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

    `model`, `layer` and `measure` (its label, if it has one) say which decoded embedding; the model must be one of the
    recipe's. See :func:`~brainalign.reconstruction.steps.reconstruct` for the rest.
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


class Recipe(_Part):
    """A whole analysis; `selection` are other sounds, which select units or fit a read-out.

    `brain` is one table, ``[brain]``, or several, ``[[brain]]``.
    """

    title: str
    question: str = ""
    seed: Seed = 0
    stimuli: StimuliPart
    selection: StimuliPart | None = None
    models: list[ModelPart] = Field(min_length=1)
    brain: Annotated[list[BrainPart], BeforeValidator(lambda part: [part] if isinstance(part, dict) else part)] = []
    measures: list[MeasurePart] = Field(min_length=1)
    reconstruction: ReconstructionPart | None = None

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
            raise RecipeError(_first_error(why, Recipe)) from why


def shipped_recipes() -> dict[str, Path]:
    """Return the analyses that ship, by name (``"kim2024/natsound165"``); recipes for training are not among them."""
    return _shipped("[[measures]]")


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
    known = shipped_recipes() if kind == "analysis" else _shipped("[training]")
    plain = str(name).removeprefix("analyses/").removesuffix(".toml")
    if plain in known:
        return known[plain]
    raise RecipeError(f"no file and no shipped recipe for {kind} {str(name)!r}; {did_you_mean(plain, known)}")


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
        If the file is not TOML, a key is unknown or missing, a value has the wrong type, or a name or option is
        unknown; the message names the key and near misses.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as why:
        raise RecipeError(f"{path} is not valid TOML: {why}") from why
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as why:
        raise RecipeError(f"{path}: {_first_error(why, Recipe)}") from why
    try:
        _check_names(recipe, path.parent)
    except BrainalignError as why:
        raise RecipeError(f"{path}: {why}") from why
    return recipe


def _check_names(recipe: Recipe, folder: Path) -> None:
    for sounds, where in ((recipe.stimuli, "stimuli"), (recipe.selection, "selection")):
        if sounds is not None and sounds.set not in STIMULI.names() and not (folder / sounds.set).is_dir():
            hint = did_you_mean(sounds.set, STIMULI.names())
            raise RecipeError(f"{where}.set: no known set and no folder {sounds.set!r}; {hint}")
    for i, model in enumerate(recipe.models):
        name = model.name.split(":")[0].split("@")[0]
        if name not in MODELS.names():
            raise RecipeError(f"models[{i}].name: no model named {name!r}; {did_you_mean(name, MODELS.names())}")
    names = [model.name for model in recipe.models]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise RecipeError(f"models: {twice[0]!r} is named twice")
    labels = [m.label or m.name for m in recipe.measures]
    twice = sorted({n for n in labels if labels.count(n) > 1})
    if twice:
        raise RecipeError(f'measures: {twice[0]!r} stands twice; give each a label of its own, label = "..."')
    brains = [part.called for part in recipe.brain]
    twice = sorted({n for n in brains if brains.count(n) > 1})
    if twice:
        raise RecipeError(f'brain: {twice[0]!r} stands twice; give each a label of its own, label = "..."')
    for i, part in enumerate(recipe.brain):
        check_options(BRAINS.get(part.name), part.options, f"brain[{i}]" if len(brains) > 1 else "brain")
    for i, measure in enumerate(recipe.measures):
        function, where = MEASURES.get(measure.name), f"measures[{i}] ({measure.name})"
        for name in measure.models or []:
            if name not in names:
                raise RecipeError(f"{where}: models: the recipe has no model {name!r}; {did_you_mean(name, names)}")
        for name in measure.brains or []:
            if name not in brains:
                raise RecipeError(f"{where}: brains: the recipe has no brain {name!r}; {did_you_mean(name, brains)}")
        check_options(function, measure.options, where)
        if not recipe.brain and "brain" in inspect.signature(function).parameters:
            raise RecipeError(f"{where} compares with a brain, but the recipe has no [brain]")
    if recipe.stimuli.in_brain and not recipe.brain:
        raise RecipeError("stimuli.in_brain asks for the sounds of the brain data, but the recipe has no [brain]")
    if recipe.reconstruction is not None:
        _check_reconstruction(recipe, recipe.reconstruction, folder)
    if recipe.selection and not any("selection" in _parameters(measure) for measure in recipe.measures):
        raise RecipeError("selection: no measure of this recipe selects or fits by other sounds; leave this part out")


def _check_reconstruction(recipe: Recipe, part: ReconstructionPart, folder: Path) -> None:
    names = [model.name for model in recipe.models]
    for key, value in (("model", part.model), ("text_model", part.text_model)):
        if value is not None and value not in names:
            raise RecipeError(f"reconstruction.{key}: the recipe has no model {value!r}; {did_you_mean(value, names)}")
    labels = [m.label or m.name for m in recipe.measures if m.name == "decoding"]
    if part.measure not in labels:
        raise RecipeError(f"reconstruction.measure: no measure decoding called {part.measure!r} in the recipe")
    if part.library is None and part.generator is None:
        raise RecipeError("reconstruction: give a library to retrieve from, a generator, or both")
    if part.library is not None and part.library not in STIMULI.names() and not (folder / part.library).is_dir():
        hint = did_you_mean(part.library, STIMULI.names())
        raise RecipeError(f"reconstruction.library: no known set and no folder {part.library!r}; {hint}")
    if part.tagger is not None and part.tagger.split(":")[0] not in MODELS.names():
        hint = did_you_mean(part.tagger, MODELS.names())
        raise RecipeError(f"reconstruction.tagger: no model named {part.tagger!r}; {hint}")


def _parameters(measure: MeasurePart) -> set[str]:
    return set(inspect.signature(MEASURES.get(measure.name)).parameters)


def check_options(function: Callable[..., Any], options: dict[str, Any], where: str) -> None:
    """Check options against the signature of what they are for.

    Parameters
    ----------
    function : callable
        A loader or a measure; its annotated parameters say which options there are.
    options : dict
        What the recipe says.
    where : str
        Place in the recipe, for messages.

    Raises
    ------
    RecipeError
        If an option is unknown, is lacking, or has the wrong type.
    """
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if name not in GIVEN:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[name] = (_lists_for_tuples(parameter.annotation), default)
    schema = create_model(
        "Options", __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=True, strict=True), **fields
    )
    try:
        schema.model_validate(options)
    except ValidationError as why:
        raise RecipeError(f"{where}: {_first_error(why, schema)}") from why


def _lists_for_tuples(annotation: Any) -> Any:
    """Let the tuples of an annotation be lists too, of the same types and length: TOML has no tuples."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return Annotated[annotation, Strict(False)]
    if origin in (Union, UnionType):
        return Union[tuple(_lists_for_tuples(part) for part in parts)]  # noqa: UP007
    if origin is Annotated:
        return Annotated[(_lists_for_tuples(parts[0]), *parts[1:])]
    return annotation


def _first_error(why: ValidationError, schema: type[BaseModel]) -> str:
    error = why.errors()[0]
    # Branches of a union add their types to the place; a reader needs the key alone.
    place = [p for p in error["loc"] if isinstance(p, int) or not any(c in p for c in "[(")]
    key = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place).lstrip(".")
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}; {did_you_mean(str(error['loc'][-1]), _keys_beside(schema, error['loc']))}"
    if error["type"] == "missing":
        return f"the key {key!r} is missing"
    if error["type"] == "model_type":
        return f'{key}: expected a table, such as {{name = "..."}}, found {error["input"]!r}'
    found, expected = error["input"], _EXPECTED.get(error["type"], "")
    if error["type"] in _LIMITS:
        expected = _range(_own_limits(schema.model_fields.get(key)) or error["ctx"])
    if error["type"] == "literal_error":
        expected = str(error["ctx"]["expected"])
    return f"{key} is {found!r}, expected {expected}" if expected else f"{key}: {error['msg']}, found {found!r}"


#: How pydantic calls each limit in an error, and in its context and in the metadata of a field.
_LIMITS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text in quotes",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
}


def _own_limits(field: FieldInfo | None) -> dict[str, float]:
    """Return the limits of a field; none where they are of a part of it (an entry of a list)."""
    known = [short for short, _ in _LIMITS.values()]
    metadata = field.metadata if field is not None else []
    return {short: getattr(m, short) for m in metadata for short in known if hasattr(m, short)}


def _range(limits: Mapping[str, float]) -> str:
    if set(limits) == {"ge", "le"}:
        return f"{limits['ge']:,} to {limits['le']:,}"
    return " and ".join(f"{words} {limits[short]:,}" for short, words in _LIMITS.values() if short in limits)


def _keys_beside(schema: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Return the keys that are known where an unknown one stands."""
    parts: dict[str, type[BaseModel]] = {
        "stimuli": StimuliPart,
        "selection": StimuliPart,
        "models": ModelPart,
        "reconstruction": ReconstructionPart,
    }
    if len(place) > 1 and place[0] in parts:
        schema = parts[str(place[0])]
    return list(schema.model_fields)
