"""Variance partitioning: planted shares, brute force over splits and permutations, and rejection rates on noise."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as t_distribution
from sklearn.linear_model import Ridge

from brainalign.errors import MeasureError, ResponseError
from brainalign.measures.banded import band_weights, banded_ridge_predict, left_out_predictions, mean_eigenvalue
from brainalign.measures.resampling import draw_orders
from brainalign.measures.ridge import gram_matrix
from brainalign.measures.splits import Split, make_splits
from brainalign.measures.variance_partition import partition_matrix, variance_partition
from brainalign.responses import make_responses

#: The seven regions of three spaces, and the share of each in the variance of planted targets; 0.2 is noise.
REGIONS = {"A": 0.2, "B": 0.1, "C": 0.05, "AB": 0.15, "AC": 0.05, "BC": 0.1, "ABC": 0.15}


def planted(n, names="ABC", n_targets=10, n_latents=2, seed=0):
    """Return models whose units are the latents of their regions, rotated, and targets with the shares of REGIONS.

    Latents are uncorrelated and of unit variance, so that shares are exact.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal((n, 1 + len(REGIONS) * n_latents))
    drawn[:, 0] = 1
    exact = np.linalg.qr(drawn)[0][:, 1:] * np.sqrt(n)
    latents = dict(zip(REGIONS, np.split(exact, len(REGIONS), axis=1), strict=True))
    ids = [f"s{i:04d}" for i in rng.permutation(n)]
    models = {}
    for k, name in enumerate(names):
        own = np.hstack([z for r, z in latents.items() if name in r])
        rotation = np.linalg.qr(rng.standard_normal((own.shape[1], own.shape[1])))[0]
        models[name] = make_responses(own @ rotation * 10.0**k + 3, ids, attrs={"source": name})
    y = sum(np.sqrt(share / n_latents) * latents[r] @ np.ones((n_latents, n_targets)) for r, share in REGIONS.items())
    y = y + np.sqrt(1 - sum(REGIONS.values())) * rng.standard_normal((n, n_targets))
    return models, make_responses(y, ids, [f"t{t}" for t in range(n_targets)], attrs={"source": "brain"})


def without_p(*args, **options):
    return variance_partition(*args, **{"n_permutations": 0, "n_splits": 4} | options)


def values(result, statistic):
    """Return the values of a statistic, (set of spaces, target)."""
    table = result.table[result.table["statistic"] == statistic]
    return table.pivot(index="model", columns="target", values="value")


class TestPartition:
    def test_of_two_spaces(self):
        """Columns A, B, A + B; rows unique A, unique B, shared."""
        np.testing.assert_array_equal(partition_matrix(2), [[0, -1, 1], [-1, 0, 1], [1, 1, -1]])

    def test_of_three_spaces_as_de_heer_2017(self):
        a, b, c, ab, ac, bc, abc = np.eye(7)
        expected = [
            abc - bc,
            abc - ac,
            abc - ab,
            ac + bc - c - abc,
            ab + bc - b - abc,
            ab + ac - a - abc,
            a + b + c - ab - ac - bc + abc,
        ]
        np.testing.assert_array_equal(partition_matrix(3), expected)

    @pytest.mark.parametrize("n_spaces", [2, 3])
    def test_areas_of_a_diagram_are_found_again(self, n_spaces):
        """What a set of spaces explains is the area of all parts that touch it."""
        areas = np.random.default_rng(0).uniform(size=2**n_spaces - 1)
        touch = np.array(sorted(range(1, 2**n_spaces), key=lambda m: (m.bit_count(), -int(f"{m:03b}"[::-1], 2))))
        r2 = np.array([areas[(touch & model) > 0].sum() for model in touch])
        np.testing.assert_allclose(partition_matrix(n_spaces) @ r2, areas)


