"""The house: a light front door, rooms that import one way, files of a size to read, documented functions."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import brainalign

SOURCE = Path(brainalign.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
HEAVY = ("torch", "torchaudio", "nilearn", "nibabel", "matplotlib", "scipy.stats", "sklearn", "statsmodels", "plotly")

#: What each room may import: only what lies before it on the way of the data.
GROUND = {"errors", "_files", "_html", "_progress", "_reading", "registry", "responses"}
MAY_IMPORT = {
    "errors": set(),
    "_progress": set(),
    "_html": {"errors"},
    "_files": {"errors"},
    "_reading": {"errors"},
    "registry": {"errors"},
    "responses": {"errors", "_files", "_reading"},
    "stats": {"errors"},
    "auditory": {"errors"},
    "stimuli": GROUND | {"auditory"},
    "engine": {"errors", "_files", "_progress"},
    "models": GROUND | {"auditory", "stimuli", "engine"},
    "brain": GROUND | {"stimuli", "stats"},
    "training": GROUND | {"stimuli", "models"},
    "measures": GROUND | {"stimuli", "models", "brain", "stats"},
    "reconstruction": GROUND | {"stimuli", "models", "brain", "stats", "measures"},
    "recipes": GROUND | {"stimuli", "models", "brain", "stats", "measures", "reconstruction", "engine"},
    "report": GROUND | {"stimuli", "brain", "stats", "measures", "recipes", "reconstruction"},
    "replication": GROUND | {"stimuli", "models", "brain", "stats", "measures", "recipes", "report"},
    "doctor": GROUND | {"stimuli"},
    "cli": GROUND
    | {
        "stimuli",
        "models",
        "brain",
        "training",
        "measures",
        "report",
        "recipes",
        "doctor",
        "reconstruction",
        "replication",
        "engine",
    },
    "__main__": {"cli"},
}
#: ``result.plot()`` and the like reach for the drawing room, and only when they are called.
DRAWS_WHEN_ASKED = {"measures/result.py": {"report"}}


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Give the rooms that are imported, and whether that happens within a function."""
    within = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "brainalign" else [module]
        for name in names:
            parts = name.split(".")
            if parts[0] == "brainalign":
                yield (parts[1] if len(parts) > 1 else "brainalign"), id(node) in within


class TestFrontDoor:
    @pytest.mark.parametrize("module", ["", ".responses", ".stimuli.fetch", ".brain", ".models", ".recipes", ".cli"])
    def test_importing_is_light(self, module: str) -> None:
        code = (
            f"import sys, brainalign{module}; "
            f"print([m for m in {HEAVY!r} if m in sys.modules]); "
            "print([m for m in sys.modules if m.startswith('brainalign.')])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        heavy, ours = done.stdout.splitlines()
        assert heavy == "[]"
        if not module:
            assert ours == "['brainalign.errors']"

    @pytest.mark.parametrize("name", brainalign.__all__)
    def test_every_public_name_is_there(self, name: str) -> None:
        assert getattr(brainalign, name) is not None
        assert name in dir(brainalign)

    def test_public_names_are_sorted_and_unique(self) -> None:
        assert len(set(brainalign.__all__)) == len(brainalign.__all__)
        assert set(brainalign._WHERE) | {"BrainalignError", "__version__"} == set(brainalign.__all__)

    def test_an_unknown_name(self) -> None:
        with pytest.raises(AttributeError, match="module 'brainalign' has no attribute 'load_brains'"):
            brainalign.load_brains  # noqa: B018
        with pytest.raises(AttributeError, match=r"module 'brainalign.models' has no attribute 'extrat'"):
            importlib.import_module("brainalign.models").extrat  # noqa: B018

    def test_names_of_the_rooms(self) -> None:
        for room in ("stimuli", "models", "brain", "measures", "recipes", "stats"):
            module = importlib.import_module(f"brainalign.{room}")
            for name in getattr(module, "__all__", ()):
                assert getattr(module, name) is not None

    def test_the_version_is_that_of_the_project(self) -> None:
        import tomllib

        project = SOURCE.parents[1] / "pyproject.toml"
        if not project.is_file():
            pytest.skip("runs from an installed package, not from a checkout")
        assert brainalign.__version__ == tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]


