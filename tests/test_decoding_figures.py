"""Figures of decoding and reliability: what is drawn and written is what the tables say."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from brainalign.brain import BrainData
from brainalign.measures.decoding import decoding
from brainalign.measures.reliability import reliability
from brainalign.report import figures
from brainalign.report.answers import answers
from brainalign.report.captions import caption_together
from brainalign.report.decoding_figures import decoded_layers, decoding_answer, plot_decoding, plot_reliability
from brainalign.report.page import ReportContent, write_report
from brainalign.responses import make_responses
from brainalign.stimuli import load_stimuli

GENRES = ("blues", "jazz", "rock")
SUBJECTS = ("sub-1", "sub-2", "sub-3")


def study(signal, source, repetitions=None):
    """Return an embedding of two layers, and voxels in two regions that follow the second layer."""
    rng = np.random.default_rng(3)
    n = 42
    ids = [f"clip-{i:02d}" for i in range(n)]
    split = ["train" if i < 24 else "test" for i in range(n)]
    embedding = rng.standard_normal((n, 10))
    model = make_responses(
        embedding,
        ids,
        stimulus_info={"split": split, "category": [GENRES[i % 3] for i in range(n)]},
        unit_info={"layer": ["early"] * 5 + ["late"] * 5},
        attrs={"source": "net"},
    )
    blocks = [signal * embedding[:, 5:] @ rng.standard_normal((5, 12)) for _ in SUBJECTS]
    shape = (n, 36) if repetitions is None else (repetitions, n, 36)
    info = {"subject": np.repeat(SUBJECTS, 12), "region": np.tile(["A"] * 6 + ["B"] * 6, 3)}
    brain = make_responses(
        np.hstack(blocks) + rng.standard_normal(shape), ids, unit_info=info, attrs={"source": source}
    )
    return model, brain


@pytest.fixture(scope="module")
def both():
    """Decoding of listeners, and of listeners who heard nothing."""
    few = {"n_regions": 1, "n_folds": 3, "n_permutations": 99, "n_bootstrap": 50}
    return [decoding(*study(signal, name), **few) for signal, name in ((2.0, "listeners"), (0.0, "deaf"))]


@pytest.fixture(scope="module")
def repeated():
    return reliability(study(1.0, "listeners", repetitions=3)[1], n_bootstrap=50)


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def drawn(ax):
    """Return, for each series of points, their heights and the lower and upper ends of their intervals."""
    heights = [np.asarray(line.get_ydata(), float) for line in ax.lines if line.get_marker() not in ("None", "")]
    bars = [np.array(c.get_segments())[:, :, 1] for c in ax.collections]
    upright = [segments for segments in bars if (segments[:, 0] != segments[:, 1]).any()]
    return [(y, *segments.T) for y, segments in zip(heights, upright, strict=True)]


def expected(table):
    return table[["value", "ci_low", "ci_high"]].to_numpy(float).T


def rows(result, target, layer, category=""):
    t = result.table
    keep = (t["statistic"] == "identification_accuracy") & (t["evaluated"] == "test") & (t["layer"] == layer)
    keep &= t["category"] == category
    return t[keep & ((t["target"] == target) if target else (t["target"] != "all subjects"))]


def test_subjects_and_their_mean_with_intervals(ax, both):
    figures.plot_result(both[0], ax)
    series = drawn(ax)
    assert len(series) == 4
    for k, layer in enumerate(["early", "late"]):
        np.testing.assert_allclose(series[2 * k], expected(rows(both[0], "", layer)))
        np.testing.assert_allclose(series[2 * k + 1], expected(rows(both[0], "all subjects", layer)))
    assert [t.get_text() for t in ax.get_xticklabels()] == ["early", "late"]
    dotted = [line for line in ax.lines if line.get_linestyle() == ":"]
    assert [line.get_ydata()[0] for line in dotted] == [0.5]


def test_categories_of_the_layer_that_training_clips_chose(ax, both):
    t = both[0].table
    left_out = t[(t["evaluated"] == "training, left out") & (t["target"] == "all subjects")]
    left_out = left_out[left_out["statistic"] == "identification_accuracy"].set_index("layer")["value"]
    assert left_out["late"] > left_out["early"]
    assert decoded_layers(t) == {("listeners", "net"): "late"}
    plot_decoding(ax, t)
    beside = ax.figure.axes[1]
    ((centre, _, _),) = drawn(beside)
    by_genre = {g: rows(both[0], "all subjects", "late", g)["value"].item() for g in GENRES}
    shown = dict(zip([x.get_text() for x in beside.get_xticklabels()], centre, strict=True))
    assert shown == pytest.approx(by_genre)


def test_two_brains_stand_side_by_side(ax, both):
    table = pd.concat([r.table for r in both], ignore_index=True)
    plot_decoding(ax, table, {})
    assert [t.get_text() for t in ax.figure.axes[1].get_legend().get_texts()] == ["listeners", "deaf"]
    assert [t.get_text() for t in ax.texts] == ["listeners", "deaf"]
    means = [centre[0] for centre, _, _ in drawn(ax) if len(centre) == 1]
    measured = [rows(r, "all subjects", layer)["value"].item() for r in both for layer in ("early", "late")]
    assert means == pytest.approx(measured)


def test_the_null_is_drawn_where_it_is_known(ax, both):
    def level_lines(ax):
        segments = [np.array(s) for c in ax.collections for s in c.get_segments()]
        return [float(s[0, 1]) for s in segments if s[0, 1] == s[1, 1]]

    unknown = both[0].table.assign(null_p95=np.nan)
    plot_decoding(ax, unknown)
    assert level_lines(ax) == []
    assert "percentile of the null" not in caption_together("decoding", unknown)
    known = both[0].table.assign(null_p95=0.61)
    ax = Figure().subplots()
    plot_decoding(ax, known)
    assert level_lines(ax) == [0.61, 0.61]
    assert "percentile of the null" in caption_together("decoding", known)


def test_the_answer_quotes_the_rows(both):
    own, other = (rows(r, "all subjects", "late").iloc[0] for r in both)
    (sentence,) = answers(both[:1])
    ends = f"{100 * own['ci_low']:.1f} to {100 * own['ci_high']:.1f}%; p = 0.01"
    assert sentence == (
        f"From listeners, the clip heard was told from another of 18 in {100 * own['value']:.1f}% ({ends}) of pairs by "
        "its predicted embedding, that of net in late (the best layer on left-out training clips), mean over "
        "3 subjects; "
        "chance 50%."
    )
    assert own["value"] > 0.9
    (sentence,) = answers(both)
    layer = decoded_layers(both[1].table)["deaf", "net"]
    other = rows(both[1], "all subjects", layer).iloc[0]
    assert f"chance 50%. Beside it: deaf {layer} {100 * other['value']:.1f}% (" in sentence


def test_the_best_model_on_left_out_clips_leads_and_all_its_brains_are_named(ax, both):
    """Another model stands first in the table, with scores below; each has one layer."""
    tables = [r.table[r.table["layer"] == "late"] for r in both]
    worse = [t.assign(model="dull", value=t["value"] - 0.3) for t in tables]
    table = pd.concat([*worse, *tables], ignore_index=True)
    text = decoding_answer(table, [])
    assert text.startswith("From listeners, ")
    assert "by its predicted embedding, that of net (the best model on left-out training clips)" in text
    beside = text.split("Beside it: ")[1]
    deaf = rows(both[1], "all subjects", "late")["value"].item()
    assert beside.startswith(f"deaf net {100 * deaf:.1f}% (")
    assert "late" not in text
    plot_decoding(ax, table)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["dull", "net"] * 2
    drawn_there = [line for line in ax.figure.axes[1].lines if line.get_marker() not in ("None", "")]
    assert len(drawn_there) == 2


def test_reliability(ax, repeated):
    figures.plot_result(repeated, ax)
    t = repeated.table[repeated.table["statistic"] == "split-half"]
    targets = ["all units", "A", "B"]
    assert [x.get_text() for x in ax.get_xticklabels()] == targets
    for series, target in zip(drawn(ax), targets, strict=True):
        np.testing.assert_allclose(series, expected(t[t["target"] == target]))
    text = caption_together("reliability", repeated.table)
    means = t.groupby("target")["value"].mean()
    assert f"B {means['B']:.2f} (mean over 3 subjects, " in text
    (sentence,) = answers([repeated])
    assert sentence.startswith("The split-half reliability of the units of listeners is ")
    assert f"; the most reliable of 2 regions is {means.drop('all units').idxmax()}, " in sentence


def test_regions_beyond_a_dozen_are_cut_with_a_word(ax, repeated):
    one = repeated.table[repeated.table["statistic"] == "split-half"].iloc[:1]
    many = pd.concat([one.assign(target=f"r{i:02d}", value=i / 100) for i in range(20)], ignore_index=True)
    plot_reliability(ax, many)
    assert [x.get_text() for x in ax.get_xticklabels()] == [f"r{i:02d}" for i in range(8, 20)]
    assert "Shown are the 12 of 20 regions of highest mean. " in caption_together("reliability", many)


def test_the_page_draws_decoding_of_all_brains_and_reliability_of_the_first(both, repeated, tmp_path):
    brains = [
        BrainData(name, study(signal, name)[1], "1", "none", "CC0") for signal, name in ((2, "listeners"), (0, "deaf"))
    ]
    other = reliability(study(0.0, "deaf", repetitions=3)[1], n_bootstrap=0)
    content = ReportContent("Both", "?", load_stimuli("demo"), brains, [*both, repeated, other], {}, audio=False)
    write_report(content, tmp_path / "page.html", figures_folder=tmp_path / "figures")
    drawn_brains = {m: set(pd.read_csv(tmp_path / f"figures/{m}.csv")["brain"]) for m in ("decoding", "reliability")}
    assert drawn_brains == {"decoding": {"listeners", "deaf"}, "reliability": {"listeners"}}
    assert "Beside it: deaf " in (tmp_path / "page.html").read_text(encoding="utf-8")
