"""Labels that are no names, names that would be one file, texts that are no recipe: refused with line and remedy."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from brainalign._files import file_name, file_names
from brainalign.errors import RecipeError, StimulusError
from brainalign.recipes import read_recipe
from brainalign.recipes.runner import compute_recipe
from brainalign.recipes.shipped import find_recipe, shipped_recipes, shipped_trainings
from brainalign.report.folder import run_recipe
from brainalign.report.saved import load_run
from brainalign.stimuli.sets import read_manifest
from brainalign.training.recipe import read_training_recipe

HEAD = 'title = "t"\n[stimuli]\nset = "demo"\n[[models]]\nname = "logmel"\n'
BRAIN = '[[brain]]\nname = "demo-components"\n'
RATIO = '[[measures]]\nname = "response-ratio"\ncategories = ["Music"]\nn_bootstrap = 0\n'


def write(folder: Path, text: str, name: str = "r.toml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def labelled(*labels: str, part: str = RATIO) -> str:
    """Write parts with labels, each sign escaped."""
    escaped = ["".join(f"\\U{ord(c):08x}" for c in label) for label in labels]
    return "".join(f'{part}label = "{label}"\n' for label in escaped)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("", "label is '', expected a name"),
        (" \u3000", "expected a name"),
        ("../.", "expected a name"),
        ("a\nb", r"has the sign U\+000A, which is not seen"),
        ("a\x7fb", r"has the sign U\+007F"),
        ("a\u2028b", r"has the sign U\+2028"),
        ("ratio\u202e35", r"has the sign U\+202E"),
        ("ratio\u2067", r"has the sign U\+2067"),
        ("ratio\u200f", r"has the sign U\+200F"),
        ("x" * 101, "label has 101 characters, expected at most 100"),
        ("音" * 80, "here of up to 2[0-9][0-9] bytes, expected at most 230"),
    ],
)
def test_labels_that_are_no_names(tmp_path: Path, label: str, message: str) -> None:
    path = write(tmp_path, HEAD + labelled(label))
    with pytest.raises(RecipeError, match=rf"r\.toml:10: measures\[0\].*{message}"):
        read_recipe(path)
    path = write(tmp_path, HEAD + RATIO + labelled(label, part=BRAIN))
    with pytest.raises(RecipeError, match=message):
        read_recipe(path)


@pytest.mark.parametrize("label", ["x" * 100, "音楽への応答", "a.b", "-", "it's; $(x)", "שלום"])
def test_labels_that_are(tmp_path: Path, label: str) -> None:
    assert read_recipe(write(tmp_path, HEAD + labelled(label))).measures[0].label == label


@pytest.mark.parametrize(("one", "other"), [("a/b", "a b"), ("Ratio", "ratio"), ("x:?", "x_"), ("STRASSE", "straße")])
def test_two_labels_of_one_file(tmp_path: Path, one: str, other: str) -> None:
    for parts, where, line in (
        (labelled(one, other), "measures", 15),
        (RATIO + labelled(one, other, part=BRAIN), "brain", 15),
    ):
        with pytest.raises(RecipeError) as caught:
            read_recipe(write(tmp_path, HEAD + parts))
        said = str(caught.value)
        assert said.startswith(f"{tmp_path / 'r.toml'}:{line}: {where}: {one!r} and {other!r} would have files of one")
        assert said.endswith("give one of them another label")


def test_two_models_of_one_file(tmp_path: Path) -> None:
    names = ["kim2024-cnn:a/w.safetensors", "kim2024-cnn:a_w.safetensors"]
    models = "".join(f'[[models]]\nname = "{name}"\n' for name in names)
    with pytest.raises(RecipeError, match=rf"r\.toml:9: models: '{names[0]}' and '{names[1]}' would have files of one"):
        read_recipe(write(tmp_path, HEAD + models + RATIO))


def test_a_label_that_reads_like_the_file_of_another(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the files of 'ratio--logmel' could be taken for those of 'ratio'"):
        read_recipe(write(tmp_path, HEAD + labelled("ratio--logmel", "ratio")))


def test_labels_that_differ_keep_their_arrays(tmp_path: Path) -> None:
    labels = ["a b", "a-b", "a_b.c"]
    run = load_run(run_recipe(write(tmp_path, HEAD + labelled(*labels)), tmp_path / "out", audio=False))
    recorded = [record["arrays"] for record in run.provenance["results"]]
    assert len(set(recorded)) == len(labels)
    assert sorted(f"arrays/{p.name}" for p in (tmp_path / "out" / "arrays").iterdir()) == sorted(recorded)


def test_file_names_are_distinct_and_plain_where_they_can_be() -> None:
    names = ["a b", "a/b", "A:b", "c d"]
    found = file_names(names)
    assert found[3] == "c_d"
    assert len({n.casefold() for n in found}) == len(names)
    assert all(n.casefold().startswith("a_b-") and file_name(n) == n for n in found[:3])
    assert file_names(names[::-1]) == found[::-1]


def test_the_command_of_a_run_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, HEAD + RATIO, "my re cipe;x.toml")
    monkeypatch.setattr(sys, "argv", ["/bin/brainalign", "run", str(path), "--out", "it's"])
    record = compute_recipe(path).provenance
    assert shlex.split(record["command"]) == ["brainalign", "run", str(path), "--seed", "0"]
    assert shlex.split(record["invoked_as"]) == ["brainalign", "run", str(path), "--out", "it's"]


@pytest.mark.parametrize("key", ['categories = "Music"', 'layers = "Music"', 'ids = "Music"'])
def test_a_string_where_a_list_belongs(tmp_path: Path, key: str) -> None:
    stimuli, models, measures = ('set = "demo"', 'name = "logmel"', 'categories = ["Music"]')
    beside = {"ids": stimuli, "layers": models, "categories": measures}[key.split()[0]]
    text = (HEAD + RATIO).replace(beside, key if beside == measures else f"{beside}\n{key}")
    with pytest.raises(RecipeError, match=rf"{key.split()[0]} is 'Music', expected a list, such as \[\"Music\"\]$"):
        read_recipe(write(tmp_path, text))


READERS = [(read_recipe, RecipeError), (read_training_recipe, RecipeError), (read_manifest, StimulusError)]


@pytest.mark.parametrize(("read", "error"), READERS)
class TestTexts:
    def test_syntax(self, tmp_path: Path, read, error) -> None:
        path = write(tmp_path, 'title = "t"\n\nseed 3\n')
        with pytest.raises(error, match=r"/r\.toml:3 is not valid TOML: Expected '=' .*, at column 6$"):
            read(path)

    def test_a_key_twice(self, tmp_path: Path, read, error) -> None:
        with pytest.raises(error, match=r"/r\.toml:3 is not valid TOML: a key or table that stands twice, at column"):
            read(write(tmp_path, 'title = "t"\nseed = 3\ntitle = "u"\n'))

    def test_a_text_that_ends_early(self, tmp_path: Path, read, error) -> None:
        with pytest.raises(error, match=r"/r\.toml is not valid TOML: .*end of document"):
            read(write(tmp_path, 'title = "t"\n[stimuli'))

    def test_latin_1(self, tmp_path: Path, read, error) -> None:
        (tmp_path / "r.toml").write_bytes('seed = 1\ntitle = "Gehör"\n'.encode("latin-1"))
        with pytest.raises(error, match=r"/r\.toml:2 cannot be read as .*: 0xf6 is not UTF-8; save it as UTF-8$"):
            read(tmp_path / "r.toml")


def test_a_training_is_no_analysis_and_the_other_way_round() -> None:
    for name in shipped_trainings():
        with pytest.raises(RecipeError, match=f"^{name} is a training; do: brainalign train {name}$"):
            find_recipe(name)
    for name in np.random.default_rng(0).choice(list(shipped_recipes()), 3, replace=False):
        with pytest.raises(RecipeError, match=f"^{name} is an analysis; do: brainalign run {name}$"):
            find_recipe(name, "training")
