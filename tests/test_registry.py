"""One mechanism for names: entry points and a decorator, misses with near misses, nothing imported early."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from brainalign.brain import BRAINS, load_brain
from brainalign.errors import BrainError, MeasureError, ModelError, StimulusError
from brainalign.measures import MEASURES
from brainalign.models import MODELS, load_model
from brainalign.registry import Registry
from brainalign.stimuli import STIMULI


@pytest.fixture
def registry() -> Registry:
    return Registry("model", "brainalign.tests.none", ModelError)


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let installed packages offer entry points of the group ``g``."""

    def offer(**values: str | list[str]) -> None:
        points = [
            EntryPoint(name.replace("_", "-"), value, "g")
            for name, given in values.items()
            for value in ([given] if isinstance(given, str) else given)
        ]

        def entry_points(group: str, name: str | None = None) -> list[EntryPoint]:
            return [p for p in points if group == p.group and name in (None, p.name)]

        monkeypatch.setattr("brainalign.registry.entry_points", entry_points)

    return offer


class TestDecorator:
    def test_a_name_stands_for_what_was_registered(self, registry: Registry) -> None:
        @registry.register("my-net")
        def load() -> str:
            return "loaded"

        assert load() == "loaded"
        assert registry.get("my-net") is load
        assert registry.names() == ["my-net"]

    def test_a_name_that_is_taken_is_refused(self, registry: Registry) -> None:
        registry.register("my-net")(len)
        with pytest.raises(ModelError, match="a model named 'my-net' is registered already"):
            registry.register("my-net")(max)
        assert registry.get("my-net") is len

    @pytest.mark.parametrize("registry_of", [STIMULI, MODELS, BRAINS, MEASURES])
    def test_what_ships_cannot_be_replaced(self, registry_of: Registry) -> None:
        name = registry_of.names()[0]
        with pytest.raises(registry_of.error, match=f"named '{name}' is registered already"):
            registry_of.register(name)(len)


class TestEntryPoints:
    def test_a_package_adds_a_name(self, offered: Callable[..., None]) -> None:
        offered(my_net="math:sqrt", other="math:floor")
        registry = Registry("model", "g", ModelError)
        assert registry.names() == ["my-net", "other"]
        assert registry.get("my-net")(9) == 3

    def test_names_do_not_import(self, offered: Callable[..., None]) -> None:
        offered(broken="no_such_package:load")
        assert Registry("model", "g", ModelError).names() == ["broken"]

    @pytest.mark.parametrize("value", ["no_such_package:load", "math:no_such_function"])
    def test_what_cannot_be_imported_says_where_it_is(self, offered: Callable[..., None], value: str) -> None:
        offered(broken=value)
        with pytest.raises(ModelError, match=f"'broken' is registered as '{value}', which cannot be imported: .*no"):
            Registry("model", "g", ModelError).get("broken")

    def test_two_offers_of_one_name_are_an_error(self, offered: Callable[..., None]) -> None:
        offered(net=["math:sqrt", "math:floor"])
        with pytest.raises(ModelError, match="'net' is offered twice, by math:floor and math:sqrt"):
            Registry("model", "g", ModelError).get("net")

    def test_the_same_offer_seen_twice_is_one(self, offered: Callable[..., None]) -> None:
        offered(net=["math:sqrt", "math:sqrt"])
        assert Registry("model", "g", ModelError).get("net")(9) == 3

    @pytest.mark.parametrize("registry", [STIMULI, MODELS, BRAINS, MEASURES])
    def test_everything_that_ships_can_be_imported(self, registry: Registry) -> None:
        assert registry.names()
        assert all(callable(registry.get(name)) for name in registry.names())

    def test_what_the_issue_names_ships(self) -> None:
        assert {"demo", "natsound165"} <= set(STIMULI.names())
        assert {"kim2024-cnn", "logmel"} <= set(MODELS.names())
        assert {"nh2015-components", "demo-components"} <= set(BRAINS.names())
        assert {"response-ratio", "component-encoding", "rsa"} <= set(MEASURES.names())


class TestMisses:
    def test_near_misses(self) -> None:
        with pytest.raises(ModelError, match="no model named 'kim2024-cn'; did you mean 'kim2024-cnn'"):
            load_model("kim2024-cn")
        with pytest.raises(
            BrainError, match="no brain data set named 'nh2015-component'; did you mean 'nh2015-component"
        ):
            load_brain("nh2015-component")
        with pytest.raises(BrainError, match="ecog165-components has no option 'windw_s'; did you mean 'window_s' or"):
            load_brain("ecog165-components", windw_s=(0, 1))
        with pytest.raises(BrainError, match="table needs the option 'path'"):
            load_brain("table")
        with pytest.raises(StimulusError, match="no stimulus set named 'dmo'; did you mean 'demo'"):
            STIMULI.get("dmo")
        with pytest.raises(MeasureError, match="did you mean 'response-ratio'"):
            MEASURES.get("respons-ratio")

    def test_what_there_is(self, registry: Registry) -> None:
        registry.register("b")(len)
        registry.register("a")(len)
        with pytest.raises(ModelError, match="no model named 'zzz'; known: 'a', 'b'"):
            registry.get("zzz")

    def test_an_empty_registry(self, registry: Registry) -> None:
        with pytest.raises(ModelError, match="known: none"):
            registry.get("x")


def test_a_model_of_a_lab_is_loaded_like_one_that_ships() -> None:
    # In a process of its own: the registry of the package is global.
    code = """
        from brainalign import load_model
        from brainalign.models import MODELS

        @MODELS.register("my-net")
        def load(variant, *, pretrained):
            return variant, pretrained

        print(load_model("my-net"), load_model("my-net:large"), "my-net" in MODELS.names())
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.stdout == "('', True) ('large', True) True\n", done.stderr


def test_errors_belong_to_their_registry() -> None:
    kinds: dict[Any, type[Exception]] = {
        STIMULI: StimulusError, MODELS: ModelError, BRAINS: BrainError, MEASURES: MeasureError,
    }  # fmt: skip
    for registry, error in kinds.items():
        with pytest.raises(error):
            registry.get("there is no such name")
