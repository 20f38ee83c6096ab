"""How many components? Held-out responses predicted from each number of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainalign.brain.checks import check_whole
from brainalign.brain.decomposition import check_voxels
from brainalign.errors import BrainError, did_you_mean
from brainalign.responses import Responses
from brainalign.stats import bootstrap_interval

Array = NDArray[np.float64]


def cross_validate_n_components(
    responses: Responses | ArrayLike,
    candidates: Sequence[int] = tuple(range(1, 11)),
    *,
    method: Literal["sounds", "repetitions"] = "sounds",
    n_folds: int = 5,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Predict data that were held out from each number of components.

    A rotation of components predicts the same, so the principal components decide and no search is needed.

    Parameters
    ----------
    responses : Responses or array_like, shape (n_stimuli, n_units)
        Of voxels.
    candidates : sequence of int
        Numbers of components, rising.
    method : {"sounds", "repetitions"}
        ``"sounds"``: the responses of held-out voxels to held-out sounds (bi-cross-validation, Owen & Perry 2009).
        Components come from other voxels, weights from the other sounds. Voxels are held out by subject if there is the
        coordinate ``subject`` with two subjects or more, which keeps noise that neighbours share out of the training
        data; else at random. ``"repetitions"``: each repetition from the mean of the others, same sounds and voxels.
    n_folds : int
        Folds of sounds, and of voxels where they are held out at random.
    n_resamples : int
        Bootstrap samples over sounds.
    level : float
        Of the intervals.
    seed : int
        Of folds and bootstrap.

    Returns
    -------
    DataFrame
        One row for each candidate: ``variance_explained`` with ``ci_low`` and ``ci_high`` (share of the variance of the
        held-out data about the mean over voxels, 1 minus summed squared errors over summed squares; negative where the
        mean predicts better), ``noise_corrected`` (the same over what repetitions share; NaN without repetitions, or if
        they share nothing), ``gain`` over the candidate before with its interval, ``best``, ``method``, ``n`` and
        ``n_of``. Intervals are percentiles over resampled sounds, the folds being given.

    Raises
    ------
    BrainError
        If candidates are too many for a fold, repetitions are lacking, or for what :meth:`VoxelDecomposition.fit`
        finds.
    """
    check_whole("seed", seed, 0)
    mean = check_voxels(responses)
    counts = np.asarray(candidates)
    if counts.ndim != 1 or not len(counts) or counts.dtype.kind not in "iu" or (np.diff(counts, prepend=0) < 1).any():
        raise BrainError(
            f"candidates must be whole numbers of at least 1, rising, such as [4, 6, 8], found {candidates!r}"
        )
    repeated = mean.values[np.newaxis]
    if isinstance(responses, xr.DataArray) and "repetition" in responses.dims:
        repeated = responses.values
    rng = np.random.default_rng(seed)
    if method == "repetitions":
        errors, total, shared = _across_repetitions(repeated, counts)
    elif method == "sounds":
        groups = _voxel_folds(mean, n_folds, rng)
        if not 2 <= n_folds <= repeated.shape[1]:
            raise BrainError(f"n_folds must be between 2 and the {repeated.shape[1]} stimuli, found {n_folds}")
        stimulus_folds = np.array_split(rng.permutation(repeated.shape[1]), n_folds)
        errors, total, shared = _across_sounds(repeated, counts, stimulus_folds, groups)
    else:
        raise BrainError(f"no method {method!r}; {did_you_mean(method, ('sounds', 'repetitions'))}")

    def statistic(errors: Array, total: Array, weights: Array) -> Array:
        explained = 1 - (weights @ errors) / (weights @ total)[:, np.newaxis]
        return np.stack([explained, np.diff(explained, axis=1, prepend=0.0)], axis=1)

    interval = bootstrap_interval(
        statistic, errors, total, weighted=True, n_resamples=n_resamples, level=level, method="percentile", seed=rng
    )
    (explained, gain), (low, gain_low), (high, gain_high) = map(
        np.asarray, (interval.estimate, interval.low, interval.high)
    )
    return pd.DataFrame(
        {
            "n_components": counts,
            "variance_explained": explained,
            "ci_low": low,
            "ci_high": high,
            "noise_corrected": (total.sum() - errors.sum(axis=0)) / shared if shared > 0 else np.nan,
            "gain": gain,
            "gain_low": gain_low,
            "gain_high": gain_high,
            "best": np.arange(len(counts)) == np.argmax(explained),
            "method": method,
            "n": repeated.shape[1],
            "n_of": "stimuli",
        }
    )


