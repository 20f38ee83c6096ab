"""Intervals over subjects and stimuli: copies instead of weights, closed forms, coverage."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from brainalign.errors import MeasureError
from brainalign.stats import bca_limits, bootstrap_counts, bootstrap_interval
from brainalign.stats.hierarchical import hierarchical_bootstrap, within_subject_sem


def means(x):
    """Return the statistic that averages a (subject, stimulus) table over stimuli."""
    return lambda w: (w @ x.T / w.sum(axis=1, keepdims=True))[..., None]


def crossed(n_subjects, n_stimuli, subject_sd=1.0, stimulus_sd=1.0, noise_sd=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return (
        subject_sd * rng.standard_normal((n_subjects, 1))
        + stimulus_sd * rng.standard_normal((1, n_stimuli))
        + noise_sd * rng.standard_normal((n_subjects, n_stimuli))
    )


def test_weights_are_copies():
    """The same draws, with stimuli and subjects copied, give the same standard error and percentiles."""
    x = crossed(5, 12)

    def median(weights):
        copies = [np.repeat(np.arange(12), w.astype(int)) for w in weights]
        return np.array([np.median(x[:, c], axis=1) for c in copies])[..., None]

    result = hierarchical_bootstrap(median, 12, 300, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    stimuli = bootstrap_counts(12, 300, rng)
    subjects = rng.multinomial(5, np.full(5, 0.2), size=300)
    samples = [
        np.median(np.repeat(np.repeat(x, s, axis=0), c, axis=1), axis=1).mean()
        for c, s in zip(stimuli, subjects, strict=True)
    ]
    assert result.estimate[0] == pytest.approx(np.median(x, axis=1).mean())
    assert result.standard_error[0] == pytest.approx(np.std(samples, ddof=1))
    assert min(samples) <= result.low[0] < result.estimate[0] < result.high[0] <= max(samples)


def test_standard_error_is_that_of_the_pigeonhole_bootstrap():
    """Its variance has a closed form in the second moments of multinomial counts (Owen 2007)."""
    x = crossed(6, 20)
    r, c = x.shape
    second = (
        (x**2).sum()
        + (1 - 1 / c) * (x.sum(axis=1) ** 2).sum()
        + (1 - 1 / r) * (x.sum(axis=0) ** 2).sum()
        + (1 - 1 / r) * (1 - 1 / c) * x.sum() ** 2
    ) / (r * c) ** 2
    result = hierarchical_bootstrap(means(x), c, 40_000, np.random.default_rng(0))
    assert result.standard_error[0] == pytest.approx(np.sqrt(second - x.mean() ** 2), rel=0.02)


def test_one_subject_is_the_bootstrap_over_stimuli():
    x = crossed(1, 30)
    result = hierarchical_bootstrap(means(x), 30, 500, np.random.default_rng(7), level=0.9)
    peer = bootstrap_interval(
        lambda v, weights: weights @ v / weights.sum(axis=1), x[0], weighted=True, n_resamples=500, level=0.9, seed=7
    )
    assert (result.low[0], result.high[0]) == pytest.approx((peer.low, peer.high))
    assert result.n_subjects[0] == 1


def test_bca_limits_take_subjects_and_stimuli_as_two_samples():
    """The limits of the drawn means, the jackknife being the means without each stimulus and without each subject."""
    x = np.exp(crossed(7, 11, seed=5))
    result = hierarchical_bootstrap(means(x), 11, 400, np.random.default_rng(2), level=0.8)
    rng = np.random.default_rng(2)
    stimuli = bootstrap_counts(11, 400, rng)
    subjects = rng.multinomial(7, np.full(7, 1 / 7), size=400)
    samples = np.einsum("bi,ij,bj->b", subjects, x, stimuli) / 77
    left_out = [np.delete(x, j, axis=1).mean() for j in range(11)] + [np.delete(x, i, axis=0).mean() for i in range(7)]
    low, high = bca_limits(x.mean(), samples, left_out, 0.8, strata=["stimulus"] * 11 + ["subject"] * 7)
    assert (result.low[0], result.high[0]) == pytest.approx((low, high), rel=1e-9)


def test_a_subject_without_the_estimate_is_as_if_not_there():
    x = crossed(5, 15)

    def both(weights):
        values = means(x)(weights)
        lacking = values.copy()
        lacking[:, 2] = np.nan
        return np.concatenate([lacking, values], axis=2)

    result = hierarchical_bootstrap(both, 15, 200, np.random.default_rng(1))
    assert result.n_subjects.tolist() == [4, 5]
    assert result.method.tolist() == ["bca", "bca"]
    without = hierarchical_bootstrap(means(np.delete(x, 2, axis=0)), 15, 200, np.random.default_rng(1))
    assert result.estimate[0] == without.estimate[0]
    assert (result.low[0], result.high[0]) == pytest.approx((without.low[0], without.high[0]))


def test_the_estimate_without_a_value_is_named():
    def second_lacks(weights):
        return means(crossed(3, 10))(weights) * np.array([1, np.nan])

    with pytest.raises(MeasureError, match="estimate 1 has no value for any subject"):
        hierarchical_bootstrap(second_lacks, 10, 50, np.random.default_rng(0))


def test_percentiles_where_bca_does_not_exist():
    """The largest weight is 1 in the data and 2 or more in a resample: plain percentiles would leave the 1 out."""
    result = hierarchical_bootstrap(lambda w: np.zeros((len(w), 4, 1)) + w.max(axis=1)[:, None, None], 10, 50,
                                    np.random.default_rng(0))  # fmt: skip
    largest = bootstrap_counts(10, 50, np.random.default_rng(0)).max(axis=1)
    low, middle, high = np.quantile(largest, [0.025, 0.5, 0.975])
    assert low >= 2
    assert (result.method[0], result.estimate[0]) == ("shifted percentile", 1)
    assert (result.low[0], result.high[0]) == pytest.approx((1 + low - middle, 1 + high - middle))


@pytest.mark.parametrize(
    ("statistic", "message"),
    [
        (lambda w: np.full((len(w), 3, 1), np.nan), "no value for any subject"),
        (lambda w: np.zeros((len(w), 3)), "expected"),
        (lambda w: np.where(w[:, :1, None] == 0, np.nan, np.zeros((len(w), 3, 1))), "in some bootstrap samples"),
    ],
)
def test_statistics_that_cannot_be_used(statistic, message):
    with pytest.raises(MeasureError, match=message):
        hierarchical_bootstrap(statistic, 10, 50, np.random.default_rng(0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_subjects", "sd", "least", "most"),
    [
        (20, (1, 0, 0.01), 0.90, 0.96),
        (4, (1, 0, 0.01), 0.76, 0.87),
        (8, (0.5, 1, 1), 0.87, 0.97),
        (8, (0, 0, 1), 0.98, 1),
    ],
)
def test_coverage(n_subjects, sd, least, most):
    """Nearly right for many subjects, too narrow for few, wide where only noise varies: as the docstring says."""
    hits = []
    for seed in range(500):
        x = crossed(n_subjects, 60, *sd, seed=seed)
        result = hierarchical_bootstrap(means(x), 60, 400, np.random.default_rng(seed))
        hits.append(result.low[0] <= 0 <= result.high[0])
    assert least <= np.mean(hits) <= most


def test_within_subject_error_of_two_conditions_is_that_of_the_paired_t():
    x = np.random.default_rng(0).standard_normal((9, 2)) + 3 * np.random.default_rng(1).standard_normal((9, 1))
    sem = within_subject_sem(x)
    t = (x[:, 0] - x[:, 1]).mean() / np.hypot(*sem)
    assert t == pytest.approx(ttest_rel(x[:, 0], x[:, 1]).statistic)
    np.testing.assert_allclose(within_subject_sem(x, corrected=False), sem / np.sqrt(2))


def test_within_subject_error_ignores_what_subjects_have_in_all_conditions():
    x = np.random.default_rng(0).standard_normal((6, 4))
    shifted = x + 100 * np.arange(6)[:, None]
    np.testing.assert_allclose(within_subject_sem(shifted), within_subject_sem(x))
    normalised = x - x.mean(axis=1, keepdims=True) + x.mean()
    np.testing.assert_allclose(
        within_subject_sem(x, corrected=False), [np.std(c, ddof=1) / np.sqrt(6) for c in normalised.T]
    )


def test_within_subject_error_needs_subjects_and_conditions():
    assert np.isnan(within_subject_sem(np.zeros((1, 3)))).all()
    assert np.isnan(within_subject_sem(np.zeros((3, 1)))).all()
    with pytest.raises(MeasureError, match="NaN"):
        within_subject_sem([[1, np.nan], [1, 2]])
    with pytest.raises(MeasureError, match="found shape"):
        within_subject_sem([1, 2])
