"""Power: against closed forms, against the measures that a real study would use, and under the null."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import typer
from scipy.stats import ttest_1samp
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint
from typer.testing import CliRunner

from brainalign.brain.simulation import simulate_brain
from brainalign.cli import planning
from brainalign.errors import BrainalignError, MeasureError, ResponseError
from brainalign.measures.compare_models import compare_models
from brainalign.measures.difference_test import difference_test, paired_t_power
from brainalign.measures.power import power, smallest_studies
from brainalign.measures.rdm import correlation_rdm
from brainalign.measures.rdm_compare import compare_rdms
from brainalign.measures.rdm_inference import weighted_scores
from brainalign.measures.resampling import draw_counts, draw_orders
from brainalign.measures.result import COLUMNS
from brainalign.measures.score_inference import infer_scores
from brainalign.measures.simulated_study import (
    Cell,
    EncodingAnalysis,
    Population,
    RdmAnalysis,
    balanced_order,
    draw_sample,
    readout_features,
    run_studies,
)
from brainalign.measures.splits import make_splits
from brainalign.measures.stimulus_choice import choose_stimuli
from brainalign.measures.voxel_encoding import voxel_encoding
from brainalign.report.power_page import plot_power, write_power_page
from brainalign.responses import make_responses, save_responses, select_stimuli


def ids(n):
    return [f"s{i:03d}" for i in range(n)]


def two_models(n=24, seed=0, shared=0.5):
    """Return two models with features in common and features of their own, of four categories."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((n, 12))
    models = []
    for own, name in ((slice(0, 6), "left"), (slice(6, 12), "right")):
        weight = np.full(12, shared)
        weight[own] = 1
        values = latent @ (weight[:, None] * rng.standard_normal((12, 30))) + 1
        models.append(
            make_responses(
                values, ids(n), stimulus_info={"category": np.arange(n) % 4}, attrs={"source": f"{name} <model>"}
            )
        )
    return models


def population(models, reliability=0.3, n_voxels=12, share_sd=0.0):
    return Population(
        (readout_features(models[0]), readout_features(models[1])), np.array([reliability]), n_voxels, share_sd
    )


def rows(result, statistic="power", **wanted):
    table = result.table[result.table["statistic"] == statistic]
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


class TestTests:
    @pytest.mark.parametrize("alpha", [0.05, 0.01])
    def test_power_of_the_paired_t_test(self, alpha):
        for effect in (-0.3, 0.0, 0.2, 0.8, 2.0):
            for n in (2, 5, 20, 60):
                judge = TTestPower().power(effect, n, alpha / 2, alternative="larger")
                assert paired_t_power(effect, n, alpha) == pytest.approx(judge, abs=1e-9)

    def test_over_subjects_it_is_the_paired_t_test(self):
        differences = np.random.default_rng(0).normal(0.3, 1, 9)
        mean, p = difference_test(differences, np.empty((0, 9)), "subjects", 20, np.random.default_rng(0))
        assert mean == pytest.approx(differences.mean())
        assert p == pytest.approx(ttest_1samp(differences, 0).pvalue)

    def rdms(self):
        rng = np.random.default_rng(3)
        models = rng.random((2, 66))
        brains = models[0] + 0.4 * models[1] + 0.8 * rng.random((7, 66))
        return models, brains

    def test_over_stimuli_it_is_that_of_compare_models(self):
        models, brains = self.rdms()
        rng = np.random.default_rng(5)
        draw_orders(12, 0, rng)
        counts = draw_counts(12, 100, rng)
        scores = weighted_scores(models, brains, counts)
        differences = np.subtract(*compare_rdms(models, brains))
        found = difference_test(differences, scores[:, 0] - scores[:, 1], "stimuli", 12, rng)
        judge = infer_scores(models, brains, pairs=[(0, 1)], n_bootstrap=100, n_permutations=0, seed=5)
        assert found == pytest.approx((judge.values[2], judge.p[2]), rel=1e-9)

    @pytest.mark.parametrize("inference", ["subjects", "both"])
    def test_with_many_samples_it_is_that_of_compare_models(self, inference):
        models, brains = self.rdms()
        rng = np.random.default_rng(6)
        scores = weighted_scores(models, brains, draw_counts(12, 4000, rng))
        differences = np.subtract(*compare_rdms(models, brains))
        _, p = difference_test(differences, scores[:, 0] - scores[:, 1], inference, 12, rng)
        judge = infer_scores(models, brains, pairs=[(0, 1)], bootstrap=inference, n_bootstrap=4000, n_permutations=0)
        # The standard error of a bootstrap of 4000 is known to about 1 %; p of a few degrees of freedom follows it.
        assert p == pytest.approx(judge.p[2], rel=0.15)

    def test_the_same_scores_have_no_winner(self):
        none = np.zeros(5)
        assert difference_test(none, np.zeros((30, 5)), "both", 12, np.random.default_rng(0)) == (0, 1)
        _, p = difference_test(none + 1, np.zeros((0, 5)), "subjects", 12, np.random.default_rng(0))
        assert p == 0

    def test_samples_without_differences(self):
        samples = np.full((30, 5), np.nan)
        samples[:10] = 1
        with pytest.raises(MeasureError, match="only 10 of 30 bootstrap samples"):
            difference_test(np.ones(5), samples, "stimuli", 8, np.random.default_rng(0))