class TestPlantedTruth:
    def test_all_seven_parts_of_three_spaces(self):
        models, brain = planted(600)
        result = without_p(models, brain, splits="kfold", n_splits=2)
        unique, shared = (values(result, s).mean(axis=1) for s in ("unique", "shared"))
        found = {"".join(m.split(" & ")): v for m, v in [*unique.items(), *shared.items()]}
        # Halves of 300 sounds correlate latents by chance: 2 * (0.2 * 0.15 / 300)^0.5 = 0.02 for the largest pair.
        assert found == pytest.approx(REGIONS, abs=0.03)
        assert sum(found.values()) == pytest.approx(values(result, "R2").loc["A + B + C"].mean(), abs=1e-12)
        assert sum(found.values()) == pytest.approx(0.8, abs=0.03)

    def test_two_of_them(self):
        models, brain = planted(600, "AB")
        result = without_p(models, brain, splits="kfold", n_splits=2)
        expected = {"A": 0.25, "B": 0.2, "A & B": 0.3}
        found = pd.concat([values(result, s).mean(axis=1) for s in ("unique", "shared")]).to_dict()
        assert found == pytest.approx(expected, abs=0.03)

    def test_a_suppressor_gives_a_negative_shared_part(self):
        """B knows only what disturbs A: R2 is 0.5, 0 and 1, so 'shared' is -0.5, and it is kept."""
        rng = np.random.default_rng(0)
        x, disturbance = rng.standard_normal((2, 400, 1))
        ids = [f"s{i}" for i in range(400)]
        models = {"A": make_responses(x + disturbance, ids), "B": make_responses(disturbance, ids)}
        result = without_p(models, make_responses(x, ids, ["t"]))
        table = result.table.set_index(["statistic", "model"])
        expected = {"A": 0.5, "B": 0.0, "A + B": 1.0}
        assert table.loc["R2", "value"].to_dict() == pytest.approx(expected, abs=0.05)
        assert table.loc[("shared", "A & B"), "value"] == pytest.approx(-0.5, abs=0.07)
        assert table.loc[("shared", "A & B"), "note"].startswith("negative: together the spaces explain more")
        assert not table.loc[("unique", "A"), "note"]

    def test_the_interval_and_p_of_what_is_there_and_what_is_not(self):
        rng = np.random.default_rng(1)
        n, ids = 100, [f"s{i}" for i in range(100)]
        a, b = rng.standard_normal((2, n, 8))
        y = b @ np.ones((8, 3)) + rng.standard_normal((n, 3))
        result = variance_partition(
            {"A": make_responses(a, ids), "B": make_responses(b, ids)},
            make_responses(y, ids),
            n_splits=4,
            n_permutations=99,
        )
        table = result.table.set_index(["statistic", "model"])
        assert (table.loc[("unique", "B"), "p"] == 0.01).all()
        assert (table.loc[("unique", "A"), "p"] > 0.05).all()
        assert (table.loc[("unique", "B"), "ci_low"] > 0.5).all()
        none = table.loc[("unique", "A")]
        # Where no split gave the space a weight, both models are one, and there is no interval.
        weighed = (result.arrays["band_weights"].sel(space="A") > 0).any("split").values
        assert ((none["value"] == 0) == ~weighed).all()
        assert none["ci_low"].isna().tolist() == (~weighed).tolist()
        assert none["note"].str.contains("the space has no weight in any split").tolist() == (~weighed).tolist()
        assert 0 < weighed.sum() < 3
        assert (none["ci_low"][weighed] < 0).all()
        table = table.dropna(subset="ci_low")
        assert ((table["ci_low"] <= table["value"]) & (table["value"] <= table["ci_high"])).all()
        assert table.loc[["R2", "shared"], "p"].isna().all()
        assert set(table["n"]) == {100}


