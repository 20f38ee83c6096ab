"""Recipes: what they may say, and what running one leaves behind."""

import hashlib
import json
import re
import shutil
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainalign.brain import BrainData, load_brain
from brainalign.errors import BrainalignError, RecipeError, ResultsError
from brainalign.measures import MEASURES
from brainalign.measures.result import COLUMNS, Result, result_table
from brainalign.models import extract, load_model
from brainalign.recipes import read_recipe, shipped_recipes
from brainalign.recipes.options import check_options
from brainalign.recipes.runner import compute_recipe
from brainalign.recipes.shipped import find_recipe
from brainalign.report.figures import plot_result
from brainalign.report.folder import run_recipe
from brainalign.report.headline import headline
from brainalign.responses import Responses
from brainalign.stimuli import load_stimuli
from brainalign.stimuli.audio import write_audio
from brainalign.stimuli.manipulations import time_reverse
from brainalign.stimuli.quilting import quilted

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
    written = {"results.csv", "report.html", "figures", "arrays", "provenance.json", "methods.md", "references.bib"}
    assert names == written | {"costs.csv"}
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
        (("n_splits = 3", 'n_splits = "three"'), "n_splits is 'three', expected a whole number"),
        (('title = "A quick look"', ""), "the key 'title' is missing"),
        (("[stimuli]", "[stimuli"), "not valid TOML"),
        (('name = "kim2024-cnn@random:0"', 'name = "logmel"'), "'logmel' is named twice"),
        (('categories = ["Music"]\nn_boot', "n_boot"), "'categories' is missing"),
        (('name = "kim2024-cnn@random:0"', 'name = "kim2024-cnn@random:x"'), "models[1].name: model name"),
        (('name = "kim2024-cnn@random:0"', 'name = "kim2024-cnn@shuffled:0"'), "unknown control 'shuffled'"),
        (('layers = ["pool1", "avg*"]', 'pooling = "segments:0"'), "models[1].pooling: no pooling 'segments:0'"),
        (("n_bootstrap = 50", "n_bootstrap = 5"), "n_bootstrap is 5, expected 0 or 20 to 1,000,000"),
        (('splits = "kfold"', 'splits = "kfolds"'), "did you mean 'kfold'?"),
        (("n_splits = 3", "n_inner_folds = 1"), "n_inner_folds is 1, expected 0 or at least 2"),
    ],
)
def test_mistakes_in_a_recipe_are_named(tmp_path, change, message):
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, GOOD, change))
    assert message in str(caught.value)
    assert "study.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "kim2024-cnn@random:0"', 'name = "kim2024-cnn@random:x"'),
        ('layers = ["pool1", "avg*"]', 'pooling = "segments:0"'),
        ("n_splits = 3", "n_splits = 0"),
        ("n_splits = 3", "n_inner_folds = 1"),
        ('splits = "kfold"', 'splits = "kfolds"'),
        ('splits = "kfold"', "splits = 5"),
        ('name = "rsa"', 'name = "rsa"\nn_bootstrap = 19'),
        ('categories = ["Music"]', 'categories = ["Music"]\nn_bootstrap = 1_000_001'),
    ],
)
def test_a_value_that_a_run_would_refuse_is_refused_at_its_line(tmp_path, old, new):
    before, _, after = textwrap.dedent(GOOD).partition(old)
    path = tmp_path / "study.toml"
    path.write_text(before + new + (after.replace("n_bootstrap = 50\n", "") if "n_bootstrap" in new else after))
    line = 1 + path.read_text().splitlines().index(new.splitlines()[-1])
    key = new.splitlines()[-1].partition(" = ")[0]
    with pytest.raises(RecipeError, match=rf"study\.toml:{line}: .*\b{key}(:| is) "):
        read_recipe(path)


def test_characters_that_the_font_lacks_are_named_once(tmp_path):
    own_set(tmp_path / "mine", load_stimuli("demo").ids[:12])
    file = tmp_path / "mine" / "stimuli.csv"
    table = pd.read_csv(file)
    table.replace({"category": {"mine": "mine 🎵", "other": "日 other"}}).to_csv(file, index=False)
    measures = """
    [[measures]]
    name = "response-ratio"
    categories = ["mine 🎵"]
    n_bootstrap = 0
    [[measures]]
    name = "rsa"
    n_permutations = 0
    n_bootstrap = 0
    """
    quick = GOOD.partition("    [[measures]]")[0] + measures
    path = write(tmp_path, quick, ('set = "demo"', 'set = "mine"'), ('categories = ["Music", "Speech"]', ""))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run_recipe(path, tmp_path / "out")
    about = [str(w.message) for w in caught if "glyph" in str(w.message).lower()]
    assert len(about) == 1
    assert re.match(r"the font of the figures has no glyph for ('🎵', '日'|'日', '🎵'): names are drawn with", about[0])


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


