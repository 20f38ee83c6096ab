"""Sounds play in a real browser: by button, by the marks of figures, by keyboard, in light and dark, offline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from browsing import WATCH, Visit
from test_listening import make_content, make_examples

from brainalign.measures.result import Result
from brainalign.report.page import write_report

pytestmark = pytest.mark.browser
CATEGORIES = ["Music", "Nature", "EngSpeech"] * 8


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    content = make_content(tuple(CATEGORIES), rename="<b>odd</b> (one)", examples=make_examples())
    write_report(content, path, figures_folder=None)
    return path.as_uri()


@pytest.fixture(scope="module")
def sources(browser: Any, address: str) -> dict[str, str]:
    """Read what the page carries for each sound where its script does not run."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    found = {
        one.get_attribute("data-sound"): one.locator("audio").get_attribute("src")
        for one in page.locator("[data-sound]").all()
    }
    context.close()
    return found


in_both_themes = pytest.mark.parametrize("visit", ["light", "dark"], indirect=True)


@pytest.fixture
def visit(request: pytest.FixtureRequest, browser: Any, address: str, sources: dict[str, str]) -> Iterator[Visit]:
    context = browser.new_context(
        color_scheme=getattr(request, "param", "light"), viewport={"width": 1200, "height": 900}
    )
    context.add_init_script(WATCH)
    opened = Visit(context.new_page(), sources)
    opened.page.goto(address)
    yield opened
    opened.check()
    context.close()


def button(visit: Visit, stimulus: str) -> Any:
    return visit.page.locator("#listen").get_by_role("button", name=stimulus, exact=True)


@in_both_themes
def test_a_click_plays_and_another_stops(visit):
    assert len(visit.sources) == len(CATEGORIES)
    button(visit, "tone003").click()
    visit.wait_for("tone003")
    assert visit.page.evaluate("made[0].error") is None
    assert visit.page.evaluate("made[0].duration") == pytest.approx(0.3, abs=0.1)


def test_one_plays_at_a_time_and_the_end_is_seen(visit):
    button(visit, "tone003").click()
    button(visit, "tone004").click()
    visit.wait_for("tone004")
    assert visit.page.evaluate("made.length") == 1
    visit.page.wait_for_function("made[0].ended")
    visit.page.wait_for_function("!document.querySelector('[aria-pressed=true]')")


def test_the_grid_is_one_stop_of_tab_and_arrows_go_on(visit):
    stops = visit.page.locator("#listen button[tabindex='0']")
    assert stops.count() == 1
    first = stops.inner_text()
    visit.page.locator("#listen button").first.focus()
    visit.page.keyboard.press("ArrowRight")
    second = visit.page.evaluate("document.activeElement.textContent")
    assert second != first
    visit.page.keyboard.press("Enter")
    visit.wait_for(second)
    visit.page.keyboard.press("End")
    last = visit.page.evaluate("document.activeElement.textContent")
    visit.page.keyboard.press(" ")
    visit.wait_for(last)
    visit.page.keyboard.press("Home")
    assert visit.page.evaluate("document.activeElement.textContent") == first
    visit.page.keyboard.press("ArrowDown")
    group = "document.activeElement.closest('[role=group]').getAttribute('aria-labelledby')"
    assert visit.page.evaluate(group) == "sounds-2"
    visit.page.keyboard.press("ArrowUp")
    assert visit.page.evaluate(group) == "sounds-1"
    assert stops.count() == 1


def test_escape_stops(visit):
    visit.page.evaluate("made[0].loop = true")
    button(visit, "tone005").click()
    visit.wait_for("tone005")
    assert visit.playing() == 1
    visit.page.keyboard.press("Escape")
    assert visit.playing() == 0
    assert visit.page.evaluate("made[0].paused")


LABELS = "document.querySelector('.canvas svg').marks.map((mark) => mark.text)"


