"""Simulated listeners of ds003720: images in which responses to acoustics were planted, read as real ones are."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from brainalign._files import data_folder
from brainalign.brain.data import BrainData
from brainalign.brain.ds003720 import load_ds003720, read_ds003720_events
from brainalign.brain.simulated_ds003720 import (
    CLIP_S,
    TEST_CLIPS,
    TEST_CYCLES,
    TEST_RUNS,
    TRAINING_CLIPS,
    TRAINING_RUNS,
    write_simulated_ds003720,
)
from brainalign.brain.simulated_scanner import Scanner
from brainalign.errors import BrainError, name_some
from brainalign.stimuli import load_stimuli
from brainalign.stimuli.sets import StimulusSet

Array = NDArray[np.float64]

CITATION = (
    "brainalign simulated listeners (no measured data); protocol: Nakai, Koide-Majima & Nishimoto 2021, "
    "doi:10.1002/brb3.1936, OpenNeuro doi:10.18112/openneuro.ds003720.v1.0.0"
)
LICENCE = "CC0-1.0"

#: What is planted: acoustics of each volume.
WINDOW_S, SHORTEST_S = 1.5, 0.5
FRAME_S, HOP_S = 0.032, 0.01
N_BANDS, LOW_HZ, HIGH_HZ = 24, 60.0, 7500.0
#: Temporal modulation, Hz.
RATES_HZ = ((0.5, 3.0), (3.0, 8.0), (8.0, 32.0))
#: About -80 dB re full scale.
FLOOR = 1e-8


def load_simulated_ds003720(
    stimuli: str = "ds003720-standins",
    *,
    n_subjects: Annotated[int, Field(ge=1)] = 5,
    n_training_runs: Annotated[int, Field(ge=1, le=TRAINING_RUNS)] = TRAINING_RUNS,
    n_test_runs: Annotated[int, Field(ge=1, le=TEST_RUNS)] = TEST_RUNS,
    n_training_clips: Annotated[int, Field(ge=1, le=TRAINING_CLIPS)] = TRAINING_CLIPS,
    n_test_clips: Annotated[int, Field(ge=1, le=TEST_CLIPS)] = TEST_CLIPS,
    events: str | None = None,
    window_s: float | None = None,
    step_s: float = 1.5,
    delay_s: float = 4.5,
    snr: float = 0.2,
    signal: float = 1.0,
    grid: Sequence[int] = (18, 18, 12),
    folder: str | None = None,
    seed: int = 0,
) -> BrainData:
    """Simulate what listeners of ds003720 would give, as images, and load these as the real ones are.

    What is planted are the acoustics of each volume's 1.5 s (:func:`acoustic_windows`), and nothing that a network
    computes. The images (:func:`~brainalign.brain.simulated_ds003720.write_simulated_ds003720`) are read back by
    :func:`~brainalign.brain.ds003720.load_ds003720`: dummies, drifts, z-scores, haemodynamic delay, repetitions.

    Parameters
    ----------
    stimuli : str
        The set that the listeners hear: its ids are those of ds003720.
    n_subjects, n_training_runs, n_test_runs, n_training_clips, n_test_clips : int
        Size of the study; clips are those of one run (9 or more in a training run: the drift is a running median over
        240 s). Complete, it takes 5 subjects, 12 and 6 runs, 40 and 10 clips.
    events : str, optional
        The folder of the real data set, whose events are played. By default ``ds003720`` where fetched data are kept,
        if its events are there; else clips are dealt to runs at random, and ``warnings`` says so.
    window_s, step_s, delay_s : float
        As :func:`~brainalign.brain.ds003720.load_ds003720` takes them.
    snr : float
        Standard deviation over time of the signal in the best region, divided by that of the noise.
    signal : float
        Factor of the planted signal; 0 takes it away, and leaves the noise as it is.
    grid : sequence of 3 ints
        Voxels of 3 mm of the images.
    folder : str, optional
        Where the images are to stay; it must be empty. By default they are deleted when they were read.
    seed : int
        Of the weights of voxels and the noise.

    Returns
    -------
    BrainData
        As :func:`~brainalign.brain.ds003720.load_ds003720` gives it, with the coordinate ``region``.

    Raises
    ------
    BrainError
        If a number is out of range, or a clip that the events name is not in the set.
    """
    sounds = load_stimuli(stimuli)
    warnings = ["simulated: no brain was measured; what the voxels respond to is acoustic, and was planted"]
    with tempfile.TemporaryDirectory() as name:
        source = Path(events) if events is not None else data_folder() / "ds003720"
        if events is None and not [*source.glob("sub-001/func/*_events.tsv")]:
            warnings.append(f"{source} holds no events: clips were dealt to runs at random")
            source = Path(name) / "events"
            _write_events(source, sounds, seed)
        made = write_simulated_ds003720(
            Path(name) / "images" if folder is None else folder,
            _planted(sounds, _played(source, n_training_runs, n_test_runs)),
            events=source,
            n_subjects=n_subjects,
            n_training_runs=n_training_runs,
            n_test_runs=n_test_runs,
            n_training_clips=n_training_clips,
            n_test_clips=n_test_clips,
            scanner=Scanner(snr=snr, grid=_three(grid)),
            signal=signal,
            seed=seed,
        )
        brain = load_ds003720(
            str(made.folder),
            mask=str(made.mask),
            atlas=str(made.atlas),
            reading={"labels": str(made.labels)},
            window_s=window_s,
            step_s=step_s,
            delay_s=delay_s,
        )
    responses = brain.responses.assign_attrs(source="simulated-ds003720")
    return BrainData(
        "simulated-ds003720", responses, brain.version, CITATION, LICENCE, warnings=(*warnings, *brain.warnings)
    )


def _three(grid: Sequence[int]) -> tuple[int, int, int]:
    if len(grid) != 3:
        raise BrainError(f"the grid must be three numbers of voxels, found {list(grid)}")
    return grid[0], grid[1], grid[2]


def acoustic_windows(waveform: NDArray[np.floating], sample_rate: int, window_s: float = WINDOW_S) -> Array:
    """Describe each window of a sound by its spectrum and by how that changes over time.

    Parameters
    ----------
    waveform : ndarray, shape (n_samples,)
        A sound of at least one window, units of full scale.
    sample_rate : int
        Its rate in Hz; 15,000 or more.
    window_s : float
        Length of a window in s, at least 0.5. What is left at the end is left out.

    Returns
    -------
    ndarray, shape (n_windows, 48)
        The mean over time of the log power (natural, re full scale) of 24 triangular bands, whose middles are spaced
        evenly in mel from 60 to 7,500 Hz (32-ms Hann windows every 10 ms); then, in eighths of these bands from low to
        high, the log of the power of their modulation at 0.5 to 3, 3 to 8 and 8 to 32 Hz.

    Raises
    ------
    BrainError
        If the sound is shorter than one window, or its rate is too low.
    """
    frame, per_window = round(FRAME_S * sample_rate), round(window_s / HOP_S)
    if sample_rate < 2 * HIGH_HZ or window_s < SHORTEST_S or len(waveform) < round(window_s * sample_rate):
        raise BrainError(
            f"acoustics need a rate of {2 * HIGH_HZ:g} Hz or more and a window of {SHORTEST_S} s or more that fits "
            f"into the sound; found {sample_rate} Hz, {window_s} s and {len(waveform) / sample_rate:.3g} s"
        )
    n_windows = int(len(waveform) / sample_rate / window_s + 1e-6)
    # The frames of the last window reach beyond the end of the sound.
    starts = np.round(np.arange(n_windows * per_window) * HOP_S * sample_rate).astype(int)
    padded = np.pad(np.asarray(waveform, dtype=np.float64), (0, frame))
    frames = np.lib.stride_tricks.sliding_window_view(padded, frame)[starts]
    taper = np.hanning(frame)
    n_fft = 2 ** int(np.ceil(np.log2(frame)))
    power = np.abs(np.fft.rfft(frames * taper, n_fft)) ** 2 / taper.sum() ** 2
    bands = np.log(power @ _bands(n_fft, sample_rate).T + FLOOR).reshape(n_windows, per_window, N_BANDS)
    change = (bands - bands.mean(axis=1, keepdims=True)) * np.hanning(per_window)[:, None]
    modulation = np.abs(np.fft.rfft(change, axis=1)) ** 2 / per_window**2
    rate = np.fft.rfftfreq(per_window, HOP_S)
    eighths = modulation.reshape(n_windows, len(rate), 8, -1).mean(axis=-1)
    by_rate = [eighths[:, (rate >= low) & (rate < high)].sum(axis=1) for low, high in RATES_HZ]
    return np.hstack([bands.mean(axis=1), np.log(np.hstack(by_rate) + FLOOR)])


def _bands(n_fft: int, sample_rate: int) -> Array:
    """Return the weight of each frequency in each band, (n_bands, n_frequencies)."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (LOW_HZ, HIGH_HZ))
    edges = 700 * (10 ** (np.linspace(low, high, N_BANDS + 2) / 2595) - 1)
    frequency = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    rising = (frequency - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequency) / np.diff(edges)[1:, None]
    weights: Array = np.clip(np.minimum(rising, falling), 0, None)
    return weights


