"""What holds for every command: examples that parse, options of one name, JSON alone, streams, completion.

``python tests/test_cli_conventions.py`` writes the table of commands into docs/command-line.md anew.
"""

from __future__ import annotations

import html
import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import typer.main
from typer.testing import CliRunner

from brainalign.cli import app
from brainalign.models import MODELS
from brainalign.recipes import shipped_recipes
from brainalign.stimuli import STIMULI

PAGE = Path(__file__).parents[1] / "docs" / "command-line.md"
MARKS = ("<!-- commands -->", "<!-- end of commands -->")
runner = CliRunner()


def commands(group: Any = None, before: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Give every command and its full name."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))
        else:
            yield " ".join((*before, name)), command


COMMANDS = dict(commands())


def paragraphs(command: Any) -> list[str]:
    return [" ".join(part.split()) for part in inspect.cleandoc(command.help).split("\n\n")]


def examples(command: Any) -> list[str]:
    """Give the examples of a help text."""
    lines = [re.sub(r"^Examples?: ", "", part) for part in paragraphs(command)]
    return [line for line in lines if line.startswith("brainalign ")]


def command_table() -> str:
    rows = [f"| `{name}` | {paragraphs(c)[0]} | `{examples(c)[0]}` |" for name, c in sorted(COMMANDS.items())]
    return "\n".join(["| command | what it does | for example |", "| --- | --- | --- |", *rows])


def brainalign(*arguments: str, start: str = "from brainalign.cli import main; main()", **options: Any) -> Any:
    environment = {**os.environ, **options.pop("env", {})}
    line = [sys.executable, "-c", start, *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, env=environment, **options)


class TestHelp:
    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_has_an_example_that_its_help_shows(self, name, monkeypatch):
        monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 400, raising=False)
        assert examples(COMMANDS[name])
        shown = runner.invoke(app, [*name.split(), "--help"], env={"COLUMNS": "400", "TERMINAL_WIDTH": "400"})
        assert shown.exit_code == 0
        for example in examples(COMMANDS[name]):
            assert example.split() == [w for w in example.split() if w in shown.output]

    @pytest.mark.parametrize("example", [e for c in COMMANDS.values() for e in examples(c)])
    def test_examples_parse(self, example):
        program, *words = shlex.split(re.split(r" [>|] ", example)[0])
        assert program == "brainalign"
        whole = typer.main.get_command(app)
        called = []

        def only_parse(group: Any) -> None:
            for command in group.commands.values():
                if hasattr(command, "commands"):
                    only_parse(command)
                else:
                    command.callback = lambda **values: called.append(values)

        only_parse(whole)
        whole.main(words, prog_name="brainalign", standalone_mode=False)
        assert len(called) == 1

    def test_commands_are_grouped(self):
        shown = runner.invoke(app, ["--help"]).output
        titles = ("Run an analysis", "Sounds, models, brain data", "Plan, extract, train, decode", "Results")
        assert all(title in shown for title in titles)

    def test_the_page_lists_every_command(self):
        if not PAGE.is_file():
            pytest.skip("runs from an installed package, not from a checkout")
        text = PAGE.read_text(encoding="utf-8")
        assert text.split(MARKS[0])[1].split(MARKS[1])[0].strip() == command_table()


class TestOptions:
    #: Words for what has one name here.
    OTHER_WORDS: ClassVar = {
        "--output",
        "--dest",
        "--force",
        "--workers",
        "--n-jobs",
        "--random-state",
        "--verbose",
        "--silent",
    }

    @pytest.mark.parametrize("name", COMMANDS)
    def test_the_same_word_for_the_same_thing(self, name):
        options = {o for p in COMMANDS[name].params for o in (*p.opts, *p.secondary_opts)}
        assert not options & self.OTHER_WORDS
        assert "--debug" in options
        assert "--json" in options
        for one, other in (("--progress", "--quiet"), ("--cache", "--no-cache")):
            assert (one in options) == (other in options)

    @pytest.mark.parametrize("option", ["--json", "--debug", "--progress", "--cache", "--jobs", "--overwrite"])
    def test_the_same_help_for_the_same_option(self, option):
        helps = {p.help for command in COMMANDS.values() for p in command.params if option in p.opts}
        assert len(helps) == 1

    @pytest.mark.parametrize("days", ["-1", "-0.001", "nan", "inf", "1e9"])
    @pytest.mark.parametrize("command", ["prune", "results --remove"])
    def test_an_age_that_is_none_removes_nothing(self, command, days, monkeypatch):
        def called(*_, **__):
            pytest.fail("the cache was touched")

        monkeypatch.setattr("brainalign.models.cache.prune", called)
        monkeypatch.setattr("brainalign.engine.store.ResultStore.entries", called)
        done = runner.invoke(app, ["cache", *command.split(), "--older-than-days", days])
        assert done.exit_code == 2
        assert "--older-than-days" in done.output

    @pytest.mark.parametrize("value", ["nan", "inf"])
    def test_what_is_no_number(self, value):
        done = runner.invoke(app, ["models", "layers", "logmel", "--duration-s", value])
        assert done.exit_code == 2
        assert "--duration-s" in done.output


