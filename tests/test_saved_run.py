"""Results folders are read back whole; old, newer and damaged ones are read or refused, and say so."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

from brainalign._files import sha256
from brainalign.cli import app
from brainalign.errors import ResultsError
from brainalign.measures.result import COLUMNS
from brainalign.recipes.provenance import FORMAT
from brainalign.report.folder import run_recipe
from brainalign.report.saved import load_run

RECIPE = """
title = "Small <b>study</b>"
question = "Is music different?"
seed = 3
[stimuli]
set = "demo"
[[models]]
name = "logmel"
[brain]
name = "demo-components"
[[measures]]
name = "response-ratio"
categories = ["Music", "Song"]
n_bootstrap = 50
[[measures]]
name = "rsa"
label = "geometry"
n_bootstrap = 50
n_permutations = 20
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    (folder / "small.toml").write_text(RECIPE)
    return run_recipe(folder / "small.toml", folder / "run", audio=False)


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def change(folder: Path, **keys) -> None:
    """Change keys of provenance.json; None takes a key away."""
    path = folder / "provenance.json"
    content = {**json.loads(path.read_text(encoding="utf-8")), **keys}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def rewrite(folder: Path, table: pd.DataFrame) -> None:
    """Write another results.csv and its digest, as another version of brainalign would have."""
    table.to_csv(folder / "results.csv", index=False)
    change(folder, results_sha256=sha256(folder / "results.csv"))


class TestWhole:
    def test_the_table_is_that_of_the_file_with_its_types(self, finished):
        run, raw = load_run(finished), pd.read_csv(finished / "results.csv")
        assert run.warnings == ()
        assert list(run.table.columns) == list(raw.columns)
        for column in ("value", "ci_low", "ci_high", "p", "effect_size"):
            np.testing.assert_array_equal(run.table[column], raw[column])
        assert run.table["n"].dtype == "Int64"
        assert run.table["n_target"].dtype == "Int64"
        # What is empty in the file is empty text, never a missing value that turns into "nan".
        assert set(run.table.loc[raw["model"].isna(), "model"]) == {""}
        assert (run.table["note"] == raw["note"].fillna("")).all()

    def test_the_record_is_there_with_its_format(self, finished):
        run = load_run(finished)
        assert run.provenance["format"] == FORMAT == 1
        assert run.title == "Small <b>study</b>"
        assert run.recipe["seed"] == run.provenance["seed"] == 3
        assert run.settings["geometry"]["n_permutations"] == 20
        assert {r.kind for r in run.results} == {"response-ratio", "rsa"}
        assert "geometry" in {r.measure for r in run.results}
        recorded = set(run.provenance["files"])
        there = {p.relative_to(finished).as_posix() for p in finished.rglob("*") if p.is_file()}
        assert recorded == there - {"provenance.json"}

    def test_results_split_the_table_without_loss(self, finished):
        run = load_run(finished)
        joined = pd.concat([r.table for r in run.results])
        assert sorted(joined["value"]) == sorted(run.table["value"])
        assert sum(len(r.table) for r in run.results) == len(run.table)

    def test_arrays_are_those_of_the_file(self, finished):
        run = load_run(finished)
        assert "geometry--logmel" in run.with_arrays
        own = run.arrays("geometry--logmel")
        with xr.open_dataset(finished / "arrays/geometry--logmel.nc", group="brain_rdm", engine="h5netcdf") as stored:
            np.testing.assert_array_equal(own["brain_rdm"], stored["brain_rdm"])
        assert run.arrays("geometry--logmel") is own
        with xr.open_dataset(finished / "arrays/geometry--logmel.nc", group="rdms", engine="h5netcdf") as stored:
            np.testing.assert_array_equal(own["rdms"], stored["rdms"])
        with pytest.raises(ResultsError, match="has no arrays 'geometri--logmel'; did you mean 'geometry--logmel'"):
            run.arrays("geometri--logmel")

    def test_arrays_by_the_name_of_the_model(self, copy):
        path = copy / "arrays" / "geometry--logmel.nc"
        path.rename(path.with_name("geometry--kim2024-cnn_no-music_0.nc"))
        run = load_run(copy)
        assert run.arrays("geometry--kim2024-cnn:no-music/0") is run.arrays("geometry--kim2024-cnn_no-music_0")

    def test_the_answer_is_that_of_the_page(self, finished):
        page = (finished / "report.html").read_text(encoding="utf-8")
        assert load_run(finished).answer
        for sentence in load_run(finished).answer:
            assert sentence.split(" (")[0] in page

    def test_in_a_notebook_names_are_escaped(self, finished):
        html = load_run(finished)._repr_html_()
        assert "Small &lt;b&gt;study&lt;/b&gt;" in html
        assert "<b>" not in html
        assert (
            repr(load_run(finished)) == f"<SavedRun run: Small <b>study</b>, {len(load_run(finished).table)} estimates>"
        )


