"""Linear read-out: how well a category of sound can be read from a layer by a weighted sum of its units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.resampling import Level, Resamples, Seed, Share, draw_counts
from brainalign.measures.result import Result, result_table
from brainalign.measures.selective import CONDITIONAL, RANK_SUM, about_row, combined_rank_sum, finite_interval
from brainalign.measures.selectivity import FRACTION, Index, n_selected, rank_units
from brainalign.measures.targets import Part, Parts, label_sets, make_parts
from brainalign.responses import Responses, units_by_layer

Array = NDArray[np.float64]
Bool = NDArray[np.bool_]
Protocol = Literal["brainalign", "kim2024"]
TARGETS, CATEGORIES = "targets", "mean of categories"


def readout(
    responses: Responses,
    *,
    selection: Responses | None = None,
    categories: Sequence[str],
    column: str = "category",
    protocol: Protocol = "brainalign",
    n_slices: int = 4,
    fraction: Share = FRACTION,
    index: Index = "welch-t",
    per_category: bool = True,
    genre: str | None = None,
    allow_overlap: bool = False,
    n_bootstrap: Resamples = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Fit a linear read-out on some sounds and score it by average precision on others.

    Parameters
    ----------
    responses : Responses
        To the test sounds; each ``layer`` is read out by itself.
    selection : Responses, optional
        Of the same units to other sounds, which fit. Without them random halves are fitted and tested in turn.
    categories : sequence of str
        The target categories.
    column : str
        The coordinate along stimulus that holds them; several labels of a sound are separated by ``|``, and mixed
        sounds are left out.
    protocol : {'brainalign', 'kim2024'}
        ``brainalign``: logistic regression (L2, C = 1) on standardised units. ``kim2024``: ordinary least squares on
        the labels 0 and 1, as published; with more units than sounds it fits the training part exactly.
    n_slices : int
        Slices of units by rank of selectivity on the fitted sounds (top, next ...) that are read out by themselves.
    fraction : float
        Share of the units of a layer in a slice.
    index : str
        The selectivity index that ranks, see :func:`~brainalign.measures.selectivity.selectivity`.
    per_category : bool
        Also read out each category of `column` against all others, and their mean (mAP).
    genre : str, optional
        A coordinate along stimulus: how well the target sounds of each of its values are told from the rest, by the
        read-out of all targets. One row per genre.
    allow_overlap : bool
        Let the same sounds fit and test. The score is then too high.
    n_bootstrap : int
        Resamples of test sounds for the interval. 0 leaves it empty.
    level : float
        Coverage of the interval.
    seed : int
        Seed of halves and resamples.

    Returns
    -------
    Result
        Statistic ``average_precision`` (``mAP`` for the mean over categories), column ``chance``: the share of
        positives among the test sounds; ``units``: which units; averaged over both directions when cross-fitted. p and
        effect size (AUC) are of the rank-sum test of the scores of positives and negatives. A category or genre with
        fewer than two sounds in a part is flagged and has no value. Array ``roles`` (part, stimulus).

    Raises
    ------
    MeasureError
        As :func:`~brainalign.measures.selective.selective_ratio`.
    ResponseError
        If values are missing.
    """
    if protocol not in get_args(Protocol):
        raise MeasureError(f"no protocol {protocol!r}; {did_you_mean(protocol, get_args(Protocol))}")
    parts = make_parts(responses, selection, categories, column=column, allow_overlap=allow_overlap, seed=seed)
    n_selected(1, fraction)
    if genre is not None:
        _check_column(responses, genre)
    rng = np.random.default_rng(seed)
    plain = Bootstrap.draw(parts.strata, n_bootstrap, level, rng)
    finer = Bootstrap.draw(parts.strata_by(column, *([genre] if genre else [])), n_bootstrap, level, rng)
    labels = [(label_sets(p.select.responses, column), label_sets(p.test.responses, column)) for p in parts.parts]
    known = sorted({name for part in labels for sets in part for s in sets for name in s})
    rows = []
    for layer, units in units_by_layer(responses).items():
        about = about_row("readout", responses, layer, TARGETS)
        for name, scores in _by_slice(parts, units, protocol, n_slices, fraction, index):
            rows.append(about | {"units": name} | _score_row(scores, plain, parts))
            if genre is not None and name == "all":
                rows += _genre_rows(about | {"units": name}, scores, parts, genre, finer)
        if per_category:
            rows += _category_rows(about, parts, units, labels, known, protocol, finer)
    return Result(
        measure="readout",
        table=result_table(rows),
        arrays={"roles": parts.roles()},
        settings={
            "categories": list(categories),
            "column": column,
            "protocol": protocol,
            "fit": "ordinary least squares on 0 and 1" if protocol == "kim2024" else "logistic regression, L2, C = 1",
            "units": "standardised by the fitted sounds",
            "index": index,
            "fraction": fraction,
            **parts.settings(),
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "test": f"{RANK_SUM}; one-sided",
            "interval": f"{CONDITIONAL}; of single categories and genres also within them",
        },
        warnings=parts.warnings(),
    )


