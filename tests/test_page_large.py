"""A set of 5,000 sounds: the page is small, opens quickly enough to be used, and says what it samples."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from browsing import Visit
from test_listening import RATE, Sounds

from brainalign.brain.data import BrainData
from brainalign.measures.result import Result, result_table
from brainalign.report.page import ReportContent, write_report
from brainalign.responses import make_responses
from brainalign.stimuli.sets import Manifest, StimulusSet

pytestmark = [pytest.mark.browser, pytest.mark.slow]
N = 5000
KINDS = ["Music"] * 3000 + ["Nature"] * 1500 + ["EngSpeech"] * 400 + ["Song"] * 100


def large_run() -> ReportContent:
    rng = np.random.default_rng(0)
    ids = [f"sound{i:04d}" for i in range(N)]
    table = pd.DataFrame({"file": ids, "category": KINDS}, index=pd.Index(ids, name="stimulus_id"))

    def noise(stimulus: str) -> tuple[np.ndarray, int]:
        samples = np.random.default_rng(int(stimulus[5:])).standard_normal(2 * RATE) * 0.05
        return samples.astype(np.float32), RATE

    stimuli = StimulusSet(Manifest(name="large", version="1", citation="None.", licence="CC0"), table, noise)
    points = rng.normal(size=(N, 3)).astype(np.float32) + 2 * np.eye(4)[pd.factorize(np.array(KINDS))[0]][:, :3]
    square = (points**2).sum(axis=1)
    rdm = np.sqrt(np.maximum(square[:, None] + square - 2 * points @ points.T, 0)).astype(np.float32)
    pair = {"stimulus": ids, "stimulus_2": ids}
    brain_rdm = xr.DataArray(rdm, dims=("stimulus", "stimulus_2"), coords=pair)
    row = {"brain": "brain", "model": "net", "layer": "fc", "n": N, "n_of": "stimuli", "note": "", "ci_low": 0.1,
           "ci_high": 0.3, "p": 0.01, "effect_size": 0.2, "value": 0.2}  # fmt: skip
    encoded = [{**row, "measure": "component-encoding", "target": t, "statistic": "r2"} for t in ("music", "speech")]
    along = {"stimulus": ids, "target": ["music", "speech"]}
    observed = xr.DataArray(points[:, :2].astype(float), dims=("stimulus", "target"), coords=along)
    results = [
        Result("component-encoding", result_table(encoded),
               {"observed": observed, "predictions": (observed * 0.5).expand_dims(layer=["fc"])}),
        Result("rsa", result_table([{**row, "measure": "rsa", "target": "all", "statistic": "spearman"}]),
               {"brain_rdm": brain_rdm, "rdms": brain_rdm.expand_dims(rdm=["fc"])}),
    ]  # fmt: skip
    brain = BrainData("brain", make_responses(points[:, :2], ids, ("music", "speech")), "1", "None.", "CC0")
    return ReportContent("5,000 sounds", "Is the page still of use?", stimuli, (brain,), results, {"command": "run"})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    return write_report(large_run(), folder / "report.html", figures_folder=folder / "figures")


def test_page_and_figures_are_small(path):
    assert path.stat().st_size < 15e6
    for figure in (path.parent / "figures").iterdir():
        assert figure.stat().st_size < 4e6, figure.name


def test_what_is_sampled_is_sampled_evenly_and_said(path):
    html = path.read_text(encoding="utf-8")
    sounds = Sounds(html)
    category = dict(zip((f"sound{i:04d}" for i in range(N)), KINDS, strict=True))
    heard = Counter(category[i] for i in sounds.uris)
    assert re.search(rf"To keep the page small, {len(sounds.uris)} of the 5000 sounds are here, sampled evenly", html)
    assert all(n in (KINDS.count(kind), max(heard.values()), max(heard.values()) - 1) for kind, n in heard.items())
    drawn = Counter(category[i] for i in sounds.rows[0])
    assert drawn == dict.fromkeys(("Music", "Nature", "EngSpeech", "Song"), 64)
    assert set(sounds.rows[0]) <= set(sounds.uris)  # all that is drawn can be heard
    assert (
        "Drawn are 256 of the 5000 sounds, sampled evenly over the categories; the scores are of all of them." in html
    )
    assert "Of more than 400 sounds, as here, single bars cannot be chosen; the list below plays them." in html


def test_the_page_opens_and_answers(browser: Any, path: Path):
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    visit = Visit(context.new_page(), {})
    visit.page.goto(path.as_uri())
    timing = visit.page.evaluate("performance.getEntriesByType('navigation')[0].toJSON()")
    print(f"\n{path.stat().st_size / 1e6:.1f} MB, loaded in {timing['loadEventEnd'] / 1000:.2f} s")
    assert visit.page.evaluate("document.querySelectorAll('*').length") < 20_000
    visit.page.locator("#map .canvas").focus()
    visit.page.keyboard.press("End")
    assert re.fullmatch(r"sound\d{4} \(Song\)|sound\d{4} \(Music\)", visit.page.get_by_role("status").inner_text())
    visit.page.locator("#rdms .canvas").focus()
    visit.page.keyboard.press("ArrowRight")
    pair = visit.page.get_by_role("status").inner_text()
    assert re.fullmatch(r"sound\d{4} × sound\d{4}: [\d.]+ \(percentile \d+\)", pair)
    visit.page.locator("#listen button").last.click()
    visit.page.wait_for_function("document.querySelector('[aria-pressed=true]')")
    visit.check()
    context.close()
