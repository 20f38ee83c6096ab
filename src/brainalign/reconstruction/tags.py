"""Tags of whole sounds, by which reconstructions are compared with what was heard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from brainalign._progress import track
from brainalign.errors import ReconstructionError
from brainalign.responses import Responses, make_responses
from brainalign.stimuli.sets import StimulusSet

if TYPE_CHECKING:
    from brainalign.models.base import AudioModel


def clip_tags(
    tagger: AudioModel,
    sounds: StimulusSet,
    ids: Sequence[str],
    *,
    duration_s: float,
    start_s: float = 0.0,
    progress: bool = False,
) -> Responses:
    """Return how sure a tagger is of each class, for a part of each sound.

    Parameters
    ----------
    tagger : AudioModel
        With ``scores`` and ``class_names``, such as ``yamnet``.
    sounds : StimulusSet
        Where the sounds are.
    ids : sequence of str
        Which; one may be asked for several times and is heard once.
    duration_s, start_s : float
        The part that is heard, in s; shorter where the sound ends.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Responses, dims (stimulus, unit)
        One row for each different id; units are named after the classes.

    Raises
    ------
    ReconstructionError
        If the model names no classes, or a sound ends before the part begins.
    """
    names = tuple(getattr(tagger, "class_names", ()))
    if not names:
        raise ReconstructionError(f"{tagger.name} names no classes; a tagger such as 'yamnet' with its weights does")
    different = list(dict.fromkeys(ids))
    rows = []
    for i in track(different, f"tags by {tagger.name}", unit="sound", show=progress):
        waveform, rate = sounds.waveform(i, tagger.sample_rate)
        part = waveform[round(start_s * rate) : round((start_s + duration_s) * rate)]
        if not len(part):
            raise ReconstructionError(f"{i!r} of {sounds.name} ends before {start_s:g} s")
        missing = tagger.minimum_samples - len(part)
        if missing > 0:
            raise ReconstructionError(f"{i!r} of {sounds.name} is too short for {tagger.name} by {missing} samples")
        scores = tagger.scores(torch.as_tensor(part, dtype=torch.float32)[None])  # type: ignore[attr-defined]
        rows.append(scores[0].numpy())
    return make_responses(np.stack(rows), different, names, attrs={"source": tagger.name}, allow_constant=True)


def as_clips(tags: Responses, sources: Sequence[str], clips: Sequence[str], per_clip: int = 1) -> Responses:
    """Give the tags of other sounds to the clips that they stand for.

    Parameters
    ----------
    tags : Responses
        As :func:`clip_tags` gives them.
    sources : sequence of str, length n_clips x per_clip
        Ids in `tags`, those of a clip one after another.
    clips : sequence of str
        What they stand for.
    per_clip : int
        How many sounds stand for each clip; their scores are averaged.

    Returns
    -------
    Responses, dims (stimulus, unit)
        ``stimulus`` are the clips.
    """
    values = tags.sel(stimulus=list(sources)).values.reshape(len(clips), per_clip, -1).mean(axis=1)
    units = tags["unit"].values.astype(str).tolist()
    return make_responses(values, list(clips), units, attrs=dict(tags.attrs), allow_constant=True)
