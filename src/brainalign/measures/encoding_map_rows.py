"""Rows of the table of encoding maps: scores, shares, overlaps and unique variance, by subject and region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign.measures.decoding_plan import Plan
from brainalign.measures.decoding_rows import ALL_SUBJECTS
from brainalign.measures.encoding_map_parts import RESAMPLES, ClipRows, ClipSums, Null, UniqueErrors
from brainalign.measures.feature_spaces import FeatureSpace, Members
from brainalign.measures.voxel_fits import Groups
from brainalign.stats import hierarchical_bootstrap, permutation_p

Array = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Study:
    """What all fits share."""

    spaces: list[FeatureSpace]
    plan: Plan
    tested: ClipRows
    groups: Groups
    #: All sets of spaces, for unique variance; none without.
    sets: list[Members]

    @property
    def subjects(self) -> list[str]:
        """Names of the subjects."""
        return [name or "all" for name in self.groups.subjects]

    def units(self, subject: int) -> Index:
        """Return the positions of the units of a subject."""
        return self.groups.members[subject, 0]

    def indicator(self, subject: int) -> Array:
        """Return which units of a subject belong to which target, (n_units, n_targets)."""
        units = self.units(subject)
        result = np.zeros((len(units), len(self.groups.targets)))
        for (s, t), own in self.groups.members.items():
            if s == subject:
                result[np.searchsorted(units, own), t] = 1
        return result


@dataclass(frozen=True)
class Fitted:
    """Scores of all units, (n_spaces, n_units), sums from which resamples follow, and permuted means."""

    r: Array
    #: By the null that was asked for, and by the published one.
    p: tuple[Array, Array]
    #: By space and subject.
    sums: list[list[ClipSums]]
    #: By subject.
    errors: list[UniqueErrors]
    #: Mean correlations under permutation, (n_permutations, n_spaces, n_subjects, n_targets).
    permuted: Array
    at_edge: float


def score_rows(study: Study, fitted: Fitted, n_bootstrap: int, level: float, seed: int) -> list[dict[str, Any]]:
    """Return the rows of r: of all subjects by target, and of each subject for all units."""
    # Medians have no interval: noise that resampled clips add moves the median over voxels of which few are predicted.
    n_subjects, rows = len(study.subjects), []
    indicators = [study.indicator(s) for s in range(n_subjects)]
    for k, space in enumerate(study.spaces):

        def means(weights: Array, s: int, k: int = k) -> Array:
            return _means(fitted.sums[k][s].correlations(weights), indicators[s])

        values = means_by_subject(study, fitted.r[k])
        medians = np.array([np.median(fitted.r[k, study.units(s)]) for s in range(n_subjects)])
        about = {"model": space.model, "layer": space.layer}
        everyone = [None, *range(n_subjects)]
        rows += [about | {"statistic": "r_median", **_value_row(study, medians, 0, s)} for s in everyone]
        summary = _Summary(study, values, means, n_bootstrap, level, seed)
        for t in range(len(study.groups.targets)):
            null = fitted.permuted[:, k, :, t]
            for s in everyone if t == 0 else [None]:
                row = about | {"statistic": "r_mean", **summary.row(t, t, s)}
                if len(null):
                    row["p"] = float(permutation_p(row["value"], np.nanmean(null, axis=1) if s is None else null[:, s]))
                rows.append(row)
    return rows


def _means(values: Array, indicator: Array) -> Array:
    """Return means over the units of each target, (m, n_units) -> (m, n_targets); NaN where there are none."""
    n = indicator.sum(axis=0)
    return np.asarray(np.where(n > 0, values @ indicator / np.maximum(n, 1), np.nan))


class _Summary:
    """Means over subjects and values of subjects, with their intervals.

    `values` are (n_subjects, n_estimates), NaN where a subject has no such units; `resampled` gives the same for
    weights of clips, one subject at a time: (m, n_clips), subject -> (m, n_estimates).
    """

    def __init__(self, study: Study, values: Array, resampled: Any, n_bootstrap: int, level: float, seed: int) -> None:
        self._study, self._values = study, values
        n_subjects = len(values)

        def by_subject(weights: Array, subjects: Sequence[int]) -> Array:
            chunks = [weights[i : i + RESAMPLES] for i in range(0, len(weights), RESAMPLES)]
            return np.concatenate([np.stack([resampled(w, s) for s in subjects], axis=1) for w in chunks])

        self._limits = {}
        for who in [None, *range(n_subjects)] if n_bootstrap else []:
            subjects = range(n_subjects) if who is None else [who]
            # A region that the subject lacks has no interval.
            there = ~np.isnan(values[list(subjects)]).all(axis=0)
            drawn = hierarchical_bootstrap(
                lambda w, subjects=subjects, there=there: by_subject(w, subjects)[:, :, there],  # type: ignore[misc]
                len(study.tested.clips),
                n_bootstrap,
                np.random.default_rng([seed, 1]),
                level=level,
            )
            low, high = np.full((2, values.shape[1]), np.nan)
            low[there], high[there] = drawn.low, drawn.high
            self._limits[who] = low, high

    def row(self, column: int, target: int, subject: int | None) -> dict[str, Any]:
        """Return the row of an estimate, of a subject or of all."""
        low, high = self._limits.get(subject, (np.full(self._values.shape[1], np.nan),) * 2)
        return {**_value_row(self._study, self._values[:, column], target, subject), "ci_low": low[column],
                "ci_high": high[column]}  # fmt: skip


def _value_row(study: Study, values: Array, target: int, subject: int | None) -> dict[str, Any]:
    """Return what a row says of values (n_subjects,), of a subject or of the mean over those who have one."""
    groups = study.groups
    row: dict[str, Any] = {"target": groups.targets[target]}
    if subject is not None:
        n_units = len(groups.members.get((subject, target), ()))
        return row | {"subject": study.subjects[subject], "value": values[subject], "effect_size": values[subject],
                      "n": len(study.tested.clips), "n_of": "clips", "n_units": n_units}  # fmt: skip
    present = values[~np.isnan(values)]
    sd = present.std(ddof=1) if len(present) > 1 else np.nan
    mean = present.mean() if len(present) else np.nan
    n_units = sum(len(units) for (_, t), units in groups.members.items() if t == target)
    note = "one subject: the interval is over clips alone" if len(present) == 1 else ""
    return row | {"subject": ALL_SUBJECTS, "value": mean, "effect_size": mean, "sd": sd, "n": len(present),
                  "n_of": "subjects", "n_units": n_units, "note": note}  # fmt: skip


def share_rows(
    study: Study,
    fitted: Fitted,
    significant: tuple[Array, NDArray[np.bool_], NDArray[np.bool_]],
    null: Null,
    q: float,
) -> list[dict[str, Any]]:
    """Return which share of the units is significant, by the null that was asked for and by the published one."""
    by_null = {null: significant[1]} | ({"gaussian": significant[2]} if null != "gaussian" else {})
    rows = []
    for k, space in enumerate(study.spaces):
        for name, found in by_null.items():
            shares = means_by_subject(study, found[k].astype(float))
            # The published null stands beside the other for all units alone.
            for t in range(len(study.groups.targets) if name == null else 1):
                for s in [None, *range(len(study.subjects))] if t == 0 else [None]:
                    about = {"model": space.model, "layer": space.layer, "statistic": "share_significant"}
                    rows.append(about | {"null": name, **_value_row(study, shares[:, t], t, s)})
    for row in rows:
        row["note"] = f"FDR {q:g} over the units of a subject"
    return rows


def means_by_subject(study: Study, values: Array) -> Array:
    """Return means over units, (n_units,) -> (n_subjects, n_targets)."""
    return np.stack(
        [_means(values[study.units(s)][None], study.indicator(s))[0] for s in range(len(study.groups.subjects))]
    )


def overlap_rows(study: Study, significant: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return how far the sets of significant units of two spaces are the same."""
    rows = []
    for a, b in combinations(range(len(study.spaces)), 2):
        names = study.spaces[a].name, study.spaces[b].name
        first, second = (np.stack([significant[k, study.units(s)].mean() for s in range(len(study.subjects))])
                         for k in (a, b))  # fmt: skip
        both = np.array([(significant[a] & significant[b])[study.units(s)].mean() for s in range(len(study.subjects))])
        expected = first * second
        for name, statistic, share, whole, chance in (
            (f"{names[0]} & {names[1]}", "jaccard", both, first + second - both,
             _ratio(expected, first + second - expected)),
            (f"{names[0]} in {names[1]}", "share_shared", both, first, second),
            (f"{names[1]} in {names[0]}", "share_shared", both, second, first),
        ):  # fmt: skip
            values = _ratio(share, whole)
            for s in [None, *range(len(study.subjects))]:
                row = {"model": name, "statistic": statistic, **_value_row(study, values, 0, s)}
                own = chance[~np.isnan(values)] if s is None else chance[[s]]
                row["chance"] = own.mean() if len(own) and not np.isnan(row["value"]) else np.nan
                row["effect_size"] = row["value"] - row["chance"]
                row["note"] = "no significant unit" if np.isnan(row["value"]) else ""
                rows.append(row)
    return rows