def fit_scores(train: Array, is_positive: Bool, test: Array, protocol: Protocol = "brainalign") -> Array:
    """Fit a read-out and score other sounds with it.

    Parameters
    ----------
    train : ndarray, shape (n_train, n_units)
        Responses that are fitted; they also give mean and standard deviation of each unit.
    is_positive : ndarray of bool, shape (n_train,)
        Labels of the fitted sounds, of both kinds.
    test : ndarray, shape (n_test, n_units)
        Responses that are scored.
    protocol : {'brainalign', 'kim2024'}
        See :func:`readout`.

    Returns
    -------
    ndarray, shape (n_test,)
        The higher, the more like a positive.
    """
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if protocol == "kim2024":
        fitted = make_pipeline(StandardScaler(), LinearRegression()).fit(train, is_positive.astype(np.float64))
        return np.asarray(fitted.predict(test), dtype=np.float64)
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)).fit(train, is_positive)
    return np.asarray(fitted.decision_function(test), dtype=np.float64)


def average_precision(is_positive: Bool, scores: Array, weights: Array | None = None) -> Array:
    """Return the average precision, under many sets of weights at once.

    Parameters
    ----------
    is_positive : ndarray of bool, shape (n,)
        Labels.
    scores : ndarray, shape (n,)
        Equal scores are one threshold.
    weights : ndarray, shape (n_resamples, n), optional
        Weight of each sound, such as how often a bootstrap drew it; all 1 if not given.

    Returns
    -------
    ndarray, shape (n_resamples,)
        Sum over thresholds of the gain in recall times the precision, as scikit-learn defines it.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    w = np.ones((1, len(scores))) if weights is None else weights
    w = w[:, order]
    found = np.cumsum(w * is_positive[order], axis=1)[:, ends]
    passed = np.cumsum(w, axis=1)[:, ends]
    gain = np.diff(found, axis=1, prepend=0.0)
    precision = np.divide(found, passed, out=np.zeros_like(found), where=passed > 0)
    return np.asarray((gain * precision).sum(axis=1) / found[:, -1])


@dataclass(frozen=True)
class Bootstrap:
    """Resamples of the test sounds of all parts, the strata they were drawn within, and the level of an interval."""

    counts: NDArray[np.int64]
    strata: NDArray[np.intp]
    level: float

    @classmethod
    def draw(cls, strata: NDArray[np.intp], n: int, level: float, rng: np.random.Generator) -> Bootstrap:
        """Draw `n` resamples."""
        return cls(draw_counts(len(strata), n, rng, strata=strata), strata, level)

    def interval(self, statistic: Callable[[Array], Array]) -> dict[str, Any]:
        """Return value, limits and note of a statistic of weights, (n_resamples, n) to (n_resamples,)."""

        def column(weights: Array) -> Array:
            return statistic(weights)[:, None]

        value = column(np.ones((1, len(self.strata))))[0]
        low, high, notes = finite_interval(value, self.counts, column, self.level, self.strata)
        return {"value": value[0], "ci_low": low[0], "ci_high": high[0], "note": notes[0]}


@dataclass(frozen=True)
class Scores:
    """Scores of the test sounds of each part, and which of them are positives."""

    scores: list[Array]
    positive: list[Bool]

    def among(self, keep: Sequence[Bool], positive: Sequence[Bool]) -> Scores:
        """Return the scores of some sounds, with other positives."""
        return Scores(
            [s[k] for s, k in zip(self.scores, keep, strict=True)],
            [p[k] for p, k in zip(positive, keep, strict=True)],
        )


def _by_slice(
    parts: Parts, units: NDArray[np.intp], protocol: Protocol, n_slices: int, fraction: float, index: Index
) -> Iterator[tuple[str, Scores]]:
    """Read out all units of a layer, and slices by rank on the fitted sounds."""
    rankings = [rank_units(_values(p, units)[0], p.select.is_target, index) for p in parts.parts]
    positive = [p.test.is_target for p in parts.parts]
    for i in range(-1, n_slices):
        name = "all" if i < 0 else f"rank {i * fraction:.4g} to {(i + 1) * fraction:.4g}"
        masks = [r.top(fraction, skip=i) if i >= 0 else ~r.constant for r in rankings]
        if not all(m.any() for m in masks):
            continue
        scores = []
        for part, mask in zip(parts.parts, masks, strict=True):
            train, test = _values(part, units[mask])
            scores.append(fit_scores(train, part.select.is_target, test, protocol))
        yield name, Scores(scores, positive)


def _values(part: Part, units: NDArray[np.intp]) -> tuple[Array, Array]:
    select, test = (t.responses.values[:, units].astype(np.float64) for t in (part.select, part.test))
    return select, test


def _score_row(found: Scores, bootstrap: Bootstrap, parts: Parts, keep: Sequence[Bool] | None = None) -> dict[str, Any]:
    """Return average precision, chance, interval and test; `keep` says which test sounds were scored."""
    if any(p.sum() < 2 or (~p).sum() < 2 for p in found.positive):
        return {
            "statistic": "average_precision",
            "note": "fewer than 2 sounds of the category, or of others, in a part",
        }

    def score(weights: Array) -> Array:
        split = parts.split(weights)
        if keep is not None:
            split = [w[:, k] for w, k in zip(split, keep, strict=True)]
        ap = [average_precision(p, s, w) for p, s, w in zip(found.positive, found.scores, split, strict=True)]
        return np.asarray(np.mean(ap, axis=0))

    p, effect = combined_rank_sum([(s[p], s[~p]) for s, p in zip(found.scores, found.positive, strict=True)], "greater")
    return bootstrap.interval(score) | {
        "statistic": "average_precision",
        "p": p,
        "effect_size": effect,
        "n": sum(len(p) for p in found.positive),
        "n_of": "stimuli",
        "chance": float(np.mean([p.mean() for p in found.positive])),
        "n_positive": sum(int(p.sum()) for p in found.positive),
    }


def _genre_rows(
    about: dict[str, Any], found: Scores, parts: Parts, genre: str, bootstrap: Bootstrap
) -> list[dict[str, Any]]:
    """Score the targets of each genre against the rest."""
    genres = [p.test.responses[genre].values.astype(str) for p in parts.parts]
    names = sorted({g for own, p in zip(genres, parts.parts, strict=True) for g in own[p.test.is_target]} - {"", "nan"})
    rows = []
    for name in names:
        positive = [(own == name) & p.test.is_target for own, p in zip(genres, parts.parts, strict=True)]
        keep = [hit | ~p.test.is_target for hit, p in zip(positive, parts.parts, strict=True)]
        row = _score_row(found.among(keep, positive), bootstrap, parts, keep)
        rows.append(about | {"target": f"{genre}: {name}"} | row)
    return rows


def _category_rows(
    about: dict[str, Any],
    parts: Parts,
    units: NDArray[np.intp],
    labels: Sequence[tuple[list[frozenset[str]], list[frozenset[str]]]],
    known: Sequence[str],
    protocol: Protocol,
    bootstrap: Bootstrap,
) -> list[dict[str, Any]]:
    """Read out each category against all others, and average."""
    values = [_values(p, units) for p in parts.parts]
    rows, used, chance, score_of = [], [], [], []
    for name in known:
        fitted, positive = ([np.array([name in s for s in part[i]]) for part in labels] for i in (0, 1))
        row = about | {"target": f"category: {name}", "units": "all"}
        if any(min(y.sum(), (~y).sum()) < 2 for y in (*fitted, *positive)):
            note = "fewer than 2 sounds of the category, or of others, in a part"
            rows.append(row | {"statistic": "average_precision", "note": note})
            continue
        scores = [fit_scores(a, y, b, protocol) for (a, b), y in zip(values, fitted, strict=True)]
        found = Scores(scores, positive)
        rows.append(row | _score_row(found, bootstrap, parts))
        used.append(rows[-1]["value"])
        chance.append(rows[-1]["chance"])
        score_of.append(found)
    if used:
        rows.append(about | _mean_row(score_of, parts, bootstrap) | {"chance": float(np.mean(chance))})
    return rows


def _mean_row(found: Sequence[Scores], parts: Parts, bootstrap: Bootstrap) -> dict[str, Any]:
    """Return the mean average precision over categories, with an interval over sounds."""

    def score(weights: Array) -> Array:
        split = parts.split(weights)
        each = [
            average_precision(p, s, w) for one in found for p, s, w in zip(one.positive, one.scores, split, strict=True)
        ]
        return np.asarray(np.mean(each, axis=0))

    return bootstrap.interval(score) | {
        "target": CATEGORIES,
        "units": "all",
        "statistic": "mAP",
        "n": len(found),
        "n_of": "categories",
    }


def _check_column(responses: Responses, name: str) -> None:
    along = [str(c) for c in responses.coords if responses[c].dims == ("stimulus",)]
    if name not in along:
        raise MeasureError(f"stimuli have no column {name!r}; {did_you_mean(name, along)}")
