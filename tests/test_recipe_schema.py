"""The JSON Schema of recipes, held against the recipes that ship and against what read_recipe refuses.

``python tests/test_recipe_schema.py`` writes the tables of keys into docs/recipes.md anew.
"""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from pathlib import Path

import pytest

from brainalign.brain import BRAINS
from brainalign.errors import RecipeError
from brainalign.measures import MEASURES
from brainalign.models import MODELS
from brainalign.recipes import read_recipe, recipe_schema, shipped_recipes
from brainalign.recipes.json_schema import describe
from brainalign.recipes.options import GIVEN
from brainalign.recipes.schema import BrainPart, ManipulationPart, MeasurePart
from brainalign.stimuli import MANIPULATIONS, STIMULI

jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module")
def schema() -> dict:
    return recipe_schema()


@pytest.fixture(scope="module")
def validator(schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(json.loads(json.dumps(schema)))


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_recipes_that_ship_are_right(validator, name):
    validator.validate(tomllib.loads(shipped_recipes()[name].read_text(encoding="utf-8")))


GOOD = """\
title = "x"
seed = 3
[stimuli]
set = "demo"
manipulate = [{ name = "quilt", segment_ms = 60.0 }]
[[models]]
name = "kim2024-cnn:no-music/0@random:0"
layers = ["conv*"]
[brain]
name = "simulated-cortex"
seed = 1
[[measures]]
name = "component-encoding"
splits = "kfold"
level = 0.9
[[measures]]
name = "response-ratio"
categories = ["Music"]
"""


def test_a_good_recipe_is_right_in_both_forms_of_brain(validator, tmp_path):
    for text in (GOOD, GOOD.replace("[brain]", "[[brain]]")):
        validator.validate(tomllib.loads(text))
        (tmp_path / "a.toml").write_text(text, encoding="utf-8")
        read_recipe(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('title = "x"', 'titel = "x"'),
        ("seed = 3", "seed = -1"),
        ("seed = 3", 'seed = "3"'),
        ("seed = 3", "seed = 9223372036854775808"),
        ('set = "demo"', "set = 1"),
        ('set = "demo"', 'sets = "demo"'),
        ('name = "quilt"', 'name = "kwilt"'),
        ("segment_ms = 60.0", 'segment_ms = "60"'),
        (", segment_ms = 60.0", ""),
        ("segment_ms = 60.0", "segment_ms = 60.0, segments = 2"),
        ('name = "kim2024-cnn:no-music/0@random:0"', 'name = "kim:no-music"'),
        ('layers = ["conv*"]', 'layers = "conv*"'),
        ('layers = ["conv*"]', "layer = 1"),
        ('name = "simulated-cortex"', 'name = "simulated"'),
        ("seed = 1\n", "sed = 1\n"),
        ("seed = 1\n", 'seed = "1"\n'),
        ('name = "component-encoding"', 'name = "encoding"'),
        ('splits = "kfold"', "splits = 5"),
        ('splits = "kfold"', 'split = "kfold"'),
        ('splits = "kfold"', 'splits = "kfolds"'),
        ('splits = "kfold"', "n_splits = 0"),
        ("level = 0.9", "n_bootstrap = 5"),
        ("level = 0.9", "n_bootstrap = -1"),
        ("level = 0.9", "n_bootstrap = 1_000_001"),
        ("level = 0.9", "n_inner_folds = 1"),
        ("level = 0.9", "level = 1.0"),
        ("level = 0.9", 'penalty = "mine"'),
        ('categories = ["Music"]', 'categories = "Music"'),
        ('categories = ["Music"]', "categories = [1]"),
        ('categories = ["Music"]', ""),
        ('categories = ["Music"]', 'categories = ["Music"]\nbrains = "x"'),
    ],
)
def test_what_is_wrong_is_refused_by_both(validator, tmp_path, old, new):
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    assert not validator.is_valid(tomllib.loads(text))
    (tmp_path / "a.toml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError):
        read_recipe(tmp_path / "a.toml")


def branches(schema, part):
    return {branch["title"]: branch for branch in schema["$defs"][part]["oneOf"]}


def test_options_are_those_of_the_signatures(schema):
    common = {"name", "label", "models", "brains"}
    for name, branch in branches(schema, "MeasurePart").items():
        known = inspect.signature(MEASURES.get(name)).parameters
        assert set(branch["properties"]) == (set(known) - GIVEN) | common, name
        for option in set(known) - GIVEN:
            assert branch["properties"][option].get("description"), (name, option)
    assert set(branches(schema, "MeasurePart")) == set(MEASURES.names())
    assert set(branches(schema, "BrainPart")) == set(BRAINS.names())
    assert set(branches(schema, "ManipulationPart")) == set(MANIPULATIONS.names())


def test_every_key_is_described(schema):
    tables = [schema, *schema["$defs"].values()]
    lacking = [key for t in tables for key, own in t.get("properties", {}).items() if not own.get("description")]
    assert lacking == []


def test_every_reference_leads_somewhere(schema):
    def references(part):
        if isinstance(part, dict):
            yield from (v for k, v in part.items() if k == "$ref")
            for value in part.values():
                yield from references(value)
        elif isinstance(part, list):
            for value in part:
                yield from references(value)

    assert {r.removeprefix("#/$defs/") for r in references(schema)} == set(schema["$defs"])


def test_names_are_closed_where_they_are_and_open_where_not(schema, validator):
    names = schema["$defs"]["StimuliPart"]["properties"]["set"]["anyOf"][0]["enum"]
    assert names == STIMULI.names()
    for model, right in (("hf:org/name", True), ("onnx:a.onnx", True), ("logmel@random:1", True), ("hf", True),
                         ("nets", False), ("logmels", False), ("my:hf:x", False)):  # fmt: skip
        content = tomllib.loads(GOOD.replace("kim2024-cnn:no-music/0@random:0", model))
        assert validator.is_valid(content) is right, model
    assert schema["$defs"]["ModelPart"]["properties"]["name"]["anyOf"][0]["enum"] == MODELS.names()
    validator.validate(tomllib.loads(GOOD.replace('set = "demo"', 'set = "my-folder"')))


def test_a_lab_s_own_measure_is_in_it(monkeypatch):
    monkeypatch.setattr(MEASURES, "_registered", dict(MEASURES._registered))

    @MEASURES.register("my-measure")
    def mine(responses, *, power: float = 2.0) -> None:
        """Say what is mine.

        Parameters
        ----------
        responses : Responses
            The responses.
        power : float
            To which ``x`` is taken, see :func:`~my.other`.
        """

    branch = branches(recipe_schema(), "MeasurePart")["my-measure"]
    assert branch["description"] == "Say what is mine."
    assert branch["properties"]["power"] == {
        "default": 2.0,
        "type": "number",
        "description": "To which x is taken, see my.other.",
    }


def test_docstrings_are_read():
    def function(first, second, third):
        """Do it,
        at once.

        More.

        Parameters
        ----------
        first, second : int
            Both.

            Still both.
        third : str

        Returns
        -------
        int
            A number.
        """

    summary, described = describe(function)
    assert summary == "Do it, at once."
    assert described == {"first": "Both. Still both.", "second": "Both. Still both.", "third": ""}


PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"
MARKS = ("<!-- keys -->", "<!-- end of keys -->")
WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "table",
    "array": "list",
}


