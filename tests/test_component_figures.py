"""Figures and sentences of component matches: what is drawn and written is what the tables say."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from brainalign.errors import MeasureError
from brainalign.measures.component_match import component_match
from brainalign.measures.encoding import CHOSEN
from brainalign.measures.witnesses import witness_agreement
from brainalign.report.component_figures import (
    heads,
    plot_against_baselines,
    plot_match_matrix,
    plot_within,
    plot_witnesses,
)
from brainalign.report.component_words import (
    component_match_answer,
    component_match_caption,
    witness_agreement_answer,
    witness_agreement_caption,
)
from brainalign.report.words import estimate, records, score
from brainalign.responses import make_responses

CATEGORY = np.repeat(["Music", "Song", "Speech", "Animal"], 12)
IDS = [f"s{i:02d}" for i in range(48)]


def make(source, seed, component):
    rng = np.random.default_rng(0)
    y = rng.standard_normal((48, 3))
    y[:24, 0] += 2
    layers = [y @ rng.standard_normal((3, 6)) + noise * rng.standard_normal((48, 6)) for noise in (0.5, 1, 2, 4)]
    net = make_responses(np.hstack(layers), IDS, unit_info={"layer": [f"layer{k}" for k in range(4) for _ in range(6)]})
    acoustic = make_responses(y[:, 2:] + rng.standard_normal((48, 4)), IDS, unit_info={"layer": ["mel$"] * 4})
    noise = np.random.default_rng(seed).standard_normal(y.shape)
    brain = make_responses(
        y + 0.3 * noise,
        IDS,
        ["music", "speech", "pitch"],
        stimulus_info={"category": CATEGORY},
        attrs={"source": source},
    )
    return component_match(
        {"net-a": net, "mel$": acoustic}, brain, categories=["Music", "Song"], component=component, baselines=["mel$"],
        splits="stratified-halves", n_splits=2, n_permutations=39, n_bootstrap=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def result():
    return make("fmri", 1, "music")


@pytest.fixture(scope="module")
def agreement(result):
    return witness_agreement(result, make("ecog", 2, None), n_bootstrap=60)


@pytest.fixture
def ax():
    return Figure().subplots()


def pick(table, statistic="r", predictor="encoding"):
    return table[(table["statistic"] == statistic) & (table["predictor"] == predictor)]


def test_matrix_of_layers_and_components(ax, result):
    plot_match_matrix(ax, result)
    table = pick(result.table)
    np.testing.assert_array_equal(np.asarray(ax.images[0].get_array()).ravel(), table["value"])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["music", "speech", "pitch"]
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names == [*(f"net-a · {k}" for k in ("layer0", "layer1", "layer2", "layer3", CHOSEN)), "mel\\$"]
    marked = {tuple(point) for point in ax.collections[0].get_offsets().astype(int).tolist()}
    expected = {(i % 3, i // 3) for i, p in enumerate(table["p"]) if p <= 0.05}
    assert marked == expected
    assert 0 < len(marked) < len(table)


def test_models_beside_baselines(ax, result):
    plot_against_baselines(ax, result)
    table = heads(pick(result.table))
    table = table[table["target"] == "music"]
    assert list(table["layer"]) == [CHOSEN, "mel$"]
    marks = [line for line in ax.lines if line.get_marker() not in ("None", "", "|")]
    np.testing.assert_allclose([m.get_xdata()[0] for m in marks], table["value"])
    assert [m.get_markerfacecolor() == "white" for m in marks] == [False, True]
    strokes = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "|"]
    np.testing.assert_allclose(strokes, table["null_p95"])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["net-a", "mel\\$ (baseline)"]
    with pytest.raises(MeasureError, match="no component 'pitsch'; did you mean 'pitch'"):
        plot_against_baselines(ax, result, target="pitsch")


def test_sounds_within_their_categories(ax, result):
    plot_within(ax, result, model="mel$")
    drawn = np.concatenate([c.get_offsets() for c in ax.collections])
    tested = result.arrays["profiles"].sel(profile="mel$", target="music").values
    for axis, values in enumerate((result.arrays["observed"].sel(target="music").values, tested)):
        expected = []
        for name in ("Music", "Song"):
            own = values[(name == CATEGORY) & np.isfinite(tested)]
            expected.append(own - own.mean())
        np.testing.assert_allclose(np.sort(drawn[:, axis]), np.sort(np.concatenate(expected)), atol=1e-12)
    own = pick(result.table, "r within categories")
    r = own[(own["model"] == "mel$") & (own["target"] == "music")]["value"].item()
    assert float(ax.get_title().split("= ")[1].replace("−", "-")) == pytest.approx(r, abs=0.06)
    with pytest.raises(MeasureError, match="no model 'net'; did you mean 'net-a'"):
        plot_within(ax, result, model="net")


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e5])
def test_numbers_of_the_axes_keep_apart(result, scale):
    """Tiny responses, such as those of voxels, have a common factor instead of long numbers."""
    arrays = {name: result.arrays[name] * scale for name in ("profiles", "observed")}
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = plot_within(figure.subplots(), replace(result, arrays=arrays))
    figure.draw_without_rendering()
    boxes = [t.get_window_extent() for t in ax.get_xticklabels() if t.get_text()]
    inside = [b for b in boxes if ax.bbox.x0 - 1 <= (b.x0 + b.x1) / 2 <= ax.bbox.x1 + 1]
    assert len(inside) >= 3
    assert all(a.x1 + 3 < b.x0 for a, b in pairwise(inside))


def test_each_figure_is_of_its_measure(ax, result, agreement):
    for plot in (plot_match_matrix, plot_against_baselines, plot_within):
        with pytest.raises(MeasureError, match="this draws a result of component-match, found witness-agreement"):
            plot(ax, agreement)
    for other, found in ((result, "component-match"), (None, "NoneType")):
        with pytest.raises(MeasureError, match=f"this draws a result of witness-agreement, found {found}"):
            plot_witnesses(ax, other)


def test_two_brains(ax, agreement):
    plot_witnesses(ax, agreement)
    table = pick(agreement.table)
    table = table[table["layer"] != CHOSEN]
    x, y = (table[table["brain"] == b]["value"].to_numpy(float) for b in ("fmri", "ecog"))
    drawn = np.concatenate([np.column_stack(c.lines[0].get_data()).astype(float) for c in ax.containers])
    np.testing.assert_allclose(drawn, np.column_stack([x, y]))
    assert len(x) == 5
    # Marks alone: scores of the two brains differ in scale, so there is no line of equality.
    assert {line.get_linestyle() for line in ax.lines} == {"None"}
    assert ax.get_xlabel() == "r: music\n(fmri)"
    assert ax.get_ylabel() == "r: selective for Music and Song\n(ecog)"


def test_no_such_score(ax, result):
    with pytest.raises(MeasureError, match="no rows of predictor 'encoding' and statistic 'R2'; there are r, "):
        plot_match_matrix(ax, result, statistic="R2")


def test_sentences_quote_the_table(result, agreement):
    table = heads(result.table)
    music = {(r["predictor"], r["statistic"]): r for r in records(table[(table["model"] == "net-a")])[::-1]
             if r["target"] == "music"}  # fmt: skip
    answer = component_match_answer(result.table, [result])
    assert answer.startswith(
        f"net-a predicts the component music with r = {estimate(music['encoding', 'r'])} on new sounds, its best"
    )
    within = estimate(music["encoding", "r within categories"])
    assert f"among Music and Song alone, relative to their category, r = {within}" in answer
    assert f"closest baseline, mel$, is {estimate(music['encoding', 'difference in r'])}." in answer
    caption = component_match_caption("all models", result)
    assert f"net-a {estimate(music['encoding', 'r'])}; mel$ " in caption
    row = records(agreement.table[agreement.table["statistic"] == "spearman over layers"])[0]
    told = witness_agreement_answer(agreement.table, [agreement])
    assert told.startswith(
        "The component music of fmri and the component selective for Music and Song of ecog rank 5 layers alike: "
    )
    assert score(row) in told
    assert told in witness_agreement_caption("all models", agreement)
