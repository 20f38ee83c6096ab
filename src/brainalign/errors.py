"""The errors that users meet: what was found, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BrainalignError(Exception):
    """Base of all errors that bad input causes; the command line prints it as one line."""


class StimulusError(BrainalignError):
    """A sound, or a table of sounds, cannot be used as it is."""


class ResponseError(BrainalignError):
    """Responses are incomplete, inconsistent or cannot be aligned."""


class ModelError(BrainalignError):
    """A model, a layer or a set of weights cannot be used as asked."""


class BrainError(BrainalignError):
    """Brain data cannot be found or read."""


class MeasureError(BrainalignError):
    """A measure cannot be computed on this input."""


class ReconstructionError(BrainalignError):
    """Music cannot be retrieved or generated from these embeddings."""


class RecipeError(BrainalignError):
    """A recipe is not well formed or asks for something unknown.

    Parameters
    ----------
    message : str
        What is wrong.
    place : iterable of str or int
        Keys and indices that lead to it in the recipe; empty if it is about the whole.
    """

    def __init__(self, message: str, place: Iterable[str | int] = ()) -> None:
        super().__init__(message)
        self.place = tuple(place)


class ResultsError(BrainalignError):
    """A results folder is in the way, missing or damaged."""


class WriteError(ResultsError, OSError):
    """A file cannot be written: the disk is full, or nobody may write there."""


class EngineError(BrainalignError):
    """Tasks cannot be computed where they were sent: no such cluster, or a worker that is killed again and again."""


class DownloadError(BrainalignError):
    """A file could not be fetched or is not the published one."""


class MissingExtraError(BrainalignError):
    """An optional dependency is needed.

    Parameters
    ----------
    package : str
        The package that could not be imported.
    extra : str
        The extra of brainalign that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs the package {package!r}, which is not installed; do: pip install 'brainalign[{extra}]'"
        )


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Describe the known names after a miss, the near misses first.

    Parameters
    ----------
    name : object
        What was asked for; a string, or what a user took for a name.
    known : iterable of str
        What there is.

    Returns
    -------
    str
        ``"did you mean 'x'?"`` or, without a near miss, ``"known: 'a', 'b'"``.
    """
    known = sorted(set(known))
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "known: " + (name_some(map(repr, known), 20) or "none")


def name_some(names: Iterable[object], limit: int = 5) -> str:
    """Join names for a message, at most `limit` of them.

    Parameters
    ----------
    names : iterable
        What to name.
    limit : int
        How many are written out.

    Returns
    -------
    str
        ``"a, b, c and 12 more"``.
    """
    words = [str(n) for n in names]
    shown = ", ".join(words[:limit])
    return shown if len(words) <= limit else f"{shown} and {len(words) - limit} more"