class TestSimulatedBrains:
    def test_without_noise_many_voxels_have_the_rdm_of_the_model(self):
        models = two_models()
        for share, model in ((1.0, models[0]), (0.0, models[1])):
            sample = draw_sample(population(models, 1.0, 40_000), 1, np.zeros(24), np.random.default_rng(0))
            (patterns,) = sample.responses(share, 1)
            # Correlations over 40,000 voxels have a standard error of at most 1 / 200.
            assert np.abs(1 - np.corrcoef(patterns) - correlation_rdm(model)).max() < 5 / 200

    @pytest.mark.parametrize("n_repetitions", [1, 4])
    def test_two_measurements_correlate_as_asked(self, n_repetitions):
        models = two_models(n=60)
        rng = np.random.default_rng(1)
        sample = draw_sample(population(models, 0.2, 3000), 1, np.zeros(60), rng)
        again = replace(sample, noise=rng.standard_normal(sample.noise.shape))
        first, second = (s.responses(0.7, n_repetitions)[0] for s in (sample, again))
        products = (first - first.mean(axis=0)) * (second - second.mean(axis=0))
        expected = n_repetitions * 0.2 / (1 + (n_repetitions - 1) * 0.2)  # Spearman-Brown
        found = products.mean() / np.sqrt(first.var(axis=0).mean() * second.var(axis=0).mean())
        assert found == pytest.approx(expected, abs=0.02)

    def test_shares_differ_between_subjects_as_asked(self):
        sample = draw_sample(population(two_models(), share_sd=0.5), 4000, np.zeros(24), np.random.default_rng(0))
        share = 1 / (1 + np.exp(-(np.log(3) + sample.log_odds)))
        assert np.quantile(share, [1 / 6, 0.5, 5 / 6]) == pytest.approx([0.649, 0.75, 0.829], abs=0.015)

    def test_every_beginning_is_balanced(self):
        category = np.array(["a"] * 30 + ["b"] * 20 + ["c"] * 10)
        for seed in range(20):
            order = balanced_order(category, np.random.default_rng(seed))
            assert sorted(order) == list(range(60))
            for n in range(1, 61):
                for name, size in (("a", 30), ("b", 20), ("c", 10)):
                    assert abs((category[order[:n]] == name).sum() - n * size / 60) < 2
        orders = [tuple(balanced_order(category, np.random.default_rng(s))[:6]) for s in range(300)]
        often = np.bincount(np.ravel(orders), minlength=60) / 300
        # Each sound is as likely: 6 of 60, to within 4.5 standard errors.
        assert np.abs(often - 0.1).max() < 4.5 * np.sqrt(0.1 * 0.9 / 300)

    def test_scores_are_those_of_the_measures_themselves(self):
        models = two_models()
        analyses = {
            "rsa": RdmAnalysis.of(models, "spearman"),
            "encoding": EncodingAnalysis([m.values for m in models], "r2", 3),
        }
        cells = {Cell(m, 2, 20): [0.8] for m in analyses}
        sample = draw_sample(population(models), 4, models[0]["category"].values, np.random.default_rng(2))
        chosen = sample.order[:20]
        found = {cell.measure: differences for cell, _, differences, _ in run_studies(iter([sample]), analyses, cells)}
        brain = make_responses(
            np.concatenate(list(sample.responses(0.8, 2)[:, chosen]), axis=1),
            ids(20),
            unit_info={"subject": np.repeat(list("abcd"), 12)},
        )
        subset = [make_responses(m.values[chosen], ids(20)) for m in models]
        named = dict(zip(("left", "right"), subset, strict=True))
        judge = compare_models(named, brain, n_bootstrap=0, n_permutations=0).arrays["subject_scores"].values
        assert found["rsa"] == pytest.approx(judge[0] - judge[1], abs=1e-12)
        splits = make_splits(ids(20), "kfold", n_splits=3)
        scores = [
            voxel_encoding(m, brain, splits=splits, n_permutations=0, n_bootstrap=0)
            .arrays["subject_scores"]
            .sel(target="all units")
            .values[0]
            for m in subset
        ]
        assert found["encoding"] == pytest.approx(scores[0] - scores[1], abs=1e-9)


