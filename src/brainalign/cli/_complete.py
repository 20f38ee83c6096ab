"""Names that a shell completes; only entry points and file names are read, so that it answers at once."""

from __future__ import annotations

from importlib.metadata import entry_points

#: What ``fetch`` brings beside stimulus sets.
_ALSO_FETCHED = ("musicnn", "tuckute2023", "yamnet")


def _registered(kind: str, incomplete: str) -> list[str]:
    names = {e.name for e in entry_points(group=f"brainalign.{kind}")}
    return sorted(n for n in names if n.startswith(incomplete))


def stimuli(incomplete: str) -> list[str]:
    """Complete the name of a known stimulus set."""
    return _registered("stimuli", incomplete)


def models(incomplete: str) -> list[str]:
    """Complete the name of a model."""
    return _registered("models", incomplete)


def brains(incomplete: str) -> list[str]:
    """Complete the name of a brain data set."""
    return _registered("brains", incomplete)


def generators(incomplete: str) -> list[str]:
    """Complete the name of a generator of music."""
    return _registered("generators", incomplete)


def manipulations(incomplete: str) -> list[str]:
    """Complete the name of a manipulation that is registered by an entry point."""
    return _registered("manipulations", incomplete)


def fetched(incomplete: str) -> list[str]:
    """Complete the name of what can be fetched."""
    return sorted({*stimuli(incomplete), *(n for n in _ALSO_FETCHED if n.startswith(incomplete))})


def recipes(incomplete: str) -> list[str]:
    """Complete the name of an analysis that ships."""
    from brainalign.recipes.shipped import shipped_recipes

    return [n for n in shipped_recipes() if n.startswith(incomplete)]


def citable(incomplete: str) -> list[str]:
    """Complete the name of what can be cited, or of a results folder."""
    from pathlib import Path

    from brainalign.report.references import KINDS, known_names, references

    names = {*references(), *(n for kind in KINDS for n in known_names(kind))}
    place = Path(f"{incomplete}.").parent
    folders = [str(f) for f in place.iterdir() if f.is_dir()] if place.is_dir() else []
    return [n for some in (names, folders) for n in sorted(some) if n.startswith(incomplete)]


def trainings(incomplete: str) -> list[str]:
    """Complete the name of a training that ships."""
    from brainalign.recipes.shipped import shipped_trainings

    return [n for n in shipped_trainings() if n.startswith(incomplete)]
