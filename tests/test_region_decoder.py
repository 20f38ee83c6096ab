"""Decoding by regions: himalaya and scikit-learn as judges, brute force of every choice, rows that must not leak."""

import warnings

import numpy as np
import pytest
from himalaya.ridge import RidgeCV
from himalaya.scoring import correlation_score, l2_neg_loss, r2_score
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit

from brainalign.errors import MeasureError
from brainalign.measures.region_decoder import RegionDecoder, clip_folds
from brainalign.measures.region_penalties import choose_penalties, predict_left_out
from brainalign.measures.ridge import relative_alphas

JUDGES = {"l2": l2_neg_loss, "r2": r2_score, "r": correlation_score}


def simulated(n, p, d, rng, sources=12, noise=2.0):
    """Return voxels and targets that share sources, the first target being noise alone; neither is centred."""
    z = rng.standard_normal((n, sources))
    voxels = z @ rng.standard_normal((sources, p)) + noise * rng.standard_normal((n, p)) + 5
    targets = z @ rng.standard_normal((sources, d)) * np.linspace(0, 1, d)
    return voxels, targets + noise * rng.standard_normal((n, d)) - 3


def regions_of(*sizes):
    edges = np.cumsum([0, *sizes])
    return {f"r{k}": np.arange(edges[k], edges[k + 1]) for k in range(len(sizes))}


def brute_force(voxels, targets, folds, alphas):
    """Return losses and correlations of every fold, penalty and target by scikit-learn, (fold, alpha, target)."""
    errors, correlations = [], []
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        for alpha in alphas:
            predicted = Ridge(alpha).fit(voxels[train], targets[train]).predict(voxels[test]).reshape(test.sum(), -1)
            errors.append(((targets[test] - predicted) ** 2).mean(axis=0))
            correlations.append([np.corrcoef(a, b)[0, 1] for a, b in zip(predicted.T, targets[test].T, strict=True)])
    shape = (len(np.unique(folds)), len(alphas), targets.shape[1])
    return np.reshape(errors, shape), np.reshape(correlations, shape)


