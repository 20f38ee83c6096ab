"""``brainalign decode``."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from brainalign.cli.decode import app
from brainalign.errors import ReconstructionError
from brainalign.models import extract, load_model
from brainalign.responses import make_responses, save_responses
from brainalign.stimuli import load_stimuli
from brainalign.stimuli.windows import windowed


@pytest.fixture
def index(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path / "cache"))
    layer = next(iter(load_model("logmel").layouts))
    call = ["index", "demo", "--model", "logmel", "--layer", layer, "--out", str(tmp_path / "i"), "--clip-s", "1.0"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    assert "66 tracks" in done.output
    return tmp_path / "i"


def test_every_sound_finds_itself_first(index, tmp_path):
    demo = load_stimuli("demo")
    heard = extract(load_model("logmel"), windowed(demo.select(demo.ids[:3]), 1.0, clip_s=1.0))
    save_responses(heard, tmp_path / "q.nc")
    done = CliRunner().invoke(app, ["search", str(index), str(tmp_path / "q.nc"), "-k", "2", "--centre", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert [f["track"] for f in found if f["rank"] == 1] == demo.ids[:3]
    assert [f["cosine"] for f in found if f["rank"] == 1] == pytest.approx([1, 1, 1], abs=1e-3)
    plain = CliRunner().invoke(app, ["search", str(index), str(tmp_path / "q.nc"), "-k", "1"])
    assert plain.output.count("\n") == 3


def test_queries_of_another_model(index, tmp_path):
    demo = load_stimuli("demo")
    heard = extract(load_model("modulation-spectrum"), demo.select(demo.ids[:1]))
    save_responses(heard, tmp_path / "q.nc")
    done = CliRunner().invoke(app, ["search", str(index), str(tmp_path / "q.nc")])
    assert isinstance(done.exception, ReconstructionError)


def test_generation_needs_weights(tmp_path):
    save_responses(make_responses(np.eye(3), ["a", "b", "c"]), tmp_path / "e.nc")
    call = ["generate", f"musicldm:{tmp_path}", str(tmp_path / "e.nc"), "--out", str(tmp_path / "g")]
    done = CliRunner().invoke(app, call)
    assert isinstance(done.exception, ReconstructionError)
    assert "lacks unet" in str(done.exception)
