"""The pages: every one is reached, every command and every block of Python in them is one that works."""

from __future__ import annotations

import importlib
import importlib.util
import os
import posixpath
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from brainalign.cli import app
from brainalign.recipes.schema import read_recipe

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BUILT = {"_build", "_static", "_templates", "gallery", "gallery_built", "generated"}
if not (DOCS / "conf.py").is_file():
    pytest.skip("runs from an installed package, not from a checkout", allow_module_level=True)

PAGES = [
    p for p in sorted(DOCS.rglob("*")) if p.suffix in (".md", ".rst") and not BUILT & {*p.relative_to(DOCS).parts}
]  # fmt: skip
MARKDOWN = [ROOT / "README.md", *(p for p in PAGES if p.suffix == ".md")]
#: Pages whose Python is run, and whose recipes are read.
EXECUTED = ["getting-started", "people/modeller", "people/neuroscientist", "people/sound-lab", "statistics"]
FENCE = re.compile(
    r"^(?P<fence>`{3,}|:{3,})(?P<language>[^\n`]*)\n(?P<body>.*?)^(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [m["body"] for m in FENCE.finditer(text) if m["language"].strip() == language]


class TestNavigation:
    def test_every_page_is_reached_from_the_first(self) -> None:
        reached, ahead = set(), ["index"]
        while ahead:
            name = ahead.pop()
            if name in reached:
                continue
            reached.add(name)
            page = DOCS / f"{name}.md"
            for toctree in blocks(page, "{toctree}") if page.is_file() else []:
                entries = [line for line in toctree.splitlines() if line and not line.startswith(":")]
                targets = [re.sub(r".*<(.*)>", r"\1", entry) for entry in entries]
                ahead += [posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) for target in targets]
        there = {p.relative_to(DOCS).with_suffix("").as_posix() for p in PAGES}
        assert sorted(there - reached) == [], "in no toctree; docs/guides.md and docs/how-to.md hold the lists"
        assert sorted(reached - there) == ["gallery_built/index"]

    @pytest.mark.parametrize("page", MARKDOWN, ids=name_of)
    def test_relative_links_lead_somewhere(self, page: Path) -> None:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)\s#]+)", text):
            if "://" in target or target.startswith("mailto:"):
                continue
            path = page.parent / re.sub(r"gallery_built/(.*)\.rst$", r"gallery/\1.py", target)
            assert path.exists(), f"{name_of(page)} links to {target}"

    def test_the_reference_holds_every_public_name(self) -> None:
        listed = set(
            re.findall(r"^   ([A-Za-z][\w.]*)$", (DOCS / "api" / "index.rst").read_text(encoding="utf-8"), re.M)
        )
        listed = {name.rpartition(".")[2] for name in listed}
        for module in ("", ".stats", ".stimuli", ".models", ".brain", ".training", ".report.figures"):
            # Registries are described in the text.
            names = {
                n for n in importlib.import_module(f"brainalign{module}").__all__ if not n.isupper() and n[0] != "_"
            }
            assert sorted(names - listed) == [], f"brainalign{module} has names that docs/api/index.rst lacks"