class TestOlderAndNewer:
    def test_format_0(self, copy):
        brains = json.loads((copy / "provenance.json").read_text())["brains"]
        change(copy, format=None, results=None, files=None, results_sha256=None, brains=None, brain=brains[0])
        run = load_run(copy)
        assert run.provenance["brains"] == brains
        assert "older brainalign (format 0)" in run.warnings[0]
        assert any("whether it was changed cannot be checked" in w for w in run.warnings)
        # A label is told from the measure that it stands for by the recipe.
        assert {(r.measure, r.kind) for r in run.results} == {("response-ratio", "response-ratio"), ("geometry", "rsa")}
        assert run.settings["geometry"] == {}
        assert sum(len(r.table) for r in run.results) == len(run.table)

    def test_lacking_columns_are_empty_and_named(self, copy):
        rewrite(copy, pd.read_csv(copy / "results.csv").drop(columns=["effect_size", "note"]))
        run = load_run(copy)
        assert list(run.table.columns[: len(COLUMNS)]) == list(COLUMNS)
        assert run.table["effect_size"].isna().all()
        assert set(run.table["note"]) == {""}
        assert any("lacks the columns effect_size, note" in w for w in run.warnings)

    def test_new_columns_are_kept(self, copy):
        table = pd.read_csv(copy / "results.csv")
        rewrite(copy, table.assign(tide="high", n_moons=1, phase=0.5))
        run = load_run(copy)
        assert run.warnings == ()
        assert set(run.table["tide"]) == {"high"}
        assert run.table["n_moons"].dtype == "Int64"
        assert run.table["phase"].dtype == float

    def test_a_newer_format_is_refused(self, copy):
        change(copy, format=FORMAT + 1)
        with pytest.raises(
            ResultsError, match=r"has format 2, from a newer brainalign; this one reads up to 1: update"
        ):
            load_run(copy)

    @pytest.mark.parametrize("number", ["1", 1.5, -1, True])
    def test_a_format_that_is_none(self, copy, number):
        change(copy, format=number)
        with pytest.raises(ResultsError, match="expected a whole number such as 1"):
            load_run(copy)


