"""Response ratios."""

import numpy as np
import pytest
from scipy.stats import bootstrap, mannwhitneyu

from brainalign.errors import MeasureError
from brainalign.measures.ratio import response_ratio
from brainalign.responses import make_responses

CATEGORY = np.array(["Music"] * 12 + ["Song"] * 8 + ["Speech"] * 15 + ["Nature"] * 10)


def units(seed=0, **kwargs):
    rng = np.random.default_rng(seed)
    values = rng.gamma(4, 1, (45, 6))
    values[:20, :3] *= 2
    return make_responses(
        values, [f"s{i}" for i in range(45)], stimulus_info={"category": CATEGORY}, attrs={"source": "x"}, **kwargs
    )


def test_every_unit_by_itself():
    data = units()
    table = response_ratio(data, categories=["Music", "Song"]).table
    target = np.isin(CATEGORY, ["Music", "Song"])
    for i, row in table.iterrows():
        x, y = data.values[target, i], data.values[~target, i]
        assert row["value"] == pytest.approx(x.mean() / y.mean())
        peer = mannwhitneyu(x, y, alternative="two-sided", method="exact")
        assert row["p"] == pytest.approx(peer.pvalue)
        assert row["effect_size"] == pytest.approx(peer.statistic / (len(x) * len(y)))
        assert (row["n"], row["n_target"], row["n_rest"], row["n_of"]) == (45, 20, 25, "stimuli")
        assert row["brain"] == "x"
        assert row["model"] == ""


def test_interval_is_that_of_scipy():
    data = units()
    row = response_ratio(data, categories=["Music"], n_bootstrap=4000).table.iloc[0]
    target = CATEGORY == "Music"
    peer = bootstrap(
        (data.values[target, 0], data.values[~target, 0]),
        lambda x, y, axis: x.mean(axis=axis) / y.mean(axis=axis),
        n_resamples=4000,
        method="BCa",
        rng=1,
    ).confidence_interval
    width = peer.high - peer.low
    assert row["ci_low"] == pytest.approx(peer.low, abs=0.06 * width)
    assert row["ci_high"] == pytest.approx(peer.high, abs=0.06 * width)


def test_interval_does_not_depend_on_the_order_of_the_table():
    data = units()
    turned = data.isel(stimulus=np.random.default_rng(1).permutation(45))
    limits = [response_ratio(d, categories=["Music"]).table[["value", "ci_low", "ci_high"]] for d in (data, turned)]
    np.testing.assert_allclose(*limits, rtol=1e-12)


def test_units_of_a_layer_are_averaged():
    data = units(unit_info={"layer": ["a"] * 3 + ["b"] * 3})
    result = response_ratio(data, categories=["Music", "Song"])
    table = result.table.set_index("layer")
    mean = data.values[:, :3].mean(axis=1)
    assert table.loc["a", "value"] == pytest.approx(mean[:20].mean() / mean[20:].mean())
    assert table.loc["a", "model"] == "x"
    assert (table["target"] == "mean of units").all()
    np.testing.assert_allclose(result.arrays["profiles"].values[0], mean)
    assert table.loc["b", "ci_low"] < 1 < table.loc["b", "ci_high"]
    assert table.loc["a", "ci_low"] > 1


def test_negative_responses_are_flagged():
    data = units()
    shifted = data - 2
    shifted.attrs = data.attrs
    table = response_ratio(shifted, categories=["Music"]).table
    assert table["note"].str.contains("negative, so the ratio is not a gain factor").all()
    assert (response_ratio(data, categories=["Music"]).table["note"] == "").all()


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        (["Musik"], "did you mean 'Music'"),
        (["Music", "Song", "Speech", "Nature"], "found 0 sounds of other categories; at least 2 are needed"),
    ],
)
def test_impossible_categories(categories, message):
    with pytest.raises(MeasureError, match=message):
        response_ratio(units(), categories=categories)


def test_a_category_of_one_stimulus():
    data = units().isel(stimulus=[0, *range(20, 45)])
    with pytest.raises(MeasureError, match="found 1"):
        response_ratio(data, categories=["Music"])


def test_responses_without_categories():
    with pytest.raises(MeasureError, match="category"):
        response_ratio(units().drop_vars("category"), categories=["Music"])


def test_unknown_group():
    with pytest.raises(MeasureError, match="no coordinate 'lyer'"):
        response_ratio(units(), categories=["Music"], group="lyer")


def test_sounds_with_labels_of_both_kinds_are_left_out_and_counted():
    data = units()
    labels = np.where(np.arange(45) < 2, "Music|Speech", CATEGORY)
    mixed = data.assign_coords(category=("stimulus", labels))
    result, without = (response_ratio(d, categories=["Music"]) for d in (mixed, data.isel(stimulus=slice(2, None))))
    np.testing.assert_allclose(result.table["value"], without.table["value"])
    assert result.settings["n_mixed_left_out"] == 2
    assert result.warnings == ["2 sounds with labels of both kinds are left out by rule"]