def test_what_only_the_data_can_refuse_names_the_measure(tmp_path):
    path = write(tmp_path, GOOD, ("n_splits = 3", "n_splits = 400"))
    with pytest.raises(BrainalignError, match=r"^component-encoding of logmel and demo-components: 400 folds of \d+"):
        run_recipe(path, tmp_path / "out")


def own_set(folder, ids, renamed=None):
    """Write some of the demo sounds as a lab's own set, in reverse order and with categories of its own."""
    sounds = load_stimuli("demo")
    some = sounds.select(ids[::-1])
    folder.mkdir()
    table = some.table.assign(category=["mine" if k % 2 else "other" for k in range(len(some))])
    for i in some.ids:
        write_audio(folder / table.loc[i, "file"], *some.waveform(i))
    table.rename(index=renamed or {}).to_csv(folder / "stimuli.csv")
    (folder / "stimulus_set.toml").write_text('name="mine"\nversion="1"\ncitation=""\nlicence=""\n')


def test_a_set_of_some_of_the_sounds_of_a_brain(tmp_path):
    """A lab's set takes its sounds from the brain data by id, and its own categories hold for both sides."""
    ids = load_stimuli("demo").ids[:30]
    own_set(tmp_path / "mine", ids)
    changes = [('set = "demo"', 'set = "mine"'), ('categories = ["Music", "Speech"]', ""), ('["Music"]', '["mine"]')]
    table = pd.read_csv(run_recipe(write(tmp_path, GOOD, *changes), tmp_path / "out") / "results.csv")
    assert table["n"].eq(30).all()
    ratio = table[table["measure"] == "response-ratio"].set_index("target")
    brain = load_brain("demo-components").responses.mean("repetition").sel(stimulus=ids[::-1], unit="pitch").values
    is_mine = np.arange(30) % 2 == 1
    assert ratio.loc["pitch", "value"] == pytest.approx(brain[is_mine].mean() / brain[~is_mine].mean())


def test_a_sound_that_the_brain_does_not_know(tmp_path):
    ids = load_stimuli("demo").ids[:10]
    own_set(tmp_path / "mine", ids, renamed={ids[3]: ids[3].upper()})
    path = write(
        tmp_path,
        GOOD,
        ('set = "demo"', 'set = "mine"'),
        ('categories = ["Music", "Speech"]', ""),
        ('["Music"]', '["mine"]'),
    )
    with pytest.raises(BrainalignError, match=f"no responses to 1 of the 10 sounds of mine: '{ids[3].upper()}'"):
        run_recipe(path, tmp_path / "out")


def test_a_table_of_own_responses(tmp_path):
    """A recipe takes a CSV beside it as brain data."""
    sounds = load_stimuli("demo").select(categories=["Music", "Speech"])
    rng = np.random.default_rng(0)
    own = pd.DataFrame(
        rng.random((len(sounds), 3)), index=pd.Index(sounds.ids, name="stimulus_id"), columns=["a", "b", "c"]
    )
    own.sample(frac=1, random_state=1).to_csv(tmp_path / "mine.csv")
    path = write(tmp_path, GOOD, ('name = "demo-components"', 'name = "table"\npath = "mine.csv"'))
    table = pd.read_csv(run_recipe(path, tmp_path / "out") / "results.csv")
    ratio = table[(table["measure"] == "response-ratio") & (table["brain"] == "mine")].set_index("target")
    music = (sounds.table["category"] == "Music").to_numpy()
    assert ratio.loc["b", "value"] == pytest.approx(own["b"][music].mean() / own["b"][~music].mean())


def test_a_study_without_a_brain(tmp_path):
    text = textwrap.dedent(GOOD)
    text = text[: text.index("[brain]")] + text[text.index("[[measures]]") : text.index('[[measures]]\nname = "comp')]
    path = tmp_path / "study.toml"
    path.write_text(text)
    table = pd.read_csv(run_recipe(path, tmp_path / "out") / "results.csv")
    assert set(table["model"]) == {"logmel", "kim2024-cnn@random:0"}
    path.write_text(text + '[[measures]]\nname = "rsa"\n')
    with pytest.raises(RecipeError, match=r"measures\[1\] \(rsa\) compares with a brain"):
        read_recipe(path)