class TestPenalties:
    # Fewer voxels than rows of a fold (by products), more (by projections), more than training rows (dual).
    @pytest.mark.parametrize("p", [1, 7, 39, 40, 90, 160, 250])
    @pytest.mark.parametrize("score", ["l2", "r2", "r"])
    def test_penalties_of_himalaya(self, p, score):
        rng = np.random.default_rng(p)
        voxels, targets = simulated(200, p, 9, rng)
        folds = rng.permutation(np.arange(200) % 5)
        alphas = 10.0 ** np.arange(0, 7)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Solving ridge is slower")
            judge = RidgeCV(
                alphas=alphas,
                fit_intercept=True,
                cv=PredefinedSplit(folds),
                solver_params={"score_func": JUDGES[score]},
            ).fit(voxels, targets)
        ours = choose_penalties(voxels, targets, folds, alphas, score)
        np.testing.assert_allclose(ours.alphas, judge.best_alphas_, rtol=1e-9)
        np.testing.assert_array_equal(ours.at_edge, np.isin(ours.alphas, [1, 1e6]))
        if score == "r":
            # The slope towards large penalties that himalaya adds to its scores.
            np.testing.assert_allclose(ours.correlation, judge.cv_scores_, atol=1e-8)
        decoder = RegionDecoder(1, alphas=alphas, score=score)
        decoder.fit(voxels, targets, {"all": np.arange(p)})
        with_own_folds = RidgeCV(alphas, fit_intercept=True, cv=PredefinedSplit(decoder.folds_))
        with_own_folds.solver_params = {"score_func": JUDGES[score], "warn": False}
        test = rng.standard_normal((11, p)) + 5
        expected = with_own_folds.fit(voxels, targets).predict(test)
        np.testing.assert_allclose(decoder.predict(test), expected, rtol=1e-8, atol=1e-8)

    @given(
        n=st.integers(20, 50), p=st.integers(1, 60), d=st.integers(1, 4), k=st.integers(2, 5), seed=st.integers(0, 999)
    )
    def test_brute_force(self, n, p, d, k, seed):
        rng = np.random.default_rng(seed)
        voxels, targets = simulated(n, p, d, rng, sources=3)
        folds = np.concatenate([np.arange(k).repeat(4), rng.integers(0, k, n)])[-n:]
        folds[: 3 * k] = np.arange(k).repeat(3)
        alphas = np.array([0.3, 30.0, 3000.0])
        errors, correlations = brute_force(voxels, targets, folds, alphas)
        for score, losses in (("l2", errors), ("r", 1 - correlations)):
            ours = choose_penalties(voxels, targets, folds, alphas, score)
            chosen = np.searchsorted(alphas, ours.alphas)
            mean = losses.mean(axis=0)
            reached = np.take_along_axis(mean, chosen[None], axis=0)[0]
            np.testing.assert_allclose(reached, mean.min(axis=0), rtol=1e-9, atol=1e-9)
            own = np.take_along_axis(correlations.mean(axis=0), chosen[None], axis=0)[0]
            np.testing.assert_allclose(ours.correlation, own, atol=1e-8)
        left_out = predict_left_out(voxels, targets, folds, ours.alphas)
        for j, alpha in enumerate(ours.alphas):
            for fold in np.unique(folds):
                train, test = folds != fold, folds == fold
                expected = Ridge(alpha).fit(voxels[train], targets[train, j]).predict(voxels[test])
                np.testing.assert_allclose(left_out[test, j], expected, rtol=1e-7, atol=1e-7)

    def test_default_grid_follows_the_scale_of_the_voxels(self):
        rng = np.random.default_rng(0)
        voxels, targets = simulated(100, 20, 5, rng)
        folds = np.arange(100) % 5
        one, two = choose_penalties(voxels, targets, folds), choose_penalties(1000 * voxels, targets, folds)
        np.testing.assert_allclose(two.alphas, 1e6 * one.alphas)
        np.testing.assert_allclose(two.correlation, one.correlation, atol=1e-9)
        centred = voxels - voxels.mean(axis=0)
        eigenvalues = np.linalg.svd(centred, compute_uv=False) ** 2
        grid = relative_alphas(eigenvalues, 100)
        assert all(np.isclose(grid, alpha).any() for alpha in one.alphas)

    def test_single_precision_and_a_large_offset(self):
        rng = np.random.default_rng(1)
        voxels, targets = simulated(300, 40, 6, rng)
        single = (voxels + 100).astype(np.float32)
        folds = np.arange(300) % 5
        ours, double = (choose_penalties(v, targets, folds) for v in (single, single.astype(np.float64) - 100))
        np.testing.assert_allclose(ours.alphas, double.alphas, rtol=1e-6)
        np.testing.assert_allclose(ours.correlation, double.correlation, atol=1e-9)

    def test_voxels_that_repeat_each_other_and_constant_ones(self):
        rng = np.random.default_rng(2)
        voxels, targets = simulated(120, 10, 4, rng)
        folds = np.arange(120) % 4
        redundant = np.hstack([voxels, voxels, np.full((120, 3), 7.0)])
        alphas = np.array([1.0, 100.0])
        # Twice the same voxels are voxels of sqrt(2) times the size.
        ours, plain = (choose_penalties(x, targets, folds, alphas) for x in (redundant, voxels * np.sqrt(2)))
        np.testing.assert_array_equal(ours.alphas, plain.alphas)
        np.testing.assert_allclose(ours.correlation, plain.correlation, atol=1e-10)

    def test_a_target_that_is_constant_has_no_correlation(self):
        rng = np.random.default_rng(3)
        voxels, targets = simulated(60, 5, 3, rng)
        targets[:, 1] = 2.0
        ours = choose_penalties(voxels, targets, np.arange(60) % 3)
        assert np.isnan(ours.correlation).tolist() == [False, True, False]
        # The largest of equal penalties.
        assert ours.alphas[1] == relative_alphas(np.array([voxels.var(axis=0).sum()]), 1)[-1]

    def test_bad_input(self):
        rng = np.random.default_rng(4)
        voxels, targets = simulated(30, 5, 3, rng)
        folds = np.arange(30) % 3
        with pytest.raises(MeasureError, match="constant over the training rows"):
            choose_penalties(np.ones((30, 4)), targets, folds)
        with pytest.raises(MeasureError, match="positive and finite"):
            choose_penalties(voxels, targets, folds, np.array([0.0, 1.0]))
        with pytest.raises(MeasureError, match="no score of folds 'mse'; known: 'l2'"):
            choose_penalties(voxels, targets, folds, None, "mse")
        with pytest.raises(MeasureError, match="30 labels of 1 folds"):
            choose_penalties(voxels, targets, np.zeros(30))


class TestFolds:
    @given(sizes=st.lists(st.integers(1, 7), min_size=15, max_size=30), seed=st.integers(0, 99))
    def test_no_clip_is_torn_apart(self, sizes, seed):
        clips = [f"c{k}" for k, size in enumerate(sizes) for _ in range(size)]
        folds = clip_folds(clips, 5, seed)
        assert all(len(set(folds[np.array(clips) == c])) == 1 for c in set(clips))
        per_fold = [len({c for c, f in zip(clips, folds, strict=True) if f == k}) for k in range(5)]
        assert max(per_fold) - min(per_fold) <= 1
        order = np.random.default_rng(seed).permutation(len(clips))
        np.testing.assert_array_equal(clip_folds([clips[i] for i in order], 5, seed), folds[order])

    def test_windows_of_a_clip_would_leak(self):
        """Voxels and targets that are noise, but alike in all windows of a clip: torn apart, they seem decodable."""
        rng = np.random.default_rng(0)
        clips = [f"c{k}" for k in range(40) for _ in range(5)]
        voxels = rng.standard_normal((40, 60)).repeat(5, axis=0) + 0.1 * rng.standard_normal((200, 60))
        targets = rng.standard_normal((40, 8)).repeat(5, axis=0)
        columns = {"r": np.arange(60)}
        whole = RegionDecoder(1).fit(voxels, targets, columns, clips=clips)
        torn = RegionDecoder(1).fit(voxels, targets, columns)
        assert torn.correlation_[0, 0] > 0.8
        assert abs(whole.correlation_[0, 0]) < 0.2


