"""Segregation index and its embedding."""

import numpy as np
import pytest
from scipy.stats import kstest, norm

from brainalign.errors import MeasureError
from brainalign.measures.segregation import embed, segregation, segregation_index
from brainalign.responses import make_responses


def clouds(shift, n=5000, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(2 * n, 2))
    points[n:, 0] += shift
    return points, np.arange(2 * n) < n


def responses(gap=0.0, n=48, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 10))
    values[: n // 3] += gap
    category = np.where(np.arange(n) < n // 3, "Music", "Other")
    return make_responses(
        values,
        [f"s{i}" for i in range(n)],
        stimulus_info={"category": category},
        unit_info={"layer": ["a"] * 5 + ["b"] * 5},
        attrs={"source": "net"},
    )


def test_closed_form():
    points = np.array([[0.0, 0], [0, 0], [4, 4], [0, 0], [4, 4], [4, 4]])
    target = np.arange(6) < 3
    # Shares 2/3, 1/3 and 1/3, 2/3 in two cells.
    assert segregation_index(points, target, n_bins=4) == pytest.approx(1 - 2 * np.sqrt(2 / 9))
    assert segregation_index(points, target, n_bins=1) == 0
    apart = np.r_[np.zeros((3, 2)), np.ones((3, 2))]
    assert segregation_index(apart, target) == 1


@pytest.mark.parametrize("shift", [0, 2, 4, 8])
def test_two_gaussians(shift):
    """1 minus the Bhattacharyya coefficient of Gaussians of distance d is 1 - exp(-d²/8); binning adds to it."""
    points, target = clouds(shift, n=200_000)
    expected = 1 - np.exp(-(shift**2) / 8)
    assert segregation_index(points, target, n_bins=32) == pytest.approx(expected, abs=0.01)


def test_variant_of_the_paper_hardly_reacts_to_separation():
    values = [segregation_index(*clouds(d), protocol="kim2024") for d in (0, 2, 4, 8)]
    shared = [segregation_index(*clouds(d)) for d in (0, 2, 4, 8)]
    # The facts' table: 0.142, 0.160, 0.130, 0.127 against 0.100, 0.494, 0.934, 1.000.
    assert max(values) - min(values) < 0.1
    assert shared == pytest.approx([0.10, 0.49, 0.93, 1.0], abs=0.05)


def test_variant_of_the_paper_is_numpy_histograms_with_their_own_ranges():
    points, target = clouds(1.0, n=300)
    p, q = (np.histogram2d(*points[k].T, bins=64)[0] for k in (target, ~target))
    expected = 1 - np.sqrt(p / p.sum() * (q / q.sum())).sum()
    assert segregation_index(points, target, protocol="kim2024") == pytest.approx(expected)


def test_separate_sounds_are_segregated_and_noise_is_not():
    near, far = (
        segregation(responses(g), categories=["Music"], n_bins=4, perplexity=10, n_permutations=99).table
        for g in (0.0, 6.0)
    )
    assert (far["value"] > 0.9).all()
    assert (far["p"] == 0.01).all()
    assert (far["value"] > far["chance"] + 0.3).all()
    assert near["layer"].tolist() == ["a", "b"]
    assert (abs(near["value"] - near["chance"]) < 0.25).all()


def test_p_is_uniform_on_noise():
    p = [
        segregation(
            responses(seed=i).sel(unit=["0", "1"]), categories=["Music"], n_bins=3, perplexity=10, n_permutations=99
        ).table["p"][0]
        for i in range(25)
    ]
    assert kstest(norm.ppf(np.clip(p, 0.01, 0.99)), "norm").pvalue > 0.01


def test_embedding_is_seeded_and_kept():
    data = responses(2.0)
    one, two = (segregation(data, categories=["Music"], perplexity=10, n_permutations=0, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.arrays["embedding"], two.arrays["embedding"])
    points = one.arrays["embedding"].sel(layer="b")
    np.testing.assert_array_equal(points, embed(data.values[:, 5:], perplexity=10, seed=3))
    assert points["is_target"].sum() == 16


def test_mistakes_are_named():
    with pytest.raises(MeasureError, match="needs more sounds than that, found 48"):
        segregation(responses(), categories=["Music"], perplexity=50)
    with pytest.raises(MeasureError, match="no protocol 'own'"):
        segregation(responses(), categories=["Music"], protocol="own")
    with pytest.raises(MeasureError, match="sounds of both kinds"):
        segregation_index(np.zeros((4, 2)), np.ones(4, bool))
    dead = responses()
    dead.values[:, 5:] = 1
    table = segregation(dead, categories=["Music"], perplexity=10, n_permutations=19).table
    assert "nothing to embed" in table.loc[1, "note"]
    assert table.loc[0, "value"] > 0