def test_the_same_measure_twice_needs_labels(tmp_path):
    again = '\n[[measures]]\nname = "response-ratio"\ncategories = ["Speech"]\nn_bootstrap = 0\n'
    path = write(tmp_path)
    text = path.read_text()
    path.write_text(text + again)
    with pytest.raises(RecipeError, match="'response-ratio' stands twice; give each a label"):
        read_recipe(path)
    path.write_text(text + again + 'label = "speech-ratio"\n')
    out = run_recipe(path, tmp_path / "out")
    table = pd.read_csv(out / "results.csv").set_index(["measure", "target"])
    assert table.loc[("speech-ratio", "speech"), "value"] > 1 > table.loc[("response-ratio", "speech"), "value"]
    assert len(list((out / "arrays").glob("*-ratio--brain.nc"))) == 2


def test_lists_stand_for_tuples():
    """TOML has no tuples; lists of the same types and length do, also where None is allowed, and nothing else does."""

    def loader(window_s: tuple[float, float] | None = None, grid: tuple[int, ...] = (), names: list[str] | None = None):
        raise NotImplementedError

    for options in ({"window_s": [0, 1.5]}, {"grid": [1, 2, 3]}, {"names": ["a"]}, {"window_s": (0.0, 1.0)}):
        check_options(loader, options, "brain")
    for options, message in (
        ({"window_s": [0, "1"]}, "window_s"),
        ({"window_s": [0.0]}, "window_s"),
        ({"window_s": 3}, "window_s is 3, expected a list"),
        ({"grid": [1.5]}, r"grid\[0\] is 1.5, expected a whole number"),
        ({"names": ("a",)}, "names is .* expected a list"),
    ):
        with pytest.raises(RecipeError, match=f"^brain: .*{message}"):
            check_options(loader, options, "brain")


def test_the_window_of_ecog_can_be_given_in_a_recipe():
    from brainalign.brain import BRAINS

    check_options(BRAINS.get("ecog165-components"), {"window_s": [0.0, 2.0]}, "brain")


LABELLED = """
title = "Labels"
[stimuli]
set = "demo"
[[models]]
name = "logmel"
[[models]]
name = "kim2024-cnn@random:0"
layers = ["avgpool"]
[brain]
name = "demo-components"
[[measures]]
name = "component-encoding"
label = "my encoding"
n_splits = 3
n_bootstrap = 0
n_permutations = 0
[[measures]]
name = "component-match"
label = "my match"
component = "music"
categories = ["Music"]
n_splits = 2
n_permutations = 0
n_bootstrap = 0
[[measures]]
name = "response-ratio"
label = "my ratio"
categories = ["Music"]
n_bootstrap = 0
"""


def test_a_labelled_measure_keeps_its_figures_captions_and_answer(tmp_path):
    """The page of a recipe with labels is that of the recipe without, but for the labels."""
    (tmp_path / "labelled.toml").write_text(LABELLED)
    (tmp_path / "plain.toml").write_text(re.sub('label = ".*"\n', "", LABELLED))
    run = compute_recipe(tmp_path / "labelled.toml")
    assert {(r.measure, r.asked, r.kind) for r in run.results} == {
        ("my encoding", "component-encoding", "component-encoding"),
        ("my match", "component-match", "component-match"),
        ("my ratio", "response-ratio", "response-ratio"),
    }
    folders = [run_recipe(tmp_path / f"{n}.toml", tmp_path / n, audio=False) for n in ("labelled", "plain")]
    labelled, plain = (sorted(p.name for p in (f / "figures").iterdir()) for f in folders)
    assert labelled == sorted(name.replace("component-match", "my-match") for name in plain)
    assert any("encoding-by-component" in name for name in labelled)
    mine, theirs = ((f / "report.html").read_text() for f in folders)
    for captions in ("Held-out r² of every component by every model", "Response ratio (mean response to"):
        assert captions in mine
    assert '<h2 id="h-1">my match</h2>' in mine
    assert '<h2 id="h-1">component-match</h2>' in theirs
    answers = [headline(compute_recipe(tmp_path / f"{n}.toml").results).sentences for n in ("labelled", "plain")]
    assert answers[0] == answers[1]
    assert "predicts the music component" in answers[0][0]
    # All models are in one file of arrays, which is named after none of them.
    assert {p.name for p in (folders[0] / "arrays").glob("my_match*")} == {"my_match.nc"}


