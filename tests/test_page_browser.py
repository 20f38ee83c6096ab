"""The page in a real browser: maps, values of matrices, names that are code, what axe finds, narrow, and on paper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import test_leaderboard
import test_run_comparison
from browsing import WATCH, Visit, found_by_axe
from test_listening import make_content, make_examples, tone
from test_power import two_models
from test_report import encoding_result
from test_report import make_content as make_run
from test_sound_map import with_random_rdms

from brainalign.brain.data import BrainData
from brainalign.measures.encoding import component_encoding
from brainalign.measures.leaderboard import leaderboard
from brainalign.measures.power import power
from brainalign.report.leaderboard import write_leaderboard
from brainalign.report.matrices import rank_pairs, rdm_order
from brainalign.report.page import ReportContent, write_report
from brainalign.report.power_page import write_power_page
from brainalign.report.run_comparison_page import write_run_comparison
from brainalign.responses import make_responses
from brainalign.stimuli.checks import check_stimuli
from brainalign.stimuli.checks_page import write_check_page
from brainalign.stimuli.sets import Manifest, StimulusSet

pytestmark = pytest.mark.browser
CATEGORIES = ("Music", "Nature", "EngSpeech") * 4


def visit_of(browser: Any, path: Path, **how: Any) -> Visit:
    context = browser.new_context(viewport={"width": 1200, "height": 900}, **how)
    context.add_init_script(WATCH)
    sources = re.findall(r'data-sound="([^"]+)".*?src="(data:audio[^"]+)"', path.read_text(encoding="utf-8"))
    visit = Visit(context.new_page(), dict(sources))
    visit.page.goto(path.as_uri())
    return visit


@pytest.fixture(scope="module")
def content() -> ReportContent:
    return with_random_rdms(make_content(CATEGORIES))


@pytest.fixture(scope="module")
def path(content: ReportContent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(content, tmp_path_factory.mktemp("page") / "report.html", figures_folder=None)


@pytest.fixture
def visit(browser: Any, path: Path) -> Iterator[Visit]:
    opened = visit_of(browser, path)
    yield opened
    opened.check()
    opened.page.context.close()


def tip(visit: Visit) -> str:
    return str(visit.page.locator(".sound-tip").inner_text())


def centre_of(visit: Visit, selector: str, mark: int) -> tuple[float, float]:
    """Scroll to a figure, and return where one of its marks is."""
    visit.page.locator(selector).evaluate("one => one.scrollIntoView({block: 'center', behavior: 'instant'})")
    x, y = visit.page.locator(selector).evaluate(
        """(canvas, i) => {
            const box = canvas.querySelector("svg").marks[i].mark.getBoundingClientRect();
            return [box.left + box.width / 2, box.top + box.height / 2];
        }""",
        mark,
    )
    return x, y


# --- maps and matrices ------------------------------------------------------------------------------------------------


def test_a_point_of_a_map_names_its_sound_plays_it_and_shows_it_in_the_other_map(visit):
    labels = visit.page.locator("#map .canvas svg").evaluate("svg => svg.marks.map((mark) => mark.text)")
    assert len(labels) == 2 * len(CATEGORIES)
    assert labels[: len(CATEGORIES)] == labels[len(CATEGORIES) :]
    for mark in (0, 5, 11, 12 + 7):
        visit.page.mouse.move(*centre_of(visit, "#map .canvas", mark))
        assert tip(visit) == labels[mark]
        frames = visit.page.locator("#map .sound-cursor:visible")
        assert frames.count() == 2
        twin = (mark + 12) % 24
        where = centre_of(visit, "#map .canvas", twin)
        boxes = [frame.bounding_box() for frame in frames.all()]
        assert any(b["x"] < where[0] < b["x"] + b["width"] and b["y"] < where[1] < b["y"] + b["height"] for b in boxes)
    stimulus = labels[19].rpartition(" (")[0]
    visit.page.mouse.click(*centre_of(visit, "#map .canvas", 19))
    visit.wait_for(stimulus)
    visit.page.mouse.move(1, 1)
    assert not visit.page.locator(".sound-tip").is_visible()


def test_a_map_by_keyboard_goes_along_the_sounds_and_over_to_the_other_map(visit):
    labels = visit.page.locator("#map .canvas svg").evaluate("svg => svg.marks.map((mark) => mark.text)")
    visit.page.locator("#map .canvas").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        visit.page.keyboard.press(key)
    assert visit.page.get_by_role("status").inner_text() == labels[2]
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_function("played.length === 1")
    visit.page.keyboard.press("Escape")
    assert not visit.page.locator(".sound-tip").is_visible()


def test_a_cell_tells_both_sounds_their_dissimilarity_and_its_percentile(visit, content):
    canvas = visit.page.locator("#rdms .canvas")
    canvas.scroll_into_view_if_needed()
    arrays = content.results[1].arrays
    order = rdm_order(arrays["brain_rdm"], content.stimuli.table["category"])
    for image, rdm in zip(canvas.locator("image").all()[:2], (arrays["brain_rdm"], arrays["rdms"][0]), strict=True):
        box = image.bounding_box()
        matrix = rdm.sel(stimulus=order, stimulus_2=order).to_numpy()
        for row, column in ((0, 1), (9, 3), (11, 10)):
            x, y = ((at + 0.5) / len(order) for at in (column, row))
            visit.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            names, _, rest = tip(visit).partition(": ")
            assert names == f"{order[row]} × {order[column]}"
            value, _, rank = rest.removesuffix(")").partition(" (percentile ")
            assert float(value) == pytest.approx(matrix[row, column], rel=6e-3)
            assert float(rank) == pytest.approx(rank_pairs(matrix)[row, column], abs=0.51)
    visit.page.mouse.move(box["x"] + box["width"] / 24, box["y"] + box["height"] / 24)
    assert tip(visit) == f"{order[0]} × {order[0]}: the same sound"


def test_names_and_values_are_there_without_sounds(browser, content, tmp_path):
    silent = write_report(replace(content, audio=False), tmp_path / "report.html", figures_folder=None)
    visit = visit_of(browser, silent)
    visit.page.mouse.move(*centre_of(visit, "#map .canvas", 3))
    assert tip(visit).startswith("tone")
    assert "cannot be heard" not in tip(visit)
    visit.page.locator("#rdms .canvas").focus()
    visit.page.keyboard.press("ArrowRight")
    assert "percentile" in visit.page.get_by_role("status").inner_text()
    visit.page.keyboard.press("Enter")
    assert visit.page.evaluate("made.length") == 0
    visit.check()
    visit.page.context.close()


def test_a_sound_that_cannot_be_decoded_is_said_where_it_is_seen(browser, path, tmp_path):
    broken = tmp_path / "report.html"
    html = path.read_text(encoding="utf-8")
    first = html.index('src="data:audio/mpeg;base64,') + len('src="data:audio/mpeg;base64,')
    broken.write_text(html[:first] + "AAAA" + html[html.index('"', first) :], encoding="utf-8")
    visit = visit_of(browser, broken)
    visit.page.locator("#listen button").first.click()
    said = visit.page.locator(".sound-spoken.seen")
    said.wait_for()
    name = visit.page.locator("#listen button").first.inner_text()
    assert said.inner_text().startswith(f"This browser cannot play {name}: ")
    visit.page.locator("#listen button").nth(1).click()
    visit.page.wait_for_function("made[0].currentTime > 0")
    assert said.count() == 0
    visit.page.context.close()


# --- names that are code ----------------------------------------------------------------------------------------------

#: Ids, categories, layers and titles that run something wherever they are taken for anything but text.
HOSTILE = (
    "<img src=x onerror=hit(1)>",
    "</script><script>hit(2)</script>",
    '" onmouseover="hit(3)" x=\'',
    "${hit(4)}`+hit(5)+`",
    "\u2028hit(6)\u2029//",
    "']]>--><svg onload=hit(7)>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&quot;",
)


def hostile_run() -> ReportContent:
    """Build a run in which every name that a page shows is code."""
    rng = np.random.default_rng(0)
    # Ids may not hold separators of lines; titles, warnings and provenance may.
    ids = [f"{HOSTILE[i % 8]} {i}".translate(dict.fromkeys((0x2028, 0x2029))) for i in range(16)]
    kinds = [HOSTILE[i % 4] for i in range(16)]
    table = pd.DataFrame({"file": "x.wav", "category": kinds}, index=pd.Index(ids, name="stimulus_id"))
    manifest = Manifest(name=HOSTILE[0], version=HOSTILE[1], citation=HOSTILE[2], licence=HOSTILE[3])
    stimuli = StimulusSet(manifest, table, lambda i: (tone(400 + 20 * ids.index(i)), 16000))
    run = make_run({"Music": 8, "Nature": 8}, {f"{HOSTILE[1]}net": (HOSTILE[0], HOSTILE[3])}, ("music", "speech"))
    rename = dict(zip(run.stimuli.ids, ids, strict=True))
    kind_of = dict(zip(ids, kinds, strict=True))
    results = []
    for result in run.results:
        arrays = {}
        for name, array in result.arrays.items():
            new = [rename[str(s)] for s in array["stimulus"].values]
            array = array.assign_coords(stimulus=new, category=("stimulus", [kind_of[i] for i in new]))
            if "stimulus_2" in array.dims:
                array = array.assign_coords(stimulus_2=new)
            arrays[name] = array
        results.append(replace(result, arrays=arrays, warnings=[HOSTILE[1], HOSTILE[4], HOSTILE[5]]))
    brain = BrainData(HOSTILE[0], make_responses(rng.normal(size=(16, 2)), ids, ("music", "speech")),
                      HOSTILE[1], HOSTILE[2], HOSTILE[3])  # fmt: skip
    examples = [replace(e, clip=HOSTILE[i % 8], title=HOSTILE[i % 8]) for i, e in enumerate(make_examples(2))]
    provenance = {"command": f"brainalign run {HOSTILE[1]}", HOSTILE[0]: HOSTILE[1], "nested": {HOSTILE[1]: HOSTILE[5]}}
    return ReportContent(HOSTILE[1], HOSTILE[0], stimuli, (brain,), results, provenance, examples=examples)


def test_no_name_is_ever_run(browser, tmp_path):
    path = write_report(hostile_run(), tmp_path / "report.html", figures_folder=tmp_path / "figures")
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.add_init_script("window.hits = []; window.hit = (i) => { hits.push(i); return ''; };")
    visit = Visit(context.new_page(), {})
    visit.page.goto(path.as_uri())
    page = visit.page
    assert page.locator("h1").inner_text() == HOSTILE[1]
    assert page.locator(".question").inner_text() == HOSTILE[0]
    assert page.locator("img").count() == 0
    assert page.locator("#map .canvas").count() == 1
    assert page.locator("#rdms .canvas").count() == 1
    seen = set()
    for mark in range(16):
        page.mouse.move(*centre_of(visit, "#map .canvas", mark))
        seen.add(tip(visit).rpartition(" (")[0].rpartition(" ")[0])
    assert len(seen) >= 7
    for canvas in page.locator(".canvas.playable:visible").all():
        canvas.focus()
        for key in ("ArrowRight", "ArrowDown", "Enter", "End", "Enter", "Escape"):
            page.keyboard.press(key)
    for button in page.locator("#listen button, #reconstructions .sound button").all()[:20]:
        button.click()
    for summary in page.locator("summary").all():
        summary.click()
    for head in page.locator("th button").all()[:30]:
        head.click()
    assert page.evaluate("hits") == []
    assert page.evaluate("document.scripts.length") == page.evaluate(
        "document.querySelectorAll('body > script, .canvas > script').length"
    )
    visit.check()
    context.close()


# --- on paper, without motion, by Tab ---------------------------------------------------------------------------------


def test_on_paper_all_panels_stand_within_the_page_and_nothing_to_click(browser, pages):
    context = browser.new_context(viewport={"width": 700, "height": 1000})
    page = context.new_page()
    page.goto(pages["run"].as_uri())
    page.emulate_media(media="print")
    panels = page.locator("[role=tabpanel]").all()
    assert len(panels) > 8
    assert all(panel.is_visible() for panel in panels)
    assert all(heading.bounding_box()["height"] > 10 for heading in page.locator(".panel > h3").all())
    assert not any(page.locator(part).first.is_visible() for part in ("nav", "[role=tablist]", "#listen"))
    wide = page.locator("figure svg").evaluate_all("all => all.filter((one) => one.clientWidth > innerWidth).length")
    assert wide == 0
    assert page.locator(".on-paper").is_visible()
    assert page.pdf().startswith(b"%PDF")
    context.close()


def test_nothing_moves_when_reduced_motion_is_asked_for(browser, pages):
    for motion, behaviour in (("reduce", "auto"), ("no-preference", "smooth")):
        context = browser.new_context(reduced_motion=motion)
        page = context.new_page()
        page.goto(pages["run"].as_uri())
        assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == behaviour
        assert page.evaluate("document.getAnimations().length") == 0
        context.close()


def test_tab_goes_down_the_page_from_the_link_that_skips_to_the_results(visit):
    places = []
    for _ in range(40):
        visit.page.keyboard.press("Tab")
        at = visit.page.evaluate(
            "[document.activeElement.textContent, document.activeElement.getBoundingClientRect().top + scrollY]"
        )
        places.append(at)
        if at[0].startswith("EngSpeech"):
            break
    assert places[0][0] == "Skip to the results"
    tops = [top for _, top in places[1:] if top > 0]
    assert tops[:20] == sorted(tops[:20])


# --- what axe finds ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write each kind of page once."""
    folder = tmp_path_factory.mktemp("pages")
    models = {"net": ("conv1", "conv2"), "net@random:0": ("conv1", "conv2"), "logmel": ("pca",)}
    run = make_run({"EngSpeech": 5, "Nature": 3, "Song": 4, "Music": 8}, models)
    written = {
        "run": write_report(replace(run, examples=make_examples()), folder / "run.html", figures_folder=None),
        "silent": write_report(replace(run, audio=False), folder / "silent.html", figures_folder=None),
        "bare": write_report(replace(run, results=[encoding_result({"net": {"a": 0.2}})]), folder / "bare.html",
                             figures_folder=None),
    }  # fmt: skip
    study = power(*two_models(16), n_subjects=(3,), n_repetitions=(1, 2), n_voxels=6, n_simulations=20)
    written["power"] = write_power_page([study], folder / "power.html")
    written["sounds"] = folder / "sounds.html"
    write_check_page(check_stimuli(run.stimuli.select(run.stimuli.ids[:6])), written["sounds"])
    signal = np.random.default_rng(0).standard_normal((80, 6))
    brain = BrainData("brain", make_responses(signal[:, :2], test_leaderboard.IDS, ("a", "b")), "1", "None.", "CC0")
    scored = [
        component_encoding(test_leaderboard.model(signal, name, noise), brain, n_permutations=0, n_bootstrap=0)
        for name, noise in (("good", 0.2), ("bad", 3.0))
    ]
    write_leaderboard(leaderboard(scored, [brain]), folder, report="run.html")
    written["leaderboard"] = folder / "leaderboard.html"
    runs = [test_run_comparison.folder(folder / f"run{i}", test_run_comparison.rows(i), seed=i) for i in (0, 1)]
    written["comparison"] = folder / "comparison.html"
    write_run_comparison(runs, written["comparison"])
    return written


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["run", "silent", "bare", "power", "sounds", "leaderboard", "comparison"])
def test_axe_finds_nothing_serious(browser, pages, kind, theme):
    assert found_by_axe(browser, pages[kind], color_scheme=theme) == []


def test_axe_finds_nothing_serious_on_a_narrow_screen(browser, pages):
    assert found_by_axe(browser, pages["run"], viewport={"width": 400, "height": 800}) == []


def test_axe_finds_what_is_planted(browser, pages, tmp_path):
    planted = tmp_path / "planted.html"
    html = pages["bare"].read_text(encoding="utf-8")
    planted.write_text(html.replace("<main", "<img src='data:,'><button></button><main", 1), encoding="utf-8")
    found = found_by_axe(browser, planted)
    assert {text.partition(" ")[0] for text in found} >= {"button-name", "image-alt"}