def _voxel_folds(responses: Responses, n_folds: int, rng: np.random.Generator) -> list[NDArray[np.intp]]:
    if "subject" in responses.coords and len(np.unique(responses["subject"].values)) > 1:
        subject = responses["subject"].values
        return [np.flatnonzero(subject == s) for s in np.unique(subject)]
    return np.array_split(rng.permutation(responses.sizes["unit"]), n_folds)


def _truncations(B: Array, D: Array, C: Array, A: Array, counts: NDArray[np.intp]) -> Array:
    """Return squared errors per sound of A predicted as B pinv(D) C, with D cut to each number of components."""
    U, spread, V = np.linalg.svd(D, full_matrices=False)
    if (spread > spread[0] * max(D.shape) * np.finfo(np.float64).eps).sum() < counts[-1]:
        raise BrainError(
            f"{counts[-1]} components are too many for {D.shape[0]} stimuli and {D.shape[1]} units of a fold"
        )
    left, right = B @ V[: counts[-1]].T / spread[: counts[-1]], U[:, : counts[-1]].T @ C
    errors = np.empty((len(A), len(counts)))
    rest, done = A.copy(), 0
    for i, k in enumerate(counts):
        rest -= left[:, done:k] @ right[done:k]
        errors[:, i], done = (rest**2).sum(axis=1), int(k)
    return errors


def _across_repetitions(repeated: Array, counts: NDArray[np.intp]) -> tuple[Array, Array, float]:
    n = len(repeated)
    if n < 2:
        raise BrainError("predicting repetitions from others needs at least 2; use method='sounds'")
    errors, total, shared = np.zeros((repeated.shape[1], len(counts))), np.zeros(repeated.shape[1]), 0.0
    for test in range(n):
        others = np.delete(repeated, test, axis=0).mean(axis=0)
        centre = others.mean(axis=1, keepdims=True)
        D, A = others - centre, repeated[test] - centre
        errors += _truncations(D, D, D, A, counts)
        total += (A**2).sum(axis=1)
        shared += float((A * D).sum())
    return errors, total, shared


def _across_sounds(
    repeated: Array, counts: NDArray[np.intp], stimuli: list[NDArray[np.intp]], voxels: list[NDArray[np.intp]]
) -> tuple[Array, Array, float]:
    mean, n = repeated.mean(axis=0), len(repeated)
    errors, total, shared = np.zeros((len(mean), len(counts))), np.zeros(len(mean)), 0.0
    for test_voxels in voxels:
        train_voxels = np.setdiff1d(np.arange(mean.shape[1]), test_voxels)
        centre = mean[:, train_voxels].mean(axis=1, keepdims=True)
        train, test = mean[:, train_voxels] - centre, mean[:, test_voxels] - centre
        for sounds in stimuli:
            rest = np.setdiff1d(np.arange(len(mean)), sounds)
            errors[sounds] += _truncations(train[sounds], train[rest], test[rest], test[sounds], counts)
        total += (test**2).sum(axis=1)
        if n > 1:
            # Products of different repetitions hold no noise in expectation.
            squares = ((repeated[:, :, test_voxels] - centre) ** 2).sum()
            shared += float((n**2 * (test**2).sum() - squares) / (n * (n - 1)))
    return errors, total, shared
