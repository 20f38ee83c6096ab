"""Recipes whose measures take more than responses: other sounds that select, the model, the stimuli."""

import json
import textwrap

import pandas as pd
import pytest

from brainalign.errors import BrainalignError, RecipeError
from brainalign.measures import MEASURES
from brainalign.measures.selective import selective_ratio
from brainalign.models import extract, load_model
from brainalign.recipes import read_recipe
from brainalign.recipes.shipped import find_recipe
from brainalign.report.folder import run_recipe
from brainalign.stimuli import load_stimuli
from brainalign.stimuli.synthesis import write_demo

ANALYSES = ("selectivity", "speech", "readout", "segregation", "ablation", "level")
IDS = load_stimuli("demo").ids
RECIPE = f"""
    title = "Selection by other sounds"
    [stimuli]
    set = "demo"
    ids = {IDS[::2]}
    [selection]
    set = "demo"
    ids = {IDS[1::2]}
    [[models]]
    name = "kim2024-cnn:no-music/0"
    layers = ["avgpool"]
    [brain]
    name = "demo-components"
    [[measures]]
    name = "selective-ratio"
    categories = ["Music", "Song"]
    n_bootstrap = 50
    [[measures]]
    name = "level-sweep"
    categories = ["Music", "Song"]
    n_bootstrap = 0
    power_ratios = [1.0, 0.25]
    [[measures]]
    name = "unit-table"
    categories = ["Music", "Song"]
    n_permutations = 50
"""


def write(folder, *changes):
    text = textwrap.dedent(RECIPE)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "study.toml"
    path.write_text(text)
    return path


def test_other_sounds_select_and_the_record_says_so(tmp_path):
    folder = run_recipe(write(tmp_path), tmp_path / "out", jobs=2)
    table = pd.read_csv(folder / "results.csv")
    sounds, model = load_stimuli("demo"), load_model("kim2024-cnn:no-music/0")
    test, selection = (extract(model, sounds.select(ids), layers=["avgpool"]) for ids in (IDS[::2], IDS[1::2]))
    expected = selective_ratio(test, selection=selection, categories=["Music", "Song"], n_bootstrap=50).table
    found = table[table["measure"] == "selective-ratio"]
    assert found["value"].tolist() == pytest.approx(expected["value"].tolist())
    record = json.loads((folder / "provenance.json").read_text())
    assert list(record["stimuli"]["sha256"]) == IDS[::2]
    assert record["selection"]["sha256"] == {i: sounds.digest(i) for i in IDS[1::2]}
    # Measures of selective units are about models; the table of units describes the brain as well.
    assert set(table[table["measure"] != "unit-table"]["brain"].dropna()) == set()
    assert table[(table["measure"] == "unit-table") & table["model"].isna()]["target"].nunique() == 6
    sweep = table[table["measure"] == "level-sweep"]
    assert sweep["power_ratio"].dropna().unique().tolist() == [1.0, 0.25]


def test_sounds_that_select_and_test_are_an_error_and_leave_nothing(tmp_path):
    path = write(tmp_path, (str(IDS[1::2]), str([*IDS[1::2], IDS[0]])))
    with pytest.raises(BrainalignError, match=f"1 sounds select and test .{IDS[0]}"):
        run_recipe(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["study.toml"]


def test_a_test_sound_that_selects_by_another_id_is_found(tmp_path):
    folder = write_demo(tmp_path / "mine")
    table = pd.read_csv(folder / "stimuli.csv", index_col="stimulus_id")
    table.loc[[IDS[0], *IDS[1::2]]].rename(index={IDS[0]: "copy"}).to_csv(folder / "stimuli.csv")
    path = write(tmp_path, (f'set = "demo"\nids = {IDS[1::2]}', 'set = "mine"'))
    with pytest.raises(BrainalignError, match=f"'copy' of the selection is the test sound '{IDS[0]}'"):
        run_recipe(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ('[selection]\nset = "demo"', '[selection]\nset = "demmo"'),
            "selection.set: no known set and no folder 'demmo'",
        ),
        (("[selection]\n", "[selection]\nsett = 1\n"), "unknown key 'selection.sett'; did you mean 'set'"),
        (("n_bootstrap = 50", 'selection = "demo"'), "unknown key 'selection'"),
        (("power_ratios = [1.0, 0.25]", 'power_ratios = ["soft"]'), "power_ratios[0] is 'soft', expected a number"),
    ],
)
def test_mistakes_are_named(tmp_path, change, message):
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, change))
    assert message in str(caught.value)


def test_a_selection_that_nothing_takes_is_a_mistake(tmp_path):
    cut = textwrap.dedent(RECIPE).index("[[measures]]")
    path = tmp_path / "study.toml"
    path.write_text(textwrap.dedent(RECIPE)[:cut] + '[[measures]]\nname = "rsa"\n')
    with pytest.raises(RecipeError, match="no measure of this recipe selects or fits by other sounds"):
        read_recipe(path)


@pytest.mark.parametrize("name", ANALYSES)
def test_analyses_of_the_paper_are_well_formed(name):
    recipe = read_recipe(find_recipe(f"kim2024/{name}"))
    assert recipe.stimuli.set == "demo"
    assert {m.name for m in recipe.measures} <= set(MEASURES.names())


@pytest.mark.slow
@pytest.mark.parametrize("name", ANALYSES)
def test_analyses_of_the_paper_run(name, tmp_path):
    table = pd.read_csv(run_recipe(f"kim2024/{name}", tmp_path / "out") / "results.csv")
    # Units of a rectified layer may be dead: whatever has no value says why.
    assert table["value"].notna().mean() > 0.9
    assert table["note"].astype(str)[table["value"].isna()].str.contains("constant").all()
    assert set(table["model"].dropna()) == {m.name for m in read_recipe(find_recipe(f"kim2024/{name}")).models}
