"""Simulated listeners of ds003720: images in which responses to the acoustics of the clips were planted, read as real."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainalign._files import data_folder
from brainalign.brain.bids import digest_of
from brainalign.brain.data import BrainData
from brainalign.brain.ds003720 import load_ds003720
from brainalign.brain.simulated_ds003720 import (
    CLIP_S,
    TEST_CLIPS,
    TEST_RUNS,
    TRAINING_CLIPS,
    TRAINING_RUNS,
    write_simulated_ds003720,
)
from brainalign.brain.simulated_scanner import Scanner
from brainalign.errors import BrainError
from brainalign.stimuli import load_stimuli
from brainalign.stimuli.audio import Waveform
from brainalign.stimuli.sets import StimulusSet

Array = NDArray[np.float64]

CITATION = (
    "brainalign simulated listeners (no measured data); protocol: Nakai, Koide-Majima & Nishimoto 2021, "
    "doi:10.1002/brb3.1936, OpenNeuro doi:10.18112/openneuro.ds003720.v1.0.0"
)
LICENCE = "CC0-1.0"

SAMPLE_RATE = 16_000
FRAME, HOP = 512, 160
N_BANDS, LOW_HZ, HIGH_HZ = 24, 60.0, 7500.0
#: Temporal modulation, Hz.
RATES_HZ = ((0.5, 3.0), (3.0, 8.0), (8.0, 32.0))
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
    n_features: Annotated[int, Field(ge=1)] = 20,
    voxels: tuple[int, int, int] = (18, 18, 12),
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
        Size of the study; clips are those of one run. Complete, it takes 5 subjects, 12 and 6 runs, 40 and 10 clips.
    events : str, optional
        The folder of the real data set, whose events are played. By default ``ds003720`` where fetched data are kept,
        if its events are there; else clips are dealt to runs at random, and ``warnings`` says so.
    window_s, step_s, delay_s : float
        As :func:`~brainalign.brain.ds003720.load_ds003720` takes them.
    snr : float
        Standard deviation over time of the signal in the best region, divided by that of the noise.
    signal : float
        Factor of the planted signal; 0 takes it away, and leaves the noise as it is.
    n_features : int
        Dimensions of the acoustics that are planted.
    voxels : tuple of 3 ints
        Grid of the images, in voxels of 3 mm.
    folder : str, optional
        Where the images are to stay; it must be empty. By default they are deleted when they were read.
    seed : int
        Of the weights of voxels, the noise, and the projection of the acoustics.

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
    found = Path(events) if events is not None else data_folder() / "ds003720"
    real = events is not None or any((found / "sub-001" / "func").glob("*_events.tsv"))
    scanner = Scanner(snr=snr, grid=voxels)
