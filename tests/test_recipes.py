"""Recipes: what they may say, and what running one leaves behind."""

import json
import textwrap

import numpy as np
import pandas as pd
import pytest

from brainalign.errors import BrainalignError, RecipeError, ResultsError
from brainalign.measures.result import COLUMNS
from brainalign.recipes import read_recipe, run_recipe, shipped_recipes
from brainalign.recipes.schema import find_recipe
from brainalign.stimuli import load_stimuli

GOOD = """
    title = "A quick look"
    seed = 3

    [stimuli]
    set = "demo"
    categories = ["Music", "Speech"]

    [[models]]
    name = "logmel"

    [[models]]
    name = "kim2024-cnn@random:0"
    layers = ["pool1", "avg*"]

    [brain]
    name = "demo-components"

    [[measures]]
    name = "response-ratio"
    categories = ["Music"]
    n_bootstrap = 50

    [[measures]]
    name = "component-encoding"
    splits = "kfold"
    n_splits = 3
    n_permutations = 19
    n_bootstrap = 50

    [[measures]]
    name = "rsa"
    n_permutations = 19
    n_bootstrap = 50
"""


def write(folder, text=GOOD, *changes):
    text = textwrap.dedent(text)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "study.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return run_recipe(write(folder), folder / "out")


def test_results_table(finished):
    table = pd.read_csv(finished / "results.csv")
    assert list(table.columns[: len(COLUMNS)]) == list(COLUMNS)
    n = len(load_stimuli("demo").select(categories=["Music", "Speech"]))
    assert table["n"].eq(n).all()
    assert table["n_of"].eq("stimuli").all()
    assert set(table["measure"]) == {"response-ratio", "component-encoding", "rsa"}
    assert set(table["model"].dropna()) == {"logmel", "kim2024-cnn@random:0"}
    layers = table[(table["measure"] == "rsa") & (table["model"] == "kim2024-cnn@random:0")]["layer"]
    assert list(layers) == ["pool1", "avgpool"]
    # The brain itself has response ratios too, one for each component.
    assert table["brain"][table["model"].isna()].eq("demo-components").sum() == 6
    assert ((table["ci_low"] <= table["value"]) & (table["value"] <= table["ci_high"])).all()


def test_files_of_a_run(finished):
    names = {p.name for p in finished.iterdir()}
    assert names == {"results.csv", "report.html", "figures", "arrays", "provenance.json"}
    assert {p.suffix for p in (finished / "figures").iterdir()} == {".svg", ".pdf", ".csv"}
    assert not list(finished.parent.glob(".out*"))


def test_provenance_is_enough_to_repeat(finished, tmp_path):
    record = json.loads((finished / "provenance.json").read_text())
    assert record["seed"] == 3
    assert record["recipe"]["stimuli"]["categories"] == ["Music", "Speech"]
    sounds = load_stimuli("demo")
    assert all(sounds.digest(i) == d for i, d in list(record["stimuli"]["sha256"].items())[:3])
    weights = [m["record"].get("weights_sha256") for m in record["models"]]
    assert weights[0] is None
    assert len(weights[1]) == 64
    assert record["versions"]["torch"]


def test_same_recipe_same_numbers_also_with_two_jobs(finished, tmp_path):
    again = run_recipe(write(tmp_path), tmp_path / "again", jobs=2)
    one, two = (pd.read_csv(f / "results.csv") for f in (finished, again))
    pd.testing.assert_frame_equal(one, two, rtol=1e-9)


def test_seed_on_the_command_line_replaces_that_of_the_recipe(finished, tmp_path):
    other = run_recipe(write(tmp_path), tmp_path / "other", seed=4)
    one, two = (pd.read_csv(f / "results.csv") for f in (finished, other))
    assert not np.allclose(one["ci_low"], two["ci_low"])
    ratio = one["measure"] == "response-ratio"
    np.testing.assert_allclose(one["value"][ratio], two["value"][ratio])


def test_an_existing_folder_stays(finished, tmp_path):
    before = (finished / "results.csv").read_bytes()
    with pytest.raises(ResultsError, match="--overwrite"):
        run_recipe(write(tmp_path), finished)
    assert (finished / "results.csv").read_bytes() == before


