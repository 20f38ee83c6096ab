"""Bootstrap and permutation against scipy, closed forms, and expectation on noise."""

import itertools
from collections import Counter

import numpy as np
import pytest
from scipy import stats as scipy_stats

from brainalign.errors import MeasureError
from brainalign.stats import (
    bca_limits,
    bootstrap_counts,
    bootstrap_interval,
    permutation_p,
    permute_labels,
    shifted_percentile_limits,
)
from brainalign.stats.resampling import jackknife_weights


def weighted_mean(x, *, weights):
    return weights @ x / weights.sum(axis=1).reshape(-1, *[1] * (x.ndim - 1))


def weighted_correlation(x, y, *, weights):
    """Correlation of x and y, shape (n, ...), for each row of weights."""
    ex, ey, exx, eyy, exy = (weighted_mean(v, weights=weights) for v in (x, y, x * x, y * y, x * y))
    return (exy - ex * ey) / np.sqrt((exx - ex**2) * (eyy - ey**2))


def correlation(x, y, axis=-1):
    x, y = x - x.mean(axis, keepdims=True), y - y.mean(axis, keepdims=True)
    return (x * y).sum(axis) / np.sqrt((x**2).sum(axis) * (y**2).sum(axis))


def test_counts_are_multinomial():
    """Mean 1, variance 1 - 1/n, covariance -1/n; strata keep their sizes."""
    n, n_resamples = 8, 40_000
    counts = bootstrap_counts(n, n_resamples, np.random.default_rng(0))
    assert (counts.sum(axis=1) == n).all()
    expected = np.eye(n) - 1 / n
    np.testing.assert_allclose(np.cov(counts.T), expected, atol=5 * np.sqrt(2 / n_resamples))
    labels = np.array(list("abababbb"))
    counts = bootstrap_counts(n, 500, np.random.default_rng(0), strata=labels)
    for label in "ab":
        assert (counts[:, labels == label].sum(axis=1) == (labels == label).sum()).all()
    assert counts.std(axis=0).min() > 0


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_bca_equals_scipy_on_the_same_resamples(level):
    rng = np.random.default_rng(4)
    x = rng.exponential(size=(3, 25)) ** 2
    judge = scipy_stats.bootstrap((x,), np.mean, axis=-1, confidence_level=level, n_resamples=999, rng=rng)
    jackknife = [np.delete(x, i, axis=1).mean(axis=1) for i in range(25)]
    boot = np.moveaxis(judge.bootstrap_distribution, -1, 0)
    low, high = bca_limits(x.mean(axis=1), boot, jackknife, level)
    np.testing.assert_allclose(low, judge.confidence_interval.low, rtol=1e-12)
    np.testing.assert_allclose(high, judge.confidence_interval.high, rtol=1e-12)


def test_bca_of_two_samples_equals_scipy_on_the_same_resamples():
    rng = np.random.default_rng(5)
    x, y = rng.exponential(size=15), rng.normal(size=30)

    def difference(x, y, axis=-1):
        return x.mean(axis) - y.mean(axis)

    judge = scipy_stats.bootstrap((x, y), difference, n_resamples=999, rng=rng)
    jackknife = [difference(np.delete(x, i), y) for i in range(15)]
    jackknife += [difference(x, np.delete(y, i)) for i in range(30)]
    limits = bca_limits(difference(x, y), judge.bootstrap_distribution, jackknife, strata=[0] * 15 + [1] * 30)
    np.testing.assert_allclose(limits, judge.confidence_interval, rtol=1e-12)


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_weights_and_copies_give_the_same_interval(method):
    rng = np.random.default_rng(6)
    x = rng.normal(size=(30, 4))
    y = 0.6 * x + rng.normal(size=(30, 4))
    options = {"n_resamples": 400, "method": method, "seed": 9}
    by_weights = bootstrap_interval(weighted_correlation, x, y, weighted=True, **options)
    by_copies = bootstrap_interval(lambda a, b: correlation(a, b, axis=0), x, y, **options)
    turned = bootstrap_interval(lambda a, b: correlation(a, b), x.T, y.T, axis=1, **options)
    for name in ("estimate", "low", "high", "standard_error"):
        np.testing.assert_allclose(getattr(by_weights, name), getattr(by_copies, name), rtol=1e-9, err_msg=name)
        np.testing.assert_allclose(getattr(turned, name), getattr(by_copies, name), rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(by_copies.estimate, correlation(x, y, axis=0), rtol=1e-12)


def test_interval_agrees_with_scipy_within_resampling_error():
    rng = np.random.default_rng(7)
    x = rng.exponential(size=60)
    ours = bootstrap_interval(weighted_mean, x, weighted=True, n_resamples=20_000)
    theirs = scipy_stats.bootstrap((x,), np.mean, n_resamples=20_000, rng=rng)
    # The 2.5 % quantile of 20,000 draws has an SE of about 0.02 SE of the mean.
    slack = 5 * 0.02 * theirs.standard_error * np.sqrt(2)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=slack)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=slack)
    assert ours.standard_error == pytest.approx(x.std() / np.sqrt(60), rel=0.03)
    assert (ours.estimate, ours.n, ours.n_resamples) == (pytest.approx(x.mean()), 60, 20_000)


