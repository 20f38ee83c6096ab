"""The options of a part of a recipe: which there are, by a signature, and what is wrong with those that are given."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Strict, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from brainalign.errors import RecipeError, did_you_mean
from brainalign.recipes.places import Place

#: Parameters of a measure that the runner passes; all others are options.
GIVEN = frozenset({"responses", "all_responses", "selection", "brain", "model", "stimuli"})


def options_model(function: Callable[..., Any], given: frozenset[str] = GIVEN) -> type[BaseModel]:
    """Return a model of the options that a recipe may give to a function, by its signature.

    Parameters
    ----------
    function : callable
        A loader, a manipulation or a measure; its annotated parameters say which options there are.
    given : frozenset of str
        Parameters that are passed by others and are no options.

    Returns
    -------
    type of BaseModel
        Strict, and without further keys unless the function takes any.
    """
    fields: dict[str, Any] = {}
    extra: Literal["allow", "forbid"] = "forbid"
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = "allow"
        elif name not in given:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[name] = (_lists_for_tuples(parameter.annotation), default)
    config = ConfigDict(extra=extra, arbitrary_types_allowed=True, strict=True)
    return create_model("Options", __config__=config, **fields)


def check_options(
    function: Callable[..., Any],
    options: dict[str, Any],
    where: str,
    place: Place = (),
    given: frozenset[str] = GIVEN,
) -> None:
    """Check options against the signature of what they are for.

    Parameters
    ----------
    function : callable
        A loader or a measure; its annotated parameters say which options there are.
    options : dict
        What the recipe says.
    where : str
        Place in the recipe, for messages.
    place : tuple of str or int
        The same place as keys and indices, for the error.
    given : frozenset of str
        Parameters that are passed by others and are no options.

    Raises
    ------
    RecipeError
        If an option is unknown, is lacking, or has the wrong type.
    """
    schema = options_model(function, given)
    try:
        schema.model_validate(options)
    except ValidationError as why:
        raise RecipeError(f"{where}: {first_error(why, schema)}", (*place, *place_of(why))) from why


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


def place_of(why: ValidationError) -> Place:
    """Return where the first error is; branches of a union add their types to it, a reader needs the key alone."""
    return tuple(p for p in _first(why)["loc"] if isinstance(p, int) or not any(c in p for c in "[("))


def _first(why: ValidationError) -> ErrorDetails:
    """Return the first error; a key that is misspelt says more than that it is missing."""
    errors = why.errors()
    misspelt = (e for e in errors if e["type"] == "extra_forbidden" and e["loc"][:-1] == errors[0]["loc"][:-1])
    return next(misspelt, errors[0]) if errors[0]["type"] == "missing" else errors[0]


def first_error(why: ValidationError, schema: type[BaseModel]) -> str:
    """Say in a line what is wrong first: key, what was found, what was expected."""
    error = _first(why)
    key = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place_of(why)).lstrip(".")
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}; {did_you_mean(str(error['loc'][-1]), _keys_beside(schema, error['loc']))}"
    if error["type"] == "missing":
        return f"the key {key!r} is missing"
    if error["type"] == "model_type":
        return f'{key}: expected a table, such as {{name = "..."}}, found {_shown(error["input"])}'
    if error["type"] == "list_type" and isinstance(error["input"], dict) and _is_of_tables(schema, error["loc"]):
        return f"{key} is one table, expected a list of tables; write [[{key}]], with two brackets"
    found, expected = error["input"], _EXPECTED.get(error["type"], "")
    if error["type"] in _LIMITS:
        expected = _range(_own_limits(schema.model_fields.get(key)) or error["ctx"])
    if error["type"] == "literal_error":
        expected = str(error["ctx"]["expected"])
    if error["type"] == "expected":  # as the types of options raise it
        expected = error["msg"]
    if expected == "a list" and isinstance(found, str):
        expected = f"a list, such as [{json.dumps(found, ensure_ascii=False)}]"
    shown = _shown(found)
    return f"{key} is {shown}, expected {expected}" if expected else f"{key}: {error['msg']}, found {shown}"


def _shown(value: Any) -> str:
    """Show a value as TOML writes it, where that differs from Python."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k} = {_shown(v)}' for k, v in value.items())}}}"
    return repr(value)


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
    "sequence_str": "a list",
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


def _keys_beside(schema: type[BaseModel], place: Place) -> list[str]:
    """Return the keys that are known where an unknown one stands."""
    for part in place[:-1]:
        field = schema.model_fields.get(str(part))
        schema = (table_of(field.annotation) if field is not None else None) or schema
    return list(schema.model_fields)


def _is_of_tables(schema: type[BaseModel], place: Place) -> bool:
    """Say whether what stands at a place is a table, or a list of tables."""
    table: type[BaseModel] | None = schema
    for part in place:
        field = None if table is None or isinstance(part, int) else table.model_fields.get(part)
        if not isinstance(part, int):
            table = None if field is None else table_of(field.annotation)
    return table is not None


def table_of(annotation: Any) -> type[BaseModel] | None:
    """Return the table that a field with this annotation holds, alone or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((table for part in get_args(annotation) if (table := table_of(part))), None)
