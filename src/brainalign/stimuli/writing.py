"""Stimulus sets on disk: any set as a folder that loads again."""

from __future__ import annotations

import json
import math
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np

from brainalign.errors import StimulusError, name_some
from brainalign.stimuli.audio import write_audio
from brainalign.stimuli.create import new_folder, refuse_within, write_set_files
from brainalign.stimuli.manipulations.base import ManipulatedSet
from brainalign.stimuli.sets import StimulusSet


def write_set(stimuli: StimulusSet, folder: Path | str) -> Path:
    """Write a set as a folder of wav files: to listen to it, to share it, or to make its sounds only once.

    ``load_stimuli(folder)`` reads it back, to the 24 bits of its files.

    Parameters
    ----------
    stimuli : StimulusSet
        Any set; of a manipulated one the sounds are made now, each once.
    folder : path-like
        Appears when all is written; must be empty if it is there.

    Returns
    -------
    Path
        The folder, with ``stimuli.csv``, ``stimulus_set.toml``, the wav files, named after the stimulus ids, and for a
        manipulated set ``manipulations.json``: the name and version of the original, and the name and parameters of
        each manipulation, the first that was made first.

    Raises
    ------
    StimulusError
        If the folder holds something already or lies within the set, a sound cannot be used or exceeds full scale:
        files would clip. Nothing is written then.
    """
    folder = Path(folder)
    refuse_within(folder, _original(stimuli))
    with new_folder(folder) as temporary:
        files = _file_names(stimuli.ids)
        rates = _write_sounds(stimuli, temporary, files)
        table = stimuli.table.assign(file=[files[i] for i in stimuli.ids]).rename_axis("stimulus_id").reset_index()
        rate = rates.pop() if len(rates) == 1 else None
        manifest = stimuli.manifest.model_copy(update={"target_rms": None, "sample_rate": rate})
        write_set_files(temporary, manifest, table)
        if isinstance(stimuli, ManipulatedSet):
            record = json.dumps(_record(stimuli), indent=1, ensure_ascii=False)
            (temporary / "manipulations.json").write_text(record + "\n", encoding="utf-8")
    return folder


def _file_names(ids: list[str]) -> dict[str, str]:
    """Return a file name for each id, such as every file system takes, numbered if ids would share one."""
    names = {i: re.sub(r"[^\w.-]|^[.]", "_", i)[:80] + ".wav" for i in ids}
    if len({n.casefold() for n in names.values()}) < len(ids):
        names = {i: f"{k:0{len(str(len(ids)))}d}_{name}" for k, (i, name) in enumerate(names.items(), start=1)}
    return names


def _write_sounds(stimuli: StimulusSet, folder: Path, files: dict[str, str]) -> set[int]:
    """Write all sounds that fit into full scale and return their rates; raise at the end if some do not."""
    rates, peaks = set(), {}
    for stimulus_id in stimuli.ids:
        waveform, rate = stimuli.waveform(stimulus_id)
        rates.add(rate)
        peak = float(np.max(np.abs(waveform), initial=0.0))
        if peak > 1:
            peaks[stimulus_id] = peak
        else:
            # To the nearest of 24-bit steps; libsndfile takes the next lower one.
            steps = np.round(waveform.astype(np.float64) * 2**23)
            write_audio(folder / files[stimulus_id], (steps / 2**23).astype(np.float32), rate, bits=24)
    if peaks:
        # The next tenth of a dB above.
        excess_db = (math.floor(200 * math.log10(max(peaks.values()))) + 1) / 10
        raise StimulusError(
            f"{len(peaks)} of {len(stimuli)} sounds of {stimuli.name} exceed full scale and would clip: "
            f"{name_some(peaks)}; attenuate the set by {excess_db:.1f} dB, "
            f"a power ratio of {10 ** (-excess_db / 10):.6g}"
        )
    return rates


def _original(stimuli: StimulusSet) -> StimulusSet:
    while isinstance(stimuli, ManipulatedSet) and stimuli.parent is not None:
        stimuli = stimuli.parent
    return stimuli


def _record(stimuli: ManipulatedSet) -> dict[str, object]:
    original = _original(stimuli)
    return {
        "parent": original.name,
        "parent_version": original.manifest.version,
        "manipulations": [{"name": name, "parameters": dict(given)} for name, given in stimuli.history],
        "brainalign": version("brainalign"),
    }
