"""Scores of decoding: definitions by brute force, exact probabilities by enumeration, chance by simulation."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from brainalign.errors import MeasureError
from brainalign.measures.decoding_scores import (
    average_clips,
    correlation_matrix,
    correlation_table,
    cosines,
    identification_accuracy,
    identification_null_sd,
    permuted_means,
    rank_candidates,
    top_k_table,
    weighted_correlation,
    weighted_identification,
)


def embeddings(n, d, rng, signal=1.0):
    targets = rng.standard_normal((n, d))
    return signal * targets + rng.standard_normal((n, d)), targets


def accuracy_by_hand(predicted, targets, groups):
    """Return the paper's rule, pair by pair."""
    values = []
    for i, p in enumerate(predicted):
        own = pearsonr(p, targets[i])[0]
        others = [pearsonr(p, targets[j])[0] for j in range(len(targets)) if j != i and groups[j] == groups[i]]
        values.append(np.mean([1.0 if own > r + 1e-12 else 0.5 if abs(own - r) <= 1e-12 else 0.0 for r in others]))
    return np.array(values)


class TestIdentification:
    def test_correlation_and_cosine(self):
        predicted, targets = embeddings(5, 7, np.random.default_rng(0))
        c = correlation_matrix(predicted + 3, 2 * targets)
        np.testing.assert_allclose(c, [[pearsonr(p, t)[0] for t in targets] for p in predicted])
        np.testing.assert_allclose(cosines(targets, targets).diagonal(), 1)
        assert cosines(np.array([[1.0, 0.0]]), np.array([[1.0, 1.0]]))[0, 0] == pytest.approx(np.sqrt(0.5))
        # What does not differ between dimensions has no pattern.
        assert (correlation_matrix(np.full((1, 3), 0.1), targets[:, :3]) == 0).all()

    @given(n=st.integers(4, 12), d=st.integers(2, 6), n_groups=st.integers(1, 2), seed=st.integers(0, 999))
    def test_by_hand_with_ties(self, n, d, n_groups, seed):
        rng = np.random.default_rng(seed)
        predicted, targets = embeddings(n, d, rng, 0.5)
        targets[rng.integers(n)] = targets[rng.integers(n)]
        groups = np.arange(n) % n_groups
        accuracy = identification_accuracy(rank_candidates(predicted, targets, groups))
        np.testing.assert_allclose(accuracy, accuracy_by_hand(predicted, targets, groups), atol=1e-12)

    def test_rows_and_not_columns(self):
        """A prediction of much spread wins columns; the rule ranks embeddings for each prediction."""
        targets = np.array([[1.0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]])
        predicted = np.array([[1.0, 0, 0, 0], [1, 0.1, 0, 0], [0, 0, 1, 0]])
        c = correlation_matrix(predicted, targets)
        accuracy = identification_accuracy(rank_candidates(predicted, targets))
        assert accuracy.tolist() == [1.0, 0.5, 1.0]
        columns = [(c[i, i] > np.delete(c[:, i], i)).mean() for i in range(3)]
        assert columns != accuracy.tolist()

    def test_embeddings_that_are_all_equal_give_chance(self):
        predicted, _ = embeddings(6, 4, np.random.default_rng(1))
        same = np.tile([0.1, 0.7, -0.3, 0.2], (6, 1))
        ranks = rank_candidates(predicted, same)
        assert (identification_accuracy(ranks) == 0.5).all()
        np.testing.assert_allclose(top_k_table(ranks, 6, 2).diagonal(), 2 / 6)

    @given(n=st.integers(4, 8), seed=st.integers(0, 999))
    def test_shares_of_any_other_truth(self, n, seed):
        predicted, targets = embeddings(n, 3, np.random.default_rng(seed))
        ranks = rank_candidates(predicted, targets)
        order = np.random.default_rng(seed).permutation(n)
        moved = identification_accuracy(rank_candidates(predicted, targets[order]))
        np.testing.assert_allclose(ranks.shares[np.arange(n), order], moved)
        np.testing.assert_allclose(permuted_means(ranks.shares, order[None]), moved.mean())

    def test_weights_are_copies(self):
        """A weight of 2 is a clip drawn twice, whose copy is no competitor."""
        rng = np.random.default_rng(2)
        predicted, targets = embeddings(7, 4, rng, 0.4)
        ranks = rank_candidates(predicted, targets)
        weights = np.array([[2, 0, 1, 1, 3, 0, 0]])
        drawn = np.repeat(np.arange(7), weights[0])
        c = correlation_matrix(predicted, targets)
        won = [c[i, i] > c[i, j] for i in drawn for j in drawn if i != j]
        assert weighted_identification(ranks, weights.astype(float))[0] == pytest.approx(np.mean(won))
        one = weighted_identification(ranks, np.ones((1, 7)))[0]
        assert one == pytest.approx(identification_accuracy(ranks).mean())
        assert weighted_identification(ranks, np.eye(7)[:1])[0] == 0.5

    def test_weights_with_groups(self):
        rng = np.random.default_rng(3)
        predicted, targets = embeddings(9, 4, rng, 0.4)
        ranks = rank_candidates(predicted, targets, [0, 0, 0, 0, 0, 0, 1, 1, 1])
        one = weighted_identification(ranks, np.ones((1, 9)))[0]
        assert one == pytest.approx(identification_accuracy(ranks).mean())
        assert np.isnan(ranks.shares[0, 8])

    def test_bad_input(self):
        with pytest.raises(MeasureError, match=r"predictions have shape \(3, 2\) and embeddings \(3, 4\)"):
            rank_candidates(np.zeros((3, 2)), np.zeros((3, 4)))
        with pytest.raises(MeasureError, match="at least 2 clips"):
            rank_candidates(np.eye(3), np.eye(3), ["a", "a", "b"])
        with pytest.raises(MeasureError, match="at least 2 clips"):
            identification_null_sd(1)