def test_overwrite_takes_results_folders_only(tmp_path):
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter1.tex").write_text("...")
    with pytest.raises(ResultsError, match="no results folder"):
        run_recipe(write(tmp_path), precious, overwrite=True)
    assert (precious / "chapter1.tex").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seed = 3", "sede = 3"), "unknown key 'sede'; did you mean 'seed'"),
        (('set = "demo"', 'set = "demmo"'), "'demmo'; did you mean 'demo'"),
        (('name = "logmel"', 'name = "logmell"'), "'logmell'; did you mean 'logmel'"),
        (('layers = ["pool1", "avg*"]', 'layer = ["pool1"]'), "unknown key 'models[1].layer'; did you mean 'layers'"),
        (('name = "demo-components"', 'name = "demo-component"'), "did you mean 'demo-components'"),
        (('name = "demo-components"', 'name = "demo-components"\nseeed = 1'), "brain: unknown key 'seeed'"),
        (('name = "rsa"', 'name = "rsaa"'), "no measure named 'rsaa'; did you mean 'rsa'"),
        (("n_splits = 3", "n_split = 3"), "unknown key 'n_split'; did you mean 'n_splits'"),
        (("n_splits = 3", 'n_splits = "three"'), "n_splits: Input should be a valid integer"),
        (('title = "A quick look"', ""), "the key 'title' is missing"),
        (("[stimuli]", "[stimuli"), "not valid TOML"),
        (('name = "kim2024-cnn@random:0"', 'name = "logmel"'), "'logmel' is named twice"),
        (('categories = ["Music"]\nn_boot', "n_boot"), "'categories' is missing"),
    ],
)
def test_mistakes_in_a_recipe_are_named(tmp_path, change, message):
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, GOOD, change))
    assert message in str(caught.value)
    assert "study.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"avg*"', '"avgpol"'), "did you mean 'avgpool'"),
        (('"kim2024-cnn@random:0"', '"kim2024-cnn"'), "names no weights"),
        (('"kim2024-cnn@random:0"', '"kim2024-cnn:nowhere.safetensors"'), "no weights file"),
        (('"Music", "Speech"', '"Musik"'), "did you mean 'Music'"),
    ],
)
def test_a_failing_run_leaves_nothing(tmp_path, change, message):
    path = write(tmp_path, GOOD, change)
    with pytest.raises(BrainalignError, match=message):
        run_recipe(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["study.toml"]


def test_a_measure_that_fails_late_leaves_nothing(tmp_path):
    path = write(tmp_path, GOOD, ('categories = ["Music"]\n', 'categories = ["Tone"]\n'))
    with pytest.raises(BrainalignError, match="Tone"):
        run_recipe(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["study.toml"]


def test_brain_and_stimuli_must_be_of_the_same_sounds(tmp_path):
    sounds = load_stimuli("demo")
    some = sounds.select(sounds.ids[:-2])
    from brainalign.stimuli.audio import write_audio

    folder = tmp_path / "mine"
    folder.mkdir()
    for i in some.ids:
        write_audio(folder / some.table.loc[i, "file"], *some.waveform(i))
    some.table.to_csv(folder / "stimuli.csv")
    (folder / "stimulus_set.toml").write_text('name="mine"\nversion="1"\ncitation=""\nlicence=""\n')
    path = write(tmp_path, GOOD, ('set = "demo"', 'set = "mine"'), ('categories = ["Music", "Speech"]', ""))
    with pytest.raises(BrainalignError, match=sounds.ids[-1]):
        run_recipe(path, tmp_path / "out")


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_shipped_recipes_are_well_formed(name):
    assert read_recipe(find_recipe(name)).title


def test_unknown_recipe():
    with pytest.raises(RecipeError, match="did you mean 'kim2024/natsound165'"):
        find_recipe("kim2024/natsound")


@pytest.mark.realdata
def test_the_165_natural_sounds(shared_data, tmp_path, monkeypatch):
    """The main job on the real sounds: all six components, by an untrained network and by the log-mel spectrogram."""
    monkeypatch.setenv("BRAINALIGN_DATA", str(shared_data))
    quick = "\nn_permutations = 19\nn_bootstrap = 50"
    text = find_recipe("kim2024/natsound165").read_text()
    text = text.replace('name = "rsa"', f'name = "rsa"{quick}').replace('"tuckute2023"', f'"tuckute2023"{quick}')
    path = tmp_path / "natsound165.toml"
    path.write_text(text)
    table = pd.read_csv(run_recipe(path, tmp_path / "out") / "results.csv")
    music = table[(table["measure"] == "response-ratio") & (table["target"] == "music")].iloc[0]
    assert f"{music['value']:.3f}" == "4.405"
    assert f"{music['effect_size']:.3f}" == "0.955"
    encoding = table[table["measure"] == "component-encoding"]
    for model in ("logmel", "kim2024-cnn@random:0"):
        found = encoding[(encoding["model"] == model) & (encoding["layer"] != "chosen")]
        assert set(found["target"]) == {"lowfreq", "highfreq", "envsounds", "pitch", "speech", "music"}
        best = found.groupby("target")["value"].max()
        # Published for untrained (permuted) networks: frequency components fairly well, speech and music badly.
        assert 0.3 < best["lowfreq"] < 0.8
        assert best["music"] < 0.4
