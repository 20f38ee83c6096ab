"""What the tests in a browser share: a page that is open, what it plays, and what went wrong in it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

#: Every Audio object of the page is kept, so that a test can ask what plays and what has played.
WATCH = """
const Real = window.Audio;
window.made = [];
window.played = [];
window.Audio = function (...given) {
  const audio = new Real(...given);
  audio.addEventListener("playing", () => window.played.push(audio.src));
  window.made.push(audio);
  return audio;
};
"""


class Visit:
    """A page that is open, and what went wrong in it."""

    def __init__(self, page: Any, sources: dict[str, str]) -> None:
        self.page, self.sources = page, sources
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda said: self.complaints.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda why: self.complaints.append(str(why)))
        page.on("request", lambda request: self.requests.append(request.url))

    def wait_for(self, *stimuli: str) -> None:
        """Wait until the last sounds that played are these, and the player's time goes on."""
        wanted = [self.sources[s] for s in stimuli]
        self.page.wait_for_function("wanted => played.slice(-wanted.length).join() === wanted.join()", arg=wanted)
        self.page.wait_for_function("made[0].currentTime > 0")

    def playing(self) -> int:
        return int(self.page.locator(".sound button[aria-pressed=true]").count())

    def check(self) -> None:
        """Find no complaint in the console, and no request that left the page."""
        assert self.complaints == []
        assert {url.partition(":")[0] for url in self.requests} <= {"file", "data", "blob"}


def found_by_axe(browser: Any, path: Path, **how: Any) -> list[str]:
    """Return the violations that axe-core calls serious or critical."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **how})
    page = context.new_page()
    page.goto(path.as_uri())
    for folded in page.locator("details").all():
        folded.evaluate("one => { one.open = true; }")
    response = axe.Axe().run(page).response
    context.close()
    assert len(response["passes"]) > 10
    return [
        f"{v['id']} ({v['impact']}): {[node['html'][:160] for node in v['nodes'][:3]]}"
        for v in response["violations"]
        if v["impact"] in ("serious", "critical")
    ]
