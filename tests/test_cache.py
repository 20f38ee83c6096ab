"""The cache: nothing twice, nothing half, nothing stale; tested with real processes and real damage."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from brainalign.errors import ModelError
from brainalign.models.cache import CacheEntry, cache_folder, list_entries, prune, verify
from brainalign.models.extraction import extract, extract_layers
from brainalign.models.hooked import HookedModel, ablating
from brainalign.recipes.runner import compute_recipe
from brainalign.stimuli import StimulusSet
from brainalign.stimuli.sets import Manifest

RATE = 1_000
N = 12


def numbered(n: int = N, first: int = 0, prefix: str = "s") -> StimulusSet:
    """Make sounds whose first sample is their number; of two lengths in turn."""

    def source(stimulus_id: str) -> tuple[np.ndarray, int]:
        k = int(stimulus_id.removeprefix(prefix))
        sound = np.random.default_rng(k).normal(0, 0.1, 50 + k % 2).astype(np.float32)
        sound[0] = k
        return sound, RATE

    ids = [f"{prefix}{k}" for k in range(first, first + n)]
    table = pd.DataFrame({"file": "", "category": "Music"}, index=pd.Index(ids, name="stimulus_id"))
    return StimulusSet(Manifest(name="numbered", version="1", citation="c", licence="l"), table, source)


class Recorder:
    """An AudioModel that keeps a list of the sounds that it heard, and does something before it answers."""

    name = "recorder"
    sample_rate = RATE
    minimum_samples = 1

    def __init__(self, before: Callable[[int], None] = lambda k: None, factor: float = 1.0, width: int = 5) -> None:
        self.record: dict[str, Any] = {"made_by": "test"}
        self.layouts = {"early": "BCT", "late": "BC"}
        self.heard: list[int] = []
        self.asked: list[tuple[str, ...]] = []
        self._before, self._factor, self._width = before, factor, width

    def activations(self, waveforms: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        self.asked.append(tuple(layers))
        for k in waveforms[:, 0].int().tolist():
            self._before(k)
            self.heard.append(k)
        late = torch.cos(self._factor * waveforms[:, :1] + torch.arange(self._width))
        return {"early": torch.sin(waveforms[:, None, :] * torch.arange(1, 4)[:, None]), "late": late}


def filled(cache: Path, **options: Any) -> np.ndarray:
    """Extract into the cache, with no warning; return the numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return np.array(extract(Recorder(), numbered(), cache=cache, batch_size=2, **options).values)


def child(report: int, cache: Path, pause_at: int, go: Path, out: Path) -> None:
    """Extract in a process of its own: say so and wait at a sound, save what came out."""

    def say(text: object) -> None:
        os.write(report, f"{text}\n".encode())

    def before(k: int) -> None:
        if k == pause_at:
            say("paused")
            while not go.exists():
                time.sleep(0.01)

    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *_: say(message)  # type: ignore[assignment]
    model = Recorder(before)
    responses = extract(model, numbered(), cache=cache, batch_size=2)
    np.savez(out, values=responses.values, heard=model.heard)


