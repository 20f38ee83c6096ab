"""The command line: exit codes, one line for an error, no traceback."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from brainalign import __version__
from brainalign.cli import app

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
        (["fetch", "natsound156"], "did you mean 'natsound165'?"),
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
        "folder._write = lambda written, run: os.kill(os.getpid(), signal.SIGTERM)\n"
        "folder.compute_recipe = lambda *_, **__: None\n"
        "from brainalign.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "demo", "--out", "out"], capture_output=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 143
    assert not list(tmp_path.iterdir())