def test_a_labelled_decoding_keeps_its_figure_and_answer(tmp_path):
    text = LABELLED[: LABELLED.index("[brain]")] + '[brain]\nname = "demo-voxels"\n[[measures]]\nname = "decoding"\n'
    text += 'label = "my decoding"\nsplit = "kfold"\nn_permutations = 20\nn_bootstrap = 20\n'
    (tmp_path / "decoding.toml").write_text(text)
    out = run_recipe(tmp_path / "decoding.toml", tmp_path / "out", audio=False)
    page = (out / "report.html").read_text()
    assert "my decoding: From demo-voxels, the clip heard was told from another" in page
    assert '<h2 id="h-1">my decoding</h2>' in page
    assert (out / "figures" / "my-decoding.svg").is_file()


def test_an_answer_of_a_labelled_measure_names_the_label(tmp_path):
    head, _, match, _ = LABELLED.split("[[measures]]")
    (tmp_path / "match.toml").write_text(f"{head}[[measures]]{match}")
    (sentence,) = headline(compute_recipe(tmp_path / "match.toml").results).sentences
    assert sentence.startswith("my match: ")
    assert plot_result(compute_recipe(tmp_path / "match.toml").results[0]).images


def test_what_appears_during_a_run_stays(tmp_path, monkeypatch):
    from brainalign.recipes import runner

    measured = runner.measure_all

    def meanwhile(*args):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.txt").write_text("...")
        return measured(*args)

    monkeypatch.setattr(runner, "measure_all", meanwhile)
    with pytest.raises(ResultsError, match=r"the results are in .*out-2"):
        run_recipe(write(tmp_path), tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").is_file()
    assert (tmp_path / "out-2" / "results.csv").is_file()


def test_seed_replaces_that_of_a_measure(tmp_path):
    path = write(tmp_path, GOOD, ('name = "rsa"', 'name = "rsa"\nseed = 8'))
    plan = read_recipe(path).with_seed(5)
    assert plan.seed == 5
    assert "seed" not in plan.measures[2].options


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seed = 3", "seed = -1"), "seed is -1, expected at least 0 and less than 9,223,372"),
        (("seed = 3", "seed = true"), "seed is true, expected a whole number"),
        (("n_permutations = 19", "n_permutations = true"), "n_permutations is true, expected a whole number"),
        (("n_permutations = 19", 'n_permutations = "19"'), "n_permutations is '19', expected a whole number"),
        (("n_permutations = 19", "n_permutations = 100000000000"), "is 100000000000, expected 0 to 1,000,000"),
        (("n_permutations = 19", "level = 2.0"), "level is 2.0, expected more than 0 and less than 1"),
        (("n_permutations = 19", "n_permutations = -3"), "n_permutations is -3, expected 0 to 1,000,000"),
        (("n_permutations = 19", 'protocol = "own"'), "protocol is 'own', expected 'brainalign' or 'tuckute2023'"),
    ],
)
def test_numbers_out_of_range(tmp_path, change, message):
    with pytest.raises(RecipeError, match=message):
        read_recipe(write(tmp_path, GOOD, change))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[models]\nname = "logmel"\n[[measures]]\nname = "rsa"', "models"),
        ('[[models]]\nname = "logmel"\n[measures]\nname = "rsa"', "measures"),
        (
            '[stimuli.manipulate]\nname = "quilt"\n[[models]]\nname = "logmel"\n[[measures]]\nname = "rsa"',
            "stimuli.manipulate",
        ),
    ],
)
def test_one_bracket_where_two_belong(tmp_path, text, key):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'title = "x"\n[stimuli]\nset = "demo"\n{text}\n')
    with pytest.raises(RecipeError, match=rf"{key} is one table, .*; write \[\[{key}\]\], with two brackets"):
        read_recipe(recipe)


@pytest.mark.parametrize("out", ["", ".", "..", "results/.."])
def test_a_place_without_a_name(tmp_path, monkeypatch, out):
    monkeypatch.setattr("brainalign.report.folder.compute_recipe", lambda *_, **__: pytest.fail("computed"))
    recipe = write(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResultsError, match="expected the name of a folder, such as results/my-study"):
        run_recipe(recipe, out)


