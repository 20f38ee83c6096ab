"""Time series of one run: dummy volumes, slow drifts and confounds, z-scores and percent signal change."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.errors import BrainError, did_you_mean, name_some

Drift = Literal["cosine", "polynomial", "median"]
Scaling = Literal["zscore", "percent"]
Floats = NDArray[np.floating[Any]]


def drop_volumes(bold: Floats, n_volumes: int) -> Floats:
    """Remove the first volumes of a run, which are measured before the signal is steady, or during a dummy stimulus.

    Parameters
    ----------
    bold : ndarray, shape (n_volumes, n_units)
        A run.
    n_volumes : int
        How many to remove.

    Returns
    -------
    ndarray
        The rest; the onsets of events do not move with it.

    Raises
    ------
    BrainError
        If nothing would be left.
    """
    _check(bold)
    if not 0 <= n_volumes < len(bold):
        raise BrainError(f"cannot remove the first {n_volumes} of {len(bold)} volumes")
    return bold[n_volumes:]


def remove_drift(
    bold: Floats,
    repetition_time_s: float,
    method: Drift | None = "cosine",
    *,
    cutoff_s: float = 128.0,
    order: int = 2,
    window_s: float = 240.0,
    confounds: Any = None,
) -> Floats:
    """Remove slow drifts, and confounds with them; the mean of each unit stays.

    Parameters
    ----------
    bold : ndarray, shape (n_volumes, n_units)
        One run, finite.
    repetition_time_s : float
        From one volume to the next.
    method : {'cosine', 'polynomial', 'median'}, optional
        Regress on discrete cosines up to the frequency ``1 / cutoff_s`` (SPM; nilearn's ``cosine``), or on polynomials
        up to `order`, or subtract the running median over `window_s` (240 s in Denk et al. 2023, Brain2Music; the run
        is reflected at its ends, which the paper does not say). None: no drift, only confounds.
    cutoff_s : float
        Period of the fastest cosine.
    order : int
        Highest power of the polynomials.
    window_s : float
        Width of the median's window; rounded to an odd number of volumes.
    confounds : array_like or DataFrame, shape (n_volumes, n_confounds), optional
        For instance head motion. Regressed on together with cosines or polynomials, so that neither brings the other
        back (Lindquist et al. 2019); with the median, bold and confounds are both filtered first.

    Returns
    -------
    ndarray, shape (n_volumes, n_units)
        What is left, in the dtype of `bold`.

    Raises
    ------
    BrainError
        If numbers are out of range, values are not finite, or there are as many regressors as volumes.
    """
    _check(bold)
    extra = check_confounds(confounds, len(bold))
    if method is not None and method not in ("cosine", "polynomial", "median"):
        raise BrainError(f"no drift removal {method!r}; {did_you_mean(method, ('cosine', 'polynomial', 'median'))}")
    if method == "median":
        cleaned = bold - _running_median(bold, repetition_time_s, window_s) + bold.mean(axis=0)
        extra = extra - _running_median(extra, repetition_time_s, window_s)
        regressors = extra
    else:
        drift = drift_regressors(len(bold), repetition_time_s, method, cutoff_s=cutoff_s, order=order)
        cleaned, regressors = bold, np.column_stack([drift, extra])
    if regressors.shape[1] == 0:
        return np.asarray(cleaned, dtype=bold.dtype)
    if regressors.shape[1] >= len(bold) - 1:
        raise BrainError(f"{regressors.shape[1]} drift and confound regressors for {len(bold)} volumes")
    regressors = regressors - regressors.mean(axis=0)
    fitted = regressors @ (np.linalg.pinv(regressors) @ (cleaned - cleaned.mean(axis=0)))
    return np.asarray(cleaned - fitted, dtype=bold.dtype)


def drift_regressors(
    n_volumes: int,
    repetition_time_s: float,
    method: Literal["cosine", "polynomial"] | None,
    *,
    cutoff_s: float = 128.0,
    order: int = 2,
) -> NDArray[np.float64]:
    """Return nilearn's regressors for slow drifts, without the constant.

    Parameters
    ----------
    n_volumes : int
        Of the run.
    repetition_time_s : float
        From one volume to the next.
    method : {'cosine', 'polynomial'}, optional
        None: no regressors.
    cutoff_s : float
        Period of the fastest cosine.
    order : int
        Highest power of the polynomials.

    Returns
    -------
    ndarray, shape (n_volumes, n_regressors)
        The regressors.

    Raises
    ------
    BrainError
        If a number is out of range.
    """
    from nilearn.glm.first_level import make_first_level_design_matrix

    for name, value in (("repetition_time_s", repetition_time_s), ("cutoff_s", cutoff_s), ("order", order)):
        if not value > 0:
            raise BrainError(f"{name} must be positive, found {value}")
    if method is None:
        return np.empty((n_volumes, 0))
    with warnings.catch_warnings():
        # nilearn warns that a cosine drift of a short run holds the constant alone: that is the right answer then.
        warnings.simplefilter("ignore", UserWarning)
        design = make_first_level_design_matrix(
            np.arange(n_volumes) * repetition_time_s,
            drift_model=method,
            high_pass=1 / cutoff_s,
            drift_order=order,
        )
    return np.asarray(design.drop(columns="constant"), dtype=np.float64)


def standardize(bold: Floats, method: Scaling) -> Floats:
    """Put the units of one run on a common scale.

    Parameters
    ----------
    bold : ndarray, shape (n_volumes, n_units)
        One run, finite.
    method : {'zscore', 'percent'}
        ``"zscore"``: mean 0, standard deviation 1 over the volumes (n - 1, nilearn's ``zscore_sample``).
        ``"percent"``: percent signal change from the mean of the run.

    Returns
    -------
    ndarray, shape (n_volumes, n_units)
        In the dtype of `bold`.

    Raises
    ------
    BrainError
        If a unit is constant (z-score), or its mean is not positive (percent): it has no scale.
    """
    _check(bold)
    mean = bold.mean(axis=0, dtype=np.float64)
    if method == "percent":
        check_percent(mean)
        return np.asarray(100 * (bold / mean - 1), dtype=bold.dtype)
    if method != "zscore":
        raise BrainError(f"no scaling {method!r}; {did_you_mean(method, ('zscore', 'percent'))}")
    constant = np.flatnonzero((bold == bold[0]).all(axis=0))
    if len(constant):
        raise BrainError(
            f"{len(constant)} units are constant and have no z-score, the first of them unit {constant[0]}"
        )
    return np.asarray((bold - mean) / bold.std(axis=0, ddof=1, dtype=np.float64), dtype=bold.dtype)


def check_percent(baseline: Floats) -> None:
    """Raise unless the baseline of each unit is positive: otherwise there is no percent signal change.

    Parameters
    ----------
    baseline : ndarray, shape (n_units,)
        Mean signal.

    Raises
    ------
    BrainError
        Naming the number of units without a positive baseline.
    """
    wrong = np.flatnonzero(~(baseline > 0))
    if len(wrong):
        raise BrainError(
            f"{len(wrong)} of {len(baseline)} units have a baseline that is not positive (unit {wrong[0]}: "
            f"{baseline[wrong[0]]:.3g}), so there is no percent signal change: give images that are not centred, or a "
            f"mask without these units"
        )


def check_confounds(confounds: Any, n_volumes: int) -> NDArray[np.float64]:
    """Check confounds.

    Parameters
    ----------
    confounds : array_like, DataFrame or None
        One row per volume.
    n_volumes : int
        Of the run.

    Returns
    -------
    ndarray, shape (n_volumes, n_confounds)
        No column if there are none.

    Raises
    ------
    BrainError
        If there are not as many rows as volumes, or values are not finite numbers; the message names the columns.
    """
    if confounds is None:
        return np.empty((n_volumes, 0))
    names = list(confounds.columns) if isinstance(confounds, pd.DataFrame) else None
    try:
        values = np.asarray(confounds, dtype=np.float64)
    except (TypeError, ValueError) as why:
        raise BrainError(f"confounds must be numbers: {why}") from why
    if values.ndim != 2 or len(values) != n_volumes:
        raise BrainError(f"confounds are of shape {values.shape}, expected one row for each of {n_volumes} volumes")
    bad = np.flatnonzero(~np.isfinite(values).all(axis=0))
    if len(bad):
        which = [names[b] if names else b for b in bad]
        raise BrainError(
            f"the confounds {name_some(which)} are NaN or infinite in some volume; leave them out, or, of a BIDS "
            f'folder where only the first row is n/a, say estimation={{confounds_na="zero"}}'
        )
    return values


def _running_median(series: Floats, repetition_time_s: float, window_s: float) -> Floats:
    from scipy.ndimage import median_filter

    if not window_s > 0 or not repetition_time_s > 0:
        raise BrainError(f"window_s and repetition_time_s must be positive, found {window_s} and {repetition_time_s}")
    size = 2 * round((window_s / repetition_time_s - 1) / 2) + 1
    if size > 2 * len(series):
        raise BrainError(f"the median's window of {window_s:g} s is longer than twice the run of {len(series)} volumes")
    medians = np.empty_like(series)
    # One unit at a time: scipy has a fast algorithm for one dimension only.
    for u in range(series.shape[1]):
        medians[:, u] = median_filter(np.ascontiguousarray(series[:, u]), size=size, mode="reflect")
    return medians


def _check(bold: Floats) -> None:
    if bold.ndim != 2 or bold.dtype.kind != "f" or not np.isfinite(bold).all():
        raise BrainError(
            f"a run must be finite floating point of shape (n_volumes, n_units), found {bold.dtype} of {bold.shape}"
        )