def kind(own: dict) -> str:
    """Say in words what a value may be."""
    if "$ref" in own:
        return "table"
    if len(own.get("enum", ())) > 10:
        return "text"
    if "enum" in own:
        return ", ".join(f"`{json.dumps(v)}`" for v in own["enum"])
    if "anyOf" in own:
        first = own["anyOf"][0]
        inner = [own["type"]] if "type" in own and "enum" in first else [kind(b) for b in own["anyOf"]]
        return " or ".join(dict.fromkeys(WORDS.get(i, i) for i in inner if i != "any") or ["any"])
    if own.get("type") == "array" and "items" in own:
        return f"list of {kind(own['items'])}"
    return WORDS.get(own.get("type", ""), "any")


def table(properties: dict, required: list[str], left_out: set[str] = frozenset()) -> list[str]:
    rows = ["| key | what it may be | if not given | what it says |", "| --- | --- | --- | --- |"]
    for key, own in properties.items():
        if key not in left_out:
            default = "needed" if key in required else f"`{json.dumps(own['default'])}`" if "default" in own else ""
            cells = (f"`{key}`", kind(own), default, own.get("description", ""))
            rows.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return rows if len(rows) > 2 else ["No keys of its own."]


def key_tables(schema: dict) -> str:
    """Write all keys of a recipe as tables."""
    known = schema["$defs"]
    lines = ["### The whole", "", *table(schema["properties"], schema["required"])]
    parts = [
        ("`[stimuli]` and `[selection]`", "StimuliPart"),
        ("`[[models]]`", "ModelPart"),
        ("`[reconstruction]`", "ReconstructionPart"),
    ]
    refers = {own["$ref"].removeprefix("#/$defs/"): key for key, own in schema["properties"].items() if "$ref" in own}
    parts += [(f"`[{refers[n]}]`", n) for n in known if n in refers and n not in {p for _, p in parts}]
    for title, part in parts:
        own = known[part]
        lines += ["", f"### {title}", "", own["description"], "", *table(own["properties"], own.get("required", []))]
    for title, part, model in (
        ("`[[measures]]`", "MeasurePart", MeasurePart),
        ("`[brain]`", "BrainPart", BrainPart),
        ("`manipulate`", "ManipulationPart", ManipulationPart),
    ):
        common = set(model.model_fields)
        first = known[part]["oneOf"][0]
        shared = {k: v for k, v in first["properties"].items() if k in common and k != "name"}
        name = {"name": known[part]["properties"]["name"] | {"description": "One of those below."}}
        name["name"].pop("enum")
        lines += ["", f"### {title}", "", known[part]["description"], "", *table(name | shared, ["name"])]
        for branch in known[part]["oneOf"]:
            lines += ["", f"#### `{branch['title']}`", "", branch["description"], ""]
            lines += table(branch["properties"], branch["required"], common)
    return "\n".join(lines)


def test_the_page_lists_every_key(schema):
    if not PAGE.is_file():
        pytest.skip("runs from an installed package, not from a checkout")
    text = PAGE.read_text(encoding="utf-8")
    assert text.split(MARKS[0])[1].split(MARKS[1])[0].strip() == key_tables(schema)


def test_recipes_of_the_page_are_right(validator):
    blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8").split(MARKS[0])[0], re.DOTALL)
    whole = [tomllib.loads(b) for b in blocks if "title" in b]
    assert whole
    for content in whole:
        validator.validate(content)


if __name__ == "__main__":
    old = PAGE.read_text(encoding="utf-8")
    before, rest = old.split(MARKS[0])
    keys = key_tables(recipe_schema())
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{keys}\n\n{MARKS[1]}{rest.split(MARKS[1])[1]}", encoding="utf-8")