def commands(page: Path) -> Iterator[tuple[list[str], bool]]:
    """Give the words of each command line of a page, and whether it stands in a block; within text it may be short."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    prose = FENCE.sub("", text)
    shown = "\n".join([*(m["body"] for m in FENCE.finditer(text)), *re.findall(r"^ {4,}\S.*", prose, re.MULTILINE)])
    lines = re.findall(r"^[ \t$]*(brainalign .*)", shown, re.MULTILINE)
    within = re.findall(r"(?<!`)`(brainalign [^`\n]+)`(?!`)", prose)
    for line, whole in [*((line, True) for line in lines), *((line, False) for line in within)]:
        if " | " not in line and "brainalign COMMAND" not in line:  # several commands, or any
            yield shlex.split(re.split(r" (?:>|2>|&&) ?", line)[0], comments=True), whole


@pytest.mark.parametrize("page", MARKDOWN, ids=name_of)
def test_commands_exist_with_their_options(page: Path) -> None:
    for words, whole in commands(page):
        command = typer.main.get_command(app)
        context, rest = typer.Context(command, info_name="brainalign"), words[1:]
        while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            assert rest[0] in command.commands, f"{name_of(page)}: no command {' '.join(words)!r}"
            command = command.commands[rest[0]]
            context, rest = typer.Context(command, info_name=rest[0], parent=context), rest[1:]
        try:
            given, left, _ = command.make_parser(context).parse_args(list(rest))
        except Exception as why:
            raise AssertionError(f"{name_of(page)}: {' '.join(words)!r}: {why}") from why
        assert not left, f"{name_of(page)}: {' '.join(words)!r} takes no {left}"
        lacking = [
            p.name for p in command.params if whole and p.required and given.get(p.name) is None and "help" not in given
        ]
        assert not lacking, f"{name_of(page)}: {' '.join(words)!r} lacks {lacking}"


def test_a_command_that_does_not_exist_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    for wrong in (
        "brainalign rum study.toml",
        "brainalign run study.toml --outt x",
        "brainalign fetch a b",
        "brainalign extract logmel demo",
    ):
        (tmp_path / "page.md").write_text(f"```\n{wrong}\n```\n", encoding="utf-8")
        with pytest.raises(AssertionError, match=re.escape(wrong)):
            test_commands_exist_with_their_options(tmp_path / "page.md")


@pytest.mark.parametrize("name", EXECUTED)
def test_python_of_the_pages_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    page = DOCS / f"{name}.md"
    script = blocks(page, "python")
    assert script
    values: dict[str, object] = {"__name__": "__page__"}
    for block in script:
        exec(compile(block, name_of(page), "exec"), values)
    for i, recipe in enumerate(blocks(page, "toml")):
        (tmp_path / f"page-{i}.toml").write_text(recipe, encoding="utf-8")
    for recipe_file in tmp_path.glob("*.toml"):
        assert read_recipe(recipe_file).measures
    for what, share in values.get("false_alarms", {}).items():  # type: ignore[attr-defined]
        assert re.search(rf"{what}, {share:.0%}".replace("%", " %"), page.read_text(encoding="utf-8")), (what, share)


@pytest.mark.slow
def test_the_pages_build_without_a_warning_and_load_nothing_from_outside(tmp_path: Path) -> None:
    lacking = [
        m for m in ("sphinx", "sphinx_gallery", "myst_parser", "pydata_sphinx_theme") if not importlib.util.find_spec(m)
    ]
    if lacking:
        pytest.skip(f"{lacking[0]} is not installed: pip install 'brainalign[docs]'")
    ignored = shutil.ignore_patterns("_build", "gallery_built", "generated", "__pycache__")
    shutil.copytree(DOCS, tmp_path / "docs", ignore=ignored)
    shutil.copy(ROOT / "CHANGELOG.md", tmp_path)
    # Neither fetched data nor what an earlier run has extracted.
    env = os.environ | {"BRAINALIGN_DATA": str(tmp_path / "none"), "OMP_NUM_THREADS": "1"}
    build = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "docs", "html"]
    done = subprocess.run(build, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    html = sorted((tmp_path / "html").rglob("*.html"))
    assert len(html) > len(PAGES)
    loaded = re.compile(
        r"<(?:script|img|audio|source|iframe)\b[^>]*\bsrc=\"(?:https?:)?//|<link\b(?=[^>]*stylesheet)[^>]*href=\"(?:https?:)?//"
    )
    outside = [p.name for p in html if loaded.search(p.read_text(encoding="utf-8"))]
    styles = [
        p.name
        for p in (tmp_path / "html").rglob("*.css")
        if re.search(r"url\([\"']?(?:https?:)?//|@import[^;]*//", p.read_text(encoding="utf-8"))
    ]
    assert outside == styles == []
