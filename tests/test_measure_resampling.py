"""Draws and intervals that measures share, against the draws of single groups, copies, and scipy's BCa."""

import numpy as np
import pytest
from scipy import stats as sps

from brainalign.errors import MeasureError
from brainalign.measures.jackknife import lone_stimulus
from brainalign.measures.resampling import NO_BCA, check_seed, draw_counts, draw_orders, interval

IDS = [f"s{i:02d}" for i in range(12)]


def rng():
    return np.random.default_rng(3)


def mean_of(x):
    return lambda weights: (weights @ x / weights.sum(axis=1))[:, None]


@pytest.mark.parametrize("ids", [None, IDS])
def test_bootstrap_samples_draw_within_their_groups(ids):
    strata = np.array(list("aaabbbbbcccc"))
    counts = draw_counts(12, 500, rng(), strata, ids)
    for group, size in (("a", 3), ("b", 5), ("c", 4)):
        assert (counts[:, strata == group].sum(axis=1) == size).all()
    # A stimulus is drawn once on average, and as often as a binomial says.
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.2)
    np.testing.assert_allclose(counts[:, :3].var(), 3 * (1 / 3) * (2 / 3), atol=0.1)


def test_draws_belong_to_ids_whatever_their_order():
    order = np.random.default_rng(0).permutation(12)
    shuffled = [IDS[i] for i in order]
    counts, again = (draw_counts(12, 30, rng(), ids=ids) for ids in (IDS, shuffled))
    np.testing.assert_array_equal(counts[:, order], again)
    orders, permuted = (draw_orders(12, 30, rng(), ids) for ids in (IDS, shuffled))
    partners = [{shuffled[j]: shuffled[k] for j, k in enumerate(row)} for row in permuted[1:]]
    assert partners == [{IDS[j]: IDS[k] for j, k in enumerate(row)} for row in orders[1:]]
    np.testing.assert_array_equal(permuted[0], np.arange(12))


def test_limits_are_those_of_scipy():
    x = np.random.default_rng(5).gamma(2, 1, 12)
    low, high, notes = interval(np.array([x.mean()]), draw_counts(12, 20_000, rng()), mean_of(x), 0.9)
    peer = sps.bootstrap((x,), np.mean, confidence_level=0.9, n_resamples=20_000, rng=1).confidence_interval
    np.testing.assert_allclose([low[0], high[0]], peer, rtol=0.02)
    assert notes == [""]


def test_where_bca_does_not_exist_both_limits_are_shifted_percentiles_and_enclose_the_value():
    x = np.random.default_rng(5).gamma(2, 1, 12)
    beyond = np.array([x.max() + 1])
    low, high, notes = interval(beyond, draw_counts(12, 200, rng()), mean_of(x), 0.95)
    assert notes == [NO_BCA]
    assert low[0] <= beyond[0] <= high[0] < np.inf
    assert high[0] - low[0] < 3


def test_no_samples_no_limits():
    low, high, notes = interval(np.zeros(2), draw_counts(5, 0, rng()), mean_of(np.arange(5.0)), 0.95)
    assert np.isnan([low, high]).all()
    assert notes == ["", ""]


def test_what_is_no_option():
    for seed in (-1, True, 1.0, "1", None):
        with pytest.raises(MeasureError, match=r"seed is .*, expected a whole number of at least 0"):
            check_seed(seed)
    for n in (-1, 1_000_001):
        with pytest.raises(MeasureError, match=f"n_permutations is {n}, expected 0 to 1,000,000"):
            draw_orders(5, n, rng())
    for n in (-1, 1, 19, 1_000_001):
        with pytest.raises(MeasureError, match=rf"n_bootstrap is {n}, expected 0 \(no interval\) or 20 to 1,000,000"):
            draw_counts(5, n, rng())
    assert draw_counts(2, 20, rng()).shape == (20, 2)
    for level in (0, 1, -0.1, 95):
        with pytest.raises(MeasureError, match=f"level is {level}, expected a share between 0 and 1"):
            interval(np.zeros(1), draw_counts(5, 20, rng()), mean_of(np.arange(5.0)), level)


@pytest.mark.parametrize("lone", range(4))
def test_the_row_that_alone_differs_is_found_wherever_it_is(lone):
    x = np.ones((4, 3))
    assert lone_stimulus(x) is None
    x[lone, 1] += 1e-3
    assert lone_stimulus(x) == lone
    x[(lone + 1) % 4, 2] += 1e-3
    assert lone_stimulus(x) is None
