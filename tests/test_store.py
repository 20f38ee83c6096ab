"""The store of finished tasks: the same to the bit, nothing twice, nothing stale, nothing half."""

from __future__ import annotations

import json
import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from brainalign.engine import Cost
from brainalign.engine.codec import decode, digest_of, encode, same
from brainalign.engine.sources import source_digest
from brainalign.engine.store import ResultStore, key_of
from brainalign.errors import EngineError
from brainalign.measures.result import Result, result_table
from brainalign.recipes import identity
from brainalign.recipes.identity import Digests
from brainalign.recipes.runner import RESULTS, Run, compute_recipe


def there_and_back(value: Any) -> Any:
    arrays: dict[str, Any] = {}
    return decode(json.loads(json.dumps(encode(value, arrays))), arrays)


class TestCodec:
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
            max_leaves=12,
        )
    )
    def test_plain_values(self, value: Any) -> None:
        assert repr(there_and_back(value)) == repr(value)

    def test_a_table_with_every_kind_of_column(self) -> None:
        table = result_table(
            [{"measure": "a", "value": 0.1 + 0.2, "n": 3, "own": True}, {"measure": "b", "own": False}]
        )
        table["text"] = ["x", None]
        table["mixed"] = [float("nan"), 4]
        table["single"] = np.array([0.1, np.nan], np.float32)
        table["string"] = pd.array(["ä", None], dtype="str")
        table["floats"] = pd.array([0.1, None], dtype="Float64")
        back = there_and_back(table)
        pd.testing.assert_frame_equal(back, table, check_exact=True)
        assert list(map(str, back.dtypes)) == list(map(str, table.dtypes))
        assert back.to_csv() == table.to_csv()
        chosen = table.iloc[[1]]
        pd.testing.assert_frame_equal(there_and_back(chosen), chosen)

    def test_an_array_with_coordinates(self) -> None:
        array = xr.DataArray(
            np.array([[0.1, np.nan, -0.0], [np.inf, 1e-320, 2]]),
            dims=("stimulus", "unit"),
            coords={"stimulus": ["s", "long"], "region": ("unit", np.array(["A1", None, 3], object)), "depth": 1.5},
            attrs={"pair": (1, 2), "n": np.int32(3)},
            name="r",
        )
        back = there_and_back(array)
        assert back.identical(array)
        assert back.values.tobytes() == array.values.tobytes()
        assert back["stimulus"].dtype == array["stimulus"].dtype
        assert type(back.attrs["n"]) is np.int32
        assert back.attrs["pair"] == (1, 2)

    def test_what_differs_a_little_differs(self) -> None:
        for a, b in ((0.0, -0.0), (1, 1.0), (1, True), ((1,), [1]), (np.float32(1), np.float64(1)), ("1", 1)):
            assert not same(a, b)
        assert digest_of({"a": 1, "b": 2}) != digest_of({"b": 2, "a": 1})

    @pytest.mark.parametrize("value", [{1, 2}, object(), pd.Series([1]), np.array([object()])])
    def test_what_cannot_be_kept_is_refused(self, value: Any) -> None:
        with pytest.raises(TypeError, match="cannot be kept"):
            encode(value, {})


class TestFiles:
    def test_damage_is_found_and_named(self, tmp_path: Path) -> None:
        store = ResultStore(tmp_path)
        value = {"x": np.arange(5.0)}
        assert store.put({"a": 1}, {"measure": "m", "model": "net"}, value, Cost(1, 2, 3))
        found = store.get({"a": 1})
        assert found is not None
        assert same(found[0], value)
        assert found[1] == Cost(1, 2, 3)
        assert store.get({"a": 2}) is None
        key = key_of({"a": 1})
        arrays, record = tmp_path / f"{key}.npz", tmp_path / f"{key}.json"
        whole, said = arrays.read_bytes(), record.read_text()
        for path, content in (
            (arrays, whole[:-1]),
            (arrays, bytes([*whole[:90], whole[90] ^ 1, *whole[91:]])),
            (record, said[:-5]),
            (record, said.replace('"a": 1', '"a": 2')),
            (record, "[]"),
        ):
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            with pytest.warns(UserWarning, match="is damaged .* computing it anew"):
                assert store.get({"a": 1}) is None
            assert [e.key for e in store.entries(damaged=True)] == [key]
            arrays.write_bytes(whole)
            record.write_text(said)
        assert store.entries(damaged=True) == []
        assert [e.about["model"] for e in store.entries(model="n*")] == ["net"]
        with pytest.raises(EngineError, match=r"older_than_days is -1, expected a number from 0"):
            store.entries(older_than_days=-1)
        assert store.entries(model="other") == store.entries(older_than_days=1) == []
        store.remove(key)
        assert list(tmp_path.iterdir()) == []

    def test_arrays_without_a_record_are_not_there(self, tmp_path: Path) -> None:
        store = ResultStore(tmp_path)
        store.put({"a": 1}, {}, 1.5, Cost())
        (tmp_path / f"{key_of({'a': 1})}.json").unlink()
        assert store.get({"a": 1}) is None

    def test_no_place_to_write(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        store = ResultStore(tmp_path / "file")
        with pytest.warns(UserWarning, match="results cannot be kept in"):
            assert not store.put({"a": 1}, {}, 1.5, Cost())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert not store.put({"a": 2}, {}, 1.5, Cost())


RECIPE = """
    title = "Growing"
    [stimuli]
    set = "demo"
    categories = ["Music", "Speech"]
    [[models]]
    name = "logmel"
    [[models]]
    name = "one-hot:category"
    [brain]
    name = "demo-components"
    [[measures]]
    name = "component-encoding"
    splits = "kfold"
    n_splits = 3
    n_permutations = 19
    n_bootstrap = 50
    [[measures]]
    name = "response-ratio"
    label = "music"
    categories = ["Music"]
    n_bootstrap = 50
"""
MODEL = '[[models]]\nname = "cochleagram"\n'


def run(folder: Path, *changes: tuple[str, str], cache: bool = True, **options: Any) -> Run:
    text = textwrap.dedent(RECIPE)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "study.toml").write_text(text)
    return compute_recipe(folder / "study.toml", cache=folder / "cache" if cache else None, **options)