class TestDamage:
    def test_a_changed_table_is_refused_or_said(self, copy):
        path = copy / "results.csv"
        path.write_text(path.read_text().replace("ratio", "ration", 1))
        with pytest.raises(ResultsError, match=r"results.csv is not the file that the run wrote"):
            load_run(copy)
        run = load_run(copy, check=False)
        assert any("SHA-256 differs" in w for w in run.warnings)

    def test_a_table_that_is_cut_off(self, copy):
        path = copy / "results.csv"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ResultsError, match="not the file that the run wrote"):
            load_run(copy)

    def test_text_in_place_of_a_number(self, copy):
        table = pd.read_csv(copy / "results.csv").astype({"value": object})
        table.loc[2, "value"] = "0.4O"
        rewrite(copy, table)
        with pytest.raises(ResultsError, match=r"results.csv, line 4: value is '0.4O', expected a number"):
            load_run(copy)

    @pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "\x00\x01"])
    def test_no_table_of_results(self, copy, content):
        (copy / "results.csv").write_text(content)
        change(copy, results_sha256=sha256(copy / "results.csv"))
        with pytest.raises(ResultsError, match=r"results\.csv (is|cannot be read)"):
            load_run(copy)

    @pytest.mark.parametrize(("content", "found"), [('{"seed": ', "not valid JSON"), ("[1]", "found a list")])
    def test_provenance_that_is_none(self, copy, content, found):
        (copy / "provenance.json").write_text(content)
        with pytest.raises(ResultsError, match=f"provenance.json is damaged.*{found}"):
            load_run(copy)

    def test_a_record_without_its_measure(self, copy):
        change(copy, results=[{"kind": "rsa"}])
        with pytest.raises(ResultsError, match="an entry of results does not name its measure"):
            load_run(copy)

    @pytest.mark.parametrize(
        ("keys", "said"),
        [({"stimuli": "x"}, "stimuli: expected a table, found text"),
         ({"recipe": 3}, "recipe: expected a table, found a number"),
         ({"models": "x"}, "models: expected a list, found text"),
         ({"models": [1]}, r"models\[0\]: expected a table, found a number"),
         ({"versions": []}, "versions: expected a table, found a list"),
         ({"versions": {"numpy": 2}}, "versions.numpy: expected text, found a number"),
         ({"brains": [True]}, r"brains\[0\]: expected a table, found a truth value"),
         ({"results": {}}, "results: expected a list, found a table"),
         ({"recipe": {"models": [{}]}}, r"recipe.models\[0\].name: expected text, found nothing"),
         ({"recipe": {"brain": {"name": 1}}}, r"recipe.brain\[0\].name: expected text, found a number")],
    )  # fmt: skip
    @pytest.mark.parametrize("command", ["report", "cite"])
    def test_something_else_where_a_table_or_a_list_belongs(self, copy, keys, said, command):
        change(copy, **keys)
        done = CliRunner().invoke(app, [command, str(copy)])
        assert isinstance(done.exception, ResultsError)
        assert re.search(f"provenance.json: {said}", str(done.exception))
        assert "\n" not in str(done.exception)

    def test_null_where_a_table_belongs(self, copy):
        content = json.loads((copy / "provenance.json").read_text())
        (copy / "provenance.json").write_text(json.dumps({**content, "stimuli": None}))
        with pytest.raises(ResultsError, match=r"provenance\.json: stimuli: expected a table, found nothing"):
            load_run(copy)

    def test_the_refusal_names_an_option_that_works(self, copy):
        (copy / "results.csv").write_text((copy / "results.csv").read_text() + "\n")
        for command in ("report", "cite"):
            done = CliRunner().invoke(app, [command, str(copy)])
            assert "--unchecked" in str(done.exception)
            assert CliRunner().invoke(app, [command, str(copy), "--unchecked"]).exit_code == 0

    def test_infinite_numbers_are_null_in_json(self, copy):
        table = pd.read_csv(copy / "results.csv").astype({"value": float})
        table["value"] = np.inf
        table.to_csv(copy / "results.csv", index=False)
        done = CliRunner().invoke(app, ["report", str(copy), "--unchecked", "--json"])
        assert done.exit_code == 0, done.exception
        assert {e["value"] for e in json.loads(done.stdout)["estimates"]} == {None}

    def test_missing_files_are_named(self, copy):
        (copy / "arrays" / "geometry--logmel.nc").unlink()
        shutil.rmtree(copy / "figures")
        run = load_run(copy)
        assert any("files that the run wrote are missing: arrays/geometry--logmel.nc" in w for w in run.warnings)
        assert "geometry--logmel" in run.with_arrays
        with pytest.raises(ResultsError, match=r"geometry--logmel.nc is missing"):
            run.arrays("geometry--logmel")

    def test_arrays_that_are_cut_off(self, copy):
        path = copy / "arrays" / "geometry--logmel.nc"
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(ResultsError, match=r"geometry--logmel\.nc .*truncated file"):
            load_run(copy).arrays("geometry--logmel")

    def test_no_results_folder(self, tmp_path):
        with pytest.raises(ResultsError, match="is no folder, so it is no results folder"):
            load_run(tmp_path / "absent")
        with pytest.raises(ResultsError, match=r"has no provenance.json, so it is no results folder"):
            load_run(tmp_path)

    def test_no_table(self, copy):
        (copy / "results.csv").unlink()
        with pytest.raises(ResultsError, match=r"has no results.csv"):
            load_run(copy)


class TestCommand:
    def test_one_run_is_summed_up(self, finished):
        done = CliRunner().invoke(app, ["report", str(finished)])
        assert done.exit_code == 0, done.output
        assert "Is music different?" in done.output
        assert str(finished / "report.html") in done.output

    def test_json(self, finished):
        done = CliRunner().invoke(app, ["report", str(finished), "--json"])
        content = json.loads(done.output)
        run = load_run(finished)
        assert content["answer"] == list(run.answer)
        assert content["n_estimates"] == len(run.table)
        shown = {(e["measure"], e["model"], e["layer"], e["target"]): e["value"] for e in content["estimates"]}
        for row in run.table[run.table["statistic"] == "ratio"].to_dict("records"):
            own = shown[row["measure"], row["model"], row["layer"], row["target"]]
            assert own == pytest.approx(row["value"], rel=1e-9)

    def test_out_needs_a_second_run(self, finished):
        done = CliRunner().invoke(app, ["report", str(finished), "--out", "x.html"])
        assert isinstance(done.exception, ResultsError)
        assert "name a second run" in str(done.exception)
