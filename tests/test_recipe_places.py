"""Lines of keys in TOML, held against what tomllib reads and where its values stand in the text."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainalign.errors import RecipeError
from brainalign.recipes import read_recipe, shipped_recipes
from brainalign.recipes.places import find_lines, line_of

EVERYTHING = '''\
# a comment with [brackets] and key = "value"
title = "a # that is no comment"  # this one is

stimuli.set = "demo"
stimuli . "manipulate" = [
    { name = "quilt", segment_ms = [1, 2] },  # ] in a comment
    # { name = "nothing" },
    { name = "windows" }
]

[deep.er."quoted.key\\u0041"]
text = """
[[measures]]
not = "a key", ""quotes"" and \\""" more"""""
literal = \'\'\'C:\\\'\'\'
after = 1979-05-27 07:32:00

[[measures]]
name = "rsa"
[measures.options]
level = .95e0

[[measures]]
name = "other"
nested = [[1, 2],
  [3]]
[[measures.within]]
a = 1
[[measures.within]]
a = { b.c = 2, d = {} }
[[measures]]
'''.replace(".95e0", "0.95e0")


def places(content: object, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Give every place below, and what stands there."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner:
        yield (*place, key), value
        yield from places(value, (*place, key))


def test_every_form_of_toml():
    lines = find_lines(EVERYTHING)
    assert set(lines) == {place for place, _ in places(tomllib.loads(EVERYTHING))}
    wanted = {
        "title = ": ("title",),
        "stimuli.set": ("stimuli", "set"),
        'stimuli . "': ("stimuli", "manipulate"),
        'name = "quilt"': ("stimuli", "manipulate", 0, "segment_ms", 1),
        'name = "windows"': ("stimuli", "manipulate", 1, "name"),
        "[deep": ("deep", "er", "quoted.keyA"),
        'text = """': ("deep", "er", "quoted.keyA", "text"),
        "literal": ("deep", "er", "quoted.keyA", "literal"),
        "after": ("deep", "er", "quoted.keyA", "after"),
        'name = "rsa"': ("measures", 0, "name"),
        "[measures.options]": ("measures", 0, "options"),
        "level": ("measures", 0, "options", "level"),
        'name = "other"': ("measures", 1, "name"),
        "nested": ("measures", 1, "nested", 0, 1),
        "  [3]]": ("measures", 1, "nested", 1, 0),
        "a = 1": ("measures", 1, "within", 0, "a"),
        "a = { b.c": ("measures", 1, "within", 1, "a", "b", "c"),
    }
    found = {start: lines[place] for start, place in wanted.items()}
    text = EVERYTHING.splitlines()
    assert found == {start: next(i for i, row in enumerate(text, 1) if start in row) for start in wanted}
    assert lines["measures", 2] == len(text)
    assert lines["measures",] == lines["measures", 0] == text.index("[[measures]]", text.index('name = "rsa"') - 2) + 1


def test_windows_line_ends():
    assert find_lines(EVERYTHING.replace("\n", "\r\n")) == find_lines(EVERYTHING)


def test_what_is_not_there_has_the_line_around_it():
    assert line_of(EVERYTHING, ("measures", 1, "nested", 7)) == find_lines(EVERYTHING)["measures", 1, "nested"]
    assert line_of(EVERYTHING, ("measures", 0, "label")) == find_lines(EVERYTHING)["measures", 0]
    assert line_of(EVERYTHING, ("brain", "name")) is None


KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=5) | st.sampled_from(["a", "b-1", "3"])
LEAVES = st.sampled_from(["basic", "literal", "long", "long literal", "number"])
TREES = st.recursive(
    LEAVES, lambda inner: st.dictionaries(KEYS, inner, max_size=4) | st.lists(inner, max_size=3), max_leaves=12
)


class Writer:
    """Writes a tree as TOML in a form that is drawn; every leaf holds a mark that stands nowhere else."""

    def __init__(self, draw):
        self.draw = draw
        self.n_marks = 0

    def pick(self, *options):
        return self.draw(st.sampled_from(options))

    def key(self, key):
        plain = key != "" and all(c in "ab-13" for c in key)
        basic = '"' + "".join(f"\\U{ord(c):08x}" for c in key) + '"'
        literal = "'" in key or not key.isprintable()
        return self.pick(*([key] if plain else []), basic, *([] if literal else [f"'{key}'"]))

    def leaf(self, kind):
        self.n_marks += 1
        mark = f"{self.n_marks:05d}"
        return {
            "basic": f'"{mark} \\" # ] }} , [x]"',
            "literal": f"'{mark} \\ # ] }} , ='",
            "long": f'"""{mark} ""\n[x]\n\\""" = "1", """""',
            "long literal": f"'''{mark} ''\n[[x]] # '\n'''''",
            "number": f"1{mark}",
        }[kind]

    def inline(self, tree):
        if isinstance(tree, dict):
            return "{ " + ", ".join(f"{self.key(k)} = {self.inline(v)}" for k, v in tree.items()) + " }"
        if isinstance(tree, list):
            gap = self.pick("", " ", "\n", " # ] , [\n", "\n\n  ")
            entries = [gap + self.inline(v) + gap for v in tree]
            return "[" + ",".join(entries) + (self.pick("", ",") if entries else "") + gap + "]"
        return self.leaf(tree)

    def table(self, tree, header):
        """Write a table: what fits on a line first, tables of their own after it."""
        lines, later = [], []
        for key, value in tree.items():
            of_tables = isinstance(value, list) and value and all(isinstance(v, dict) for v in value)
            if isinstance(value, dict) and value and self.pick(True, False):
                for k, v in value.items():
                    lines.append(f"{self.key(key)} . {self.key(k)}={self.inline(v)}")
            elif isinstance(value, dict) and self.pick(True, False):
                later.append(("[", "]", key, value))
            elif of_tables and self.pick(True, False):
                later += [("[[", "]]", key, v) for v in value]
            else:
                lines.append(f"{self.key(key)} = {self.inline(value)}{self.pick('', ' # [c]')}")
        for left, right, key, value in later:
            own = [*header, self.key(key)]
            lines.append(f"{left} {'.'.join(own)} {right}{self.pick('', '  # [[x]]')}")
            lines.append(self.table(value, own))
        return self.pick("\n", "\n\n", "\n# x = 1\n").join(lines)


