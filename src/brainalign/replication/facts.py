"""Numbers that follow from other printed numbers, from the published data, or from the architecture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

from brainalign._files import data_folder
from brainalign.brain import load_brain
from brainalign.errors import DownloadError

#: What a fact rests on.
NUMBERS, DATA, ARCHITECTURE = "printed numbers", "published data", "architecture"


def share(part: float, whole: Sequence[float]) -> float:
    """Return a part as a share of the sum of `whole`."""
    return part / sum(whole)


def total(parts: Sequence[float]) -> float:
    """Return a sum."""
    return sum(parts)


def product(factors: Sequence[float]) -> float:
    """Return a product."""
    result = 1.0
    for factor in factors:
        result *= factor
    return result


def n_windows(duration_s: float, window_s: float, step_s: float) -> int:
    """Return how many windows a clip has, as the manipulation ``windows`` cuts it."""
    from brainalign.stimuli.windows import window_starts

    return len(window_starts(duration_s, window_s, step_s))


def tag_chance(group: str) -> float:
    """Return the expected agreement of random tags in a group, from its classes as the measure has them."""
    from brainalign.measures.tag_agreement import TAG_GROUPS

    return TAG_GROUPS[group].chance


def n_parameters(model: str) -> int:
    """Return how many parameters a network has that training changes."""
    from brainalign.models import load_model

    return sum(p.numel() for p in load_model(model).module.parameters())  # type: ignore[attr-defined]


def nh2015(what: str) -> int:
    """Return a count of the published components: their sounds, components, voxels or categories."""
    brain = load_brain("nh2015-components")
    counts = {
        "sounds": brain.responses.sizes["stimulus"],
        "components": brain.responses.sizes["unit"],
        "voxels": brain.arrays["weights"].sizes["voxel"],
    }
    return counts[what]


def sound_duration_s(stimuli: str) -> float:
    """Return the duration of the sounds of a set, all of which must have the same; NaN if they do not."""
    from brainalign.stimuli import load_stimuli

    sounds = load_stimuli(stimuli)
    durations = {len(waveform) / rate for waveform, rate in map(sounds.waveform, sounds.ids)}
    return durations.pop() if len(durations) == 1 else float("nan")


def voxels(experiment: str, what: str) -> int:
    """Return a count of published voxel responses: voxels, subjects or sounds."""
    if not (data_folder() / "tuckute2023").is_dir():
        raise DownloadError(f"tuckute2023 is not in {data_folder()}")
    brain = load_brain(experiment)
    if what == "subjects":
        return len(set(brain.responses["subject"].values.tolist()))
    return int(brain.responses.sizes[{"voxels": "unit", "sounds": "stimulus"}[what]])


def ds003720(what: str) -> float:
    """Return a count of the published events of the music genre data set, dummies left out."""
    from brainalign.brain.ds003720 import HOW_TO_GET, read_ds003720_events

    folder = data_folder() / "ds003720"
    if not folder.is_dir():
        raise DownloadError(f"ds003720 is not in {data_folder()}: {HOW_TO_GET}")
    events = read_ds003720_events(folder)
    events = events[~events["dummy"]]
    clips = events.drop_duplicates("stimulus_id")
    counts: dict[str, float] = {
        "subjects": events["subject"].nunique(),
        "clips": len(clips),
        "training clips": int((clips["split"] == "train").sum()),
        "test clips": int((clips["split"] == "test").sum()),
        "genres": clips["category"].nunique(),
        "duration_s": clips["duration"].iloc[0] if clips["duration"].nunique() == 1 else float("nan"),
    }
    return counts[what]


#: By name: what computes it, and what it rests on.
FACTS: MappingProxyType[str, tuple[Callable[..., Any], str]] = MappingProxyType({
    "share": (share, NUMBERS),
    "total": (total, NUMBERS),
    "product": (product, NUMBERS),
    "windows": (n_windows, NUMBERS),
    "tag-chance": (tag_chance, NUMBERS),
    "parameters": (n_parameters, ARCHITECTURE),
    "nh2015": (nh2015, DATA),
    "sound-duration": (sound_duration_s, DATA),
    "voxels": (voxels, DATA),
    "ds003720": (ds003720, DATA),
})  # fmt: skip