def test_strata_take_the_variance_between_them_away():
    """Resampling within two groups far apart leaves only the variance within them."""
    rng = np.random.default_rng(8)
    labels = np.repeat([0, 1], [20, 40])
    x = rng.normal(size=60) + 100 * labels
    within = bootstrap_interval(weighted_mean, x, weighted=True, strata=labels, n_resamples=20_000).standard_error
    expected = np.sqrt(sum((labels == g).sum() * x[labels == g].var() for g in (0, 1))) / 60
    assert within == pytest.approx(expected, rel=0.03)


def test_same_seed_same_interval():
    x = np.random.default_rng(0).normal(size=12)
    first, again = (bootstrap_interval(np.mean, x, n_resamples=200, seed=3) for _ in range(2))
    assert first == again
    assert first != bootstrap_interval(np.mean, x, n_resamples=200, seed=4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_constant_data_have_an_interval_of_no_width(method):
    found = bootstrap_interval(weighted_mean, np.full(7, 0.1), weighted=True, method=method, n_resamples=300)
    assert found.low == pytest.approx(0.1, rel=1e-12)
    assert found.high == pytest.approx(0.1, rel=1e-12)


@pytest.mark.filterwarnings("error")
def test_bca_takes_rounding_for_equality():
    """All resamples of data that cannot vary: 0.3 and 0.1 + 0.2 are the same estimate."""
    low, high = bca_limits(0.3, np.full(100, 0.1 + 0.2), np.full(5, 0.3))
    assert low == high == pytest.approx(0.3, rel=1e-12)


def test_percentile_limits_and_standard_error_come_from_the_drawn_samples():
    x = np.random.default_rng(2).normal(size=9)
    found = bootstrap_interval(np.mean, x, n_resamples=21, method="percentile", level=0.9, seed=1)
    means = bootstrap_counts(9, 21, np.random.default_rng(1)) @ x / 9
    assert found.standard_error == pytest.approx(means.std(ddof=1), rel=1e-12)
    # The 5 % quantile of 21 values is the second of them.
    assert (found.low, found.high) == pytest.approx(tuple(np.sort(means)[[1, -2]]), rel=1e-12)


@pytest.mark.parametrize("level", [0.7, 0.95])
def test_bca_interval_is_that_of_the_drawn_samples_unit_by_unit(level):
    x = np.random.default_rng(3).exponential([1.0, 10.0], size=(14, 2))
    found = bootstrap_interval(lambda a: a.mean(axis=0), x, n_resamples=300, level=level, seed=1)
    boot = bootstrap_counts(14, 300, np.random.default_rng(1)) @ x / 14
    left_out = [np.delete(x, i, axis=0).mean(axis=0) for i in range(14)]
    for unit in (0, 1):
        low, high = bca_limits(x[:, unit].mean(), boot[:, unit], [v[unit] for v in left_out], level)
        assert (found.low[unit], found.high[unit]) == pytest.approx((low, high), rel=1e-12)
        assert found.standard_error[unit] == pytest.approx(boot[:, unit].std(ddof=1), rel=1e-12)
    assert (found.method, found.level) == ("bca", level)


def test_bca_at_the_edge_is_nan_with_a_warning():
    rng = np.random.default_rng(0)
    boot = rng.normal(size=(500, 2))
    with pytest.warns(UserWarning, match="do not exist for 1 of 2 estimates"):
        low, high = bca_limits([0.0, 9.0], boot, rng.normal(size=(20, 2)))
    assert np.isfinite([low[0], high[0]]).all()
    assert np.isnan([low[1], high[1]]).all()


def test_shifted_percentiles_enclose_the_estimate():
    """Of normal resamples, they are the normal interval about the estimate, wherever the resamples lie."""
    boot = np.random.default_rng(0).normal(3, 0.5, size=(200_000, 2))
    low, high = shifted_percentile_limits([0.0, 7.0], boot, 0.9)
    half = 0.5 * scipy_stats.norm.ppf(0.95)
    np.testing.assert_allclose(low, [-half, 7 - half], atol=0.01)
    np.testing.assert_allclose(high, [half, 7 + half], atol=0.01)


def test_shifted_percentiles_are_those_of_each_estimate():
    """The 10 %, 50 % and 90 % quantiles of 11 values are the second, the sixth and the tenth."""
    boot = np.stack([np.arange(11.0), np.arange(11.0) ** 2], axis=1)
    low, high = shifted_percentile_limits([0.0, 5.0], boot[::-1], 0.8)
    np.testing.assert_allclose(low, [1 - 5, 5 + 1 - 25])
    np.testing.assert_allclose(high, [9 - 5, 5 + 81 - 25])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: bootstrap_interval(np.mean, x[:1]), "at least 2 observations"),
        (lambda x: bootstrap_interval(np.mean, x, x[:3]), r"have \[3, 6\] observations"),
        (lambda x: bootstrap_interval(np.mean, x, axis=1), r"have \[0\]|at least 2"),
        (lambda x: bootstrap_interval(np.mean, x, level=95), "between 0 and 1"),
        (lambda x: bootstrap_interval(np.mean, x, method="basic"), "no method 'basic'"),
        (lambda x: bootstrap_interval(np.mean, x, strata=list("aaabbc")), "strata c have a single"),
        (lambda x: bootstrap_interval(np.mean, x, strata=[1, 2]), "one label for each of 6"),
        (lambda x: bootstrap_interval(lambda a: np.nan, x), "NaN or infinite in 1 of 1"),
        (
            lambda x: bootstrap_interval(lambda a, weights: a.mean(), x, weighted=True),
            "expected one entry for each row",
        ),
        (
            lambda x: bootstrap_interval(lambda a: 1.0 if 5 in a else np.nan, x, n_resamples=50),
            r"NaN or infinite in \d+ of 50 bootstrap samples; .*strata",
        ),
        (lambda x: bca_limits(0.0, np.zeros((5, 2)), np.zeros(5)), "expected one row"),
        (lambda x: permute_labels(1, 10, np.random.default_rng()), "at least 2 labels"),
        (lambda x: permutation_p(0.0, [np.nan, 1.0]), "1 of 2 values of null"),
        (lambda x: permutation_p(np.nan, [0.0, 1.0]), "1 of 1 values of observed"),
        (lambda x: permutation_p(0.0, []), "null has shape"),
        (lambda x: permutation_p([0.0, 1.0], [0.0, 1.0]), "null has shape"),
    ],
)
def test_bad_input_is_an_error_that_says_so(call, message):
    with pytest.raises(MeasureError, match=message):
        call(np.arange(6.0))


