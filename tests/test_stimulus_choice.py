"""Stimulus choice: against exhaustive search, against the definition, and against random choice on simulated brains."""

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, rankdata

from brainalign.errors import MeasureError, ResponseError
from brainalign.measures.encoding import component_encoding
from brainalign.measures.power import power
from brainalign.measures.rdm import correlation_rdm
from brainalign.measures.scores import score
from brainalign.measures.simulated_study import balanced_order, readout_features
from brainalign.measures.stimulus_choice import _ItemMoments, _PairMoments, choose_stimuli
from brainalign.responses import make_responses, save_responses, select_stimuli


def ids(n):
    return [f"s{i:03d}" for i in range(n)]


def models_of(n=12, names=("one", "two"), seed=0, n_categories=3):
    """Return models that share some features and have some of their own."""
    rng = np.random.default_rng(seed)
    category = np.arange(n) % n_categories
    latent = rng.standard_normal((n, 18)) + rng.standard_normal((n_categories, 18))[category]
    found = {}
    for i, name in enumerate(names):
        weight = np.full(18, 0.4)
        weight[6 * i : 6 * i + 6] = 1
        values = np.maximum(latent @ (weight[:, None] * rng.standard_normal((18, 60))), -0.5)
        found[name] = make_responses(values, ids(n), stimulus_info={"category": category.astype(str)})
    return found


def criterion(models, chosen, share=0.75, noise=1.0, comparison="spearman"):
    """Compute the criterion by its definition."""
    matrices = []
    kernels = [features @ features.T for features in map(readout_features, models)]
    for own in range(len(models)):
        others = np.mean([k for i, k in enumerate(kernels) if i != own], axis=0)
        mixed = share * kernels[own] + (1 - share) * others
        matrices.append(1 - mixed / np.sqrt(np.outer(np.diag(mixed), np.diag(mixed))))
    matrices += [correlation_rdm(m) for m in models]
    pairs = np.triu_indices(models[0].sizes["stimulus"], 1)
    inside = np.isin(pairs[0], chosen) & np.isin(pairs[1], chosen)
    rows = [m[pairs] for m in matrices]
    rows = [rankdata(r) for r in rows] if comparison == "spearman" else rows
    rows = [((r - r.mean()) / r.std())[inside] for r in rows]
    brains, predicted = rows[: len(models)], rows[len(models) :]
    ahead = []
    for own, brain in enumerate(brains):
        scores = np.array([pearsonr(brain, p).statistic for p in predicted])
        damped = np.sqrt(brain.var() / (brain.var() + noise))
        ahead.append(damped * (scores[own] - np.delete(scores, own).max()))
    return min(ahead)


def rows_of(chosen):
    return np.array([int(i[1:]) for i in chosen.ids])


class TestCriterion:
    @pytest.mark.parametrize("names", [("one", "two"), ("one", "two", "three")])
    @pytest.mark.parametrize(("noise", "share", "comparison"), [(0.0, 1.0, "pearson"), (2.0, 0.7, "spearman")])
    def test_it_is_as_defined(self, names, noise, share, comparison):
        models = models_of(20, names)
        options = {"noise": noise, "share": share, "comparison": comparison}
        found = choose_stimuli(models, 9, **options, n_starts=2, n_random=5)
        assert found.value == pytest.approx(criterion(list(models.values()), rows_of(found), **options), abs=1e-9)
        assert found.pool == pytest.approx(criterion(list(models.values()), np.arange(20), **options), abs=1e-9)

    @pytest.mark.parametrize("kind", [_ItemMoments, _PairMoments])
    def test_sums_after_a_change_are_those_of_the_changed_set(self, kind):
        rng = np.random.default_rng(0)
        values = rng.standard_normal((3, 10))
        if kind is _PairMoments:
            values = rng.standard_normal((3, 10, 10))
            values = values + values.transpose(0, 2, 1)
            values[:, np.arange(10), np.arange(10)] = 0
        moments = kind(values)
        chosen, others = np.array([7, 1, 4]), np.array([0, 2, 9])
        if kind is _PairMoments:
            assert moments.total(chosen) == pytest.approx(values[:, 7, 1] + values[:, 7, 4] + values[:, 1, 4])
            assert moments.count(3) == 3
        else:
            assert moments.total(chosen) == pytest.approx(values[:, [7, 1, 4]].sum(axis=1))
        for i in range(3):
            assert moments.without(chosen)[:, i] == pytest.approx(moments.total(np.delete(chosen, i)))
            for j in range(3):
                changed = chosen.copy()
                changed[i] = others[j]
                assert moments.swapped(chosen, others)[:, i, j] == pytest.approx(moments.total(changed))


