"""Make sounds ready to be played: one rate, one channel, one level, one duration, soft edges. The source stays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from brainalign._files import write_then_rename
from brainalign.errors import StimulusError, name_some
from brainalign.stimuli.audio import Waveform, read_channels, resample, rms, write_audio
from brainalign.stimuli.create import new_folder, refuse_within, write_set_files
from brainalign.stimuli.sets import StimulusSet, read_stimulus_set
from brainalign.stimuli.sound_measures import describe_file, silences

#: Sample formats of more than 16 bits: how many, and what they are called.
_FINE_FORMATS = {
    "PCM_24": (24, "24-bit"),
    "PCM_32": (32, "32-bit"),
    "FLOAT": (32, "32-bit float"),
    "DOUBLE": (64, "64-bit float"),
}


@dataclass(frozen=True)
class Preparation:
    """What is done to each sound, in this order; before the ramps, its mean (DC) is always removed.

    Attributes
    ----------
    sample_rate : int or None
        Rate in Hz to resample to (soxr, high quality); None keeps the rate.
    trim_silence : bool
        Cut silence before and after the sound: 5-ms frames that lie 50 dB below the loudest.
    duration_s : float or None
        Longer sounds are cut at the end, shorter ones followed by silence; None keeps the duration.
    ramp_ms : float
        Raised-cosine rise and fall at both ends of the sound itself (before silence is added), in milliseconds.
    target_rms : float or None
        RMS of each sound after the ramps and without added silence, in units of full scale; None keeps the level.
    bits : {16, 24}
        Bits per sample of the files.
    """

    sample_rate: int | None = None
    trim_silence: bool = False
    duration_s: float | None = None
    ramp_ms: float = 0.0
    target_rms: float | None = None
    bits: int = 16

    def __post_init__(self) -> None:
        for name in ("sample_rate", "duration_s", "target_rms"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise StimulusError(f"{name} is {value}, expected a positive number")
        if not (np.isfinite(self.ramp_ms) and self.ramp_ms >= 0):
            raise StimulusError(f"ramp_ms is {self.ramp_ms}, expected 0 or more")


def prepare_stimuli(stimuli: StimulusSet, out: Path | str, preparation: Preparation) -> tuple[StimulusSet, pd.Series]:
    """Write a set whose sounds are ready to be played.

    Channels are averaged and, if the set has a target RMS, sounds are at that level first: they are taken as they
    would be played. Their mean (DC) is removed, as a level has no meaning with it. Nothing is clipped: if one sound
    would be, none is written.

    Parameters
    ----------
    stimuli : StimulusSet
        The source; it is not touched.
    out : path-like
        The new set's folder; it is not there yet, or empty. Beside the set it holds ``preparation.json``: the source,
        its version, the options, what was done to each sound, and the version of brainalign.
    preparation : Preparation
        What to do.

    Returns
    -------
    prepared : StimulusSet
        The new set: the same ids, categories and other columns, files ``audio/*.wav``.
    steps : Series of str
        What was done, by stimulus id.

    Raises
    ------
    StimulusError
        If `out` is not empty or lies within the source, a sound cannot be used, is silent or shorter than its two
        ramps, or would clip; then the message says which RMS would not.
    """
    out = Path(out)
    refuse_within(out, stimuli)
    steps: dict[str, str] = {}
    peaks: dict[str, float] = {}
    rates: set[int] = set()
    files = {i: f"audio/{n:0{len(str(len(stimuli)))}d}_{_file_name(i)}.wav" for n, i in enumerate(stimuli.ids, 1)}
    with new_folder(out) as temporary:
        for stimulus_id in stimuli.ids:
            waveform, rate, steps[stimulus_id] = prepare_sound(stimuli, stimulus_id, preparation)
            peaks[stimulus_id] = float(np.abs(waveform).max())
            rates.add(rate)
            if max(peaks.values()) <= 1:
                write_audio(temporary / files[stimulus_id], waveform, rate, bits=preparation.bits)
        _refuse_clipping(peaks, preparation.target_rms)
        manifest = stimuli.manifest.model_copy(
            update={
                "name": f"{stimuli.name}-prepared",
                "sample_rate": rates.pop() if len(rates) == 1 else None,
                "target_rms": None,  # the level is in the files; added silence is no part of it
            }
        )
        table = stimuli.table.assign(file=pd.Series(files)).rename_axis("stimulus_id").reset_index()
        write_set_files(temporary, manifest, table)
        record = {
            "source": {"name": stimuli.name, "version": stimuli.manifest.version},
            "options": vars(preparation),
            "steps": steps,
            "brainalign": version("brainalign"),
        }
        with write_then_rename(temporary / "preparation.json") as path:
            path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return read_stimulus_set(out), pd.Series(steps, name="steps").rename_axis("stimulus_id")


def prepare_sound(stimuli: StimulusSet, stimulus_id: str, preparation: Preparation) -> tuple[Waveform, int, str]:
    """Prepare one sound.

    Parameters
    ----------
    stimuli : StimulusSet
        The source.
    stimulus_id : str
        Which sound.
    preparation : Preparation
        What to do.

    Returns
    -------
    waveform : ndarray, shape (n_samples,)
        The prepared sound; it may exceed full scale.
    sample_rate : int
        Its rate in Hz.
    steps : str
        What was done.

    Raises
    ------
    StimulusError
        If the sound cannot be used, is silent, or is shorter than its two ramps.
    """
    waveform, rate = stimuli.waveform(stimulus_id)
    done, source_bits, source_format = [], 0, ""
    if stimuli.folder is not None:
        path = stimuli.folder / str(stimuli.table.loc[stimulus_id, "file"])
        source_bits, source_format = _FINE_FORMATS.get(describe_file(path)[1], (0, ""))
        n_channels = read_channels(path)[0].shape[1]
        if n_channels > 1:
            done.append(f"{n_channels} channels averaged")
    n_before, duration_before = len(waveform), len(waveform) / rate
    wanted_rate = preparation.sample_rate or rate
    if wanted_rate != rate:
        done.append(f"resampled from {rate} to {wanted_rate} Hz")
        waveform, rate = resample(waveform, rate, wanted_rate), wanted_rate
    if preparation.trim_silence:
        before, after = silences(waveform, rate)
        if before or after:
            done.append(f"{before:.3f} s of silence cut from the beginning, {after:.3f} s from the end")
            waveform = waveform[round(before * rate) : len(waveform) - round(after * rate)]
    n_wanted = len(waveform) if preparation.duration_s is None else round(preparation.duration_s * rate)
    if n_wanted < len(waveform):
        done.append(f"{(len(waveform) - n_wanted) / rate:.3f} s cut from the end")
        waveform = waveform[:n_wanted]
    if not len(waveform):
        raise StimulusError(
            f"stimulus {stimulus_id!r} has {n_before} samples ({1000 * duration_before:.3g} ms), of which none is left "
            f"at {rate} Hz; take a higher rate or a longer duration, or take the sound out of the set"
        )
    mean = float(waveform.mean(dtype=np.float64))
    # Less than half a step of the file is rounded away there.
    if abs(mean) >= 2.0**-preparation.bits:
        done.append(f"mean (DC) of {mean:+.2g} removed")
        waveform = (waveform - mean).astype(np.float32)
    if preparation.ramp_ms:
        waveform = with_ramps(waveform, round(preparation.ramp_ms / 1000 * rate), stimulus_id)
        done.append(f"ramps of {preparation.ramp_ms:g} ms")
    level = rms(waveform)
    # What rounding leaves of a constant is no sound.
    if level <= 1e-6 * abs(mean):
        raise StimulusError(f"stimulus {stimulus_id!r} is silent; take it out of the set")
    if preparation.target_rms is not None:
        gain = preparation.target_rms / level
        done.append(f"level changed by {20 * np.log10(gain):+.1f} dB")
        waveform = (waveform * gain).astype(np.float32)
    if n_wanted > len(waveform):
        done.append(f"{(n_wanted - len(waveform)) / rate:.3f} s of silence added at the end")
        waveform = np.pad(waveform, (0, n_wanted - len(waveform)))
    if source_bits > preparation.bits:
        done.append(f"{source_format} samples written with {preparation.bits} bits")
    return waveform, rate, "; ".join(done) or "as it was"


def with_ramps(waveform: Waveform, n_ramp: int, stimulus_id: str) -> Waveform:
    """Let a sound rise and fall by raised cosines.

    Parameters
    ----------
    waveform : ndarray, shape (n_samples,)
        The sound.
    n_ramp : int
        Samples of each ramp.
    stimulus_id : str
        Its name, for the message of an error.

    Returns
    -------
    ndarray, shape (n_samples,)
        The sound with soft edges.

    Raises
    ------
    StimulusError
        If the sound is shorter than its two ramps.
    """
    if 2 * n_ramp > len(waveform):
        raise StimulusError(
            f"stimulus {stimulus_id!r} has {len(waveform)} samples, fewer than its two ramps of {n_ramp}; shorten them"
        )
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(n_ramp) + 0.5) / max(n_ramp, 1))
    gain = np.ones(len(waveform))
    gain[:n_ramp], gain[len(gain) - n_ramp :] = rise, rise[::-1]
    ramped: Waveform = (waveform * gain).astype(np.float32)
    return ramped


def _refuse_clipping(peaks: dict[str, float], target_rms: float | None) -> None:
    clipped = [i for i in sorted(peaks, key=peaks.__getitem__, reverse=True) if peaks[i] > 1]
    if clipped:
        worst = peaks[clipped[0]]
        found = f"{len(clipped)} of {len(peaks)} sounds would clip, most of all {clipped[0]!r} (peak {worst:.3g})"
        if target_rms is None:
            raise StimulusError(f"{found}: {name_some(clipped)}; ask for a target RMS that is lower than their own")
        most = np.floor(target_rms / worst * 1e4) / 1e4
        raise StimulusError(f"{found}: {name_some(clipped)}; the highest RMS at which none does is {most:.4f}")


def _file_name(stimulus_id: str) -> str:
    """Return what every file system takes of an id; the number before it keeps names apart."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in stimulus_id)[:80]
