"""The record with which anyone can repeat a run."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from brainalign._files import sha256
from brainalign.brain import BrainData
from brainalign.recipes.schema import Recipe
from brainalign.stimuli import StimulusSet

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
    path: Path,
    name: str,
    stimuli: StimulusSet,
    models: list[dict[str, Any]],
    brains: Sequence[BrainData],
    selection: StimulusSet | None = None,
) -> dict[str, Any]:
    """Collect what determines the numbers of a run.

    Parameters
    ----------
    recipe : Recipe
        As run, the seed included.
    path : Path
        Its file.
    name : str
        What the user called it.
    stimuli : StimulusSet
        The sounds; each is recorded by the digest of its samples.
    models : list of dict
        Name, layers and record of each model.
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
        "command": f"brainalign run {name} --seed {recipe.seed}",
        "invoked_as": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "recipe": recipe.model_dump(mode="json", exclude_none=True),
        "recipe_sha256": sha256(path),
        "seed": recipe.seed,
        "versions": versions(),
        "stimuli": _sounds(stimuli),
        **({} if selection is None else {"selection": _sounds(selection)}),
        "models": models,
        "brains": [{k: getattr(brain, k) for k in _BRAIN_FACTS} for brain in brains],
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
