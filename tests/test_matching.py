"""Components are matched by stimulus id, as the published code does or optimally."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainalign.brain.decomposition import VoxelDecomposition
from brainalign.brain.matching import assign, component_stability, match_components
from brainalign.brain.simulation import simulate_brain, simulate_components
from brainalign.errors import BrainError, ResponseError
from brainalign.responses import Responses, make_responses
from brainalign.stimuli.synthesis import load_demo

SIZES = st.tuples(st.integers(1, 5), st.integers(1, 5))
MATRICES = SIZES.flatmap(lambda size: arrays(np.float64, size, elements=st.floats(-1, 1)))


def profiles(n: int = 4, seed: int = 0) -> Responses:
    values = np.random.default_rng(seed).standard_normal((30, n))
    return make_responses(values, [f"s{i}" for i in range(30)], [f"c{i}" for i in range(n)])


class TestAssign:
    @given(MATRICES)
    def test_hungarian_is_the_best_of_all(self, similarity: np.ndarray) -> None:
        wide = similarity if similarity.shape[0] <= similarity.shape[1] else similarity.T
        best = max(
            sum(wide[i, j] for i, j in enumerate(columns)) for columns in permutations(range(wide.shape[1]), len(wide))
        )
        pairs = assign(similarity, "hungarian")
        assert sum(similarity[pair] for pair in pairs) == pytest.approx(best, abs=1e-12)
        assert len(pairs) == len(wide) == len({i for i, _ in pairs}) == len({j for _, j in pairs})

    @given(MATRICES)
    def test_greedy_takes_the_largest_that_is_left(self, similarity: np.ndarray) -> None:
        pairs = assign(similarity, "greedy")
        assert len(pairs) == min(similarity.shape) == len({i for i, _ in pairs}) == len({j for _, j in pairs})
        rows, columns = set(range(similarity.shape[0])), set(range(similarity.shape[1]))
        for i, j in sorted(pairs, key=lambda pair: -similarity[pair]):
            assert similarity[i, j] == max(similarity[r, c] for r in rows for c in columns)
            rows.remove(i)
            columns.remove(j)

    def test_the_two_can_differ(self) -> None:
        similarity = np.array([[0.9, 0.8], [0.85, 0.1]])
        assert assign(similarity, "greedy") == [(0, 0), (1, 1)]
        assert assign(similarity, "hungarian") == [(0, 1), (1, 0)]

    def test_bad_input(self) -> None:
        with pytest.raises(BrainError, match=r"no method 'greedi'; did you mean 'greedy'\?"):
            assign(np.eye(2), "greedi")  # type: ignore[arg-type]
        with pytest.raises(BrainError, match="finite"):
            assign(np.array([[np.nan]]))


class TestMatch:
    @pytest.mark.parametrize("method", ["greedy", "hungarian"])
    def test_whatever_the_order(self, method: str) -> None:
        first = profiles()
        rng = np.random.default_rng(1)
        noisy = first + 0.1 * rng.standard_normal(first.shape)
        second = noisy[rng.permutation(30), [2, 0, 3, 1]].assign_coords(unit=["d2", "d0", "d3", "d1"])
        matched = match_components(first, second, method=method)  # type: ignore[arg-type]
        assert matched["first"].tolist() == ["c0", "c1", "c2", "c3"]
        assert matched["second"].tolist() == ["d0", "d1", "d2", "d3"]
        expected = [np.corrcoef(first.values[:, i], noisy.values[:, i])[0, 1] for i in range(4)]
        np.testing.assert_allclose(matched["r"], expected)

    def test_signs(self) -> None:
        first = profiles(2)
        second = first * [-1, 1] + 0.01 * profiles(2, seed=1).values
        free = match_components(first, second, signed=False)
        assert free["second"].tolist() == ["c0", "c1"]
        assert free["r"].round(2).tolist() == [-1, 1]
        signed = match_components(first.isel(unit=[0]), second)
        assert signed["second"].tolist() == ["c1"]

    def test_sides_of_different_size(self) -> None:
        few, many = profiles()[:, [3, 1]], profiles()
        assert match_components(few, many)["second"].tolist() == ["c3", "c1"]
        assert match_components(many, few)["first"].tolist() == ["c1", "c3"]

    def test_bad_input(self) -> None:
        good = profiles()
        with pytest.raises(ResponseError, match="the stimuli differ"):
            match_components(good, good[1:])
        with pytest.raises(BrainError, match="the profiles of c1 are constant"):
            match_components(good, good * [1, 0, 1, 1])
        with pytest.raises(BrainError, match="average repetitions"):
            match_components(good, make_responses(np.stack([good.values] * 2), good["stimulus"].values.tolist()))


class TestStability:
    def test_components_are_stable_and_noise_is_not(self) -> None:
        voxels = simulate_brain(simulate_components(load_demo()), n_voxels=200).responses
        found = VoxelDecomposition(n_restarts=3).fit(voxels)
        before = found.profiles_.copy(deep=True)
        halves = component_stability(found, voxels, n_resamples=3)
        assert len(halves) == 3 * 6
        assert halves["r"].min() > 0.9
        assert set(halves["n"]) == {400}
        assert found.profiles_.identical(before)
        left_out = component_stability(found, voxels, resample="subjects")
        assert left_out["resample"].unique().tolist() == ["sub-01", "sub-02", "sub-03", "sub-04"]
        assert left_out["r"].min() > 0.95
        assert set(left_out["n"]) == {600}

        noise = make_responses(np.random.default_rng(0).standard_normal((60, 800)), [f"s{i}" for i in range(60)])
        of_noise = component_stability(VoxelDecomposition(n_restarts=3).fit(noise), noise, n_resamples=3)
        assert of_noise["r"].median() < 0.7

    def test_draws_have_a_seed(self) -> None:
        voxels = simulate_brain(simulate_components(load_demo()), n_voxels=30).responses
        found = VoxelDecomposition(3, n_restarts=1).fit(voxels)
        first, again, other = (component_stability(found, voxels, n_resamples=1, seed=s) for s in (0, 0, 1))
        assert first.equals(again)
        assert not first.equals(other)

    def test_bad_input(self) -> None:
        voxels = simulate_brain(simulate_components(load_demo()), n_voxels=30).responses
        found = VoxelDecomposition(3, n_restarts=1).fit(voxels)
        with pytest.raises(BrainError, match="has not been fitted"):
            component_stability(VoxelDecomposition(), voxels)
        with pytest.raises(BrainError, match="the units differ"):
            component_stability(found, voxels[:, :, 1:])
        with pytest.raises(BrainError, match="the stimuli differ"):
            component_stability(found, voxels[:, 1:], n_resamples=1)
        with pytest.raises(BrainError, match="at least 2 subjects"):
            component_stability(found, voxels.drop_vars("subject"), resample="subjects")
        with pytest.raises(BrainError, match="n_resamples must be a whole number of at least 1, found 0"):
            component_stability(found, voxels, n_resamples=0)
        with pytest.raises(BrainError, match="seed must be a whole number of at least 0, found -1"):
            component_stability(found, voxels, seed=-1)
        with pytest.raises(BrainError, match="no resample 'sounds'"):
            component_stability(found, voxels, resample="sounds")  # type: ignore[arg-type]
