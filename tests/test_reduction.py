"""Reduction by layer: against numpy and closed forms, and fitted on what is not tested."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from brainalign.errors import ResponseError
from brainalign.models.reduction import reduce_units
from brainalign.responses import Responses, make_responses, select_stimuli, select_units

WIDTHS = {"conv": 30, "fc": 6}


def made(n: int = 20, prefix: str = "s", seed: int = 0, widths: dict[str, int] = WIDTHS) -> Responses:
    rng = np.random.default_rng(seed)
    layer = [k for k, n_units in widths.items() for _ in range(n_units)]
    mixing = rng.normal(size=(len(layer), len(layer)))
    return make_responses(
        rng.normal(size=(n, len(layer))) @ mixing + 5,
        [f"{prefix}{i}" for i in range(n)],
        [f"{k}:{i}" for i, k in enumerate(layer)],
        stimulus_info={"category": ["Music", "Speech"] * (n // 2)},
        unit_info={"layer": layer, "channel": np.arange(len(layer))},
        attrs={"source": "net"},
    )


class TestPca:
    @pytest.mark.parametrize("fit_on", ["ids", "others"])
    def test_scores_are_those_of_the_singular_vectors(self, fit_on: str) -> None:
        responses = made()
        ids = [f"s{i}" for i in range(12)]
        tested = [f"s{i}" for i in range(12, 20)]
        given: Any = ids if fit_on == "ids" else select_stimuli(responses, ids)
        reduced = reduce_units(responses, n_components=4, fit_on=given, tested=tested)
        explained = json.loads(reduced.attrs["reduction"])["explained_variance"]
        for layer in WIDTHS:
            own = select_units(responses, layer=layer).values
            centred = own[:12] - own[:12].mean(axis=0)
            _, singular, axes = np.linalg.svd(centred, full_matrices=False)
            expected = (own - own[:12].mean(axis=0)) @ axes[:4].T
            scores = select_units(reduced, layer=layer).values
            np.testing.assert_allclose(np.abs(scores), np.abs(expected), rtol=1e-8, atol=1e-8)
            # One sign for each component, not for each stimulus.
            assert (np.abs(np.sign(scores * expected).sum(axis=0)) == 20).all()
            assert explained[layer] == pytest.approx((singular[:4] ** 2).sum() / (singular**2).sum(), abs=1e-6)

    def test_all_components_keep_all_distances(self) -> None:
        responses = made(60)
        reduced = reduce_units(responses, n_components=30, allow_overlap=True)
        for layer, width in WIDTHS.items():
            own, scores = (select_units(r, layer=layer).values for r in (responses, reduced))
            assert scores.shape == (60, width)
            np.testing.assert_allclose(scores @ scores.T, _gram(own), rtol=1e-7, atol=1e-7)

    def test_a_share_of_variance(self) -> None:
        responses = made(60)
        reduced = reduce_units(responses, n_components=0.8, allow_overlap=True)
        for layer in WIDTHS:
            own = select_units(responses, layer=layer).values
            share = np.cumsum(np.sort(np.linalg.eigvalsh(np.cov(own.T)))[::-1])
            n = int(np.searchsorted(share / share[-1], 0.8) + 1)
            assert select_units(reduced, layer=layer).sizes["unit"] == n

    def test_tested_stimuli_do_not_change_the_fit(self) -> None:
        responses, others = made(), made(40, "other", seed=3)
        changed = responses.copy()
        changed[5] = 100.0
        first, second = (reduce_units(r, n_components=3, fit_on=others) for r in (responses, changed))
        np.testing.assert_array_equal(np.delete(first.values, 5, axis=0), np.delete(second.values, 5, axis=0))

    def test_what_it_says_of_itself(self) -> None:
        reduced = reduce_units(made(), n_components=2, fit_on=made(10, "x", 1))
        assert reduced["unit"].values.tolist() == ["conv:pc0", "conv:pc1", "fc:pc0", "fc:pc1"]
        assert reduced["layer"].values.tolist() == ["conv", "conv", "fc", "fc"]
        assert reduced["component"].values.tolist() == [0, 1, 0, 1]
        assert reduced["category"].values.tolist() == made()["category"].values.tolist()
        assert json.loads(reduced.attrs["reduction_fit_on"]) == [f"x{i}" for i in range(10)]
        assert reduced.attrs["source"] == "net"

    def test_responses_without_layers(self) -> None:
        brain = made().drop_vars(["layer", "channel"])
        reduced = reduce_units(brain, n_components=2, allow_overlap=True)
        assert reduced["unit"].values.tolist() == ["pc0", "pc1"]
        assert "layer" not in reduced.coords


def _gram(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(axis=0)
    return np.asarray(centred @ centred.T)


class TestNoLeak:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, r"say on which stimuli .* \(fit_on"),
            ({"fit_on": ["s1", "s2", "s3"]}, "on 3 stimuli that are tested: s1, s2, s3"),
            ({"fit_on": ["s1", "s2", "s3"], "tested": ["s3", "s4"]}, "on 1 stimuli that are tested: s3"),
            ({"fit_on": made(6, seed=1)}, "on 6 stimuli that are tested: s0, s1, s2, s3, s4 and 1 more"),
        ],
    )
    def test_the_fit_is_refused(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ResponseError, match=message):
            reduce_units(made(), n_components=2, **options)
        assert reduce_units(made(), n_components=2, **options, allow_overlap=True).shape == (20, 4)

    def test_stimuli_that_are_not_tested_may_fit(self) -> None:
        kept = reduce_units(made(), n_components=2, fit_on=["s1", "s2", "s3"], tested=["s4", "s9"])
        assert kept.sizes["stimulus"] == 20


class TestProjection:
    def test_it_is_the_matrix_of_the_paper(self) -> None:
        n_units, n_components = 400, 50
        identity = make_responses(np.eye(n_units), [f"s{i}" for i in range(n_units)], allow_constant=True)
        matrix = reduce_units(identity, method="sparse-random-projection", n_components=n_components).values
        # Density 1 / sqrt(n_units); entries 0 and +-sqrt(1 / (density n_components)), signs even.
        size = math.sqrt(math.sqrt(n_units) / n_components)
        drawn = matrix[matrix != 0]
        np.testing.assert_allclose(np.abs(drawn), size)
        n, share = matrix.size, 1 / math.sqrt(n_units)
        assert abs(len(drawn) / n - share) < 5 * math.sqrt(share * (1 - share) / n)
        assert abs((drawn > 0).mean() - 0.5) < 5 * 0.5 / math.sqrt(len(drawn))

    def test_distances_are_kept_at_the_width_of_johnson_and_lindenstrauss(self) -> None:
        responses = made(20, widths={"conv": 2_000, "fc": 40})
        eps = 0.4
        reduced = reduce_units(responses, method="sparse-random-projection", eps=eps)
        width = int(4 * math.log(20) / (eps**2 / 2 - eps**3 / 3))
        assert select_units(reduced, layer="conv").sizes["unit"] == width
        before, after = (select_units(r, layer="conv").values for r in (responses, reduced))
        for i in range(20):
            for j in range(i):
                ratio = ((after[i] - after[j]) ** 2).sum() / ((before[i] - before[j]) ** 2).sum()
                assert 1 - eps < ratio < 1 + eps
        np.testing.assert_array_equal(
            select_units(reduced, layer="fc").values, select_units(responses, layer="fc").values
        )
        assert json.loads(reduced.attrs["reduction"])["widths"] == {"conv": width, "fc": 40}
        assert json.loads(reduced.attrs["reduction_fit_on"]) == []

    def test_seeds_and_layers(self) -> None:
        options: dict[str, Any] = {"method": "sparse-random-projection", "n_components": 4}
        responses = made()
        first = reduce_units(responses, **options)
        assert first.identical(reduce_units(responses, **options))
        assert not np.array_equal(first.values, reduce_units(responses, **options, seed=1).values)
        alone = reduce_units(select_units(responses, layer="fc"), **options)
        np.testing.assert_array_equal(alone.values, select_units(first, layer="fc").values)
        # Stimuli do not matter: each is projected as if alone.
        part = reduce_units(select_stimuli(responses, ["s7", "s3"]), **options)
        np.testing.assert_allclose(part.values, first.sel(stimulus=["s7", "s3"]).values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "ica", "n_components": 2}, "no method 'ica'; .*'pca'"),
        ({"n_components": 0}, "n_components must be"),
        ({"n_components": 1.0}, "n_components must be"),
        ({"n_components": None}, "n_components must be"),
        ({"n_components": True}, "n_components must be"),
        ({"n_components": 20}, "20 stimuli to fit on give at most 19 components, layer 'conv' is to have 20"),
        ({"n_components": 2, "fit_on": ["s1"]}, "1 stimuli to fit on give at most 0 components"),
        ({"n_components": 2, "fit_on": ["s99"]}, "no stimulus 's99'"),
        ({"n_components": 2, "fit_on": made(widths={"conv": 30})}, "has not the units of net"),
        ({"method": "sparse-random-projection", "fit_on": ["s1"]}, "a random projection is not fitted"),
        ({"method": "sparse-random-projection", "n_components": 0.5}, "a whole number of components"),
        ({"method": "sparse-random-projection", "eps": 1.0}, "eps must lie between 0 and 1"),
    ],
)
def test_bad_input(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ResponseError, match=message):
        reduce_units(made(), **{"allow_overlap": True, **options})


def test_repetitions_and_dead_layers() -> None:
    repeated = make_responses(np.random.default_rng(0).normal(size=(2, 5, 4)), list("abcde"))
    with pytest.raises(ResponseError, match="average them first"):
        reduce_units(repeated, n_components=2, allow_overlap=True)
    dead = made()
    dead[:, 30:] = 1.0
    with pytest.raises(ResponseError, match="layer 'fc' answers to all 20 stimuli to fit on alike"):
        reduce_units(dead, n_components=2, allow_overlap=True)
