"""How reliable the units of a brain are, and the choice of reliable ones on data that later scores do not use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainalign.brain.data import BrainData
from brainalign.errors import BrainError, did_you_mean, name_some
from brainalign.responses import Responses, select_stimuli
from brainalign.stats.ceilings import (
    ncsnr,
    ncsnr_reliability,
    pairwise_correlations,
    spearman_brown,
    split_half_reliability,
)

Array = NDArray[np.float64]
Criterion = Literal["split-half", "nh2015", "ncsnr", "noise-ceiling"]
#: Positions of the repetitions of two halves.
Halves = tuple[Sequence[int], Sequence[int]]


def nh2015_reliability(first: ArrayLike, second: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Return the reliability of Norman-Haignere et al. 2015, which also counts what sounds have in common.

    Parameters
    ----------
    first, second : array_like, shape (n_stimuli, n_units)
        Two measurements, v1 and v2, as responses relative to silence: they are not centred.
    weights : array_like, shape (..., n_stimuli), optional
        How often each stimulus counts, for a bootstrap.

    Returns
    -------
    ndarray, shape (..., n_units)
        1 - ||v1 - proj_{v2} v1|| / ||v1||, with the projection (v1 . v2 / ||v2||^2) v2: the same for v2 and v1. 1 for
        proportional measurements, 0 for orthogonal ones, never negative, and above 0 for noise: 1 - sqrt(1 - c^2) with
        c the cosine between v1 and v2, hence blind to its sign. NaN where a measurement is 0 throughout.

    Raises
    ------
    BrainError
        If the shapes differ.

    References
    ----------
    Norman-Haignere, S., Kanwisher, N. G. & McDermott, J. H. (2015). Distinct cortical pathways for music and speech
    revealed by hypothesis-free voxel decomposition. Neuron 88, 1281-1296; there, voxels of at least 0.3 were analysed.
    """
    v1, v2 = (np.asarray(v, dtype=np.float64) for v in (first, second))
    if v1.shape != v2.shape or v1.ndim != 2:
        raise BrainError(f"two measurements must both be (stimulus, unit), found shapes {v1.shape} and {v2.shape}")
    w = np.ones(len(v1)) if weights is None else np.asarray(weights, dtype=np.float64)
    squares = (w @ v1**2) * (w @ v2**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        aligned = np.where(squares > 0, (w @ (v1 * v2)) ** 2 / squares, np.nan)
    return np.asarray(1 - np.sqrt(np.clip(1 - aligned, 0, None)))


def unit_reliability(
    responses: Responses, *, halves: Halves | None = None, max_splits: int = 100, seed: int = 0
) -> xr.Dataset:
    """Say how reliable each unit is.

    Parameters
    ----------
    responses : Responses
        Dims ``(repetition, stimulus, unit)``.
    halves : (sequence of int, sequence of int), optional
        Positions of the repetitions of two halves, of equal number. Otherwise ``split_half`` is the mean over all ways
        to halve the repetitions, and ``nh2015`` takes the mean of all but the last scan against the last, as published
        for two and for three scans.
    max_splits : int
        At most so many ways to halve, drawn at random if there are more.
    seed : int
        Of those draws.

    Returns
    -------
    Dataset
        Along ``unit``: ``split_half``, the correlation of halves, brought by Spearman-Brown to the mean over the
        repetitions that were used; ``nh2015`` (:func:`nh2015_reliability`), not stepped up; ``ncsnr``, signal by noise
        of one repetition; ``noise_ceiling``, the share of variance of the mean over repetitions that is signal. The
        last two, after Allen et al. 2022, always use all repetitions; a level that a whole repetition has is neither
        signal nor noise (:func:`~brainalign.stats.ceilings.ncsnr`).

    Raises
    ------
    BrainError
        If there are no repetitions, or the halves are not two of equal size that share none.
    """
    runs = _runs(responses)
    if halves is None:
        split = split_half_reliability(runs, max_splits=max_splits, seed=seed)
        first, second = runs[:-1].mean(axis=0), runs[-1]
    else:
        first, second = _means(runs, halves)
        correlation = pairwise_correlations(np.stack([first, second]))[0]
        split = np.atleast_1d(spearman_brown(correlation, 2))
    ratio = ncsnr(runs)
    found = {
        "split_half": split,
        "nh2015": nh2015_reliability(first, second),
        "ncsnr": ratio,
        "noise_ceiling": np.atleast_1d(ncsnr_reliability(ratio, len(runs))),
    }
    along = {name: c for name, c in responses.coords.items() if c.dims == ("unit",)}
    return xr.Dataset({name: ("unit", values) for name, values in found.items()}, coords=along)


def sound_over_silence(responses: Responses, silence: Responses) -> xr.DataArray:
    """Test for each unit whether it responds more to sounds than to silence.

    Parameters
    ----------
    responses : Responses
        To sounds; every repetition of every stimulus counts as one observation.
    silence : Responses
        Of the same units in blocks without sound, on the same scale; ``stimulus`` names the blocks.

    Returns
    -------
    DataArray
        Along ``unit``: one-sided p of Welch's t test. Norman-Haignere et al. 2015 kept voxels with p < .001,
        uncorrected.

    Raises
    ------
    BrainError
        If a unit has no responses to silence, or there are fewer than two blocks.
    """
    from scipy.stats import ttest_ind

    missing = responses.indexes["unit"].difference(silence.indexes["unit"], sort=False)
    if len(missing):
        raise BrainError(f"there is no silence for {len(missing)} units: {name_some(missing)}")
    n_units = responses.sizes["unit"]
    sounds = responses.values.reshape(-1, n_units)
    blocks = silence.sel(unit=responses["unit"]).values.reshape(-1, n_units)
    if len(blocks) < 2:
        raise BrainError(f"a comparison with silence needs at least 2 blocks of it, found {len(blocks)}")
    p = ttest_ind(sounds, blocks, equal_var=False, alternative="greater").pvalue
    return xr.DataArray(p, {"unit": responses["unit"].values}, ("unit",))


def select_reliable(
    brain: BrainData,
    minimum: float,
    *,
    criterion: Criterion = "split-half",
    repetitions: Sequence[int] | None = None,
    stimuli: Sequence[str] | None = None,
) -> BrainData:
    """Keep the units that are reliable, chosen on data that later scores do not use.

    Parameters
    ----------
    brain : BrainData
        With repetitions.
    minimum : float
        Least value of the criterion.
    criterion : {'split-half', 'nh2015', 'ncsnr', 'noise-ceiling'}
        See :func:`unit_reliability`. ``"nh2015"`` of noise is above 0.
    repetitions : sequence of int, optional
        Positions of at least two repetitions that choose; the others are returned.
    stimuli : sequence of str, optional
        Ids of stimuli that choose; the others are returned.

    Returns
    -------
    BrainData
        The reliable units, without the repetitions and stimuli that chose them. The attributes ``selected_by``,
        ``selected_from`` and ``selected_on`` of the responses record the choice. If neither is given all data choose
        and all are returned: scores then profit from noise that the choice has picked, and a warning says so.

    Raises
    ------
    BrainError
        If there are no repetitions, too few are left, or no unit is reliable enough.
    """
    responses = brain.responses
    if criterion not in get_args(Criterion):
        raise BrainError(f"no criterion {criterion!r}; {did_you_mean(criterion, get_args(Criterion))}")
    chosen, kept = responses, responses
    if repetitions is not None:
        n = _runs(responses).shape[0]
        if len(set(repetitions)) < len(repetitions) or not set(repetitions) < set(range(n)):
            raise BrainError(f"repetitions {list(repetitions)} must be some, not all, of 0 to {n - 1}, each once")
        chosen = chosen.isel(repetition=list(repetitions))
        kept = kept.isel(repetition=[i for i in range(n) if i not in repetitions])
    if stimuli is not None:
        chosen = select_stimuli(chosen, stimuli)
        rest = [str(s) for s in responses["stimulus"].values if s not in set(stimuli)]
        if not rest:
            raise BrainError("all stimuli choose the units, so none is left to score on")
        kept = select_stimuli(kept, rest)
    values = unit_reliability(chosen)[criterion.replace("-", "_")].values
    reliable = values >= minimum
    if not reliable.any():
        raise BrainError(
            f"no unit of {brain.name} has {criterion} of at least {minimum}; the highest is {np.nanmax(values):.3g}"
        )
    apart = repetitions is not None or stimuli is not None
    rule = f"{criterion} >= {minimum} in {chosen.sizes['repetition']} repetitions of {chosen.sizes['stimulus']} stimuli"
    attrs = {
        "selected_by": rule,
        "selected_from": f"{int(reliable.sum())} of {len(reliable)} units",
        "selected_on": "data that are not returned" if apart else "the same data",
    }
    warning = f"units were chosen by {rule}, on the same data that are scored: scores are too high"
    return replace(
        brain,
        responses=kept.isel(unit=reliable).assign_attrs(attrs),
        arrays={n: a.isel(unit=reliable) if _along_units(a, responses) else a for n, a in brain.arrays.items()},
        warnings=brain.warnings if apart else (*brain.warnings, warning),
    )


def _along_units(array: xr.DataArray, responses: Responses) -> bool:
    return "unit" in array.indexes and array.indexes["unit"].equals(responses.indexes["unit"])


def _runs(responses: Responses) -> Array:
    if "repetition" not in responses.dims or responses.sizes["repetition"] < 2:
        raise BrainError(
            f"{responses.attrs.get('source', 'the responses')} have no repetitions, so their reliability is unknown"
        )
    return np.asarray(responses.values, dtype=np.float64)


def _means(runs: Array, halves: Halves) -> tuple[Array, Array]:
    one, other = (list(h) for h in halves)
    used = [*one, *other]
    if not one or len(one) != len(other) or len(set(used)) < len(used) or not set(used) <= set(range(len(runs))):
        raise BrainError(
            f"halves {one} and {other} must be equally many of the repetitions 0 to {len(runs) - 1}, each once"
        )
    return runs[one].mean(axis=0), runs[other].mean(axis=0)