class TestPower:
    def test_agrees_with_the_closed_form_and_grows(self):
        result = power(
            *two_models(),
            n_subjects=(4, 7, 12),
            n_repetitions=(1, 2),
            reliability=0.08,
            n_voxels=15,
            measures=["rsa"],
            n_simulations=400,
            false_positives=False,
        )
        table = rows(result)
        assert list(table.columns[: len(COLUMNS)]) == list(COLUMNS)
        assert len(table) == 6
        spread = np.sqrt(table["closed_form"] * (1 - table["closed_form"]) / 400)
        assert (np.abs(table["value"] - table["closed_form"]) < 4 * spread + 0.02).all()
        for r in (1, 2):
            assert (np.diff(rows(result, n_repetitions=r)["value"]) > 0).all()
        pairs = [rows(result, n_repetitions=r)["value"].to_numpy() for r in (1, 2)]
        assert (pairs[1] > pairs[0]).all()
        assert table["value"].between(0.05, 0.99).all()
        wilson = [proportion_confint(round(v * 400), 400, method="wilson") for v in table["value"]]
        assert table[["ci_low", "ci_high"]].to_numpy() == pytest.approx(np.array(wilson))

    @pytest.mark.parametrize("measure", ["rsa", pytest.param("encoding", marks=pytest.mark.slow)])
    def test_equally_good_models_win_as_often_as_alpha_allows(self, measure):
        result = power(
            *two_models(), n_subjects=[8], n_repetitions=[2], n_voxels=15, n_simulations=400, measures=[measure]
        )
        (null,) = rows(result, "false positive rate").to_dict("records")
        # 4 standard errors of a rate, and of an effect size; the mixture is known from 100 studies only.
        assert abs(null["value"] - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 400)
        assert abs(null["effect_size"]) < 4 * np.sqrt((1 / 400 + 1 / 100) / 8)
        assert 0 < null["share"] < 1
        (found,) = rows(result)["value"]
        assert found > 2 * null["value"]

    @pytest.mark.parametrize("inference", ["stimuli", "both"])
    def test_tests_over_stimuli_keep_alpha_where_sounds_are_drawn(self, inference):
        result = power(
            *two_models(60),
            n_subjects=[6],
            n_repetitions=[4],
            n_stimuli=[24],
            n_voxels=12,
            reliability=0.5,
            measures=["rsa"],
            comparison="pearson",
            inference=inference,
            n_simulations=200,
            n_bootstrap=60,
        )
        (null,) = rows(result, "false positive rate")["value"]
        assert null < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200)
        (found,) = rows(result)["value"]
        assert found > 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200)
        assert "sounds" in result.settings["population"]
        assert rows(result)["closed_form"].isna().all()

    def test_the_same_model_twice_cannot_be_told_apart(self):
        one, _ = two_models()
        table = power(one, one, n_subjects=[4], n_repetitions=[1], n_voxels=8, n_simulations=20).table
        assert (table.loc[table["n"] > 0, "value"] == 0).all()

    def test_a_measure_that_decides_for_the_wrong_model_is_named(self):
        # Distances of few features vary more than those of many: the wrong model, of two features, shapes the RDM.
        rng = np.random.default_rng(0)
        models = [
            make_responses(rng.standard_normal((24, k)) @ rng.standard_normal((k, 60)), ids(24), attrs={"source": name})
            for k, name in ((40, "many"), (2, "few"))
        ]
        result = power(*models, share=0.6, share_sd=0.0, n_subjects=[10], n_repetitions=[4], reliability=0.8,
                       n_voxels=60, n_simulations=30, measures=["rsa"], comparison="pearson",
                       false_positives=False)  # fmt: skip
        (row,) = rows(result).to_dict("records")
        assert row["wrong"] > 0.9
        assert row["value"] == 0
        assert "few scores higher" in result.warnings[0]
        assert "many gives 60% of the signal" in result.warnings[0]

    def test_settings_are_those_that_were_used(self):
        options = {
            "n_subjects": [3],
            "n_repetitions": [1],
            "n_voxels": 8,
            "n_simulations": 20,
            "false_positives": False,
        }
        rsa = power(*two_models(), **options, measures=["rsa"]).settings
        assert rsa["comparison"] == "spearman"
        assert not {"statistic", "n_splits", "n_bootstrap", "mean_reliability"} & set(rsa)
        encoding = power(*two_models(), **options, measures=["encoding"], inference="stimuli", n_bootstrap=30).settings
        assert (encoding["statistic"], encoding["n_splits"], encoding["n_bootstrap"]) == ("r2", 2, 30)
        assert "comparison" not in encoding

    def test_measured_reliability(self):
        truth = make_responses(np.random.default_rng(0).random((40, 3)), ids(40))
        brain = simulate_brain(truth, n_subjects=1, n_voxels=30, n_repetitions=2, noise_sd=0.3)
        result = power(*two_models(), reliability=brain, n_subjects=[3], n_repetitions=[1], n_voxels=8,
                       n_simulations=20, false_positives=False)  # fmt: skip
        one, two = brain.responses.values
        each = [max(np.corrcoef(a, b)[0, 1], 0) for a, b in zip(one.T, two.T, strict=True)]
        assert result.settings["mean_reliability"] == pytest.approx(np.mean(each))

    def test_stimuli_are_matched_by_id_and_seeds_repeat(self):
        models = two_models()
        options = {"n_subjects": [4], "n_repetitions": [1], "n_voxels": 8, "n_simulations": 20, "measures": ["rsa"]}
        first = power(*models, **options)
        again = power(models[0], models[1].isel(stimulus=slice(None, None, -1)), **options)
        assert first.table.equals(again.table)
        other = power(*models, **options, seed=1)
        assert not first.table["difference"].equals(other.table["difference"])

    def test_smallest_studies(self):
        result = power(*two_models(), n_subjects=(3, 6, 12), n_repetitions=[2], n_voxels=8, n_simulations=20,
                       measures=["rsa"], false_positives=False)  # fmt: skip
        table = result.table.assign(value=[0.5, 0.85, 0.95], ci_low=[0.4, 0.7, 0.9], ci_high=[0.6, 0.9, 0.99])
        (found,) = smallest_studies(replace(result, table=table)).to_dict("records")
        assert (found["n_subjects"], found["power"], found["sure"]) == (6, 0.85, False)
        (found,) = smallest_studies(replace(result, table=table), 0.9).to_dict("records")
        assert (found["n_subjects"], found["sure"]) == (12, True)
        none = smallest_studies(replace(result, table=table), 0.97)
        assert none["n_subjects"].isna().all()
        assert none["power"].tolist() == [0.95]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"n_subjects": [1]}, "n_subjects is 1, expected at least 2"),
            ({"n_subjects": []}, "n_subjects is empty"),
            ({"n_stimuli": [25]}, "n_stimuli is 25, but there are responses to 24"),
            ({"n_stimuli": [4]}, "n_stimuli is 4, expected at least 8"),
            ({"n_repetitions": [0]}, "n_repetitions is 0"),
            ({"n_simulations": 5}, "n_simulations is 5, expected at least 20"),
            ({"reliability": 0.0}, "reliability of one repetition is 0.0"),
            ({"reliability": two_models()[0]}, "has no repetitions"),
            ({"share": 1.5}, "share is 1.5, expected above 0.5 and up to 1"),
            ({"share": 0.5}, "share is 0.5, expected above 0.5"),
            ({"share": 0.3}, "share is 0.3, .*swap the models"),
            ({"measures": ["rdm"]}, "no measure 'rdm'"),
            ({"inference": "sounds"}, "no inference 'sounds'"),
            ({"comparison": "kendall"}, "no comparison 'kendall'"),
            ({"measures": []}, "no measure is named"),
        ],
    )
    def test_bad_input(self, options, message):
        with pytest.raises(MeasureError, match=message):
            power(*two_models(), **options)

    def test_bad_models(self):
        one, two = two_models()
        layered = one.assign_coords(layer=("unit", ["a"] * 15 + ["b"] * 15))
        with pytest.raises(MeasureError, match=r"has 2 layers, 'a' to 'b', expected one"):
            power(layered, two)
        with pytest.raises(ResponseError, match="the stimuli differ"):
            power(one, two.isel(stimulus=slice(10)))
        with pytest.raises(MeasureError, match="no pattern over units differs"):
            power(make_responses(np.arange(24)[:, None], ids(24)), two)


