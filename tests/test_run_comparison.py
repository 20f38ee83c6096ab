"""Runs side by side: what differs is named, every estimate is matched and judged, no test is made up."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from brainalign._files import sha256
from brainalign.cli import app
from brainalign.errors import ResultsError
from brainalign.measures.result import result_table
from brainalign.report._draw import new_figure
from brainalign.report.run_comparison import AGREEMENT, compare_runs, main_estimates, plot_run_comparison, run_names
from brainalign.report.run_comparison_page import comparison_cautions, write_run_comparison
from brainalign.report.run_differences import differences
from brainalign.report.saved import SavedRun, load_run

SOUNDS = {"a": "1" * 64, "b": "2" * 64, "c": "3" * 64}
#: Value and interval in the first run and in the second, and how they agree.
PAIRS = [
    ((0.5, 0.4, 0.6), (0.5, 0.4, 0.6), AGREEMENT[0]),
    ((0.5, 0.4, 0.6), (0.55, 0.45, 0.65), AGREEMENT[1]),
    ((0.5, 0.4, 0.6), (0.7, 0.45, 0.95), AGREEMENT[2]),
    ((0.5, 0.4, 0.6), (0.7, 0.55, 0.85), AGREEMENT[3]),
    ((0.5, 0.4, 0.6), (0.9, 0.8, 0.95), AGREEMENT[4]),
    ((0.5, np.nan, np.nan), (0.6, 0.5, 0.7), AGREEMENT[5]),
]


def rows(which: int, pairs=PAIRS, **more) -> list[dict]:
    return [
        {"measure": "rsa", "model": "net", "layer": f"layer{i}", "brain": "cortex", "target": "all units",
         "statistic": "spearman", "value": pair[which][0], "ci_low": pair[which][1], "ci_high": pair[which][2],
         "p": 0.01, "n": 3, "n_of": "stimuli", **more}
        for i, pair in enumerate(pairs)
    ]  # fmt: skip


def provenance(**keys) -> dict:
    recipe = {
        "title": "A study", "question": "Which?", "seed": 0, "stimuli": {"set": "demo"},
        "models": [{"name": "net", "pooling": "mean"}], "brain": [{"name": "cortex"}], "measures": [{"name": "rsa"}],
    }  # fmt: skip
    return {
        "format": 1, "seed": 0, "recipe": recipe, "versions": {"brainalign": "0.1.0", "numpy": "2.4"},
        "stimuli": {"name": "demo", "version": "1", "sha256": SOUNDS},
        "models": [{"name": "net", "sample_rate": 8000, "record": {"weights_sha256": "ab"}}],
        "brains": [{"name": "cortex", "version": "1"}],
        "results": [{"measure": "rsa", "kind": "rsa", "models": ["net"], "brains": ["cortex"],
                     "settings": {"distance": "correlation", "level": 0.95, "seed": keys.get("seed", 0)}}],
        **keys,
    }  # fmt: skip


def folder(path: Path, table: list[dict], **keys) -> SavedRun:
    path.mkdir(parents=True)
    result_table(table).to_csv(path / "results.csv", index=False)
    content = {**provenance(**keys), "results_sha256": sha256(path / "results.csv")}
    (path / "provenance.json").write_text(json.dumps(content))
    return load_run(path)


@pytest.fixture
def two(tmp_path) -> list[SavedRun]:
    return [folder(tmp_path / "one", rows(0)), folder(tmp_path / "two", rows(1), seed=1)]


class TestEstimates:
    def test_each_pair_is_matched_and_judged(self, two):
        both = compare_runs(two).both.set_index("layer")
        for i, (first, second, agreement) in enumerate(PAIRS):
            row = both.loc[f"layer{i}"]
            assert row["agreement"] == agreement
            assert row["value|one"] == first[0]
            assert row["ci_high|two"] == second[2]
            assert row["difference"] == pytest.approx(second[0] - first[0])

    def test_sorted_by_the_difference_in_half_widths(self, two):
        both = compare_runs(two).both
        half = {i: np.nanmean([a[2] - a[1], b[2] - b[1]]) / 2 for i, (a, b, _) in enumerate(PAIRS)}
        own = {f"layer{i}": abs(b[0] - a[0]) / half[i] for i, (a, b, _) in enumerate(PAIRS)}
        assert list(both["layer"]) == sorted(own, key=own.__getitem__, reverse=True)
        for row in both.to_dict("records"):
            assert row["in_intervals"] == pytest.approx(own[row["layer"]])

    def test_the_order_of_rows_does_not_matter(self, two, tmp_path):
        turned = folder(tmp_path / "turned" / "two", rows(1)[::-1], seed=1)
        pd.testing.assert_frame_equal(compare_runs(two).both, compare_runs([two[0], turned]).both)

    def test_what_only_one_has_is_listed(self, tmp_path):
        runs = [folder(tmp_path / "one", rows(0)), folder(tmp_path / "two", rows(1)[2:] + rows(1, target="music")[:1])]
        compared = compare_runs(runs)
        assert len(compared.both) == 4
        found = {(r["run"], r["layer"], r["target"]) for r in compared.single.to_dict("records")}
        assert found == {("one", "layer0", "all units"), ("one", "layer1", "all units"), ("two", "layer0", "music")}
        assert compared.single["value"].notna().all()

    def test_an_estimate_without_a_value_is_still_one_that_both_have(self, tmp_path):
        empty = [((np.nan,) * 3, (0.5, 0.4, 0.6), "")]
        runs = [folder(tmp_path / n, rows(i, empty)) for i, n in enumerate(("one", "two"))]
        assert len(compare_runs(runs).both) == 1
        assert len(compare_runs(runs).single) == 0

    def test_conditions_tell_estimates_apart_where_they_must(self, tmp_path):
        def table(shift):
            return [
                {**rows(0)[0], "length_ms": ms, "kind": kind, "threshold": shift + ms, "value": ms + shift}
                for ms in (50, 100)
                for kind in ("music", "speech")
            ]

        runs = [folder(tmp_path / n, table(s)) for n, s in (("one", 0.0), ("two", 0.25))]
        compared = compare_runs(runs)
        assert compared.ambiguous == {}
        assert len(compared.both) == 4
        assert set(compared.both["difference"]) == {0.25}
        assert {"length_ms", "kind"} <= set(compared.both)
        # An outcome is no name: it has other values in the other run.
        assert "threshold" not in compared.both

    def test_estimates_that_nothing_tells_apart_are_left_out_and_counted(self, tmp_path):
        runs = [folder(tmp_path / n, rows(0) + rows(0)[:1]) for n in ("one", "two")]
        compared = compare_runs(runs)
        assert compared.ambiguous == {"rsa": 4}
        assert "layer0" not in set(compared.both["layer"])
        assert any(
            "rsa: 4 estimates that no column" in c for c in comparison_cautions(runs, compared, differences(runs))
        )

    def test_three_runs_are_judged_by_the_pair_that_agrees_least(self, tmp_path):
        values = [(0.5, 0.4, 0.6), (0.52, 0.4, 0.6), (0.9, 0.8, 0.95)]
        runs = [folder(tmp_path / str(i), rows(0, [(v, v, "")])) for i, v in enumerate(values)]
        row = compare_runs(runs).both.iloc[0]
        assert row["agreement"] == "intervals lie apart"
        assert row["difference"] == pytest.approx(0.4)

    def test_one_run_is_no_comparison(self, two):
        with pytest.raises(ResultsError, match="needs two runs or more, found 1"):
            compare_runs(two[:1])

    def test_names_tell_folders_of_one_name_apart(self, tmp_path):
        runs = [folder(tmp_path / n / "results", rows(0)) for n in ("x", "y")]
        assert run_names(runs) == ["x/results", "y/results"]
        assert run_names([runs[0], runs[0]]) == ["results (1)", "results (2)"]


class TestDifferences:
    def test_the_same(self, tmp_path):
        found = differences([folder(tmp_path / n, rows(0)) for n in ("one", "two")])
        assert found.rows == []
        assert found.n_same > 15
        assert found.sounds
        assert found.brains
        assert found.recipes
        assert found.seeds

    def test_only_the_seed(self, two):
        found = differences(two)
        assert [(r.part, r.what, r.values) for r in found.rows] == [("seed", "seed", ("0", "1"))]
        said = " ".join(comparison_cautions(two, compare_runs(two), found))
        assert "Only the seed differs" in said
        assert "No p of a difference is given" in said

    def test_keys_of_lists_are_matched_by_name(self, tmp_path):
        recipe = provenance()["recipe"]
        one = {**recipe, "models": [{"name": "net"}, {"name": "ear"}], "measures": [{"name": "rsa", "level": 0.95}]}
        two = {**recipe, "models": [{"name": "ear"}, {"name": "net"}], "measures": [{"name": "rsa", "level": 0.9}]}
        runs = [folder(tmp_path / n, rows(0), recipe=r) for n, r in (("one", one), ("two", two))]
        assert [(r.what, r.values) for r in differences(runs).rows] == [("measures[rsa].level", ("0.95", "0.9"))]

    def test_what_a_run_does_not_have_is_said_once(self, tmp_path):
        recipe = {
            **provenance()["recipe"],
            "models": [{"name": "net", "pooling": "mean"}, {"name": "ear", "pooling": "max"}],
        }
        models = [*provenance()["models"], {"name": "ear", "sample_rate": 8000, "record": {"weights_sha256": "ef"}}]
        runs = [folder(tmp_path / "one", rows(0)), folder(tmp_path / "two", rows(1), recipe=recipe, models=models)]
        found = differences(runs)
        assert [(r.part, r.what, r.values) for r in found.rows] == [("recipe", "models[ear]", ("–", "is there"))]
        assert not found.models

    def test_settings_that_differ_between_results(self, tmp_path):
        record = provenance()["results"][0]
        other = [{**record, "settings": {**record["settings"], "distance": "euclidean"}}]
        runs = [folder(tmp_path / "one", rows(0)), folder(tmp_path / "two", rows(1), results=other)]
        assert [(r.part, r.what, r.values) for r in differences(runs).rows] == [
            ("settings", "[rsa].distance", ("correlation", "euclidean"))
        ]

    def test_other_sounds_are_counted(self, tmp_path):
        other = {"a": "1" * 64, "b": "9" * 64, "d": "4" * 64, "e": "5" * 64}
        sounds = {"name": "demo", "version": "1", "sha256": other}
        runs = [folder(tmp_path / "one", rows(0)), folder(tmp_path / "two", rows(1), stimuli=sounds)]
        found = differences(runs)
        assert not found.sounds
        assert {r.what: r.values for r in found.rows} == {
            "number of sounds": ("3", "4"),
            "sounds that not all runs have": ("1", "2"),
            "sounds of one id with other samples": ("1", "1"),
        }
        said = comparison_cautions(runs, compare_runs(runs), found)
        assert said[0] == "The sounds are not the same, so the numbers are not about the same thing"
        assert not any("errors go together" in c for c in said)

    def test_other_weights_brains_and_versions(self, tmp_path):
        changed = {
            "models": [{"name": "net", "sample_rate": 8000, "record": {"weights_sha256": "cd"}}],
            "brains": [{"name": "cortex", "version": "2"}],
            "versions": {"brainalign": "0.2.0", "numpy": "2.4"},
        }
        runs = [folder(tmp_path / "one", rows(0)), folder(tmp_path / "two", rows(1), **changed)]
        found = differences(runs)
        assert [(r.part, r.what) for r in found.rows] == [
            ("brain data", "[cortex].version"),
            ("models", "[net].record.weights_sha256"),
            ("versions", "brainalign"),
        ]
        said = " ".join(comparison_cautions(runs, compare_runs(runs), found))
        assert "brain data are not the same" in said
        assert "versions of brainalign differ" in said

    def test_other_levels_of_intervals(self, tmp_path):
        records = provenance()["results"]
        other = [{**records[0], "settings": {**records[0]["settings"], "level": 0.9}}]
        runs = [folder(tmp_path / "one", rows(0)), folder(tmp_path / "two", rows(1), results=other)]
        said = comparison_cautions(runs, compare_runs(runs), differences(runs))
        assert any("different levels (0.9 and 0.95)" in c for c in said)


class _Text(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith("#")]

    def handle_data(self, data):
        self.text += data


class TestPage:
    def test_it_holds_the_numbers_and_loads_nothing(self, two, tmp_path):
        summary = write_run_comparison(two, tmp_path / "page.html", figures_folder=tmp_path / "figures")
        page = _Text((tmp_path / "page.html").read_text(encoding="utf-8"))
        assert page.loads == []
        for kind, n in summary["agreement"].items():
            assert f"{n} {kind}" in page.text
        assert "0.90" in page.text
        assert "No p of a difference is given" in page.text
        assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == [
            "runs-compared.csv", "runs-compared.pdf", "runs-compared.svg"
        ]  # fmt: skip
        table = pd.read_csv(tmp_path / "page.csv")
        assert len(table) == len(PAIRS)
        assert table["difference"].iloc[0] == pytest.approx(0.4)

    def test_identical_results_are_called_so(self, tmp_path):
        runs = [folder(tmp_path / n, rows(0)) for n in ("one", "two")]
        assert write_run_comparison(runs, tmp_path / "page.html")["identical"]
        assert "The results are identical" in (tmp_path / "page.html").read_text(encoding="utf-8")

    def test_a_file_that_was_changed_is_not_called_identical(self, tmp_path):
        runs = [folder(tmp_path / n, rows(0)) for n in ("one", "two")]
        path = runs[1].folder / "results.csv"
        path.write_text(path.read_text().replace("0.5,", "0.53,", 1))
        changed = load_run(path.parent, check=False)
        assert changed.provenance["results_sha256"] == runs[0].provenance["results_sha256"]
        summary = write_run_comparison([runs[0], changed], tmp_path / "page.html")
        assert not summary["identical"]
        assert "identical</strong>, byte" not in (tmp_path / "page.html").read_text(encoding="utf-8")

    def test_each_title_and_question_where_they_differ(self, tmp_path):
        recipe = {**provenance()["recipe"], "title": "Another", "question": "Where?"}
        runs = [folder(tmp_path / "one", rows(0)), folder(tmp_path / "two", rows(1), recipe=recipe)]
        write_run_comparison(runs, tmp_path / "page.html")
        head = _Text((tmp_path / "page.html").read_text(encoding="utf-8").split("<main")[0]).text
        assert "one: A study. Which?" in head
        assert "two: Another. Where?" in head
        write_run_comparison(runs[:1] * 2, tmp_path / "same.html")
        head = _Text((tmp_path / "same.html").read_text(encoding="utf-8").split("<main")[0]).text
        assert head.count("Which?") == 1

    def test_other_sounds_and_brains_are_said_once_and_before_the_counts(self, tmp_path):
        sounds = {"name": "demo", "version": "1", "sha256": {"a": "9" * 64}}
        brains = [{"name": "cortex", "version": "2"}]
        runs = [folder(tmp_path / "one", rows(0)), folder(tmp_path / "two", rows(1), stimuli=sounds, brains=brains)]
        write_run_comparison(runs, tmp_path / "page.html")
        text = _Text((tmp_path / "page.html").read_text(encoding="utf-8")).text
        for what in ("sounds", "brain data"):
            assert text.count(f"The {what} are not the same") == 1
            assert text.index(f"The {what} are not the same") < text.index("6 estimates stand in several runs")

    def test_names_are_escaped(self, tmp_path):
        evil = "<img src=x onerror=alert(1)>"
        recipe = {**provenance()["recipe"], "title": evil, "question": evil}
        table = [{**row, "model": evil, "target": evil} for row in rows(0)]
        record = [{"measure": "rsa", "kind": "rsa", "models": [evil], "brains": ["cortex"]}]
        runs = [folder(tmp_path / n, table, recipe=recipe, results=record) for n in ("one", "two")]
        write_run_comparison(runs, tmp_path / "page.html")
        page = _Text((tmp_path / "page.html").read_text(encoding="utf-8"))
        assert "img" not in page.tags
        assert evil in page.text

    def test_runs_of_format_0_can_be_compared(self, tmp_path, two):
        old = folder(tmp_path / "old", rows(1))
        content = json.loads((old.folder / "provenance.json").read_text())
        content = {k: v for k, v in content.items() if k not in ("format", "results", "results_sha256")}
        (old.folder / "provenance.json").write_text(json.dumps(content))
        summary = write_run_comparison([two[0], load_run(old.folder)], tmp_path / "page.html")
        assert not any(d["part"] == "settings" for d in summary["differences"])
        assert any("old: written by an older brainalign" in c for c in summary["cautions"])

    def test_nothing_in_common(self, tmp_path):
        runs = [folder(tmp_path / "one", rows(0)), folder(tmp_path / "two", rows(0, brain="other"))]
        summary = write_run_comparison(runs, tmp_path / "page.html")
        assert summary["agreement"] == {}
        assert summary["only_in_one"] == {"one": 6, "two": 6}


class TestFigure:
    def test_dots_stand_at_the_values(self, two):
        compared = compare_runs(two)
        shown = main_estimates(compared.both, compared.statistics)
        ax = plot_run_comparison(new_figure(6, 4).subplots(), shown, compared.names)
        for container, name in zip(ax.containers, compared.names, strict=True):
            np.testing.assert_array_equal(container[0].get_xdata(), shown[f"value|{name}"])
            ends = np.array([s[:, 0] for s in container[2][0].get_segments()])
            known = shown[f"ci_low|{name}"].notna().to_numpy()
            np.testing.assert_allclose(ends[known], shown.loc[known, [f"ci_low|{name}", f"ci_high|{name}"]])
        assert ax.get_title(loc="left") == "rsa" or ax.get_title() == "rsa"

    def test_the_layer_chosen_on_training_sounds_stands_for_a_model(self, tmp_path):
        table = [*rows(0), {**rows(0)[0], "layer": "chosen"}]
        runs = [folder(tmp_path / n, table) for n in ("one", "two")]
        compared = compare_runs(runs)
        assert list(main_estimates(compared.both, compared.statistics)["layer"]) == ["chosen"]


class TestCommand:
    def test_two_runs(self, two, tmp_path):
        out = tmp_path / "page.html"
        done = CliRunner().invoke(app, ["report", *(str(r.folder) for r in two), "--out", str(out)])
        assert done.exit_code == 0, done.output
        assert "seed, seed: one: 0, two: 1" in done.output
        assert out.is_file()

    def test_json(self, two, tmp_path):
        arguments = ["report", *(str(r.folder) for r in two), "--out", str(tmp_path / "page.html"), "--json"]
        content = json.loads(CliRunner().invoke(app, arguments).output)
        assert content["largest"][0]["layer"] == "layer4"
        assert content["agreement"]["identical"] == 1

    def test_what_is_there_is_replaced_only_when_asked(self, two, tmp_path):
        arguments = ["report", *(str(r.folder) for r in two)]
        for name in ("page.html", "page.csv", "figures/runs-compared.svg"):
            place = tmp_path / name.replace(".", "-") / name
            place.parent.mkdir(parents=True)
            place.write_text("mine")
            out = tmp_path / name.replace(".", "-")
            full = [*arguments, "--out", str(out / "page.html"), "--figures", str(out / "figures")]
            done = CliRunner().invoke(app, full)
            assert isinstance(done.exception, ResultsError)
            assert f"{place} exists already" in str(done.exception)
            assert "--overwrite" in str(done.exception)
            # Nothing was written beside it either.
            assert [p for p in out.rglob("*") if p.is_file()] == [place]
            assert CliRunner().invoke(app, [*full, "--overwrite"]).exit_code == 0
            assert place.read_text(encoding="utf-8") != "mine"

    @pytest.mark.parametrize("options", [["--out", "one/results.html"], ["--out", "third/page.html"],
                                         ["--figures", "one/figures"], ["--figures", "two"]])  # fmt: skip
    def test_a_results_folder_is_never_written_into(self, two, tmp_path, options, monkeypatch):
        monkeypatch.chdir(tmp_path)
        folder(tmp_path / "third", rows(0))
        before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        done = CliRunner().invoke(app, ["report", "one", "two", *options, "--overwrite"])
        assert isinstance(done.exception, ResultsError)
        assert "belongs to a run" in str(done.exception)
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before

    @pytest.mark.parametrize(
        ("out", "said"), [("page.csv", "ends in .html"), ("f/runs-compared.html", "choose another --out")]
    )
    def test_two_files_of_one_name(self, two, tmp_path, out, said, monkeypatch):
        monkeypatch.chdir(tmp_path)
        done = CliRunner().invoke(app, ["report", "one", "two", "--out", out, "--figures", "f"])
        assert said in str(done.exception)

    def test_infinite_numbers_are_null_in_json(self, tmp_path):
        pairs = [((np.inf, 0.4, 0.6), (0.5, 0.4, 0.6), ""), ((0.5, 0.4, 0.6), (0.7, 0.4, np.inf), "")]
        runs = [folder(tmp_path / n, rows(i, pairs)) for i, n in enumerate(("one", "two"))]
        arguments = ["report", *(str(r.folder) for r in runs), "--out", str(tmp_path / "page.html"), "--json"]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.exception
        largest = {row["layer"]: row for row in json.loads(done.stdout)["largest"]}
        assert largest["layer0"]["value|one"] is None
        assert largest["layer0"]["value|two"] == 0.5

    def test_help_has_an_example(self):
        assert "brainalign report results/demo" in CliRunner().invoke(app, ["report", "--help"]).output
