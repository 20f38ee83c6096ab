"""Rows of the table of decoding: scores of each subject and their mean, with intervals, p and chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign.measures.decoding_scores import (
    Ranks,
    correlation_table,
    cosines,
    permuted_means,
    rank_candidates,
    top_k_table,
    weighted_correlation,
    weighted_identification,
)
from brainalign.measures.resampling import NO_BCA, interval
from brainalign.stats import hierarchical_bootstrap, permutation_p

Array = NDArray[np.float64]

#: The target of the mean over subjects.
ALL_SUBJECTS = "all subjects"
#: Resamples of fewer clips say little: of two, the interval may have no width.
LEAST_FOR_INTERVAL = 5
TOO_FEW = f"fewer than {LEAST_FOR_INTERVAL} clips: no interval"
#: How often the clips that are scored were fitted.
TEST, LEFT_OUT, FITTED = "test", "training, left out", "training, fitted"


@dataclass(frozen=True)
class Draws:
    """What all scores share.

    Attributes
    ----------
    orders : ndarray of int, shape (n_permutations, n_clips)
        Permutations of the clips within what competes.
    counts : ndarray of int, shape (n_bootstrap, n_clips)
        Bootstrap samples of clips.
    level : float
        Coverage of the interval.
    seed : int
        Of the bootstrap over subjects and clips.
    """

    orders: NDArray[np.intp]
    counts: NDArray[np.int64]
    level: float
    seed: int


@dataclass(frozen=True)
class Scored:
    """One statistic of one layer, for all subjects.

    Attributes
    ----------
    name : str
        The statistic.
    tables : list of ndarray, each of shape (n_clips, n_clips)
        Of each subject; see :mod:`brainalign.measures.decoding_scores`.
    weighted : list of callable
        Of each subject: weights of clips (n_resamples, n_clips) to values (n_resamples,).
    chance : float
        NaN where permutations must tell.
    about : dict
        Further columns.
    """

    name: str
    tables: list[Array]
    weighted: list[Callable[[Array], Array]]
    chance: float
    about: dict[str, Any]


def score_clips(
    predicted: Sequence[Array],
    targets: Array,
    groups: NDArray[np.generic],
    ways: Sequence[tuple[int | None, int]] = (),
) -> tuple[list[Scored], list[Ranks]]:
    """Score the predictions of all subjects for test clips.

    Parameters
    ----------
    predicted : sequence of ndarray, each of shape (n_clips, n_dimensions)
        Of each subject.
    targets : ndarray, shape (n_clips, n_dimensions)
        The true embeddings.
    groups : ndarray, shape (n_clips,)
        Clips of one label compete.
    ways : sequence of (n_way, k)
        Which top-k accuracies.

    Returns
    -------
    scored : list of Scored
        Identification accuracy first.
    ranks : list of Ranks
        Of each subject.
    """
    ranks = [rank_candidates(p, targets, groups) for p in predicted]
    scored = [
        Scored(
            "identification_accuracy",
            [r.shares for r in ranks],
            [lambda w, r=r: weighted_identification(r, w) for r in ranks],  # type: ignore[misc]
            0.5,
            {"n_candidates": int(ranks[0].candidates.sum(axis=1).min()) + 1},
        ),
        Scored(
            "correlation",
            [correlation_table(p, targets, groups) for p in predicted],
            [lambda w, p=p: weighted_correlation(p, targets, w, groups) for p in predicted],  # type: ignore[misc]
            0.0,
            {},
        ),
        _of_single_clips("cosine", [cosines(p, targets) for p in predicted], np.nan, {}),
    ]
    for n_way, k in ways:
        way = int(ranks[0].candidates.sum(axis=1).min()) + 1 if n_way is None else n_way
        tables = [top_k_table(r, way, k) for r in ranks]
        scored.append(_of_single_clips(f"top_{k}_of_{way}", tables, k / way, {"n_candidates": way}))
    return scored, ranks


def rows_of(scored: Scored, subjects: Sequence[str], draws: Draws) -> list[dict[str, Any]]:
    """Return the row of the mean over subjects, and those of the subjects.

    Parameters
    ----------
    scored : Scored
        A statistic.
    subjects : sequence of str
        Their names.
    draws : Draws
        Permutations and bootstrap samples.

    Returns
    -------
    list of dict
        ``all subjects`` first.
    """
    n_clips = len(scored.tables[0])
    values = np.array([np.diagonal(t).mean() for t in scored.tables])
    null = np.stack([permuted_means(t, draws.orders) for t in scored.tables], axis=1)
    chance = float(null.mean()) if np.isnan(scored.chance) and len(null) else scored.chance
    about = {"statistic": scored.name, "evaluated": TEST, "category": "", "chance": chance, **scored.about}

    def by_subject(weights: Array) -> Array:
        return np.stack([f(weights) for f in scored.weighted], axis=1)

    rows = [about | _mean_row(values, null, by_subject, n_clips, chance, draws)]
    counts = draws.counts if n_clips >= LEAST_FOR_INTERVAL else draws.counts[:0]
    low, high, notes = interval(values, counts, by_subject, draws.level)
    if len(counts) < len(draws.counts):
        notes = [TOO_FEW] * len(subjects)
    for s, subject in enumerate(subjects):
        rows.append(
            about
            | {
                "target": subject,
                "value": values[s],
                "ci_low": low[s],
                "ci_high": high[s],
                "p": _p(values[s], null[:, s]),
                "effect_size": values[s] - chance,
                "n": n_clips,
                "n_of": "clips",
                "n_clips": n_clips,
                "note": notes[s],
            }
        )
    return rows


def category_rows(scored: Scored, categories: NDArray[np.str_], draws: Draws) -> list[dict[str, Any]]:
    """Return, for the clips of each category, the mean over subjects; they are ranked among all candidates.

    Categories of fewer than 5 clips have no interval.

    Parameters
    ----------
    scored : Scored
        A statistic.
    categories : ndarray of str, shape (n_clips,)
        Of each clip.
    draws : Draws
        Permutations, and how many bootstrap samples.

    Returns
    -------
    list of dict
        One for each category.
    """
    rows = []
    for name in np.unique(categories):
        own = categories == name
        each = np.stack([np.diagonal(t)[own] for t in scored.tables])
        null = np.stack([permuted_means(t, draws.orders, own) for t in scored.tables], axis=1)

        def by_subject(weights: Array, each: Array = each) -> Array:
            return np.asarray(weights @ each.T / weights.sum(axis=1, keepdims=True))

        row = _mean_row(each.mean(axis=1), null, by_subject, int(own.sum()), scored.chance, draws)
        about = {"statistic": scored.name, "evaluated": TEST, "category": str(name), "chance": scored.chance}
        rows.append(about | scored.about | row)
    return rows


def training_rows(values: dict[str, Array], subjects: Sequence[str], evaluated: str, note: str) -> list[dict[str, Any]]:
    """Return rows of scores on training clips, which are described and not tested.

    Parameters
    ----------
    values : dict of str to ndarray, shape (n_subjects,)
        By statistic.
    subjects : sequence of str
        Their names.
    evaluated : str
        Which clips.
    note : str
        What the reader must know.

    Returns
    -------
    list of dict
        ``all subjects`` first.
    """
    rows = []
    for name, each in values.items():
        chance = 0.5 if name == "identification_accuracy" else 0.0
        about = {"statistic": name, "evaluated": evaluated, "category": "", "note": note, "chance": chance}
        mean = {"target": ALL_SUBJECTS, "value": each.mean(), "sd": _sd(each), "n": len(each), "n_of": "subjects"}
        rows.append(about | mean)
        rows += [
            about | {"target": s, "value": v, "n": 1, "n_of": "subjects"} for s, v in zip(subjects, each, strict=True)
        ]
    return rows


def _of_single_clips(name: str, tables: list[Array], chance: float, about: dict[str, Any]) -> Scored:
    """Return a statistic that is a mean over clips, whatever the other clips are."""

    def weighted(table: Array) -> Callable[[Array], Array]:
        return lambda w: w @ np.diagonal(table) / w.sum(axis=1)

    return Scored(name, tables, [weighted(t) for t in tables], chance, about)


def _mean_row(
    values: Array, null: Array, by_subject: Callable[[Array], Array], n_clips: int, chance: float, draws: Draws
) -> dict[str, Any]:
    row = {
        "target": ALL_SUBJECTS,
        "value": values.mean(),
        "sd": _sd(values),
        "p": _p(values.mean(), null.mean(axis=1)),
        "null_p95": float(np.quantile(null.mean(axis=1), 0.95)) if len(null) else np.nan,
        "effect_size": values.mean() - chance,
        "n": len(values),
        "n_of": "subjects",
        "n_clips": n_clips,
        "note": "one subject: the interval is over clips alone"
        if len(values) == 1 and n_clips >= LEAST_FOR_INTERVAL
        else "",
    }
    if len(draws.counts) and n_clips < LEAST_FOR_INTERVAL:
        row["note"] = "; ".join(filter(None, [str(row["note"]), TOO_FEW]))
    elif len(draws.counts):
        limits = hierarchical_bootstrap(
            lambda w: by_subject(w)[:, :, None],
            n_clips,
            len(draws.counts),
            np.random.default_rng([draws.seed, 1]),
            level=draws.level,
        )
        row |= {"ci_low": limits.low[0], "ci_high": limits.high[0]}
        if limits.method[0] != "bca":
            row["note"] = "; ".join(filter(None, [str(row["note"]), NO_BCA]))
    return row


def _p(value: float, null: Array) -> float:
    return float(permutation_p(value, null)) if len(null) else np.nan


def _sd(values: Array) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else np.nan