@given(st.dictionaries(KEYS, TREES, max_size=4), st.data())
@settings(max_examples=150, deadline=None)
def test_any_toml(tree, data):
    text = Writer(data.draw).table(tree, [])
    content = tomllib.loads(text)
    lines = find_lines(text)
    assert set(lines) == {place for place, _ in places(content)}
    rows = text.split("\n")
    for place, value in places(content):
        if not isinstance(value, dict | list):
            mark = str(value)[:6] if isinstance(value, int) else value[:5]
            assert mark in rows[lines[place] - 1]
        assert lines[place] >= lines.get(place[:-1], 1)


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_shipped_recipes(name):
    text = shipped_recipes()[name].read_text(encoding="utf-8")
    lines, rows = find_lines(text), text.splitlines()
    for place, _ in places(tomllib.loads(text)):
        key = next(p for p in reversed(place) if isinstance(p, str))
        assert isinstance(place[-1], int) or key in rows[lines[place] - 1]


GOOD = """\
title = "x"
[stimuli]
set = "demo"

[[models]]
name = "logmel"

[brain]
name = "simulated-cortex"
seed = 1

[[measures]]
name = "component-encoding"
splits = "kfold"

[[measures]]
name = "response-ratio"
categories = [
  "Music",
]
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('set = "demo"', 'set = "dem"', 3, "stimuli.set: no known set"),
        ('set = "demo"', "set = 3", 3, "stimuli.set is 3, expected text in quotes"),
        ('name = "logmel"', 'name = "logmell"', 6, "models[0].name: no model named 'logmell'"),
        ('name = "logmel"', "nam = 1", 6, "unknown key 'models[0].nam'; did you mean 'name'?"),
        ('name = "logmel"', 'layers = ["a"]', 5, "the key 'models[0].name' is missing"),
        ("seed = 1", "sed = 1", 10, "brain: unknown key 'sed'"),
        ("seed = 1", 'seed = "1"', 10, "brain: seed is '1'"),
        ('splits = "kfold"', "splitz = 5", 14, "measures[0] (component-encoding): unknown key 'splitz'"),
        ('splits = "kfold"', "splits = 5", 14, "measures[0] (component-encoding): splits"),
        ('splits = "kfold"', 'brains = ["mine"]', 14, "brains: the recipe has no brain 'mine'"),
        ('  "Music",', '  "Music",\n  7,', 20, "measures[1] (response-ratio): categories[1]"),
        ('name = "response-ratio"', 'name = "ratio"', 17, "no measure named 'ratio'"),
        ('name = "response-ratio"\n', 'name = "component-encoding"\n', 17, "stands twice"),
        (
            'set = "demo"',
            'set = "demo"\nmanipulate = [\n{ name = "quilt" }]',
            5,
            "manipulate[0] (quilt): the key 'segment_ms'",
        ),
        ('set = "demo"', 'set = "demo"\nmanipulate = [\n{ name = "kwilt" }]', 5, "no manipulation named 'kwilt'"),
        ('title = "x"', 'titel = "x"', 1, "unknown key 'titel'"),
        ("[brain]", "[brian]", 8, "unknown key 'brian'"),
    ],
)
def test_an_error_names_file_line_and_key(tmp_path, old, new, line, words):
    path = tmp_path / "my.toml"
    path.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(RecipeError) as why:
        read_recipe(path)
    assert str(why.value).startswith(f"{path}:{line}: ")
    assert words in str(why.value)
    assert "\n" not in str(why.value)


def test_a_key_that_is_nowhere_has_no_line(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(GOOD.replace('title = "x"\n', ""), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"my\.toml: the key 'title' is missing"):
        read_recipe(path)


def test_the_good_recipe_is_good(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(GOOD, encoding="utf-8")
    assert read_recipe(path).title == "x"
