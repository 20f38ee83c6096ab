"""Make the pictures of the report page in docs/pictures from the demo run: ``python docs/make_screenshots.py``."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from brainalign.report.folder import run_recipe

PICTURES = Path(__file__).parent / "pictures"
#: Most bytes of a picture, which then has a palette.
MOST = 300_000


def save(page: Page, name: str, *, section: str = "", mark: int | None = None) -> None:
    """Save what is seen as PNG with a palette: the window, or a section with the pointer at one of its marks."""
    if mark is not None:
        page.locator(f"{section} .canvas:visible").first.focus()
        for _ in range(mark):
            page.keyboard.press("ArrowRight")
    if section:
        page.locator(section).evaluate(
            "one => scrollTo({top: one.getBoundingClientRect().top + scrollY - 20, behavior: 'instant'})"
        )
        # The label of the pointer stands where the mark was before the page scrolled.
        page.keyboard.press("ArrowRight")
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    path = PICTURES / f"{name}.png"
    picture.save(path, optimize=True)
    if path.stat().st_size > MOST:
        raise SystemExit(f"{path} has {path.stat().st_size} bytes, more than {MOST}; use fewer colours")


def main() -> None:
    """Run the demo, open its page, and take the pictures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Chromium is not on the path")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        out = Path(sys.argv[1]) if len(sys.argv) > 1 else run_recipe("demo", Path(folder) / "demo")
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for theme in ("light", "dark"):
            context = browser.new_context(color_scheme=theme, viewport={"width": 1160, "height": 800})
            page = context.new_page()
            page.goto((out / "report.html").as_uri())
            save(page, f"report-first-screen-{theme}")
            save(page, f"report-map-{theme}", section="#map", mark=4)
            save(page, f"report-rdms-{theme}", section="#rdms", mark=30)
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
