"""Figures of comparisons: what is drawn is what the tables say."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from brainalign.measures.compare_models import compare_models
from brainalign.measures.depth_profile import depth_profile
from brainalign.measures.dimensionality import dimensionality
from brainalign.measures.similarity import layer_map, similarity
from brainalign.measures.variance_partition import variance_partition
from brainalign.report import figures
from brainalign.report.comparison_figures import plot_statistic_by_layer
from brainalign.responses import make_responses


def responses(seed, layers, n=24, source="net"):
    rng = np.random.default_rng(seed)
    names = [layer for layer in layers for _ in range(6)]
    return make_responses(
        rng.normal(size=(n, len(names))),
        [f"s{i:02d}" for i in range(n)],
        [f"{layer}:{i}" for i, layer in enumerate(names)],
        unit_info={"layer": names},
        attrs={"source": source},
    )


@pytest.fixture(scope="module")
def brain():
    rng = np.random.default_rng(9)
    units = [f"v{i}" for i in range(24)]
    info = {"subject": np.repeat(["a", "b", "c"], 8), "region": np.tile(["primary", "anterior"], 12)}
    return make_responses(rng.normal(size=(2, 24, 24)), [f"s{i:02d}" for i in range(24)], units, unit_info=info,
                          attrs={"source": "brain"})  # fmt: skip


@pytest.fixture
def ax():
    return Figure().subplots()


def test_curves_of_several_models_and_the_brain(ax, brain):
    nets = [responses(1, ["one", "two"], source="x"), responses(2, ["one", "two"], source="y")]
    results = [dimensionality(r) for r in (*nets, brain.mean("repetition", keep_attrs=True))]
    table = pd.concat([r.table for r in results], ignore_index=True)
    plot_statistic_by_layer(ax, table)
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    for name in ("x", "y"):
        np.testing.assert_allclose(lines[name], table.loc[table["model"] == name, "value"])
    assert lines["brain (one layer)"][0] == pytest.approx(table.loc[table["model"] == "", "value"].item())


def test_depth_profile(ax, brain):
    result = depth_profile(responses(1, ["one", "two", "three"]), brain, splits="kfold", n_splits=3, n_bootstrap=50)
    figures.plot_result(result, ax)
    stages = result.table[result.table["statistic"] == "relative_best_stage"]
    marks = ax.containers[0].lines[0]
    np.testing.assert_allclose(np.asarray(marks.get_ydata(), dtype=float), stages["value"])
    assert [t.get_text() for t in ax.get_xticklabels()] == list(stages["target"])


def test_layer_map(ax):
    result = layer_map({"x": responses(1, ["one", "two"]), "y": responses(2, ["three"])}, interval=False)
    figures.plot_result(result, ax)
    np.testing.assert_array_equal(ax.images[0].get_array(), result.arrays["layer_map"].values)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["x · one", "x · two", "y · three"]


def test_compared_models_and_the_ceiling(ax, brain):
    result = compare_models({"x": responses(1, ["one", "two"])}, brain, n_bootstrap=30, n_permutations=0)
    figures.plot_result(result, ax)
    rows = result.table[result.table["statistic"] == "spearman"]
    drawn = [line.get_xdata()[0] for line in ax.lines if line.get_marker() not in ("None", "")]
    np.testing.assert_allclose(drawn, rows["value"])
    band = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((rows["ceiling_lower"].iloc[0], rows["ceiling_upper"].iloc[0]))


def test_variance_partition(ax, brain):
    nets = {"x": responses(1, ["one"]), "y": responses(2, ["two"])}
    voxels = brain.mean("repetition", keep_attrs=True).isel(unit=[0, 1])
    result = variance_partition(nets, voxels, splits="kfold", n_splits=3, n_permutations=0)
    figures.plot_result(result, ax)
    drawn = {line.get_label(): line.get_xdata() for line in ax.lines if not line.get_label().startswith("_")}
    for name in ("x", "y", "x & y"):
        rows = result.table[(result.table["model"] == name) & (result.table["statistic"] != "R2")]
        np.testing.assert_allclose(drawn[name].astype(float), rows["value"])


def test_similarity_has_a_figure(ax, brain):
    result = similarity(responses(1, ["one", "two"]), brain.mean("repetition", keep_attrs=True), n_permutations=0)
    assert result.plot(ax) is ax
    assert ax.get_ylabel() == "linear-cka"
