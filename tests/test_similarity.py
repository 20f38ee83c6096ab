"""Similarity of representations as measures: against hand-made permutations and jackknives, and on noise."""

import numpy as np
import pytest
from scipy import stats

from brainalign.errors import MeasureError, ResponseError
from brainalign.measures import alignment
from brainalign.measures.alignment_inference import estimate, make_comparison
from brainalign.measures.jackknife import jackknife_interval, lone_stimulus
from brainalign.measures.resampling import draw_orders
from brainalign.measures.similarity import layer_map, similarity
from brainalign.recipes.options import check_options
from brainalign.responses import make_responses

FUNCTIONS = {
    "linear-cka": alignment.cka,
    "rbf-cka": lambda x, y: alignment.cka(x, y, kernel="rbf"),
    "rv": alignment.rv_coefficient,
    "procrustes-distance": alignment.procrustes_distance,
    "angular-distance": alignment.angular_distance,
    "cca": alignment.cca,
    "svcca": alignment.svcca,
    "pwcca": alignment.pwcca,
}
LIMITS = {
    "linear-cka": (-1, 1),
    "rbf-cka": (-1, 1),
    "procrustes-distance": (0, 2**0.5),
    "angular-distance": (0, np.pi / 2),
}


def latent(n=20, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 3))


def responses(sizes=(4,), seed=0, share=0.6, n=20, layers=True, **kwargs):
    """Units that mix three dimensions, common to all seeds, with noise of their own."""
    rng = np.random.default_rng(seed + 100)
    values = [
        share * latent(n) @ rng.standard_normal((3, p)) + (1 - share) * rng.standard_normal((n, p)) for p in sizes
    ]
    names = [f"layer{i}" for i, p in enumerate(sizes) for _ in range(p)]
    kwargs = {"unit_info": {"layer": names}} | kwargs if layers else kwargs
    return make_responses(np.hstack(values), [f"s{i}" for i in range(n)], **kwargs)


def layer(data, i):
    return data.values[:, data["layer"].values == f"layer{i}"]


