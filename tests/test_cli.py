"""The command line: exit codes, one line for an error, no traceback."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from brainalign import __version__
from brainalign.cli import app
from brainalign.models import MODELS, extract, load_model
from brainalign.responses import load_responses
from brainalign.stimuli import load_stimuli

runner = CliRunner()


def brainalign(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-c", "from brainalign.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
    )


def test_help_names_every_command():
    result = runner.invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in ("demo", "run", "fetch", "doctor"):
        assert command in result.stdout


def test_version():
    assert runner.invoke(app, ["--version"]).stdout.strip() == f"brainalign {__version__}"


def test_list_of_recipes():
    names = runner.invoke(app, ["run", "--list"]).stdout.split()
    assert "demo" in names
    assert "kim2024/natsound165" in names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "kim2024/natsound"], "did you mean 'kim2024/natsound165'"),
        (["run"], "which recipe?"),
        (["run", "--list", "extra"], "leave 'extra' out"),
        (["run", "demo", "--out", ""], "expected the name of a folder"),
        (["recipe", "schema", "--out", "", "--overwrite"], "expected the name of a file"),
        (["fetch", "natsound156"], "did you mean 'natsound165'?"),
        (["fetch", "yamnet"], "brainalign fetch yamnet --from FOLDER"),
        (["run", "kim2024/natsound165"], "do: brainalign fetch natsound165"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, arguments, message):
    done = brainalign(*arguments, cwd=tmp_path, BRAINALIGN_DATA=str(tmp_path / "data"))
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("brainalign: ")
    assert message in lines[0]
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(tmp_path):
    done = brainalign("--debug", "run", "nothing.toml", cwd=tmp_path)
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_a_job_that_is_ended_leaves_nothing(tmp_path):
    """Batch systems end jobs by SIGTERM."""
    code = (
        "import os, signal; from brainalign.report import folder\n"
        "folder._write = lambda *_: os.kill(os.getpid(), signal.SIGTERM)\n"
        "folder.compute_recipe = lambda *_, **__: None\n"
        "from brainalign.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "demo", "--out", "out"], capture_output=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 143
    assert not list(tmp_path.iterdir())


def test_models_are_listed_with_what_they_lack(tmp_path):
    cards = {c["name"]: c for c in json.loads(runner.invoke(app, ["models", "list", "--json"]).stdout)}
    assert set(cards) == set(MODELS.names())
    assert cards["logmel"]["needs"] == ""
    text = runner.invoke(app, ["models", "list"]).stdout
    assert all(name in text for name in cards)


def test_layers_of_a_model():
    done = runner.invoke(app, ["models", "layers", "kim2024-cnn", "--random-weights", "--json"])
    layers = {row["layer"]: row for row in json.loads(done.stdout)}
    assert next(iter(layers)) == "conv1"
    assert layers["fc1"]["parameters"] == 256 * 256 + 256


def test_extract_saves_responses_and_the_cache_can_be_kept_tidy(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "responses.nc"
    done = runner.invoke(app, ["extract", "logmel", "demo", "--pooling", "mean-sd", "--out", str(out)])
    assert done.exit_code == 0, done.output
    expected = extract(load_model("logmel"), load_stimuli("demo"), pooling="mean-sd")
    np.testing.assert_array_equal(load_responses(out).values, expected.values)
    (entry,) = json.loads(runner.invoke(app, ["cache", "list", "--json"]).stdout)
    assert (entry["model"], entry["sounds_done"], entry["n_sounds"]) == ("logmel", 66, 66)
    assert runner.invoke(app, ["cache", "verify"]).exit_code == 0
    (array,) = (tmp_path / "cache").rglob("*.npy")
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)
    assert runner.invoke(app, ["cache", "verify"]).exit_code == 1
    assert "would remove 1 entries" in runner.invoke(app, ["cache", "prune", "--damaged", "--dry-run"]).stdout
    assert "removed 1 entries" in runner.invoke(app, ["cache", "prune", "--damaged"]).stdout
    assert json.loads(runner.invoke(app, ["cache", "list", "--json"]).stdout) == []


def test_extract_does_not_write_over_a_file(tmp_path):
    (tmp_path / "there.nc").write_text("mine")
    done = brainalign("extract", "logmel", "demo", "--out", "there.nc", cwd=tmp_path)
    assert done.returncode == 2
    assert "there.nc exists already" in done.stderr
    assert (tmp_path / "there.nc").read_text() == "mine"