def test_permutations_are_uniform():
    """All 24 orders of 4 labels are equally frequent (chi-square at 0.1 %)."""
    orders = permute_labels(4, 24_000, np.random.default_rng(0))
    seen = Counter(map(tuple, orders.tolist()))
    assert set(seen) == set(itertools.permutations(range(4)))
    assert scipy_stats.chisquare(list(seen.values())).pvalue > 0.001


def test_permutations_stay_within_strata():
    labels = np.array(list("abcabcbbb"))
    orders = permute_labels(9, 200, np.random.default_rng(0), strata=np.where(labels == "b", 1, 0))
    assert ((labels[orders] == "b") == (labels == "b")).all()
    assert (np.sort(orders, axis=1) == np.arange(9)).all()
    assert orders.std(axis=0).min() > 0


def test_permutation_p_counts():
    null = [1.0, 2.0, 3.0, 4.0]
    assert permutation_p(3.0, null) == 3 / 5
    assert permutation_p(3.0, null, alternative="less") == 4 / 5
    assert permutation_p(9.0, null) == 1 / 5
    assert permutation_p(9.0, null, alternative="two-sided") == 2 / 5
    assert permutation_p(2.5, null, alternative="two-sided") == 1
    both = np.tile(null, (2, 1)).T
    np.testing.assert_array_equal(permutation_p([3.0, 9.0], both), [0.6, 0.2])
    np.testing.assert_array_equal(permutation_p([3.0, 9.0], both, alternative="less"), [0.8, 1.0])
    np.testing.assert_array_equal(permutation_p([4.0, 9.0], both, alternative="two-sided"), [0.8, 0.4])


