"""Responses to single stimuli out of one run: general linear models, and averages of blocks."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.brain.timeseries import check_confounds, check_percent, drift_regressors
from brainalign.errors import BrainError, did_you_mean, name_some

Floats = NDArray[np.floating[Any]]
Per = Literal["stimulus", "occurrence"]

_HRF = ("glover", "spm")
_NOISE = ("ar1", "ols")
#: Times are compared with this tolerance, in volumes: onsets are decimal fractions.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class StimulusEstimates:
    """Responses to the stimuli of a run.

    Attributes
    ----------
    stimulus : tuple of str
        Stimulus of each row, in the order of first occurrence (or of the events, for each occurrence).
    occurrence : ndarray of int, shape (n_rows,)
        Which occurrence of its stimulus a row is (0, 1, ...); all 0 where a row stands for all of them.
    values : ndarray of float64, shape (n_rows, n_units)
        The responses.
    """

    stimulus: tuple[str, ...]
    occurrence: NDArray[np.intp]
    values: NDArray[np.float64]


def stimulus_betas(
    bold: Floats,
    events: pd.DataFrame,
    repetition_time_s: float,
    *,
    hrf: Literal["glover", "spm"] | None = "glover",
    drift: Literal["cosine", "polynomial"] | None = "cosine",
    cutoff_s: float = 128.0,
    order: int = 2,
    separate: bool = False,
    per: Per = "stimulus",
    noise_model: Literal["ar1", "ols"] = "ar1",
    confounds: Any = None,
    scaling: Literal["percent"] | None = "percent",
    slice_time_ref: float = 0.0,
) -> StimulusEstimates:
    """Estimate the response to each stimulus by a general linear model, as nilearn's FirstLevelModel does.

    Parameters
    ----------
    bold : ndarray, shape (n_volumes, n_units)
        One run, finite; with its drifts, which the model has regressors for.
    events : DataFrame
        ``onset`` and ``duration`` in seconds from the first volume, and ``trial_type``, the stimulus id.
    repetition_time_s : float
        From one volume to the next.
    hrf : {'glover', 'spm'}, optional
        Haemodynamic response with which the events are convolved; None: they are not.
    drift, cutoff_s, order
        Drift regressors, as in :func:`~brainalign.brain.timeseries.remove_drift`.
    separate : bool
        False: one model with a regressor for each stimulus (least squares all). True: one model for each stimulus, with
        a second regressor for all other events together (least squares separate; Mumford et al. 2012, NeuroImage
        59:2636), for events so close that their regressors are hard to tell apart.
    per : {'stimulus', 'occurrence'}
        One response per stimulus, from all its occurrences in the run, or one per occurrence.
    noise_model : {'ar1', 'ols'}
        Autoregressive noise (each unit prewhitened), or white noise.
    confounds : array_like or DataFrame, shape (n_volumes, n_confounds), optional
        Further regressors, for instance head motion.
    scaling : {'percent'}, optional
        Responses in percent of each unit's mean (FirstLevelModel's ``signal_scaling=0``); None: in units of `bold`.
    slice_time_ref : float
        When within a repetition the volumes are measured (0 its start, 1 its end).

    Returns
    -------
    StimulusEstimates
        Betas; 1 is the height of the convolved regressor, which for a long event is about its plateau.

    Raises
    ------
    BrainError
        If events are incomplete or lie outside the run, the stimuli cannot be told apart, or values cannot be used.
    """
    _check_options(hrf, noise_model, per, slice_time_ref)
    check_run(bold, events, repetition_time_s)
    if scaling == "percent":
        mean = bold.mean(axis=0, dtype=np.float64)
        check_percent(mean)
        bold = 100 * (bold / mean - 1)
    nuisance = np.column_stack(
        [
            drift_regressors(len(bold), repetition_time_s, drift, cutoff_s=cutoff_s, order=order),
            check_confounds(confounds, len(bold)),
            np.ones(len(bold)),
        ]
    )
    frame_times = (np.arange(len(bold)) + slice_time_ref) * repetition_time_s
    stimuli, occurrence, members = _rows(events, per)
    regressors = _event_regressors(events, frame_times, hrf) @ members.T
    _check_seen(regressors, stimuli)
    if not separate:
        betas = _fit(bold, np.column_stack([regressors, nuisance]), noise_model)[: len(stimuli)]
        return StimulusEstimates(stimuli, occurrence, betas)
    return StimulusEstimates(stimuli, occurrence, _fit_separate(bold, regressors, nuisance, noise_model))


def block_means(
    bold: Floats,
    events: pd.DataFrame,
    repetition_time_s: float,
    *,
    acquisitions: tuple[int, int] | None = None,
    delay_s: float = 0.0,
    acquisition_offset_s: float = 0.0,
    silence: str | None = "silence",
    per: Per = "stimulus",
) -> StimulusEstimates:
    """Average the volumes of each block, in percent signal change from silence.

    With ``acquisitions=(2, 5)`` the protocol of Norman-Haignere, Kanwisher & McDermott 2015 (Neuron 88:1281): blocks of
    17 s with an acquisition every 3.4 s, of which the second to the fifth are averaged, against blocks of silence.

    Parameters
    ----------
    bold : ndarray, shape (n_volumes, n_units)
        One run, finite, not centred.
    events : DataFrame
        One row per block: ``onset`` and ``duration`` in seconds from the beginning of the first repetition time, and
        ``trial_type``, the stimulus id.
    repetition_time_s : float
        From one volume to the next.
    acquisitions : (int, int), optional
        First and last acquisition of the block that counts, from 1; by default all.
    delay_s : float
        Count the acquisitions from this time after the onset, and to as long after the end, for the haemodynamic lag.
    acquisition_offset_s : float
        When within the repetition time a volume is measured; in sparse scanning, where sounds are played before each
        acquisition, the length of that gap.
    silence : str, optional
        The ``trial_type`` of the baseline, averaged in the same way; None: no baseline, values in units of `bold`.
    per : {'stimulus', 'occurrence'}
        One response per stimulus, the mean of its blocks, or one per block.

    Returns
    -------
    StimulusEstimates
        Without the silence.

    Raises
    ------
    BrainError
        If there is no silence, a block has fewer acquisitions than asked for, or lies outside the run.
    """
    _check_options(None, "ols", per, 0.0)
    check_run(bold, events, repetition_time_s)
    windows = _windows(events, len(bold), repetition_time_s, acquisitions, delay_s - acquisition_offset_s)
    blocks = np.stack([bold[begin:end].mean(axis=0, dtype=np.float64) for begin, end in windows])
    if silence is not None:
        silent = (events["trial_type"].astype(str) == silence).to_numpy()
        if not silent.any() or silent.all():
            known = sorted(set(events["trial_type"].astype(str)))
            raise BrainError(f"no blocks of {silence!r} beside stimuli: {did_you_mean(silence, known)}")
        baseline = blocks[silent].mean(axis=0)
        check_percent(baseline)
        blocks = 100 * (blocks[~silent] / baseline - 1)
        events = events[~silent]
    stimuli, occurrence, members = _rows(events, per)
    return StimulusEstimates(stimuli, occurrence, members @ blocks / members.sum(axis=1, keepdims=True))


def check_run(bold: Floats, events: pd.DataFrame, repetition_time_s: float) -> None:
    """Raise unless bold and events belong together.

    Parameters
    ----------
    bold : ndarray, shape (n_volumes, n_units)
        One run.
    events : DataFrame
        With ``onset``, ``duration`` and ``trial_type``.
    repetition_time_s : float
        From one volume to the next.

    Raises
    ------
    BrainError
        If bold is not finite, columns or entries are missing, or an event does not lie within the run.
    """
    if not (np.isfinite(repetition_time_s) and repetition_time_s > 0):
        raise BrainError(f"repetition_time_s must be positive, found {repetition_time_s}")
    if bold.ndim != 2 or bold.dtype.kind != "f" or not np.isfinite(bold).all():
        raise BrainError(
            f"a run must be finite floating point of shape (n_volumes, n_units), found {bold.dtype} of {bold.shape}"
        )
    lacking = [c for c in ("onset", "duration", "trial_type") if c not in events]
    if lacking or not len(events):
        raise BrainError(
            f"events need rows with onset, duration and trial_type; lacking: {name_some(lacking) or 'rows'}"
        )
    if events["trial_type"].isna().any():
        raise BrainError(f"trial_type is empty in row {int(np.flatnonzero(events['trial_type'].isna())[0]) + 1}")
    onset, duration = (events[c].to_numpy(dtype=np.float64) for c in ("onset", "duration"))
    end_s = len(bold) * repetition_time_s
    outside = ~((onset >= 0) & (duration >= 0) & (onset < end_s) & (onset + duration <= end_s + repetition_time_s / 2))
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise BrainError(
            f"{int(outside.sum())} events lie outside the run of {len(bold)} volumes ({end_s:g} s), the first of them "
            f"{str(events['trial_type'].iloc[first])!r}, {onset[first]:g} s + {duration[first]:g} s; volumes may be "
            f"missing, or onsets or durations wrong"
        )


def _check_options(hrf: str | None, noise_model: str, per: str, slice_time_ref: float) -> None:
    if hrf is not None and hrf not in _HRF:
        raise BrainError(f"no haemodynamic response {hrf!r}; {did_you_mean(hrf, _HRF)}")
    if noise_model not in _NOISE:
        raise BrainError(f"no noise model {noise_model!r}; {did_you_mean(noise_model, _NOISE)}")
    if per not in ("stimulus", "occurrence"):
        raise BrainError(f"per must be 'stimulus' or 'occurrence', found {per!r}")
    if not 0 <= slice_time_ref <= 1:
        raise BrainError(f"slice_time_ref must lie between 0 and 1, found {slice_time_ref}")


def _rows(events: pd.DataFrame, per: Per) -> tuple[tuple[str, ...], NDArray[np.intp], Floats]:
    """Say which rows there will be, and which events each is made of: 1s in (n_rows, n_events)."""
    stimuli = events["trial_type"].astype(str).reset_index(drop=True)
    if per == "occurrence":
        counts = stimuli.groupby(stimuli).cumcount()
        return tuple(stimuli), np.asarray(counts, dtype=np.intp), np.eye(len(stimuli))
    codes, names = pd.factorize(stimuli)
    members = (np.arange(len(names))[:, None] == codes).astype(np.float64)
    return tuple(names), np.zeros(len(names), dtype=np.intp), members


def _event_regressors(events: pd.DataFrame, frame_times: Floats, hrf: str | None) -> NDArray[np.float64]:
    """Return one regressor per event, (n_volumes, n_events)."""
    from nilearn.glm.first_level import make_first_level_design_matrix

    single = pd.DataFrame(
        {
            "onset": events["onset"].to_numpy(dtype=np.float64),
            "duration": events["duration"].to_numpy(dtype=np.float64),
            "trial_type": [f"event{i:06d}" for i in range(len(events))],
        }
    )
    with warnings.catch_warnings():
        # nilearn warns of events of duration 0, which it treats as impulses, as the caller means them.
        warnings.simplefilter("ignore", UserWarning)
        design = make_first_level_design_matrix(frame_times, single, hrf_model=hrf, drift_model=None)
    return np.asarray(design[single["trial_type"].tolist()], dtype=np.float64)


def _check_seen(regressors: Floats, stimuli: tuple[str, ...]) -> None:
    """Raise for stimuli so near the end that the run does not hold a hundredth of their response."""
    peaks = np.abs(regressors).max(axis=0)
    unseen = [s for s, peak in zip(stimuli, peaks, strict=True) if not peak > 0.01 * peaks.max()]
    if unseen:
        raise BrainError(f"the run ends before the response to {name_some(map(repr, unseen))}: leave these events out")


def _fit(bold: Floats, design: Floats, noise_model: str) -> NDArray[np.float64]:
    """Return betas (n_regressors, n_units)."""
    from nilearn.glm.first_level import run_glm

    _check_rank(design)
    labels, results = run_glm(bold, design, noise_model=noise_model)
    betas = np.empty((design.shape[1], bold.shape[1]))
    for label, result in results.items():
        betas[:, labels == label] = result.theta
    return betas


def _check_rank(design: Floats) -> None:
    n_volumes, n_regressors = design.shape
    norms = np.linalg.norm(design, axis=0)
    if n_regressors >= n_volumes or not norms.all() or np.linalg.matrix_rank(design / norms) < n_regressors:
        raise BrainError(
            f"{n_regressors} regressors (stimuli, drift, confounds and a constant) cannot be told apart in {n_volumes} "
            f"volumes; use separate=True, a larger cutoff_s, or fewer confounds"
        )


def _fit_separate(bold: Floats, regressors: Floats, nuisance: Floats, noise_model: str) -> NDArray[np.float64]:
    """Return the first beta of each model [own, all others, nuisance], (n_rows, n_units).

    The models differ in how the same regressors are summed, and AR(1) whitening, a - rho L a with the lag L, is linear.
    So products with the data are needed once, not once for each model and each rho. The numbers are run_glm's.
    """
    n_volumes, n_rows = regressors.shape
    bold = bold - bold.mean(axis=0, dtype=np.float64)
    columns = np.column_stack([regressors, nuisance])
    grams, products = _lagged(columns, columns), _lagged(columns, bold)
    power = (bold**2).sum(axis=0), (bold[1:] * bold[:-1]).sum(axis=0)
    values = np.empty((n_rows, bold.shape[1]))
    for i in range(n_rows):
        sums = np.zeros((columns.shape[1], nuisance.shape[1] + 2))
        sums[i, 0], sums[:n_rows, 1], sums[i, 1] = 1, 1, 0
        sums[n_rows:, 2:] = np.eye(nuisance.shape[1])
        if n_rows == 1:
            sums = np.delete(sums, 1, axis=1)
        _check_rank(columns @ sums)
        sums /= np.linalg.norm(columns @ sums, axis=0)
        gram, product = [sums.T @ g @ sums for g in grams], [sums.T @ p for p in products]
        betas = np.linalg.solve(gram[0], product[0])
        if noise_model == "ar1":
            rho = _autocorrelation(betas, gram, product, power, n_volumes)
            for r in np.unique(rho):
                here = rho == r
                whitened = [m[0] - r * m[1] + r**2 * m[2] for m in (gram, [p[:, here] for p in product])]
                betas[:, here] = np.linalg.solve(*whitened)
        values[i] = betas[0] * sums[i, 0]
    return values


def _lagged(a: Floats, b: Floats) -> list[Floats]:
    """Return a'b, a'Lb + (La)'b and (La)'Lb, where L delays by a volume."""
    return [a.T @ b, a[1:].T @ b[:-1] + a[:-1].T @ b[1:], a[:-1].T @ b[:-1]]


def _autocorrelation(
    betas: Floats, gram: list[Floats], product: list[Floats], power: tuple[Floats, Floats], n_volumes: int
) -> Floats:
    """Return the AR(1) coefficient of the residuals of each unit, in hundredths, as nilearn's Yule-Walker gives it."""
    variance = power[0] - 2 * (betas * product[0]).sum(axis=0) + (betas * (gram[0] @ betas)).sum(axis=0)
    covariance = power[1] - (betas * product[1]).sum(axis=0) + (betas * (gram[1] @ betas)).sum(axis=0) / 2
    rho = np.zeros_like(variance)
    np.divide(covariance / (n_volumes - 1), variance / n_volumes, out=rho, where=variance > 1e-12 * power[0])
    return np.asarray(np.trunc(rho * 100) / 100)


def _windows(
    events: pd.DataFrame,
    n_volumes: int,
    repetition_time_s: float,
    acquisitions: tuple[int, int] | None,
    shift_s: float,
) -> list[tuple[int, int]]:
    """Give the first volume of each block that counts, and the one after the last."""
    if acquisitions is not None and not 1 <= acquisitions[0] <= acquisitions[1]:
        raise BrainError(f"acquisitions are the first and the last that count, from 1, found {acquisitions}")
    windows = []
    for onset, duration, name in events[["onset", "duration", "trial_type"]].itertuples(index=False):
        begin, end = (int(np.ceil((t + shift_s) / repetition_time_s - _TOLERANCE)) for t in (onset, onset + duration))
        begin = max(begin, 0)
        first, last = acquisitions or (1, end - begin)
        if last > end - begin or end <= begin:
            raise BrainError(
                f"the block of {name!r} at {onset:g} s has {end - begin} acquisitions, expected {max(last, 1)}"
            )
        if begin + last > n_volumes:
            raise BrainError(
                f"the block of {name!r} at {onset:g} s needs volume {begin + last}, but the run has {n_volumes}"
            )
        windows.append((begin + first - 1, begin + last))
    return windows
