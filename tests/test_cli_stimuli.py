"""``brainalign stimuli``: from a folder of sounds to a checked and prepared set, and what is known of others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from brainalign.cli.stimuli import app
from brainalign.errors import StimulusError
from brainalign.stimuli import MANIPULATIONS, load_stimuli

RATE = 16_000


def stimuli(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def wavs(tmp_path: Path) -> Path:
    for seed, file in enumerate(["Music/a.wav", "Music/b b.wav", "Nature/ü.wav", "Nature/d.wav"]):
        path = tmp_path / "wavs" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.05 * np.random.default_rng(seed).normal(size=RATE), RATE)
    return tmp_path / "wavs"


def test_from_a_folder_to_a_set_that_can_be_played(wavs: Path, tmp_path: Path) -> None:
    (wavs / "notes.txt").write_text("x")
    (wavs / "Music" / "..weird.wav").write_bytes((wavs / "Music" / "a.wav").read_bytes())
    made = stimuli("new", tmp_path / "lab", "--from", wavs, "--citation", "Us 2024", "--licence", "CC0")
    assert made.exit_code == 0, made.output
    assert "4 sounds (Music 2, Nature 2)" in made.output
    assert "left out, because they are not sounds: notes.txt\n" in made.output
    assert "left out, because they are hidden (a name begins with a dot): Music/..weird.wav\n" in made.output

    checked = stimuli("check", tmp_path / "lab", "--page", tmp_path / "check.html")
    assert checked.exit_code == 0, checked.output
    assert checked.output.splitlines()[0] == "lab: 4 sounds, 0 errors, 0 warnings"
    assert "<td>ü</td>" in (tmp_path / "check.html").read_text(encoding="utf-8")

    options = ["--sample-rate", 8_000, "--duration-s", 0.5, "--ramp-ms", 10, "--target-rms", 0.02]
    ready = stimuli("prepare", tmp_path / "lab", "--out", tmp_path / "ready", *options)
    assert ready.exit_code == 0, ready.output
    lines = ready.output.splitlines()
    assert lines[1].startswith("b b: resampled from 16000 to 8000 Hz; 0.500 s cut from the end; mean (DC) of ")
    assert " removed; ramps of 10 ms; level changed by " in lines[1]
    assert lines[-1].endswith("ready: 4 sounds; the source is as it was")
    waveform, rate = load_stimuli(tmp_path / "ready").waveform("ü")
    assert (len(waveform), rate) == (4_000, 8_000)


def test_errors_give_exit_code_1_and_warnings_do_not(wavs: Path, tmp_path: Path) -> None:
    stimuli("new", tmp_path / "lab", "--from", wavs)
    warned = stimuli("check", tmp_path / "lab")
    assert warned.exit_code == 0
    assert [line.split()[:2] for line in warned.output.splitlines()[:2]] == [
        ["warning", "citation:"], ["warning", "licence:"]]  # fmt: skip
    (tmp_path / "lab" / "audio" / "Music" / "a.wav").write_bytes(b"")
    failed = stimuli("check", tmp_path / "lab")
    assert failed.exit_code == 1
    assert failed.output.startswith("error    unusable: a: sound file 'a.wav' cannot be read as audio (0 bytes)")
    assert failed.output.splitlines()[-1].startswith("lab: 4 sounds, 1 errors, ")


def test_json(wavs: Path, tmp_path: Path) -> None:
    stimuli("new", tmp_path / "lab", "--from", wavs)
    (tmp_path / "lab" / "audio" / "Music" / "a.wav").write_bytes(b"")
    checked = stimuli("check", tmp_path / "lab", "--json")
    assert checked.exit_code == 1
    report = json.loads(checked.output)
    assert [e["check"] for e in report["errors"]] == ["unusable"]
    assert {w["check"] for w in report["warnings"]} >= {"citation", "licence"}
    assert [s["stimulus_id"] for s in report["sounds"]] == ["a", "b b", "d", "ü"]


def test_a_table_names_the_categories(wavs: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_bytes("\ufeffstimulus_id,category\na,X\nb b,X\nü,Y\nd,Y\n".encode())
    assert stimuli("new", tmp_path / "lab", "--from", wavs, "--table", table, "--name", "ours").exit_code == 0
    loaded = load_stimuli(tmp_path / "lab")
    assert (loaded.name, loaded.ids, loaded.categories) == ("ours", ["a", "b b", "ü", "d"], ["X", "Y"])


def test_manipulations_are_listed_and_written(wavs: Path, tmp_path: Path) -> None:
    listed = stimuli("manipulate", "--list")
    assert listed.exit_code == 0, listed.output
    lines = dict(line.split(maxsplit=1) for line in listed.output.splitlines())
    assert list(lines) == MANIPULATIONS.names()
    assert lines["scramble"] == "window_ms (needed), fade_ms=10.0, seed=0"
    assert lines["normalise-level"] == "rms"
    stimuli("new", tmp_path / "lab", "--from", wavs)
    done = stimuli(
        "manipulate", tmp_path / "lab", "add-noise", "--out", tmp_path / "noisy", "snr_db=6", 'spectrum="pink"'
    )
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "noisy" / "manipulations.json").read_text(encoding="utf-8"))
    assert record["manipulations"] == [
        {"name": "add_noise", "parameters": {"snr_db": 6, "spectrum": "pink", "seed": 0}}
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["manipulate", "demo", "--out", "{tmp}/out", "add-noise", "snr_db=6", "spectrum=pink"],
            "text: 'spectrum=\"pink\"'",
        ),
        (["new", "{tmp}/lab", "--from", "{tmp}/nowhere"], "there is no folder"),
        (["check", "{tmp}/nowhere"], "no stimulus set and no folder"),
        (["prepare", "{tmp}/wavs", "--out", "{tmp}/out"], "is no stimulus set: it has no stimulus_set.toml"),
        (["show", "esc5"], "no stimulus set and no folder 'esc5'"),
    ],
)
def test_bad_input_is_an_error_of_ours(wavs: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = stimuli(*(a.format(tmp=tmp_path) for a in arguments))
    assert isinstance(done.exception, StimulusError)
    assert message in str(done.exception)


def test_list_and_show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wavs: Path) -> None:
    monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path / "data"))
    listed = stimuli("list").output
    for name in ("audioset", "boebinger2021", "demo", "ds003720", "esc50", "gtzan", "natsound165"):
        assert f"\n{name} " in f"\n{listed}"
    states = {row["name"]: row["state"] for row in json.loads(stimuli("list", "--json").output)}
    assert (states["natsound165"], states["demo"]) == ("not here", "ready")
    shown = stimuli("show", "esc50").output
    for fact in ("Piczak 2015", "CC BY-NC 3.0", "brainalign fetch esc50 --from FOLDER", "not here"):
        assert fact in shown
    stimuli("new", tmp_path / "lab", "--from", wavs, "--licence", "CC0")
    facts = json.loads(stimuli("show", tmp_path / "lab", "--json").output)
    assert (facts["n_sounds"], facts["categories"], facts["licence"]) == (4, {"Music": 2, "Nature": 2}, "CC0")


@pytest.mark.realdata
def test_show_what_is_here() -> None:
    facts = json.loads(stimuli("show", "natsound165", "--json").output)
    assert (facts["state"], facts["n_sounds"], facts["categories"]["Music"]) == ("ready", 165, 24)
