"""Options in the name of a model: ``onnx:my-net.onnx?sample_rate=16000``."""

from __future__ import annotations

from collections.abc import Sequence

from brainalign.errors import ModelError, did_you_mean


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
