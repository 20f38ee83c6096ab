"""Ridge regression against scikit-learn and himalaya, explicit refits, one target and one penalty at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import LeaveOneGroupOut, LeaveOneOut

from brainalign.errors import MeasureError
from brainalign.measures import ridge_errors
from brainalign.measures.ridge import (
    decompose,
    decompose_splits,
    kfold_errors,
    leave_one_out_errors,
    relative_alphas,
    ridge_coefficients,
    ridge_predict,
)
from brainalign.measures.scores import score
from brainalign.measures.splits import make_splits

PUBLISHED = 10.0 ** np.arange(-50, 50)


def data(n_train, n_test, n_features, n_targets=5, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_train + n_test, n_features)) * np.logspace(0, -1.5, n_features) + 3
    weights = rng.standard_normal((n_features, n_targets)) / np.sqrt(n_features)
    y = x @ weights + noise * rng.standard_normal((len(x), n_targets)) + 10
    return x[:n_train], x[n_train:], y[:n_train], y[n_train:]


SHAPES = [(20, 3), (20, 19), (20, 20), (20, 21), (20, 200), (21, 8)]


def refitted_errors(x, y, alphas, splits):
    """Mean squared error of scikit-learn's ridge on what each split leaves out."""
    expected = np.zeros((len(alphas), y.shape[1]))
    for train, left in splits:
        for a, alpha in enumerate(alphas):
            predicted = Ridge(alpha=alpha, solver="svd").fit(x[train], y[train]).predict(x[left])
            expected[a] += ((y[left] - predicted) ** 2).sum(axis=0) / len(y)
    return expected


@pytest.mark.parametrize(("n_train", "n_features"), SHAPES)
def test_leave_one_out_errors_equal_refitting_without_each_stimulus(n_train, n_features):
    x, x_test, y, _ = data(n_train, 5, n_features)
    alphas = np.array([1e-3, 1.0, 50.0])
    errors = leave_one_out_errors(decompose(x, x_test), y - y.mean(axis=0), alphas)
    np.testing.assert_allclose(errors, refitted_errors(x, y, alphas, LeaveOneOut().split(x)), rtol=1e-6)


@pytest.mark.parametrize(("n_train", "n_features"), SHAPES)
def test_errors_of_inner_folds_equal_refitting_without_each_fold(n_train, n_features):
    x, x_test, y, _ = data(n_train, 5, n_features)
    alphas = np.array([1e-3, 1.0, 50.0])
    # Folds of unequal size, as groups are.
    folds = np.random.default_rng(1).choice(list("abcd"), n_train, p=[0.4, 0.3, 0.2, 0.1])
    expected = refitted_errors(x, y, alphas, LeaveOneGroupOut().split(x, groups=folds))
    np.testing.assert_allclose(kfold_errors(decompose(x, x_test), y, alphas, folds), expected, rtol=1e-6)


def test_a_fold_for_each_stimulus_is_leave_one_out():
    x, x_test, y, _ = data(30, 5, 60)
    basis = decompose(x, x_test)
    alphas = relative_alphas(basis.eigenvalues, 30)
    np.testing.assert_allclose(
        kfold_errors(basis, y, alphas, np.arange(30)),
        leave_one_out_errors(basis, y - y.mean(axis=0), alphas),
        rtol=1e-7,
    )


@pytest.mark.parametrize("n_features", [29, 38, 40, 200])
@pytest.mark.parametrize("leverage", [1, 100])
def test_a_stimulus_of_high_leverage(n_features, leverage):
    """Left-out residuals then differ in scale by many orders, and so do the rows of the products."""
    x, x_test, y, _ = data(40, 5, n_features, seed=4)
    x[7] += leverage * np.random.default_rng(0).standard_normal(n_features)
    alphas = np.array([1e-2, 1.0, 1e3])
    errors = leave_one_out_errors(decompose(x, x_test), y - y.mean(axis=0), alphas)
    np.testing.assert_allclose(errors, refitted_errors(x, y, alphas, LeaveOneOut().split(x)), rtol=1e-5)


