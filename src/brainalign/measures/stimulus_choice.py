"""Which sounds to play: those of a pool on which models differ most in what they say about the brain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.measures.encoding import MINIMUM_STIMULI, component_encoding
from brainalign.measures.rdm import correlation_rdm, pair_values
from brainalign.measures.rdm_compare import square
from brainalign.measures.resampling import Seed
from brainalign.measures.scores import score
from brainalign.measures.simulated_study import aligned_models, readout_features
from brainalign.responses import Responses, align, average_repetitions

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Balance = Literal["pool", "equal", "none"]
Comparison = Literal["spearman", "pearson"]
#: Criteria that differ by less are the same.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class StimulusChoice:
    """Sounds that were chosen, and how good they are beside random ones.

    Attributes
    ----------
    ids : list of str
        The sounds, in the order of the pool.
    category : list of str
        Their categories; empty where the models have none.
    value : float
        The criterion they reach, see :func:`choose_stimuli`.
    random : ndarray, shape (n_random,)
        The criterion of random choices with the same numbers of each category.
    pool : float
        The criterion of the whole pool.
    starts : ndarray, shape (n_starts,)
        What each start of the search reached, the greedy one first: whether they agree tells how rough the ground is.
    settings : dict
        What was asked for.
    """

    ids: list[str]
    category: list[str]
    value: float
    random: Array
    pool: float
    starts: Array
    settings: dict[str, Any]

    @property
    def share_as_good(self) -> float:
        """Share of random choices that are as good or better."""
        # Sums of the same sounds in another order differ by rounding.
        return float(np.mean(self.random >= self.value - _ROUNDING))

    @property
    def table(self) -> pd.DataFrame:
        """One row per chosen sound: ``stimulus_id`` and, if there are categories, ``category``."""
        columns = {"stimulus_id": self.ids} | ({"category": self.category} if self.category else {})
        return pd.DataFrame(columns)

    def to_dict(self) -> dict[str, Any]:
        """Return what a paper has to say about the choice, and with which it can be repeated, ready for JSON.

        Returns
        -------
        dict
            ``settings``, ``ids``, the criterion reached (``value``), of all sounds (``pool``), by start (``starts``)
            and of random choices (``random``), and ``share_as_good``.
        """
        return {
            "settings": self.settings,
            "value": self.value,
            "pool": self.pool,
            "share_as_good": self.share_as_good,
            "ids": self.ids,
            "starts": self.starts.tolist(),
            "random": self.random.tolist(),
        }

    def __repr__(self) -> str:
        low, middle, high = np.quantile(self.random, [0.025, 0.5, 0.975])
        return (
            f"<StimulusChoice: {len(self.ids)} of {self.settings['n_pool']} sounds, criterion {self.value:.3f} "
            f"(random {middle:.3f}, 95 % {low:.3f} to {high:.3f}; all sounds {self.pool:.3f})>"
        )


def choose_stimuli(
    models: Mapping[str, Responses],
    n: int,
    *,
    components: BrainData | Responses | None = None,
    balance: Balance = "pool",
    share: Annotated[float, Field(gt=0, le=1)] = 0.75,
    noise: Annotated[float, Field(ge=0)] = 1.0,
    comparison: Comparison = "spearman",
    n_splits: int = 10,
    n_starts: Annotated[int, Field(ge=1)] = 5,
    n_random: Annotated[int, Field(ge=1)] = 1000,
    seed: Seed = 0,
) -> StimulusChoice:
    """Choose the sounds of a pool on which two or more models can best be told apart.

    For each model in turn a brain is imagined that is that model for the most part. How much better does its own model
    describe it than the best other one? The criterion is this difference of correlations in the worst of these cases,
    so that the sounds favour no model. Sounds are taken off the pool one by one, each time the one without which the
    criterion is highest; then sounds are swapped for others as long as that helps. The swaps start from random choices
    too, and the best end is kept.

    Parameters
    ----------
    models : mapping of str to Responses
        Two or more, by name, one layer each; stimuli, matched by id, are the pool.
    n : int
        How many sounds to choose.
    components : BrainData or Responses, optional
        Components or voxels measured with the pool. The criterion is then about held-out predictions of these (ridge
        regression, `n_splits` folds), each component weighing as much as the models predict it (mean r2). Test these
        predictions, as they are, on *new* measurements with the chosen sounds: read-outs that are fitted anew to the
        chosen sounds alone need not differ more. Without components it is about correlation RDMs.
    balance : {'pool', 'equal', 'none'}
        Numbers of each category: as in the pool, equal, or whatever comes. Without a coordinate ``category`` there is
        nothing to balance.
    share : float
        Share of its own model in the signal of an imagined brain; the others have equal parts of the rest, each less.
    noise : float
        Variance of the noise in measured distances (or component responses) over the variance of the true ones in the
        pool. Where it is 0, small differences between sounds count as much as large ones.
    comparison : {'spearman', 'pearson'}
        Of RDMs; ranks are those in the pool.
    n_splits : int
        Folds for predictions.
    n_starts : int
        Starts of the search: one greedy, the others random.
    n_random : int
        Random choices to compare with.
    seed : int
        Of random starts, random choices and folds.

    Returns
    -------
    StimulusChoice
        The ids, the criterion reached, and that of random choices.

    Raises
    ------
    MeasureError
        If there are fewer than two models, `n` is not between 8 and the size of the pool, a category has too few
        sounds, the components are not predicted by any model, or an option is unknown.
    ResponseError
        If the stimuli differ.

    Notes
    -----
    Sounds chosen like this are no sample of the pool. Scores on them are lower than on others and say nothing about
    natural sounds in general; only the order of the models is of interest, and it speaks about such sounds.

    References
    ----------
    Golan, T., Raju, P. C. & Kriegeskorte, N. (2020). Controversial stimuli: pitting neural networks against each other
    as models of human cognition. PNAS 117, 29330-29337: stimuli on which models disagree decide between them.
    """
    for what, given, known in (
        ("balance", balance, get_args(Balance)),
        ("comparison", comparison, get_args(Comparison)),
    ):
        if given not in known:
            raise MeasureError(f"no {what} {given!r}; {did_you_mean(given, known)}")
    if len(models) < 2:
        raise MeasureError(f"{len(models)} model cannot disagree; expected two or more")
    for what, value, good, expected in (
        ("share", share, 1 / len(models) < share <= 1, f"above 1/{len(models)}, an equal part, and up to 1"),
        ("noise", noise, 0 <= noise < np.inf, "0 or more"),
        ("n_starts", n_starts, n_starts >= 1, "at least 1"),
        ("n_random", n_random, n_random >= 1, "at least 1"),
    ):
        if not good:
            raise MeasureError(f"{what} is {value}, expected {expected}")
    aligned = aligned_models(list(models.values()))
    n_pool = aligned[0].sizes["stimulus"]
    if not MINIMUM_STIMULI <= n <= n_pool:
        raise MeasureError(f"n is {n}, expected {MINIMUM_STIMULI} to {n_pool}, the size of the pool")
    balanced = "category" in aligned[0].coords and balance != "none"
    category = aligned[0]["category"].values.astype(str) if balanced else np.full(n_pool, "")
    quotas = _quotas(category, n, equal=balance == "equal")
    rng = np.random.default_rng(seed)
    if components is None:
        search = _Search(_pair_moments(aligned, share, comparison), len(models), np.ones(1), noise, category)
    else:
        predictions, weights = _predictions(aligned, components, n_splits, seed)
        search = _Search(_item_moments(predictions, share), len(models), weights, noise, category)
    starts = [search.greedy(quotas), *(_draw(category, quotas, rng) for _ in range(n_starts - 1))]
    ends = [search.swap(start) for start in starts]
    reached = np.array([search.value(end) for end in ends])
    best = np.sort(ends[int(reached.argmax())])
    ids = aligned[0]["stimulus"].values
    return StimulusChoice(
        ids=[str(s) for s in ids[best]],
        category=[str(c) for c in aligned[0]["category"].values[best]] if "category" in aligned[0].coords else [],
        value=float(reached.max()),
        random=np.array([search.value(_draw(category, quotas, rng)) for _ in range(n_random)]),
        pool=search.value(np.arange(n_pool)),
        starts=reached,
        settings={
            "models": list(models),
            "n": n,
            "n_pool": n_pool,
            "criterion": "RDMs" if components is None else "predictions of components",
            "balance": balance if balanced else "none",
            "share": share,
            "noise": noise,
            "comparison": comparison if components is None else "pearson",
            "n_splits": n_splits,
            "n_starts": n_starts,
            "n_random": n_random,
            "seed": seed,
        },
    )


def _quotas(category: NDArray[np.str_], n: int, *, equal: bool) -> dict[str, int]:
    """Return how many sounds of each category to choose: the largest remainders are rounded up."""
    names, sizes = np.unique(category, return_counts=True)
    wanted = np.full(len(names), n / len(names)) if equal else n * sizes / len(category)
    quota = np.floor(wanted).astype(int)
    quota[np.argsort(-(wanted - quota), kind="stable")[: n - quota.sum()]] += 1
    short = [f"{name} ({size}, {q} wanted)" for name, size, q in zip(names, sizes, quota, strict=True) if size < q]
    if short:
        raise MeasureError(f"too few sounds of the categories {name_some(short)}; choose fewer or balance='pool'")
    return {str(name): int(q) for name, q in zip(names, quota, strict=True)}


def _draw(category: NDArray[np.str_], quotas: Mapping[str, int], rng: np.random.Generator) -> Rows:
    return np.concatenate(
        [rng.choice(np.flatnonzero(category == name), quota, replace=False) for name, quota in quotas.items()]
    )


class _Moments(Protocol):
    """Sums over the chosen sounds, or over their pairs, from which correlations follow; the first axis is which sum."""

    def count(self, n: int) -> int:
        """Return how many things are summed over."""

    def total(self, chosen: Rows) -> Array:
        """Return the sums, (n_moments,)."""

    def without(self, chosen: Rows) -> Array:
        """Return the sums without each of the chosen, (n_moments, n_chosen)."""

    def swapped(self, chosen: Rows, others: Rows) -> Array:
        """Return the sums with each of the others in the place of each chosen one, (n_moments, n_chosen, n_others)."""


@dataclass(frozen=True)
class _ItemMoments:
    """Sums over sounds, of values (n_moments, n_pool)."""

    values: Array

    def count(self, n: int) -> int:
        return n

    def total(self, chosen: Rows) -> Array:
        return np.asarray(self.values[:, chosen].sum(axis=1))

    def without(self, chosen: Rows) -> Array:
        return np.asarray(self.total(chosen)[:, None] - self.values[:, chosen])

    def swapped(self, chosen: Rows, others: Rows) -> Array:
        return np.asarray(self.without(chosen)[:, :, None] + self.values[:, None, others])


@dataclass(frozen=True)
class _PairMoments:
    """Sums over pairs of sounds, of symmetric matrices (n_moments, n_pool, n_pool) with an empty diagonal."""

    values: Array

    def count(self, n: int) -> int:
        return n * (n - 1) // 2

    def total(self, chosen: Rows) -> Array:
        return np.asarray(self.values[:, chosen[:, None], chosen].sum(axis=(1, 2)) / 2)

    def without(self, chosen: Rows) -> Array:
        return np.asarray(self.total(chosen)[:, None] - self.values[:, chosen[:, None], chosen].sum(axis=2))

    def swapped(self, chosen: Rows, others: Rows) -> Array:
        block = self.values[:, chosen[:, None], others]
        return np.asarray(self.without(chosen)[:, :, None] + block.sum(axis=1)[:, None] - block)


@dataclass(frozen=True)
class _Search:
    """The criterion from moments, and the way to its peak.

    Moments are, for each component (one, for RDMs): sums of imagined brains and of models, sums of their squares, and
    of the products of each brain with each model.
    """

    moments: _Moments
    n_models: int
    weights: Array
    noise: float
    category: NDArray[np.str_]

    def criterion(self, sums: Array, count: int) -> Array:
        """Return the criterion of sums (n_moments, ...)."""
        k, many = self.n_models, sums.shape[1:]
        by_component = sums.reshape(len(self.weights), 4 * k + k * k, *many) / count
        mean, square = by_component[:, : 2 * k], by_component[:, 2 * k : 4 * k]
        product = by_component[:, 4 * k :].reshape(len(self.weights), k, k, *many)
        variance = np.maximum(square - mean**2, 1e-12)
        brains, models = variance[:, :k], variance[:, k:]
        correlation = product - mean[:, :k, None] * mean[:, None, k:]
        correlation /= np.sqrt((brains + self.noise)[:, :, None] * models[:, None])
        own = np.eye(k, dtype=bool).reshape(k, k, *(1 for _ in many))
        rival = np.where(own, -np.inf, correlation).max(axis=2)
        ahead = np.where(own, correlation, 0).sum(axis=2) - rival
        worst: Array = np.tensordot(self.weights, ahead, axes=1).min(axis=0)
        return worst

    def value(self, chosen: Rows) -> float:
        return float(self.criterion(self.moments.total(chosen), self.moments.count(len(chosen))))

    def greedy(self, quotas: Mapping[str, int]) -> Rows:
        """Take sounds off the pool until each category has its number."""
        chosen = np.arange(len(self.category))
        while len(chosen) > sum(quotas.values()):
            values = self.criterion(self.moments.without(chosen), self.moments.count(len(chosen) - 1))
            left = {name: np.sum(self.category[chosen] == name) - quota for name, quota in quotas.items()}
            values[[left[str(name)] == 0 for name in self.category[chosen]]] = -np.inf
            chosen = np.delete(chosen, int(values.argmax()))
        return chosen

    def swap(self, chosen: Rows) -> Rows:
        """Make the best swap within a category again and again, until none helps."""
        chosen, value = chosen.copy(), self.value(chosen)
        while len(chosen) < len(self.category):
            others = np.setdiff1d(np.arange(len(self.category)), chosen)
            values = self.criterion(self.moments.swapped(chosen, others), self.moments.count(len(chosen)))
            values[self.category[chosen][:, None] != self.category[others]] = -np.inf
            out, new = np.unravel_index(int(values.argmax()), values.shape)
            # A gain of rounding would go round in circles.
            if values[out, new] <= value + _ROUNDING:
                break
            chosen[out], value = others[new], float(values[out, new])
        return chosen


def _pair_moments(models: list[Responses], share: float, comparison: Comparison) -> _PairMoments:
    kernels = [features @ features.T for features in map(readout_features, models)]
    brains = []
    for own in range(len(models)):
        rest = sum(kernel for i, kernel in enumerate(kernels) if i != own) / (len(models) - 1)
        mixed = share * kernels[own] + (1 - share) * rest
        size = np.sqrt(np.diag(mixed))
        brains.append(pair_values(1 - mixed / np.outer(size, size)))
    rows = np.stack([*brains, *(pair_values(correlation_rdm(model)) for model in models)])
    if comparison == "spearman":
        from scipy.stats import rankdata

        rows = rankdata(rows, axis=1)
    return _PairMoments(square(_sums(_standardise(rows), len(models))))


def _item_moments(predictions: Array, share: float) -> _ItemMoments:
    """Take predictions (n_components, n_models, n_pool)."""
    k = predictions.shape[1]
    values = []
    for one in predictions:
        models = _standardise(one)
        rest = (models.sum(axis=0) - models) / (k - 1)
        # The parts of a brain are independent signals, whose variances add up.
        brains = np.sqrt(share) * models + np.sqrt(1 - share) * rest
        values.append(_sums(np.vstack([_standardise(brains), models]), k))
    return _ItemMoments(np.concatenate(values))


def _standardise(rows: Array) -> Array:
    centred: Array = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(centred / centred.std(axis=1, keepdims=True))


def _sums(rows: Array, k: int) -> Array:
    """Return what is summed, (4 k + k^2, n), of rows (2 k, n): brains, then models."""
    return np.vstack([rows, rows**2, *(brain * rows[k:] for brain in rows[:k])])


def _predictions(
    models: list[Responses], components: BrainData | Responses, n_splits: int, seed: int
) -> tuple[Array, Array]:
    """Return held-out predictions (n_components, n_models, n_pool), and weights of the components that add up to 1."""
    _, targets = align(
        models[0], average_repetitions(components.responses if isinstance(components, BrainData) else components)
    )
    found = []
    for model in models:
        result = component_encoding(
            model, targets, splits="kfold", n_splits=n_splits, n_permutations=0, n_bootstrap=0, seed=seed
        )
        found.append(result.arrays["predictions"].sel(stimulus=targets["stimulus"]).values[0])
    explained = np.mean([score(p, targets.values.astype(np.float64)) for p in found], axis=0)
    flat = np.min([np.ptp(p, axis=0) for p in found], axis=0) == 0
    weights = np.where(flat, 0, explained)
    if not weights.any():
        raise MeasureError("no component is predicted by any of the models; there is nothing to tell them apart by")
    kept = weights > 0
    return np.stack(found).transpose(2, 0, 1)[kept], weights[kept] / weights.sum()
