"""Simulated fMRI as a scanner leaves it: BIDS folders with NIfTI images in which responses to sounds are planted."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign.brain.events import check_events
from brainalign.brain.simulated_scanner import OVERSAMPLING, REGIONS, Scanner
from brainalign.errors import BrainError, name_some

Array = NDArray[np.float64]

BASELINE = 5000.0
#: Standard deviation of the noise over time, in units of the images: 1 % of the baseline.
NOISE_SD = 50.0
#: Share of the weights' variance that all subjects have in common.
GROUP_SHARE = 0.5
BIDS_VERSION = "1.9.0"


@dataclass(frozen=True)
class SimulatedBids:
    """Where simulated images were written, and what is true of them.

    Attributes
    ----------
    folder : Path
        The BIDS folder.
    mask, atlas, labels : Path
        Brain mask and regions, images of one grid for all subjects, and the names of the regions (BIDS ``dseg.tsv``).
    subjects : tuple of str
        Such as ``"sub-01"``.
    region : ndarray of str, shape (n_voxels,)
        Region of each voxel of the mask, in C order of the grid.
    weights : mapping of str to ndarray, shape (n_features, n_voxels)
        For each subject: units of the image per unit of a feature that was convolved with a haemodynamic response of
        sum 1.
    noise_sd : float
        Standard deviation of the noise over time, in units of the images.
    """

    folder: Path
    mask: Path
    atlas: Path
    labels: Path
    subjects: tuple[str, ...]
    region: NDArray[np.str_]
    weights: Mapping[str, Array]
    noise_sd: float


@dataclass(frozen=True)
class SimulatedRun:
    """What is played in a run.

    Attributes
    ----------
    name : str
        ``"task-music_run-01"``.
    events : DataFrame
        ``stimulus_id``, ``onset`` and ``duration`` in s.
    table : DataFrame
        What ``events.tsv`` says.
    n_volumes : int
        Length of the run.
    """

    name: str
    events: pd.DataFrame
    table: pd.DataFrame
    n_volumes: int


def write_simulated_bids(
    folder: str | Path,
    events: Mapping[str, pd.DataFrame],
    features: Mapping[str, ArrayLike],
    *,
    stimulus: str = "trial_type",
    subjects: Sequence[str] = ("sub-01", "sub-02"),
    n_volumes: int | None = None,
    scanner: Scanner | None = None,
    signal: float = 1.0,
    seed: int = 0,
) -> SimulatedBids:
    """Write a BIDS folder of simulated fMRI in which responses to stimuli are planted.

    The time series of a voxel is a baseline of about 5000, plus the features over time, convolved with the haemodynamic
    response, times the voxel's weights, plus noise and drift. Weights are smooth Gaussian maps, half of whose variance
    all subjects have in common; outside the auditory regions (three in each half of the brain) they are 0. Volume k is
    measured at k times the repetition time. Images are int16. Mask, atlas and names of regions stand in
    ``derivatives/simulation``.

    Parameters
    ----------
    folder : path-like
        Where to write; it must not be there, or be empty. A run that fails leaves nothing.
    events : mapping of str to DataFrame
        The events of each run, the same for all subjects: columns ``onset`` and ``duration`` (s) and what names the
        stimulus. Keys say what file names say, ``"task-music_run-01"``.
    features : mapping of str to array_like, shape (n_features,) or (n_windows, n_features)
        What drives the voxels while a stimulus plays: one vector, or one for each of `n_windows` equal parts of it.
    stimulus : str
        What names the stimulus: a column, or a template of columns such as ``"{genre}.{track:05d}"``.
    subjects : sequence of str
        Their names.
    n_volumes : int, optional
        Length of each run; by default up to 12 s after the end of its last event.
    scanner : Scanner, optional
        Grid, haemodynamics and noise.
    signal : float
        Factor of the planted signal: 0 takes it away and leaves noise, drift and all files as they are.
    seed : int
        Of weights and noise. Those of a subject do not change when subjects are added.

    Returns
    -------
    SimulatedBids
        Paths, and the truth.

    Raises
    ------
    BrainError
        If the folder is in use, a name is not as BIDS wants it, a stimulus has no features, features are not of one
        width, events do not fit the run, or the signal leaves the range of the images.
    """
    scanner = scanner or Scanner()
    runs = []
    for name, table in events.items():
        if missing := {"onset", "duration"} - set(table.columns):
            raise BrainError(f"the events of {name} have no column {name_some(sorted(missing))}")
        try:
            rows = [{str(c): cell for c, cell in row.items()} for row in table.to_dict("records")]
            named = [stimulus.format(**row) if "{" in stimulus else str(row[stimulus]) for row in rows]
        except KeyError as why:
            raise BrainError(f"the events of {name} have no column {why} to name stimuli") from why
        except ValueError as why:
            raise BrainError(f"the template {stimulus!r} does not fit the events of {name}: {why}") from why
        timed = table[["onset", "duration"]].astype(float).assign(stimulus_id=named)
        timed.attrs["file"] = f"the events of {name}"
        length = n_volumes
        if length is None:
            length = int(np.ceil(((timed["onset"] + timed["duration"]).max() + 12) / scanner.repetition_time_s))
        runs.append(SimulatedRun(name, timed, table, length))
    return write_runs(folder, runs, features, subjects, scanner, signal=signal, seed=seed)


def write_runs(
    folder: str | Path,
    runs: Sequence[SimulatedRun],
    features: Mapping[str, ArrayLike],
    subjects: Sequence[str],
    scanner: Scanner,
    *,
    signal: float,
    seed: int,
    description: Mapping[str, Any] | None = None,
) -> SimulatedBids:
    """Write runs whose events are known; see :func:`write_simulated_bids`.

    Parameters
    ----------
    folder, features, subjects, scanner, signal, seed
        See there.
    runs : sequence of SimulatedRun
        All runs of a subject.
    description : mapping, optional
        What ``dataset_description.json`` says besides.

    Returns
    -------
    SimulatedBids
        Paths, and the truth.

    Raises
    ------
    BrainError
        See there.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BrainError(f"{folder} is there already; give a new folder or an empty one")
    _check_names(runs, subjects)
    known = _check_features(features)
    for run in runs:
        times = run.events[["onset", "duration"]].to_numpy()
        if not np.isfinite(times).all() or (times[:, 1] <= 0).any():
            raise BrainError(f"the events of {run.name} have onsets or durations that are missing, or durations of 0")
        if missing := [s for s in dict.fromkeys(run.events["stimulus_id"]) if s not in known]:
            raise BrainError(f"no features for {name_some(map(repr, missing))}, which {run.name} plays")
        check_events(run.events, duration_s=run.n_volumes * scanner.repetition_time_s)
    if not np.isfinite(signal):
        raise BrainError(f"the signal must be finite, found {signal}")
    if empty := [r for n, r in enumerate(scanner.region_names, start=1) if not (scanner.atlas == n).any()]:
        raise BrainError(f"a grid of {scanner.grid} voxels is too small: it has none for {name_some(empty)}")
    region = np.array(scanner.region_names)[scanner.atlas[scanner.atlas > 0] - 1]
    designs = [_design(run, known, scanner) for run in runs]
    weights = _weights(designs, region, subjects, scanner, signal, seed)

    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-")) / "bids"
    try:
        _write_descriptions(draft, subjects, scanner, description or {})
        for s, subject in enumerate(subjects):
            anatomy = np.random.default_rng([seed, 2, s])
            baseline = BASELINE + 500 * scanner.smooth_noise(1, anatomy)
            for r, (run, design) in enumerate(zip(runs, designs, strict=True)):
                planted = baseline + (design @ weights[subject]).astype(np.float32)
                series = planted + NOISE_SD * scanner.noise(run.n_volumes, np.random.default_rng([seed, 3, s, r]))
                _write_run(draft / subject / "func" / f"{subject}_{run.name}", run, series, scanner)
        if folder.is_dir():
            folder.rmdir()
        draft.replace(folder)
    finally:
        shutil.rmtree(draft.parent)
    derived = folder / "derivatives" / "simulation"
    mask, atlas, labels = (derived / name for name in _DERIVED)
    return SimulatedBids(folder, mask, atlas, labels, tuple(subjects), region, weights, NOISE_SD)