@in_both_themes
def test_a_bar_plays_its_sound_and_names_it_under_the_pointer(visit):
    canvas = visit.page.locator(".canvas").first
    labels = visit.page.evaluate(LABELS)
    assert len(labels) == len(CATEGORIES)
    visit.page.evaluate("document.querySelector('.canvas').scrollIntoView({block: 'center', behavior: 'instant'})")
    for place in (0, 7, len(labels) - 1):
        box = visit.page.evaluate(
            """i => {
                const bar = document.querySelector(".canvas svg").marks[i].mark.getBoundingClientRect();
                return [bar.left + bar.width / 2, bar.bottom - 1];
            }""",
            place,
        )
        visit.page.mouse.move(*box)
        assert visit.page.locator(".sound-tip").inner_text() == labels[place]
        visit.page.mouse.click(*box)
        visit.wait_for(labels[place].rpartition(" (")[0])
    visit.page.mouse.move(1, 1)
    assert not visit.page.locator(".sound-tip").is_visible()
    assert canvas.get_attribute("role") == "group"


def test_a_bar_by_keyboard(visit):
    labels = visit.page.evaluate(LABELS)
    visit.page.locator(".canvas").first.focus()
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("Enter")
    assert visit.page.get_by_role("status").inner_text() == labels[2]
    visit.wait_for(labels[2].rpartition(" (")[0])


def test_a_cell_of_an_rdm_plays_both_sounds(visit):
    canvas = visit.page.locator(".canvas[data-sounds]")
    order = visit.page.evaluate("JSON.parse(document.querySelector('.canvas[data-sounds]').dataset.sounds)")
    image = canvas.locator("image").first
    image.scroll_into_view_if_needed()
    box = image.bounding_box()
    row, column = 3, 20
    at = (box["x"] + (column + 0.5) * box["width"] / len(order), box["y"] + (row + 0.5) * box["height"] / len(order))
    visit.page.mouse.move(*at)
    # The matrix is 0 between sounds of one category and 1 between others.
    assert visit.page.locator(".sound-tip").inner_text().startswith(f"{order[row]} × {order[column]}: 1 (percentile ")
    visit.page.mouse.click(*at)
    visit.wait_for(order[row], order[column])
    visit.page.keyboard.press("Escape")
    canvas.focus()
    visit.page.keyboard.press("ArrowDown")
    visit.page.keyboard.press("Enter")
    visit.wait_for(order[row + 1], order[column])


@pytest.mark.parametrize(
    ("kept", "helped"), [((), []), ((0,), ["bars"]), ((1,), ["points", "pairs"]), ((0, 1), ["bars", "points", "pairs"])]
)
def test_help_is_about_the_figures_that_are_there(browser, tmp_path, kept, helped):
    content = make_content(tuple(CATEGORIES))
    content = replace(content, results=[content.results[i] for i in kept] or [no_figure(content.results[1])])
    write_report(content, tmp_path / "report.html", figures_folder=None)
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    assert page.locator("#listen .sound-help").is_visible()
    shown = [one.get_attribute("data-help") for one in page.locator("[data-help]").all() if one.is_visible()]
    assert shown == helped
    page.close()


def no_figure(result: Result) -> Result:
    return replace(result, arrays={})


def test_reconstructions_play_and_their_table_sorts(visit):
    section = visit.page.locator("#reconstructions")
    section.get_by_role("button", name="clip1 noise sub-1 generated", exact=True).click()
    visit.page.wait_for_function("played.length === 1 && made[0].currentTime > 0")
    section.get_by_role("button", name="retrieved, sub-1, real").click()
    section.get_by_role("button", name="retrieved, sub-1, real").click()
    first = section.locator("tbody").first.locator("tr").first.locator("th")
    assert first.inner_text() == "clip3"


def test_without_script_each_sound_has_the_controls_of_the_browser(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    audio = page.locator("#listen audio")
    assert audio.count() == len(CATEGORIES)
    assert all(one.is_visible() for one in audio.all())
    assert page.locator("#listen button").count() == 0
    context.close()


@in_both_themes
def test_with_script_no_control_of_the_browser_is_left(visit):
    assert visit.page.locator("audio").count() == 0
    assert visit.page.locator("#listen button").count() == len(CATEGORIES)
    width = visit.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1]


def test_names_are_text(visit):
    button(visit, "<b>odd</b> (one)").click()
    visit.wait_for("<b>odd</b> (one)")
    assert visit.page.locator("#listen b").count() == 0
