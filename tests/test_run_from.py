"""A run is repeated from its record alone, and what has changed since is named."""

from __future__ import annotations

import json
import shutil
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from brainalign.cli import app
from brainalign.errors import RecipeError, ResultsError
from brainalign.recipes.repeat import differences, read_record
from brainalign.recipes.runner import compute_recipe
from brainalign.report.folder import run_recipe
from brainalign.stimuli.audio import write_audio

RECIPE = """
    title = "Own sounds"
    seed = 5
    [stimuli]
    set = "../sounds"
    [[models]]
    name = "logmel"
    [[measures]]
    name = "response-ratio"
    categories = ["Music"]
    n_bootstrap = 20
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Make a study: a recipe in a folder, sounds beside that, and results."""
    folder = tmp_path / "study"
    sounds = folder / "sounds"
    sounds.mkdir(parents=True)
    rng = np.random.default_rng(0)
    ids = [f"s{k}" for k in range(8)]
    for name in ids:
        write_audio(sounds / f"{name}.wav", rng.normal(0, 0.05, 16_000).astype(np.float32), 16_000)
    categories = ["Music", "Speech"] * 4
    pd.DataFrame({"stimulus_id": ids, "file": [f"{i}.wav" for i in ids], "category": categories}).to_csv(
        sounds / "stimuli.csv", index=False
    )
    (sounds / "stimulus_set.toml").write_text('name = "own"\nversion = "1"\ncitation = "c"\nlicence = "l"\n')
    (folder / "recipes").mkdir()
    (folder / "recipes" / "study.toml").write_text(textwrap.dedent(RECIPE))
    run_recipe(folder / "recipes" / "study.toml", folder / "results" / "first", audio=False)
    return folder


def bytes_of(folder: Path) -> bytes:
    return (folder / "results.csv").read_bytes()


def test_the_demo_from_its_record_alone(tmp_path: Path) -> None:
    text = 'title = "d"\n[stimuli]\nset = "demo"\ncategories = ["Music", "Song"]\n[[models]]\nname = "logmel"\n'
    text += '[brain]\nname = "demo-components"\n[[measures]]\nname = "rsa"\nn_permutations = 19\nn_bootstrap = 20\n'
    (tmp_path / "d.toml").write_text(text)
    first = run_recipe(tmp_path / "d.toml", tmp_path / "first", seed=7, audio=False)
    before, record = bytes_of(first), json.loads((first / "provenance.json").read_text())
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(first / "provenance.json", tmp_path / "elsewhere" / "kept.json")
    shutil.rmtree(first)
    (tmp_path / "d.toml").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        source = read_record(tmp_path / "elsewhere" / "kept.json")
    again = run_recipe(source, tmp_path / "again", audio=False, cache=tmp_path / "cache")
    assert bytes_of(again) == before
    now = json.loads((again / "provenance.json").read_text())
    same = (
        "recipe",
        "recipe_name",
        "recipe_sha256",
        "seed",
        "versions",
        "stimuli",
        "models",
        "brains",
        "results_sha256",
    )
    assert {k: now[k] for k in same} == {k: record[k] for k in same}
    # And a repeated run can be repeated.
    assert read_record(again).plan == source.plan


def test_a_study_that_has_moved_as_a_whole(study: Path, tmp_path: Path) -> None:
    record = (study / "results" / "first" / "provenance.json").read_text()
    assert json.loads(record)["recipe_place"] == {"folder": "../../recipes"}
    moved = tmp_path / "moved"
    study.rename(moved)
    again = run_recipe(read_record(moved / "results" / "first"), moved / "results" / "again", audio=False)
    assert bytes_of(again) == bytes_of(moved / "results" / "first")


def test_files_that_lie_elsewhere(study: Path, tmp_path: Path) -> None:
    shutil.move(study / "results" / "first", tmp_path / "alone")
    message = r"^--folder names another folder for its files than .*recipes: .*provenance.json: stimuli.set: "
    with pytest.raises(RecipeError, match=message):
        read_record(tmp_path / "alone")
    source = read_record(tmp_path / "alone" / "provenance.json", study / "recipes")
    again = run_recipe(source, tmp_path / "again", audio=False)
    assert bytes_of(again) == bytes_of(tmp_path / "alone")


