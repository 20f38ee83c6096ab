"""Figures of selectivity: that they show the numbers of the result."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from scipy.stats import multivariate_normal

from brainalign.errors import MeasureError
from brainalign.measures.ablation import ablation
from brainalign.measures.level_sweep import level_sweep
from brainalign.measures.readout import readout
from brainalign.measures.segregation import segregation
from brainalign.measures.selective import selective_profile, selective_ratio
from brainalign.measures.units import unit_table
from brainalign.models import extract, load_model
from brainalign.report.selectivity_figures import MAIN, kernel_density, mass_levels, plot_embedding
from brainalign.responses import make_responses
from brainalign.stimuli import load_stimuli

CATEGORIES = ["Music", "Song"]


@pytest.fixture(scope="module")
def results():
    sounds, model = load_stimuli("demo"), load_model("kim2024-cnn:no-music/0")
    heard = extract(model, sounds, layers=["pool3", "avgpool"])
    brain = make_responses(np.random.default_rng(0).normal(size=(66, 3)), sounds.ids, ["a$b$", "music", "speech"])
    few = {"categories": CATEGORIES, "n_bootstrap": 50}
    found = [
        selective_ratio(heard, **few),
        selective_profile(heard, brain, n_permutations=20, **few),
        unit_table(heard, categories=CATEGORIES, n_permutations=20),
        readout(heard, per_category=False, **few),
        segregation(heard, categories=CATEGORIES, n_bins=6, perplexity=15, n_permutations=20),
        ablation(heard, model, sounds, layer="avgpool", categories=CATEGORIES, exclude=CATEGORIES),
        level_sweep(heard, model, sounds, power_ratios=[1, 0.25], **few),
    ]
    return {r.measure: r for r in found}


def drawn_values(ax):
    return np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.lines])


@pytest.mark.parametrize("measure", MAIN)
def test_every_measure_has_a_figure_of_its_values(results, measure):
    result = results[measure]
    ax = result.plot(Figure().subplots())
    ax.figure.canvas.draw()
    table = result.table
    if measure == "selective-profile":
        table = table[table["units"] == "selected units"]
    elif measure == "level-sweep":
        table = table[(table["target"] == "selected units") & (table["sounds"] == "normalised")]
    elif measure == "ablation":
        table = table[table["statistic"] != "mAP_difference"]
    expected = results["segregation"].arrays["embedding"].sel(layer=best_layer(results), axis="y").values
    if measure != "segregation":
        expected = table["value"].to_numpy()
    drawn = drawn_values(ax)
    assert all(np.isclose(drawn, value, atol=1e-12).any() for value in expected)
    assert ax.get_ylabel()
    assert ax.get_xlabel()


def best_layer(results):
    table = results["segregation"].table
    return table["layer"][table["value"].idxmax()]


def test_intervals_are_those_of_the_table(results):
    ax = results["selective-ratio"].plot(Figure().subplots())
    ends = np.sort(
        [s[:, 1] for c in ax.collections if isinstance(c, LineCollection) for s in c.get_segments()], axis=None
    )
    np.testing.assert_allclose(ends, np.sort(results["selective-ratio"].table[["ci_low", "ci_high"]], axis=None))


def test_contours_enclose_their_share_of_a_gaussian():
    """A Gaussian in two dimensions has the mass p above the density (1 - p) of its peak."""
    grid = np.linspace(-6, 6, 400)
    density = multivariate_normal([0, 0]).pdf(np.dstack(np.meshgrid(grid, grid)))
    peak = 1 / (2 * np.pi)
    assert mass_levels(density, (0.8, 0.6, 0.2)) == pytest.approx([0.2 * peak, 0.4 * peak, 0.8 * peak], rel=0.01)


def test_density_of_points_that_have_none():
    grid = np.linspace(0, 1, 5)
    assert kernel_density(np.ones((2, 2)), grid, grid) is None
    assert kernel_density(np.c_[np.arange(9.0), np.arange(9.0)], grid, grid) is None
    assert kernel_density(np.random.default_rng(0).normal(size=(9, 2)), grid, grid).shape == (5, 5)


def test_unknown_layer(results):
    with pytest.raises(MeasureError, match="did you mean 'pool3'"):
        plot_embedding(Figure().subplots(), results["segregation"].arrays["embedding"], layer="pool")