@settings(max_examples=12, deadline=None)
@given(
    n_features=st.sampled_from([5, 28, 29, 30, 90]),
    decades=st.floats(0, 5),
    scale=st.floats(-6, 6),
    seed=st.integers(0, 1000),
)
def test_far_penalties_are_as_if_each_were_computed(n_features, decades, scale, seed):
    """Of 100 published penalties most lie far beyond the eigenvalues and are interpolated, to rounding."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((35, n_features)) * np.logspace(scale, scale - decades, n_features)
    basis, y = decompose(x[:30], x[30:]), rng.standard_normal((30, 4))
    y -= y.mean(axis=0)
    folds = np.arange(30) % 4
    for errors in (leave_one_out_errors, lambda *a: kfold_errors(*a, folds)):
        at_once = errors(basis, y, PUBLISHED)
        for k in range(seed % 7, 100, 7):
            np.testing.assert_allclose(at_once[[k]], errors(basis, y, PUBLISHED[[k]]), rtol=1e-10)


def test_a_wide_grid_needs_few_products(monkeypatch):
    x, x_test, y, _ = data(40, 5, 100)
    counted = []
    products = ridge_errors._square_sums
    monkeypatch.setattr(
        ridge_errors,
        "_square_sums",
        lambda bands, nodes, *more: counted.append(len(nodes)) or products(bands, nodes, *more),
    )
    basis = decompose(x, x_test)
    ridge_predict(basis, y, PUBLISHED)
    decades = np.log10(basis.eigenvalues.max() / basis.eigenvalues.min())
    assert counted[0] <= decades + 6 + 2 * ridge_errors.N_STAND_INS + 1


@pytest.mark.parametrize("n_features", [8, 70])
@pytest.mark.parametrize(("columns", "stacked", "block"), [(1, 1, 1), (3, 2, 7), (512, 16, 4), (2, 3, 1000)])
def test_every_way_to_cut_the_work_gives_the_same(monkeypatch, n_features, columns, stacked, block):
    x, x_test, y, _ = data(25, 6, n_features, n_targets=11)
    basis, folds = decompose(x, x_test), np.arange(25) % 3
    expected = [ridge_predict(basis, y), ridge_predict(basis, y, folds=folds)]
    monkeypatch.setattr(ridge_errors, "COLUMNS", columns)
    monkeypatch.setattr(ridge_errors, "N_STACKED", stacked)
    for whole, chosen_by in zip(expected, (None, folds), strict=True):
        fit = ridge_predict(basis, y, block=block, folds=chosen_by)
        np.testing.assert_allclose(fit.predictions, whole.predictions, rtol=1e-10)
        np.testing.assert_allclose(fit.loo_r2, whole.loo_r2, rtol=1e-10)
        np.testing.assert_array_equal(fit.alphas, whole.alphas)


def test_inner_folds_choose_as_himalaya_does():
    """The same five folds and penalties; himalaya centres each inner fit by its own training part as well."""
    himalaya = pytest.importorskip("himalaya.kernel_ridge")
    from sklearn.model_selection import KFold

    x, x_test, y, _ = data(60, 20, 200, n_targets=40, noise=3.0, seed=8)
    alphas = np.logspace(-3, 4, 15)
    folds = np.repeat(np.arange(5), 12)
    fit = ridge_predict(decompose(x, x_test), y, alphas, folds=folds)
    peer = himalaya.KernelRidgeCV(alphas=alphas, cv=KFold(5), fit_intercept=True).fit(x, y)
    np.testing.assert_allclose(fit.alphas, peer.best_alphas_)
    np.testing.assert_allclose(fit.predictions, peer.predict(x_test), rtol=1e-6)


def test_targets_that_share_a_penalty():
    x, x_test, y, _ = data(30, 5, 50, n_targets=6, noise=2.0)
    y[:, 5] = 3.0
    basis, alphas = decompose(x, x_test), np.logspace(-2, 4, 13)
    share = np.array([0, 0, 0, 1, 1, 1])
    fit = ridge_predict(basis, y, alphas, share=share)
    relative = leave_one_out_errors(basis, y - y.mean(axis=0), alphas)[:, :5] / y[:, :5].var(axis=0)
    for group in (0, 1):
        best = alphas[relative[:, share[:5] == group].mean(axis=1).argmin()]
        np.testing.assert_allclose(fit.alphas[share == group], best)
        np.testing.assert_allclose(
            fit.predictions[:, share == group],
            Ridge(alpha=best).fit(x, y[:, share == group]).predict(x_test),
            rtol=1e-7,
        )
    assert len(set(fit.alphas)) == 2


@pytest.mark.parametrize("n_features", [6, 300])
def test_the_score_left_out_is_one_minus_error_over_variance(n_features):
    x, x_test, y, _ = data(30, 5, n_features)
    fit = ridge_predict(decompose(x, x_test), y, 10.0 ** np.arange(-3, 4))
    errors = refitted_errors(x, y, 10.0 ** np.arange(-3, 4), list(LeaveOneOut().split(x)))
    np.testing.assert_allclose(fit.loo_r2, 1 - errors.min(axis=0) / y.var(axis=0), rtol=1e-8)


def test_in_single_precision_errors_within_its_rounding_count_as_equal():
    """Penalties far below the eigenvalues all leave the same error; the largest is taken, not the luckiest."""
    x, x_test, y, _ = data(60, 5, 10, n_targets=40, noise=0.01)
    basis = decompose(x, x_test)
    alphas = basis.eigenvalues.min() * np.logspace(-12, -8, 30)
    assert (ridge_predict(basis, y, alphas, dtype=np.float32).alphas == alphas.max()).all()


def test_single_precision_and_a_torch_device_find_the_same():
    x, x_test, y, _ = data(60, 20, 300, n_targets=50, seed=2)
    basis = decompose(x, x_test)
    double = ridge_predict(basis, y)
    single = ridge_predict(basis, y, dtype=np.float32)
    assert (single.alphas == double.alphas).mean() > 0.9
    np.testing.assert_allclose(single.loo_r2, double.loo_r2, atol=1e-4)
    for folds in (None, np.arange(60) % 5):
        np.testing.assert_allclose(
            ridge_predict(basis, y, device="cpu", folds=folds).predictions,
            ridge_predict(basis, y, folds=folds).predictions,
            rtol=1e-9,
        )
    narrow = decompose(x[:, :10], x_test[:, :10])
    np.testing.assert_allclose(
        ridge_predict(narrow, y, device="cpu").loo_r2, ridge_predict(narrow, y).loo_r2, rtol=1e-9
    )


@pytest.mark.parametrize("n_features", [6, 300])
def test_coefficients_predict_and_are_those_of_scikit_learn(monkeypatch, n_features):
    monkeypatch.setattr("brainalign.measures.ridge.FEATURE_BLOCK", 7)
    x, x_test, y, _ = data(40, 9, n_features)
    basis = decompose(x, x_test)
    fit = ridge_predict(basis, y)
    coefficients, intercepts = ridge_coefficients(basis, x, y, fit.alphas)
    np.testing.assert_allclose(x_test @ coefficients + intercepts, fit.predictions, rtol=1e-8)
    for t, alpha in enumerate(fit.alphas):
        peer = Ridge(alpha=alpha, solver="svd").fit(x, y[:, t])
        np.testing.assert_allclose(coefficients[:, t], peer.coef_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_features", [10, 30, 5000])
def test_one_gram_matrix_serves_every_split(dtype, n_features):
    """Features in single precision lose nothing more: products are taken in double, a block of features at a time."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((40, n_features)) + 50).astype(dtype)
    y = rng.standard_normal((40, 3))
    positions = [(list(range(25)), list(range(25, 40))), (list(range(10, 40)), list(range(10)))]
    for basis, (train, test) in zip(decompose_splits(x, positions), positions, strict=True):
        for alpha in (1e-3, 10.0):
            predicted = ridge_predict(basis, y[train], np.array([alpha])).predictions
            exact = x.astype(np.float64)
            peer = Ridge(alpha=alpha, solver="svd").fit(exact[train], y[train]).predict(exact[test])
            np.testing.assert_allclose(predicted, peer, rtol=1e-6, atol=1e-8)