_DERIVED = (
    "tpl-simulated_desc-brain_mask.nii.gz",
    "tpl-simulated_atlas-regions_dseg.nii.gz",
    "tpl-simulated_atlas-regions_dseg.tsv",
)


def _check_names(runs: Sequence[SimulatedRun], subjects: Sequence[str]) -> None:
    if not runs or not subjects:
        raise BrainError("a simulation needs at least one run and one subject")
    for name, pattern, form in (
        *((run.name, r"task-[A-Za-z0-9]+(_run-[0-9]+)?", "task-music_run-01") for run in runs),
        *((subject, r"sub-[A-Za-z0-9]+", "sub-01") for subject in subjects),
    ):
        if not re.fullmatch(pattern, name):
            raise BrainError(f"{name!r} is no name that BIDS knows, expected the form {form!r}")
    for names in ([run.name for run in runs], list(subjects)):
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise BrainError(f"the name {twice[0]!r} occurs twice")


def _check_features(features: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Return the features as (n_windows, n_features)."""
    known = {name: np.atleast_2d(np.asarray(values, dtype=np.float64)) for name, values in features.items()}
    widths = {f.shape[-1] for f in known.values()}
    if len(widths) != 1 or any(f.ndim != 2 or not f.size for f in known.values()):
        shapes = sorted({str(f.shape) for f in known.values()})
        raise BrainError(f"features must be (n_windows, n_features) with one n_features, found {name_some(shapes)}")
    if broken := [name for name, f in known.items() if not np.isfinite(f).all()]:
        raise BrainError(f"features of {name_some(broken)} are NaN or infinite")
    return known


def _design(run: SimulatedRun, features: Mapping[str, Array], scanner: Scanner) -> Array:
    """Return the features that play at each volume after the haemodynamic response, (n_volumes, n_features)."""
    step = scanner.repetition_time_s / OVERSAMPLING
    fine = np.zeros((run.n_volumes * OVERSAMPLING, next(iter(features.values())).shape[1]))
    columns = (run.events[c].tolist() for c in ("stimulus_id", "onset", "duration"))
    for stimulus, onset, duration in zip(*columns, strict=True):
        windows = features[stimulus]
        begin, end = (int(np.ceil(t / step - 1e-6)) for t in (onset, onset + duration))
        part = (np.arange(begin, end) * step - onset) / duration * len(windows)
        fine[begin:end] += windows[np.clip((part + 1e-6).astype(int), 0, len(windows) - 1)]
    return scanner.convolve(fine)


def _weights(
    designs: Sequence[Array],
    region: NDArray[np.str_],
    subjects: Sequence[str],
    scanner: Scanner,
    signal: float,
    seed: int,
) -> dict[str, Array]:
    """Draw the weights of each subject, and scale them so that the signal has its share of the time series."""
    centred = [design - design.mean(axis=0) for design in designs]
    covariance = sum(c.T @ c for c in centred) / sum(len(c) for c in centred)
    level = np.array([REGIONS[name[2:]][1] for name in region])
    group = scanner.smooth_noise(covariance.shape[0], np.random.default_rng([seed, 1]))
    weights = {}
    for s, subject in enumerate(subjects):
        own = scanner.smooth_noise(covariance.shape[0], np.random.default_rng([seed, 4, s]))
        mixed = (np.sqrt(GROUP_SHARE) * group + np.sqrt(1 - GROUP_SHARE) * own).astype(np.float64)
        spread = np.sqrt(np.maximum((mixed * (covariance @ mixed)).sum(axis=0), 0))
        if (spread == 0).any():
            raise BrainError("the features are the same at all times, so no signal can be planted")
        weights[subject] = mixed * (level * signal * scanner.snr * NOISE_SD / spread)
    return weights


def _write_run(stem: Path, run: SimulatedRun, series: NDArray[np.float32], scanner: Scanner) -> None:
    limits = np.iinfo(np.int16)
    if series.min() < 0 or series.max() > limits.max:
        raise BrainError(
            f"{stem.name}: values from {series.min():.0f} to {series.max():.0f} leave the range of the images, 0 to "
            f"{limits.max}; choose a smaller snr, signal or drift"
        )
    values = np.zeros((*scanner.grid, run.n_volumes), dtype=np.int16)
    values[scanner.atlas > 0] = np.rint(series).T
    stem.parent.mkdir(parents=True, exist_ok=True)
    _write_image(Path(f"{stem}_bold.nii.gz"), values, scanner)
    task = run.name.split("_")[0].removeprefix("task-")
    _write_json(Path(f"{stem}_bold.json"), {"TaskName": task, "RepetitionTime": scanner.repetition_time_s})
    run.table.to_csv(f"{stem}_events.tsv", sep="\t", index=False, na_rep="n/a")


def _write_image(path: Path, values: NDArray[Any], scanner: Scanner) -> None:
    import nibabel

    image: Any = nibabel.Nifti1Image(values, scanner.affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm", "sec")
    if values.ndim == 4:
        image.header["pixdim"][4] = scanner.repetition_time_s
    image.set_sform(scanner.affine, code="scanner")
    image.set_qform(scanner.affine, code="scanner")
    nibabel.save(image, path)


def _write_descriptions(
    folder: Path, subjects: Sequence[str], scanner: Scanner, description: Mapping[str, Any]
) -> None:
    """Write what is not of a run: descriptions, participants, mask and atlas."""
    derived = folder / "derivatives" / "simulation"
    derived.mkdir(parents=True)
    common = {
        "BIDSVersion": BIDS_VERSION,
        "License": "CC0",
        "GeneratedBy": [{"Name": "brainalign", "Description": "simulated: no brain was measured"}],
    }
    raw = {"Name": "Simulated fMRI", "DatasetType": "raw", **common, **description}
    _write_json(folder / "dataset_description.json", raw)
    _write_json(
        derived / "dataset_description.json",
        {"Name": "Mask and regions of simulated fMRI", "DatasetType": "derivative", **common},
    )
    readme = "Simulated fMRI: responses to sounds were planted in noise by brainalign. No brain was measured.\n"
    (folder / "README").write_text(readme, encoding="utf-8")
    (folder / "participants.tsv").write_text("\n".join(["participant_id", *subjects, ""]), encoding="utf-8")
    mask, atlas, labels = (derived / name for name in _DERIVED)
    _write_image(mask, (scanner.atlas > 0).astype(np.uint8), scanner)
    _write_image(atlas, scanner.atlas, scanner)
    names = pd.DataFrame({"index": range(1, len(scanner.region_names) + 1), "name": scanner.region_names})
    names.to_csv(labels, sep="\t", index=False)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