def test_permutation_p_takes_rounding_for_equality():
    assert permutation_p(0.1 + 0.2, [0.3, 0.3]) == 1


def test_permutation_p_equals_scipy():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=4), rng.normal(1, 1, size=4)
    pooled = np.concatenate([x, y])

    def difference(x, y, axis=-1):
        return x.mean(axis) - y.mean(axis)

    # All 70 splits but the observed one: scipy's exact p counts that one among its 70.
    splits = itertools.combinations(range(8), 4)
    null = [difference(pooled[list(s)], np.delete(pooled, s)) for s in splits][1:]
    for alternative in ("greater", "less", "two-sided"):
        judge = scipy_stats.permutation_test((x, y), difference, alternative=alternative)
        p = permutation_p(difference(x, y), null, alternative=alternative)
        assert p == pytest.approx(judge.pvalue, rel=1e-12)


def within_binomial_error(share: float, expected: float, n: int) -> bool:
    return abs(share - expected) < 3.5 * np.sqrt(expected * (1 - expected) / n)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bca", "percentile"])
@pytest.mark.parametrize("n", [10, 40])
def test_coverage_of_the_mean(n, method):
    """The bootstrap takes z = 1.96 and ddof 0 where Student takes t and ddof 1.

    Its interval for a normal mean is mean +- z s0 / sqrt n, s0 with ddof 0, which holds the mean
    with probability P(|t| < z sqrt((n - 1) / n)), n - 1 degrees of freedom.
    """
    n_simulations = 2000
    x = np.random.default_rng(11).normal(size=(n, n_simulations))
    found = bootstrap_interval(weighted_mean, x, weighted=True, n_resamples=2000, method=method)
    covered = ((found.low < 0) & (found.high > 0)).mean()
    z = scipy_stats.norm.ppf(0.975) * np.sqrt((n - 1) / n)
    expected = 1 - 2 * scipy_stats.t.sf(z, n - 1)
    assert within_binomial_error(covered, expected, n_simulations), (covered, expected)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "n_targets", "rho"), [(60, 150, 0.0), (80, 200, 0.1)])