def test_an_impossible_place_is_found_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="no folder can be made in"):
        run_recipe(write(tmp_path), tmp_path / "file" / "out")


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


def test_a_measure_may_take_all_models_at_once(tmp_path, monkeypatch):
    calls = []

    def widths(all_responses: Mapping[str, Responses], brain: BrainData, scale: int = 1) -> Result:
        calls.append((list(all_responses), brain.name))
        rows = [{"measure": "widths", "model": m, "value": scale * r.sizes["unit"]} for m, r in all_responses.items()]
        return Result("widths", result_table(rows))

    monkeypatch.setitem(MEASURES._registered, "widths", widths)
    tail = GOOD.index("    [[measures]]")
    recipe = write(tmp_path, GOOD[:tail] + '    [[measures]]\n    name = "widths"\n    scale = 2\n')
    run = compute_recipe(recipe)
    heard = [extract(load_model("logmel"), run.stimuli)]
    heard.append(extract(load_model("kim2024-cnn@random:0"), run.stimuli, layers=["pool1", "avg*"]))
    assert calls == [(["logmel", "kim2024-cnn@random:0"], "demo-components")]
    assert len(run.results) == 1
    assert list(run.results[0].table["value"]) == [2 * r.sizes["unit"] for r in heard]


def test_a_measure_may_be_about_some_of_the_models(tmp_path):
    tail = GOOD.index("    [[measures]]")
    text = (
        GOOD[:tail]
        + '    [[measures]]\n    name = "rsa"\n    models = ["logmel"]\n    n_permutations = 0\n    n_bootstrap = 0\n'
    )
    assert [set(r.table["model"]) for r in compute_recipe(write(tmp_path, text)).results] == [{"logmel"}]
    with pytest.raises(RecipeError, match="the recipe has no model 'log-mel'; did you mean 'logmel'"):
        read_recipe(write(tmp_path, text, ('models = ["logmel"]', 'models = ["log-mel"]')))


def test_sounds_may_be_manipulated_in_turn(tmp_path):
    tail = GOOD.index("    [[measures]]")
    text = GOOD[:tail].replace(
        'categories = ["Music", "Speech"]',
        'categories = ["Music"]\n'
        '    manipulate = [{name = "time-reverse"}, {name = "quilt", segment_ms = 60.0, seed = 4}]',
    )
    rsa = '    [[measures]]\n    name = "rsa"\n    n_permutations = 0\n    n_bootstrap = 0\n'
    run = compute_recipe(write(tmp_path, text + rsa))
    expected = quilted(time_reverse(load_stimuli("demo").select(categories=["Music"])), 60.0, seed=4)
    first = expected.ids[0]
    np.testing.assert_array_equal(run.stimuli.waveform(first)[0], expected.waveform(first)[0])
    assert run.provenance["stimuli"]["sha256"] == {i: expected.digest(i) for i in expected.ids}
    assert any("are responses to the originals" in w for w in run.results[0].warnings)
    with pytest.raises(RecipeError, match=r"manipulate\[0\]: expected a table, such as .*found 'quilt'"):
        read_recipe(write(tmp_path, text.replace('[{name = "time-reverse"}, {', '["quilt", {') + rsa))
    with pytest.raises(
        BrainalignError, match=r"manipulate\[1\] \(quilt\): unknown key 'segment'; did you mean 'segment_ms'"
    ):
        compute_recipe(write(tmp_path, text + rsa, ("segment_ms", "segment")))


def test_files_beside_the_recipe_and_models_of_one_file_name(tmp_path):
    """A model is called as the recipe calls it, so two files of one name stay apart."""
    from brainalign.models.kim2024 import trained_networks

    for folder, variant in (("one", "no-music/0"), ("two", "all/0")):
        (tmp_path / folder).mkdir()
        shutil.copy(trained_networks()[variant], tmp_path / folder / "weights.safetensors")
    (tmp_path / "nets.py").write_text(
        "import torch\n\n\n"
        "class Net(torch.nn.Module):\n"
        "    sample_rate = 8000\n\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.filters = torch.nn.Conv1d(1, 4, 64, stride=32)\n\n"
        "    def forward(self, waveforms):\n"
        "        return self.filters(waveforms[:, None])\n"
    )
    names = ["kim2024-cnn:one/weights.safetensors", "kim2024-cnn:two/weights.safetensors", "python:nets.py:Net"]
    head = GOOD[: GOOD.index("    [[models]]")]
    models = "".join(f'    [[models]]\n    name = "{n}"\n' for n in names)
    tail = '    [[measures]]\n    name = "response-ratio"\n    categories = ["Music"]\n    n_bootstrap = 0\n'
    run = compute_recipe(write(tmp_path, head + models + tail))
    values = {r.table["model"].iloc[0]: r.table["value"].to_numpy() for r in run.results}
    assert list(values) == names
    assert not np.array_equal(values[names[0]], values[names[1]])
    assert [m["name"] for m in run.provenance["models"]] == names


