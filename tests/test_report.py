"""The figures draw the right data, and the page holds the numbers of the tables, whole, safe and on its own."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError
from brainalign.measures import MEASURES
from brainalign.measures.result import Result, result_table
from brainalign.report import figures, words
from brainalign.report.colours import category_colours, category_order, model_styles
from brainalign.report.estimates import headline_rows
from brainalign.report.headline import headline
from brainalign.report.page import ReportContent, write_report
from brainalign.report.svg import Drawing, safe_csv
from brainalign.responses import make_responses
from brainalign.stimuli.sets import Manifest, StimulusSet

COUNTS = {"EngSpeech": 10, "ForSpeech": 7, "HumVoc": 13, "HumNonVoc": 15, "AniVoc": 10, "AniNonVoc": 5, "Nature": 4,
          "Mechanical": 39, "Song": 11, "Music": 24, "EnvSound": 27}  # fmt: skip
COMPONENTS = ("lowfreq", "highfreq", "envsounds", "pitch", "speech", "music")
MODELS = {
    "logmel": ("pca",),
    "kim2024-cnn:no-music/0": (*(f"conv{i}" for i in range(1, 7)), "avgpool"),
    "hf:wav2vec2-base": tuple(f"encoder.{i}" for i in range(0, 14, 2)),
}


def make_content(counts=COUNTS, models=MODELS, components=COMPONENTS, seed=0, rename=None) -> ReportContent:
    """Build a run with the sizes of a real one: tables and arrays are seeded draws that agree with each other."""
    rng = np.random.default_rng(seed)
    category = [c for c, n in counts.items() for _ in range(n)]
    ids = [f"stim{i:03d}_{c.lower()}" for i, c in enumerate(category)]
    ids[0] = rename or ids[0]
    order = rng.permutation(len(ids))
    ids, category = [ids[i] for i in order], [category[i] for i in order]
    means = {(c, t): rng.uniform(2, 14) for c in counts for t in components}
    for c in counts:
        means[c, components[-1]] = 13.5 if c in ("Music", "Song") else 3
    observed = np.array([[means[c, t] + rng.normal(0, 2) for t in components] for c in category])
    along = {"stimulus": ids, "category": ("stimulus", category)}
    manifest = Manifest(name="synthetic165", version="1", citation="Norman-Haignere et al. (2015).", licence="none")
    table = pd.DataFrame(
        {"file": [f"{i}.wav" for i in ids], "category": category}, index=pd.Index(ids, name="stimulus_id")
    )

    def silence(stimulus: str):
        return np.zeros(4, np.float32), 8000

    brain = BrainData("nh2015-components", make_responses(observed, ids, components), "1", "Cited (2015) & al.", "CC0")
    results = [_brain_ratio(observed, ids, category, components)]
    for k, (model, layers) in enumerate(models.items()):
        results += [
            _encoding(model, layers, observed, along, components, k, rng),
            _rsa(model, layers, ids, category, k, rng),
        ]
        results.append(_model_ratio(model, layers, observed, ids, category, k, rng))
    provenance = {"command": "brainalign run kim2024/natsound165 --out results", "brainalign": "0.1.0", "seed": 0,
                  "digests": dict.fromkeys(ids[:3], "0" * 64)}  # fmt: skip
    return ReportContent(
        "Music in sounds and networks", "Does a network that never heard music answer it as the brain does?",
        StimulusSet(manifest, table, silence), (brain,), results, provenance,
    )  # fmt: skip


def _row(measure, model, layer, target, statistic, value, width, n=165, **more):
    row = {"measure": measure, "model": model, "layer": layer, "brain": "nh2015-components", "target": target,
           "statistic": statistic, "value": value, "ci_low": value - width, "ci_high": value + width, "p": 0.001,
           "effect_size": value, "n": n, "n_of": "stimuli", "note": ""}  # fmt: skip
    return row | more


def _is_music(category):
    return np.isin(category, ["Music", "Song"])


def _brain_ratio(observed, ids, category, components):
    music, rows = _is_music(category), []
    for j, target in enumerate(components):
        values = observed[:, j]
        ratio = values[music].mean() / values[~music].mean()
        wins = (values[music][:, None] > values[~music][None]).mean()
        note = "3 of 165 responses are negative: the ratio is no gain" if target == "speech" else ""
        rows.append(
            _row("response-ratio", "", "", target, "ratio", ratio, 0.1 * ratio, effect_size=wins, p=2.5e-8, note=note)
        )
    coords = {"stimulus": ids, "category": ("stimulus", category)}
    coords |= {
        n: ("profile", [v] * len(components)) for n, v in (("model", ""), ("layer", ""), ("brain", "nh2015-components"))
    }
    profiles = xr.DataArray(
        observed.T, dims=("profile", "stimulus"), coords=coords | {"target": ("profile", list(components))}
    )
    settings = {
        "categories": ["Music", "Song"],
        "n_bootstrap": 1000,
        "level": 0.95,
        "test": "Wilcoxon rank-sum over stimuli",
    }
    return Result("response-ratio", result_table(rows), {"profiles": profiles}, settings)


def _model_ratio(model, layers, observed, ids, category, k, rng):
    rows = [_row("response-ratio", model, layer, "mean of units", "ratio", 1 + 0.12 * i * k + 0.03 * k, 0.08 + 0.02 * k)
            for i, layer in enumerate(layers)]  # fmt: skip
    return Result(
        "response-ratio", result_table(rows), {}, {"categories": ["Music", "Song"], "n_bootstrap": 1000, "level": 0.95}
    )


def _encoding(model, layers, observed, along, components, k, rng):
    names = [*layers, "chosen"] if len(layers) > 1 else list(layers)
    depth = np.linspace(0, 1, len(names))
    truth = observed - observed.mean(axis=0)
    predictions, rows = [], []
    for i, layer in enumerate(names):
        for j, target in enumerate(components):
            strength = 0.3 + 0.08 * j * (k > 0) - 0.5 * (depth[i] - 0.7 + 0.1 * k) ** 2 - 0.02 * k
            value = float(np.clip(strength + rng.normal(0, 0.01), 0.02, 0.9))
            value = 0.62 - 0.05 * k + 0.02 * j - 0.06 * (k == 0) * j if layer == "chosen" else value
            rows.append(_row("component-encoding", model, layer, target, "r2", value, 0.07, n_splits=10))
        predictions.append(observed.mean(axis=0) + 0.5 * truth + rng.normal(0, 1.2, truth.shape))
    arrays = {
        "observed": xr.DataArray(observed, dims=("stimulus", "target"), coords={**along, "target": list(components)}),
        "predictions": xr.DataArray(np.stack(predictions), dims=("layer", "stimulus", "target"),
                                    coords={**along, "layer": names, "target": list(components)}),
    }  # fmt: skip
    settings = {"splits": "tuckute2023", "n_splits": 10, "level": 0.95, "interval": "BCa bootstrap over test stimuli"}
    warnings = ["3 of 60 penalties lie at the edge of the grid"] if k == 2 else []
    return Result("component-encoding", result_table(rows), arrays, settings, warnings)


def _rsa(model, layers, ids, category, k, rng):
    same = np.equal.outer(category, category)
    rdms = []
    for i in range(len(layers) + 1):
        noise = rng.normal(0, 0.15, same.shape)
        rdm = 1 - 0.2 * (1 + i / len(layers)) * same + noise + noise.T
        np.fill_diagonal(rdm, 0)
        rdms.append(rdm)
    along = {"stimulus": ids, "stimulus_2": ids, "category": ("stimulus", category)}
    arrays = {
        "rdms": xr.DataArray(
            np.stack(rdms[1:]), dims=("rdm", "stimulus", "stimulus_2"), coords={**along, "rdm": list(layers)}
        ),
        "brain_rdm": xr.DataArray(rdms[0], dims=("stimulus", "stimulus_2"), coords=along),
    }
    rows = [
        _row("rsa", model, layer, "all units", "spearman", 0.12 + 0.05 * k + 0.02 * i, 0.04)
        for i, layer in enumerate(layers)
    ]
    return Result("rsa", result_table(rows), arrays, {"comparison": "Spearman over pairs of stimuli", "level": 0.95})


SMALL = {"EngSpeech": 5, "Nature": 3, "Song": 4, "Music": 8}


@pytest.fixture(scope="module")
def small():
    """A run of two models and two components, quick to draw; one sound and one model have hostile names."""
    models = {"logmel": ("pca",), "<b>net</b> & $x_1$": ("conv1", "conv2", "fc")}
    return make_content(SMALL, models, ("speech", "music"), rename="<script>alert(1)</script>")


@pytest.fixture(scope="module")
def written(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return write_report(small, folder / "report.html", figures_folder=folder / "figures")


@pytest.fixture(scope="module")
def html(written):
    return written.read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Checks that tags are balanced, and collects tags and tables."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.tables, self.captions = [], [], [], []
        self.visible = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append([dict(attrs).get("data-key"), ""])

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.visible += data
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1][1] += data


def axes_of(n_rows=1, n_columns=1):
    return Figure().subplots(n_rows, n_columns)


def named(values, names):
    return pd.Series(values, index=list(names))


# --- colours ---------------------------------------------------------------------------------------------------------


def lab(rgb):
    """CIELAB (D65) of linear RGB, CIE 15."""
    xyz = rgb @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    xyz = xyz / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def linear(colour):
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


#: Machado, Oliveira & Fernandes (2009), severity 1.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def test_lab_judge_knows_red():
    assert lab(linear("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.1)


@pytest.mark.parametrize("vision", VISION)
def test_eleven_categories_are_told_apart(vision):
    colours = np.array([linear(c) for c in category_colours(COUNTS).values()])
    seen = lab(np.clip(colours @ np.array(VISION[vision]).T, 0, 1))
    distance = np.linalg.norm(seen[:, None] - seen[None], axis=-1)[np.triu_indices(11, 1)]
    assert distance.min() > 20


def test_categories_keep_family_order_and_colour_in_any_company():
    assert category_order(["Music", "zebra", "Song", "EngSpeech", "Music"]) == ["EngSpeech", "Music", "Song", "zebra"]
    assert category_colours(["music", "zebra"])["music"] == category_colours(COUNTS)["Music"]
    assert category_colours(["Songs"])["Songs"] == category_colours(COUNTS)["Song"]


def test_colours_never_repeat():
    assert len(set(category_colours([f"kind {i}" for i in range(60)]).values())) == 60
    both = category_colours(["Music", "music", "song"])
    assert len(set(both.values())) == 3
    assert len(set(model_styles([f"m{i}" for i in range(40)]).values())) == 40


# --- profiles --------------------------------------------------------------------------------------------------------


def test_profile_bars_are_sorted_and_coloured_by_id():
    values = named([1.0, 3.0, -2.0, 2.0], "abcd")
    category = named(["Music", "Song", "Nature", "Music"], "dcab")[["c", "b", "d", "a"]]
    ax = figures.plot_profile(axes_of(), values, category)
    colours = category_colours(["Music", "Song", "Nature"])
    bars = ax.patches
    assert [b.get_height() for b in bars] == [3, 2, 1, -2]
    assert [b.get_gid() for b in bars] == ["b (Music): 3", "d (Music): 2", "a (Nature): 1", "c (Song): -2"]
    drawn = [to_hex(b.get_facecolor()) for b in bars]
    assert drawn == [colours[c] for c in ("Music", "Music", "Nature", "Song")]
    assert ax.get_xlim() == (-0.5, 3.5)
    assert [b.get_x() + b.get_width() / 2 for b in bars] == [0, 1, 2, 3]


def test_profile_takes_the_order_of_another():
    values, category = named([1.0, 3.0, 2.0], "abc"), named(["x", "y", "x"], "abc")
    ax = figures.plot_profile(axes_of(), values, category, order=["c", "a", "b"])
    assert [b.get_height() for b in ax.patches] == [2, 1, 3]


def test_profile_names_what_does_not_match():
    values = named([1.0, 2.0], "ab")
    with pytest.raises(MeasureError, match="no category for the sounds b"):
        figures.plot_profile(axes_of(), values, named(["x"], "a"))
    with pytest.raises(MeasureError, match="each sound once: b"):
        figures.plot_profile(axes_of(), values, named(["x", "x"], "ab"), order=["a", "a"])


def test_category_means_are_means_with_sem():
    values, category = named([1.0, 3.0, 10.0, 4.0], "abcd"), named(["x", "x", "y", "x"], "abcd")
    ax = figures.plot_category_means(axes_of(), values, category)
    assert [b.get_width() for b in ax.patches] == pytest.approx([10, 8 / 3])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["y", "x"]
    (lines,) = next(c for c in ax.containers if isinstance(c, ErrorbarContainer)).lines[2]
    half = np.std([1, 3, 4], ddof=1) / np.sqrt(3)
    assert lines.get_segments()[1][:, 0] == pytest.approx([8 / 3 - half, 8 / 3 + half])


def test_pair_has_one_order_and_component_grid_its_scores(small):
    result = next(r for r in small.results if r.measure == "component-encoding" and len(r.table) > 2)
    category = small.stimuli.table["category"]
    observed = result.arrays["observed"].sel(target="music").to_series()
    predicted = result.arrays["predictions"].sel(target="music", layer="chosen").to_series()
    order = observed.sort_values(ascending=False).index
    pair = figures.plot_profile_pair(observed, predicted, category, name="music", model="net")
    upper, lower = pair.axes[0], pair.axes[2]
    assert [b.get_height() for b in upper.patches] == list(observed[order])
    assert [b.get_height() for b in lower.patches] == list(predicted[order])
    rows = result.table[result.table["layer"] == "chosen"]
    predictions = result.arrays["predictions"].sel(layer="chosen")
    grid = figures.plot_component_profiles(result.arrays["observed"], predictions, category, rows)
    assert [ax.get_title() for ax in grid.axes[::2]] == ["speech", "music"]
    music = rows.set_index("target").loc["music"]
    assert grid.axes[2].get_title(loc="right") == f"r² {music.value:.2f} [{music.ci_low:.2f}, {music.ci_high:.2f}]"
    assert [b.get_height() for b in grid.axes[3].patches] == list(predicted[order])


# --- estimates -------------------------------------------------------------------------------------------------------


def estimates(spec, target="music", statistic="r2"):
    return result_table(
        _row("m", model, layer, target, statistic, value, 0.1)
        for model, values in spec.items()
        for layer, value in values.items()
    )


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith("_")}


def test_layer_curves_draw_value_and_interval_by_layer():
    spec = {
        "net": {"a": 0.2, "b": 0.5, "c": 0.4, "chosen": 0.45},
        "two": {"a": 0.1, "b": 0.3, "c": 0.2},
        "pca": {"p": 0.3},
    }
    table = pd.concat([estimates(spec), estimates({"net": {"a": 0.9, "b": 0.8, "c": 0.7}}, target="pitch")])
    figure = figures.plot_layer_curves(table)
    music, pitch = (ax for ax in figure.axes if ax.get_visible())
    assert music.get_ylim() == pitch.get_ylim()
    lines = lines_of(music)
    assert set(lines) == {"net", "two", "pca (one layer)"}
    assert list(lines["net"].get_xdata()) == [0, 1, 2]
    assert list(lines["net"].get_ydata()) == [0.2, 0.5, 0.4]
    assert list(lines["pca (one layer)"].get_ydata()) == [0.3, 0.3]
    assert list(lines_of(pitch)["net"].get_ydata()) == [0.9, 0.8, 0.7]
    band = music.collections[0].get_paths()[0].vertices
    assert {tuple(v) for v in band.round(6)} >= {(0, 0.1), (1, 0.4), (2, 0.3), (0, 0.3), (1, 0.6), (2, 0.5)}
    assert [t.get_text() for t in music.get_xticklabels()] == ["a", "b", "c", "chosen"]
    chosen = [line for line in music.get_lines() if list(line.get_ydata()) == [0.45]]
    assert chosen[0].get_xdata()[0] > 2
    assert {t.get_text() for t in figure.legends[0].get_texts()} == {"net", "two", "pca (one layer)"}


def test_layer_curves_refuse_two_values_for_one_layer():
    table = estimates({"net": {"a": 0.2, "b": 0.5}})
    with pytest.raises(MeasureError, match="two values for layer 'a' of 'net'"):
        figures.plot_layer_curves(pd.concat([table, table]))


def test_networks_of_different_layers_share_relative_depth():
    table = estimates(
        {"net": {"a": 0.2, "b": 0.5, "c": 0.4}, "deep": {"l1": 0.1, "l2": 0.2, "l3": 0.3, "l4": 0.2, "l5": 0.1}}
    )
    ax = figures.plot_rsa(axes_of(), table)
    assert list(lines_of(ax)["net"].get_xdata()) == [0, 0.5, 1]
    assert list(lines_of(ax)["deep"].get_xdata()) == [0, 0.25, 0.5, 0.75, 1]


def test_targets_show_the_chosen_layer_only():
    table = estimates({"net": {"a": 0.2, "b": 0.5, "chosen": 0.45}, "pca": {"p": 0.3}})
    ax = figures.plot_targets(axes_of(), table)
    dots = [line for line in ax.get_lines() if len(line.get_xdata()) == 1]
    assert [d.get_xdata()[0] for d in dots] == [0.45, 0.3]
    spans = [
        list(line.get_xdata())
        for line in ax.get_lines()
        if len(line.get_xdata()) == 2 and line.get_color() != "#59636f"
    ]
    assert np.array(spans) == pytest.approx(np.array([[0.35, 0.55], [0.2, 0.4]]))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["music"]


def ratio_rows(*rows):
    return result_table(
        _row("response-ratio", "", "", f"c{i}", "ratio", value, 0.2, note=note) for i, (value, note) in enumerate(rows)
    )


def test_ratios_mark_one_flags_and_what_lies_outside():
    ax = figures.plot_ratios(axes_of(), ratio_rows((2.0, ""), (1.2, "negative"), (90.0, "negative"), (np.nan, "")))
    dots = [line for line in ax.get_lines() if line.get_marker() == "D"]
    assert [d.get_xdata()[0] for d in dots[:3]] == [2.0, 1.2, 90.0]
    assert [d.get_markerfacecolor() == d.get_color() for d in dots[:3]] == [True, False, False]
    (arrow,) = (line for line in ax.get_lines() if line.get_marker() == ">")
    assert list(arrow.get_xdata()) == [ax.get_xlim()[1]]
    assert list(arrow.get_ydata()) == [2]
    assert any(list(line.get_xdata()) == [1, 1] for line in ax.get_lines())
    low, high = ax.get_xlim()
    assert low < 1
    assert 2.2 < high < 3
    assert [t.get_text() for t in ax.texts] == ["90", "not defined"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["brain · c0", "brain · c1", "brain · c2", "brain · c3"]


def test_ratio_axis_is_not_stretched_by_an_interval_that_says_nothing():
    table = ratio_rows((1.5, ""), (4.4, "3 responses are negative"), (2.8, "102 responses are negative"))
    table.loc[2, ["ci_low", "ci_high"]] = -9.7, 43.4
    low, high = figures.plot_ratios(axes_of(), table).get_xlim()
    assert 0 < low < 1
    assert 4.6 < high < 5


# --- matrices --------------------------------------------------------------------------------------------------------


def test_rdm_is_ordered_by_category_and_ranked():
    ids, category = list("abcd"), named(["Music", "EngSpeech", "Music", "EngSpeech"], "abcd")
    rng = np.random.default_rng(0)
    half = rng.uniform(size=(4, 4))
    matrix = half + half.T
    np.fill_diagonal(matrix, 0)
    rdm = xr.DataArray(matrix, dims=("stimulus", "stimulus_2"), coords={"stimulus": ids, "stimulus_2": ids})
    shuffled = rdm.sel(stimulus_2=list("dbca"))
    order = [1, 3, 0, 2]
    ax = figures.plot_rdm(axes_of(), shuffled, category)
    assert np.array_equal(ax.images[0].get_array(), matrix[np.ix_(order, order)])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["EngSpeech", "Music"]
    borders = [line for line in ax.get_lines() if line.get_color() == "white"]
    assert [list(line.get_ydata()) for line in borders[:1]] == [[1.5, 1.5]]
    ranked = figures.plot_rdm(axes_of(), shuffled, category, rank=True).images[0].get_array()
    ranked = np.asarray(ranked)
    pairs = matrix[np.ix_(order, order)][np.triu_indices(4, 1)]
    brute = [100 * sum(other <= pair for other in pairs) / 6 for pair in pairs]
    assert ranked[np.triu_indices(4, 1)] == pytest.approx(brute)
    assert np.array_equal(ranked, ranked.T)
    assert np.all(np.diag(ranked) == 0)


def test_rdm_panels_show_the_brain_first(small):
    result = next(r for r in small.results if r.measure == "rsa" and len(r.table) == 3)
    figure = figures.plot_rdms(result.arrays["brain_rdm"], result.arrays["rdms"], small.stimuli.table["category"])
    assert [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes[:4]] == ["brain", "conv1", "conv2", "fc"]


# --- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", ["response-ratio", "component-encoding", "rsa"])
def test_result_plot_draws_its_values(small, measure):
    result = next(r for r in small.results if r.measure == measure)
    ax = result.plot()
    drawn = {float(v) for line in ax.get_lines() for v in (*line.get_xdata(), *line.get_ydata())}
    assert set(result.table["value"]) <= drawn
    given = axes_of()
    assert figures.plot_result(result, ax=given) is given


def test_unknown_measure_has_no_figure():
    with pytest.raises(MeasureError, match="no figure for the measure 'my-lab'"):
        Result("my-lab", result_table([_row("my-lab", "m", "l", "t", "s", 1, 1)])).plot()


def test_figures_into_given_axes_do_not_import_pyplot():
    code = (
        "import sys, test_report as t; from matplotlib.figure import Figure;"
        "[r.plot(Figure().subplots()) for r in "
        "t.make_content({'Music': 4, 'Nature': 4}, {'m': ('a', 'b')}, ('music',)).results];"
        "assert 'matplotlib.figure' in sys.modules; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=Path(__file__).parent, env={**os.environ, "PYTHONPATH": "."}
    )


# --- words -----------------------------------------------------------------------------------------------------------


def encoding_result(spec, target="music"):
    table = estimates(spec, target).assign(measure="component-encoding")
    return Result("component-encoding", table)


def test_headline_holds_the_best_model_against_the_best_control():
    run = [
        encoding_result({"net": {"chosen": 0.65}}),
        encoding_result({"net@random:0": {"chosen": 0.2}}),
        encoding_result({"net@permuted:0": {"chosen": 0.3}}),
    ]
    control = next(t for t in headline(run).sentences if "control" in t)
    assert "net@permuted:0, reaches 0.30" in control
    assert not any("control" in t for t in headline(run[:1]).sentences)


def test_headline_quotes_the_chosen_layer_and_the_baseline():
    run = [encoding_result({"net": {"a": 0.2, "b": 0.7, "chosen": 0.65}}), encoding_result({"logmel": {"p": 0.31}})]
    ratio = Result(
        "response-ratio",
        ratio_rows((4.4, "")).assign(target="music", effect_size=0.955),
        {},
        {"categories": ["Music", "Song"]},
    )
    answer = headline([*run, ratio])
    assert answer.sentences[0] == (
        "Of 2 models, net predicts the music component best: r² = 0.65 (0.55 to 0.75) on held-out sounds with the "
        "layer chosen inside the training sounds (b is its highest layer on the test sounds), more than the acoustic "
        "baseline logmel: 0.31 (0.21 to 0.41)."
    )
    assert answer.sentences[1] == (
        "The brain’s music component responds 4.40 times as strongly to Music and Song as to the other sounds "
        "(4.20 to 4.60); a sound of Music and Song draws the larger response in 95.5% of pairs "
        "(common-language effect size 0.955)."
    )


def test_headline_does_not_flatter():
    behind = headline([encoding_result({"net": {"a": 0.3}}), encoding_result({"logmel": {"p": 0.31}})]).sentences[0]
    assert "best" not in behind
    assert "no more than the acoustic baseline logmel: 0.31 (0.21 to 0.41); the intervals overlap." in behind
    alone = encoding_result({"net": {"a": 0.3}})
    alone.table[["ci_low", "ci_high"]] = np.nan
    assert "r² = 0.30 (no interval)" in headline([alone]).sentences[0]
    assert "no acoustic baseline was run" in headline([alone]).sentences[0]
    assert headline([encoding_result({"mine": {"p": 0.31}, "net": {"a": 0.3}})], ["mine"]).baseline["model"] == "mine"


def test_headline_without_music_takes_the_highest_ratio_and_without_either_what_there_is():
    ratios = Result("response-ratio", ratio_rows((1.5, ""), (2.5, "flagged"), (0.4, "")))
    answer = headline([ratios, encoding_result({"net": {"a": 0.3}}, target="c1")])
    assert answer.target == "c1"
    assert answer.sentences[1].endswith("Beware: flagged.")
    rsa = Result("rsa", estimates({"net": {"a": 0.1, "b": 0.3}}, statistic="spearman"))
    assert (
        "b of net has the RDM most like the brain’s: Spearman correlation 0.30 (0.20 to 0.40)"
        in headline([rsa]).sentences[0]
    )
    other = Result("my-lab", estimates({"net": {"a": 0.1}}))
    assert headline([other]).sentences == ("This run holds 1 estimate of my-lab.",)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.07142, "0.0714"),
        (165, "165"),
        (165000.0, "165000"),
        (2.5e-8, "2.5e-08"),
        (-1.5, "−1.5"),
        (np.nan, "–"),
        (-0.0, "0"),
    ],
)
def test_numbers_are_written_plainly(value, text):
    assert words.number(value) == text


def test_warnings_that_differ_in_numbers_alone_are_said_once(small):
    few = small.results[0].table.head(1).assign(note="", n=100)
    warned = [Result("lab", few, warnings=[f"in {n}% of fits", "careful"]) for n in (41, 37, 52)]
    found = words.cautions(warned, small.stimuli)
    assert "lab: in 41% of fits (and 2 more like this, with other numbers)" in found
    assert found.count("lab: careful") == 1
    assert not any("37%" in text for text in found)


def test_cautions_name_warnings_notes_and_small_n(small):
    few = estimates({"net": {"a": 0.1, "b": 0.2}}).assign(n=5, note=["", "odd"])
    found = words.cautions([Result("my-lab", few, warnings=["careful"])], small.stimuli)
    assert found == [
        "my-lab: careful",
        "my-lab: odd (net b music)",
        "my-lab: estimates that rest on fewer than 10 stimuli: 2",
        "categories of fewer than 10 sounds, whose means are uncertain: "
        + words.join(f"{c} ({SMALL[c]})" for c in small.stimuli.categories),
    ]


def test_methods_hold_every_setting():
    first = Result("m", estimates({}), settings={"n_splits": 10, "level": 0.95, "test": "rank-sum", "seed": 0})
    second = Result("m", estimates({}), settings={"n_splits": 20, "level": 0.95, "test": "rank-sum", "seed": 0})
    assert words.methods([first, second]) == [
        ("m", "10 or 20 splits; level of the intervals 0.95; test: rank-sum; seed: 0.")
    ]


# --- the page --------------------------------------------------------------------------------------------------------


def test_page_is_balanced_and_its_ids_are_unique_and_found(html):
    page = Reader(html)
    assert page.open == []
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    used = re.findall(r'(?:href="|url\()#([^")]+)', html) + [
        a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a
    ]
    assert len(used) > 50
    assert set(used) <= set(ids)


def test_page_loads_nothing(html):
    page = Reader(html)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base"), tag
        for key in ("src", "href", "xlink:href", "srcset", "data", "action"):
            value = attributes.get(key) or ""
            assert not re.match(r"(?i)\s*(https?:)?//", value), (tag, value)
    assert not re.search(r"(?i)@import|url\((?!#)", html)


def test_tables_of_the_page_equal_the_results(small, html):
    page = Reader(html)
    measures = list(dict.fromkeys(r.measure for r in small.results))
    # The first table is that of components by models.
    for measure, rows in zip(measures, page.tables[1:], strict=True):
        table = pd.concat([r.table for r in small.results if r.measure == measure], ignore_index=True)
        head = [text for _, text in rows[0]]
        assert len(rows) - 1 == len(table)
        assert {"model", "target", "value", "ci_low", "ci_high"} - {"target"} <= set(head)
        for i, row in enumerate(rows[1:]):
            for column, (key, text) in zip(head, row, strict=True):
                expected = table.loc[i, column]
                if isinstance(expected, str):
                    assert key == expected
                else:
                    assert float(key) == float(expected)
                    assert float(text.replace("−", "-")) == pytest.approx(float(expected), rel=5e-3)


def test_first_screen_holds_the_numbers_of_the_tables(small, html):
    shown = html[: html.index("</figure>")]
    encoding = pd.concat([r.table for r in small.results if r.measure == "component-encoding"])
    best = encoding[(encoding["target"] == "music") & (encoding["layer"] == "chosen")].iloc[0]
    assert f"r² = {best.value:.2f} ({best.ci_low:.2f} to {best.ci_high:.2f})" in shown
    ratio = small.results[0].table.set_index("target").loc["music"]
    assert f"responds {ratio.value:.2f} times" in shown
    assert f"{ratio.effect_size:.2f}" in shown
    for sentence in (small.title, small.question):
        assert sentence in shown


def test_captions_quote_each_component_by_its_own_row(small, html):
    page = Reader(html)
    for result in small.results:
        if result.measure == "component-encoding":
            rows = words.records(headline_rows(result.table))
            assert "; ".join(f"{r['target']} {words.score(r)}" for r in rows) + "." in page.visible


def test_names_are_escaped_everywhere(written, html):
    assert "<script>alert" not in html
    assert "<b>net" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; (EngSpeech)" in html
    page = Reader(html)
    assert "<b>net</b> & $x_1$" in page.visible
    assert [a.get("type") for t, a in page.tags if t == "script" and "type" not in a] == [None]
    for svg in (written.parent / "figures").glob("*.svg"):
        assert "script" not in {e.tag.rpartition("}")[2] for e in ET.parse(svg).iter()}


def test_figures_have_a_description_with_numbers_and_tables_have_scopes(html):
    page = Reader(html)
    drawings = [a for t, a in page.tags if t == "svg"]
    captions = [t for t, _ in page.tags if t == "figcaption"]
    assert len(drawings) == len(captions) > 5
    for attributes in drawings:
        assert attributes["role"] == "img"
        assert re.search(r"\d\.\d\d", attributes["aria-label"])
    assert all(a.get("scope") in ("col", "row") for t, a in page.tags if t == "th")
    assert page.tags[0][1]["lang"] == "en"
    skip = next(a for t, a in page.tags if t == "a")
    assert skip["href"] == "#main"


def test_every_panel_is_there_without_javascript(html):
    page = Reader(html)
    panels = [a for t, a in page.tags if a.get("class") == "panel"]
    assert len(panels) == 6  # profiles, maps and matrices of two models
    assert not any("hidden" in a for a in panels)


def contrast(first, second):
    """WCAG 2.2 contrast ratio."""
    light = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (first, second))
    return light[1] / light[0]


def test_text_contrast_is_aa_in_both_themes(html):
    themes = re.findall(r":root \{(.*?)\}", html, flags=re.DOTALL)
    assert len(themes) == 3
    for theme in themes:
        colour = {
            k: v if len(v) == 7 else "#" + "".join(2 * c for c in v[1:])
            for k, v in re.findall(r"--([\w-]+): (#\w+)", theme)
        }
        for text in ("ink", "muted", "accent"):
            assert contrast(colour[text], colour["paper"]) >= 4.5
            assert contrast(colour[text], colour["soft"]) >= 4.5
        assert contrast(colour["ink"], colour["caution"]) >= 4.5


def test_figures_follow_the_theme(html):
    drawings = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert "var(--ink)" in drawings
    for colour in ("#1f2328", "#59636f", "#fefefe", "#ffffff"):
        assert f"fill: {colour}" not in drawings.replace("stroke: #ffffff", "")


def test_figures_are_written_with_their_numbers(small, written, html):
    folder = written.parent / "figures"
    names = {p.stem for p in folder.iterdir()}
    assert "main-music" in names
    for name in names:
        assert {p.suffix for p in folder.glob(f"{name}.*")} == {".svg", ".pdf", ".csv"}
        assert f'href="figures/{name}.pdf"' in html
    svg = (folder / "encoding-by-layer.svg").read_text(encoding="utf-8")
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert ">held-out r²</text>" in svg
    data = pd.read_csv(folder / "main-music.csv")
    result = next(r for r in small.results if r.measure == "component-encoding" and len(r.table) > 2)
    observed = result.arrays["observed"].sel(target="music").to_series().sort_values(ascending=False)
    assert data["measured"].tolist() == pytest.approx(observed.tolist())
    assert data["stimulus_id"].tolist() == observed.index.tolist()
    predicted = result.arrays["predictions"].sel(target="music", layer="chosen").to_series()[observed.index]
    assert data["predicted"].tolist() == pytest.approx(predicted.tolist())
    pairs = pd.read_csv(next(folder.glob("rdms-*net*.csv")))
    rdm = next(r for r in small.results if r.measure == "rsa" and len(r.table) == 3).arrays["rdms"].sel(rdm="fc")
    at = [float(rdm.sel(stimulus=a, stimulus_2=b)) for a, b in zip(pairs["stimulus"], pairs["stimulus_2"], strict=True)]
    assert pairs["fc"].tolist() == pytest.approx(at)
    assert len(pairs) == 20 * 19 / 2


def test_same_content_gives_the_same_bytes(small, written, tmp_path):
    again = write_report(small, tmp_path / "report.html", figures_folder=tmp_path / "figures")
    assert again.read_bytes() == written.read_bytes()
    for path in (tmp_path / "figures").iterdir():
        assert path.read_bytes() == (written.parent / "figures" / path.name).read_bytes(), path.name


def test_unknown_measures_and_bare_tables_are_shown(small, tmp_path):
    odd = result_table([_row("my-lab", "net", "fc", "roi", "d-prime", 1.2345, 0.1, note="new") | {"shape": [1, 2]}])
    bare = encoding_result({"net": {"a": 0.2, "b": np.nan}})
    content = replace(
        small, results=[Result("my-lab", odd), bare], provenance={"command": ["brainalign", "run", "my study.toml"]}
    )
    page = Reader(write_report(content, tmp_path / "page.html", figures_folder=None).read_text(encoding="utf-8"))
    assert page.open == []
    assert "my-lab" in page.visible
    assert "1.23" in page.visible
    assert "[1, 2]" in page.visible
    assert "brainalign run 'my study.toml'" in page.visible
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_ranked_rows_are_cut_by_rank_and_stand_layer_by_layer(small, tmp_path, monkeypatch):
    monkeypatch.setattr("brainalign.report.page.MAX_ROWS", 4)
    ranks = {"deep": [3, 1, 2], "flat": [2, 3, 1]}
    rows = [
        _row("my-lab", "net", layer, f"{layer}{rank}", "t", -float(rank), 0.1, note="") | {"rank": rank}
        for layer, own in ranks.items()
        for rank in own
    ]
    content = replace(small, results=[Result("my-lab", result_table(rows))])
    page = Reader(write_report(content, tmp_path / "page.html", figures_folder=None).read_text(encoding="utf-8"))
    head, *body = page.tables[0]
    names = [text for _, text in head]
    assert [row[names.index("target")][1] for row in body] == ["deep1", "deep2", "flat1", "flat2"]
    assert "note" not in names
    assert "The first 4 of 6 estimates, by rank in each layer" in page.visible


def test_notes_stand_last(small, tmp_path):
    odd = result_table([_row("my-lab", "net", "fc", "roi", "d", 1.2, 0.1, note="new") | {"shape": 3}])
    content = replace(small, results=[Result("my-lab", odd)])
    page = Reader(write_report(content, tmp_path / "page.html", figures_folder=None).read_text(encoding="utf-8"))
    assert [text for _, text in page.tables[0][0]][-2:] == ["shape", "note"]


def test_what_tells_rows_apart_stands_before_the_numbers(small, tmp_path):
    rows = [
        _row("my-lab", "net", "fc", "roi", "d", 1.0 + i, 0.1, note="new") | own
        for i, own in enumerate((
            {"kind": "decoded", "category": "", "chance": 0.25, "null": "shift", "ok": True},
            {"kind": "decoded", "category": "jazz", "chance": 0.5, "null": "shift", "ok": False},
            {"kind": "retrieved", "chance": 0.5, "null": "shift", "ok": True},
        ))
    ]  # fmt: skip
    content = replace(small, results=[Result("my-lab", result_table(rows))])
    page = Reader(write_report(content, tmp_path / "page.html", figures_folder=None).read_text(encoding="utf-8"))
    head, *body = page.tables[0]
    names = [text for _, text in head]
    about = ["model", "layer", "target", "kind", "category"]
    assert names[: len(about) + 1] == [*about, "value"]
    assert names[-3:] == ["chance", "ok", "note"]
    assert "null shift" in page.visible
    assert [[text for _, text in row][3:6] for row in body] == [
        ["decoded", "", "1.00"], ["decoded", "jazz", "2.00"], ["retrieved", "", "3.00"]]  # fmt: skip


def test_failed_report_leaves_the_old_page(small, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    other = small.stimuli.select(small.stimuli.ids[:5])
    with pytest.raises(MeasureError, match="no category for the sounds"):
        write_report(replace(small, stimuli=other), path, figures_folder=None)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_page_of_165_sounds_three_models_and_eight_layers_is_small(tmp_path):
    models = {name: tuple(f"layer{i}" for i in range(8)) for name in ("net", "deep", "wide")}
    path = write_report(make_content(models=models), tmp_path / "report.html", figures_folder=None)
    assert path.stat().st_size < 6e6
    assert Reader(path.read_text(encoding="utf-8")).open == []


def test_hundreds_of_voxels_are_cut_with_a_word(small, tmp_path, monkeypatch):
    monkeypatch.setattr("brainalign.report.page.MAX_ROWS", 25)
    table = pd.concat(
        estimates({"net": {"a": i / 100, "b": i / 200, "chosen": i / 50}}, target=f"voxel {i}") for i in range(40)
    ).assign(measure="component-encoding")
    notes = table.assign(measure="my-lab", note=[f"note {i}" for i in range(120)])
    content = replace(small, results=[Result("component-encoding", table), Result("my-lab", notes)])
    page = Reader(write_report(content, tmp_path / "page.html", figures_folder=None).read_text(encoding="utf-8"))
    assert "Shown are the 12 of 40 targets that a model predicts best" in page.visible
    drawn = set(re.findall(r"voxel \d+", page.visible.rpartition("Tables")[0]))
    assert {f"voxel {i}" for i in range(28, 40)} <= drawn
    assert "voxel 20" not in drawn
    assert "The first 25 of 120 estimates" in page.visible
    assert "Median held-out r² over 40 targets, with quartiles: net 0.39 (0.20 to 0.58)." in page.visible
    assert "112 further notes" in page.visible


def test_profile_of_many_sounds_is_an_image():
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(900)]
    values, category = named(rng.normal(size=900), ids), named(["Music", "Nature", "Song"] * 300, ids)
    figure = Figure(figsize=(4, 2))
    figures.plot_profile(figure.subplots(), values, category)
    svg = Drawing(figure).standalone()
    assert svg.count("<image") == 1
    assert svg.count("<path") < 100


def test_csv_text_cannot_be_a_formula():
    data = pd.DataFrame({"name": ["=1+1", "+a", "-b", "@c", "\td", "plain", None], "value": [-1.5, 2, 3, 4, 5, 6, 7]})
    assert safe_csv(data.rename(columns={"name": "=name"})).splitlines() == [
        "'=name,value", "'=1+1,-1.5", "'+a,2.0", "'-b,3.0", "'@c,4.0", "'\td,5.0", "plain,6.0", ",7.0",
    ]  # fmt: skip


def test_template_is_found_in_the_package():
    text = files("brainalign.report").joinpath("template.html.j2").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")


def test_every_measure_is_documented_with_options_that_it_has():
    text = (Path(__file__).parents[1] / "docs" / "measures.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert set(sections) == set(MEASURES.names())
    for name, section in sections.items():
        (recipe,) = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
        (options,) = tomllib.loads(recipe)["measures"]
        assert options.pop("name") == name
        function = MEASURES.get(name)
        assert set(options) - {"models"} <= set(inspect.signature(function).parameters)
        assert f"{function.__name__}(" in section