class TestJson:
    @pytest.mark.parametrize(
        "line",
        [
            "doctor",
            "run --list",
            "recipe list",
            "recipe check demo",
            "recipe schema",
            "stimuli list",
            "stimuli show demo",
            "stimuli check demo",
            "models list",
            "models layers logmel",
            "brain list",
            "brain show demo-components",
            "cache list",
            "cache verify",
            "cache prune --everything --dry-run",
            "replicate --paper kim2024",
        ],
    )
    def test_standard_output_is_json_alone(self, line, monkeypatch, tmp_path):
        monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path))
        done = runner.invoke(app, [*line.split(), "--json"])
        assert done.exit_code in (0, 1), done.output
        assert json.loads(done.stdout) is not None

    def test_an_error_is_one_line_on_standard_error_also_with_json(self, tmp_path):
        for line in ("brain show nothing --json", "recipe check nothing --json", "run --json --foo", "stimuli shw"):
            done = brainalign(*line.split(), cwd=tmp_path)
            assert (done.returncode, done.stdout) == (2, "")
            (message,) = done.stderr.splitlines()
            assert message.startswith("brainalign: ")

    def test_a_run_says_where_its_results_are(self, tmp_path):
        done = brainalign("demo", "--json", "--quiet", "--no-audio", cwd=tmp_path, env={"BRAINALIGN_CACHE": "cache"})
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert all(Path(said[name]).exists() for name in ("folder", "results", "page", "provenance"))
        rows = Path(said["results"]).read_text(encoding="utf-8").count("\n") - 1
        assert said["n_estimates"] == rows
        assert "component-encoding" in said["measures"]
        page = " ".join(re.sub(r"<[^>]+>", " ", html.unescape(Path(said["page"]).read_text(encoding="utf-8"))).split())
        assert said["answer"].startswith("Of 3 models, ")
        assert said["answer"] in page