class TestSearch:
    @pytest.mark.parametrize("seed", range(2))
    def test_it_finds_the_best_of_all_choices(self, seed):
        models = models_of(11, seed=seed)
        found = choose_stimuli(models, 8, balance="none", n_starts=10, n_random=50, seed=seed)
        every = [criterion(list(models.values()), np.array(c)) for c in combinations(range(11), 8)]
        assert found.value == pytest.approx(max(every), abs=1e-9)
        assert found.share_as_good == 0 or np.isclose(found.random.max(), found.value)
        # Random choices are drawn from all 165 alike.
        assert abs(found.random.mean() - np.mean(every)) < 4.5 * np.std(every) / np.sqrt(50)

    def test_categories_keep_their_numbers(self):
        models = models_of(40, n_categories=3)  # 14, 13 and 13 sounds
        found = choose_stimuli(models, 20, n_random=20)
        assert found.table["category"].value_counts().to_dict() == {"0": 7, "1": 7, "2": 6}
        equal = choose_stimuli(models, 21, balance="equal", n_random=20)
        assert set(equal.table["category"].value_counts()) == {7}
        assert found.value > found.random.max()
        assert found.share_as_good == 0
        free = choose_stimuli(models, 20, balance="none", n_random=20)
        assert free.value >= found.value - 0.02
        assert found.value == found.starts.max()

    def test_the_order_of_stimuli_does_not_matter(self):
        models = models_of(24)
        turned = {"one": models["one"], "two": models["two"].isel(stimulus=slice(None, None, -1))}
        first, again = (choose_stimuli(m, 10, n_random=20) for m in (models, turned))
        assert first.ids == again.ids
        assert np.array_equal(first.random, again.random)
        assert "10 of 24 sounds" in repr(first)

    def test_the_whole_pool_is_no_choice(self):
        found = choose_stimuli(models_of(60), 60, n_random=50)
        assert found.ids == ids(60)
        assert found.random == pytest.approx(found.value)
        assert found.share_as_good == 1

    def test_bad_input(self):
        models = models_of(12)
        for n in (7, 13):
            with pytest.raises(MeasureError, match=f"n is {n}, expected 8 to 12"):
                choose_stimuli(models, n)
        with pytest.raises(MeasureError, match="1 model cannot disagree"):
            choose_stimuli({"one": models["one"]}, 8)
        with pytest.raises(MeasureError, match="no balance 'even'"):
            choose_stimuli(models, 8, balance="even")
        with pytest.raises(MeasureError, match=r"share is 0\.5, expected above 1/2"):
            choose_stimuli(models, 8, share=0.5)
        with pytest.raises(MeasureError, match="noise is -1"):
            choose_stimuli(models, 8, noise=-1)
        uneven = {k: m.assign_coords(category=("stimulus", ["a"] * 10 + ["b"] * 2)) for k, m in models.items()}
        with pytest.raises(MeasureError, match=r"too few sounds of the categories b \(2, 4 wanted\)"):
            choose_stimuli(uneven, 8, balance="equal")
        with pytest.raises(ResponseError, match="the stimuli differ"):
            choose_stimuli(models | {"three": models["one"].isel(stimulus=slice(10))}, 8)
        flat = make_responses(np.random.default_rng(0).standard_normal((12, 1)), ids(12))
        with pytest.raises(MeasureError, match="no pattern over units differs"):
            choose_stimuli(models | {"three": flat}, 8)


def test_the_example_of_the_docs_runs(tmp_path, monkeypatch):
    page = Path(__file__).parents[1] / "docs" / "stimulus-choice.md"
    (example,) = re.findall("```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    models = models_of(60)
    layered = models["one"].assign_coords(layer=("unit", ["conv3"] * 30 + ["conv4"] * 30))
    save_responses(layered, tmp_path / "cnn.nc")
    save_responses(models["two"], tmp_path / "logmel.nc")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example, names)
    last = {"one": layered.isel(unit=slice(30, None)), "two": models["two"]}
    assert names["chosen"].ids == choose_stimuli(last, 40).ids


class TestAgainstRandomChoice:
    """With as many sounds, does a study of the simulated brain tell more?"""

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", [0, 1])
    def test_rsa_has_more_power_whichever_model_is_right(self, seed):
        models = models_of(96, seed=seed, n_categories=6)
        chosen = choose_stimuli(models, 24, seed=seed)
        assert chosen.value > chosen.random.max()
        gains, powers = [], []
        for right, wrong in (("one", "two"), ("two", "one")):
            options = {
                "n_subjects": [10],
                "n_repetitions": [2],
                "n_stimuli": [24],
                "reliability": 0.05,
                "share_sd": 0.0,
                "measures": ["rsa"],
                "n_simulations": 200,
                "false_positives": False,
            }
            few = [select_stimuli(models[name], chosen.ids) for name in (right, wrong)]
            (best,) = power(*few, **options).table.to_dict("records")
            (random,) = power(models[right], models[wrong], **options).table.to_dict("records")
            gains.append(best["difference"] / random["difference"])
            powers.append((best["value"], random["value"]))
        assert min(gains) > 1.15
        assert all(best > random for best, random in powers)
        # Together by more than chance: 4 standard errors of the difference of two shares of 400.
        best, random = np.mean(powers, axis=0)
        assert best - random > 4 * np.sqrt((best * (1 - best) + random * (1 - random)) / 400)

    @pytest.mark.parametrize("right", [0, 1])
    def test_predictions_differ_more_on_new_measurements(self, right):
        models = models_of(96, n_categories=6)
        features = [readout_features(m) for m in models.values()]
        category = models["one"]["category"].values
        gains = []
        for seed in range(3):
            rng = np.random.default_rng(seed)
            truth = sum(
                np.sqrt(0.85 if i == right else 0.15) * f @ rng.standard_normal((f.shape[1], 8))
                for i, f in enumerate(features)
            )
            measured = make_responses(truth + 0.5 * rng.standard_normal(truth.shape), ids(96))
            chosen = choose_stimuli(models, 24, components=measured, n_starts=2, n_random=100)
            assert chosen.value > chosen.random.max()
            assert chosen.settings["criterion"] == "predictions of components"
            again = truth + 0.5 * rng.standard_normal(truth.shape)
            own, other = (
                component_encoding(m, measured, splits="kfold", n_splits=10, n_permutations=0, n_bootstrap=0)
                .arrays["predictions"]
                .values[0]
                for m in (list(models.values())[right], list(models.values())[1 - right])
            )

            def ahead(rows, own=own, other=other, again=again):
                return np.mean(score(own[rows], again[rows], "r") - score(other[rows], again[rows], "r"))

            random = np.mean([ahead(balanced_order(category, rng)[:24]) for _ in range(50)])
            gains.append(ahead(rows_of(chosen)) / random)
        assert min(gains) > 1
        assert np.mean(gains) > 1.3
