"""Banded ridge against himalaya on the same weights, scikit-learn refits, and closed forms."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, LeaveOneOut

from brainalign.errors import MeasureError
from brainalign.measures.banded import (
    band_weights,
    banded_ridge_predict,
    left_out_predictions,
    mean_eigenvalue,
    squared_error_without,
)
from brainalign.measures.ridge import decompose_gram, gram_matrix, ridge_predict

TRAIN, TEST = list(range(24)), list(range(24, 36))
WEIGHTS = np.array([[0.5, 0.5], [0.9, 0.1], [0.02, 0.98], [0.3, 0.7]])
ALPHAS = np.logspace(-3, 3, 7)


def spaces(widths=(6, 9), n=36, n_targets=8, seed=0):
    """Return features of several spaces, with offsets, and targets that mix them by various shares, with an offset."""
    rng = np.random.default_rng(seed)
    features = [rng.standard_normal((n, w)) * 3.0**k + 2 for k, w in enumerate(widths)]
    shares = rng.dirichlet(np.ones(len(widths)), n_targets).T
    signals = [
        share * ((x - x.mean(0)) / x.std() @ rng.standard_normal((x.shape[1], n_targets)))
        for x, share in zip(features, shares, strict=True)
    ]
    return features, sum(signals) + rng.standard_normal((n, n_targets)) + 100


def scaled(features, weights, rows=TRAIN):
    """Return all features beside each other, scaled so that their kernel is the weighted sum."""
    own = [x * np.sqrt(w / mean_eigenvalue(gram_matrix(x), rows)) for x, w in zip(features, weights, strict=True)]
    return np.hstack(own)


def best_by_refits(features, y, weights, alphas):
    """Refit without each training stimulus, for all weights and penalties; return the best, and its predictions."""
    errors = np.empty((len(weights), len(alphas), y.shape[1]))
    for w, row in enumerate(weights):
        x = scaled(features, row)[TRAIN]
        for a, alpha in enumerate(alphas):
            residuals = [
                y[TRAIN][out] - Ridge(alpha).fit(x[own], y[TRAIN][own]).predict(x[out])
                for own, out in LeaveOneOut().split(x)
            ]
            errors[w, a] = np.mean(np.square(residuals), axis=(0, 1))
    chosen = [np.unravel_index(e.argmin(), e.shape) for e in np.moveaxis(errors, -1, 0)]
    predictions = []
    for t, (w, a) in enumerate(chosen):
        x = scaled(features, weights[w])
        predictions.append(Ridge(alphas[a]).fit(x[TRAIN], y[TRAIN, t]).predict(x[TEST]))
    loo_r2 = 1 - errors.min(axis=(0, 1)) / y[TRAIN].var(axis=0)
    return np.array([weights[w] for w, _ in chosen]), alphas[[a for _, a in chosen]], np.array(predictions).T, loo_r2


@pytest.mark.parametrize("widths", [(6, 9), (60, 4), (40, 90)])
def test_equals_refits_with_scikit_learn(widths):
    features, y = spaces(widths)
    fit = banded_ridge_predict(
        [gram_matrix(x) for x in features], TRAIN, TEST, y[TRAIN], weights=WEIGHTS, alphas=ALPHAS
    )
    weights, alphas, predictions, loo_r2 = best_by_refits(features, y, WEIGHTS, ALPHAS)
    np.testing.assert_allclose(fit.weights, weights)
    np.testing.assert_allclose(fit.alphas, alphas)
    np.testing.assert_allclose(fit.predictions, predictions, rtol=1e-8)
    np.testing.assert_allclose(fit.loo_r2, loo_r2, rtol=1e-8)
    np.testing.assert_array_equal(fit.at_edge, (alphas == ALPHAS[0]) | (alphas == ALPHAS[-1]))
    assert len(np.unique(fit.weights, axis=0)) > 1, "the choice of weights must matter here"


@pytest.mark.parametrize("widths", [(6, 9), (40, 90), (5, 50, 8)])
def test_equals_himalaya_on_the_same_weights(widths):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from himalaya.ridge import GroupRidgeCV

        features, y = spaces(widths)
        weights = band_weights(len(widths))
        # Weights of exactly 0 break it (a division by the root of 0).
        weights = weights[(weights > 0).all(axis=1)]
        unit = np.ones(len(widths))
        peer = GroupRidgeCV(
            groups=np.repeat(np.arange(len(widths)), widths),
            solver="random_search",
            solver_params={"n_iter": weights, "alphas": ALPHAS, "progress_bar": False, "local_alpha": True},
            cv=KFold(len(TRAIN)),
            fit_intercept=True,
        ).fit(scaled(features, unit)[TRAIN], y[TRAIN])
    fit = banded_ridge_predict(
        [gram_matrix(x) for x in features], TRAIN, TEST, y[TRAIN], weights=weights, alphas=ALPHAS
    )
    # Penalties alpha / w of each space; its deltas are the logarithms of their inverse.
    np.testing.assert_allclose(np.log(fit.weights / fit.alphas[:, None]).T, peer.deltas_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(fit.predictions, peer.predict(scaled(features, unit)[TEST]), rtol=1e-8)


@pytest.mark.parametrize("widths", [(3, 4), (60, 4), (40, 90)])
@pytest.mark.parametrize("alpha", [1e-9, 0.3, 1e6])
def test_left_out_predictions_are_those_of_refits(widths, alpha):
    features, y = spaces(widths)
    kernels = [gram_matrix(x) for x in features]
    fit = banded_ridge_predict(kernels, TRAIN, TEST, y[TRAIN], weights=WEIGHTS, alphas=np.array([alpha]))
    found = left_out_predictions(kernels, TRAIN, y[TRAIN], fit)
    for t in range(y.shape[1]):
        x = scaled(features, fit.weights[t])[TRAIN]
        # By least squares on extended rows: the normal equations lose the digits of small penalties.
        for out in range(len(x)):
            own = np.delete(np.arange(len(x)), out)
            x_mean, y_mean = x[own].mean(0), y[own, t].mean()
            rows = np.vstack([x[own] - x_mean, np.sqrt(alpha) * np.eye(x.shape[1])])
            solution = np.linalg.lstsq(rows, np.append(y[own, t] - y_mean, np.zeros(x.shape[1])), rcond=None)[0]
            assert found[out, t] == pytest.approx((x[out] - x_mean) @ solution + y_mean, rel=1e-6)


@pytest.mark.parametrize("widths", [(3, 4), (60, 4), (40, 90)])
def test_errors_without_a_training_stimulus_are_those_of_refits(widths):
    features, y = spaces(widths)
    kernels = [gram_matrix(x) for x in features]
    fit = banded_ridge_predict(kernels, TRAIN, TEST, y[TRAIN], weights=WEIGHTS, alphas=ALPHAS)
    found = squared_error_without(kernels, TRAIN, TEST, y[TRAIN], y[TEST], fit)
    for t in range(y.shape[1]):
        x = scaled(features, fit.weights[t])
        for out in TRAIN:
            own = [i for i in TRAIN if i != out]
            predicted = Ridge(fit.alphas[t]).fit(x[own], y[own, t]).predict(x[TEST])
            assert found[out, t] == pytest.approx(((y[TEST, t] - predicted) ** 2).sum(), rel=1e-8)


def test_their_error_is_the_one_that_chose():
    features, y = spaces((60, 4))
    kernels = [gram_matrix(x) for x in features]
    fit = banded_ridge_predict(kernels, TRAIN, TEST, y[TRAIN])
    residuals = y[TRAIN] - left_out_predictions(kernels, TRAIN, y[TRAIN], fit)
    np.testing.assert_allclose(1 - (residuals**2).mean(0) / y[TRAIN].var(0), fit.loo_r2, rtol=1e-9)


def test_one_space_is_ridge():
    features, y = spaces((60,))
    kernel = gram_matrix(features[0])
    fit = banded_ridge_predict([kernel], TRAIN, TEST, y[TRAIN])
    scale = mean_eigenvalue(kernel, TRAIN)
    plain = ridge_predict(decompose_gram(kernel, TRAIN, TEST), y[TRAIN])
    np.testing.assert_allclose(fit.predictions, plain.predictions, rtol=1e-9)
    np.testing.assert_allclose(fit.alphas * scale, plain.alphas)


def test_the_scale_of_a_space_does_not_matter():
    features, y = spaces((6, 9))
    one = banded_ridge_predict([gram_matrix(x) for x in features], TRAIN, TEST, y[TRAIN])
    two = banded_ridge_predict([gram_matrix(features[0] * 1e3), gram_matrix(features[1])], TRAIN, TEST, y[TRAIN])
    np.testing.assert_allclose(one.predictions, two.predictions, rtol=1e-8)


def test_a_weight_of_zero_leaves_a_space_out():
    features, y = spaces((6, 9))
    kernels = [gram_matrix(x) for x in features]
    both = banded_ridge_predict(kernels, TRAIN, TEST, y[TRAIN], weights=np.array([[0, 1.0]]))
    alone = banded_ridge_predict(kernels[1:], TRAIN, TEST, y[TRAIN])
    np.testing.assert_allclose(both.predictions, alone.predictions, rtol=1e-12)


def test_each_target_finds_its_space():
    rng = np.random.default_rng(3)
    n, train, test = 120, list(range(80)), list(range(80, 120))
    features = [rng.standard_normal((n, 5)), 10 * rng.standard_normal((n, 200))]
    small, large = features[0] @ np.ones(5), features[1] @ rng.standard_normal(200)
    y = np.column_stack([small / small.std(), large / large.std()]) + 0.3 * rng.standard_normal((n, 2))
    fit = banded_ridge_predict([gram_matrix(x) for x in features], train, test, y[train])
    assert fit.weights[0, 0] > 0.9
    assert fit.weights[1, 1] > 0.9
    one = ridge_predict(decompose_gram(gram_matrix(np.hstack(features)), train, test), y[train])
    error, plain = (((f.predictions - y[test]) ** 2).mean(axis=0)[0] for f in (fit, one))
    # 0.09 is the noise; one penalty for both spaces drowns the small one.
    assert error < 0.15
    assert plain > 0.5


@pytest.mark.parametrize(("n_spaces", "n_rows"), [(1, 1), (2, 11), (3, 37)])
def test_the_grid_holds_every_set_of_spaces(n_spaces, n_rows):
    weights = band_weights(n_spaces)
    assert weights.shape == (n_rows, n_spaces)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert len(np.unique(weights, axis=0)) == n_rows
    for bits in range(1, 2**n_spaces):
        members = np.array([bits >> s & 1 for s in range(n_spaces)])
        assert np.isclose(weights, members / members.sum()).all(axis=1).any()


def test_mean_eigenvalue_is_that_of_the_centred_kernel():
    x = np.random.default_rng(0).standard_normal((36, 5)) + 7
    within = x[TRAIN] - x[TRAIN].mean(axis=0)
    expected = np.linalg.eigvalsh(within @ within.T).mean()
    assert mean_eigenvalue(gram_matrix(x), TRAIN) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("value", [0.0, 1 / 3, 1e6])
def test_a_constant_space_is_refused(value):
    features, y = spaces((6, 9))
    constant = np.vstack([np.full((24, 4), value), features[0][TEST, :4]])
    with pytest.raises(MeasureError, match="the features do not differ between the training stimuli"):
        banded_ridge_predict([gram_matrix(features[0]), gram_matrix(constant)], TRAIN, TEST, y[TRAIN])


@pytest.mark.parametrize("weights", [[[0.5, 0.3, 0.2]], [[1.5, -0.5]], [[0.0, 0.0]], [0.5, 0.5]])
def test_impossible_weights(weights):
    features, y = spaces((6, 9))
    with pytest.raises(MeasureError, match="band weights must be rows of 2 numbers"):
        banded_ridge_predict([gram_matrix(x) for x in features], TRAIN, TEST, y[TRAIN], weights=np.array(weights))
