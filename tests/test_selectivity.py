"""Selectivity: indices, the rule for labels, disjoint selection and test, ratios and profiles of selective units."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as sps

from brainalign.errors import MeasureError, ResponseError
from brainalign.measures.selective import combined_rank_sum, selective_profile, selective_ratio, weighted_r
from brainalign.measures.selectivity import n_selected, rank_units, selectivity
from brainalign.measures.targets import find_targets, make_parts
from brainalign.measures.units import unit_table
from brainalign.responses import make_responses, with_columns

TARGET = np.r_[np.ones(12, bool), np.zeros(19, bool)]
INDICES = ("welch-t", "kim2024", "plain-sum", "d-prime", "auc")


def by_hand(x, y, index):
    """One unit, as the formula is printed."""
    difference, s1, s0 = x.mean() - y.mean(), x.std(ddof=1), y.std(ddof=1)
    if index == "welch-t":
        return sps.ttest_ind(x, y, equal_var=False).statistic
    if index == "kim2024":
        return difference / np.sqrt(np.std(x) ** 2 / len(x) + np.std(y) ** 2 / len(y))
    if index == "plain-sum":
        return difference / (s1 + s0)
    if index == "d-prime":
        return difference / np.sqrt((s1**2 + s0**2) / 2)
    return sps.mannwhitneyu(x, y).statistic / (len(x) * len(y))


def welch(x, y, axis):
    return sps.ttest_ind(x, y, axis=axis, equal_var=False).statistic


def noise(n=40, n_units=64, seed=0, n_target=16, prefix="s", unit_info=None, values=None):
    rng = np.random.default_rng(seed)
    category = np.where(np.arange(n) < n_target, "Music", np.where(np.arange(n) % 2, "Speech", "Nature"))
    return make_responses(
        rng.gamma(9, 1 / 3, (n, n_units)) if values is None else values,
        [f"{prefix}{i:03d}" for i in range(n)],
        stimulus_info={"category": category},
        unit_info={"layer": ["a"] * n_units} if unit_info is None else unit_info,
        attrs={"source": "net"},
    )


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_index_is_that_of_a_loop_also_far_from_zero(index, offset):
    values = np.random.default_rng(1).gamma(2, 1, (31, 7)) + offset
    values[:, 3] = np.round(values[:, 3])
    expected = [by_hand(v[TARGET], v[~TARGET], index) for v in values.T]
    np.testing.assert_allclose(selectivity(values, TARGET, index), expected, rtol=1e-9 if not offset else 1e-5)


@pytest.mark.parametrize("index", INDICES)
def test_units_of_far_scales_beside_each_other_in_single_precision(index):
    values = (np.random.default_rng(1).gamma(2, 1, (31, 3)) * [1e-9, 1, 1e9]).astype(np.float32)
    expected = [by_hand(v[TARGET], v[~TARGET], index) for v in values.T.astype(np.float64)]
    np.testing.assert_allclose(selectivity(values, TARGET, index), expected, rtol=1e-9)


@pytest.mark.parametrize("index", INDICES)
def test_two_sounds_of_a_kind_are_enough(index):
    values, labels = np.random.default_rng(1).gamma(2, 1, (7, 4)), np.arange(7) < 2
    for targets in (labels, ~labels):
        expected = [by_hand(v[targets], v[~targets], index) for v in values.T]
        np.testing.assert_allclose(selectivity(values, targets, index), expected, rtol=1e-9)


@pytest.mark.parametrize("index", INDICES)
def test_permuted_labels_together_are_those_one_by_one(index):
    rng = np.random.default_rng(2)
    values = rng.normal(size=(31, 5))
    labels = np.stack([rng.permutation(TARGET) for _ in range(20)])
    together = selectivity(values, labels, index, block=7)
    expected = [[by_hand(v[y], v[~y], index) for v in values.T] for y in labels]
    np.testing.assert_allclose(together, expected, rtol=1e-9)


@given(st.floats(0.01, 100), st.floats(-100, 100), st.integers(0, 1000))
def test_index_does_not_depend_on_scale_and_offset(scale, offset, seed):
    values = np.random.default_rng(seed).normal(size=(31, 3))
    for index in INDICES:
        np.testing.assert_allclose(
            selectivity(scale * values + offset, TARGET, index),
            selectivity(values, TARGET, index),
            rtol=1e-6,
            atol=1e-9,
        )


def test_closed_form():
    # Means 3 and 1, variances 1 and 4 of 4 sounds each.
    x, y = np.array([2, 4, 2, 4]) / np.sqrt(4 / 3), np.array([-1, 3, -1, 3]) / np.sqrt(4 / 3)
    values, target = np.r_[x, y][:, None], np.arange(8) < 4
    gap = 2 / np.sqrt(4 / 3)
    assert selectivity(values, target, "welch-t")[0] == pytest.approx(gap / np.sqrt(1 / 4 + 4 / 4))
    assert selectivity(values, target, "d-prime")[0] == pytest.approx(gap / np.sqrt(2.5))
    assert selectivity(values, target, "plain-sum")[0] == pytest.approx(gap / 3)
    assert selectivity(values, target, "kim2024")[0] == pytest.approx(gap / np.sqrt((1 + 4) * 0.75 / 4))
    assert selectivity(values, target, "auc")[0] == pytest.approx(12 / 16)


def test_constant_units_and_units_without_spread_within_a_kind():
    values = np.zeros((31, 3))
    values[:, 0] = 5.1
    values[TARGET, 1] = 1.0
    values[:, 2] = np.arange(31)
    assert selectivity(values, TARGET)[0] == 0
    assert selectivity(values, TARGET)[1] == np.inf
    ranking = rank_units(values, TARGET)
    assert ranking.rank.tolist() == [3, 1, 2]
    assert ranking.constant.tolist() == [True, False, False]
    assert ranking.top(1.0).tolist() == [False, True, True]
    assert ranking.ascending.tolist() == [0, 2, 1]


def test_top_eighth_of_256_units_is_32():
    values = np.random.default_rng(0).normal(size=(31, 256))
    ranking = rank_units(values, TARGET)
    top = ranking.top()
    assert top.sum() == 32
    assert ranking.values[top].min() > ranking.values[~top].max()
    slices = [ranking.top(0.125, skip=i) for i in range(8)]
    assert np.sum(slices, axis=0).tolist() == [1] * 256
    assert n_selected(6, 0.125) == 1
    with pytest.raises(MeasureError, match="above 0"):
        n_selected(6, 12.5)


def test_rule_for_several_labels():
    values = np.random.default_rng(0).normal(size=(8, 3))
    labels = ["Music|Piano", "Music", "Music|Speech", "Speech", "Dog | Speech", "Piano", "Dog", "Speech|Piano"]
    data = with_columns(
        make_responses(values, [f"s{i}" for i in range(8)]),
        pd.DataFrame({"file": "x", "labels": labels, "f0": np.arange(8.0)}, index=[f"s{i}" for i in range(8)]),
    )
    assert "file" not in data.coords
    found = find_targets(data, ["Music", "Piano"], "labels")
    assert found.n_mixed == 2
    assert dict(zip(found.ids, found.is_target.tolist(), strict=True)) == {
        "s0": True, "s1": True, "s3": False, "s4": False, "s5": True, "s6": False,
    }  # fmt: skip
    result = selective_ratio(data, allow_overlap=True, categories=["Music", "Piano"], column="labels", n_bootstrap=0)
    assert result.settings["n_mixed_left_out"] == 2
    assert any("2 sounds with labels of both kinds" in w for w in result.warnings)


def test_halves_are_disjoint_balanced_and_depend_on_ids_alone():
    data = noise(41, 4)
    parts = make_parts(data, None, ["Music"], seed=3).parts
    one, two = parts
    assert set(one.select.ids) == set(two.test.ids)
    assert not set(one.select.ids) & set(one.test.ids)
    assert set(one.select.ids) | set(one.test.ids) == set(data["stimulus"].values)
    for category in ("Music", "Speech", "Nature"):
        counts = [(p.test.responses["category"].values == category).sum() for p in parts]
        assert abs(counts[0] - counts[1]) <= 1
    shuffled = data.isel(stimulus=np.random.default_rng(0).permutation(41))
    again = make_parts(shuffled, None, ["Music"], seed=3).parts[0]
    assert set(again.select.ids) == set(one.select.ids)
    other = make_parts(data, None, ["Music"], seed=4).parts[0]
    assert set(other.select.ids) != set(one.select.ids)


def test_selection_and_test_must_be_disjoint():
    data, other = noise(), noise(seed=1, prefix="t")
    with pytest.raises(MeasureError, match=r"40 sounds select and test \(s000, .*allow_overlap"):
        selective_ratio(data, selection=data, categories=["Music"])
    renamed = other.assign_coords(stimulus=["s000", *other["stimulus"].values[1:]])
    with pytest.raises(MeasureError, match="1 sounds select and test"):
        selective_ratio(data, selection=renamed, categories=["Music"])
    result = selective_ratio(data, selection=data, categories=["Music"], allow_overlap=True, n_bootstrap=0)
    assert (result.arrays["roles"] == "both").all()
    assert "overlap" in result.settings["selection_and_test"]
    assert any("too high" in w for w in result.warnings)
    result = selective_ratio(data, selection=other, categories=["Music"], n_bootstrap=0)
    roles = result.arrays["roles"].sel(part=0)
    assert set(roles["stimulus"].values[roles.values == "select"]) == set(other["stimulus"].values)
    assert set(roles["stimulus"].values[roles.values == "test"]) == set(data["stimulus"].values)
    with pytest.raises(MeasureError, match=r"different units \(4 and 64\)"):
        selective_ratio(data, selection=noise(n_units=4, prefix="t"), categories=["Music"])


def test_ratio_with_other_sounds_by_hand():
    test, selection = noise(30, 16, n_target=12), noise(50, 16, seed=1, n_target=20, prefix="t")
    table = selective_ratio(test, selection=selection, categories=["Music"], n_bootstrap=200).table.set_index("target")
    t = [by_hand(v[:20], v[20:], "welch-t") for v in selection.values.T]
    top = np.argsort(t)[-2:]
    for name, units in (("selected units", top), ("other units", np.setdiff1d(np.arange(16), top))):
        mean = test.values[:, units].mean(axis=1)
        row = table.loc[name]
        assert row["value"] == pytest.approx(mean[:12].mean() / mean[12:].mean())
        peer = sps.mannwhitneyu(mean[:12], mean[12:], alternative="greater", method="exact")
        assert row["p"] == pytest.approx(peer.pvalue)
        assert row["effect_size"] == pytest.approx(peer.statistic / (12 * 18))
        assert row["ci_low"] < row["value"] < row["ci_high"]
        assert (row["n"], row["n_target"], row["n_rest"], row["n_units"]) == (30, 12, 18, len(units))


def test_cross_fitted_ratio_is_the_mean_of_both_directions():
    data = noise(40, 16)
    parts = make_parts(data, None, ["Music"], seed=0).parts
    ratios = []
    for part in parts:
        test, selection = part.test.responses, part.select.responses
        alone = selective_ratio(test, selection=selection, categories=["Music"], n_bootstrap=0)
        ratios.append(alone.table["value"].to_numpy())
    both = selective_ratio(data, categories=["Music"], n_bootstrap=0).table
    np.testing.assert_allclose(both["value"], np.mean(ratios, axis=0))


@pytest.mark.parametrize("how", ["other sounds", "cross-fitted", "overlapping"])
def test_noise_has_no_selective_units_unless_selection_and_test_overlap(how):
    ratios = []
    for seed in range(60):
        data = noise(40, 64, seed=seed)
        options = {
            "other sounds": {"selection": noise(40, 64, seed=1000 + seed, prefix="t")},
            "cross-fitted": {"seed": seed},
            "overlapping": {"allow_overlap": True},
        }[how]
        ratios.append(selective_ratio(data, categories=["Music"], n_bootstrap=0, **options).table["value"][0])
    error = np.std(ratios, ddof=1) / np.sqrt(len(ratios))
    if how == "overlapping":
        assert np.mean(ratios) > 1.1
        assert min(ratios) > 1
    else:
        assert abs(np.mean(ratios) - 1) < 4 * error
        assert error < 0.02


def test_cross_fitted_p_holds_where_both_directions_depend_on_each_other():
    """Units in pairs, one the mirror image of the other: whichever half selects, the other agrees or disagrees."""
    hits = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        one = rng.normal(size=(40, 1))
        data = noise(values=np.hstack([one, -one]), n_units=2)
        table = selective_ratio(data, categories=["Music"], n_bootstrap=0, fraction=0.5, seed=seed).table
        hits += table["p"][0] <= 0.05
    assert sps.binomtest(hits, 400, 0.05, alternative="greater").pvalue > 0.01


def test_selective_units_are_found():
    data = noise(40, 64)
    data.values[:16, 10:18] *= 2
    table = selective_ratio(data, categories=["Music"]).table.set_index("target")
    assert 1.7 < table.loc["selected units", "value"] < 2.3
    assert table.loc["selected units", "p"] < 0.001
    assert table.loc["selected units", "ci_low"] > 1.5
    assert table.loc["other units", "ci_low"] < 1 < table.loc["other units", "ci_high"]


def test_constant_unit_is_flagged_and_does_not_stop_the_rest():
    data = noise(40, 8)
    data.values[:, 2] = 0
    table = unit_table(data, categories=["Music"], n_permutations=50).table
    assert "constant" in table.loc[2, "note"]
    assert table.loc[2, "rank"] == 8
    assert table.loc[2, ["value", "p", "ratio"]].isna().all()
    assert table.drop(index=2)[["value", "p", "ratio", "p_fdr"]].notna().all(axis=None)
    flat = noise(40, 8, unit_info={"layer": ["a"] * 4 + ["dead"] * 4})
    flat.values[:, 4:] = 1
    ratios = selective_ratio(flat, categories=["Music"], n_bootstrap=20).table
    dead = ratios[(ratios["layer"] == "dead") & (ratios["target"] == "selected units")].iloc[0]
    assert np.isnan(dead["value"])
    assert "constant" in dead["note"]
    assert ratios[ratios["layer"] == "a"]["value"].notna().all()


def test_unit_table_by_hand():
    data = noise(40, 6, unit_info={"layer": ["a"] * 3 + ["b"] * 3, "channel": [0, 1, 2, 0, 1, 2]})
    data.values[:, 4] -= 10
    result = unit_table(data, categories=["Music"], n_permutations=3999, fraction=1 / 3)
    table = result.table
    music = data["category"].values == "Music"
    for i, row in table.iterrows():
        x, y = data.values[music, i], data.values[~music, i]
        assert row["value"] == pytest.approx(by_hand(x, y, "welch-t"))
        assert row["effect_size"] == pytest.approx(by_hand(x, y, "auc"))
        peer = sps.permutation_test((x, y), welch, n_resamples=3999, vectorized=True, rng=0)
        assert row["p"] == pytest.approx(peer.pvalue, abs=0.05)
        means = {c: data.values[data["category"].values == c, i].mean() for c in ("Music", "Speech", "Nature")}
        assert row["best_category"] == max(means, key=means.get)
        assert (row["layer"], row["channel"]) == ("ab"[i // 3], i % 3)
        assert np.isnan(row["ratio"]) if i == 4 else row["ratio"] == pytest.approx(x.mean() / y.mean())
    for _, rows in table.groupby("layer"):
        assert rows.sort_values("value", ascending=False)["rank"].tolist() == [1, 2, 3]
        assert rows["selected"].sum() == 1
        np.testing.assert_allclose(rows["p_fdr"], sps.false_discovery_control(rows["p"]))


def test_weighted_correlation_is_that_of_copies():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=12), rng.normal(size=(12, 3))
    counts = rng.integers(0, 4, (5, 12))
    expected = [[np.corrcoef(np.repeat(x, c), np.repeat(v, c))[0, 1] for v in y.T] for c in counts]
    np.testing.assert_allclose(weighted_r(x, y, counts.astype(float)), expected)


def test_profile_by_hand_and_of_noise():
    data, selection = noise(40, 16), noise(50, 16, seed=1, n_target=20, prefix="t")
    t = selectivity(selection.values, np.arange(50) < 20)
    mean = data.values[:, np.argsort(t)[-2:]].mean(axis=1)
    rng = np.random.default_rng(5)
    brain = make_responses(
        np.c_[mean + 0.1 * rng.normal(size=40), rng.normal(size=40)], data["stimulus"].values, ["like", "noise"]
    )
    shuffled = brain.isel(stimulus=rng.permutation(40))
    table = selective_profile(data, shuffled, selection=selection, categories=["Music"]).table
    rows = table[table["units"] == "selected units"].set_index("target")
    for name, column in zip(("like", "noise"), brain.values.T, strict=True):
        assert rows.loc[name, "value"] == pytest.approx(np.corrcoef(mean, column)[0, 1])
    assert rows.loc["like", "p"] == pytest.approx(1 / 1001)
    peer = sps.pearsonr(mean, brain.values[:, 1], alternative="greater").pvalue
    assert rows.loc["noise", "p"] == pytest.approx(peer, abs=0.05)
    interval = sps.bootstrap(
        (mean, brain.values[:, 1]), lambda x, y: np.corrcoef(x, y)[0, 1], paired=True, vectorized=False,
        n_resamples=2000, rng=0,
    ).confidence_interval  # fmt: skip
    assert rows.loc["noise", "ci_low"] == pytest.approx(interval.low, abs=0.08)
    assert rows.loc["noise", "ci_high"] == pytest.approx(interval.high, abs=0.08)


def test_profile_p_is_uniform_on_noise():
    p = []
    for seed in range(80):
        brain = make_responses(np.random.default_rng(seed).normal(size=(40, 2)), [f"s{i:03d}" for i in range(40)])
        table = selective_profile(noise(seed=seed), brain, categories=["Music"], n_bootstrap=0, n_permutations=99).table
        p.append(table["p"][0])
    assert sps.kstest(p, "uniform").pvalue > 0.01


def test_combined_test_of_one_part_is_the_rank_sum_test():
    rng = np.random.default_rng(0)
    x, y = rng.normal(1, 1, 9), rng.normal(size=11)
    assert combined_rank_sum([(x, y)], "two-sided")[0] == pytest.approx(sps.mannwhitneyu(x, y, method="exact").pvalue)
    assert combined_rank_sum([(x, y), (x, y)], "greater")[0] == pytest.approx(
        2 * sps.mannwhitneyu(x, y, alternative="greater", method="exact").pvalue
    )


def test_impossible_input_is_named():
    data = noise()
    with pytest.raises(MeasureError, match="did you mean 'Music'"):
        selective_ratio(data, categories=["Musik"])
    with pytest.raises(MeasureError, match="no column 'genre'"):
        selective_ratio(data, categories=["Music"], column="genre")
    with pytest.raises(MeasureError, match="found 1 sounds of the target categories"):
        selective_ratio(data.isel(stimulus=range(15, 40)), categories=["Music"], allow_overlap=True)
    with pytest.raises(MeasureError, match=r"found 3 sounds of the target categories \(Music\); at least 4"):
        selective_ratio(data.isel(stimulus=range(13, 40)), categories=["Music"])
    with pytest.raises(MeasureError, match="no selectivity index 'welch'; did you mean 'welch-t'"):
        selective_ratio(data, categories=["Music"], index="welch")
    broken = data.copy(deep=True)
    broken.values[7, 3] = np.nan
    for measure in (selective_ratio, unit_table):
        with pytest.raises(ResponseError, match="s007"):
            measure(broken, categories=["Music"])
    bare = data.assign_coords(category=("stimulus", ["Music", ""] + ["Speech"] * 38))
    with pytest.raises(MeasureError, match="s001 have no label"):
        selective_ratio(bare, categories=["Music"])


@pytest.mark.realdata
def test_165_natural_sounds():
    """A network that never heard music has units that prefer it, an untrained one has not (Kim et al. 2024)."""
    from brainalign.models import extract, load_model
    from brainalign.stimuli import load_stimuli

    sounds = load_stimuli("natsound165")

    def selected(name):
        heard = extract(load_model(name), sounds, layers=["avgpool"])
        return selective_ratio(heard, categories=["Music", "Song"]).table.iloc[0]

    trained, untrained = selected("kim2024-cnn:no-music/0"), selected("kim2024-cnn@random:0")
    assert trained["n_target"] == 35
    assert trained["ci_low"] > 1.2
    assert trained["p"] < 0.01
    assert untrained["ci_low"] < 1 < untrained["ci_high"]


def test_units_selected_in_another_model_are_refused():
    test, selection = noise().assign_attrs(source="net-a"), noise(prefix="t").assign_attrs(source="net-b")
    with pytest.raises(MeasureError, match="units selected in net-b are not those tested in net-a"):
        make_parts(test, selection, ["Music"])


def test_one_category_is_a_list_too():
    with pytest.raises(MeasureError, match=r"expected a list: \['Music'\]"):
        make_parts(noise(), None, "Music")
