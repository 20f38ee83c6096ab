"""What notebooks show: escaped, well formed, short, with nothing to load."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import brainalign as ba
from brainalign.brain import BrainData
from brainalign.measures.result import Result, result_table
from brainalign.recipes.runner import Run
from brainalign.recipes.schema import Recipe
from brainalign.responses import make_responses
from brainalign.stimuli.sets import Manifest, StimulusSet

HOSTILE = "<script>alert(1)</script>\"' onload=x & <img src=http://evil/x>"
VOID = {"br", "img", "link", "meta", "input", "hr"}


class Reader(HTMLParser):
    """Reads a page: tags, attributes, text, and whether every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(shown: object) -> Reader:
    html = shown._repr_html_()
    page = Reader(html)
    assert page.open == []
    assert not {"script", "img", "link", "style", "iframe"} & set(page.tags)
    assert not {"src", "href", "onload"} & {name for name, _ in page.attributes}
    assert len(html) < 60_000
    assert page.tags.count("th") == [a for a, _ in page.attributes].count("scope")
    return page


def result(n: int = 1) -> Result:
    rows = [
        {
            "measure": HOSTILE,
            "model": HOSTILE,
            "layer": "conv1",
            "statistic": "r",
            "value": 0.12345,
            "n": 66,
            "note": HOSTILE,
        }
        for _ in range(n)
    ]
    return Result(HOSTILE, result_table(rows), warnings=[HOSTILE])


def stimuli(n: int = 3) -> StimulusSet:
    table = pd.DataFrame(
        {"file": "x.wav", "category": HOSTILE, "said": HOSTILE}, index=pd.Index([f"{HOSTILE}{i}" for i in range(n)])
    )
    return StimulusSet(Manifest(name=HOSTILE, version="1", citation=HOSTILE, licence="x"), table, lambda _: (_, 1))


def brain() -> BrainData:
    values = np.arange(6.0).reshape(3, 2)
    responses = make_responses(values, ["a", "b", "c"], [HOSTILE, "u"])
    responses = responses.assign_coords(category=("stimulus", [HOSTILE, "x", "x"]), subject=("unit", [HOSTILE, "s"]))
    return BrainData("lab", responses, "1", HOSTILE, "x", warnings=(HOSTILE,))


def recipe() -> Recipe:
    parts = {"stimuli": {"set": "demo"}, "models": [{"name": HOSTILE}], "measures": [{"name": HOSTILE}]}
    return Recipe.model_validate({"title": HOSTILE, "question": HOSTILE, **parts})


class Model(ba.HookedModel):
    """A model that is only looked at."""

    def __init__(self) -> None:
        for name, value in (
            ("name", HOSTILE),
            ("sample_rate", 16_000),
            ("layouts", {HOSTILE: "BCT"}),
            ("minimum_samples", 400),
            ("record", {HOSTILE: HOSTILE}),
        ):
            object.__setattr__(self, name, value)


@pytest.mark.parametrize(
    "shown",
    [result(), stimuli(), brain(), Run(recipe(), stimuli(), (brain(),), [result()], {}), Model()],
    ids=["result", "stimuli", "brain", "run", "model"],
)
def test_names_are_shown_as_they_are(shown):
    page = read(shown)
    assert HOSTILE in page.text
    assert dict(page.attributes)["aria-label"] is not None


def test_a_result_shows_its_numbers_and_no_empty_columns():
    page = read(result())
    for word in ("0.123", "66", "conv1"):
        assert word in page.text
    assert "ci_low" not in page.text
    assert "brain" not in page.text
    assert "warnings (1)" in page.text


def test_what_is_long_is_cut_and_says_so():
    assert "estimates: the first 30 of 1000" in read(result(1000)).text
    assert "sounds: the first 30 of 5000" in read(stimuli(5000)).text


def test_demo_data():
    page = read(ba.load_stimuli("demo"))
    sounds = ba.load_stimuli("demo")
    for category, n in sounds.table["category"].value_counts().items():
        assert f"{category} {n}" in page.text
    assert "66 stimulus x " in read(ba.load_brain("demo-components")).text
    model = read(ba.load_model("logmel"))
    assert all(layer in model.text for layer in ba.load_model("logmel").layouts)


def test_a_decomposition_before_and_after_it_is_fitted():
    found = ba.VoxelDecomposition(n_components=2, n_restarts=1)
    assert "not fitted yet" in read(found).text
    rng = np.random.default_rng(0)
    found.fit(rng.gamma(1, size=(30, 2)) @ rng.laplace(size=(2, 200)) ** 3)
    page = read(found)
    assert f"{float(found.explained_variance_[0]):.3g}" in page.text
    assert "component-2" in page.text
