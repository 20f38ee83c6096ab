"""Ridge regression against scikit-learn, one target and one alpha at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import LeaveOneOut

from brainalign.errors import MeasureError
from brainalign.measures.ridge import decompose, leave_one_out_errors, relative_alphas, ridge_predict


def data(n_train, n_test, n_features, n_targets=5, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_train + n_test, n_features)) * np.logspace(0, -1.5, n_features) + 3
    weights = rng.standard_normal((n_features, n_targets)) / np.sqrt(n_features)
    y = x @ weights + noise * rng.standard_normal((len(x), n_targets)) + 10
    return x[:n_train], x[n_train:], y[:n_train], y[n_train:]


SHAPES = [(20, 3), (20, 19), (20, 20), (20, 21), (20, 200), (21, 8)]


@pytest.mark.parametrize(("n_train", "n_features"), SHAPES)
def test_leave_one_out_errors_equal_refitting_without_each_stimulus(n_train, n_features):
    x, x_test, y, _ = data(n_train, 5, n_features)
    alphas = np.array([1e-3, 1.0, 50.0])
    expected = np.zeros((len(alphas), y.shape[1]))
    for a, alpha in enumerate(alphas):
        for train, left in LeaveOneOut().split(x):
            residual = y[left] - Ridge(alpha=alpha, solver="svd").fit(x[train], y[train]).predict(x[left])
            expected[a] += residual[0] ** 2 / n_train
    errors = leave_one_out_errors(decompose(x, x_test), y - y.mean(axis=0), alphas)
    np.testing.assert_allclose(errors, expected, rtol=1e-6)


@pytest.mark.parametrize(("n_train", "n_features"), SHAPES)
@pytest.mark.parametrize("block", [1, 2, 100])
def test_predictions_and_alphas_equal_scikit_learn_for_each_target(n_train, n_features, block):
    x, x_test, y, _ = data(n_train, 7, n_features, seed=1)
    alphas = np.logspace(-3, 4, 29)
    fit = ridge_predict(decompose(x, x_test), y, alphas, block=block)
    for t in range(y.shape[1]):
        peer = RidgeCV(alphas=alphas).fit(x, y[:, t])
        assert fit.alphas[t] == pytest.approx(peer.alpha_)
        np.testing.assert_allclose(fit.predictions[:, t], peer.predict(x_test), rtol=1e-7)


@settings(max_examples=30, deadline=None)
@given(shift=st.floats(-1e3, 1e3), gain=st.floats(0.01, 100), seed=st.integers(0, 1000))
def test_offset_and_gain_of_targets_pass_through(shift, gain, seed):
    x, x_test, y, _ = data(15, 4, 30, seed=seed)
    plain = ridge_predict(decompose(x, x_test), y)
    changed = ridge_predict(decompose(x, x_test), gain * y + shift)
    np.testing.assert_allclose(changed.predictions, gain * plain.predictions + shift, rtol=1e-7, atol=1e-7)
    np.testing.assert_array_equal(changed.alphas, plain.alphas)


def test_a_noise_free_target_is_recovered_from_fewer_and_from_more_features_than_sounds():
    for n_features in (5, 30):
        x, x_test, y, y_test = data(40, 10, n_features, noise=0)
        fit = ridge_predict(decompose(x, x_test), y)
        np.testing.assert_allclose(fit.predictions, y_test, rtol=1e-5)
        assert (fit.loo_r2 > 0.999).all()


def test_equal_errors_take_the_largest_alpha():
    x, x_test, y, _ = data(20, 5, 50, seed=3)
    # Far beyond the eigenvalues all penalties give the same leave-one-out error.
    plateau = np.logspace(14, 30, 17)
    fit = ridge_predict(decompose(x, x_test), y, plateau)
    assert (fit.alphas == plateau.max()).all()
    assert fit.at_edge.all()


def test_order_of_alphas_does_not_matter():
    x, x_test, y, _ = data(20, 5, 10)
    alphas = np.logspace(-2, 3, 11)
    up, down = (ridge_predict(decompose(x, x_test), y, a) for a in (alphas, alphas[::-1]))
    np.testing.assert_array_equal(up.predictions, down.predictions)


def test_relative_alphas_follow_the_scale_of_the_features():
    x, x_test, y, _ = data(20, 5, 60)
    small, large = decompose(x, x_test), decompose(1000 * x, 1000 * x_test)
    np.testing.assert_allclose(relative_alphas(large.eigenvalues, 20), 1e6 * relative_alphas(small.eigenvalues, 20))
    np.testing.assert_allclose(ridge_predict(large, y).predictions, ridge_predict(small, y).predictions, rtol=1e-6)


def test_a_constant_target_has_no_leave_one_out_score():
    x, x_test, y, _ = data(20, 5, 10)
    y[:, 2] = 4.0
    fit = ridge_predict(decompose(x, x_test), y)
    assert np.isnan(fit.loo_r2[2])
    np.testing.assert_allclose(fit.predictions[:, 2], 4.0)


def test_features_that_do_not_differ_are_an_error():
    with pytest.raises(MeasureError, match="do not differ"):
        decompose(np.ones((10, 4)), np.ones((3, 4)))
