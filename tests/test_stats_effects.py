"""Effect sizes against closed forms and other packages; adjusted p-values by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from sklearn.metrics import roc_auc_score

from brainalign.errors import MeasureError
from brainalign.stats import adjust_p, auc, cohens_d, d_prime, rank_sum, welch_t

values = st.lists(st.integers(-5, 5), min_size=1, max_size=9)


@given(values, values)
def test_auc_is_the_area_under_the_roc_curve(x, y):
    labels = [1] * len(x) + [0] * len(y)
    assert auc(x, y) == pytest.approx(roc_auc_score(labels, x + y))
    assert auc(x, y) == pytest.approx(rank_sum(x, y).effect_size)


def test_cohens_d_by_hand():
    """Means 4 and 1; squared deviations 8 and 2 over 2 + 1 degrees of freedom."""
    assert cohens_d([2, 4, 6], [0, 2]) == pytest.approx(3 / np.sqrt(10 / 3))


def test_d_prime_by_hand():
    """Means 4 and 1; variances 4 and 2."""
    assert d_prime([2, 4, 6], [0, 2]) == pytest.approx(3 / np.sqrt(3))


def test_d_prime_of_gaussians_agrees_with_their_auc():
    """AUC = Phi(d' / sqrt 2) for two normal distributions, whatever their variances."""
    quantiles = scipy_stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    x, y = 1 + 1.5 * quantiles, 0.7 * quantiles
    assert auc(x, y) == pytest.approx(scipy_stats.norm.cdf(d_prime(x, y) / np.sqrt(2)), abs=2e-4)


def test_welch_t_equals_scipy_for_many_units():
    rng = np.random.default_rng(0)
    x, y = rng.normal(1, 2, (12, 30)), rng.normal(0, 1, (7, 30))
    expected = scipy_stats.ttest_ind(x, y, equal_var=False).statistic
    np.testing.assert_allclose(welch_t(x, y), expected, rtol=1e-12)
    np.testing.assert_allclose(welch_t(x.T, y.T, axis=1), expected, rtol=1e-12)


def test_the_selectivity_index_of_kim_2024():
    """Equation 2 with numpy's default standard deviation (ddof 0), written out."""
    rng = np.random.default_rng(1)
    music, other = rng.gamma(2, 1, (35, 8)), rng.gamma(1, 1, (130, 8))
    expected = [
        (m.mean() - o.mean()) / np.sqrt(m.std() ** 2 / m.size + o.std() ** 2 / o.size)
        for m, o in zip(music.T, other.T, strict=True)
    ]
    np.testing.assert_allclose(welch_t(music, other, ddof=0), expected, rtol=1e-12)


@pytest.mark.parametrize("effect", [auc, cohens_d, d_prime, welch_t])
def test_many_units_equal_the_loop(effect):
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(6, 3, 4)), rng.normal(size=(9, 3, 4))
    together = effect(x, y)
    assert together.shape == (3, 4)
    for i, j in np.ndindex(3, 4):
        assert together[i, j] == pytest.approx(effect(x[:, i, j], y[:, i, j]), rel=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("effect", [cohens_d, d_prime, welch_t])
def test_units_without_spread(effect):
    """0.1 is not exact in binary, so means of 3 and 7 copies may differ by rounding."""
    assert effect([0.1] * 3, [0.1] * 7) == 0
    assert effect([0.2] * 3, [0.1] * 7) == np.inf
    assert effect([0.0] * 3, [0.1] * 7) == -np.inf
    assert effect([0.0, 1.0], [0.1] * 7) == pytest.approx(effect([5.0, 6.0], [5.1] * 7))


@pytest.mark.filterwarnings("error")
def test_auc_without_spread():
    assert auc([0.1] * 3, [0.1] * 7) == 0.5


@pytest.mark.parametrize("effect", [cohens_d, d_prime, welch_t])
def test_one_observation_has_no_spread(effect):
    with pytest.raises(MeasureError, match="y has 1 observations, at least 2 needed"):
        effect([1.0, 2.0], [1.0])


@pytest.mark.parametrize("effect", [auc, cohens_d, d_prime, welch_t])
def test_nan_is_an_error(effect):
    with pytest.raises(MeasureError, match="1 of 3 values of x are NaN or infinite"):
        effect([1.0, np.nan, 2.0], [1.0, 2.0])


def test_adjusted_p_by_hand():
    p = np.array([[0.01, 0.04], [0.03, 0.5]])
    np.testing.assert_allclose(adjust_p(p, "fdr_bh"), [[0.04, 0.04 * 4 / 3], [0.04 * 4 / 3, 0.5]], rtol=1e-12)
    harmonic = 1 + 1 / 2 + 1 / 3 + 1 / 4
    np.testing.assert_allclose(adjust_p(p, "fdr_by"), np.minimum(adjust_p(p, "fdr_bh") * harmonic, 1), rtol=1e-12)
    np.testing.assert_allclose(adjust_p(p, "holm"), [[0.04, 0.09], [0.09, 0.5]], rtol=1e-12)
    np.testing.assert_allclose(adjust_p(p, "bonferroni"), [[0.04, 0.16], [0.12, 1]], rtol=1e-12)
    np.testing.assert_allclose(adjust_p(p, "sidak"), 1 - (1 - p) ** 4, rtol=1e-12)
    np.testing.assert_allclose(adjust_p(p, "simes-hochberg"), [[0.04, 0.08], [0.08, 0.5]], rtol=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_benjamini_hochberg_equals_scipy(p):
    # The smallest doubles have a digit or two only.
    np.testing.assert_allclose(adjust_p(p), scipy_stats.false_discovery_control(p), rtol=1e-12, atol=1e-300)


def test_p_values_in_single_precision_are_adjusted_in_double():
    p = np.array([0.01, 0.02, 0.3], dtype=np.float32)
    np.testing.assert_allclose(adjust_p(p, "bonferroni"), np.minimum(3 * p.astype(np.float64), 1), rtol=1e-15)


def test_hommel_lies_between_hochberg_and_the_raw_p():
    p = np.random.default_rng(0).uniform(0, 0.2, 12)
    assert (adjust_p(p, "hommel") >= p).all()
    assert (adjust_p(p, "hommel") <= adjust_p(p, "simes-hochberg") + 1e-12).all()


def test_nan_p_values():
    p = [0.01, np.nan, 0.04]
    with pytest.raises(MeasureError, match="1 of 3 p-values are NaN"):
        adjust_p(p)
    np.testing.assert_allclose(adjust_p(p, nan="keep"), [0.02, np.nan, 0.04])
    assert np.isnan(adjust_p([np.nan], nan="keep")).all()


def test_bad_p_values_and_methods():
    with pytest.raises(MeasureError, match="1 of 2 p-values are not between 0 and 1"):
        adjust_p([0.5, 1.1])
    with pytest.raises(MeasureError, match="no method 'fdr'"):
        adjust_p([0.5], "fdr")