class TestTopK:
    @given(n=st.integers(4, 7), seed=st.integers(0, 999), tie=st.booleans())
    def test_enumeration(self, n, seed, tie):
        """All choices of distractors, and all orders of what ties."""
        rng = np.random.default_rng(seed)
        predicted, targets = embeddings(n, 3, rng, 0.4)
        if tie:
            targets[1] = targets[0]
        ranks = rank_candidates(predicted, targets)
        c = np.round(correlation_matrix(predicted, targets), 12)
        for way in range(2, n + 1):
            for k in range(1, way):
                found = top_k_table(ranks, way, k).diagonal()
                for i in range(n):
                    hits = []
                    for others in combinations([j for j in range(n) if j != i], way - 1):
                        above = sum(c[i, j] > c[i, i] for j in others)
                        equal = sum(c[i, j] == c[i, i] for j in others)
                        hits.append(np.mean([above + ahead < k for ahead in range(equal + 1)]))
                    assert found[i] == pytest.approx(np.mean(hits))
        pairwise = top_k_table(ranks, 2).diagonal()
        np.testing.assert_allclose(pairwise, identification_accuracy(ranks))

    def test_chance_over_all_permutations(self):
        predicted, targets = embeddings(5, 3, np.random.default_rng(0))
        ranks = rank_candidates(predicted, targets)
        orders = np.array(list(permutations(range(5))))
        assert permuted_means(ranks.shares, orders).mean() == pytest.approx(0.5)
        for way, k in ((5, 1), (5, 3), (3, 1)):
            assert permuted_means(top_k_table(ranks, way, k), orders).mean() == pytest.approx(k / way)

    def test_sixty_ways(self):
        predicted, targets = embeddings(60, 128, np.random.default_rng(1), 0.15)
        ranks = rank_candidates(predicted, targets)
        c = correlation_matrix(predicted, targets)
        assert top_k_table(ranks).diagonal().mean() == (c.argmax(axis=1) == np.arange(60)).mean()
        best = np.argsort(-c, axis=1)[:, :5]
        assert top_k_table(ranks, k=5).diagonal().mean() == pytest.approx(
            (best == np.arange(60)[:, None]).any(1).mean()
        )

    def test_bad_input(self):
        ranks = rank_candidates(*embeddings(6, 3, np.random.default_rng(0)))
        with pytest.raises(MeasureError, match="7-way identification: there are 6 candidates"):
            top_k_table(ranks, 7)
        with pytest.raises(MeasureError, match="the best 3 of 3 candidates"):
            top_k_table(ranks, 3, 3)


class TestCorrelation:
    @given(n=st.integers(6, 12), d=st.integers(1, 5), n_groups=st.integers(1, 2), seed=st.integers(0, 999))
    def test_by_hand(self, n, d, n_groups, seed):
        rng = np.random.default_rng(seed)
        predicted, targets = embeddings(n, d, rng, 0.5)
        groups = np.arange(n) % n_groups
        expected = np.mean(
            [
                [pearsonr(predicted[groups == g, j], targets[groups == g, j])[0] for j in range(d)]
                for g in range(n_groups)
            ]
        )
        table = correlation_table(predicted, targets, groups)
        assert table.diagonal().mean() == pytest.approx(expected)
        assert weighted_correlation(predicted, targets, np.ones((1, n)), groups)[0] == pytest.approx(expected)
        if n_groups == 1:
            order = rng.permutation(n)
            moved = correlation_table(predicted, targets[order]).diagonal().mean()
            assert permuted_means(table, order[None])[0] == pytest.approx(moved)

    def test_dimensions_that_are_constant_do_not_count(self):
        rng = np.random.default_rng(0)
        predicted, targets = embeddings(8, 3, rng)
        expected = np.mean([pearsonr(predicted[:, j], targets[:, j])[0] for j in (0, 2)])
        targets[:, 1] = 4
        assert correlation_table(predicted, targets).diagonal().mean() == pytest.approx(expected)
        assert weighted_correlation(predicted, targets, np.ones((1, 8)))[0] == pytest.approx(expected)


def test_average_of_windows():
    names, means = average_clips(np.array([[1.0, 2], [5, 5], [3, 4]]), ["b", "a", "b"])
    assert names == ["a", "b"]
    assert means.tolist() == [[5, 5], [2, 3]]


class TestChance:
    def test_null_sd_in_closed_form(self):
        """0.038 for 60 clips; from predictions that know nothing, for few dimensions and for many."""
        assert round(identification_null_sd(60), 3) == 0.038
        rng = np.random.default_rng(0)
        for n, d in ((60, 128), (12, 5)):
            means = []
            for _ in range(1500):
                ranks = rank_candidates(rng.standard_normal((n, d)), rng.standard_normal((n, d)))
                means.append(identification_accuracy(ranks).mean())
            # The standard error of a standard deviation is sd / sqrt(2 * 1500), 2 percent.
            assert np.std(means) == pytest.approx(identification_null_sd(n), rel=0.07)
            assert np.mean(means) == pytest.approx(0.5, abs=4 * identification_null_sd(n) / np.sqrt(1500))

    def test_the_smallest_null_by_enumeration(self):
        """Two clips: both right, one, or none, with probabilities 1/4, 1/2, 1/4."""
        assert identification_null_sd(2) == pytest.approx(np.std([0, 0.5, 0.5, 1]))
