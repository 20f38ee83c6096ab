"""Code of a lab's own that changes between two runs: what it gave before is never taken for what it gives now."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cache import N, numbered
from test_engine import Outside

from brainalign.engine import Task, open_engine
from brainalign.engine.sources import SHIPPED, code_digest, source_digest
from brainalign.errors import EngineError, ModelError
from brainalign.measures.rsa import rsa
from brainalign.models import load_model
from brainalign.models._shards import loaded_there
from brainalign.models.extraction import extract
from brainalign.models.python import with_code
from brainalign.recipes.measuring import _measure

#: The first sound holds 0, so that hearing it anew says nothing of the gain.
NET = """
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import torch
from gain_for_test import GAIN

class Net:
    name, sample_rate, minimum_samples = "lab-net", 1000, 1
    record = {"kind": "own"}
    layouts = {"out": "BC"}

    def activations(self, waveforms, layers):
        return {"out": GAIN * waveforms[:, :1] + torch.arange(3.0)}

class Named(Net):
    @property
    def record(self):
        return {"kind": "property"}

class Filled(Net):
    def __init__(self):
        self.record = {"kind": "instance"}

class Layer(torch.nn.Linear):
    sample_rate = 1000

    def __init__(self):
        super().__init__(1, 3)

    def forward(self, x):
        return super().forward(GAIN * x.mean(-1, keepdim=True))
"""


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "net_for_test.py").write_text(NET)
    set_gain(folder, 1)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder / "net_for_test.py"
    for name in ("gain_for_test", "_brainalign_net_for_test", "net_for_test"):
        sys.modules.pop(name, None)


def set_gain(folder: Path, gain: int) -> None:
    # Of one size, within one second: what compiled code is mistaken for fresh by.
    (folder / "gain_for_test.py").write_text(f"GAIN = {gain}.0\n")


def expected(gain: float) -> np.ndarray:
    return gain * np.arange(N)[:, None] + np.arange(3.0)


class TestModels:
    @pytest.mark.parametrize("way", ["file", "module"])
    def test_an_edit_that_the_first_sound_does_not_tell(self, net: Path, tmp_path: Path, way: str) -> None:
        sys.path.insert(0, str(net.parent))
        name = f"python:{net}:Net" if way == "file" else "python:net_for_test:Net"

        def heard() -> np.ndarray:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return np.array(extract(load_model(name), numbered(), cache=tmp_path / "cache").values)

        np.testing.assert_array_equal(heard(), expected(1))
        set_gain(net.parent, 3)
        np.testing.assert_array_equal(heard(), expected(3))
        net.write_text(NET.replace("arange(3.0)", "arange(0.0, 6, 2)"))
        np.testing.assert_array_equal(heard(), expected(3) + np.arange(3.0))
        net.write_text(NET)
        set_gain(net.parent, 1)
        np.testing.assert_array_equal(heard(), expected(1))
        # And what was kept of the first is found again.
        assert len(list((tmp_path / "cache").glob("*/entry.json"))) == 3

    @pytest.mark.parametrize("attribute", ["Net", "Named", "Filled", "Layer", "Layer@random:1"])
    def test_the_record_tells_the_code_of_every_kind_of_model(self, net: Path, attribute: str) -> None:
        first = load_model(f"python:{net}:{attribute}")
        again = load_model(f"python:{net}:{attribute}")
        set_gain(net.parent, 2)
        other = load_model(f"python:{net}:{attribute}")
        assert dict(first.record) == dict(again.record)
        assert first.record["python_code"] != other.record["python_code"]
        assert {**first.record, "python_code": ""} == {**other.record, "python_code": ""}
        assert len(first.record) > 1

    def test_what_is_shipped_keeps_its_record(self) -> None:
        model = load_model("logmel")
        assert "python_code" not in model.record
        assert with_code(model, SHIPPED) is model

    def test_a_worker_that_lives_long_loads_what_has_changed(self, net: Path, outside: Outside) -> None:
        name = f"python:{net}:Net"

        def heard() -> np.ndarray:
            with open_engine(cluster=outside.address) as engine:
                found = extract(
                    load_model(name), numbered(), batch_size=1, engine=engine, load=partial(load_model, name)
                )
            return np.array(found.values)

        np.testing.assert_array_equal(heard(), expected(1))
        set_gain(net.parent, 3)
        np.testing.assert_array_equal(heard(), expected(3))

    def test_one_that_finds_other_files_says_which_key_differs(self, net: Path) -> None:
        model = load_model(f"python:{net}:Net")
        there = loaded_there(model, partial(load_model, f"python:{net}:Named"))
        there.here = None
        with pytest.raises(ModelError, match=r"^lab-net is .* worker on .*: kind is 'property', expected 'own'; "):
            there.value()


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    pytest.importorskip("distributed")
    # The workers run from the same checkout, in which somebody may be at work.
    monkeypatch.setattr("brainalign.engine.cluster.fingerprint", lambda: {})
    found = Outside(1, tmp_path)
    yield found
    found.end()


class TestMeasures:
    def test_a_worker_with_older_code_is_refused(
        self, tmp_path: Path, outside: Outside, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "measure_for_test.py"
        file.write_text("def measure():\n    return 1\n")
        monkeypatch.syspath_prepend(tmp_path)
        module: Any = importlib.import_module("measure_for_test")

        def ask() -> Any:
            own = {"function": module.measure, "options": {}, "source": source_digest(module.measure), "about": ""}
            with open_engine(cluster=outside.address) as engine:
                return next(engine.run([Task("own", _measure, own)]))[1]

        assert ask() == 1
        file.write_text("def measure():\n    return 11\n")
        importlib.reload(module)
        with pytest.raises(EngineError, match=r"other code of measure_for_test: python_code is .*restart the workers"):
            ask()

    def test_a_helper_beside_the_file_counts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "own_for_test.py").write_text("def measure(): ...\n")
        helper, deep = tmp_path / "helper.py", tmp_path / "tools" / "inner" / "deep.py"
        deep.parent.mkdir(parents=True)
        for path in (helper, deep, tmp_path / "tools" / "__init__.py"):
            path.write_text("FACTOR = 1\n")
        monkeypatch.syspath_prepend(tmp_path)
        module: Any = importlib.import_module("own_for_test")
        found = [source_digest(module.measure)]
        for path in (helper, deep):
            path.write_text("FACTOR = 2\n")
            # The function in memory is what it was until it is imported anew.
            assert source_digest(module.measure) == found[-1]
            found.append(source_digest(importlib.reload(module).measure))
        assert None not in found
        assert len(set(found)) == 3
        # Neither other files nor what editors leave.
        (tmp_path / "notes.txt").write_text("later")
        (tmp_path / ".#helper.py").symlink_to("nowhere")
        assert code_digest("own_for_test", str(module.__file__)) == found[-1]

    def test_an_installed_package_counts_by_its_version(self) -> None:
        assert source_digest(rsa) == SHIPPED
        assert source_digest(dataclass) == source_digest(field) == SHIPPED
        assert source_digest(np.testing.assert_array_equal) == f"numpy {np.__version__}"
