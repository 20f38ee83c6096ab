"""Log-mel spectrograms of a corpus, computed once."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from brainalign._files import reserve, sha256, write_then_rename
from brainalign._progress import track
from brainalign.errors import StimulusError, name_some
from brainalign.models.kim2024 import MINIMUM_FRAMES
from brainalign.models.logmel import HOP_SAMPLES, MINIMUM_SAMPLES, N_MELS, SAMPLE_RATE, LogMel
from brainalign.stimuli.audio import Waveform, read_audio, resample, rms

#: What :class:`~brainalign.models.logmel.LogMel` gives for silence: the value of frames beyond the end of a clip.
SILENCE_DB = -100.0
T = TypeVar("T")


@dataclass(frozen=True)
class LogMels:
    """Log-mel spectrograms of clips.

    Attributes
    ----------
    values : ndarray, shape (n_clips, 64, n_frames_max)
        In dB, float32, possibly mapped from a file; silence beyond the end of each clip.
    n_frames : ndarray of int, shape (n_clips,)
        How many frames each clip has.
    mean_rms : float
        Mean of the root mean squares of the clips, in units of full scale, before `gain`.
    gain : float
        What the waveforms were multiplied by.
    digest : str
        SHA-256 over the bytes of all sound files.
    """

    values: NDArray[np.float32]
    n_frames: NDArray[np.int64]
    mean_rms: float
    gain: float
    digest: str

    def rows(self, rows: NDArray[np.int64]) -> LogMels:
        """Return the spectrograms of some clips: a copy, unless they are all."""
        if len(rows) == len(self.values):
            return self
        return replace(self, values=self.values[rows], n_frames=self.n_frames[rows])


def read_clip(path: Path) -> Waveform:
    """Read a clip at 22,050 Hz.

    Parameters
    ----------
    path : Path
        A sound file, or one that is compressed with gzip (``.wav.gz``).

    Returns
    -------
    ndarray, shape (n_samples,)
        Units of full scale; channels are averaged (the released code takes the first of a stereo file).

    Raises
    ------
    StimulusError
        If it cannot be read, or is too short for one spectrum.
    """
    if path.suffix == ".gz":
        with tempfile.TemporaryDirectory() as folder:
            inner = Path(folder) / path.stem
            try:
                with gzip.open(path) as packed, inner.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
            except (OSError, EOFError) as why:
                raise StimulusError(f"sound file {path.name!r} cannot be unpacked: {why}") from why
            waveform, sample_rate = read_audio(inner)
    else:
        waveform, sample_rate = read_audio(path)
    waveform = resample(waveform, sample_rate, SAMPLE_RATE)
    if len(waveform) < MINIMUM_SAMPLES:
        raise StimulusError(f"sound file {path.name!r} is too short: {len(waveform)} samples at {SAMPLE_RATE} Hz")
    return waveform


def log_mels(
    files: Sequence[Path],
    *,
    mean_rms: float | None = None,
    cache: Path | None = None,
    workers: int = 1,
    progress: bool = False,
) -> LogMels:
    """Compute the log-mel spectrograms of clips, after all of them were read and found sound.

    Parameters
    ----------
    files : sequence of Path
        The clips.
    mean_rms : float, optional
        Multiply all waveforms by one factor such that the mean of their root mean squares is this. Differences of
        level between clips stay. As they come, if not given.
    cache : Path, optional
        A folder in which the result is kept; it is named by the content of the files and by the level. Held in memory
        only, if not given.
    workers : int
        Threads that read.
    progress : bool
        Show a progress bar.

    Returns
    -------
    LogMels
        In the order of `files`.

    Raises
    ------
    StimulusError
        If clips cannot be read: all of them are counted, the first ones named with the reason.
    """
    surveyed = _each(_survey, files, workers, progress, "reading clips")
    failed = [result for result in surveyed if isinstance(result, str)]
    if failed:
        absent = not all(path.is_file() for path in files)
        raise StimulusError(
            f"{len(failed)} of {len(files)} clips cannot be used: {name_some(failed, 10)}; "
            f"mend them, or take them out of the table"
            + absent
            * '; to train without those that are not there, say missing_clips = "leave-out"'
        )
    lengths, levels, digests = zip(*(r for r in surveyed if not isinstance(r, str)), strict=True)
    found_rms = float(np.mean(levels))
    if mean_rms is not None and found_rms == 0:
        raise StimulusError("all clips are silent, so their level cannot be set")
    gain = 1.0 if mean_rms is None else mean_rms / found_rms
    digest = hashlib.sha256("".join(digests).encode()).hexdigest()
    n_frames = 1 + (np.array(lengths, dtype=np.int64) - 1) // HOP_SAMPLES
    shape = (len(files), N_MELS, max(int(n_frames.max()), MINIMUM_FRAMES))

    def compute(into: NDArray[np.float32]) -> None:
        front_end = LogMel().eval()

        def one(job: tuple[int, Path]) -> None:
            row, path = job
            with torch.inference_mode():
                spectrogram = front_end(torch.from_numpy(read_clip(path) * np.float32(gain))[None])[0, 0].numpy()
            into[row, :, : spectrogram.shape[1]] = spectrogram
            into[row, :, spectrogram.shape[1] :] = SILENCE_DB

        _each(one, list(enumerate(files)), workers, progress, "log-mel spectrograms")

    return LogMels(_kept(compute, shape, cache, [digest, gain]), n_frames, found_rms, gain, digest)


def _kept(
    compute: Callable[[NDArray[np.float32]], None], shape: tuple[int, int, int], cache: Path | None, key: list[object]
) -> NDArray[np.float32]:
    """Compute an array into memory, or into a file from which it is mapped."""
    if cache is None:
        values = np.empty(shape, dtype=np.float32)
        compute(values)
        return values
    name = hashlib.sha256(json.dumps(["kim2024 log-mel", *key]).encode()).hexdigest()[:20]
    path = cache / f"logmel-{name}.npy"
    note = path.with_suffix(".sha256")
    if path.is_file() and not (note.is_file() and note.read_text(encoding="ascii", errors="replace") == sha256(path)):
        warnings.warn(f"{path} is damaged or not whole; computing it anew", stacklevel=2)
        path.unlink()
    if not path.is_file():
        with write_then_rename(path) as temporary:
            mapped = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
            reserve(temporary)
            compute(mapped)
            mapped.flush()
            with write_then_rename(note) as digest:
                digest.write_text(sha256(temporary), encoding="ascii")
    kept: NDArray[np.float32] = np.load(path, mmap_mode="r")
    return kept


def _survey(path: Path) -> tuple[int, float, str] | str:
    """Return length in samples, level and digest of a clip, or why it cannot be used."""
    try:
        waveform = read_clip(path)
    except StimulusError as why:
        return str(why)
    return len(waveform), rms(waveform), hashlib.sha256(path.read_bytes()).hexdigest()


def _each(function: Callable[..., T], jobs: Sequence[object], workers: int, progress: bool, what: str) -> list[T]:
    with ThreadPoolExecutor(workers) as pool:
        return list(track(pool.map(function, jobs), what, unit="clip", total=len(jobs), show=progress))
