"""Quilts as conditions of an experiment: responses by segment length, of voxels, regions or units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.resampling import Count, Level, Resamples, Seed, draw_counts
from brainalign.measures.result import Result, result_table
from brainalign.measures.selective import finite_interval, weighted_r
from brainalign.responses import Responses, average_repetitions, check_responses
from brainalign.stats import permutation_p, permute_labels

Array = NDArray[np.float64]


def quilt_conditions(
    responses: Responses,
    *,
    categories: Sequence[str] | None = None,
    column: str = "category",
    segment_column: str = "segment_ms",
    within: str | None = None,
    n_permutations: Count = 1000,
    n_bootstrap: Resamples = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Measure how responses to quilts that were played grow with the length of their segments.

    Parameters
    ----------
    responses : Responses
        To quilts, and to originals if there are any, of a brain or a model; repetitions are averaged.
    categories : sequence of str, optional
        Kinds of sounds, each taken by itself; all that there are if not given.
    column : str
        Coordinate along stimulus that holds the kind.
    segment_column : str
        Coordinate along stimulus that holds the segment length in ms; NaN or infinite for originals.
    within : str, optional
        Coordinate along stimulus that holds the source of a quilt. If given, lengths are permuted among the quilts of
        one source, and sources are resampled.
    n_permutations : int
        Permutations of the lengths for the p. 0 leaves it empty.
    n_bootstrap : int
        Resamples of sounds for the intervals. 0 leaves them empty.
    level : float
        Coverage of the intervals.
    seed : int
        Seed of permutations and resamples.

    Returns
    -------
    Result
        For each unit (``target``) and kind (``sounds``): statistic ``response`` by ``segment_ms`` (empty for
        originals), the mean over sounds with a BCa interval; and ``log_length_r``, the correlation over quilts of the
        response with the logarithm of the segment length, with its interval and two-sided permutation p.

    Raises
    ------
    MeasureError
        If a coordinate or kind is unknown, a segment length is not positive, or a kind has quilts of fewer than two
        lengths or fewer than three quilts.
    ResponseError
        If values are missing.
    """
    check_responses(responses, allow_constant=True)
    responses = average_repetitions(responses)
    kinds = _along_stimulus(responses, column).astype(str)
    lengths = _along_stimulus(responses, segment_column).astype(np.float64)
    sources = _along_stimulus(responses, "stimulus" if within is None else within).astype(str)
    if (lengths <= 0).any():
        raise MeasureError(f"the coordinate {segment_column!r} holds {lengths.min():g} ms, expected positive lengths")
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for kind in dict.fromkeys(kinds) if categories is None else categories:
        if kind not in kinds:
            raise MeasureError(f"no stimulus has the {column} {kind!r}; {did_you_mean(kind, set(kinds))}")
        of_kind = kinds == kind
        values = np.asarray(responses.values[of_kind], dtype=np.float64)
        sounds = _Sounds(values, lengths[of_kind], sources[of_kind], n_bootstrap, level, rng)
        if len(sounds.quilt_lengths) < 2 or np.isfinite(sounds.lengths).sum() < 3:
            raise MeasureError(
                f"{kind!r} has {np.isfinite(sounds.lengths).sum()} quilts of {len(sounds.quilt_lengths)} segment "
                f"lengths, expected three or more of two or more lengths"
            )
        found = [*sounds.responses(), sounds.growth(n_permutations, shuffle_all=within is None)]
        rows += [
            about | {"sounds": kind} | row
            for of_units in found
            for about, row in zip(_about(responses), of_units, strict=True)
        ]
    return Result(
        measure="quilt-conditions",
        table=result_table(rows),
        settings={
            "column": column,
            "segment_column": segment_column,
            "within": within,
            "n_permutations": n_permutations,
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "test": "two-sided permutation of segment lengths" + (f" within {within}" if within else ""),
            "interval": f"BCa bootstrap over {within or 'sounds'}",
        },
    )


def _along_stimulus(responses: Responses, name: str) -> NDArray[Any]:
    known = [str(c) for c in responses.coords if responses[c].dims == ("stimulus",)]
    if name not in known:
        raise MeasureError(f"stimuli have no coordinate {name!r}; {did_you_mean(name, known)}")
    return np.asarray(responses[name].values)


def _about(responses: Responses) -> list[dict[str, Any]]:
    """Return what the rows of each unit are about."""
    is_model = "layer" in responses.coords
    layers = responses["layer"].values if is_model else [""] * responses.sizes["unit"]
    return [
        {
            "measure": "quilt-conditions",
            "model" if is_model else "brain": responses.attrs.get("source", ""),
            "layer": str(layer),
            "target": str(unit),
        }
        for unit, layer in zip(responses["unit"].values, layers, strict=True)
    ]


@dataclass(frozen=True)
class _Sounds:
    """Responses (sound, unit) to sounds of one kind, their segment lengths and what they were made from."""

    values: Array
    lengths: Array
    sources: NDArray[np.str_]
    n_bootstrap: int
    level: float
    rng: np.random.Generator

    @property
    def quilt_lengths(self) -> Array:
        """Segment lengths, rising."""
        return np.unique(self.lengths[np.isfinite(self.lengths)])

    def responses(self) -> Iterator[list[dict[str, Any]]]:
        """Give for the originals, if there are any, and for each length the mean response of each unit."""
        originals = ~np.isfinite(self.lengths)
        groups = [(np.nan, originals)] if originals.any() else []
        for ms, chosen in [*groups, *((ms, self.lengths == ms) for ms in self.quilt_lengths)]:
            values = self.values[chosen]

            def mean(weights: Array, values: Array = values) -> Array:
                return np.asarray(weights @ values / weights.sum(axis=1, keepdims=True))

            about = {"statistic": "response", "segment_ms": ms}
            yield [about | row for row in self._estimates(mean, chosen)]

    def growth(self, n_permutations: int, *, shuffle_all: bool) -> list[dict[str, Any]]:
        """Return for each unit the correlation of its responses with the logarithm of the segment length."""
        chosen = np.isfinite(self.lengths)
        values, x = self.values[chosen], np.log2(self.lengths[chosen])
        varies = np.ptp(values, axis=0) > 0
        found = iter(self._estimates(lambda weights: weighted_r(x, values[:, varies], weights), chosen))
        strata = None if shuffle_all else self.sources[chosen]
        orders = permute_labels(len(x), n_permutations, self.rng, strata=strata) if n_permutations else None
        rows = []
        for own, varied in zip(values.T, varies, strict=True):
            row: dict[str, Any] = next(found) if varied else {"note": "responds alike to all quilts"}
            if varied and orders is not None:
                null = weighted_r(own, x[orders].T, np.ones((1, len(x))))[0]
                row["p"] = float(permutation_p(row["value"], null, alternative="two-sided"))
            rows.append({"statistic": "log_length_r"} | row)
        return rows

    def _estimates(self, statistic: Callable[[Array], Array], chosen: NDArray[np.bool_]) -> list[dict[str, Any]]:
        """Return value and interval of statistics of some sounds, resampled by source."""
        names, of_source = np.unique(self.sources[chosen], return_inverse=True)
        enough = self.n_bootstrap if len(names) > 1 else 0
        counts = draw_counts(len(names), enough, self.rng)
        value = statistic(np.ones((1, len(of_source))))[0]
        low, high, notes = finite_interval(value, counts, lambda w: statistic(w[:, of_source]), self.level, None)
        return [
            {"value": v, "ci_low": a, "ci_high": b, "note": note, "n": int(chosen.sum()), "n_of": "stimuli"}
            for v, a, b, note in zip(value, low, high, notes, strict=True)
        ]
