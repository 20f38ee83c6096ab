"""Figures of selectivity: that they show the numbers of the result."""

import numpy as np
import pandas as pd
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
from brainalign.report.answers import answers
from brainalign.report.captions import caption, caption_together
from brainalign.report.colours import model_styles
from brainalign.report.selectivity_figures import MAIN, TOGETHER, kernel_density, mass_levels, plot_embedding
from brainalign.report.words import estimate, records
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


def renamed(result, model):
    return result.table.assign(model=model)


@pytest.mark.parametrize("measure", TOGETHER)
def test_models_stand_side_by_side(results, measure):
    own = results[measure].table
    other = renamed(results[measure], "other").assign(value=own["value"] / 2)
    table = pd.concat([own, other], ignore_index=True)
    ax = TOGETHER[measure](Figure().subplots(), table, model_styles(list(table["model"])))
    shown = {
        "selective-ratio": own["target"] == "selected units",
        "ablation": own["statistic"] == "mAP_difference",
        "readout": (own["target"] == "targets") & (own.get("units") == "all"),
        "segregation": own["value"].notna(),
    }[measure]
    drawn = drawn_values(ax)
    for value in own.loc[shown, "value"]:
        assert np.isclose(drawn, value, atol=1e-12).any()
        assert np.isclose(drawn, value / 2, atol=1e-12).any()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [own["model"].iloc[0], "other"]
    assert caption_together(measure, table).endswith(".")


def test_flagged_ratios_do_not_stretch_the_common_axis_and_are_counted(results):
    own = results["selective-ratio"].table
    wild = renamed(results["selective-ratio"], "wild").assign(value=-400.0, note="no gain factor")
    table = pd.concat([own, wild], ignore_index=True)
    ax = TOGETHER["selective-ratio"](Figure().subplots(), table, model_styles(list(table["model"])))
    assert drawn_values(ax).min() >= 0
    assert "Left out are 2 of 4 ratios" in caption_together("selective-ratio", table)


def test_embedding_has_one_scale_and_names_the_sounds(results):
    ax = results["segregation"].plot(Figure().subplots())
    assert ax.get_aspect() == 1
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["other sounds", "Music and Song"]


def test_ablation_shows_chance_p_and_categories(results):
    table = results["ablation"].table
    ax = results["ablation"].plot(Figure().subplots())
    lines = {line.get_label(): line for line in ax.lines}
    means = table[table["statistic"] == "mAP"]
    assert lines["chance (mean)"].get_ydata()[0] == means["chance"].iloc[0]
    assert {"Speech", "Animal"} <= set(lines)
    ticks = [t.get_text() for t in ax.get_xticklabels()]
    assert ticks[0] == "intact"
    assert ticks[1] == f"top\np = {means['p'].iloc[1]:.2g}"
    for row in records(table[table["target"] == "mean of categories"]):
        assert estimate(row) in caption(results["ablation"])


def test_few_units_are_points_with_names():
    values = np.random.default_rng(3).normal(size=(66, 3)) + 5
    sounds = load_stimuli("demo")
    info = {"category": list(sounds.table["category"])}
    brain = make_responses(values, sounds.ids, ["a", "b", "c"], stimulus_info=info, attrs={"source": "cortex"})
    result = unit_table(brain, categories=CATEGORIES, n_permutations=0)
    ax = result.plot(Figure().subplots())
    assert {t.get_text() for t in ax.texts} == {"a", "b", "c"}
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["cortex"]
    assert ("thick" in ax.get_xlabel()) == result.table["selected"].any()


@pytest.mark.parametrize("measure", MAIN)
def test_sentences_quote_the_last_layer_of_the_first_model(results, measure):
    """The expected rows are picked from the tables here, by hand for each measure."""
    table = results[measure].table
    last = table[table["layer"] == "avgpool"]
    picked = {
        "selective-ratio": lambda t: t,
        "selective-profile": lambda t: t[t["units"] == "selected units"].nlargest(1, "value"),
        "readout": lambda t: t[(t["units"] == "all") & (t["target"] == "targets")],
        "segregation": lambda t: t,
        "ablation": lambda t: t[
            (t["statistic"] == "mAP_difference") | ((t["statistic"] == "mAP") & (t["ablated"] == "top"))
        ],
        "level-sweep": lambda t: t[(t["target"] == "selected units") & (t["sounds"] == "normalised")],
        "unit-table": lambda t: t.iloc[:0],
    }[measure](last)
    (sentence,) = answers([results[measure]])
    assert "kim2024-cnn:no-music/0" in sentence
    for row in records(picked):
        assert estimate(row) in sentence
    if measure == "unit-table":
        assert f"{((last['p_fdr'] <= 0.05) & (last['effect_size'] > 0.5)).sum()} prefer Music and Song" in sentence