@pytest.fixture(scope="module")
def result():
    return power(*two_models(16), n_subjects=(3, 6), n_repetitions=(1, 2), n_voxels=8, n_simulations=20)


class TestPage:
    def test_curves_are_those_of_the_table(self, result):
        figure = plot_power(result)
        assert [ax.get_title() for ax in figure.axes] == ["RSA, 16 sounds", "Encoding, 16 sounds"]
        lines = {line.get_label(): line for line in figure.axes[1].get_lines()}
        own = rows(result, target="encoding", n_repetitions=2)
        assert lines["2 repetitions, power"].get_xdata().tolist() == [3, 6]
        assert lines["2 repetitions, power"].get_ydata().tolist() == own["value"].tolist()
        null = rows(result, "false positive rate", target="encoding", n_repetitions=1)
        assert lines["1 repetition, false positives"].get_ydata().tolist() == null["value"].tolist()

    def test_the_page_is_whole_and_escapes_names(self, result, tmp_path):
        html = write_power_page([result], tmp_path / "power.html").read_text(encoding="utf-8")
        assert "left &lt;model&gt;" in html
        assert "<model>" not in html
        assert "new subjects who hear the same sounds" in html
        assert html.count("<svg") == 1
        assert "http" not in html.replace("http://www.w3.org", "")
        assert html.count("<tr>") == 1 + len(result.table)
        for row in smallest_studies(result).to_dict("records"):
            assert f"power {row['power']:.2f}" in html

    def test_it_says_where_no_size_is_enough(self, result, tmp_path):
        table = result.table.assign(value=0.3, ci_low=0.1, ci_high=0.4)
        html = write_power_page([replace(result, table=table)], tmp_path / "power.html").read_text(encoding="utf-8")
        assert "none of the numbers of subjects tried reaches 0.8" in html
        assert "In 8 of 8 designs the test finds a winner too often" in html

    def test_it_says_which_size_is_the_smallest(self, result, tmp_path):
        table = result.table.assign(value=0.9, ci_low=0.85, ci_high=0.95)
        html = write_power_page([replace(result, table=table)], tmp_path / "power.html").read_text(encoding="utf-8")
        fewest = "3 subjects are the fewest, of the numbers tried, that reach power 0.8 (power 0.90, 0.85 to 0.95)"
        assert f"RSA, 16 sounds, 1 repetition: {fewest}." in html

    def test_assumptions_are_in_plain_words(self, result, tmp_path):
        html = write_power_page([result], tmp_path / "power.html").read_text(encoding="utf-8")
        assumed = html.split("What was assumed")[1]
        assert not re.search(r"<dt>[^<]*_", assumed)
        assert "<dt>independent voxels per subject</dt><dd>8</dd>" in assumed
        assert "<dt>comparison of RDMs</dt><dd>spearman</dd>" in assumed
        # Nothing is left out but what the headings and the sentence on the test say.
        assert assumed.count("<dt>") == len(set(result.settings) - {"models", "measures", "inference"})

    def test_other_results_are_refused(self, result, tmp_path):
        with pytest.raises(MeasureError, match="found 'rsa'"):
            write_power_page([replace(result, measure="rsa")], tmp_path / "power.html")


