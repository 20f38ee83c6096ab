"""The recipes of Brain2Music: what they say holds, and the simulated study finds what was planted and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainalign._files import shipped
from brainalign.brain.volume_windows import volumes_of
from brainalign.recipes import compute_recipe, read_recipe, shipped_recipes
from brainalign.stimuli.windows import window_starts

FOLDER = shipped("analyses") / "brain2music"
NAMES = sorted(p.stem for p in FOLDER.glob("*.toml"))


@pytest.fixture(autouse=True)
def nowhere(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "realdata" not in request.keywords:
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_recipes_ship_and_can_be_read_without_data(name: str) -> None:
    assert f"brain2music/{name}" in shipped_recipes()
    recipe = read_recipe(FOLDER / f"{name}.toml")
    windows = recipe.stimuli.manipulate[0].model_extra or {}
    for brain in recipe.brain:
        options = brain.options
        assert {k: options.get(k) for k in ("window_s", "step_s")} == {
            k: windows.get(k) for k in ("window_s", "step_s")
        }
        # The last clip of a run ends with the run: each of its windows must still have a volume.
        delay_s = 0.0 if options.get("protocol") == "denk2023" else options.get("delay_s", 4.5)
        starts = window_starts(windows.get("clip_s", 15.0), windows["window_s"], windows.get("step_s", 1.5))
        assert all(volumes_of(t + delay_s, t + delay_s + windows["window_s"], 1.5)[0] < 10 for t in starts)


def test_windows_are_those_of_the_paper() -> None:
    """Table 1 has 10, 7 and 4; of the acoustic ones, the last three of the clip that ends a run have no volumes."""
    found = {}
    for name in ("ds003720-published", "semantic", "acoustic"):
        windows = read_recipe(FOLDER / f"{name}.toml").stimuli.manipulate[0].model_extra or {}
        found[name] = len(window_starts(windows.get("clip_s", 15.0), windows["window_s"]))
    assert found == {"ds003720-published": 4, "semantic": 7, "acoustic": 7}


def test_the_two_simulated_brains_differ_in_the_signal_alone() -> None:
    listeners, empty = read_recipe(FOLDER / "simulated.toml").brain
    assert empty.options == {**listeners.options, "signal": 0.0}


@pytest.mark.slow
@pytest.mark.realdata
def test_the_simulated_study_finds_what_was_planted_and_only_that(tmp_path: Path) -> None:
    text = (FOLDER / "simulated.toml").read_text(encoding="utf-8")
    head, rest = text.split("[[models]]", 1)
    brains = "[[brain]]" + rest.split("[[brain]]", 1)[1].split("[[measures]]")[0].replace("snr", "n_subjects = 2\nsnr")
    path = tmp_path / "small.toml"
    path.write_text(f'{head}[[models]]\nname = "logmel"\n\n{brains}[[measures]]\nname = "decoding"\n', encoding="utf-8")
    run = compute_recipe(path, cache=tmp_path / "cache")
    listeners, empty = (result.table.set_index("statistic") for result in run.results)
    groups = [t[(t["evaluated"] == "test") & (t["target"] == "all subjects")] for t in (listeners, empty)]
    heard, unheard = ({s: t.loc[[s]].iloc[0] for s in ("identification_accuracy", "correlation")} for t in groups)
    assert heard["identification_accuracy"]["p"] < 0.01
    assert heard["correlation"]["value"] > 0.5
    # 60 clips: under the null, correlations over clips have a standard deviation of about 0.13.
    assert abs(unheard["correlation"]["value"]) < 0.4
    assert unheard["identification_accuracy"]["p"] > 0.01
