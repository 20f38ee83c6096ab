"""The JSON Schema of a recipe: what an editor needs to complete and check it while it is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from inspect import getdoc, signature
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticOmit, core_schema

from brainalign.brain import BRAINS
from brainalign.measures import MEASURES
from brainalign.models import MODELS
from brainalign.recipes.options import GIVEN, options_model, table_of
from brainalign.recipes.schema import (
    BrainPart,
    ManipulationPart,
    MeasurePart,
    ModelPart,
    Recipe,
    ReconstructionPart,
    StimuliPart,
)
from brainalign.registry import Registry
from brainalign.stimuli import MANIPULATIONS, STIMULI

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Generator(GenerateJsonSchema):
    """Leaves out branches that no TOML file can write, such as a ``Split`` of arrays."""

    def handle_invalid_for_json_schema(self, schema: core_schema.CoreSchema, error_info: str) -> JsonSchemaValue:
        raise PydanticOmit


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a recipe.

    It is made from the same models and signatures by which recipes are checked, and knows what is registered here, a
    lab's own parts included. Options of measures, brain data and manipulations depend on the ``name`` beside them.

    Returns
    -------
    dict
        Ready for JSON.
    """
    schema = _described(Recipe)
    definitions = {part.__name__: _described(part) for part in _tables(Recipe)} | {
        "MeasurePart": _by_name(MEASURES, MeasurePart, lambda _: GIVEN),
        "BrainPart": _by_name(BRAINS, BrainPart, lambda _: frozenset()),
        "ManipulationPart": _by_name(
            MANIPULATIONS, ManipulationPart, lambda f: frozenset([*signature(f).parameters][:1])
        ),
    }
    sounds, model, music = (definitions[p.__name__]["properties"] for p in (StimuliPart, ModelPart, ReconstructionPart))
    for key, open_or_called in (
        (sounds["set"], _open(STIMULI)),
        (music["library"], _open(STIMULI)),
        (model["name"], _called(MODELS)),
        (music["tagger"], _called(MODELS)),
    ):
        key |= open_or_called
    for key, name in (("models", _called(MODELS)), ("brains", {"enum": BRAINS.names()})):
        items = schema["properties"][key]["items"]
        schema["properties"][key]["items"] = {"anyOf": [name, items]}
    several = {key: schema["properties"]["brain"].pop(key) for key in ("type", "items")}
    schema["properties"]["brain"]["anyOf"] = [several["items"], several]
    return {"$schema": DIALECT, **schema, "title": "brainalign recipe", "$defs": definitions}


def _tables(part: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield the tables within a table."""
    for field in part.model_fields.values():
        inner = table_of(field.annotation)
        if inner is not None:
            yield inner
            yield from _tables(inner)


def _open(registry: Registry) -> dict[str, Any]:
    """Known names for completion; any other text may be a folder."""
    return {"anyOf": [{"enum": registry.names()}, {"type": "string"}]}


def _called(registry: Registry) -> dict[str, Any]:
    """Known names, alone or with what follows them: ``NAME:VARIANT``, ``NAME@random:SEED``."""
    names = registry.names()
    return {"anyOf": [{"enum": names}, {"type": "string", "pattern": f"^({'|'.join(map(re.escape, names))})[:@].+"}]}


def _described(part: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of a table with what its docstring says of it and its keys; other tables come by reference."""
    schema = _json_schema(part)
    summary, keys = describe(part)
    for key, own in schema["properties"].items():
        if key in keys:
            own["description"] = keys[key]
    return schema | {"description": summary}


def _by_name(
    registry: Registry, part: type[BaseModel], given: Callable[[Callable[..., Any]], frozenset[str]]
) -> dict[str, Any]:
    """Return the schema of a table whose further keys are the options of what it names."""
    common = _described(part)
    branches = []
    for name in registry.names():
        function = registry.get(name)
        summary, said = describe(function)
        options = _json_schema(options_model(function, given(function)))
        for key, own in options["properties"].items():
            if key in said:
                own["description"] = said[key]
        named = {"name": common["properties"]["name"] | {"const": name, "description": summary}}
        branches.append(
            {
                "title": name,
                "description": summary,
                "type": "object",
                "properties": options["properties"] | common["properties"] | named,
                "required": [*common["required"], *options.get("required", [])],
                "additionalProperties": options.get("additionalProperties", False),
            }
        )
    known = {"name": common["properties"]["name"] | {"enum": registry.names()}}
    return {
        "description": common["description"],
        "type": "object",
        "properties": known,
        "required": common["required"],
        "oneOf": branches,
    }


def _json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of a model in which no title repeats a key and null, which TOML has not, does not occur."""
    schema = model.model_json_schema(schema_generator=_Generator)
    schema.pop("$defs", None)
    schema.setdefault("properties", {})
    cleaned: dict[str, Any] = {key: _without_null(own) for key, own in schema["properties"].items()}
    schema.pop("title", None)
    return schema | {"properties": cleaned}


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    own = {k: v for k, v in schema.items() if k != "title" and not (k == "default" and v is None)}
    if "anyOf" in own:
        branches = [_without_null(b) for b in own.pop("anyOf") if b.get("type") != "null"]
        # Objects of Python, such as a list of splits, cannot be written in TOML.
        branches = [b for b in branches if "$ref" not in str(b)] or branches
        own = {**branches[0], **own} if len(branches) == 1 else {**own, "anyOf": branches}
    return own


def describe(thing: object) -> tuple[str, dict[str, str]]:
    """Read the docstring of a function or a class.

    Parameters
    ----------
    thing : object
        With a docstring in the form of numpydoc.

    Returns
    -------
    summary : str
        Its first paragraph, as plain text.
    described : dict of str to str
        What it says of each parameter or attribute, as plain text.
    """
    lines = (getdoc(thing) or "").splitlines()
    summary = " ".join(lines[: lines.index("")] if "" in lines else lines)
    starts = [i for i, line in enumerate(lines[:-1]) if line.strip() and set(lines[i + 1]) == {"-"}]
    described: dict[str, list[str]] = {}
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        if lines[start] not in ("Parameters", "Attributes"):
            continue
        names: list[str] = []
        for line in lines[start + 2 : end]:
            if line.startswith(" "):
                for name in names:
                    described[name].append(line.strip())
            elif line:
                names = [n.strip().lstrip("*") for n in line.partition(" : ")[0].split(",")]
                described |= {name: [] for name in names}
    return _plain(summary), {name: _plain(" ".join(words)) for name, words in described.items()}


def _plain(text: str) -> str:
    """Take the marks of reStructuredText away."""
    return re.sub(r":\w+:`~?([^`]+)`|``?([^`]+)``?", lambda m: m[1] or m[2], text)