class TestBruteForce:
    def test_r2_by_a_loop_over_splits(self):
        models, brain = planted(40, "AB", n_targets=3)
        result = without_p(models, brain, splits="tuckute2023", n_splits=3)
        ids = brain["stimulus"].values.tolist()
        y = brain.values
        for members, name in (("A",), "A"), (("A", "B"), "A + B"):
            residual = total = 0.0
            for split in make_splits(ids, "tuckute2023", n_splits=3):
                train, test = ([ids.index(i) for i in side] for side in split)
                fit = banded_ridge_predict([gram_matrix(models[m].values) for m in members], train, test, y[train])
                residual = residual + np.sum((y[test] - fit.predictions) ** 2, axis=0)
                total = total + np.sum((y[test] - y[train].mean(axis=0)) ** 2, axis=0)
            np.testing.assert_allclose(values(result, "R2").loc[name], 1 - residual / total, rtol=1e-9)

    def test_p_by_refitting_every_permuted_target(self):
        models, brain = planted(24, "ABC", n_targets=2, n_latents=1, seed=4)
        options = {"splits": "kfold", "n_splits": 2, "seed": 5}
        result = variance_partition(models, brain, n_permutations=5, **options)
        found = result.table[result.table["statistic"] == "unique"].pivot(index="model", columns="target", values="p")
        y, everything = brain.values, list(range(24))
        orders = draw_orders(24, 5, np.random.default_rng(5), brain["stimulus"].values.tolist())[1:]
        for name in models:
            others = [gram_matrix(m.values) for other, m in models.items() if other != name]
            # Two spaces choose among those models of three that leave the third out.
            weights = np.array([row[:2] for row in band_weights(3) if row[2] == 0])
            whole = banded_ridge_predict(others, everything, everything, y, weights=weights)
            predicted = left_out_predictions(others, everything, y, whole)
            reached = np.ones(2)
            for order in orders:
                permuted = brain.copy(data=predicted + (y - predicted)[order])
                null = values(without_p(models, permuted, **options), "unique").loc[name]
                reached += null.values >= values(result, "unique").loc[name].values - 1e-12
            np.testing.assert_allclose(found.loc[name], reached / 6)
        assert found.values.min() < 1
        assert len(np.unique(found)) > 1

    def test_blocks_of_permutations_do_not_matter(self, monkeypatch):
        models, brain = planted(24, "AB", n_targets=3, n_latents=1)
        whole = variance_partition(models, brain, n_splits=2, n_permutations=19)
        monkeypatch.setattr("brainalign.measures.variance_partition.COLUMNS", 12)
        parts = variance_partition(models, brain, n_splits=2, n_permutations=19)
        pd.testing.assert_frame_equal(whole.table, parts.table, rtol=1e-8)

    def test_interval_by_refitting_without_each_stimulus(self):
        """Out of training and test, with the weights, penalties and scales that the fits of all stimuli have."""
        models, brain = planted(24, "AB", n_targets=2, n_latents=1)
        result = without_p(models, brain, splits="kfold", n_splits=3)
        ids, y = brain["stimulus"].values.tolist(), brain.values
        weights, penalty = (result.arrays[k].values for k in ("band_weights", "penalty"))
        positions = [[[ids.index(i) for i in side] for side in s] for s in make_splits(ids, "kfold", n_splits=3)]
        scaled = [
            [m.values / np.sqrt(mean_eigenvalue(gram_matrix(m.values), train)) for m in models.values()]
            for train, _ in positions
        ]
        for t in range(2):
            expected = []
            for out in range(24):
                residual = total = 0.0
                for k, (train, test) in enumerate(positions):
                    x = np.hstack([f * np.sqrt(w) for f, w in zip(scaled[k], weights[k, t], strict=True)])
                    own, tested = ([i for i in side if i != out] for side in (train, test))
                    predicted = Ridge(penalty[k, t]).fit(x[own], y[own, t]).predict(x[tested])
                    residual += np.sum((y[tested, t] - predicted) ** 2)
                    total += np.sum((y[tested, t] - y[own, t].mean()) ** 2)
                expected.append(1 - residual / total)
            np.testing.assert_allclose(result.arrays["r2_without"].sel(model="A + B")[:, t], expected, rtol=1e-8)
        # The t limits of a contrast of these.
        without = result.arrays["r2_without"]
        error = np.sqrt(23 * (without.sel(model="A + B") - without.sel(model="B")).var("stimulus").values)
        row = result.table[(result.table["statistic"] == "unique") & (result.table["model"] == "A")]
        np.testing.assert_allclose(row["ci_high"] - row["value"], t_distribution.ppf(0.975, 23) * error, rtol=1e-8)
        np.testing.assert_allclose(row["value"] - row["ci_low"], t_distribution.ppf(0.975, 23) * error, rtol=1e-8)

    def test_sounds_that_no_split_uses_are_not_counted(self):
        models, brain = planted(30, "AB", n_targets=2)
        ids = brain["stimulus"].values.tolist()
        given = [Split(ids[:16], ids[16:20]), Split(ids[4:20], ids[:4])]
        result = without_p(models, brain, splits=given)
        fewer = without_p(
            {k: m.isel(stimulus=slice(20)) for k, m in models.items()}, brain.isel(stimulus=slice(20)), splits=given
        )
        assert set(result.table["n"]) == {20}
        pd.testing.assert_frame_equal(result.table, fewer.table)