def test_penalties_and_layers_chosen_on_the_test_part_would_lift_noise():
    """165 x 512, 9 penalties, 200 voxels of noise: chosen within the training part about 0, on the test part 0.16."""
    rng = np.random.default_rng(0)
    y, alphas = rng.standard_normal((165, 200)), np.logspace(0, 8, 9)
    ids = [f"{i:03d}" for i in range(165)]
    folds = [([int(i) for i in a], [int(i) for i in b]) for a, b in make_splits(ids, "kfold", n_splits=5)]
    best, nested = np.full(200, -np.inf), []
    for _ in range(10):
        x = rng.standard_normal((165, 512))
        bases = decompose_splits(x, folds)
        by_alpha = [
            np.mean([score(ridge_predict(b, y[a], np.array([alpha])).predictions, y[t], "r")
                     for b, (a, t) in zip(bases, folds, strict=True)], axis=0)
            for alpha in alphas[::2]
        ]  # fmt: skip
        best = np.maximum(best, np.max(by_alpha, axis=0))
        fits = [ridge_predict(b, y[a], alphas) for b, (a, _) in zip(bases, folds, strict=True)]
        nested.append(np.mean([score(f.predictions, y[t], "r") for f, (_, t) in zip(fits, folds, strict=True)]))
    assert best.mean() > 0.12
    assert -0.06 < np.mean(nested) < 0.02


