"""Recipes of windows: sounds and brain data must be cut alike, and what is left out is said."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainalign.cli import _show_warning
from brainalign.errors import ModelError, StimulusError
from brainalign.recipes.runner import compute_recipe
from brainalign.responses import make_responses, save_responses
from brainalign.stimuli import load_stimuli
from brainalign.stimuli.windows import window_id, window_starts

RECIPE = """
title = "Windows"
[stimuli]
set = "demo"
{stimuli}
[[models]]
name = "{model}"
[brain]
name = "table"
path = "brain.nc"
citation = "x"
[[measures]]
name = "decoding"
split = "kfold"
n_splits = 2
n_folds = 2
n_permutations = 0
n_bootstrap = 0
"""
CUT = 'manipulate = [{{ name = "windows", window_s = {}, step_s = {}, clip_s = 2.0 }}]'


def write(folder: Path, stimuli: str, model: str = "logmel", **brain) -> Path:
    save_responses(voxels(**brain), folder / "brain.nc")
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(stimuli=stimuli, model=model))
    return path


def voxels(window_s: float | None = 1.0, step_s: float = 1.0, n_clips: int = 20, also: tuple[str, ...] = ()):
    clips = [*load_stimuli("demo").ids[:n_clips], *also]
    rng = np.random.default_rng(0)
    if window_s is None:
        return make_responses(rng.standard_normal((len(clips), 6)), clips)
    starts = window_starts(2.0, window_s, step_s)
    rows = [(c, k, t) for c in clips for k, t in enumerate(starts)]
    about = {
        "clip": [c for c, *_ in rows],
        "window": [k for _, k, _ in rows],
        "window_start_s": [t for *_, t in rows],
        "window_s": [window_s] * len(rows),
    }
    ids = [window_id(c, k) for c, k, _ in rows]
    return make_responses(rng.standard_normal((len(ids), 6)), ids, stimulus_info=pd.DataFrame(about, index=ids))


def test_windows_alike_and_ids_that_the_set_does_not_know(tmp_path):
    run = compute_recipe(write(tmp_path, "in_brain = true\n" + CUT.format(1.0, 1.0), also=("lost", "gone")))
    assert len(run.stimuli) == 40
    (text,) = [w for w in run.brains[0].warnings if "does not have are not used" in w]
    assert "responses to 4 of 44 ids" in text
    assert "'lost@00'" in text


@pytest.mark.parametrize(
    ("cut", "message"),
    [((1.0, 0.5), "begins at 0.5 s in demo.*, and 1 s in"), ((0.9, 1.0), "lasts 0.9 s in demo.*, and 1 s")],
)
def test_windows_of_other_stretches(tmp_path, cut, message):
    with pytest.raises(StimulusError, match=message):
        compute_recipe(write(tmp_path, "in_brain = true\n" + CUT.format(*cut)))


def test_one_side_only_is_cut(tmp_path):
    wanted = r'add to \[stimuli\] manipulate = \[\{ name = "windows", window_s = 1, step_s = 1 \}\]'
    for start in ("", "in_brain = true"):
        with pytest.raises(StimulusError, match=wanted):
            compute_recipe(write(tmp_path, start))
    with pytest.raises(StimulusError, match=r"give \[brain\] a window_s"):
        compute_recipe(write(tmp_path, CUT.format(1.0, 1.0), window_s=None))


def test_sounds_without_a_response_name_the_way_out(tmp_path):
    with pytest.raises(StimulusError, match="say in_brain = true in") as why:
        compute_recipe(write(tmp_path, CUT.format(1.0, 1.0)))
    assert "did you mean" not in str(why.value)


def test_captions_of_clips_that_the_brain_lacks(tmp_path):
    """Known to the set, they are passed over; unknown to the set, they are an error before brains are read."""
    ids = load_stimuli("demo").ids
    table = pd.DataFrame({"stimulus_id": ids, "caption": [f"kind{k % 4} tone{k % 3}" for k in range(len(ids))]})
    table.to_csv(tmp_path / "c.csv", index=False)
    model = "captions:c.csv?text=tfidf"
    run = compute_recipe(write(tmp_path, "in_brain = true\n" + CUT.format(1.0, 1.0), model))
    assert run.results[0].table["value"].notna().any()
    table.loc[0, "stimulus_id"] = "unknown"
    table.to_csv(tmp_path / "c.csv", index=False)
    path = write(tmp_path, "in_brain = true\n" + CUT.format(1.0, 1.0), model)
    (tmp_path / "brain.nc").unlink()
    with pytest.raises(ModelError, match=r"captions of 1 clip that .* does not have: unknown"):
        compute_recipe(path)


def test_a_warning_is_one_line(capsys):
    _show_warning(UserWarning("a slip\nis mended"), UserWarning, "file.py", 3)
    assert capsys.readouterr().err == "brainalign: warning: a slip is mended\n"