def test_shifted_percentiles_cover_where_plain_ones_do_not(n, n_targets, rho):
    """The mean over targets of r2, cut off at 0, as of many voxels: resamples are biased upwards.

    Plain percentile intervals leave even the mean estimate of such studies out in most of them, and the more so where
    BCa does not exist. Shifted ones hold it; they are rather too wide, as resamples spread more than studies do.
    """
    rng = np.random.default_rng(13)

    def mean_r2(x, y, weights):
        total = weights.sum(axis=1, keepdims=True)
        mean_x, mean_y = weights @ x[:, None] / total, weights @ y / total
        covariance = weights @ (x[:, None] * y) / total - mean_x * mean_y
        spread = (weights @ x[:, None] ** 2 / total - mean_x**2) * (weights @ y**2 / total - mean_y**2)
        return (np.clip(covariance / np.sqrt(spread), 0, None) ** 2).mean(axis=1)

    rows = []
    for _ in range(300):
        x = rng.normal(size=n)
        y = rho * x[:, None] + np.sqrt(1 - rho**2) * rng.normal(size=(n, n_targets))
        value = mean_r2(x, y, np.ones((1, n)))[0]
        resampled = mean_r2(x, y, bootstrap_counts(n, 300, rng).astype(float))
        shifted = shifted_percentile_limits(value, resampled)
        below = (resampled > value).all()
        rows.append([value, *np.quantile(resampled, [0.025, 0.975]), *shifted, below])
    value, low, high, shifted_low, shifted_high, edge = np.array(rows).T
    assert ((shifted_low <= value) & (value <= shifted_high)).all()
    expected, edge = value.mean(), edge.astype(bool)
    assert edge.mean() > 0.02
    for some in (edge, np.ones(len(edge), bool)):
        plain = ((low <= expected) & (expected <= high))[some].mean()
        covered = ((shifted_low <= expected) & (expected <= shifted_high))[some].mean()
        assert covered >= 0.95 > 0.7 > plain, (covered, plain)


@pytest.mark.slow
def test_coverage_of_a_correlation():
    n, n_simulations, rho = 165, 2000, 0.5
    rng = np.random.default_rng(12)
    x = rng.normal(size=(n, n_simulations))
    y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=(n, n_simulations))
    found = bootstrap_interval(weighted_correlation, x, y, weighted=True, n_resamples=2000)
    covered = ((found.low < rho) & (found.high > rho)).mean()
    # To first order as the mean of n influence values: the level, with Student's loss.
    expected = 1 - 2 * scipy_stats.t.sf(scipy_stats.norm.ppf(0.975), n - 1)
    assert within_binomial_error(covered, expected, n_simulations), (covered, expected)
    missed = np.array([(found.low >= rho).mean(), (found.high <= rho).mean()])
    assert all(within_binomial_error(m, (1 - expected) / 2, n_simulations) for m in missed), missed


@pytest.mark.slow
@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_permutation_test_rejects_one_null_in_twenty(alternative):
    """Skewed data, label permutation of a difference of means: p <= .05 in 5 % of cases."""
    n_simulations, n_permutations = 4000, 399
    rng = np.random.default_rng(13)
    x = rng.exponential(size=(24, n_simulations))
    labels = np.where(np.arange(24) < 8, 1 / 8, -1 / 16)
    null = labels[permute_labels(24, n_permutations, rng)] @ x
    p = permutation_p(labels @ x, null, alternative=alternative)
    assert within_binomial_error((p <= 0.05).mean(), 0.05, n_simulations)
    assert within_binomial_error((p <= 0.5).mean(), 0.5, n_simulations)


def test_few_observations_are_left_out_one_by_one():
    np.testing.assert_array_equal(jackknife_weights(7), 1 - np.eye(7))


def test_groups_leave_each_observation_out_once():
    weights = jackknife_weights(2_500)
    assert weights.shape == (1_000, 2_500)
    np.testing.assert_array_equal((1 - weights).sum(axis=0), 1)
    assert set((1 - weights).sum(axis=1)) == {2, 3}


def test_limits_from_groups_are_those_from_single_observations():
    """The mean of skewed values: the acceleration by groups is that of the closed form, skewness / (6 sqrt(n))."""
    x = np.random.default_rng(0).exponential(size=20_000)
    boot = np.random.default_rng(1).choice(x, (400, len(x))).mean(axis=1)
    single = bca_limits(x.mean(), boot, (x.sum() - x) / (len(x) - 1), 0.95)
    grouped = bca_limits(x.mean(), boot, weighted_mean(x, weights=jackknife_weights(len(x))), 0.95)
    width = single[1] - single[0]
    np.testing.assert_allclose(grouped, single, atol=0.02 * width)
