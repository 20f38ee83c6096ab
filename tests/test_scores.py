"""Scores of predictions: scipy and scikit-learn as judges, copies for weights, and the rule for folds."""

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import r2_score

from brainalign.errors import MeasureError
from brainalign.measures.ridge import decompose, ridge_predict
from brainalign.measures.scores import aggregate_folds, median_present, pooled_score, score


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    observed = rng.standard_normal((30, 5)) + 4
    return observed * rng.choice([-1, 1], 5) + rng.standard_normal((30, 5)), observed


@pytest.mark.parametrize("offset", [0, 1e6, np.array([0, 1e6, -1e6, 3, 1e3])], ids=["0", "1e6", "own"])
def test_single_folds(data, offset):
    p, q = data
    r = np.array([pearsonr(a, b).statistic for a, b in zip(p.T, q.T, strict=True)])
    assert (r < 0).any()
    assert (r > 0).any()
    np.testing.assert_allclose(score(p + offset, q + offset, "r"), r, rtol=1e-7)
    np.testing.assert_allclose(score(p + offset, q + offset, "r2"), np.maximum(r, 0) ** 2, rtol=1e-7)
    np.testing.assert_allclose(score(p + offset, q + offset, "R2"), r2_score(q, p, multioutput="raw_values"), rtol=1e-7)


@pytest.mark.parametrize("statistic", ["r", "r2", "R2"])
def test_weights_are_copies(data, statistic):
    counts = np.random.default_rng(1).multinomial(30, np.full(30, 1 / 30), size=20)
    weighted = score(*data, statistic, counts)
    for c, row in zip(counts, weighted, strict=True):
        copies = np.repeat(np.arange(30), c)
        np.testing.assert_allclose(row, score(data[0][copies], data[1][copies], statistic), rtol=1e-9)


@pytest.mark.parametrize("statistic", ["r", "r2", "R2"])
def test_nothing_that_varies_scores_nothing(data, statistic):
    p, q = data
    assert (score(p, np.full_like(q, 0.1), statistic) == 0).all()
    if statistic != "R2":
        assert (score(np.full_like(p, 0.1), q, statistic) == 0).all()
    one_stimulus = np.eye(30)[:3]
    assert (score(p, q, statistic, one_stimulus) == 0).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("level", [0.1, 0.5])
@pytest.mark.parametrize("constant", [0, 1])
def test_a_target_that_does_not_vary_leaves_the_others_alone(data, level, constant):
    pair = [values.copy() for values in data]
    pair[constant][:, 2] = level
    expected = score(*data, "r")
    expected[2] = 0
    np.testing.assert_array_equal(score(*pair, "r"), expected)


@pytest.mark.parametrize("statistic", ["r", "r2", "R2"])
def test_the_unit_of_measurement_does_not_matter(data, statistic):
    p, q = data
    np.testing.assert_allclose(score(1e-30 * p, 1e-30 * q, statistic), score(p, q, statistic), rtol=1e-9)


def test_labels_of_0_and_1_have_a_correlation(data):
    p, q = ((values > np.median(values, axis=0)).astype(float) for values in data)
    expected = [pearsonr(a, b).statistic for a, b in zip(p.T, q.T, strict=True)]
    np.testing.assert_allclose(score(p, q, "r"), expected, rtol=1e-12)


@pytest.mark.parametrize("statistic", ["r", "r2", "R2"])
def test_weights_may_be_shares(data, statistic):
    counts = np.random.default_rng(1).multinomial(30, np.full(30, 1 / 30), size=3)
    np.testing.assert_allclose(score(*data, statistic, counts / 300), score(*data, statistic, counts), rtol=1e-12)


def test_predictions_that_a_penalty_shrank_are_not_noise(data):
    p, q = data
    np.testing.assert_allclose(score(1e-200 * p, q, "r"), score(p, q, "r"))
    assert (score(1e-200 * q, q, "R2") < 0.01).all()


def test_folds_are_put_together_by_the_rule_named():
    scores = np.array([[0.1, 0.5], [0.2, np.nan], [0.6, np.nan], [0.9, np.nan]])
    np.testing.assert_allclose(aggregate_folds(scores, "median"), [0.4, 0.5])
    np.testing.assert_allclose(aggregate_folds(scores, "mean"), [0.45, 0.5])
    np.testing.assert_allclose(aggregate_folds(scores.T, "mean", axis=1), [0.45, 0.5])
    np.testing.assert_allclose(aggregate_folds(scores[:, :1], "median"), [0.4])
    np.testing.assert_allclose(aggregate_folds(scores[:, :1], "mean"), [0.45])
    np.testing.assert_allclose(median_present(np.array([[np.nan, np.nan], [1.0, np.nan]]), axis=1), [np.nan, 1])


def test_pooled_and_per_fold_scores_of_noise_differ():
    """Trap 15: with a strong ridge the pooled r of noise is -0.149, the mean of the folds about 0."""
    rng = np.random.default_rng(0)
    pooled, per_fold = [], []
    for _ in range(4):
        x, y = rng.standard_normal((165, 512)), rng.standard_normal((165, 200))
        predictions, observed = [], []
        for test in np.array_split(rng.permutation(165), 5):
            train = np.setdiff1d(np.arange(165), test)
            basis = decompose(x[train], x[test])
            predictions.append(ridge_predict(basis, y[train], np.array([1e3 * basis.eigenvalues.mean()])).predictions)
            observed.append(y[test])
        pooled.append(pooled_score(predictions, observed, "r").mean())
        folds = np.stack([score(p, q, "r") for p, q in zip(predictions, observed, strict=True)])
        per_fold.append(aggregate_folds(folds, "mean").mean())
    assert np.mean(pooled) == pytest.approx(-0.149, abs=0.01)
    assert np.mean(per_fold) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: score(x, x, "r3"), "no statistic 'r3'"),
        (lambda x: aggregate_folds(x, "max"), "no rule 'max'"),
    ],
)
def test_unknown_names(call, message):
    with pytest.raises(MeasureError, match=message):
        call(np.zeros((3, 1)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("statistic", ["r", "r2", "R2"])
def test_a_resample_without_any_of_the_stimuli_scores_zero(statistic):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 2))
    found = score(x, x + 0.1, statistic, np.array([[0.0] * 5, [1.0] * 5]))
    np.testing.assert_array_equal(found[0], 0)
    assert (found[1] > 0.5).all()