class TestSpaces:
    def layered(self, n=40, seed=0):
        rng = np.random.default_rng(seed)
        ids = [f"s{i}" for i in range(n)]
        layers = [rng.standard_normal((n, 5)), 100 * rng.standard_normal((n, 7))]
        info = {"layer": ["conv1"] * 5 + ["conv2"] * 7}
        net = make_responses(np.hstack(layers), ids, unit_info=info)
        acoustics = make_responses(rng.standard_normal((n, 4)), ids)
        y = layers[0] @ np.ones((5, 2)) + acoustics.values @ np.ones((4, 2))
        return {"net:all/0": net, "logmel": acoustics}, make_responses(y + rng.standard_normal((n, 2)), ids)

    def test_a_layer_of_a_model_whose_name_holds_a_colon(self):
        models, brain = self.layered()
        by_name = without_p(models, brain, spaces=["logmel", "net:all/0:conv1"])
        only = {"logmel": models["logmel"], "net": models["net:all/0"].isel(unit=slice(5))}
        np.testing.assert_allclose(by_name.table["value"], without_p(only, brain).table["value"])
        row = by_name.table[(by_name.table["statistic"] == "unique") & (by_name.table["model"] == "net:all/0")].iloc[0]
        assert row["layer"] == "conv1"
        assert "logmel & net:all/0:conv1" in set(by_name.table["model"])

    def test_two_layers_of_one_model(self):
        models, brain = self.layered()
        result = without_p(models, brain, spaces=["net:all/0:conv1", "net:all/0:conv2"])
        unique = result.table[result.table["statistic"] == "unique"].set_index("layer")["value"]
        assert unique.loc["conv1"].min() > 0.1
        assert unique.loc["conv2"].max() < 0.1

    def test_layers_of_a_whole_model_weigh_the_same(self):
        models, brain = self.layered()
        net = models["net:all/0"]
        louder = net.copy(data=net.values * np.where(net["layer"] == "conv2", 1e3, 1))
        one, two = (without_p({**models, "net:all/0": m}, brain) for m in (net, louder))
        np.testing.assert_allclose(one.table["value"], two.table["value"], rtol=1e-7)

    def test_stimuli_are_matched_by_id_and_repetitions_averaged(self):
        models, brain = self.layered()
        noise = np.random.default_rng(1).standard_normal(brain.shape)
        order = np.random.default_rng(2).permutation(brain.sizes["stimulus"])
        repeated = make_responses(
            np.stack([brain.values + noise, brain.values - noise])[:, order],
            brain["stimulus"].values[order],
            brain["unit"].values,
        )
        one, two = (without_p(models, b).table["value"] for b in (brain, repeated))
        np.testing.assert_allclose(one, two, rtol=1e-7)

    def test_weights_of_the_joint_model(self):
        models, brain = self.layered(n=80)
        result = without_p(models, brain, spaces=["net:all/0:conv1", "net:all/0:conv2"])
        weights = result.arrays["band_weights"]
        np.testing.assert_allclose(weights.sum("space"), 1)
        assert float(weights.sel(space="net:all/0:conv1").mean()) > 0.8

    def test_a_penalty_at_the_edge_is_counted(self):
        models, brain = self.layered()
        exact = make_responses(models["logmel"].values[:, :1], brain["stimulus"].values, ["t"])
        result = without_p(models, exact)
        assert any(w.startswith("logmel: in 4 of 4 fits the penalty is the first or last") for w in result.warnings)


class TestBadInput:
    @pytest.mark.parametrize(
        ("spaces", "message"),
        [
            (["A"], "between 2 or 3 feature spaces, found 1: A; name them"),
            (["A", "B:"], "B has no layer ''; known: none"),
            (["A", "A"], "named twice"),
            (["A", "Bee"], "no model for the feature space 'Bee'"),
            (["A", "B:conv9"], "B has no layer 'conv9'; known: none"),
        ],
    )
    def test_spaces(self, spaces, message):
        models, brain = planted(20)
        with pytest.raises(MeasureError, match=message):
            variance_partition(models, brain, spaces=spaces)

    @pytest.mark.parametrize("n_models", [1, 4])
    def test_all_models_where_there_are_too_few_or_too_many(self, n_models):
        models, brain = planted(20)
        models = dict(zip("ABCD"[:n_models], [*models.values(), models["A"]], strict=False))
        with pytest.raises(MeasureError, match=f"found {n_models}: A"):
            variance_partition(models, brain)

    def test_a_constant_target(self):
        models, brain = planted(20, "AB", n_targets=2)
        brain[:, 1] = 3
        with pytest.raises(MeasureError, match="the targets t1 respond alike to all stimuli"):
            variance_partition(models, brain)

    def test_a_constant_layer(self):
        models, brain = planted(20, "AB")
        models["B"] = models["B"].assign_coords(layer=("unit", ["dead"] * 2 + ["alive"] * 6))
        models["B"][:, :2] = 0
        with pytest.raises(MeasureError, match=r"B:dead: the features do not differ .*; leave it out"):
            variance_partition(models, brain)

    def test_other_stimuli(self):
        models, brain = planted(20, "AB")
        models["B"] = models["B"].isel(stimulus=slice(1, None))
        with pytest.raises(ResponseError, match="lacks 's"):
            variance_partition(models, brain)

    def test_too_few_stimuli(self):
        models, brain = planted(20, "AB")
        models = {k: m.isel(stimulus=slice(7)) for k, m in models.items()}
        brain = brain.isel(stimulus=slice(7))
        with pytest.raises(MeasureError, match="at least 8 stimuli, found 7"):
            variance_partition(models, brain)

    def test_missing_values(self):
        models, brain = planted(20, "AB")
        models["A"][3, 0] = np.nan
        with pytest.raises(ResponseError, match="NaN"):
            variance_partition(models, brain)

    def test_splits(self):
        models, brain = planted(20, "AB")
        ids = brain["stimulus"].values.tolist()
        for given, message in [
            ("grouped-kfold", "not for variance partitioning"),
            ([Split(ids[:10], ["nowhere"])], "no responses to: nowhere"),
            ([Split(ids[:10], ids[9:])], "on both sides"),
            ([Split([*ids[:10], ids[0]], ids[10:])], f"names {ids[0]} twice"),
            ([Split(ids[:2], ids[2:])], "fits 2 and tests"),
            ([Split(ids[:10], ids[10:12])], "test 2 stimuli"),
        ]:
            with pytest.raises(MeasureError, match=message):
                variance_partition(models, brain, splits=given)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nothing", "independent", "correlated"])