class TestSimilarity:
    @pytest.mark.parametrize("method", FUNCTIONS)
    def test_value_p_and_chance_are_those_of_reordered_data(self, method):
        model, brain = responses((4, 6), attrs={"source": "net"}), responses((5,), seed=1, layers=False)
        table = similarity(model, brain, method=method, n_permutations=50, interval=False, seed=3).table
        orders = draw_orders(20, 50, np.random.default_rng(3), [f"s{i}" for i in range(20)])
        for i, row in table.iterrows():
            null = [FUNCTIONS[method](layer(model, i), brain.values[order]) for order in orders]
            assert row["value"] == pytest.approx(null[0], abs=1e-10)
            assert row["chance"] == pytest.approx(np.mean(null[1:]), abs=1e-10)
            sign = -1 if method.endswith("distance") else 1
            assert row["p"] == pytest.approx(np.mean(sign * np.array(null) >= sign * null[0] - 1e-12), abs=1e-12)
            assert np.isnan(row["ci_low"])
        assert list(table["layer"]) == ["layer0", "layer1"]
        assert set(table["model"]) == {"net"}
        assert set(table["statistic"]) == {method}

    @pytest.mark.parametrize("method", FUNCTIONS)
    def test_interval_is_a_jackknife_on_the_logit_scale(self, method):
        model, brain = responses(), responses((5,), seed=1, layers=False)
        row = similarity(model, brain, method=method, n_permutations=0, level=0.9).table.iloc[0]
        lowest, highest = LIMITS.get(method, (0, 1))

        def logit(value):
            return np.log((value - lowest) / (highest - value))

        without = [
            logit(FUNCTIONS[method](np.delete(model.values, i, axis=0), np.delete(brain.values, i, axis=0)))
            for i in range(20)
        ]
        error = np.sqrt(19 / 20 * np.sum((without - np.mean(without)) ** 2))
        found = [logit(row[limit]) for limit in ("ci_low", "ci_high")]
        reach = stats.t.ppf(0.95, 19) * error
        np.testing.assert_allclose(found, [logit(row["value"]) - reach, logit(row["value"]) + reach], atol=1e-6)
        assert np.isnan(row["p"])

    def test_biased_form_and_other_options(self):
        model, brain = responses((12,)), responses((9,), seed=1, layers=False)
        off = {"n_permutations": 0, "interval": False}
        biased = similarity(model, brain, debiased=False, **off)
        assert biased.table["statistic"].item() == "linear-cka (biased)"
        assert biased.table["value"].item() == pytest.approx(alignment.cka(model, brain, debiased=False))
        narrow = similarity(model, brain, method="rbf-cka", bandwidth=0.4, **off).table["value"].item()
        assert narrow == pytest.approx(alignment.cka(model, brain, kernel="rbf", bandwidth=0.4))
        few = similarity(model, brain, method="svcca", variance=0.7, **off).table["value"].item()
        assert few == pytest.approx(alignment.svcca(model, brain, variance=0.7))

    def test_stimuli_are_matched_by_id_and_repetitions_averaged(self):
        model, brain = responses(), responses((5,), seed=1, layers=False)
        noise = np.random.default_rng(0).standard_normal(brain.shape)
        repeated = make_responses(np.stack([brain.values + noise, brain.values - noise]), brain["stimulus"].values)
        shuffled = repeated.isel(stimulus=np.random.default_rng(0).permutation(20))
        expected = similarity(model, brain, n_permutations=0, interval=False).table["value"]
        found = similarity(model, shuffled, n_permutations=0, interval=False).table["value"]
        np.testing.assert_allclose(found, expected)

    @pytest.mark.parametrize("method", FUNCTIONS)
    def test_the_same_geometry_is_at_the_end_of_the_range(self, method):
        brain = responses(layers=False)
        row = similarity(3 * responses() + 1, brain, method=method, n_permutations=99).table.iloc[0]
        end = 0 if method.endswith("distance") else 1
        assert [row[c] for c in ("value", "ci_low", "ci_high")] == pytest.approx([end] * 3, abs=1e-6)
        assert row["p"] == 0.01

    @pytest.mark.parametrize("method", ["cca", "pwcca"])
    def test_what_is_one_for_any_data_has_no_p_and_says_so(self, method):
        model, brain = responses((4, 16, 18, 40)), responses((5,), seed=1, layers=False)
        found = similarity(model, brain, method=method, n_permutations=20)
        table = found.table
        assert list(table["note"]) == [
            "",
            "2 of 5 canonical correlations are 1 for any data",
            "4 of 5 canonical correlations are 1 for any data; "
            "no interval: without one stimulus all canonical correlations are 1 for any data",
            "5 of 5 canonical correlations are 1 for any data",
        ]
        assert list(table["p"].isna()) == [False, False, False, True]
        assert list(table["ci_low"].isna()) == [False, False, True, True]
        assert table["value"].iloc[3] == pytest.approx(1)
        assert "3 of 4 comparisons" in found.warnings[0]
        assert not similarity(model, brain, n_permutations=0, interval=False).warnings

    def test_a_layer_that_shares_nothing_stands_beside_one_that_does(self):
        brain = responses((30,), seed=1, layers=False)
        near, far = responses((400,), seed=2).values, responses((400,), seed=3, share=0).values
        model = make_responses(
            np.hstack([near, far]), brain["stimulus"].values, unit_info={"layer": ["near"] * 400 + ["far"] * 400}
        )
        table = similarity(model, brain, n_permutations=199).table.set_index("layer")
        biased = similarity(model, brain, n_permutations=199, debiased=False).table.set_index("layer")
        assert table.loc["near", "ci_low"] > 0.5
        assert table.loc["near", "p"] == 0.005
        assert table.loc["far", "ci_low"] < 0 < table.loc["far", "ci_high"]
        assert biased.loc["far", "ci_low"] > 0.2
        assert biased.loc["far", "value"] == pytest.approx(biased.loc["far", "chance"], abs=0.1)

    def test_bad_input_is_named(self):
        model, brain = responses((4, 6), attrs={"source": "net"}), responses((5,), seed=1, layers=False)
        with pytest.raises(MeasureError, match="no method 'linear_cka'; did you mean 'linear-cka'"):
            similarity(model, brain, method="linear_cka")
        with pytest.raises(MeasureError, match="at least 6 stimuli, found 5"):
            similarity(model.isel(stimulus=slice(5)), brain.isel(stimulus=slice(5)))
        with pytest.raises(ResponseError, match="lacks 's19'"):
            similarity(model.isel(stimulus=slice(19)), brain)
        dead = model.copy(data=np.where(model["layer"].values == "layer1", 0.1, model.values))
        with pytest.raises(MeasureError, match="net layer1: all 6 units respond alike to all 20 stimuli"):
            similarity(dead, brain)
        holed = model.copy(data=np.where(model["stimulus"].values[:, None] == "s4", np.nan, model.values))
        with pytest.raises(ResponseError, match=r"net layer0: 4 of 80 responses are NaN or infinite, .* s4"):
            similarity(holed, brain)
        one = (model["layer"].values == "layer1") & (model["stimulus"].values[:, None] != "s4")
        with pytest.raises(MeasureError, match="net layer1: only the stimulus 's4' differs"):
            similarity(model.copy(data=np.where(one, 0.1, model.values)), brain)

    def test_recipes_may_use_all_options(self):
        options = {"method": "svcca", "debiased": False, "bandwidth": 0.5, "variance": 0.9, "n_permutations": 10}
        for measure in (similarity, layer_map):
            check_options(measure, options | {"interval": False, "level": 0.9, "seed": 1}, "measures[0]")


