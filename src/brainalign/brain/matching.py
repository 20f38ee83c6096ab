"""Which component is which: matching across runs, subjects and data sets, and how stable components are."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.brain.checks import check_whole
from brainalign.errors import BrainError, ResponseError, did_you_mean, name_some
from brainalign.responses import Responses, align

if TYPE_CHECKING:
    from brainalign.brain.decomposition import VoxelDecomposition

Array = NDArray[np.float64]
Method = Literal["greedy", "hungarian"]


def assign(similarity: Array, method: Method = "greedy") -> list[tuple[int, int]]:
    """Pair rows with columns of a matrix so that the pairs are similar.

    Parameters
    ----------
    similarity : ndarray, shape (n_rows, n_columns)
        The larger, the more alike.
    method : {"greedy", "hungarian"}
        ``"greedy"`` takes the largest entry among rows and columns that are left, again and again, as the code of
        Norman-Haignere et al. 2015 does; ``"hungarian"`` makes the sum over pairs largest.

    Returns
    -------
    list of (int, int)
        As many pairs as the smaller side has, in the order of rows.

    Raises
    ------
    BrainError
        If the method is unknown or an entry is not finite.
    """
    if not np.isfinite(similarity).all():
        raise BrainError("components can be matched only where all similarities are finite")
    if method == "hungarian":
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(similarity, maximize=True)
        return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True)]
    if method != "greedy":
        raise BrainError(f"no method {method!r}; {did_you_mean(method, ('greedy', 'hungarian'))}")
    left, pairs = np.array(similarity, dtype=np.float64), []
    for _ in range(min(left.shape)):
        row, column = (int(i) for i in np.unravel_index(np.argmax(left), left.shape))
        pairs.append((row, column))
        left[row], left[:, column] = -np.inf, -np.inf
    return sorted(pairs)


def match_components(
    first: Responses, second: Responses, *, method: Method = "greedy", signed: bool = True
) -> pd.DataFrame:
    """Match components of two analyses by the correlation of their profiles over the same stimuli.

    Parameters
    ----------
    first, second : Responses, dims (stimulus, unit)
        Profiles, units being components; matched by stimulus id, whatever the order.
    method : {"greedy", "hungarian"}
        As in :func:`assign`.
    signed : bool
        Whether a component may not be matched with the negative of another, as in the published code. With False the
        largest absolute correlations are matched.

    Returns
    -------
    DataFrame
        One row for each pair, in the order of `first`: ``first``, ``second`` (unit ids), ``r`` (with its sign). If one
        side has more components, those that are left have no row.

    Raises
    ------
    BrainError
        If a profile is constant, there are repetitions, or the method is unknown.
    ResponseError
        If the stimuli differ; choose the common ones with :func:`~brainalign.responses.select_stimuli`.
    """
    first, second = align(first, second)
    for profiles in (first, second):
        if profiles.dims != ("stimulus", "unit"):
            raise BrainError(f"profiles have dims {profiles.dims}, expected ('stimulus', 'unit'); average repetitions")
        flat = profiles["unit"].values[np.ptp(profiles.values, axis=0) == 0]
        if len(flat):
            raise BrainError(f"the profiles of {name_some(flat)} are constant: they correlate with nothing")
    r = correlations(first.values, second.values)
    pairs = assign(r if signed else np.abs(r), method)
    return pd.DataFrame(
        {
            "first": [str(first["unit"].values[i]) for i, _ in pairs],
            "second": [str(second["unit"].values[j]) for _, j in pairs],
            "r": [float(r[pair]) for pair in pairs],
        }
    )


def correlations(first: Array, second: Array) -> Array:
    """Return Pearson correlations of the columns of two matrices, shape (n_first, n_second)."""
    a, b = (m - m.mean(axis=0) for m in (first, second))
    r: Array = (a / np.linalg.norm(a, axis=0)).T @ (b / np.linalg.norm(b, axis=0))
    return r


def component_stability(
    decomposition: VoxelDecomposition,
    responses: Responses,
    *,
    resample: Literal["voxels", "subjects"] = "voxels",
    n_resamples: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """Decompose parts of the voxels anew and match what comes out with the components of all voxels.

    Parameters
    ----------
    decomposition : VoxelDecomposition
        Fitted to `responses`; it is left as it is, and its settings are used for the parts.
    responses : Responses
        Of the voxels.
    resample : {"voxels", "subjects"}
        ``"voxels"`` takes a random half of the voxels each time; a bootstrap would take voxels twice, and such ties
        look like structure to a histogram. Neighbouring voxels are alike, so halves agree better than other people
        would. ``"subjects"`` leaves each subject (coordinate ``subject`` along unit) out once.
    n_resamples : int
        How many halves are drawn.
    seed : int
        Of the halves.

    Returns
    -------
    DataFrame
        ``resample`` (number of the half, or the subject left out), ``component``, ``r`` with the component of all
        voxels (signed, Hungarian), ``n`` and ``n_of``: the voxels of the part.

    Raises
    ------
    BrainError
        If the decomposition has not been fitted, `responses` are not of its stimuli and voxels, subjects are asked for
        and there are not two of them, or a part cannot be decomposed.
    """
    if not hasattr(decomposition, "profiles_"):
        raise BrainError("the decomposition has not been fitted; call fit(responses) first")
    profiles, units = decomposition.profiles_, decomposition.weights_["unit"].values
    if responses["unit"].values.tolist() != units.tolist():
        raise BrainError("stability needs the responses to which the decomposition was fitted: the units differ")
    parts: dict[str, NDArray[np.intp]] = {}
    if resample == "subjects":
        if "subject" not in responses.coords or len(set(responses["subject"].values.tolist())) < 2:
            raise BrainError("leaving subjects out needs the coordinate 'subject' along unit with at least 2 subjects")
        subject = responses["subject"].values
        parts = {str(s): np.flatnonzero(subject != s) for s in dict.fromkeys(subject.tolist())}
    elif resample == "voxels":
        check_whole("n_resamples", n_resamples, 1)
        check_whole("seed", seed, 0)
        rng = np.random.default_rng(seed)
        for i in range(n_resamples):
            parts[str(i)] = np.sort(rng.permutation(len(units))[: (len(units) + 1) // 2])
    else:
        raise BrainError(f"no resample {resample!r}; {did_you_mean(resample, ('voxels', 'subjects'))}")
    tables = []
    for name, part in parts.items():
        again = copy.copy(decomposition).fit(responses.isel(unit=part))
        try:
            matched = match_components(profiles, again.profiles_, method="hungarian")
        except ResponseError as why:
            raise BrainError(f"stability needs the responses to which the decomposition was fitted: {why}") from why
        row = {"resample": name, "component": matched["first"], "r": matched["r"], "n": len(part), "n_of": "voxels"}
        tables.append(pd.DataFrame(row))
    return pd.concat(tables, ignore_index=True)