def _ratio(part: Array, whole: Array) -> Array:
    return np.asarray(np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan))


def unique_rows(study: Study, fitted: Fitted, n_bootstrap: int, level: float, seed: int) -> list[dict[str, Any]]:
    """Return the rows of R2 of all spaces together, and of what each adds to the others."""
    if not study.sets:
        return []
    n_targets, n_subjects = len(study.groups.targets), len(study.subjects)
    indicators = [study.indicator(s) for s in range(n_subjects)]

    def parts(weights: Array, s: int) -> Array:
        return _means(fitted.errors[s].r2(weights), indicators[s]).reshape(len(weights), -1)

    values = np.stack([parts(np.ones((1, len(study.tested.clips))), s)[0] for s in range(n_subjects)])
    summary = _Summary(study, values, parts, n_bootstrap, level, seed)
    joined = " + ".join(space.name for space in study.spaces)
    rows = []
    for k, space in enumerate([None, *study.spaces]):
        about = {"statistic": "R2", "model": joined}
        if space is not None:
            about = {"statistic": "unique", "model": space.model, "layer": space.layer}
        for t in range(n_targets):
            for s in [None, *range(n_subjects)] if t == 0 else [None]:
                row = {**about, **summary.row(k * n_targets + t, t, s)}
                if row["value"] < 0:
                    row["note"] = "negative: worse than the training mean" if space is None else (
                        "negative: on new clips the space costs more than it adds")  # fmt: skip
                rows.append(row)
    return rows
