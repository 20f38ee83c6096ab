"""Figures of comparisons: what is drawn is what the tables say."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from brainalign.measures.compare_models import compare_models
from brainalign.measures.depth_profile import depth_profile
from brainalign.measures.dimensionality import dimensionality
from brainalign.measures.result import Result
from brainalign.measures.similarity import layer_map, similarity
from brainalign.measures.variance_partition import variance_partition
from brainalign.measures.voxel_encoding import voxel_encoding
from brainalign.report import figures
from brainalign.report.answers import answers
from brainalign.report.captions import caption
from brainalign.report.comparison_figures import plot_statistic_by_layer
from brainalign.report.words import estimate, number, records, score
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


def test_sentence_of_compared_models_quotes_the_best_its_ceiling_and_the_tested_difference(brain):
    nets = {"x": responses(1, ["one", "two"]), "y": responses(2, ["three"])}
    result = compare_models(nets, brain, n_bootstrap=30, n_permutations=20)
    scores = result.table[result.table["statistic"] == "spearman"].sort_values("value", ascending=False)
    best = scores.iloc[0]
    other = scores[scores["model"] != best["model"]].iloc[0]
    pairs = result.table[result.table["statistic"] != "spearman"]
    both = {(best["model"], best["layer"]), (other["model"], other["layer"])}
    pair = next(r for r in records(pairs) if {(r["model"], r["layer"]), (r["model_2"], r["layer_2"])} == both)
    (sentence,) = answers([result])
    assert f"Of 3 candidates, {best['layer']} of {best['model']} is most like the brain" in sentence
    assert estimate(best) in sentence
    ends = " to ".join(f"{best[f'ceiling_{end}']:.2f}" for end in ("lower", "upper")).replace("-", "−")
    assert f"noise ceiling {ends}" in sentence
    assert (
        f"{other['layer']} of {other['model']}, is {number(abs(pair['value']), 2)} (p = {number(pair['p'], 2)}"
        in sentence
    )
    assert estimate(best) in caption(result)


def test_sentence_of_voxels_compares_chosen_layers(brain):
    results = [
        voxel_encoding(net, brain, splits="kfold", n_splits=3, n_permutations=0, n_bootstrap=40)
        for net in (responses(1, ["one", "two"], source="x"), responses(2, ["three"], source="y"))
    ]
    table = pd.concat([r.table for r in results])
    rows = table[(table["target"] == "all units") & (table["layer"].isin(["chosen", "three"]))]
    best, other = records(rows.sort_values("value", ascending=False))
    (sentence,) = answers(results)
    assert f"Of 2 models, {best['model']} predicts the voxels best" in sentence
    assert f"{estimate(best)} (" in sentence
    assert f"For comparison: {other['model']} {estimate(other)}." in sentence
    assert "no p" in sentence


def test_sentence_of_similarity_knows_distances(brain):
    voxels = brain.mean("repetition", keep_attrs=True)
    for method, pick in (("linear-cka", "idxmax"), ("procrustes-distance", "idxmin")):
        result = similarity(responses(1, ["one", "two"]), voxels, method=method, n_permutations=20, interval=False)
        best = result.table.loc[getattr(result.table["value"], pick)()]
        (sentence,) = answers([result])
        assert (
            f"{best['layer']} of net is most like the brain: {best['statistic']} {estimate(best)}, chance" in sentence
        )
        assert ("lower is more alike" in sentence) == (pick == "idxmin")


def test_sentences_of_depth_and_of_variance(brain):
    depth = depth_profile(responses(1, ["one", "two", "three"]), brain, splits="kfold", n_splits=3, n_bootstrap=50)
    stage, difference = (depth.table[depth.table["statistic"] == s] for s in ("relative_best_stage", "difference"))
    (sentence,) = answers([depth])
    assert all(f"{r['target']} {score(r)}" in sentence for r in records(stage))
    assert all(f"{r['target']} {estimate({**r, 'p': r['p_holm']})}" in sentence for r in records(difference))
    nets = {"x": responses(1, ["one"]), "y": responses(2, ["two"])}
    voxels = brain.mean("repetition", keep_attrs=True).isel(unit=[0, 1])
    parts = variance_partition(nets, voxels, splits="kfold", n_splits=3, n_permutations=9).table
    whole = parts[(parts["statistic"] == "R2") & (parts["model"] == "x + y")]
    target = whole.loc[whole["value"].idxmax(), "target"]
    unique = parts[(parts["target"] == target) & (parts["statistic"] == "unique")]
    (sentence,) = answers([Result("variance-partition", parts)])
    assert f"{target}, the best explained of 2 targets" in sentence
    assert all(estimate(r) in sentence for r in records(unique))
