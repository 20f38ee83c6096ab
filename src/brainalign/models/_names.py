"""The name of a model: its parts, and options in it (``onnx:my-net.onnx?sample_rate=16000``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from brainalign.errors import ModelError, did_you_mean

# The variant may be a path with an "@" in a folder's name.
_NAME = re.compile(r"(?P<name>[^:@]+)(:(?P<variant>([^@]|@(?=[^@]*[/\\]))+))?(@(?P<control>[a-z]+):(?P<seed>\d+))?")


class ModelName(NamedTuple):
    """Parts of ``NAME[:VARIANT][@CONTROL:SEED]``; without a control there is no seed."""

    name: str
    variant: str
    control: str | None
    seed: int


def parse_name(name: str) -> ModelName:
    """Read the name of a model, whether or not there is one of this name."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ModelError(f"model name {name!r} is not of the form NAME[:VARIANT][@random:SEED or @permuted:SEED]")
    control, seed = match["control"], int(match["seed"] or 0)
    if control not in (None, "random", "permuted"):
        raise ModelError(f"model {name!r}: unknown control {control!r}; known: 'random', 'permuted'")
    if seed >= 2**63:
        raise ModelError(f"model {name!r}: the seed is not below 2^63")
    return ModelName(match["name"], match["variant"] or "", control, seed)


def split_options(family: str, variant: str, known: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Split ``WHAT?KEY=VALUE&KEY=VALUE`` into what is named and its options."""
    what, mark, text = variant.partition("?")
    options: dict[str, str] = {}
    for part in text.split("&") if mark else []:
        key, equals, value = part.partition("=")
        if not (equals and value):
            raise ModelError(f"model '{family}:{variant}': {part!r} is not of the form KEY=VALUE")
        if key not in known:
            raise ModelError(f"model '{family}:{variant}' has no option {key!r}; {did_you_mean(key, known)}")
        if key in options:
            raise ModelError(f"model '{family}:{variant}': the option {key!r} stands twice")
        options[key] = value
    return what, options


def read_rate(family: str, variant: str, text: str) -> int:
    """Read a sample rate in Hz."""
    if not text.isdecimal() or not int(text):
        raise ModelError(
            f"model '{family}:{variant}': sample_rate must be a number of samples per second, found {text!r}"
        )
    return int(text)
