"""What all functions here ask of their input."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.errors import MeasureError, did_you_mean, name_some

FloatArray: TypeAlias = NDArray[np.float64]


def finite_array(values: ArrayLike, name: str) -> FloatArray:
    """Return the values as floats, or raise if one is NaN or infinite."""
    array = np.asarray(values, dtype=np.float64)
    n_bad = int(np.count_nonzero(~np.isfinite(array)))
    if n_bad:
        raise MeasureError(
            f"{n_bad} of {array.size} values of {name} are NaN or infinite; find out why, or leave them out by name"
        )
    return array


def finite_samples(values: ArrayLike, name: str, axis: int, least: int = 1) -> FloatArray:
    """Return finite values with the observations on the last axis, at least `least` of them."""
    array = finite_array(values, name)
    if not -array.ndim <= axis < array.ndim:
        raise MeasureError(f"{name} has shape {array.shape} and no axis {axis}")
    array = np.moveaxis(array, axis, -1)
    if array.shape[-1] < least:
        raise MeasureError(f"{name} has {array.shape[-1]} observations, at least {least} needed")
    return array


def finite_pair(x: ArrayLike, y: ArrayLike, axis: int, least: int = 1) -> tuple[FloatArray, FloatArray]:
    """Return two finite samples of the same units, the observations on the last axis."""
    x, y = finite_samples(x, "x", axis, least), finite_samples(y, "y", axis, least)
    if x.shape[:-1] != y.shape[:-1]:
        raise MeasureError(
            f"x and y hold different units: shapes {x.shape[:-1]} and {y.shape[:-1]} without the axis of observations"
        )
    return x, y


def plain(values: ArrayLike) -> float | FloatArray:
    """Return a float for a single value, else the array."""
    array = np.asarray(values, dtype=np.float64)
    return float(array) if array.ndim == 0 else array


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise if an option has a value that is not among the choices."""
    if value not in choices:
        raise MeasureError(f"no {name} {value!r}; {did_you_mean(value, choices)}")


def check_level(level: float) -> None:
    """Raise if a confidence level is not between 0 and 1."""
    if not 0 < level < 1:
        raise MeasureError(f"the confidence level is {level}, expected between 0 and 1, as 0.95")


def strata_members(n: int, strata: ArrayLike | None) -> list[NDArray[np.intp]]:
    """Return the positions of each stratum; one stratum of all if there are no labels."""
    if strata is None:
        return [np.arange(n)]
    labels: NDArray[Any] = np.asarray(strata)
    if labels.shape != (n,):
        raise MeasureError(f"strata has shape {labels.shape}, expected one label for each of {n}")
    names, inverse = np.unique(labels, return_inverse=True)
    members = [np.flatnonzero(inverse == i) for i in range(len(names))]
    single = [str(name) for name, m in zip(names, members, strict=True) if len(m) < 2]
    if single:
        raise MeasureError(f"the strata {name_some(single)} have a single member, which cannot be resampled")
    return members
