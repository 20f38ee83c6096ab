"""The record with which anyone can repeat a run."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainalign.brain import BrainData
from brainalign.recipes.identity import Digests
from brainalign.recipes.repeat import FORMAT, Source
from brainalign.recipes.schema import Recipe
from brainalign.stimuli import StimulusSet

if TYPE_CHECKING:
    from brainalign.models.base import AudioModel

_PACKAGES = (
    "brainalign", "torch", "torchaudio", "numpy", "scipy", "scikit-learn", "pandas", "statsmodels", "xarray",
    "soundfile", "soxr", "matplotlib",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can change numbers."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


_BRAIN_FACTS = ("name", "version", "citation", "licence", "warnings")


def provenance(
    recipe: Recipe,
    source: Source,
    stimuli: StimulusSet,
    models: Sequence[AudioModel],
    brains: Sequence[BrainData],
    selection: StimulusSet | None = None,
) -> dict[str, Any]:
    """Collect what determines the numbers of a run.

    Parameters
    ----------
    recipe : Recipe
        As run, the seed included.
    source : Source
        Where it comes from.
    stimuli : StimulusSet
        The sounds; each is recorded by the digest of its samples.
    models : sequence of AudioModel
        What listens.
    brains : sequence of BrainData
        What the models are compared with, if anything.
    selection : StimulusSet, optional
        Other sounds, which select units or fit.

    Returns
    -------
    dict
        Ready for JSON.
    """
    return {
        "format": FORMAT,
        "command": shlex.join(["brainalign", "run", source.name, "--seed", str(recipe.seed)]),
        "invoked_as": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "recipe": recipe.model_dump(mode="json", exclude_none=True),
        "recipe_name": source.name,
        "recipe_sha256": source.digest,
        "seed": recipe.seed,
        "versions": versions(),
        "stimuli": _sounds(stimuli),
        **({} if selection is None else {"selection": _sounds(selection)}),
        "models": [{"name": m.name, "sample_rate": m.sample_rate, "record": dict(m.record)} for m in models],
        "brains": [
            {**{k: getattr(brain, k) for k in _BRAIN_FACTS}, "sha256": Digests().of(brain.responses)}
            for brain in brains
        ],
    }


def _sounds(stimuli: StimulusSet) -> dict[str, Any]:
    """Record a stimulus set: what it is, and each sound by the digest of its samples."""
    return {
        "name": stimuli.name,
        "version": stimuli.manifest.version,
        "citation": stimuli.manifest.citation,
        "licence": stimuli.manifest.licence,
        "sha256": {i: stimuli.digest(i) for i in stimuli.ids},
    }