def test_rejection_rate_under_the_null(kind):
    """B drives the targets, or nothing does; A adds nothing: p <= 0.05 in 3 to 7 % of 2,000 targets.

    In the correlated case both spaces are noisy copies of the same latents, wider than the sounds are many.
    """
    p = []
    for draw in range(40):
        rng = np.random.default_rng([draw, 11])
        n, n_targets = 40, 50
        ids = [f"s{i:02d}" for i in range(n)]
        latents = rng.standard_normal((n, 4))
        a, b = rng.standard_normal((n, 15)), rng.standard_normal((n, 60 if kind == "correlated" else 8))
        if kind == "correlated":
            a, b = (latents @ rng.standard_normal((4, x.shape[1])) + x for x in (a, b))
        signal = b @ rng.standard_normal((b.shape[1], n_targets))
        y = rng.standard_normal((n, n_targets)) + (kind != "nothing") * signal / signal.std()
        result = variance_partition(
            {"A": make_responses(a, ids), "B": make_responses(b, ids)},
            make_responses(y, ids),
            n_splits=2,
            n_permutations=99,
            seed=draw,
        )
        table = result.table
        p.append(table.loc[(table["statistic"] == "unique") & (table["model"] == "A"), "p"])
    rate = np.mean(np.concatenate(p) <= 0.05)
    assert 0.03 <= rate <= 0.07


@pytest.mark.slow
def test_intervals_cover_what_is_expected_of_as_many_sounds():
    """Correlated spaces, 66 sounds: 95 % limits, and standard errors that are the spread over data sets."""
    found = []
    for draw in range(100):
        rng = np.random.default_rng([draw, 5])
        n, n_targets = 66, 10
        ids = [f"s{i:02d}" for i in range(n)]
        shared, own_a, own_b = rng.standard_normal((3, n, 3))
        a, b = (
            np.hstack([shared, own]) @ rng.standard_normal((6, width)) + 0.3 * rng.standard_normal((n, width))
            for own, width in ((own_a, 20), (own_b, 40))
        )
        y = (0.5 * shared + 0.4 * own_a + 0.2 * own_b).sum(axis=1, keepdims=True)
        y = y + 0.6 * rng.standard_normal((n, n_targets))
        table = without_p(
            {"A": make_responses(a, ids), "B": make_responses(b, ids)},
            make_responses(y, ids),
            splits="kfold",
            n_splits=5,
        ).table
        found.append(table.set_index(["statistic", "model", "target"])[["value", "ci_low", "ci_high"]])
    table = pd.concat(found).dropna()
    by = table.groupby(level=["statistic", "model"])
    mean = by["value"].transform("mean")
    coverage = ((table["ci_low"] <= mean) & (mean <= table["ci_high"])).groupby(level=["statistic", "model"]).mean()
    error = (table["ci_high"] - table["value"]) / t_distribution.ppf(0.975, 65)
    claimed = np.sqrt((error**2).groupby(level=["statistic", "model"]).mean())
    print(pd.DataFrame({"coverage": coverage, "spread / error": by["value"].std() / claimed}))
    # 100 data sets: the standard error of a coverage of 0.95 is 0.02, of the ratio 0.07.
    assert coverage.between(0.88, 0.995).all()
    assert (by["value"].std() / claimed).between(0.75, 1.2).all()
