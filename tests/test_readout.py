"""Linear read-out: scores against scikit-learn, chance, disjoint parts, genres and categories."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainalign.errors import MeasureError
from brainalign.measures.readout import average_precision, readout
from brainalign.measures.selectivity import selectivity
from brainalign.measures.targets import make_parts
from brainalign.responses import make_responses


def sounds(n=60, n_units=24, seed=0, gain=0.0, prefix="s", labels=None, layers=("a",)):
    rng = np.random.default_rng(seed)
    category = np.array(["Music", "Speech", "Nature"])[np.arange(n) % 3]
    values = rng.normal(size=(n, n_units * len(layers)))
    values[category == "Music", :4] += gain
    return make_responses(
        values,
        [f"{prefix}{i:03d}" for i in range(n)],
        stimulus_info={"category": category if labels is None else labels, "genre": np.arange(n) % 2},
        unit_info={"layer": np.repeat(layers, n_units)},
        attrs={"source": "net"},
    )


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_that_of_scikit_learn_under_weights(ties):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, 30).astype(float) if ties else rng.normal(size=30)
    positive = rng.random(30) < 0.3
    weights = rng.integers(0, 3, (6, 30)).astype(float)
    expected = [average_precision_score(positive, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(average_precision(positive, scores, weights), expected)
    assert average_precision(positive, scores)[0] == pytest.approx(average_precision_score(positive, scores))


def test_closed_form_of_average_precision():
    positive = np.array([True, False, True, False])
    assert average_precision(positive, np.array([4.0, 3, 2, 1]))[0] == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(positive, np.zeros(4))[0] == 0.5


@pytest.mark.parametrize(
    ("protocol", "peer", "method"),
    [
        ("brainalign", LogisticRegression(max_iter=5000), "decision_function"),
        ("kim2024", LinearRegression(), "predict"),
    ],
)
def test_scores_are_those_of_scikit_learn_fitted_on_other_sounds(protocol, peer, method):
    test, train = sounds(gain=1, layers=("a", "b")), sounds(90, seed=1, gain=1, prefix="t", layers=("a", "b"))
    table = readout(test, selection=train, categories=["Music"], protocol=protocol, n_bootstrap=50).table
    y = test["category"].values == "Music"
    for layer, units in (("a", slice(0, 24)), ("b", slice(24, 48))):
        x_train, x_test = train.values[:, units], test.values[:, units]
        rows = table[(table["layer"] == layer)]
        for name in ("targets", "category: Speech"):
            what = "Music" if name == "targets" else "Speech"
            fitted = make_pipeline(StandardScaler(), peer).fit(x_train, train["category"].values == what)
            scores, positive = getattr(fitted, method)(x_test), test["category"].values == what
            row = rows[(rows["target"] == name) & (rows["units"] == "all")].iloc[0]
            assert row["value"] == pytest.approx(average_precision_score(positive, scores))
            assert row["effect_size"] == pytest.approx(roc_auc_score(positive, scores))
            assert row["chance"] == pytest.approx(positive.mean())
            assert row["ci_low"] <= row["value"] <= row["ci_high"]
        each = rows[rows["target"].str.startswith("category")]["value"]
        assert rows[rows["statistic"] == "mAP"]["value"].item() == pytest.approx(each.mean())
        order = np.argsort(-selectivity(x_train.astype(float), train["category"].values == "Music"))
        for i, name in enumerate(["rank 0 to 0.125", "rank 0.125 to 0.25", "rank 0.25 to 0.375", "rank 0.375 to 0.5"]):
            own = order[3 * i : 3 * i + 3]
            fitted = make_pipeline(StandardScaler(), peer).fit(x_train[:, own], train["category"].values == "Music")
            value = average_precision_score(y, getattr(fitted, method)(x_test[:, own]))
            assert rows[rows["units"] == name]["value"].item() == pytest.approx(value)


def test_cross_fitted_score_is_the_mean_of_both_directions():
    data = sounds(gain=1)
    found = readout(data, categories=["Music"], n_bootstrap=0).table
    values = [
        readout(p.test.responses, selection=p.select.responses, categories=["Music"], n_bootstrap=0).table["value"]
        for p in make_parts(data, None, ["Music"]).parts
    ]
    np.testing.assert_allclose(found["value"], np.mean(values, axis=0))


def test_noise_is_at_chance_unless_the_same_sounds_fit_and_test():
    honest, cheating = [], []
    for seed in range(40):
        data = sounds(seed=seed)
        options = {"categories": ["Music"], "n_slices": 0, "per_category": False, "n_bootstrap": 0}
        row = readout(data, seed=seed, **options).table.iloc[0]
        # With few sounds the expected AP of random scores lies above the share of positives; AUC has no such bias.
        honest.append(row["effect_size"])
        cheating.append(readout(data, allow_overlap=True, **options).table.iloc[0]["effect_size"])
    error = np.std(honest, ddof=1) / np.sqrt(len(honest))
    assert abs(np.mean(honest) - 0.5) < 4 * error
    assert error < 0.03
    assert np.mean(cheating) > 0.75


def test_one_row_for_each_genre():
    data = sounds(gain=1)
    table = readout(data, categories=["Music"], genre="genre", n_slices=0, per_category=False, seed=2).table
    assert table["target"].tolist() == ["targets", "genre: 0", "genre: 1"]
    parts = make_parts(data, None, ["Music"], seed=2).parts
    expected = []
    for part in parts:
        train, test = part.select.responses, part.test.responses
        fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)).fit(
            train.values, part.select.is_target
        )
        keep = ~part.test.is_target | (test["genre"].values == 1)
        expected.append(average_precision_score(part.test.is_target[keep], fitted.decision_function(test.values)[keep]))
    row = table.iloc[2]
    assert row["value"] == pytest.approx(np.mean(expected))
    assert row["n_positive"] == 10
    assert row["chance"] == pytest.approx(np.mean([5 / 25, 5 / 25]), abs=0.02)
    assert row["ci_low"] < row["value"] < row["ci_high"]
    with pytest.raises(MeasureError, match="did you mean 'genre'"):
        readout(data, categories=["Music"], genre="gener")


def test_several_labels():
    labels = np.array(["Music|Piano", "Speech", "Dog|Speech", "Music", "Dog", "Music|Speech"])[np.arange(60) % 6]
    result = readout(sounds(labels=labels), categories=["Music", "Piano"], n_bootstrap=0, n_slices=0)
    assert result.settings["n_mixed_left_out"] == 10
    rows = result.table.set_index("target")
    # Ten sounds of each kind of label, the mixed ones gone.
    assert rows.loc["category: Speech", "n_positive"] == 20
    assert rows.loc["category: Piano", "n_positive"] == 10
    assert rows.loc["targets", "n_positive"] == 20


def test_a_category_with_too_few_sounds_is_flagged_and_does_not_stop_the_rest():
    labels = np.array(["Music", "Speech", "Nature"])[np.arange(60) % 3].astype(object)
    labels[1] = "Siren"
    table = readout(sounds(labels=labels.astype(str)), categories=["Music"], n_bootstrap=20).table.set_index("target")
    assert np.isnan(table.loc["category: Siren", "value"])
    assert "fewer than 2 sounds" in table.loc["category: Siren", "note"]
    assert table.loc["category: Speech", "value"] > 0
    assert table.loc["mean of categories", "n"] == 3


def test_mistakes_are_named():
    with pytest.raises(MeasureError, match="no protocol 'kim'"):
        readout(sounds(), categories=["Music"], protocol="kim")
    with pytest.raises(MeasureError, match="sounds select and test"):
        readout(sounds(), selection=sounds(), categories=["Music"])
    with pytest.raises(MeasureError, match="fraction"):
        readout(sounds(), categories=["Music"], fraction=0)