class Child:
    """A process that runs :func:`child`, and what it says."""

    def __init__(self, cache: Path, pause_at: int, go: Path, out: Path) -> None:
        read, write = os.pipe()
        # A fork has torch imported already; its model is too small for torch to use threads.
        self.process = multiprocessing.get_context("fork").Process(target=child, args=(write, cache, pause_at, go, out))
        self.process.start()
        os.close(write)
        self._says = os.fdopen(read)

    def wait_until(self, text: str) -> None:
        for line in self._says:
            if text in line:
                return
        pytest.fail(f"the process ended without {text!r}")

    def end(self) -> int | None:
        self.process.join(60)
        self._says.close()
        return self.process.exitcode


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
class TestProcesses:
    def test_a_killed_extraction_goes_on_where_it_stopped(self, tmp_path: Path) -> None:
        killed = Child(tmp_path / "cache", 7, tmp_path / "never", tmp_path / "out.npz")
        killed.wait_until("paused")
        killed.process.kill()
        assert killed.end() == -signal.SIGKILL
        (entry,) = list_entries(tmp_path / "cache")
        # Batches of two of a length, 0 2, 1 3, 4 6, 5 7: the last was not answered.
        assert entry.sounds_done == 6
        assert not entry.complete
        assert verify(tmp_path / "cache") == {entry.key: []}
        model = Recorder()
        resumed = extract(model, numbered(), cache=tmp_path / "cache")
        assert sorted(model.heard) == [0, 5, 7, 8, 9, 10, 11]  # 0 to see that the model is the same
        np.testing.assert_array_equal(resumed.values, extract(Recorder(), numbered()).values)
        assert list_entries(tmp_path / "cache")[0].complete

    def test_two_that_ask_for_the_same_share_the_work(self, tmp_path: Path) -> None:
        cache, go = tmp_path / "cache", tmp_path / "go"
        first = Child(cache, 4, go, tmp_path / "a.npz")
        first.wait_until("paused")
        second = Child(cache, -1, go, tmp_path / "b.npz")
        second.wait_until("waiting for it to end")
        (entry,) = list_entries(cache)
        assert prune(cache, everything=True) == []  # one writes: it stays
        assert entry.folder.is_dir()
        go.touch()
        assert first.end() == second.end() == 0
        a, b = np.load(tmp_path / "a.npz"), np.load(tmp_path / "b.npz")
        assert sorted(a["heard"]) == list(range(N))
        assert b["heard"].tolist() == [0]
        expected = extract(Recorder(), numbered()).values
        np.testing.assert_array_equal(a["values"], expected)
        np.testing.assert_array_equal(b["values"], expected)
        assert verify(cache) == {entry.key: []}

    def test_many_at_once(self, tmp_path: Path) -> None:
        children = [Child(tmp_path / "cache", -1, tmp_path / "go", tmp_path / f"{k}.npz") for k in range(3)]
        assert [c.end() for c in children] == [0, 0, 0]
        expected = extract(Recorder(), numbered()).values
        heard = []
        for k in range(3):
            done = np.load(tmp_path / f"{k}.npz")
            np.testing.assert_array_equal(done["values"], expected)
            heard.append(len(done["heard"]))
        assert sorted(heard) == [1, 1, N]