class TestLayerMap:
    @pytest.mark.parametrize("method", ["linear-cka", "procrustes-distance", "pwcca"])
    def test_all_layers_with_all(self, method):
        models = {"a": responses((4, 6)), "b": responses((3, 5, 7), seed=1)}
        found = layer_map(models, method=method, interval=False)
        parts = [layer(models["a"], i) for i in range(2)] + [layer(models["b"], i) for i in range(3)]
        expected = np.array([[FUNCTIONS[method](x, y) for y in parts] for x in parts])
        array = found.arrays["layer_map"]
        np.testing.assert_allclose(array, expected, atol=1e-7)
        assert list(array["model"].values) == ["a", "a", "b", "b", "b"]
        assert list(array["layer_2"].values) == ["layer0", "layer1", "layer0", "layer1", "layer2"]
        table = found.table
        assert list(zip(table["layer"], table["layer_2"], strict=True)) == [
            (f"layer{i}", f"layer{j}") for i in range(2) for j in range(3)
        ]
        assert set(table["model"]) == {"a"}
        assert set(table["model_2"]) == {"b"}
        np.testing.assert_allclose(table["value"], expected[:2, 2:].ravel(), atol=1e-10)

    def test_rows_are_those_of_similarity(self):
        models = {"a": responses((4, 6)), "b": responses((3,), seed=1)}
        order = np.random.default_rng(0).permutation(20)
        shuffled = {"a": models["a"], "b": models["b"].isel(stimulus=order)}
        found = layer_map(shuffled, n_permutations=30, seed=2).table
        expected = similarity(models["a"], models["b"], n_permutations=30, seed=2).table
        columns = ["value", "ci_low", "ci_high", "p", "chance"]
        np.testing.assert_allclose(found[columns].astype(float), expected[columns].astype(float), atol=1e-10)

    def test_one_model_is_compared_with_itself(self):
        found = layer_map({"a": responses((4, 6, 5))})
        pairs = list(zip(found.table["layer"], found.table["layer_2"], strict=True))
        assert pairs == [("layer0", "layer1"), ("layer0", "layer2"), ("layer1", "layer2")]
        np.testing.assert_allclose(np.diag(found.arrays["layer_map"]), 1)
        assert found.table["p"].isna().all()

    def test_three_models_give_three_pairs(self):
        models = {name: responses((4,), seed=i) for i, name in enumerate("abc")}
        table = layer_map(models, interval=False).table
        assert list(zip(table["model"], table["model_2"], strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]

    def test_bad_input(self):
        with pytest.raises(MeasureError, match="there is no model"):
            layer_map({})
        with pytest.raises(MeasureError, match="one model with one layer"):
            layer_map({"a": responses()})
        dead = responses((4, 6))
        models = {"a": responses(), "b": dead.where(dead["layer"] != "layer1", 0.0)}
        with pytest.raises(MeasureError, match="b layer1: all 6 units"):
            layer_map(models)


class TestJackknife:
    def test_a_mean_has_its_t_interval(self):
        """On a wide range the logit is a straight line, and the jackknife of a mean is exact."""
        x = np.random.default_rng(0).standard_normal(25)
        without = np.array([np.delete(x, i).mean() for i in range(25)])
        found = jackknife_interval(x.mean(), without, (-1e4, 1e4), 0.95)
        expected = stats.t.interval(0.95, 24, x.mean(), stats.sem(x))
        np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_a_lone_stimulus(self):
        x = np.zeros((6, 2))
        for i in range(6):
            assert lone_stimulus(np.where(np.arange(6)[:, None] == i, 1.0, x)) == i
        assert lone_stimulus(np.arange(12.0).reshape(6, 2)) is None
        assert lone_stimulus(np.repeat([[0.0], [1.0]], 3, axis=0)) is None


def draw(rng, n, signal):
    """Two sides of 12 and 9 units that share six dimensions of falling strength, or nothing."""
    shared = rng.standard_normal((n, 6)) * np.linspace(2, 0.5, 6)
    mixing = np.random.default_rng(5)
    return [signal * shared @ mixing.standard_normal((6, p)) + 1.5 * rng.standard_normal((n, p)) for p in (12, 9)]


@pytest.mark.slow
@pytest.mark.parametrize("method", FUNCTIONS)
def test_p_rejects_noise_at_its_level(method):
    rng = np.random.default_rng(0)
    comparison = make_comparison(method, True, 1.0, 0.99)
    rejected = 0
    for _ in range(2000):
        x, y = rng.standard_normal((16, 4)), rng.standard_normal((16, 3))
        rejected += estimate(comparison, {"x": x}, {"y": y}, draw_orders(16, 39, rng), None).p.item() <= 0.05
    assert abs(rejected / 2000 - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 2000), rejected


@pytest.mark.slow
@pytest.mark.parametrize("method", ["linear-cka", "rv", "procrustes-distance", "cca"])
def test_interval_covers_the_mean_over_sets_of_as_many_stimuli(method):
    rng = np.random.default_rng(1)
    comparison, everything = make_comparison(method, True, 1.0, 0.99), np.arange(30)[None]

    def estimated(level):
        x, y = draw(rng, 30, 1.0)
        return estimate(comparison, {"x": x}, {"y": y}, everything, level)

    truth = np.mean([estimated(None).values.item() for _ in range(2000)])
    found = [estimated(0.95) for _ in range(400)]
    covered = np.mean([e.low.item() <= truth <= e.high.item() for e in found])
    # Three standard errors of 400 draws below the level; the jackknife may cover more.
    assert covered > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 400), covered


@pytest.mark.slow
def test_debiased_interval_covers_the_value_of_endless_stimuli():
    rng = np.random.default_rng(2)
    truth = alignment.cka(*draw(rng, 4000, 1.0))
    comparison = make_comparison("linear-cka", True, 1.0, 0.99)
    found = []
    for _ in range(400):
        x, y = draw(rng, 30, 1.0)
        found.append(estimate(comparison, {"x": x}, {"y": y}, np.arange(30)[None], 0.95))
    covered = np.mean([e.low.item() <= truth <= e.high.item() for e in found])
    assert 0.91 < covered < 0.99, covered
