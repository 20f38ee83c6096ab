"""The page says what its numbers leave out: splits, ceilings, many tests, layers picked on the test sounds."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure
from test_report import Reader, estimates, make_content, ratio_rows

import brainalign.report.page as page_module
from brainalign.brain.data import BrainData
from brainalign.measures.result import Result
from brainalign.report import figures, panels, words
from brainalign.report.page import write_report
from brainalign.report.profiles import r2_of_bars
from brainalign.report.response_profiles import plot_category_grid
from brainalign.report.svg import safe_csv
from brainalign.responses import make_responses

SOUNDS = {"EngSpeech": 5, "Nature": 3, "Song": 4, "Music": 8}
MODELS = {"logmel": ("pca",), "net": ("conv1", "conv2", "fc")}


@pytest.fixture(scope="module")
def content():
    return make_content(SOUNDS, MODELS, ("speech", "music"))


@pytest.fixture(scope="module")
def run(content, tmp_path_factory):
    """A page, and what its progress bar was told."""
    told: list[object] = []

    class Bar:
        def __enter__(self):
            return self

        def __exit__(self, *why):
            told.append("done")

        def update(self, n=1):
            told.append(n)

    def bar(what, total, *, unit, show):
        told.append((what, unit, show))
        return Bar()

    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_module, "progress_bar", bar)
        path = write_report(content, folder / "report.html", figures_folder=folder / "figures", progress=True)
    return path, told


def test_every_figure_is_counted(run):
    path, told = run
    drawn = len(list((path.parent / "figures").glob("*.svg")))
    assert told == [("figures", "figure", True), *[1] * drawn, "done"]
    assert drawn > 5


def test_page_is_silent_unless_asked(content, tmp_path, capsys):
    few = replace(content, results=content.results[:1], audio=False)
    write_report(few, tmp_path / "report.html", figures_folder=None)
    assert capsys.readouterr().err == ""


def with_settings(kind, table=None, **settings):
    table = estimates({"net": {"a": 0.2, "b": 0.3}}) if table is None else table
    return Result(kind, table.assign(measure=kind), settings=settings)


def test_intervals_that_hold_the_fits_fixed_are_named(content):
    fixed = [
        with_settings("component-encoding", interval="BCa bootstrap over test stimuli, fits held fixed"),
        with_settings("voxel-encoding", interval="hierarchical bootstrap, fits and reliabilities held fixed"),
    ]
    others = [
        with_settings("rsa", interval="BCa bootstrap over stimuli, by pair weights"),
        with_settings("variance-partition", interval="jackknife, fits repeated with penalties held fixed, t limits"),
    ]
    said = words.cautions([*fixed, *others], content.stimuli)[0]
    assert said.startswith("component-encoding and voxel-encoding: the intervals hold the fits and the splits fixed; ")
    assert "another draw of the splits into training and test sounds would move these numbers" in said
    assert not any("splits" in text for text in words.cautions(others, content.stimuli))


def ceilings_of(results, content, n_repetitions):
    shape = (n_repetitions, 4, 2) if n_repetitions else (4, 2)
    responses = make_responses(np.arange(np.prod(shape), dtype=float).reshape(shape), list("abcd"), ["u", "v"])
    brain = BrainData("lab", responses, "1", "Cited.", "CC0")
    return [text for text in words.cautions(results, content.stimuli, [brain]) if "noise ceiling" in text]


def test_a_missing_ceiling_is_said_and_a_computed_one_is_not(content):
    table = estimates({"net": {"a": 0.2}}).assign(brain="lab")
    bare = with_settings("voxel-encoding", table, correction="none")
    assert ceilings_of([bare], content, 3) == [
        "voxel-encoding: no noise ceiling, so how high a perfect model would score is not known: lab has 3 "
        "repetitions, but neither the measure reliability nor voxel-encoding with a correction was run"
    ]
    assert ceilings_of([bare], content, 0)[0].endswith("lab holds no repetitions to compute one from")
    assert ceilings_of([with_settings("voxel-encoding", table, correction="reliability")], content, 3) == []
    assert ceilings_of([bare, with_settings("reliability", table)], content, 3) == []
    compared = with_settings("compare-models", table.assign(ceiling_lower=0.4))
    assert ceilings_of([compared], content, 3) == []
    assert len(ceilings_of([with_settings("compare-models", table.assign(ceiling_lower=np.nan))], content, 3)) == 1
    assert ceilings_of([with_settings("response-ratio", table)], content, 3) == []
    assert ceilings_of([with_settings("rsa", table.assign(brain="another"))], content, 3) == []


def test_tables_say_what_p_is():
    table = estimates({"net": {"a": 0.2, "b": 0.3}})
    floor = with_settings("component-encoding", table.assign(p=[1 / 1001, 0.2]), n_permutations=1000)
    uncorrected = "p values are not corrected for the number of rows."
    smallest = "The smallest p that 1,000 permutations can give is 1 / (1,000 + 1) = 0.000999."
    assert words.about_p([floor]) == [uncorrected, smallest]
    above = with_settings("component-encoding", table.assign(p=[0.01, 0.2]), n_permutations=1000)
    assert words.about_p([above]) == [uncorrected]
    adjusted = with_settings("compare-models", table.assign(p=[0.01, 0.2], p_adjusted=[0.02, 0.2]))
    assert words.about_p([adjusted]) == ["p values are not corrected for the number of rows; p_adjusted is adjusted."]
    assert words.about_p([with_settings("my-lab", table.assign(p=[0.01, 0.2]))]) == []
    assert words.about_p([with_settings("rsa", table.assign(p=np.nan))]) == []


def test_caption_of_a_table_holds_what_p_is(run):
    assert Reader(run[0].read_text(encoding="utf-8")).visible.count("p values are not corrected for the number") == 3


def test_category_means_of_a_component_have_one_scale():
    ids, kinds = ["a", "b", "c", "d"], ["Music", "Music", "Nature", "Nature"]
    along = {"stimulus": ids, "target": ["music", "speech"]}
    brain = xr.DataArray([[9.0, 1], [7, 1], [1, 2], [1, 2]], dims=("stimulus", "target"), coords=along)
    figure = plot_category_grid({"measured": brain, "net": 0.01 * brain}, pd.Series(kinds, index=ids))
    measured, other, theirs, their_other = figure.axes
    assert measured.get_ylim() == theirs.get_ylim()
    assert measured.get_ylim()[1] >= 8 > other.get_ylim()[1] == their_other.get_ylim()[1]
    assert [bar.get_height() for bar in theirs.patches] == pytest.approx([0.08, 0.01])


def test_caption_of_small_means_keeps_their_digits(content, tmp_path):
    small = [
        replace(r, arrays={k: 0.001 * v for k, v in r.arrays.items()}) if r.measure == "component-encoding" else r
        for r in content.results
    ]
    gallery = panels.Gallery(replace(content, results=small), tmp_path / "p.html", None, {})
    (shown,) = panels.means(gallery)
    observed = next(r for r in small if r.measure == "component-encoding").arrays["observed"].sel(target="music")
    top = observed.to_series().groupby(observed["category"].values).mean()
    assert f"music {top.idxmax()} {top.max():#.4g}" in shown.caption
    assert "all rows one scale" in shown.caption


def test_ratios_name_the_target_categories(content, run):
    visible = Reader(run[0].read_text(encoding="utf-8")).visible
    assert "Response ratio (mean response to Music and Song / mean response to the other sounds)" in visible
    axes = Figure().subplots()
    figures.plot_ratios(axes, ratio_rows((1.5, "")), targets="Music and Song")
    assert axes.get_xlabel() == "mean response to Music and Song / mean response to the rest"


def test_main_figure_tells_the_score_from_the_bars(content, run):
    result = next(r for r in content.results if "net" in set(r.table["model"]) and r.measure == "component-encoding")
    x, y = (result.arrays[k].sel(target="music") for k in ("observed", "predictions"))
    r = np.corrcoef(x.values, y.sel(layer="chosen").values)[0, 1]
    visible = Reader(run[0].read_text(encoding="utf-8")).visible
    assert "This score is the median over splits; a bar is the mean of the held-out predictions of its sound" in visible
    assert f"the r² of these bars is {words.number(r**2, 2)}." in visible


def test_r2_of_bars():
    x = pd.Series([1.0, 2, 3, 5], index=list("abcd"))
    y = pd.Series([2.0, 1, np.nan, 9, 4], index=list("dabcx"))
    both = [[1, 3, 5], [1, 9, 2]]
    assert r2_of_bars(x, y) == pytest.approx(np.corrcoef(*both)[0, 1] ** 2)
    assert r2_of_bars(x, -x) == 0
    assert np.isnan(r2_of_bars(x, 0 * x))


def test_highest_layers_are_called_optimistic(run):
    visible = Reader(run[0].read_text(encoding="utf-8")).visible
    assert "Highest layer of each component, picked on the test sounds and so optimistic: speech" in visible
    assert "Highest layer of each model, picked on the same sounds and so optimistic: logmel" in visible
    assert "Highest layer of each model: " not in visible


def test_p_that_is_too_small_for_a_number_is_not_0():
    row = {"value": 0.9, "ci_low": 0.8, "ci_high": 1.0, "p": 0.0}
    assert words.estimate(row) == "0.90 (0.80 to 1.00; p < 1e-300)"
    assert words.estimate({**row, "p": 2e-300}) == "0.90 (0.80 to 1.00; p = 2e-300)"
    assert page_module._cell("p", 0.0, True)["text"] == page_module._cell("p_adjusted", 0.0, True)["text"] == "< 1e-300"
    assert page_module._cell("value", 0.0, True)["text"] != "< 1e-300"
    assert page_module._cell("p", 0.004, True)["text"] == "0.004"


def test_csv_keeps_a_carriage_return_inside_its_cell():
    for text in ("one\rtwo", "one\r\ntwo", "\r=1+1", "one\ntwo"):
        data = pd.DataFrame({"name": [text, "plain"], "value": [1.5, 2.5]})
        back = pd.read_csv(io.StringIO(safe_csv(data), newline=""))
        assert back["name"].tolist() == [f"'{text}" if text.startswith("\r") else text, "plain"]
        assert back["value"].tolist() == [1.5, 2.5]
    assert safe_csv(pd.DataFrame({"a\rb": [1]})) == '"a\rb"\n1\n'