class TestKey:
    def heard(self, cache: Path, stimuli: StimulusSet | None = None, **options: Any) -> list[int]:
        model = Recorder()
        extract(model, stimuli or numbered(), cache=cache, **options)
        return sorted(model.heard)

    def test_a_hit_has_the_same_numbers_and_coordinates(self, tmp_path: Path) -> None:
        plain = extract(Recorder(), numbered())
        for _ in range(2):
            kept = extract(Recorder(), numbered(), cache=tmp_path)
            assert kept.identical(plain)
        assert self.heard(tmp_path) == [0]
        single = extract(Recorder(), numbered(), layers="late", cache=tmp_path)
        assert single.identical(extract(Recorder(), numbered(), layers="late"))
        assert not single.values.flags.writeable

    def test_batch_size_ids_and_name_of_the_set_make_no_difference(self, tmp_path: Path) -> None:
        filled(tmp_path)
        assert self.heard(tmp_path, batch_size=5) == [0]
        assert self.heard(tmp_path, numbered(prefix="other")) == [0]
        assert len(list_entries(tmp_path)) == 1

    def test_what_changes_numbers_makes_an_entry_of_its_own(self, tmp_path: Path) -> None:
        filled(tmp_path)
        sounds = numbered()

        def louder(stimulus_id: str) -> tuple[np.ndarray, int]:
            waveform, rate = sounds.source(stimulus_id)
            return waveform * np.float32(1.001 if stimulus_id == "s7" else 1), rate

        changed = StimulusSet(sounds.manifest, sounds.table, louder)
        assert len(self.heard(tmp_path, changed)) == N
        assert len(self.heard(tmp_path, sounds.select(sounds.ids[::-1]))) == N
        assert len(self.heard(tmp_path, sounds.select(sounds.ids[:-1]))) == N - 1
        assert len(self.heard(tmp_path, pooling="max")) == N
        assert len(self.heard(tmp_path, pooling="segments:2")) == N
        assert len(self.heard(tmp_path, pooling="segments:3")) == N
        for attribute, value in (("name", "b"), ("record", {"made_by": "other"}), ("sample_rate", 2 * RATE)):
            model = Recorder()
            setattr(model, attribute, value)
            extract(model, sounds, cache=tmp_path)
            assert len(model.heard) == N, attribute
        assert len(list_entries(tmp_path)) == 10

    def test_a_layer_more_is_all_that_is_computed(self, tmp_path: Path) -> None:
        filled(tmp_path, layers="late")
        model = Recorder()
        both = extract(model, numbered(), cache=tmp_path)
        assert set(model.asked) == {("late",), ("early",)}
        assert model.asked.count(("late",)) == 1
        assert both.identical(extract(Recorder(), numbered()))
        (entry,) = list_entries(tmp_path)
        assert set(entry.layers) == {"early", "late"}

    def test_weights_are_digested_as_they_are(self, tmp_path: Path) -> None:
        module = nn.Sequential(nn.Linear(50, 4))
        model = HookedModel("linear", module, RATE, {"0": "BC"})
        sounds = numbered().select([f"s{k}" for k in range(0, N, 2)])
        before = np.array(extract(model, sounds, cache=tmp_path).values)
        with torch.no_grad():
            module[0].bias += 0.001
        np.testing.assert_allclose(extract(model, sounds, cache=tmp_path).values, before + 0.001, atol=1e-6)
        assert len(list_entries(tmp_path)) == 2

    def test_silenced_units_are_not_taken_for_the_model(self, tmp_path: Path) -> None:
        model = HookedModel("linear", nn.Sequential(nn.Linear(50, 4)), RATE, {"0": "BC"})
        sounds = numbered().select([f"s{k}" for k in range(0, N, 2)])
        whole = np.array(extract(model, sounds, cache=tmp_path).values)
        with ablating(model, {"0": [2]}), pytest.warns(UserWarning, match="linear carries forward hooks"):
            silenced = extract(model, sounds, cache=tmp_path).values
        assert (silenced[:, 2] == 0).all()
        np.testing.assert_array_equal(extract(model, sounds, cache=tmp_path).values, whole)

    def test_code_that_changed_behind_the_record(self, tmp_path: Path) -> None:
        sounds = numbered(first=1)
        kept = np.array(extract(Recorder(), sounds, cache=tmp_path).values)
        with pytest.warns(UserWarning, match="recorder no longer gives what the cache .* going on without the cache"):
            changed = extract(Recorder(factor=1.1), sounds, cache=tmp_path)
        assert changed.identical(extract(Recorder(factor=1.1), sounds))
        np.testing.assert_array_equal(extract(Recorder(), sounds, cache=tmp_path).values, kept)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x40
    path.write_bytes(content)


def rows(path: Path) -> tuple[int, int]:
    """Give where the rows of an array begin, and the bytes of each."""
    array = np.load(path, mmap_mode="r")
    return array.offset, array[0].nbytes


def damage_one_value(path: Path) -> None:
    start, size = rows(path)
    flip(path, start + 3 * size + 1)


def swap_rows(path: Path) -> None:
    for file, (start, size) in ((path, rows(path)), (path.with_suffix(".sums"), (0, 16))):
        content = file.read_bytes()
        row = [content[start + k * size : start + (k + 1) * size] for k in range(N)]
        row[3], row[5] = row[5], row[3]
        file.write_bytes(content[:start] + b"".join(row))


ALL = list(range(N))