def test_repetitions_of_a_stimulus_must_not_be_torn_apart():
    """55 stimuli x 3 repeats, features that have nothing to do with the signal: r 0.51 if torn apart, -0.04 if not."""
    scores = {"kfold": [], "grouped-kfold": []}
    for seed in range(4):
        rng = np.random.default_rng(seed)
        stimulus = np.repeat(np.arange(55), 3)
        ids = [f"{i:03d}" for i in range(165)]
        x = rng.standard_normal((55, 200))[stimulus]
        y = rng.standard_normal((55, 20))[stimulus] + rng.standard_normal((165, 20))
        for name, found in scores.items():
            for train, test in make_splits(ids, name, n_splits=5, labels=[str(s) for s in stimulus]):
                a, t = [int(i) for i in train], [int(i) for i in test]
                fit = ridge_predict(decompose(x[a], x[t]), y[a], folds=stimulus[a] if "grouped" in name else None)
                found.append(score(fit.predictions, y[t], "r").mean())
    assert np.mean(scores["kfold"]) == pytest.approx(0.51, abs=0.06)
    assert abs(np.mean(scores["grouped-kfold"])) < 0.06


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


def test_relative_alphas_are_decades_of_the_mean_square_of_the_features():
    np.testing.assert_allclose(relative_alphas(np.array([4.0, 2.0]), 3), 2 * 10.0 ** np.arange(-9, 7))


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


@pytest.mark.parametrize("alphas", [[], [0.0, 1.0], [1.0, -2.0], [1.0, np.inf], [np.nan]])
def test_penalties_that_are_none(alphas):
    x, x_test, y, _ = data(20, 5, 10)
    with pytest.raises(MeasureError, match="positive and finite"):
        ridge_predict(decompose(x, x_test), y, np.array(alphas))


@pytest.mark.parametrize("folds", [np.zeros(20), np.arange(19) % 4, np.r_[np.zeros(18), 1, 1]])
def test_inner_folds_that_are_none(folds):
    x, x_test, y, _ = data(20, 5, 10)
    with pytest.raises(MeasureError, match="at least 2 folds and 3 stimuli"):
        ridge_predict(decompose(x, x_test), y, folds=folds)


def test_a_device_that_is_not_there():
    x, x_test, y, _ = data(20, 5, 10)
    with pytest.raises(MeasureError, match="float64 on the device 'nowhere'"):
        ridge_predict(decompose(x, x_test), y, device="nowhere")
