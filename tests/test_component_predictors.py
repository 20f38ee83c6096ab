"""Profiles of component matches: scores with and without each sound, fits, best units, permutations, by brute force."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from brainalign.measures.component_predictors import (
    AUC,
    CATEGORY_MEANS,
    CROSS,
    STATISTICS,
    WITHIN,
    Design,
    R,
    _predictions_without,
    best_unit_profiles,
    encoding_profiles,
    unit_correlations,
)
from brainalign.measures.encoding import CHOSEN, component_encoding
from brainalign.measures.profile_scores import auc_of_columns, category_means, pearson
from brainalign.measures.ridge import decompose, decompose_splits, ridge_predict
from brainalign.measures.splits import make_splits
from brainalign.responses import make_responses

CATEGORIES = ("Music", "Song", "Speech", "Environment", "Animal")


def simulate(n_each, rng):
    """Return the categories of sounds, and three components that respond to music, to speech, and to no category."""
    category = np.repeat(CATEGORIES, n_each)
    means = np.stack(
        [2.0 * np.isin(category, ["Music", "Song"]), 2.0 * (category == "Speech"), np.zeros(len(category))]
    )
    return category, means.T + rng.standard_normal((len(category), 3))


def make_design(rng, n_each=8, n_permutations=6, n_splits=2):
    category, y = simulate(n_each, rng)
    ids = [f"s{i:03d}" for i in range(len(y))]
    index = {s: i for i, s in enumerate(ids)}
    positions = [
        ([index[s] for s in p.train], [index[s] for s in p.test])
        for p in make_splits(ids, "tuckute2023", n_splits=n_splits)
    ]
    is_target = np.isin(category, ["Music", "Song"])
    everything = np.stack([np.arange(len(y)), *(rng.permutation(len(y)) for _ in range(n_permutations))])
    within = np.tile(np.arange(len(y)), (n_permutations + 1, 1))
    for order in within[1:]:
        for name in ("Music", "Song"):
            own = np.flatnonzero(category == name)
            order[own] = rng.permutation(own)
    codes = np.unique(category, return_inverse=True)[1]
    columns = np.tile(np.arange(3), (n_splits, 1))
    return Design(y, columns, positions, codes, is_target, 0, np.stack([everything, within])), category


def brute_score(profile, observed, focus_profile, category, is_target, statistic):
    """Score one profile by the libraries."""
    if statistic == AUC:
        return roc_auc_score(is_target, profile)
    if statistic == CROSS:
        return pearsonr(focus_profile, observed).statistic
    table = pd.DataFrame({"profile": profile, "observed": observed, "category": category})
    if statistic == CATEGORY_MEANS:
        means = table.groupby("category").mean()
        return pearsonr(means["profile"], means["observed"]).statistic
    if statistic == WITHIN:
        table = table[is_target]
        table = table[["profile", "observed"]] - table.groupby("category")[["profile", "observed"]].transform("mean")
    return pearsonr(table["profile"], table["observed"]).statistic


class TestScores:
    @pytest.mark.parametrize("statistic", STATISTICS)
    def test_with_and_without_each_sound_against_the_libraries(self, statistic):
        rng = np.random.default_rng(0)
        design, category = make_design(rng)
        # A category of one sound, which leaves with it.
        test = [int(np.flatnonzero(category == "Animal")[0]), *np.flatnonzero(category != "Animal")[::2]]
        profile, observed = rng.standard_normal((len(test), 3)), design.observed[test]
        profile[3] = profile[5]
        given = (category[test], design.is_target[test], statistic)

        def brute(keep, t):
            c, target, s = (x[keep] if isinstance(x, np.ndarray) else x for x in given)
            return brute_score(profile[keep, t], observed[keep, t], profile[keep, 0], c, target, s)

        everything = np.ones(len(test), dtype=bool)
        found = design.score(test, profile[:, None], observed[:, None], statistic)[0]
        np.testing.assert_allclose(found, [brute(everything, t) for t in range(3)], atol=1e-12)
        without = design.score_without(test, profile, observed, statistic)
        for i in range(len(test)):
            keep = np.arange(len(test)) != i
            np.testing.assert_allclose(without[i], [brute(keep, t) for t in range(3)], atol=1e-12)

    def test_a_constant_profile_has_no_correlation(self):
        x = np.full((9, 2), 0.1)
        x[:, 1] = np.arange(9)
        y = np.random.default_rng(0).standard_normal((9, 2))
        assert pearson(x, y)[0] == 0
        assert pearson(x * 1e9 + 1e12, y)[1] == pytest.approx(pearsonr(x[:, 1], y[:, 1]).statistic, abs=1e-6)
        assert auc_of_columns(x, np.arange(9) > 5).tolist() == [0.5, 1.0]
        np.testing.assert_array_equal(category_means(np.arange(6.0), np.array([1, 0, 0, 1, 2, 2])), [1.5, 1.5, 4.5])


class TestProfiles:
    @pytest.mark.parametrize("n_features", [5, 60])
    def test_predictions_without_a_sound_are_those_of_a_fit_without_it(self, n_features):
        rng = np.random.default_rng(1)
        train, test = rng.standard_normal((20, n_features)) + 3, rng.standard_normal((7, n_features)) + 3
        y = train[:, :2] + 0.5 * rng.standard_normal((20, 2)) + 10
        decomposition = decompose(train, test)
        alphas = np.array([0.7, 30.0])
        found = _predictions_without(decomposition, y, alphas)
        for i in range(20):
            keep = np.arange(20) != i
            for t, alpha in enumerate(alphas):
                expected = Ridge(alpha=alpha).fit(train[keep], y[keep, t]).predict(test)
                np.testing.assert_allclose(found[:, i, t], expected, rtol=1e-8)

    def test_encoding_scores_are_those_of_component_encoding(self):
        rng = np.random.default_rng(2)
        category, y = simulate(14, rng)
        ids = [f"s{i:03d}" for i in range(70)]
        brain = make_responses(y, ids, stimulus_info={"category": category})
        x = np.hstack([y @ rng.standard_normal((3, 9)) + rng.standard_normal((70, 9)), rng.standard_normal((70, 90))])
        model = make_responses(x, ids, unit_info={"layer": ["layer0"] * 9 + ["layer1"] * 90})
        expected = component_encoding(model, brain, n_splits=4, n_permutations=0, n_bootstrap=0).arrays["scores"]
        index = {s: i for i, s in enumerate(ids)}
        positions = [
            ([index[s] for s in p.train], [index[s] for s in p.test])
            for p in make_splits(ids, "tuckute2023", n_splits=4)
        ]
        orders = np.tile(np.arange(70), (2, 1, 1))
        design = Design(
            y, np.tile(np.arange(3), (4, 1)), positions, np.unique(category, return_inverse=True)[1],
            np.isin(category, ["Music", "Song"]), 0, orders,
        )  # fmt: skip
        layers = [
            encoding_profiles(decompose_splits(model.values[:, s], positions), design) for s in (slice(9), slice(9, 99))
        ]
        for name, own in zip(("layer0", "layer1"), layers, strict=True):
            np.testing.assert_allclose(own.scores[0, :, 0].clip(0) ** 2, expected.sel(layer=name), atol=1e-12)
        layers[0].take_better(layers[1], 0)
        np.testing.assert_allclose(layers[0].scores[0, :, 0].clip(0) ** 2, expected.sel(layer=CHOSEN), atol=1e-12)

    def test_permuted_scores_are_those_of_permuted_brains_and_jackknife_ones_of_refits(self):
        rng = np.random.default_rng(3)
        design, category = make_design(rng)
        x = np.hstack([design.observed @ rng.standard_normal((3, 6)), rng.standard_normal((40, 6))])
        bases = decompose_splits(x, design.positions)
        for found, make in (
            (encoding_profiles(bases, design), lambda d: encoding_profiles(bases, d)),
            (best_unit_profiles(x, design), lambda d: best_unit_profiles(x, d)),
        ):
            for k in range(1, design.orders.shape[1]):
                for kind, statistics in ((0, (R, CATEGORY_MEANS, AUC, CROSS)), (1, (WITHIN,))):
                    order = design.orders[kind, k]
                    measured = design.orders[:, :1]
                    moved = Design(
                        design.observed[order],
                        design.columns,
                        design.positions,
                        design.codes,
                        design.is_target,
                        0,
                        measured,
                    )
                    expected = make(moved)
                    for i in map(STATISTICS.index, statistics):
                        np.testing.assert_allclose(found.scores[i, :, k], expected.scores[i, :, 0], atol=1e-10)
        # Without a training sound the penalty stays; without a test sound the fit does.
        found = encoding_profiles(bases, design)
        train, test = design.positions[1]
        alphas = ridge_predict(bases[1], design.observed[train]).alphas
        left = train[4]
        rest = [i for i in train if i != left]
        prediction = np.stack(
            [Ridge(alpha=a).fit(x[rest], design.observed[rest, t]).predict(x[test]) for t, a in enumerate(alphas)],
            axis=1,
        )
        for i, statistic in enumerate(STATISTICS):
            expected = [
                brute_score(prediction[:, t], design.observed[test, t], prediction[:, 0], category[test],
                            design.is_target[test], statistic)
                for t in range(3)
            ]  # fmt: skip
            np.testing.assert_allclose(found.without[i, 1, left], expected, atol=1e-6)

    def test_the_best_unit_is_chosen_on_training_sounds(self):
        rng = np.random.default_rng(4)
        design, _ = make_design(rng)
        x = rng.standard_normal((40, 30))
        x[:, 7] = 1.5
        found = best_unit_profiles(x, design)
        for s, (train, test) in enumerate(design.positions):
            for t in range(3):
                r = [0 if u == 7 else np.corrcoef(x[train, u], design.observed[train, t])[0, 1] for u in range(30)]
                best = int(np.argmax(r))
                assert found.criterion[0, s, 0, t] == pytest.approx(max(r))
                expected = np.corrcoef(x[test, best], design.observed[test, t])[0, 1]
                assert found.scores[0, s, 0, t] == pytest.approx(expected)

    def test_correlations_of_single_units(self):
        rng = np.random.default_rng(5)
        x, y, orders = rng.standard_normal((15, 6)) + 40, rng.standard_normal((15, 2)), rng.permuted(
            np.tile(np.arange(15), (4, 1)), axis=1
        )  # fmt: skip
        x[:, 3] = 2.0
        found = unit_correlations(x, y, orders)

        def brute(a, b):
            return np.array([[0 if np.ptp(u) == 0 else pearsonr(u, v).statistic for v in b.T] for u in a.T])

        np.testing.assert_allclose(found.each, brute(x, y), atol=1e-12)
        np.testing.assert_allclose(found.null, [brute(x, y[o]).mean(axis=0) for o in orders], atol=1e-12)
        for i in range(15):
            keep = np.arange(15) != i
            np.testing.assert_allclose(found.without[i], brute(x[keep], y[keep]).mean(axis=0), atol=1e-10)