class TestCommandLine:
    app = typer.Typer()
    app.command()(planning.power)
    app.command()(planning.choose)

    @pytest.fixture
    def files(self, tmp_path):
        return [str(save_responses(m, tmp_path / f"{i}.nc")) for i, m in enumerate(two_models())]

    def test_power(self, files, tmp_path):
        out = tmp_path / "power.html"
        command = ["power", *files, "--subjects", "3,5", "--repetitions", "2", "--sounds", "16", "--voxels", "8",
                   "--simulations", "20", "--measure", "rsa", "--out", str(out)]  # fmt: skip
        done = CliRunner().invoke(self.app, command, catch_exceptions=False)
        assert done.exit_code == 0
        assert out.read_text(encoding="utf-8").count("<svg") == 2
        table = (tmp_path / "power.csv").read_text(encoding="utf-8").splitlines()
        assert len(table) == 1 + 2 * 2 * 2
        with pytest.raises(BrainalignError, match="exists already"):
            CliRunner().invoke(self.app, command, catch_exceptions=False)

    def test_choose_then_power_with_the_chosen_sounds(self, files, tmp_path):
        out = tmp_path / "chosen.csv"
        choose = ["choose", *files, "--n", "12", "--seed", "3", "--out", str(out)]
        done = CliRunner().invoke(self.app, choose, catch_exceptions=False)
        assert "12 of 24 sounds" in done.stdout
        lines = out.read_text(encoding="utf-8").splitlines()
        assert lines[0] == "stimulus_id,category"
        chosen = [line.split(",")[0] for line in lines[1:]]
        record = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
        judge = choose_stimuli(dict(zip(files, two_models(), strict=True)), 12, seed=3)
        assert record["ids"] == chosen == judge.ids
        assert record["settings"] == judge.settings
        assert (record["value"], record["random"]) == (judge.value, judge.random.tolist())

        page = tmp_path / "power.html"
        command = ["power", *files, "--stimuli", str(out), "--subjects", "4", "--repetitions", "1", "--voxels", "8",
                   "--simulations", "20", "--measure", "rsa", "--out", str(page)]  # fmt: skip
        CliRunner().invoke(self.app, command, catch_exceptions=False)
        few = [select_stimuli(m, chosen) for m in two_models()]
        options = {"n_subjects": [4], "n_repetitions": [1], "n_voxels": 8, "n_simulations": 20, "measures": ["rsa"]}
        expected = [power(*pair, **options).table for pair in (few, few[::-1])]
        found = pd.read_csv(page.with_suffix(".csv"))
        assert found["difference"].to_numpy() == pytest.approx(pd.concat(expected)["difference"].to_numpy())
        assert set(found["n_stimuli"]) == {12}
        assert "those listed in chosen.csv" in page.read_text(encoding="utf-8")

    def test_choosing_all_is_no_better_than_chance(self, files, tmp_path):
        command = ["choose", *files, "--n", "24", "--out", str(tmp_path / "all.csv")]
        done = CliRunner().invoke(self.app, command, catch_exceptions=False)
        assert "random choices as good: 100 % of 1000" in done.stdout

    def test_ids_that_look_like_formulas_come_back(self, tmp_path):
        names = [f"-{i}" for i in range(12)]
        files = [
            str(save_responses(m.isel(stimulus=slice(12)).assign_coords(stimulus=names), tmp_path / f"{i}.nc"))
            for i, m in enumerate(two_models())
        ]
        out = tmp_path / "chosen.csv"
        CliRunner().invoke(self.app, ["choose", *files, "--n", "9", "--out", str(out)], catch_exceptions=False)
        assert "'-" in out.read_text(encoding="utf-8")
        chosen = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))["ids"]
        assert planning._ids(out, set(names)) == chosen

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("stimulus_id\ns001\nnobody\n", "no stimulus 'nobody'"),
            ("stimulus_id\ns001\ns001\n", "asked twice for s001"),
            ("sound\ns001\n", "lacks the column stimulus_id; it has sound"),
            ("stimulus_id\n", "lists no stimulus"),
        ],
    )
    def test_bad_lists_of_stimuli(self, files, tmp_path, text, message):
        (tmp_path / "list.csv").write_text(text, encoding="utf-8")
        command = ["power", *files, "--stimuli", str(tmp_path / "list.csv"), "--out", str(tmp_path / "x.html")]
        with pytest.raises(BrainalignError, match=message):
            CliRunner().invoke(self.app, command, catch_exceptions=False)

    def test_names_of_other_kinds_of_files_are_refused(self, files, tmp_path):
        for command, suffix in ((["power"], ".html"), (["choose", "--n", "9"], ".csv")):
            with pytest.raises(BrainalignError, match=f"x.txt, expected a name that ends in {suffix}"):
                CliRunner().invoke(
                    self.app, [*command, *files, "--out", str(tmp_path / "x.txt")], catch_exceptions=False
                )
        assert not list(tmp_path.glob("x.*"))

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--subjects", "3;5"], "--subjects is '3;5', expected whole numbers"),
            (["--layer", "a"], "--layer is given 1 times for 2 models"),
        ],
    )
    def test_bad_input(self, files, tmp_path, more, message):
        command = ["power", *files, "--out", str(tmp_path / "x.html"), *more]
        with pytest.raises(BrainalignError, match=message):
            CliRunner().invoke(self.app, command, catch_exceptions=False)

    def test_the_same_file_twice(self, files, tmp_path):
        command = ["choose", files[0], files[0], "--n", "9", "--out", str(tmp_path / "x.csv")]
        with pytest.raises(BrainalignError, match="given twice"):
            CliRunner().invoke(self.app, command, catch_exceptions=False)