def _planted(sounds: StimulusSet, clips: list[str]) -> dict[str, Array]:
    """Return the acoustics of each volume of each clip, every feature brought to one scale over all clips."""
    if lacking := [clip for clip in clips if clip not in sounds.table.index]:
        raise BrainError(f"{sounds.name} lacks {len(lacking)} clips that the events name: {name_some(lacking)}")
    raw = {}
    for clip in clips:
        waveform, rate = sounds.waveform(clip)
        raw[clip] = acoustic_windows(waveform[: round(CLIP_S * rate)], rate)
    together = np.concatenate([*raw.values()])
    mean, sd = together.mean(axis=0), together.std(axis=0)
    return {clip: (values - mean) / sd for clip, values in raw.items()}


def _played(source: Path, n_training_runs: int, n_test_runs: int) -> list[str]:
    """Return the clips that are played in these runs, dummies among them."""
    table = read_ds003720_events(source)
    asked = (table["task"] == "Training") & (table["run"] <= n_training_runs)
    asked |= (table["task"] == "Test") & (table["run"] <= n_test_runs)
    return sorted(set(table["stimulus_id"][asked & (table["subject"] == "sub-001")]))


def _write_events(folder: Path, sounds: StimulusSet, seed: int) -> None:
    """Write events by the protocol: the clips of each split dealt to its runs at random, genres in equal parts."""
    rng = np.random.default_rng([seed, 6])
    func = folder / "sub-001" / "func"
    func.mkdir(parents=True)
    for split, task, n_runs, cycles in (
        ("train", "Training", TRAINING_RUNS, 1),
        ("test", "Test", TEST_RUNS, TEST_CYCLES),
    ):
        own = sounds.table[sounds.table["split"] == split]
        shuffled = own.iloc[rng.permutation(len(own))]
        turn = shuffled.groupby("category").cumcount().to_numpy()
        dealt = shuffled.index.to_numpy()[turn.argsort(kind="stable")]
        runs = [rng.permutation(part).tolist() for part in np.array_split(dealt, n_runs)]
        for r, run in enumerate(runs):
            dummy = runs[r - 1][-1] if task == "Training" else run[-1]
            rows = [
                {"onset": round(CLIP_S * i), "duration": round(CLIP_S), "genre": f"'{genre}'", "track": int(track)}
                for i, (genre, track) in enumerate(clip.split(".") for clip in [dummy, *run * cycles])
            ]
            table = pd.DataFrame(rows).assign(start=0, end=round(CLIP_S))
            table.to_csv(func / f"sub-001_task-{task}_run-{r + 1:02d}_events.tsv", sep="\t", index=False)
