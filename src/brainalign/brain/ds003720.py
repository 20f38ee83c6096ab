"""The music genre fMRI data set, OpenNeuro ds003720 (Nakai, Koide-Majima & Nishimoto 2021).

Five subjects heard 540 clips of 15 s from GTZAN: 480 once, in 12 training runs of 40, and 60 four times, in 6 test runs
in which 10 clips are cycled in the same order. Every run begins with a dummy, the clip that also ends the run before
(training; the first run: the last one) or the same run (test); its 10 volumes are discarded. The last three rows of
training run 4 lack one of their quotes (``metal'``) in all subjects; they are mended. Read as it stands, the last of
them is not the clip that begins run 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from brainalign._files import data_folder
from brainalign.brain.bids import (
    OnError,
    digest_of,
    make_design,
    read_all_events,
    reading_choice,
    respond,
    stop_at_broken,
)
from brainalign.brain.bids_layout import BidsFolder, BoldRun, parse_entities, read_bids, subject_name
from brainalign.brain.data import BrainData
from brainalign.brain.estimation import DesignKind
from brainalign.brain.events import read_events
from brainalign.brain.runs import Repetitions
from brainalign.brain.timeseries import Drift, Scaling
from brainalign.errors import BrainError, name_some

#: How an event names its clip, as GTZAN names its tracks: ``blues.00017``.
CLIP_ID = "{genre}.{track:05d}"
TASK_OF_SPLIT = {"train": "Training", "test": "Test"}
DUMMY_S = 15.0
CITATION = (
    "Nakai, Koide-Majima & Nishimoto 2021, Brain and Behavior 11:e01936, doi:10.1002/brb3.1936; "
    "OpenNeuro, doi:10.18112/openneuro.ds003720.v1.0.0"
)
LICENCE = "CC0; its README asks for research purposes only, and not to re-identify individuals"
HOW_TO_GET = (
    "get the data set (46 GB) from OpenNeuro, doi:10.18112/openneuro.ds003720.v1.0.0, and give its folder as path"
)

_INFO = ("category", "split", "start_s", "end_s")
_DELAY_S = {None: None, "denk2023": 0.0}


def load_ds003720(
    path: str | None = None,
    *,
    subjects: Sequence[str] | None = None,
    split: Literal["train", "test"] | None = None,
    mask: str | None = None,
    atlas: str | None = None,
    reading: Mapping[str, Any] | None = None,
    derivatives: str | None = None,
    space: str | None = None,
    desc: str | None = None,
    design: DesignKind = "windows",
    window_s: float | None = None,
    step_s: float = 1.5,
    delay_s: float | None = None,
    drift: Drift | Literal["auto", "none"] | None = "auto",
    scaling: Scaling | Literal["none"] | None = "zscore",
    repetitions: Repetitions = "average",
    protocol: Literal["denk2023"] | None = None,
    on_error: OnError = "raise",
) -> BrainData:
    """Load responses to the music clips of ds003720.

    The first 10 volumes of each run are discarded, drifts removed (running median over 240 s), voxels z-scored run by
    run, and the volumes of each clip, or of its windows, averaged some seconds later (what Denk et al. 2023 leave open:
    :mod:`brainalign.brain.volume_windows`). With a delay, the last windows of the clip that ends a run lack volumes:
    those that are there are averaged, and windows without any are left out and named in ``warnings``.

    Parameters
    ----------
    path : str, optional
        The BIDS folder; by default ``ds003720`` where fetched data are kept.
    subjects : sequence of str, optional
        Such as ``["sub-001"]``; of 60,000 voxels each, all five need much memory.
    split : {'train', 'test'}, optional
        Only these clips.
    mask, atlas, reading, derivatives, space, desc
        What to read, as :func:`~brainalign.brain.bids.load_bids` takes them. The published images are neither motion
        corrected nor masked.
    design : {'windows', 'glm', 'separate', 'block'}
        How responses are estimated.
    window_s, step_s : float
        Length of the windows of a clip, and from one to the next, in s: 1.5, 5 and 10 s give 10, 7 and 4 windows, ids
        ``"blues.00017@03"``. By default the whole clip, ``"blues.00017"``.
    delay_s : float, optional
        Haemodynamic delay in s; 4.5 s, or what the protocol says.
    drift, scaling
        See :class:`~brainalign.brain.estimation.Design`; ``"auto"`` is the running median, in a GLM cosines; ``"none"``
        is None, which a recipe cannot say.
    repetitions : {'average', 'keep', 'auto'}
        The four presentations of a test clip are averaged, or kept apart along ``repetition`` (with ``split="test"``).
    protocol : {'denk2023'}, optional
        Brain2Music as published: no delay.
    on_error : {'raise', 'skip'}
        What to do with a subject whose files are broken.

    Returns
    -------
    BrainData
        Stimulus ids are those of the stimulus set ``ds003720``; along ``stimulus``: ``category`` (genre), ``split``,
        ``start_s`` and ``end_s`` (in the track), and of windows ``clip``, ``window``,
        ``window_start_s`` and ``window_s``.

    Raises
    ------
    BrainError
        If the data are not there, or files are damaged or contradict each other.
    """
    if protocol not in _DELAY_S:
        raise BrainError(f"no protocol {protocol!r} for ds003720; known: 'denk2023'")
    if split is not None and split not in TASK_OF_SPLIT:
        raise BrainError(f"split must be 'train' or 'test', found {split!r}")
    folder_path = Path(path) if path is not None else data_folder() / "ds003720"
    if not folder_path.is_dir():
        raise BrainError(f"no folder {str(folder_path)!r}: {HOW_TO_GET}")
    folder = read_bids(
        folder_path,
        subjects=subjects,
        task=[TASK_OF_SPLIT[s] for s in TASK_OF_SPLIT if split in (None, s)],
        derivatives=derivatives,
        space=space,
        desc=desc,
    )
    is_glm = design in ("glm", "separate")
    chosen: dict[str, Any] = {
        "kind": design,
        "discard": _dummy_volumes(folder),
        "drift": ("cosine" if is_glm else "median") if drift == "auto" else drift,
        "scaling": scaling,
        "delay_s": _DELAY_S[protocol] if delay_s is None else delay_s,
        "window_s": window_s,
        "step_s": step_s,
    }
    if design == "windows":
        chosen["incomplete"] = "shorten"
    how, choice = make_design(chosen, {}), reading_choice(mask, atlas, reading)
    events, broken = read_all_events(folder, _events_of)
    stop_at_broken(broken, on_error, others=bool(events))
    responses, warnings = respond(
        folder,
        events,
        broken,
        how,
        choice,
        stimulus_info={c: c for c in _INFO},
        repetitions=repetitions,
        on_error=on_error,
    )
    return BrainData("ds003720", responses, digest_of(responses), CITATION, LICENCE, warnings=tuple(warnings))


def read_ds003720_events(path: str | Path) -> pd.DataFrame:
    """Read when which clip was played; images need not be there.

    Parameters
    ----------
    path : path-like
        The BIDS folder.

    Returns
    -------
    DataFrame
        One row per presentation, in order of subject, task, run and time: ``subject``, ``task``, ``run`` (int),
        ``stimulus_id``, ``onset``, ``duration``, ``category``, ``split``, ``start_s``, ``end_s``, and ``dummy``,
        whether it is the first of its run, whose volumes are discarded.

    Raises
    ------
    BrainError
        If there are no events, or a file is not as published.
    """
    files = sorted(Path(path).glob("sub-*/func/sub-*_events.tsv"))
    if not files:
        raise BrainError(f"{path} holds no events (sub-*/func/sub-*_events.tsv): {HOW_TO_GET}")
    tables = []
    for file in files:
        entities = parse_entities(file)
        table = _read(file, entities["task"])
        tables.append(
            table.assign(
                subject=subject_name(entities["sub"]),
                task=entities["task"],
                run=int(entities["run"]),
                dummy=table.index == 0,
            )
        )
    columns = ["subject", "task", "run", "stimulus_id", "onset", "duration", *_INFO, "dummy"]
    return pd.concat(tables, ignore_index=True)[columns]


def _events_of(run: BoldRun) -> pd.DataFrame:
    if run.events is None:
        raise BrainError("there is no events file for it")
    return _read(run.events, run.entities["task"])


def _read(file: Path, task: str) -> pd.DataFrame:
    table = read_events(file, stimulus=CLIP_ID)
    if lacking := [c for c in ("start", "end") if c not in table]:
        raise BrainError(f"{file.name} has no column {lacking[0]!r}, which the events of ds003720 have")
    split = next((s for s, t in TASK_OF_SPLIT.items() if t == task), None)
    if split is None:
        raise BrainError(f"{file.name}: the task is {task!r}, expected Training or Test")
    try:
        times = {"start_s": table["start"].astype(float), "end_s": table["end"].astype(float)}
    except ValueError as why:
        raise BrainError(f"{file.name}: start and end must be seconds: {why}") from why
    return table.assign(category=table["genre"], split=split, **times)


def _dummy_volumes(folder: BidsFolder) -> int:
    """Return how many volumes the dummy at the beginning of each run takes."""
    times = {run.repetition_time for runs in folder.subjects.values() for run in runs}
    if len(times) > 1:
        raise BrainError(f"the runs have repetition times of {name_some(sorted(times))} s, expected one")
    return round(DUMMY_S / times.pop()) if times else 0
