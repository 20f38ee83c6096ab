"""What a recipe names, loaded and matched: sounds, models, brain data."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainalign.brain import BRAINS, BrainData, load_brain
from brainalign.errors import StimulusError, did_you_mean, name_some
from brainalign.measures.decoding_plan import window_difference
from brainalign.recipes.schema import BrainPart, Recipe, StimuliPart
from brainalign.responses import with_columns
from brainalign.stimuli import STIMULI, StimulusSet, load_stimuli
from brainalign.stimuli.manipulations import manipulate

if TYPE_CHECKING:
    from brainalign.models.base import AudioModel


def load_sounds(part: StimuliPart, folder: Path) -> StimulusSet:
    """Load the sounds of a recipe: a subset where it names one, manipulated where it says so."""
    stimuli = load_stimuli(part.set if part.set in STIMULI.names() else folder / part.set)
    if part.ids is not None or part.categories is not None:
        stimuli = stimuli.select(part.ids, part.categories)
    for step in part.manipulate:
        stimuli = manipulate(stimuli, step.name, **step.options)
    return stimuli


def load_models(plan: Recipe, folder: Path) -> list[AudioModel]:
    """Load the models of a recipe, and look for their layers."""
    from brainalign.models import load_model, select_layers

    models = [load_model(part.name, folder=folder) for part in plan.models]
    # A misspelt layer is found before the first sound is played.
    for model, part in zip(models, plan.models, strict=True):
        select_layers(model, part.layers)
    return models


def load_brain_data(part: BrainPart, folder: Path, stimuli: StimuliPart) -> BrainData:
    """Load brain data, under their label if the recipe has one."""
    options = part.options
    # Events name sounds of the whole set, whichever of them are asked for, and before they are cut into windows.
    if part.name in BRAINS.names() and "stimulus_set" in inspect.signature(BRAINS.get(part.name)).parameters:
        options.setdefault("stimulus_set", load_sounds(StimuliPart(set=stimuli.set), folder).ids)
    # A file or folder is looked for beside the recipe first, as a folder of sounds is.
    if isinstance(options.get("path"), str) and (folder / options["path"]).exists():
        options["path"] = str(folder / options["path"])
    brain = load_brain(part.name, **options)
    return brain if part.label is None else replace(brain, name=part.label)


def checked_captions(model: Any, stimuli: StimulusSet, whole: StimulusSet, in_brain: bool) -> Any:
    """Compare captions with the clips of the set before its sounds are cut, so that what is cut is no unknown clip."""
    from brainalign.models.captions import CaptionModel

    if not isinstance(model, CaptionModel):
        return model
    wanted = [str(c) for c in stimuli.table["clip"].unique()] if "clip" in stimuli.table else stimuli.ids
    # Which of the sounds are asked for, the brain data will tell.
    model.check([c for c in wanted if not in_brain or c in model.captions], whole)
    return replace(model, ignore_others=True)


def leave_out(
    stimuli: StimulusSet, brains: tuple[BrainData, ...], whole: StimulusSet
) -> tuple[StimulusSet, tuple[BrainData, ...]]:
    """Take the sounds to which all brain data have responses, and let the brain data say what that leaves out."""
    known = [set(brain.responses["stimulus"].values.astype(str).tolist()) for brain in brains]
    hint = _windows_hint(brains[0], stimuli)
    kept = [i for i in stimuli.ids if all(i in k for k in known)]
    if not kept:
        raise StimulusError(
            f"the brain data have a response to none of the {len(stimuli)} sounds of {stimuli.name} "
            f"({name_some(stimuli.ids, 2)}); they have {name_some(sorted(known[0]), 2)}{hint}"
        )
    brains = tuple(
        replace(
            b,
            warnings=(
                *b.warnings,
                f"responses to {len(unknown)} of {len(k)} ids that {whole.name} does not have are not used: "
                f"{name_some(map(repr, unknown))}",
            ),
        )
        if (unknown := sorted(k - set(whole.ids)))
        else b
        for b, k in zip(brains, known, strict=True)
    )
    n_out = len(stimuli) - len(kept)
    if n_out == 0:
        return stimuli, brains
    text = f"{n_out} of the {len(stimuli)} sounds of {stimuli.name} have no response and are left out, as in_brain asks"
    return stimuli.select(kept), tuple(replace(b, warnings=(*b.warnings, text)) for b in brains)


def match_stimuli(brain: BrainData, stimuli: StimulusSet) -> BrainData:
    """Take the sounds of the set from the brain data; their description is the set's, for both sides alike."""
    known = brain.responses.indexes["stimulus"]
    lacking = [i for i in stimuli.ids if i not in known]
    if lacking:
        # An id that another sound has already is no misspelling of this one.
        near = did_you_mean(lacking[0], set(map(str, known)) - set(stimuli.ids))
        hint = _windows_hint(brain, stimuli) or (f"; {near}" if near.startswith("did you mean") else "")
        raise StimulusError(
            f"{brain.name} has no responses to {len(lacking)} of the {len(stimuli)} sounds of {stimuli.name}: "
            f"{name_some(map(repr, lacking))}{hint}; to leave out sounds without a response, say in_brain = true in "
            f"[stimuli], or name those to use as stimuli.ids"
        )
    asked = brain.responses.sel(stimulus=stimuli.ids)
    own = asked.drop_vars([str(c) for c in asked.coords if asked[c].dims == ("stimulus",) and c in stimuli.table])
    matched = with_columns(own, stimuli.table)
    if differ := window_difference((matched, asked), (stimuli.name, brain.name)):
        raise StimulusError(differ)
    return replace(brain, responses=matched)


def _windows_hint(brain: BrainData, stimuli: StimulusSet) -> str:
    """Say what to do where one side is cut into windows and the other is not."""
    coords = brain.responses.coords
    if "window_s" in coords and "window" not in stimuli.table:
        starts = sorted(set(coords["window_start_s"].values.astype(float).tolist()))
        step = f", step_s = {starts[1] - starts[0]:g}" if len(starts) > 1 else ""
        return (
            f'; the brain data are of windows: add to [stimuli] manipulate = [{{ name = "windows", '
            f"window_s = {float(coords['window_s'].values[0]):g}{step} }}]"
        )
    if "window" in stimuli.table and "window" not in coords:
        return "; the sounds are windows of clips, the brain data are not: give [brain] a window_s"
    return ""


def check_categories(plan: Recipe, stimuli: StimulusSet) -> None:
    """Raise if a measure names a category that no sound has."""
    for part in plan.measures:
        for name in part.options.get("categories") or []:
            if part.options.get("column", "category") == "category" and name not in stimuli.categories:
                raise StimulusError(
                    f"measure {part.name}: {stimuli.name} has no category {name!r}; "
                    f"{did_you_mean(name, stimuli.categories)}"
                )


def refuse_renamed(record: dict[str, Any]) -> None:
    """Raise if a sound stands among the test sounds and, by another id, among those that select; ids alone hide it."""
    tested = {digest: i for i, digest in record["stimuli"]["sha256"].items()}
    for i, digest in record.get("selection", {}).get("sha256", {}).items():
        if digest in tested and tested[digest] != i:
            raise StimulusError(
                f"the sound {i!r} of the selection is the test sound {tested[digest]!r} by another id; leave one of "
                f"them out, or give them the same id"
            )