def table(found: Run) -> str:
    return pd.concat([r.table for r in found.results]).to_csv()


def computed(found: Run) -> set[tuple[str, str]]:
    costs = found.costs[(found.costs["task"] == "measure") & ~found.costs["from_store"]]
    return set(zip(costs["measure"], costs["model"], strict=True))


class TestRuns:
    def test_only_what_is_new_is_computed(self, tmp_path: Path) -> None:
        first = run(tmp_path)
        assert len(computed(first)) == 5  # the ratio of the brain itself too
        plain = run(tmp_path, cache=False)
        assert table(plain) == table(first)
        again = run(tmp_path)
        assert computed(again) == set()
        assert table(again) == table(first)
        for a, b in zip(first.results, again.results, strict=True):
            assert same(dict(vars(a)), dict(vars(b)))
        kept = again.costs["from_store"] & (again.costs["task"] == "measure")
        pd.testing.assert_series_equal(again.costs["seconds"][kept], first.costs["seconds"][kept])
        more = run(tmp_path, ("[brain]", f"{MODEL}[brain]"))
        assert computed(more) == {("component-encoding", "cochleagram"), ("music", "cochleagram")}
        # A label, a title and an order change no number; a seed, an option and a sound do.
        assert computed(run(tmp_path, ('"music"', '"ratio"'), ('"Growing"', '"Grown"'))) == set()
        assert len(computed(run(tmp_path, ("n_permutations = 19", "n_permutations = 29")))) == 2
        assert len(computed(run(tmp_path, seed=1))) == 5
        assert len(computed(run(tmp_path, ('"Speech"]', '"Speech", "Song"]')))) == 5

    def test_damage_and_code_that_has_changed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = run(tmp_path)
        path = sorted((tmp_path / "cache" / RESULTS).glob("*.npz"))[0]
        path.write_bytes(path.read_bytes()[:-2])
        with pytest.warns(UserWarning, match="is damaged"):
            again = run(tmp_path)
        assert len(computed(again)) == 1
        assert table(again) == table(first)
        assert computed(run(tmp_path)) == set()
        known = identity.fingerprint()
        monkeypatch.setattr(identity, "fingerprint", lambda: {**known, "brainalign's code": "another"})
        assert len(computed(run(tmp_path))) == 5


class TestSources:
    def test_of_a_labs_own_measure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import importlib
        import sys

        (tmp_path / "own_lab").mkdir()
        (tmp_path / "own_lab" / "__init__.py").write_text("")
        (tmp_path / "own_lab" / "helper.py").write_text("FACTOR = 1\n")
        (tmp_path / "own_lab" / "measure.py").write_text("def measure(responses): ...\n")
        monkeypatch.syspath_prepend(tmp_path)
        function = importlib.import_module("own_lab.measure").measure
        before = source_digest(function)
        assert before is not None
        # What it may import from beside itself counts too.
        (tmp_path / "own_lab" / "helper.py").write_text("FACTOR = 2\n")
        assert source_digest(function) == before
        function = importlib.reload(sys.modules["own_lab.measure"]).measure
        assert source_digest(function) not in (before, None)
        for name in ("own_lab", "own_lab.measure"):
            sys.modules.pop(name)

    def test_code_that_nobody_can_read_is_not_kept(self) -> None:
        space: dict[str, Any] = {"__name__": "__main__"}
        exec("def measure(responses): ...", space)  # as in a notebook
        assert source_digest(space["measure"]) is None
        assert Digests().identity("m", space["measure"], {}, {}) is None

    def test_a_result_is_what_its_fields_are(self) -> None:
        result = Result("m", result_table([{"value": 1.0}]), settings={"splits": (1, 2)}, warnings=["w"])
        assert same(dict(vars(Result(**there_and_back(dict(vars(result)))))), dict(vars(result)))