def test_sounds_that_have_changed_are_named(study: Path) -> None:
    sounds = study / "sounds"
    write_audio(sounds / "s3.wav", np.random.default_rng(9).normal(0, 0.05, 16_000).astype(np.float32), 16_000)
    with (sounds / "stimuli.csv").open("a") as stream:
        stream.write("new,s0b.wav,Music\n")
    write_audio(sounds / "s0b.wav", np.random.default_rng(8).normal(0, 0.05, 16_000).astype(np.float32), 16_000)
    with pytest.warns(UserWarning, match="not as in the run that is repeated") as caught:
        run = compute_recipe(read_record(study / "results" / "first"))
    said = [str(w.message) for w in caught if "repeated" in str(w.message)]
    assert [text.partition(": ")[2] for text in said] == [
        "the sounds 's3' of own have changed",
        "the sounds 'new' of own are new",
    ]
    assert len(run.stimuli) == 9


NET = """
import torch

class Net:
    name, sample_rate, minimum_samples, record = "net", 1000, 1, {}
    layouts = {"out": "BC"}

    def activations(self, waveforms, layers):
        return {"out": (waveforms**2).mean(1, keepdim=True) ** POWER + torch.arange(3.0)}
"""


def test_code_that_has_changed_and_what_it_does_to_the_numbers(study: Path, tmp_path: Path) -> None:
    def repeat(out: str) -> tuple[str, list[str]]:
        arguments = ["run", "--from", str(study / "results" / "net"), "--out", str(tmp_path / out), "--no-audio"]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            done = CliRunner().invoke(app, [*arguments, "--no-cache"])
        assert done.exit_code == 0, done.output
        return done.stdout, [text for w in caught if "run that is repeated" in (text := str(w.message))]

    net, recipe = study / "recipes" / "nets.py", study / "recipes" / "study.toml"
    net.write_text(NET.replace("POWER", "1"))
    recipe.write_text(recipe.read_text().replace('"logmel"', '"python:nets.py:Net"'))
    run_recipe(recipe, study / "results" / "net", audio=False)
    code = "not as in the run that is repeated: the model net: python_code"
    out, said = repeat("same")
    assert "same:    results.csv is byte for byte that of the run that is repeated" in out
    assert said == []
    net.write_text(NET.replace("POWER", "2"))
    out, said = repeat("other")
    assert "same:" not in out
    assert said[0] == code
    assert said[1].startswith("the numbers are not those of the run that is repeated: ")
    assert len(said) == 2
    # What changes no number is named all the same, and the numbers are confirmed.
    net.write_text(NET.replace("POWER", "1") + "# a remark")
    out, said = repeat("remark")
    assert "same:" in out
    assert said == [code]


def test_everything_that_can_differ() -> None:
    before = {
        "seed": 1,
        "versions": {"numpy": "2.0", "torch": "2.9"},
        "stimuli": {"name": "s", "sha256": {"a": "1", "b": "2", "c": "3"}},
        "selection": {"name": "t", "sha256": {"x": "1"}},
        "models": [{"name": "net", "record": {"weights_sha256": "1", "rate": [1, 2]}}],
        "brains": [{"name": "b", "version": "1", "sha256": "1"}],
    }
    assert list(differences(before, before)) == []
    now = {
        "seed": 2,
        "versions": {"numpy": "2.1", "torch": "2.9"},
        "stimuli": {"name": "s", "sha256": {"a": "1", "b": "9", "d": "4"}},
        "selection": {"name": "t", "sha256": {"x": "2"}},
        "models": [{"name": "net", "record": {"weights_sha256": "2", "rate": (1, 2)}}],
        "brains": [{"name": "b", "version": "2", "sha256": "2"}],
    }
    assert list(differences(before, now)) == [
        "numpy 2.0 is now 2.1",
        "the seed 1 is now 2",
        "the sounds 'b' of s have changed",
        "the sounds 'd' of s are new",
        "the sounds 'c' of s are gone",
        "the sounds of the selection 'x' of t have changed",
        "the model net: weights_sha256",
        "the brain data b: version and responses",
    ]


def test_what_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"there is no .*provenance.json; name a results folder"):
        read_record(tmp_path)
    for content in ("{", "[]", "{}", '{"recipe": {}}'):
        (tmp_path / "provenance.json").write_text(content)
        with pytest.raises(ResultsError, match="is no record of a run that can be repeated"):
            read_record(tmp_path)


def test_the_record_of_a_newer_brainalign(tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text('{"format": 2}')
    with pytest.raises(ResultsError, match=r"format 2, from a newer brainalign; this one reads up to 1: update"):
        read_record(tmp_path)