class TestRegions:
    def make(self, seed=0, n=160):
        """Five regions, of which the second and the fourth follow the targets."""
        rng = np.random.default_rng(seed)
        regions = regions_of(6, 8, 5, 200, 9)
        voxels = rng.standard_normal((n, 228))
        targets = rng.standard_normal((n, 6))
        for name, strength in (("r1", 2.0), ("r3", 0.7)):
            columns = regions[name]
            voxels[:, columns] += strength * targets @ rng.standard_normal((6, len(columns)))
        return voxels, targets, regions

    def test_the_best_regions_are_found_and_averaged(self):
        voxels, targets, regions = self.make()
        train, test = np.arange(130), np.arange(130, 160)
        decoder = RegionDecoder(2).fit(voxels, targets, regions, rows=train)
        assert decoder.chosen_[:, 0].tolist() == [False, True, False, True, False]
        single = []
        for name in ("r1", "r3"):
            r = decoder.region_names_.index(name)
            columns = regions[name]
            predictions = [
                Ridge(a).fit(voxels[train][:, columns], targets[train, j]).predict(voxels[test][:, columns])
                for j, a in enumerate(decoder.alphas_[r])
            ]
            single.append(np.stack(predictions, axis=1))
        np.testing.assert_allclose(decoder.predict(voxels, test), np.mean(single, axis=0), rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(decoder.predict(voxels[test]), decoder.predict(voxels, test))
        left_out = [
            predict_left_out(voxels[train][:, regions[n]], targets[train], decoder.folds_, decoder.alphas_[r])
            for r, n in ((1, "r1"), (3, "r3"))
        ]
        np.testing.assert_allclose(decoder.predict_left_out(voxels, targets, train), np.mean(left_out, axis=0))

    def test_targets_choose_regions_in_groups(self):
        voxels, targets, regions = self.make()
        rng = np.random.default_rng(1)
        other = rng.standard_normal((160, 4))
        voxels[:, regions["r4"]] += other @ rng.standard_normal((4, 9))
        both = RegionDecoder(1).fit(voxels, np.hstack([other, targets]), regions, groups=np.repeat(["b", "a"], [4, 6]))
        assert both.chosen_[4].tolist() == [True, False]
        alone = RegionDecoder(1).fit(voxels, targets, regions)
        np.testing.assert_array_equal(both.chosen_[:, 1], alone.chosen_[:, 0])
        np.testing.assert_allclose(both.predict(voxels)[:, 4:], alone.predict(voxels), atol=1e-9)
        np.testing.assert_allclose(both.correlation_[:, 1], alone.correlation_[:, 0], atol=1e-9)

    def test_all_regions_and_fewer_than_asked_for(self):
        voxels, targets, regions = self.make()
        every = RegionDecoder(None).fit(voxels, targets, regions)
        assert every.chosen_.all()
        six = RegionDecoder(6).fit(voxels, targets, regions)
        np.testing.assert_array_equal(six.predict(voxels), every.predict(voxels))

    def test_rows_that_are_not_fitted_are_never_read(self):
        voxels, targets, regions = self.make()
        train = np.arange(0, 160, 2)
        spoilt, lost = voxels.copy(), targets.copy()
        spoilt[1::2], lost[1::2] = np.nan, np.nan
        plain = RegionDecoder(2).fit(voxels, targets, regions, rows=train)
        blind = RegionDecoder(2).fit(spoilt, lost, regions, rows=train)
        np.testing.assert_array_equal(blind.alphas_, plain.alphas_)
        np.testing.assert_array_equal(blind.chosen_, plain.chosen_)
        np.testing.assert_array_equal(blind.predict(voxels), plain.predict(voxels))

    def test_bad_input(self):
        voxels, targets, regions = self.make()
        with pytest.raises(MeasureError, match="n_regions is 0"):
            RegionDecoder(0)
        with pytest.raises(MeasureError, match="no voxels to decode from"):
            RegionDecoder().fit(voxels, targets, {})
        with pytest.raises(MeasureError, match="no voxels to decode from: r9"):
            RegionDecoder().fit(voxels, targets, {"r9": np.arange(0)})
        voxels[:, regions["r2"]] = 1
        with pytest.raises(MeasureError, match="region 'r2': the voxels are constant"):
            RegionDecoder().fit(voxels, targets, regions)
        with pytest.raises(MeasureError, match="5 folds of 8 stimuli"):
            RegionDecoder().fit(voxels[:8], targets[:8], regions)