class TestDamage:
    @pytest.mark.parametrize(
        ("damage", "lost"),
        [
            (damage_one_value, [3]),
            (swap_rows, [3, 5]),
            (lambda p: flip(p.with_suffix(".sums"), 16 * 4 + 2), [4]),
            (lambda p: p.write_bytes(p.read_bytes()[:-3]), ALL),
            (lambda p: p.write_bytes(b""), ALL),
            (lambda p: p.unlink(), ALL),
            (lambda p: flip(p, 20), ALL),
            (lambda p: p.with_suffix(".sums").write_bytes(b"abc"), ALL),
            (lambda p: p.with_suffix(".json").write_text("{"), ALL),
            (lambda p: p.with_suffix(".json").write_text('{"layer": "late", "n_parts": 5, "n_channels": 1}'), ALL),
        ],
    )
    def test_it_is_found_and_computed_anew(
        self, tmp_path: Path, damage: Callable[[Path], None], lost: list[int]
    ) -> None:
        expected = filled(tmp_path)
        (path,) = tmp_path.glob("*/late-*.npy")
        damage(path)
        (key,) = verify(tmp_path)
        assert verify(tmp_path)[key], "verify finds it"
        assert [e.key for e in prune(tmp_path, damaged=True, dry_run=True)] == [key]
        model = Recorder()
        with pytest.warns(UserWarning, match="is damaged .* computing this anew"):
            again = extract(model, numbered(), cache=tmp_path)
        np.testing.assert_array_equal(again.values, expected)
        # The first sound is heard once more, to see that the model is the same.
        assert sorted(model.heard) == sorted([0, *lost])
        assert verify(tmp_path) == {key: []}
        assert prune(tmp_path, damaged=True) == []
        np.testing.assert_array_equal(filled(tmp_path), expected)

    def test_a_record_of_the_entry(self, tmp_path: Path) -> None:
        filled(tmp_path)
        (path,) = tmp_path.glob("*/entry.json")
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"model": "another"}))
        assert verify(tmp_path) == {path.parent.name: ["entry.json does not fit its digest"]}
        path.write_text("no JSON")
        (entry,) = list_entries(tmp_path)
        assert (entry.readable, entry.complete, entry.model) == (False, False, "?")
        assert verify(tmp_path) == {path.parent.name: ["entry.json cannot be read"]}
        filled(tmp_path)
        assert verify(tmp_path) == {path.parent.name: []}


@contextmanager
def without_the_right_to_write(folder: Path) -> Iterator[None]:
    """Take it from this process, or, where it may not change who it is, from the files."""
    paths = [folder, *folder.rglob("*")]
    if os.geteuid() == 0:
        os.seteuid(65534)
    else:
        for path in paths:
            path.chmod(0o555)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        for path in paths:
            path.chmod(0o755)


