"""Studies that never took place: a model, or a mixture of two, generates brains, and both are scored on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError
from brainalign.measures.rdm import correlation_rdm, pair_values
from brainalign.measures.rdm_compare import Comparison, compare_rdms
from brainalign.measures.rdm_inference import weighted_scores
from brainalign.measures.ridge import decompose_splits, ridge_predict
from brainalign.measures.scores import Statistic, aggregate_folds, score
from brainalign.measures.splits import make_splits
from brainalign.responses import Responses, align, average_repetitions, check_responses, describe, units_by_layer

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Population:
    """What is true of all subjects that could be measured.

    A voxel of a subject reads the first model out with Gaussian weights, and the second with others; these two signals
    have the shares `share` and 1 - `share` of its signal variance. Subjects have weights of their own and differ in the
    share. With many voxels and no noise, the correlation RDM of a subject with share 1 is that of the first model.

    Attributes
    ----------
    features : tuple of two ndarray, shape (n_stimuli, rank)
        See :func:`readout_features`.
    reliability : ndarray
        Of voxels in one repetition, the correlation that two repetitions are expected to have; voxels draw from these.
    n_voxels : int
        Voxels of each subject.
    share_sd : float
        Standard deviation over subjects of the log odds of the share.
    """

    features: tuple[Array, Array]
    reliability: Array
    n_voxels: int
    share_sd: float


@dataclass(frozen=True)
class Sample:
    """Subjects and noise of one simulated study, and the order in which its stimuli are taken.

    Attributes
    ----------
    signals : ndarray, shape (2, n_subjects, n_stimuli, n_voxels)
        What the voxels read out of the first and of the second model.
    noise : ndarray, shape (n_subjects, n_stimuli, n_voxels)
        Standard normal.
    reliability : ndarray, shape (n_subjects, n_voxels)
        In one repetition.
    log_odds : ndarray, shape (n_subjects,)
        By how much the log odds of the share differ from those of the population.
    order : ndarray of int, shape (n_stimuli,)
        Its first n are the stimuli of a study with n.
    """

    signals: Array
    noise: Array
    reliability: Array
    log_odds: Array
    order: Rows

    def responses(self, share: float, n_repetitions: int) -> Array:
        """Return the mean over repetitions.

        Parameters
        ----------
        share : float
            Share of the first model in the signal variance of the median subject, 0 to 1.
        n_repetitions : int
            Repetitions; their noise is independent.

        Returns
        -------
        ndarray, shape (n_subjects, n_stimuli, n_voxels)
            In units in which signal and noise of one repetition have together the variance of the signal.
        """
        from scipy.special import expit, logit

        own = expit(logit(share) + self.log_odds)[:, None, None]
        signal = np.sqrt(own) * self.signals[0] + np.sqrt(1 - own) * self.signals[1]
        reliability = self.reliability[:, None]
        spread = signal.std(axis=1, keepdims=True) * np.sqrt((1 - reliability) / n_repetitions)
        return np.asarray(np.sqrt(reliability) * signal + spread * self.noise)


def readout_features(model: Responses) -> Array:
    """Return the principal components of a model's responses, each response pattern less its mean over units.

    Gaussian read-outs of these have, over many voxels, the model's correlation RDM.

    Parameters
    ----------
    model : Responses
        Dims ``(stimulus, unit)``.

    Returns
    -------
    ndarray, shape (n_stimuli, rank)
        Scaled so that the expected variance over stimuli of a read-out with standard normal weights is 1.

    Raises
    ------
    MeasureError
        If there is one unit only, or all stimuli have the same pattern.
    """
    values = model.values.astype(np.float64)
    values -= values.mean(axis=1, keepdims=True)
    size = np.sqrt(values.var(axis=0).sum())
    if model.sizes["unit"] < 2 or size <= 1e-12 * np.abs(model.values).max():
        raise MeasureError(f"{describe(model)}: no pattern over units differs between stimuli, so nothing can be read")
    left, singular, _ = np.linalg.svd(values / size, full_matrices=False)
    features: Array = left * singular
    return features


def aligned_models(models: Sequence[Responses]) -> list[Responses]:
    """Bring the responses of models to the stimulus order of the first, and check that each is of one layer.

    Parameters
    ----------
    models : sequence of Responses
        Repetitions are averaged.

    Returns
    -------
    list of Responses
        Dims ``(stimulus, unit)``.

    Raises
    ------
    ResponseError
        If the stimuli differ or values are missing.
    MeasureError
        If a model has several layers.
    """
    aligned = align(*(average_repetitions(model) for model in models))
    for model in aligned:
        check_responses(model)
        layers = list(units_by_layer(model))
        if len(layers) > 1:
            raise MeasureError(
                f"{describe(model)} has {len(layers)} layers, {layers[0]!r} to {layers[-1]!r}, expected one; "
                f"choose it, for instance by select_units(responses, layer={layers[-1]!r})"
            )
    return list(aligned)


def balanced_order(category: NDArray[np.generic], rng: np.random.Generator) -> Rows:
    """Return a random order of stimuli of which every beginning has the categories in about their shares.

    Parameters
    ----------
    category : ndarray, shape (n_stimuli,)
        Category of each stimulus.
    rng : numpy Generator
        The source of randomness.

    Returns
    -------
    ndarray of int, shape (n_stimuli,)
        Row numbers.
    """
    place = np.empty(len(category))
    for name in np.unique(category):
        members = np.flatnonzero(category == name)
        place[rng.permutation(members)] = (np.arange(len(members)) + rng.uniform()) / len(members)
    return np.argsort(place, kind="stable")


def draw_sample(
    population: Population, n_subjects: int, category: NDArray[np.generic], rng: np.random.Generator
) -> Sample:
    """Draw the subjects, the noise and the stimuli of a study.

    Parameters
    ----------
    population : Population
        From which.
    n_subjects : int
        How many.
    category : ndarray, shape (n_stimuli,)
        By which stimuli are balanced.
    rng : numpy Generator
        The source of randomness.

    Returns
    -------
    Sample
        What a study measures follows from it, for any number of repetitions, any share, and fewer subjects or stimuli.
    """
    n, n_voxels = len(category), population.n_voxels
    signals = [f @ rng.standard_normal((n_subjects, f.shape[1], n_voxels)) for f in population.features]
    return Sample(
        np.stack(signals),
        rng.standard_normal((n_subjects, n, n_voxels)),
        rng.choice(population.reliability, (n_subjects, n_voxels)),
        population.share_sd * rng.standard_normal(n_subjects),
        balanced_order(category, rng),
    )


class Analysis(Protocol):
    """How a study compares the models; prepared for certain stimuli, it takes brains."""

    def prepare(self, rows: Rows) -> Scorer:
        """Prepare what depends on the stimuli alone."""


class Scorer(Protocol):
    """Scores of the first model less those of the second."""

    def __call__(self, brains: Array, counts: NDArray[np.int64] | None) -> tuple[Array, Array]:
        """Return differences (n_subjects,) and, under each row of `counts`, (n_samples, n_subjects)."""


@dataclass(frozen=True)
class RdmAnalysis:
    """Comparison of the models' correlation RDMs with that of each subject.

    Attributes
    ----------
    rdms : ndarray, shape (2, n_stimuli, n_stimuli)
        Of the models.
    comparison : str
        See :func:`~brainalign.measures.rdm_compare.compare_rdms`.
    """

    rdms: Array
    comparison: Comparison

    @classmethod
    def of(cls, models: Sequence[Responses], comparison: Comparison) -> RdmAnalysis:
        """Return the analysis of two models."""
        return cls(np.stack([correlation_rdm(model) for model in models]), comparison)

    def prepare(self, rows: Rows) -> Scorer:
        """Take the distances between these stimuli."""
        models = pair_values(self.rdms[:, rows[:, None], rows])

        def score_rdms(brains: Array, counts: NDArray[np.int64] | None) -> tuple[Array, Array]:
            measured = np.stack([pair_values(1 - np.corrcoef(patterns)) for patterns in brains])
            first, second = compare_rdms(models, measured, self.comparison)
            if counts is None:
                return first - second, np.empty((0, len(brains)))
            resampled = weighted_scores(models, measured, counts, self.comparison)
            return first - second, resampled[:, 0] - resampled[:, 1]

        return score_rdms


@dataclass(frozen=True)
class EncodingAnalysis:
    """Cross-validated ridge regression: median over splits of each voxel, then over the voxels of a subject.

    Attributes
    ----------
    features : list of two ndarray, shape (n_stimuli, n_units)
        Responses of the models.
    statistic : str
        See :func:`~brainalign.measures.scores.score`.
    n_splits : int
        Folds, see :func:`~brainalign.measures.splits.make_splits`.
    """

    features: list[Array]
    statistic: Statistic
    n_splits: int

    def prepare(self, rows: Rows) -> Scorer:
        """Split these stimuli and decompose the features."""
        index = {f"{i:09d}": i for i in range(len(rows))}
        splits = [
            ([index[s] for s in part.train], [index[s] for s in part.test])
            for part in make_splits(list(index), "kfold", n_splits=self.n_splits)
        ]
        bases = [decompose_splits(features[rows], splits) for features in self.features]

        def score_predictions(brains: Array, counts: NDArray[np.int64] | None) -> tuple[Array, Array]:
            n_subjects, n, n_voxels = brains.shape
            targets = brains.transpose(1, 0, 2).reshape(n, -1)
            weights = np.ones((1, n)) if counts is None else np.vstack([np.ones(n), counts])
            by_subject = []
            for basis in bases:
                folds = [
                    score(ridge_predict(b, targets[train]).predictions, targets[test], self.statistic, weights[:, test])
                    for b, (train, test) in zip(basis, splits, strict=True)
                ]
                voxels = aggregate_folds(np.stack(folds)).reshape(-1, n_subjects, n_voxels)
                by_subject.append(np.median(voxels, axis=2))
            difference = by_subject[0] - by_subject[1]
            return difference[0], difference[1:]

        return score_predictions


@dataclass(frozen=True)
class Cell:
    """What a study measures, but for its subjects."""

    measure: str
    n_repetitions: int
    n_stimuli: int


def run_studies(
    samples: Iterator[Sample],
    analyses: Mapping[str, Analysis],
    shares: Mapping[Cell, Sequence[float]],
    counts: Mapping[int, NDArray[np.int64]] | None = None,
) -> Iterator[tuple[Cell, float, Array, Array]]:
    """Analyse each sample with each number of stimuli and repetitions.

    Parameters
    ----------
    samples : iterator of Sample
        One for each simulation.
    analyses : mapping of str to Analysis
        By the name of the measure.
    shares : mapping of Cell to sequence of float
        With which shares of the first model each cell is simulated.
    counts : mapping of int to ndarray, optional
        Bootstrap samples for each number of stimuli, shape (n_samples, n_stimuli).

    Yields
    ------
    tuple
        Cell, share, differences (n_subjects,), and differences under the bootstrap samples (n_samples, n_subjects).
    """
    for sample in samples:
        for n in dict.fromkeys(cell.n_stimuli for cell in shares):
            rows = sample.order[:n]
            prepared = {name: analysis.prepare(rows) for name, analysis in analyses.items()}
            for cell in (c for c in shares if c.n_stimuli == n):
                for share in shares[cell]:
                    brains = sample.responses(share, cell.n_repetitions)[:, rows]
                    yield cell, share, *prepared[cell.measure](brains, counts[n] if counts else None)