class TestStreams:
    def test_debug_anywhere_shows_the_traceback(self, tmp_path):
        for line in ("--debug recipe check no.toml", "recipe check --debug no.toml", "recipe check no.toml --debug"):
            done = brainalign(*line.split(), cwd=tmp_path)
            assert done.returncode != 0
            assert "Traceback" in done.stderr

    def test_a_value_that_reads_debug_is_no_option(self, tmp_path):
        done = brainalign("recipe", "check", "--", "--debug", cwd=tmp_path)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert "'--debug'" in done.stderr

    @pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
    def test_ctrl_c_is_one_line(self, tmp_path):
        start = (
            # A job that a shell started in the background ignores Ctrl-C, and so would its children.
            "import signal, sys, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from brainalign.recipes import shipped\n"
            "def wait(*_):\n    print('here', flush=True)\n    time.sleep(60)\n"
            "shipped.find_recipe = wait\nfrom brainalign.cli import main; main()"
        )
        line = [sys.executable, "-c", start, "recipe", "check", "demo"]
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as job:
            assert job.stdout is not None
            assert job.stdout.readline() == "here\n"
            job.send_signal(signal.SIGINT)
            _, said = job.communicate(timeout=60)
        assert job.returncode == 130
        assert said.splitlines() == ["brainalign: interrupted"]

    @pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
    def test_a_reader_who_has_seen_enough(self, tmp_path):
        start = "from brainalign.cli import main; main()"
        with subprocess.Popen(
            [sys.executable, "-c", start, "recipe", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as job:
            assert job.stdout is not None
            assert job.stderr is not None
            job.stdout.readline()
            job.stdout.close()
            assert job.stderr.read() == b""

    @pytest.mark.parametrize(
        "line", ["--help", "recipe list", "recipe list --json", "recipe check demo", "stimuli list"]
    )
    def test_a_terminal_of_ascii(self, line):
        done = brainalign(*line.split(), env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"})
        assert done.returncode == 0, done.stderr
        assert done.stdout.isascii()
        if "--json" in line:
            assert any("Müller" in str(row) or row["name"] for row in json.loads(done.stdout))

    def test_names_that_ascii_lacks(self, tmp_path):
        (tmp_path / "ü.toml").write_text('title = "ü"\n', encoding="utf-8")
        done = brainalign("recipe", "check", "ü.toml", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
        assert done.returncode == 2
        assert "the key 'stimuli' is missing" in done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_what_is_piped_is_plain_and_one_line_a_row(self):
        done = brainalign("recipe", "list", env={"COLUMNS": "40", "FORCE_COLOR": "1"})
        assert "\x1b" not in done.stdout
        assert len(done.stdout.splitlines()) == len(shipped_recipes())

    def test_python_m(self, tmp_path):
        line = [sys.executable, "-m", "brainalign", "run", "--list"]
        done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=tmp_path)
        assert done.stdout.split() == list(shipped_recipes())


class TestCompletion:
    def complete(self, line: str, shell: str = "bash") -> list[str]:
        words = line.split(" ")
        done = brainalign(
            env={"_BRAINALIGN_COMPLETE": f"complete_{shell}", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
            start="import sys; sys.argv[0] = 'brainalign'; from brainalign.cli import main; main()",
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    def test_the_script(self):
        start = "import sys; sys.argv[0] = 'brainalign'; from brainalign.cli import main; main()"
        done = brainalign(
            "--show-completion", "bash", start=start, env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
        )
        assert done.returncode == 0, done.stderr
        assert "_BRAINALIGN_COMPLETE=complete_bash" in done.stdout

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("brainalign rec", ["recipe"]),
            ("brainalign run tuck", [n for n in shipped_recipes() if n.startswith("tuck")]),
            ("brainalign recipe check dem", [n for n in shipped_recipes() if n.startswith("dem")]),
            ("brainalign stimuli show nat", [n for n in STIMULI.names() if n.startswith("nat")]),
            ("brainalign models layers log", [n for n in MODELS.names() if n.startswith("log")]),
            ("brainalign extract logmel de", ["demo"]),
            ("brainalign brain show nh2015-c", ["nh2015-components"]),
            ("brainalign fetch yam", ["yamnet"]),
            ("brainalign cite kim2024-c", ["kim2024-cnn"]),
        ],
    )
    def test_names(self, line, expected):
        assert expected
        assert self.complete(line) == expected


class TestStart:
    #: pydantic is not among them: typer imports it where it can.
    HEAVY = ("torch", "pandas", "scipy", "xarray", "matplotlib", "numpy", "nilearn", "tqdm", "joblib", "jinja2")

    def imported(self, *line: str, **environment: str) -> set[str]:
        start = (
            "import sys, atexit; sys.argv[0] = 'brainalign'\n"
            f"atexit.register(lambda: print([m for m in {self.HEAVY!r} if m in sys.modules], file=sys.stderr))\n"
            "from brainalign.cli import main; main()"
        )
        done = brainalign(*line, start=start, env=environment)
        return set(re.findall(r"'(\w+)'", done.stderr.splitlines()[-1]))

    @pytest.mark.parametrize("line", ["--help", "--version", "run --help", "run --list", "recipe list"])
    def test_help_and_lists_import_nothing_heavy(self, line):
        assert self.imported(*line.split()) == set()

    @pytest.mark.parametrize("line", ["brainalign run k", "brainalign stimuli show n", "brainalign models layers l"])
    def test_completion_imports_nothing_heavy(self, line):
        environment = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
        assert self.imported(_BRAINALIGN_COMPLETE="complete_bash", **environment) == set()

    def test_the_check_itself_finds_what_is_heavy(self):
        assert "numpy" in self.imported("stimuli", "list")

    @pytest.mark.slow
    def test_help_takes_little_longer_than_its_libraries(self):
        def fastest(code: str, *line: str) -> float:
            times = []
            for _ in range(5):
                start = time.perf_counter()
                subprocess.run([sys.executable, "-c", code, *line], capture_output=True, check=True)
                times.append(time.perf_counter() - start)
            return min(times)

        # rich draws the help; what it imports for that belongs to the libraries.
        libraries = "import typer.main, typer.rich_utils, typer.completion, rich.table, rich.panel, rich.markdown"
        ours = fastest("from brainalign.cli import main; main()", "--help")
        assert ours < 3 * fastest(libraries)


if __name__ == "__main__":
    old = PAGE.read_text(encoding="utf-8")
    before, rest = old.split(MARKS[0])
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{command_table()}\n\n{MARKS[1]}{rest.split(MARKS[1])[1]}", encoding="utf-8")