class TestNoPlaceToWrite:
    def test_a_cache_that_is_read_only_serves_what_it_has(self) -> None:
        # Not in tmp_path, which nobody else may enter.
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o755)
            expected = filled(folder)
            model = Recorder()
            with without_the_right_to_write(folder):
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    kept = np.array(extract(model, numbered(), cache=folder).values)
                with pytest.warns(UserWarning, match=r"cannot be written \(.*Permission denied.*going on without it"):
                    more = extract(Recorder(), numbered(), cache=folder, pooling="max")
                with pytest.raises(ModelError, match="cannot be"):
                    prune(folder, everything=True)
            np.testing.assert_array_equal(kept, expected)
            assert model.heard == [0]
            np.testing.assert_array_equal(more.values, extract(Recorder(), numbered(), pooling="max").values)

    @pytest.mark.parametrize("cache", [True, 3])
    def test_what_is_no_folder(self, cache: Any) -> None:
        message = rf"^cache must be a folder or None, found {cache}; .*cache_folder\(\) names the usual one"
        with pytest.raises(ModelError, match=message):
            extract(Recorder(), numbered(), cache=cache)
        with pytest.raises(ModelError, match=message):
            next(extract_layers(Recorder(), numbered(), cache=cache))
        with pytest.raises(ModelError, match=message):
            compute_recipe("demo", cache=cache)

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "cache").write_text("a file")
        with pytest.warns(UserWarning, match=r"the cache .*cache cannot be written .* going on without it"):
            responses = extract(Recorder(), numbered(), cache=tmp_path / "cache")
        assert responses.identical(extract(Recorder(), numbered()))

    def test_a_full_disk_is_one_line_and_what_is_there_stays(self, tmp_path: Path) -> None:
        resource = pytest.importorskip("resource")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        sounds = numbered()
        filled(tmp_path, layers="early")
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        try:
            with pytest.raises(ModelError, match=r"activations cannot be written to .*what is there stays"):
                extract(Recorder(width=1_000), sounds, cache=tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        (entry,) = list_entries(tmp_path)
        assert entry.layers == ("early",)
        assert entry.complete
        assert verify(tmp_path) == {entry.key: []}
        filled(tmp_path)


class TestMemory:
    @pytest.mark.parametrize("way", ["extract", "extract_layers", "temporary"])
    def test_it_does_not_grow_with_the_number_of_sounds(self, tmp_path: Path, way: str) -> None:
        def peak(n: int, cache: Path | None) -> float:
            model, sounds = Recorder(width=4_000), numbered(n)
            tracemalloc.start()
            if way == "extract":
                extract(model, sounds, layers="late", cache=cache)
            else:
                responses = next(iter(extract_layers(model, sounds, layers=["late"], cache=cache)))
                assert responses.shape == (n, 4_000)
            found = tracemalloc.get_traced_memory()[1] / 2**20
            tracemalloc.stop()
            return found

        cache = None if way == "temporary" else tmp_path
        peak(50, cache)  # what is imported on first use
        few, many = peak(200, cache), peak(1_000, cache)
        whole = 1_000 * 4_000 * 4 / 2**20
        if way == "temporary":
            # One layer at a time comes into memory, and once.
            assert whole < many < whole + few + 2
        else:
            assert many < few + 2 < whole / 3

    def test_a_limit_is_kept_and_stated(self, tmp_path: Path) -> None:
        limit = 12 * 5 * 4 / 2**30
        message = r"12 sounds x 8 units would take 0\.00 GiB of memory, more than memory_limit_gib=.*extract_layers"
        for cache in (None, tmp_path):
            with pytest.raises(ModelError, match=message):
                extract(Recorder(), numbered(), cache=cache, memory_limit_gib=limit)
            extract(Recorder(), numbered(), layers="late", cache=cache, memory_limit_gib=limit)
        extract(Recorder(), numbered(), layers="late", cache=tmp_path, memory_limit_gib=limit / 2)  # lies on disk


class TestLayers:
    @pytest.mark.parametrize("with_cache", [True, False])
    def test_layer_by_layer_is_the_same(self, tmp_path: Path, with_cache: bool) -> None:
        model = Recorder()
        parts = list(extract_layers(model, numbered(), cache=tmp_path if with_cache else None, pooling="segments:2"))
        assert sorted(model.heard) == ALL, "one pass for all layers"
        for layer, part in zip(("early", "late"), parts, strict=True):
            assert part.identical(extract(Recorder(), numbered(), layers=layer, pooling="segments:2"))

    def test_the_cache_is_free_while_layers_are_used(self, tmp_path: Path) -> None:
        for part in extract_layers(Recorder(), numbered(), cache=tmp_path):
            layer = str(part["layer"].values[0])
            assert extract(Recorder(), numbered(), layers=layer, cache=tmp_path).identical(part)

    def test_an_entry_that_is_pruned_does_not_take_the_numbers_away(self, tmp_path: Path) -> None:
        kept = extract(Recorder(), numbered(), layers="late", cache=tmp_path)
        expected = extract(Recorder(), numbered(), layers="late")
        assert len(prune(tmp_path, everything=True)) == 1
        extract(Recorder(factor=3.0), numbered(), layers="late", cache=tmp_path)
        assert kept.identical(expected)


class TestAdministration:
    def test_the_list(self, tmp_path: Path) -> None:
        assert list_entries(tmp_path / "nothing") == []
        filled(tmp_path, layers="late")
        filled(tmp_path, pooling="max")
        newest, oldest = list_entries(tmp_path)
        assert (newest.pooling, oldest.pooling) == ("max", "mean")
        assert (oldest.model, oldest.stimulus_set, oldest.layers) == ("recorder", "numbered 1", ("late",))
        assert (oldest.n_sounds, oldest.sounds_done, oldest.complete) == (N, N, True)
        assert oldest.n_bytes == sum(p.stat().st_size for p in oldest.folder.iterdir())
        assert abs((datetime.now(UTC) - newest.last_used).total_seconds()) < 3_600
        filled(tmp_path, layers="late")
        assert [e.pooling for e in list_entries(tmp_path)] == ["mean", "max"]

    def test_arrays_are_plain_npy_files(self, tmp_path: Path) -> None:
        values = filled(tmp_path, layers="late")
        (path,) = tmp_path.glob("*/*.npy")
        np.testing.assert_array_equal(np.load(path, allow_pickle=False)[:, 0], values)

    def test_what_prune_takes(self, tmp_path: Path) -> None:
        filled(tmp_path)
        filled(tmp_path, pooling="max")
        other = Recorder(before=lambda k: (_ for _ in ()).throw(RuntimeError("stop")) if k == 9 else None)
        other.name = "other"
        with pytest.raises(RuntimeError, match="stop"):
            extract(other, numbered(), cache=tmp_path)
        by = {(e.model, e.pooling): e for e in list_entries(tmp_path)}

        def taken(**criteria: Any) -> set[str]:
            return {e.key for e in prune(tmp_path, dry_run=True, **criteria)}

        week_ago = time.time() - 7 * 86_400
        os.utime(by["recorder", "max"].folder / "entry.json", (week_ago, week_ago))
        assert taken(older_than_days=6.9) == {by["recorder", "max"].key}
        assert taken(older_than_days=7.1) == set()
        assert taken(unfinished=True) == {by["other", "mean"].key}
        assert taken(model="rec*") == {by["recorder", "max"].key, by["recorder", "mean"].key}
        for days in (-1, float("nan"), 1e9):
            with pytest.raises(ModelError, match=r"older_than_days is .*, expected a number from 0"):
                taken(older_than_days=days)
        assert taken(model="rec*", older_than_days=1) == {by["recorder", "max"].key}
        assert taken(key=by["other", "mean"].key[:9]) == {by["other", "mean"].key}
        assert taken(damaged=True) == set()
        assert len(taken(everything=True)) == len(list_entries(tmp_path)) == 3
        assert [e.pooling for e in prune(tmp_path, older_than_days=6.9)] == ["max"]
        assert {e.model for e in list_entries(tmp_path)} == {"recorder", "other"}
        assert len(prune(tmp_path, everything=True)) == 2
        assert not [p for p in tmp_path.iterdir() if p.suffix != ".lock"]

    def test_prune_asks_what_to_remove(self, tmp_path: Path) -> None:
        filled(tmp_path)
        filled(tmp_path, pooling="max")
        with pytest.raises(ModelError, match="say what to remove"):
            prune(tmp_path)
        with pytest.raises(ModelError, match="2 entries of the cache have a key that begins with ''"):
            prune(tmp_path, key="")
        with pytest.raises(ModelError, match="0 entries of the cache have a key that begins with 'zz'"):
            prune(tmp_path, key="zz")
        assert len(list_entries(tmp_path)) == 2

    def test_where_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path))
        assert cache_folder() == tmp_path
        filled(tmp_path)
        (entry,) = list_entries()
        assert isinstance(entry, CacheEntry)
        assert list(verify()) == [entry.key]
        monkeypatch.delenv("BRAINALIGN_CACHE")
        assert cache_folder().name == "extraction"
