"""A stand-in for the music genre data set ds003720: its protocol, or its own events, with simulated images."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from brainalign.brain.events import read_events
from brainalign.brain.simulated_bids import SimulatedBids, SimulatedRun, write_runs
from brainalign.brain.simulated_scanner import Scanner
from brainalign.errors import BrainError

CLIP_S = 15.0
#: How a row of the events names its clip, as GTZAN names its files: ``disco.00009``.
CLIP_ID = "{genre}.{track:05d}"
TRAINING_RUNS, TRAINING_CLIPS = 12, 40
TEST_RUNS, TEST_CLIPS, TEST_CYCLES = 6, 10, 4


def write_simulated_ds003720(
    folder: str | Path,
    features: Mapping[str, ArrayLike],
    *,
    events: str | Path | None = None,
    n_subjects: int = 5,
    n_training_runs: int = TRAINING_RUNS,
    n_test_runs: int = TEST_RUNS,
    n_training_clips: int = TRAINING_CLIPS,
    n_test_clips: int = TEST_CLIPS,
    scanner: Scanner | None = None,
    signal: float = 1.0,
    seed: int = 0,
) -> SimulatedBids:
    """Write simulated images under the protocol of the music genre data set (Nakai, Koide-Majima & Nishimoto 2021).

    A training run plays different clips of 15 s one after the other, and before them, as a dummy, the last clip of the
    run before (the first run: of the last one). A test run plays its clips four times in the same order, and before
    them its last clip. Complete runs have 41 events and 410 volumes of 1.5 s. All subjects hear the same.

    Parameters
    ----------
    folder : path-like
        Where to write; it must not be there, or be empty.
    features : mapping of str to array_like, shape (n_features,) or (n_windows, n_features)
        What drives the voxels during each clip, by id (``"disco.00009"``): see
        :func:`~brainalign.brain.simulated_bids.write_simulated_bids`.
    events : path-like, optional
        The folder of the real data set; its events are taken from there (images are not needed). Runs that are not
        shortened are copied row by row. By default clips are dealt to the runs at random, genres in equal parts.
    n_subjects : int
        ``sub-001`` on.
    n_training_runs, n_test_runs : int
        The first of the 12 and 6 runs.
    n_training_clips, n_test_clips : int
        Clips in each; of real runs, the first of the 40 and 10. The dummies of shortened runs follow the rule above.
    scanner : Scanner, optional
        Grid, haemodynamics and noise; a repetition time of 1.5 s is the real one.
    signal : float
        Factor of the planted signal; 0 takes it away and leaves all else as it is.
    seed : int
        Of weights, noise and the order of clips.

    Returns
    -------
    SimulatedBids
        Paths, and the truth.

    Raises
    ------
    BrainError
        If a number is out of range, events are missing, or clips have no features or are too few.
    """
    for what, count, least, most in (
        ("n_subjects", n_subjects, 1, 999),
        ("n_training_runs", n_training_runs, 1, TRAINING_RUNS),
        ("n_test_runs", n_test_runs, 0, TEST_RUNS),
        ("n_training_clips", n_training_clips, 1, TRAINING_CLIPS),
        ("n_test_clips", n_test_clips, 1, TEST_CLIPS),
    ):
        if not least <= count <= most:
            raise BrainError(f"{what} must be {least} to {most}, found {count}")
    scanner = scanner or Scanner()
    sizes = {"Training": (n_training_runs, n_training_clips), "Test": (n_test_runs, n_test_clips)}
    if events is None:
        tables = _generated(list(features), sizes, np.random.default_rng([seed, 5]))
    else:
        tables = _real(Path(events), sizes)
    runs = [
        SimulatedRun(name, timed, table, int(np.ceil(len(table) * CLIP_S / scanner.repetition_time_s)))
        for name, (timed, table) in tables.items()
    ]
    subjects = [f"sub-{s + 1:03d}" for s in range(n_subjects)]
    description = {
        "Name": "Simulated images for the protocol of ds003720",
        "ReferencesAndLinks": [
            "https://doi.org/10.18112/openneuro.ds003720.v1.0.0",
            "https://doi.org/10.1002/brb3.1936",
        ],
    }
    return write_runs(folder, runs, features, subjects, scanner, signal=signal, seed=seed, description=description)


Table = tuple[pd.DataFrame, pd.DataFrame]
Sizes = Mapping[str, tuple[int, int]]


def _real(folder: Path, sizes: Sizes) -> dict[str, Table]:
    """Read the events of the first subject; those of the others are the same."""
    whole: dict[str, Table] = {}
    clips: dict[str, list[pd.DataFrame]] = {}
    for task, (n_runs, n_clips) in sizes.items():
        for run in range(1, n_runs + 1):
            name = f"task-{task}_run-{run:02d}"
            path = folder / "sub-001" / "func" / f"sub-001_{name}_events.tsv"
            timed = read_events(path, stimulus=CLIP_ID)[["stimulus_id", "onset", "duration"]]
            # As text, so that what is written is what was read, quotes and all.
            table = pd.read_csv(path, sep="\t", dtype=str, quoting=csv.QUOTE_NONE, keep_default_na=False)
            if len(timed) != len(table) or len(table) <= n_clips:
                raise BrainError(
                    f"{path.name} has {len(timed)} clips in {len(table)} rows, expected {n_clips + 1} or more"
                )
            whole[name] = timed, table
            described = table.drop(columns=["onset", "duration"]).assign(stimulus_id=timed["stimulus_id"])
            clips.setdefault(task, []).append(described.iloc[1 : n_clips + 1])
    full = {"Training": TRAINING_CLIPS, "Test": TEST_CLIPS}
    return {
        name: whole[name] if sizes[_task(name)][1] == full[_task(name)] else table
        for name, table in _protocol(clips).items()
    }


def _task(name: str) -> str:
    return name.split("_")[0].removeprefix("task-")


def _generated(clips: Sequence[str], sizes: Sizes, rng: np.random.Generator) -> dict[str, Table]:
    """Deal clips to runs so that each run has the genres in about equal parts."""
    by_genre = defaultdict(list)
    for clip in clips:
        genre, _, track = clip.rpartition(".")
        if not genre or not track.isdecimal():
            raise BrainError(f"the clip {clip!r} is not named after genre and track, as 'disco.00009'")
        by_genre[genre].append(
            {"genre": f"'{genre}'", "track": int(track), "start": 0, "end": CLIP_S, "stimulus_id": clip}
        )
    shuffled = [[by_genre[g][i] for i in rng.permutation(len(by_genre[g]))] for g in sorted(by_genre)]
    dealt = [clip for clip in chain.from_iterable(zip_longest(*shuffled)) if clip is not None]
    if (needed := sum(runs * n for runs, n in sizes.values())) > len(dealt):
        raise BrainError(f"{len(dealt)} clips have features, but the runs play {needed}; ask for fewer runs or clips")
    runs: dict[str, list[pd.DataFrame]] = {task: [] for task in sizes}
    # Test runs are dealt first: they are the short ones, and each should have all genres.
    for task in ("Test", "Training"):
        n_runs, n_clips = sizes[task]
        for _ in range(n_runs):
            runs[task].append(pd.DataFrame([dealt[i] for i in rng.permutation(n_clips)]))
            dealt = dealt[n_clips:]
    return _protocol(runs)


def _protocol(clips: Mapping[str, Sequence[pd.DataFrame]]) -> dict[str, Table]:
    """Put the dummy before the clips of each run, and play those of test runs four times."""
    tables = {}
    for task, runs in clips.items():
        for r, own in enumerate(runs):
            dummy = (runs[r - 1] if task == "Training" else own).tail(1)
            played = pd.concat([dummy, *[own] * (1 if task == "Training" else TEST_CYCLES)], ignore_index=True)
            onset = CLIP_S * np.arange(len(played))
            timed = pd.DataFrame({"stimulus_id": played["stimulus_id"], "onset": onset, "duration": CLIP_S})
            table = played.drop(columns="stimulus_id")
            table.insert(0, "onset", onset.astype(int))
            table.insert(1, "duration", int(CLIP_S))
            tables[f"task-{task}_run-{r + 1:02d}"] = timed, table
    return tables
