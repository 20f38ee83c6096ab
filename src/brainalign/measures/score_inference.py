"""Scores of model RDMs and their differences, with standard errors, intervals and p.

What :func:`~brainalign.measures.compare_models.compare_models` says about names and tables, this does on arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.rdm_ceiling import noise_ceiling
from brainalign.measures.rdm_compare import Comparison, compare_rdms, n_stimuli
from brainalign.measures.rdm_inference import dual_variance, permuted_scores, weighted_partial, weighted_scores
from brainalign.measures.resampling import LEAST_SAMPLES, draw_counts, draw_orders
from brainalign.stats import permutation_p

Array = NDArray[np.float64]
Bootstrap = Literal["stimuli", "subjects", "both"]


@dataclass(frozen=True)
class ScoreInference:
    """Result of :func:`infer_scores`; the first entries of each array are models, those after them pairs.

    Attributes
    ----------
    subject_scores : ndarray, shape (n_models, n_subjects)
        The score of each model with each subject.
    values : ndarray, shape (n_models + n_pairs,)
        Means over subjects, and their differences.
    error, low, high : ndarray, shape (n_models + n_pairs,)
        Bootstrap standard errors and t intervals; NaN without a bootstrap.
    p : ndarray, shape (n_models + n_pairs,)
        One-sided, from permuted labels, for scores; two-sided, from t, for differences.
    chance : ndarray, shape (n_models,)
        Mean score over permutations.
    ceiling : tuple of float
        Lower and upper noise ceiling; NaN for one subject.
    n : int
        What was resampled: stimuli or subjects, or the fewer of both. The degrees of freedom are one less.
    n_dropped : int
        Bootstrap samples that left an RDM without differences.
    """

    subject_scores: Array
    values: Array
    error: Array
    low: Array
    high: Array
    p: Array
    chance: Array
    ceiling: tuple[float, float]
    n: int
    n_dropped: int


def infer_scores(
    models: Array,
    brains: Array,
    comparison: Comparison = "spearman",
    *,
    controls: Array | None = None,
    pairs: list[tuple[int, int]] | None = None,
    bootstrap: Bootstrap = "stimuli",
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> ScoreInference:
    """Score model RDMs and pairs of them, and say how sure that is.

    Parameters
    ----------
    models, brains : ndarray, shape (n_models, n_pairs) and (n_subjects, n_pairs)
        Distances, see :func:`~brainalign.measures.rdm.pair_values`.
    comparison : str
        See :func:`~brainalign.measures.rdm_compare.compare_rdms`.
    controls : ndarray, shape (n_controls, n_pairs), optional
        RDMs that are taken out of both sides.
    pairs : list of tuple of int, optional
        Which models to take the difference of.
    bootstrap, n_bootstrap, n_permutations, level, seed
        See :func:`~brainalign.measures.compare_models.compare_models`.

    Returns
    -------
    ScoreInference
        Scores first, then differences.

    Raises
    ------
    MeasureError
        If there is one subject for a bootstrap over subjects, or stimuli are too few for these models.
    """
    if bootstrap not in get_args(Bootstrap):
        raise MeasureError(f"no bootstrap {bootstrap!r}; {did_you_mean(bootstrap, get_args(Bootstrap))}")
    if bootstrap != "stimuli" and n_bootstrap and len(brains) < 2:
        what = "subjects" if bootstrap == "subjects" else "stimuli and subjects"
        raise MeasureError(f"a bootstrap over {what} needs at least 2 subjects, found 1; use bootstrap='stimuli'")
    rng = np.random.default_rng(seed)
    orders = draw_orders(n_stimuli(models.shape[1]), n_permutations, rng)
    null = permuted_scores(models, brains, orders, comparison, controls)[1:]
    scores = compare_rdms(models, brains, comparison, controls=controls)
    pairs = pairs or []
    contrasts = np.zeros((len(models) + len(pairs), len(models)))
    contrasts[: len(models)] = np.eye(len(models))
    for row, (first, second) in zip(contrasts[len(models) :], pairs, strict=True):
        row[first], row[second] = 1, -1
    values = contrasts @ scores.mean(axis=1)
    resampled = _resample(models, brains, controls, scores, comparison, bootstrap, n_bootstrap, rng)
    error, low, high, p = _t_inference(values, contrasts, resampled, level)
    p[: len(models)] = permutation_p(values[: len(models)], null) if len(null) else np.nan
    return ScoreInference(
        subject_scores=scores,
        values=values,
        error=error,
        low=low,
        high=high,
        p=p,
        chance=null.mean(axis=0) if len(null) else np.full(len(models), np.nan),
        ceiling=noise_ceiling(brains, comparison, controls) if len(brains) > 1 else (np.nan, np.nan),
        n=orders.shape[1] if resampled is None else resampled.n,
        n_dropped=0 if resampled is None else resampled.n_dropped,
    )


@dataclass(frozen=True)
class _Resampled:
    """Scores of bootstrap samples, (n_samples, n_models) for each thing that was resampled."""

    samples: dict[Bootstrap, Array]
    n_subjects: int
    n_stimuli: int
    n_dropped: int

    @property
    def kind(self) -> Bootstrap:
        return "both" if "both" in self.samples else next(iter(self.samples))

    @property
    def n(self) -> int:
        """What the degrees of freedom come from: the smaller number of what was resampled."""
        return {"stimuli": self.n_stimuli, "subjects": self.n_subjects}.get(
            self.kind, min(self.n_subjects, self.n_stimuli)
        )

    def standard_error(self, contrast: Array) -> Array:
        """Return the standard errors of contrasts of models, (n_contrasts, n_models)."""
        spread = {kind: (values @ contrast.T).var(axis=0, ddof=1) for kind, values in self.samples.items()}
        if self.kind == "both":
            variance = dual_variance(**spread, n_subjects=self.n_subjects, n_stimuli=self.n_stimuli)
        else:
            variance = spread[self.kind] * self.n / (self.n - 1)
        return np.sqrt(variance)


def _resample(
    models: Array,
    brains: Array,
    controls: Array | None,
    scores: Array,
    comparison: Comparison,
    bootstrap: Bootstrap,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> _Resampled | None:
    if n_bootstrap == 0:
        return None
    n_subjects, n = len(brains), n_stimuli(models.shape[1])
    samples: dict[Bootstrap, Array] = {}
    shares = np.full((n_bootstrap, 1, n_subjects), 1 / n_subjects)
    kinds: list[Bootstrap] = ["stimuli"]
    counts = draw_counts(n, n_bootstrap, rng) if bootstrap != "subjects" else None
    if bootstrap != "stimuli":
        drawn = draw_counts(n_subjects, n_bootstrap, rng) / n_subjects
        samples["subjects"] = drawn @ scores.T
        shares, kinds = np.concatenate([shares, drawn[:, None]], axis=1), ["stimuli", "both"]
    if counts is not None:
        if controls is None:
            values = weighted_scores(models, brains, counts, comparison, shares)
        else:
            values = weighted_partial(models, brains, controls, counts, comparison, shares)
        samples |= {kind: values[:, :, g] for g, kind in enumerate(kinds)}
    good = np.all([np.isfinite(values).all(axis=1) for values in samples.values()], axis=0)
    if good.sum() < LEAST_SAMPLES:
        raise MeasureError(
            f"only {int(good.sum())} of {n_bootstrap} bootstrap samples leave differences in all RDMs, at least "
            f"{LEAST_SAMPLES} needed; {n} stimuli are too few for these models"
        )
    kept = {kind: values[good] for kind, values in samples.items()}
    return _Resampled(kept, n_subjects, n, int((~good).sum()))


def _t_inference(
    estimates: Array, contrasts: Array, resampled: _Resampled | None, level: float
) -> tuple[Array, Array, Array, Array]:
    """Return standard errors, limits, and two-sided p of each contrast."""
    from scipy.stats import t

    if resampled is None:
        empty = np.full(len(estimates), np.nan)
        return empty, empty, empty, empty.copy()
    error = resampled.standard_error(contrasts)
    width = error * t.ppf((1 + level) / 2, resampled.n - 1)
    # Two candidates with the same RDM differ by rounding only.
    same = np.abs(estimates) < 1e-12
    ratio = np.divide(np.abs(estimates), error, out=np.full(len(error), np.inf), where=error > 0)
    p = np.where(same, 1.0, 2 * t.sf(ratio, resampled.n - 1))
    return error, estimates - width, estimates + width, p
