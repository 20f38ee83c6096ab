"""The paired test of models: formulae by hand, scipy as the judge, and error rates on models that are equally good."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from brainalign.errors import MeasureError
from brainalign.measures.layer_fits import choose_layer, fit_layer
from brainalign.measures.score_difference import SplitScores, contrast_scores, pair_contrasts, rank_models
from brainalign.measures.splits import make_splits


def made(n_models=3, n_splits=10, n_subjects=1, seed=0, n_train=80, n_test=40):
    rng = np.random.default_rng(seed)
    splits = rng.normal(size=(n_models, n_splits, n_subjects))
    return SplitScores(splits, n_train, n_test)


class TestContrasts:
    def test_over_stimuli_it_is_the_corrected_resampled_t_test(self):
        scores = made()
        _, contrasts = pair_contrasts(3)
        found = contrast_scores(scores, contrasts)
        d = scores.splits[0, :, 0] - scores.splits[1, :, 0]
        # Nadeau & Bengio 2003, eq. 9 with a t distribution of J - 1 degrees of freedom.
        t = d.mean() / np.sqrt((1 / 10 + 40 / 80) * d.var(ddof=1))
        assert found.p[0] == pytest.approx(2 * stats.t.sf(abs(t), 9))
        assert found.df[0] == pytest.approx(9)
        # Without overlap, no test stimuli per training one, it is the plain paired t test.
        plain = contrast_scores(SplitScores(scores.splits, 10**12, 1), contrasts)
        assert plain.p[0] == pytest.approx(stats.ttest_rel(scores.splits[0, :, 0], scores.splits[1, :, 0]).pvalue)
        interval = stats.ttest_1samp(d, 0).confidence_interval(0.95)
        assert (plain.low[0], plain.high[0]) == pytest.approx((interval.low, interval.high))

    def test_over_subjects_it_is_the_paired_t_test(self):
        scores = made(n_subjects=7)
        found = contrast_scores(scores, pair_contrasts(3)[1], "subjects")
        for k, (i, j) in enumerate(pair_contrasts(3)[0]):
            mean = scores.splits.mean(axis=1)
            assert found.p[k] == pytest.approx(stats.ttest_rel(mean[i], mean[j]).pvalue)

    def test_over_both_variances_add_and_satterthwaite_gives_the_degrees_of_freedom(self):
        scores = made(n_subjects=5, seed=1)
        contrast = np.array([[1.0, -1.0, 0.0]])
        found = contrast_scores(scores, contrast)
        parts = [contrast_scores(scores, contrast, p) for p in ("stimuli", "subjects")]
        v = np.array([p.error[0] ** 2 for p in parts])
        assert found.error[0] ** 2 == pytest.approx(v.sum())
        assert found.df[0] == pytest.approx(v.sum() ** 2 / (v[0] ** 2 / 9 + v[1] ** 2 / 4))
        assert min(p.p[0] for p in parts) < found.p[0]

    def test_a_score_is_a_contrast_too_and_order_changes_the_sign_alone(self):
        scores = made(2)
        own = contrast_scores(scores, np.eye(2))
        np.testing.assert_allclose(own.value, scores.splits.mean(axis=(1, 2)))
        there, back = (contrast_scores(scores, np.array([c])) for c in ([1.0, -1.0], [-1.0, 1.0]))
        assert (there.value[0], there.low[0], there.p[0]) == pytest.approx((-back.value[0], -back.high[0], back.p[0]))

    def test_a_model_and_its_copy_are_equal(self):
        scores = made(2)
        splits = scores.splits.copy()
        splits[1] = splits[0]
        found = contrast_scores(SplitScores(splits, 80, 40), np.array([[1.0, -1.0]]))
        assert found.p[0] == 1
        assert found.value[0] == 0

    def test_a_subject_that_lacks_a_split_does_not_count_there(self):
        scores = made(2, n_subjects=3)
        splits = scores.splits.copy()
        splits[:, 4, 1] = np.nan
        found = contrast_scores(SplitScores(splits, 80, 40), np.array([[1.0, -1.0]]), "stimuli")
        d = np.nanmean(splits[0] - splits[1], axis=1)
        assert found.value[0] == pytest.approx(d.mean())
        assert found.error[0] == pytest.approx(np.sqrt(0.6 * d.var(ddof=1)))

    @pytest.mark.parametrize(
        ("scores", "population", "message"),
        [
            (made(n_splits=1), None, "at least 2 of them, found 1; raise n_splits"),
            (made(), "both", "at least 2 of them, found 1; use generalise_to='stimuli'"),
            (made(), "voxels", "no population 'voxels'"),
            (SplitScores(np.full((3, 10, 1), np.nan), 80, 40), None, "no score with a subject"),
        ],
    )
    def test_what_cannot_be_tested(self, scores, population, message):
        with pytest.raises(MeasureError, match=message):
            contrast_scores(scores, np.eye(3), population)


class TestRanks:
    def test_ties_are_shared_and_worst_ranks_count_who_is_worse(self):
        pairs = [(0, 1), (0, 2), (1, 2)]
        # Holm: .001 x 3, .02 x 2, .2 x 1.
        best, worst, adjusted = rank_models(pairs, np.array([0.1, 0.5, 0.4]), np.array([0.2, 0.001, 0.02]), 3)
        np.testing.assert_allclose(adjusted, [0.2, 0.003, 0.04])
        assert best.tolist() == [1, 1, 3]
        assert worst.tolist() == [2, 2, 3]

    def test_a_tie_need_not_carry_over(self):
        p = np.array([0.5, 0.001, 0.5])
        best, worst, _ = rank_models([(0, 1), (0, 2), (1, 2)], np.array([0.1, 0.2, 0.1]), p, 3)
        assert best.tolist() == [1, 1, 2]
        assert worst.tolist() == [2, 3, 3]

    def test_one_model(self):
        best, worst, adjusted = rank_models([], np.empty(0), np.empty(0), 1)
        assert (best.tolist(), worst.tolist(), adjusted.size) == ([1], [1], 0)

    def test_the_ranks_hold_the_true_ones_of_all_models_at_once(self, monkeypatch):
        # statsmodels collects garbage at every correction: 2000 times, that takes minutes.
        monkeypatch.setattr("gc.collect", lambda *_: 0)
        rng = np.random.default_rng(0)
        # Two models are equally good: either may have rank 1 or 2.
        truth, n_draws, held = np.array([1.0, 1.0, 0.4, 0.0]), 2000, 0
        pairs, contrasts = pair_contrasts(4)
        for _ in range(n_draws):
            d = contrasts @ (truth + 0.25 * rng.standard_normal(4))
            best, worst, _ = rank_models(pairs, d, 2 * stats.norm.sf(np.abs(d) / (0.25 * np.sqrt(2))), 4)
            low, high = np.array([1, 1, 3, 4]), np.array([2, 2, 3, 4])
            held += bool((best <= low).all() and (worst >= high).all())
        assert held / n_draws >= 0.95 - 2.6 * np.sqrt(0.05 * 0.95 / n_draws)


def encode(rng, noise, *, n=100, n_features=20, n_targets=1, target_noise=1.0, n_subjects=1, n_layers=1, splits=None):
    """Fit models, features of which are a latent signal with so much noise, to targets that follow the signal.

    Subjects differ in how much of the noise of either model they share, by as much in one as in the other.
    """
    ids = [f"s{i:03d}" for i in range(n)]
    name, n_splits = splits or ("tuckute2023", 10)
    index = {s: i for i, s in enumerate(ids)}
    parts = make_splits(ids, name, n_splits=n_splits, seed=int(rng.integers(2**31)))
    positions = [([index[s] for s in p.train], [index[s] for s in p.test]) for p in parts]
    signal = rng.standard_normal((n, 10))
    mixing = rng.standard_normal((10, n_features)) / np.sqrt(10)
    own = [[sd * (1 + k) * rng.standard_normal((n, n_features)) for k in range(n_layers)] for sd in noise]
    loud = np.abs(rng.standard_normal((len(noise), n_subjects))) if n_subjects > 1 else np.zeros((len(noise), 1))
    targets = []
    for s in range(n_subjects):
        truth = signal @ rng.standard_normal((10, n_targets)) / np.sqrt(10)
        for m, layers in enumerate(own):
            truth = truth + loud[m, s] * layers[0] @ rng.standard_normal((n_features, n_targets)) / np.sqrt(n_features)
        targets.append(truth + target_noise * rng.standard_normal((n, n_targets)))
    y, order = np.hstack(targets), np.arange(n)[None]
    fits = [choose_layer([fit_layer(signal @ mixing + e, y, positions, order) for e in layers]) for layers in own]
    scores = np.stack([f.scores[:, 0].reshape(len(positions), n_subjects, n_targets) for f in fits])
    return SplitScores(scores.mean(axis=3), len(positions[0][0]), len(positions[0][1]))


def rejections(n_draws, seed, noise=(1.0, 1.0), population=None, **design):
    """Return how often the test, and a plain paired t test over splits, find a difference."""
    found = naive = 0
    for draw in range(n_draws):
        scores = encode(np.random.default_rng([seed, draw]), noise, **design)
        found += contrast_scores(scores, np.array([[1.0, -1.0]]), population).p[0] < 0.05
        by_split = scores.splits.mean(axis=2)
        naive += stats.ttest_rel(by_split[0], by_split[1]).pvalue < 0.05
    return found / n_draws, naive / n_draws


@pytest.mark.slow
class TestErrorRates:
    """Both models are equally good: their features are one signal with noise of one kind, drawn anew each time."""

    @pytest.mark.parametrize(
        "design",
        [
            {},
            {"n": 165, "n_targets": 6},
            {"n": 40},
            {"n_features": 150},
            {"n_layers": 3},
            {"target_noise": 30.0},
            {"splits": ("kfold", 5)},
            {"n_subjects": 4, "n_targets": 4},
            {"n_subjects": 10, "n_targets": 4},
        ],
        ids=str,
    )
    def test_a_winner_is_found_in_at_most_5_percent_of_draws(self, design):
        n_draws = 400
        rate, naive = rejections(n_draws, 1, **design)
        low, _ = proportion_confint(round(rate * n_draws), n_draws, 0.01, "beta")
        assert low <= 0.05, f"{rate:.3f} of {n_draws} draws, naive {naive:.3f}"

    def test_a_plain_t_test_over_splits_would_not_do(self):
        _, naive = rejections(200, 1)
        assert naive > 0.25

    def test_a_better_model_is_found(self):
        rate, _ = rejections(200, 2, noise=(0.5, 1.0), n=165, n_targets=6)
        low, _ = proportion_confint(round(rate * 200), 200, 0.01, "beta")
        assert low > 0.8
