"""Answers lead with numbers that may be read so, name networks that are alike, and tell rows apart."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from test_report import encoding_result, estimates, make_content, ratio_rows
from test_run_comparison import folder, rows
from typer.testing import CliRunner

from brainalign.cli import app
from brainalign.measures.compare_models import compare_models
from brainalign.measures.ratio import negative_note, response_ratio
from brainalign.measures.result import Result
from brainalign.measures.selective import selective_ratio
from brainalign.measures.similarity import layer_map
from brainalign.report import words
from brainalign.report.answers import answers
from brainalign.report.captions import caption
from brainalign.report.colours import PAPER
from brainalign.report.component_table import component_table
from brainalign.report.headline import headline
from brainalign.report.page import write_report
from brainalign.report.run_comparison import compare_runs, main_estimates, plot_run_comparison
from brainalign.report.run_comparison_page import summary_of, write_run_comparison
from brainalign.responses import make_responses

MANY = {"Music": 12, "Song": 12, "Nature": 24}
NOTE = "48 of 48 responses are negative, so the ratio is not a gain factor"


def heard(shift: dict[str, float], source: str = "net", seed: int = 0, n: int = 48):
    """Return responses of layers, six units each, of which the first prefers the first half of the sounds."""
    rng = np.random.default_rng(seed)
    names = [layer for layer in shift for _ in range(6)]
    values = rng.uniform(0.5, 1.5, (n, len(names))) + np.array([shift[layer] for layer in names])
    values[: n // 2, ::6] += 1
    return make_responses(
        values, [f"s{i:02d}" for i in range(n)], [f"{layer}:{i}" for i, layer in enumerate(names)],
        stimulus_info={"category": np.repeat(["Music", "Nature"], n // 2)}, unit_info={"layer": names},
        attrs={"source": source},
    )  # fmt: skip


def ratio_of(shift: dict[str, float]) -> Result:
    return selective_ratio(heard(shift), categories=["Music"], fraction=0.2, n_bootstrap=50)


# --- ratios of negative responses -------------------------------------------------------------------------------------


def test_a_ratio_of_negative_responses_does_not_lead():
    result = ratio_of({"conv1": 0.0, "conv4": 0.0, "fc2": -5.0})
    own = result.table[result.table["target"] == "selected units"].set_index("layer")
    assert own.loc["fc2", "note"].startswith(NOTE)
    assert own.loc["fc2", "value"] < 1 < own.loc["conv4", "value"]
    (sentence,) = headline([result]).sentences
    lead, rest = sentence.split(" Not quoted: ")
    assert lead.startswith("In conv4 of net, selected units respond ")
    assert words.estimate(own.loc["conv4"].to_dict()) in lead
    assert words.estimate(own.loc["fc2"].to_dict()) not in sentence
    assert rest.startswith(f"fc2 of net ({NOTE}")


def test_without_a_ratio_to_read_there_is_no_number():
    result = ratio_of({"fc1": -5.0, "fc2": -5.0})
    (sentence,) = headline([result]).sentences
    assert sentence == (
        "How many times as strongly selected units respond to Music as to other sounds cannot be said: "
        f"fc1 of net ({NOTE}); fc2 of net ({NOTE})."
    )


def test_marks_with_a_note_are_hollow():
    result = ratio_of({"conv4": 0.0, "fc2": -5.0})
    ax = result.plot(Figure().subplots())
    hollow = {float(y) for line in ax.lines if line.get_markerfacecolor() == PAPER for y in line.get_ydata()}
    assert hollow == set(result.table.loc[result.table["note"] != "", "value"])
    assert len(hollow) == 2
    assert "Hollow marks have a note" in caption(result)
    assert "Hollow" not in caption(ratio_of({"conv4": 0.0}))


def test_ratios_of_a_model_alone_are_an_answer():
    result = response_ratio(heard({"conv1": 0.0, "fc2": -5.0}), categories=["Music"], n_bootstrap=50)
    row = result.table.set_index("layer").loc["conv1"].to_dict()
    (sentence,) = headline([result]).sentences
    assert sentence.startswith(f"In conv1 of net, units respond {words.estimate(row | {'layer': 'conv1'})} times as")
    assert sentence.endswith(f" Not quoted: fc2 of net ({NOTE}).")


def test_the_brains_ratio_is_not_quoted_either():
    wrong = Result("response-ratio", ratio_rows((2.5, NOTE)).assign(target="music", effect_size=0.8))
    answer = headline([wrong])
    assert answer.sentences == (
        "How many times as strongly the brain’s music component responds to the target categories as to the other "
        f"sounds cannot be said: {NOTE}; a sound of the target categories draws the larger response in 80.0% of pairs "
        "(common-language effect size 0.800).",
    )
    chosen = headline([Result("response-ratio", ratio_rows((1.5, ""), (2.5, NOTE), (0.4, "")))])
    assert chosen.target == "c0"


# --- networks that are alike ------------------------------------------------------------------------------------------

TWINS = {"MyNet": {"a": 0.03, "chosen": 0.04}, "MyNet@random:0": {"a": 0.03, "chosen": 0.04}, "logmel": {"p": 0.01}}


def test_a_control_that_is_the_network_itself_is_named():
    content = make_content({"Music": 12, "Nature": 12}, {"net": ("a", "b")}, ("music",))
    twins = encoding_result(TWINS)
    said = words.cautions([twins, Result("rsa", twins.table.assign(measure="rsa"))], content.stimuli)
    assert said[0] == (
        "component-encoding and rsa: MyNet and MyNet@random:0 have the same numbers everywhere: are they the same "
        "network?"
    )
    assert "same network" not in " ".join(said[1:])
    one_differs = {**TWINS, "MyNet@random:0": {"a": 0.031, "chosen": 0.04}}
    assert not any("same network" in c for c in words.cautions([encoding_result(one_differs)], content.stimuli))
    full = {"x": {"a": 1.0, "b": 0.0}, "y": {"a": 1.0, "b": 0.0}}
    assert not any("same network" in c for c in words.cautions([encoding_result(full)], content.stimuli))


def test_ties_are_bold_together_and_called_alike():
    ((_, cells),) = component_table([encoding_result(TWINS)], ["music"]).rows
    assert [cell.highest for cell in cells] == [True, True, False]
    sentence = headline([encoding_result(TWINS)]).sentences[0]
    assert sentence.startswith(
        "Of 3 models, MyNet and MyNet@random:0 alike predict the music component best: r² = 0.04"
    )


# --- rows that nothing shown tells apart ------------------------------------------------------------------------------


def subjects(statistics=("split-half", "noise-ceiling")) -> list[dict]:
    """Return rows of two statistics, not in the order of the alphabet, of three subjects."""
    one = rows(0)[0] | {"measure": "reliability", "model": "", "layer": ""}
    return [one | {"statistic": s, "subject": f"sub-{i}", "value": 0.5 + 0.1 * i} for s in statistics for i in range(3)]


def test_conditions_stand_in_labels_and_the_first_statistic_is_that_of_the_table(tmp_path):
    runs = [folder(tmp_path / name, subjects()) for name in ("one", "two")]
    compared = compare_runs(runs)
    assert compared.statistics == {"reliability": "split-half"}
    shown = main_estimates(compared.both, compared.statistics)
    ax = plot_run_comparison(Figure().subplots(), shown, compared.names)
    assert {t.get_text() for t in ax.get_yticklabels()} == {f"subject sub-{i}" for i in range(3)}
    write_run_comparison(runs, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(f'<td data-key="all units · subject sub-{i}">all units · subject sub-{i}</td>' in html for i in range(3))


def test_a_summary_and_a_notebook_tell_rows_apart(tmp_path):
    run = folder(tmp_path / "one", subjects())
    shown, further = summary_of(run)
    assert further == {"reliability": ["subject"]}
    assert set(shown["statistic"]) == {"split-half"}
    done = CliRunner().invoke(app, ["report", str(run.folder)])
    assert all(f"subject sub-{i}" in done.output for i in range(3))
    found = json.loads(CliRunner().invoke(app, ["report", str(run.folder), "--json"]).output)["estimates"]
    assert [e["subject"] for e in found] == ["sub-0", "sub-1", "sub-2"]
    assert "<th>subject</th>" in run._repr_html_()


def test_conditions_are_chosen_before_outcomes_and_only_where_needed():
    table = pd.DataFrame({
        "model": ["x", "x", "y"], "value": [1.0, 2.0, 3.0], "chance": [0.1, 0.2, 0.3], "model_2": ["y", "z", "z"],
        "depth": [1.0, 2.0, 3.0],
    })  # fmt: skip
    assert words.telling_columns(table, ["model"]) == ["model_2"]
    assert words.telling_columns(table.drop(columns="model_2"), ["model"]) == ["depth"]
    assert words.telling_columns(table.drop(columns=["model_2", "depth"]), ["model"]) == []
    assert words.telling_columns(table.iloc[1:], ["model"]) == []
    assert words.told_apart({"model_2": "z", "depth": 2.0, "region": np.nan}, ["model_2", "depth", "region"]) == [
        "model_2 z", "depth 2"]  # fmt: skip


# --- small words ------------------------------------------------------------------------------------------------------


def test_caption_of_a_layer_map_says_between_what_it_is_highest():
    one, two = heard({"conv1": 0, "conv2": 0}, "x"), heard({"spectrotemporal": 0}, "y", seed=1)
    between = layer_map({"x": one, "y": two}, n_permutations=0)
    assert "Highest between models: conv" in caption(between)
    assert "Highest between layers: conv1 and conv2" in caption(layer_map({"x": one}, n_permutations=0))


def test_one_of_a_thing_has_no_plural():
    content = make_content({"Music": 12, "Nature": 12}, {"net": ("a", "b")}, ("music",))
    assert headline([Result("lab", estimates({"net": {"a": 0.1}}))]).sentences == ("This run holds 1 estimate of lab.",)
    noted = estimates({"net": {f"l{i}": 0.1 * i for i in range(9)}}).assign(note=[f"note {'x' * i}" for i in range(9)])
    assert "lab: 1 further note in the table" in words.cautions([Result("lab", noted)], content.stimuli)
    alone = Result("rsa", estimates({"net": {"a": 0.1}}, statistic="spearman").assign(measure="rsa"))
    assert answers([alone])[0].startswith("Of 1 layer of 1 model, a of net")


def test_both_ends_of_a_noise_ceiling_have_the_same_decimals():
    nets = {name: heard({"fc": 0.0}, name, seed=seed) for seed, name in enumerate("xy")}
    brain = heard({"v": 0.0}, "brain", seed=5).drop_vars("layer")
    result = compare_models(nets, brain, n_bootstrap=30, n_permutations=20)
    result.table[["ceiling_lower", "ceiling_upper"]] = [0.82, 0.9]
    assert "noise ceiling 0.82 to 0.90" in answers([result])[0]


@pytest.mark.parametrize("first", ["selective-ratio", "rsa"])
def test_the_first_figure_of_the_first_measure_stands_on_the_first_screen(tmp_path, first):
    content = make_content(MANY, {"net": ("a", "b")}, ("music",))
    category = content.stimuli.table["category"].to_numpy()
    rng = np.random.default_rng(2)
    net = make_responses(
        rng.uniform(1, 2, (48, 12)), content.stimuli.ids, [f"u{i}" for i in range(12)],
        stimulus_info={"category": category}, unit_info={"layer": ["a"] * 6 + ["b"] * 6}, attrs={"source": "net"},
    )  # fmt: skip
    found = selective_ratio(net, categories=["Music", "Song"], fraction=0.2, n_bootstrap=20)
    others = [r for r in content.results if r.measure == "rsa"]
    results = [found, *others] if first == "selective-ratio" else [*others, found]
    path = write_report(replace(content, results=results, audio=False), tmp_path / "p.html", figures_folder=None)
    html = path.read_text(encoding="utf-8")
    top = html.split("<nav")[0]
    assert ("<figure>" in top) == (first == "selective-ratio")
    assert html.count("Response ratio of units of net") >= 1
    assert ('id="m-selective-ratio"' in html) == (first == "rsa")


@pytest.mark.parametrize(
    ("negative", "value", "expected"), [(0, 0.5, True), (2, 9.0, True), (2, -1.0, False), (34, 0.5, False)]
)
def test_a_few_negative_responses_do_not_turn_a_ratio_round(negative, value, expected):
    responses = np.where(np.arange(66) < negative, -0.01, 1.0)
    assert words.readable({"note": negative_note(responses), "value": value}) is expected