def test_an_unwritable_place_is_found_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr("brainalign.report.folder.compute_recipe", lambda *_, **__: pytest.fail("computed"))
    (tmp_path / "file").write_text("")
    for out in (Path("/proc/nope"), tmp_path / "file" / "out"):
        with pytest.raises(ResultsError, match="cannot be made"):
            run_recipe(write(tmp_path), out)


TWO_BRAINS = """
title = "Two brains"
[stimuli]
set = "demo"
[[models]]
name = "logmel"
[[brain]]
name = "demo-components"
[[brain]]
name = "demo-components"
label = "again"
[[measures]]
name = "rsa"
n_permutations = 20
n_bootstrap = 20
[[measures]]
name = "response-ratio"
brains = ["again"]
categories = ["Music"]
n_bootstrap = 0
"""


class TestSeveralBrains:
    def test_each_is_compared_with_every_model(self, tmp_path):
        (tmp_path / "two.toml").write_text(TWO_BRAINS)
        out = run_recipe(tmp_path / "two.toml", tmp_path / "out")
        table = pd.read_csv(out / "results.csv")
        rsa = table[table["measure"] == "rsa"].drop(columns="brain")
        first, second = (rsa[table.loc[rsa.index, "brain"] == b] for b in ("demo-components", "again"))
        pd.testing.assert_frame_equal(first.reset_index(drop=True), second.reset_index(drop=True))
        ratios = table[table["measure"] == "response-ratio"]
        assert set(ratios["brain"].dropna()) == {"again"}
        assert {p.name for p in (out / "arrays").glob("rsa*")} == {
            "rsa--logmel--demo-components.nc", "rsa--logmel--again.nc"
        }  # fmt: skip
        assert [b["name"] for b in json.loads((out / "provenance.json").read_text())["brains"]] == [
            "demo-components", "again"
        ]  # fmt: skip
        page = (out / "report.html").read_text()
        assert "demo-components" in page
        assert "again" in page

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (('label = "again"', ""), "brain: 'demo-components' stands twice"),
            (('brains = ["again"]', 'brains = ["agin"]'), "no brain 'agin'; did you mean 'again'"),
            (('label = "again"', 'label = "again"\nseeed = 1'), r"brain\[1\]: unknown key 'seeed'"),
        ],
    )
    def test_mistakes_are_named(self, tmp_path, change, message):
        (tmp_path / "two.toml").write_text(TWO_BRAINS.replace(*change))
        with pytest.raises(RecipeError, match=message):
            read_recipe(tmp_path / "two.toml")


def test_two_witnesses_of_a_component_are_compared(tmp_path):
    """A recipe that asks several brains about a component says how far their answers agree."""
    text = TWO_BRAINS[: TWO_BRAINS.index("[[measures]]")].replace('name = "logmel"', 'name = "kim2024-cnn@random:0"')
    for label, brain in (("first", "demo-components"), ("second", "again")):
        text += f'[[measures]]\nname = "component-match"\nlabel = "{label}"\nbrains = ["{brain}"]\n'
        text += 'component = "music"\ncategories = ["Music"]\nn_splits = 2\nn_permutations = 0\nn_bootstrap = 0\n'
    (tmp_path / "two.toml").write_text(text)
    results = {r.measure: r for r in compute_recipe(tmp_path / "two.toml").results}
    agreement = results["witness-agreement"].table
    over = agreement[agreement["statistic"] == "spearman over layers"]
    assert len(over)
    assert over["value"].dropna().eq(1).all()


def test_provenance_knows_the_table(tmp_path):
    (tmp_path / "two.toml").write_text(TWO_BRAINS)
    out = run_recipe(tmp_path / "two.toml", tmp_path / "out", audio=False)
    record = json.loads((out / "provenance.json").read_text())
    assert record["results_sha256"] == hashlib.sha256((out / "results.csv").read_bytes()).hexdigest()