class TestRooms:
    @pytest.mark.parametrize("path", [m for m in MODULES if m.parent != SOURCE or m.stem != "__init__"], ids=name_of)
    def test_imports_go_one_way(self, path: Path) -> None:
        room = room_of(path)
        assert room in MAY_IMPORT, f"say in MAY_IMPORT what the new room {room!r} may import"
        for other, within_function in imports(ast.parse(path.read_text(encoding="utf-8"))):
            allowed = MAY_IMPORT[room] | {room}
            if within_function:
                allowed |= DRAWS_WHEN_ASKED.get(name_of(path), set())
            if room == "cli":
                allowed |= {"brainalign"}
            assert other in allowed, f"{name_of(path)} imports {other}"

    def test_the_order_itself_has_no_way_back(self) -> None:
        for room, others in MAY_IMPORT.items():
            for other in others:
                assert room not in MAY_IMPORT[other], f"{room} and {other} may import each other"
        assert [room for room, others in MAY_IMPORT.items() if "cli" in others] == ["__main__"]

    @pytest.mark.parametrize("path", MODULES, ids=name_of)
    def test_files_are_of_a_size_to_read(self, path: Path) -> None:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Give public functions and methods, and the name of each."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner


def parameters(function: ast.FunctionDef) -> list[str]:
    a = function.args
    named = [*a.posonlyargs, *a.args, *a.kwonlyargs, *(v for v in (a.vararg, a.kwarg) if v)]
    return [p.arg for p in named if p.arg not in ("self", "cls")]


def section(docstring: str, title: str) -> str | None:
    """Give the text of a numpydoc section."""
    lines = docstring.splitlines()
    for i, line in enumerate(lines[:-1]):
        if line == title and lines[i + 1] == "-" * len(title):
            ends = [j for j in range(i + 2, len(lines) - 1) if set(lines[j + 1]) == {"-"} and lines[j]]
            return "\n".join(lines[i + 2 : ends[0] if ends else None])
    return None


def public_modules() -> list[Path]:
    # The docstrings of the command line are its help texts.
    return [m for m in MODULES if not any(p.startswith("_") and p != "__init__.py" for p in m.relative_to(SOURCE).parts)
            and room_of(m) != "cli"]  # fmt: skip


def offered() -> set[tuple[str, str]]:
    """Give what users meet: names in an ``__all__`` and what is registered, as (module, name)."""
    from brainalign.brain import BRAINS
    from brainalign.measures import MEASURES
    from brainalign.models import MODELS
    from brainalign.stimuli import MANIPULATIONS, STIMULI

    found = set()
    for room in ("", ".stimuli", ".models", ".brain", ".measures", ".recipes", ".stats"):
        module = importlib.import_module(f"brainalign{room}")
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            found.add((getattr(thing, "__module__", ""), getattr(thing, "__name__", "")))
    for registry in (STIMULI, MANIPULATIONS, MODELS, BRAINS, MEASURES):
        for name in registry.names():
            thing = registry.get(name)
            found.add((thing.__module__, thing.__name__))
    return found


class TestDocumentation:
    @pytest.mark.parametrize("path", public_modules(), ids=name_of)
    def test_public_functions_say_what_they_take_and_give(self, path: Path) -> None:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), "no docstring of the module"
        module = "brainalign." + name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        users_meet = {name for where, name in offered() if where == module}
        for name, function in functions(tree):
            decorators = [ast.unparse(d) for d in function.decorator_list]
            docstring = ast.get_docstring(function)
            if "property" in decorators and not docstring:
                owner = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name.split(".")[0])
                assert f"{function.name} : " in (section(ast.get_docstring(owner) or "", "Attributes") or ""), name
                continue
            assert docstring, f"{name} has no docstring"
            # A line may be all that a small helper needs, or a function that takes nothing.
            small = name.split(".")[0] not in users_meet or not parameters(function)
            if "\n" not in docstring and small:
                continue
            taken = section(docstring, "Parameters") or ""
            for parameter in parameters(function):
                assert parameter in taken.replace(",", " ").replace("*", " ").split(), f"{name}: {parameter}"
            gives = function.returns is not None and ast.unparse(function.returns) != "None"
            if gives and "property" not in decorators:
                assert section(docstring, "Returns") or section(docstring, "Yields"), f"{name}: what it returns"

    def test_the_check_itself_finds_what_is_missing(self) -> None:
        assert (
            section("Do.\n\nParameters\n----------\nx : int\n    What.\n\nReturns\n-------\nint\n", "Returns") == "int"
        )
        assert section("Do.\n\nParameters\n----------\nx : int\n    What.\n\nReturns\n-------\nint", "Parameters") == (
            "x : int\n    What.\n"
        )
        assert section("Do.", "Parameters") is None
        assert ("brainalign.models.extraction", "extract") in offered()
        assert ("brainalign.stimuli.sets", "StimulusSet") in offered()
