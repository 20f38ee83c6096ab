"""Disks that are full, folders that nobody may write to, clocks that jump, two at once, files that rot."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from killing import GROWTH, Server
from safetensors.torch import save_file
from test_killed import COMMANDS, EXTRACT, Command, check_tidy, refurnish, visible
from workplace import furnish

from brainalign import extract, load_model, load_stimuli
from brainalign._files import HDF5Stream, remove_leftovers, reserve, scratch_folder, write_then_rename
from brainalign.errors import ResultsError, WriteError
from brainalign.models.cache import verify
from brainalign.report.folder import run_recipe

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 1 MiB; where that is not allowed, skip."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True).returncode
    ):
        pytest.skip("no file system may be mounted here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def netcdf(path: Path) -> None:
    array = xr.DataArray(np.random.default_rng(0).random((1_000, 500)), dims=("a", "b"), name="x")
    with HDF5Stream(path) as stream:
        array.to_dataset().to_netcdf(stream, engine="h5netcdf")


def mapped(path: Path) -> None:
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(1_000_000,))
    reserve(path)
    array[:] = 1


BIG = np.random.default_rng(0).random(1_000_000)
WRITERS = {
    "text": lambda path: path.write_text("0" * 3_000_000),
    "netcdf": netcdf,
    "mapped": mapped,
    "numpy": lambda path: np.savetxt(path, BIG),
    "safetensors": lambda path: save_file({"x": torch.from_numpy(BIG)}, path),
    "torch": lambda path: torch.save({"x": torch.from_numpy(BIG)}, path),
    "sound": lambda path: soundfile.write(path, BIG, 22_050, format="WAV", subtype="PCM_24"),
}


class TestFullDisk:
    @pytest.mark.parametrize("writer", WRITERS)
    def test_every_writer_says_so_and_the_old_file_stays(self, small_disk: Path, writer: str) -> None:
        path = small_disk / "x"
        path.write_text("old")

        def write() -> None:
            with write_then_rename(path) as temporary:
                WRITERS[writer](temporary)

        with pytest.raises(
            WriteError, match=r"disk/x cannot be written: No space left on device; .*make room"
        ) as caught:
            write()
        assert caught.value.errno == errno.ENOSPC
        assert isinstance(caught.value, OSError)
        assert [p.name for p in small_disk.iterdir()] == ["x"]
        assert path.read_text() == "old"

    @pytest.mark.parametrize("writer", WRITERS)
    def test_with_room_it_is_written(self, tmp_path: Path, writer: str) -> None:
        with write_then_rename(tmp_path / "x") as temporary:
            WRITERS[writer](temporary)
        assert (tmp_path / "x").stat().st_size > 2_900_000
        assert [p.name for p in tmp_path.iterdir()] == ["x"]

    def test_an_error_that_is_none_of_the_disk_stays_what_it_is(self, tmp_path: Path) -> None:
        def copy() -> None:
            with write_then_rename(tmp_path / "x") as temporary:
                shutil.copyfile(tmp_path.parent / "nowhere", temporary)

        with pytest.raises(FileNotFoundError):
            copy()
        with pytest.raises(RuntimeError, match="other"), write_then_rename(tmp_path / "x"):
            raise RuntimeError("other")
        assert not list(tmp_path.iterdir())

    def test_netcdf_as_a_stream_is_the_file_that_it_would_be(self, tmp_path: Path) -> None:
        netcdf(tmp_path / "x.nc")
        with xr.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as read:
            np.testing.assert_array_equal(read["x"].values, np.random.default_rng(0).random((1_000, 500)))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("faults") / "work"
    folder.mkdir()
    server = Server(folder, {"BRAINALIGN_CACHE": str(folder / "cache"), "TMPDIR": str(folder / "tmp")})
    yield server
    server.close()


def whole(server: Server, command: Command) -> tuple[list[str], dict[str, bytes]]:
    """Run a command with nothing in its way; return the changes to files that it makes, and what comes out."""
    for _ in range(2):  # the first one imports what the command needs
        refurnish(server.folder)
        attempt = server.attempt(*command.arguments, trace=True)
        assert attempt.code == 0, attempt.output
    return attempt.changes, command.outcome(server.folder)


def said(output: str) -> str:
    """Return the last line, which must be the only one about an error."""
    assert "Traceback" not in output
    return output.replace("\r", "\n").strip().rpartition("\n")[2]


def suffer(server: Server, command: Command, expected: dict[str, bytes], **how: Any) -> bool:
    """Run a command that is denied something, and again with nothing in its way; return whether it was stopped."""
    refurnish(server.folder)
    attempt = server.attempt(*command.arguments, **how)
    stopped = attempt.code != 0
    if stopped:
        assert attempt.code == 2, attempt.output
        assert said(attempt.output).startswith("brainalign: ")
        assert os.strerror(how.get("error", errno.EFBIG)) in said(attempt.output)
        assert command.outcome(server.folder) == {}
        assert not any(verify(server.folder / "cache").values())
        attempt = server.attempt(*command.arguments)
    assert attempt.code == 0, attempt.output
    assert command.outcome(server.folder) == expected
    check_tidy(server.folder)
    return stopped


@needs_fork
class TestDeniedRoom:
    """Each step at which a command opens, makes or renames something is the first for which there is no room."""

    def at_points(self, server: Server, name: str, n_points: int, n_sizes: int) -> tuple[int, int]:
        command, rng = COMMANDS[name], np.random.default_rng(5)
        changes, expected = whole(server, command)
        sizes = sorted({p.stat().st_size for p in visible(server.folder)} - {0})
        points = rng.permutation([k for k, change in enumerate(changes) if change.split()[0] in GROWTH])[:n_points]
        limits = [int(size) - 1 for size in rng.permutation(sizes)[:n_sizes]]
        stopped = [suffer(server, command, expected, fail_from=int(k), error=errno.ENOSPC) for k in points]
        stopped += [suffer(server, command, expected, limit=limit) for limit in limits]
        print(f"\n{name}: no room at {len(points)} steps and {len(limits)} sizes; {sum(stopped)} stopped it")
        return len(stopped), sum(stopped)

    def test_extract(self, server: Server) -> None:
        _, stopped = self.at_points(server, "extract", 4, 3)
        assert stopped >= 1

    @pytest.mark.slow
    @pytest.mark.parametrize("name", COMMANDS)
    def test_many(self, server: Server, name: str) -> None:
        tried, stopped = self.at_points(server, name, 10, 5)
        assert stopped >= tried / 4


@needs_fork
class TestReadOnlyCache:
    @pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES])
    def test_a_run_goes_on_without_it(self, server: Server, error: int) -> None:
        command = COMMANDS["extract"]
        _, expected = whole(server, command)
        refurnish(server.folder)
        denied = {"fail_from": 0, "error": error, "fail_below": [f"{server.folder}/cache"]}
        attempt = server.attempt(*command.arguments, **denied)
        assert attempt.code == 0, attempt.output
        assert "warning: the cache" in attempt.output
        assert f"cannot be written ([Errno {error}]" in attempt.output
        assert "going on without it" in attempt.output
        assert command.outcome(server.folder) == expected

    def test_a_whole_cache_that_may_only_be_read_is_read(self, server: Server) -> None:
        command = COMMANDS["extract"]
        _, expected = whole(server, command)
        (server.folder / "responses.nc").unlink()
        denied = {"fail_from": 0, "error": errno.EROFS, "fail_below": [f"{server.folder}/cache"]}
        attempt = server.attempt(*command.arguments, **denied, trace=True)
        assert attempt.code == 0, attempt.output
        assert "warning" not in attempt.output
        assert command.outcome(server.folder) == expected

    def test_a_cache_beneath_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        furnish(tmp_path / "work")
        model, sounds = load_model("logmel"), load_stimuli(tmp_path / "work" / "set")
        with pytest.warns(UserWarning, match="cannot be written .*Not a directory.*; going on without it"):
            kept = extract(model, sounds, cache=tmp_path / "file" / "cache")
        assert kept.identical(extract(model, sounds))


@needs_fork
class TestClock:
    YEARS_10 = 10 * 365.25 * 86_400

    @pytest.mark.parametrize("name", ["extract", pytest.param("train", marks=pytest.mark.slow)])
    @pytest.mark.parametrize("step", [-YEARS_10, YEARS_10])
    def test_a_clock_that_jumps_between_two_attempts(self, server: Server, name: str, step: float) -> None:
        command = COMMANDS[name]
        changes, expected = whole(server, command)
        refurnish(server.folder)
        assert server.attempt(*command.arguments, kill_at=2 * len(changes) // 3).killed
        for path in server.folder.rglob("*"):
            os.utime(path, (time.time() + step,) * 2)
        attempt = server.attempt(*command.arguments, stamp=step)
        assert attempt.code == 0, attempt.output
        assert command.outcome(server.folder) == expected

    def test_a_sound_that_changes_without_its_date_is_heard_anew(self, tmp_path: Path) -> None:
        furnish(tmp_path)
        model, cache = load_model("logmel"), tmp_path / "cache"
        before = np.array(extract(model, load_stimuli(tmp_path / "set"), cache=cache).values)
        path = tmp_path / "set" / "audio" / "4.wav"
        date, (sound, rate) = path.stat(), soundfile.read(path)
        soundfile.write(path, sound[::-1], rate)
        os.utime(path, ns=(date.st_atime_ns, date.st_mtime_ns))
        after = extract(model, load_stimuli(tmp_path / "set"), cache=cache).values
        assert (np.abs(after - before).max(axis=1) > 0).nonzero()[0].tolist() == [4]


@needs_fork
class TestTwoAtOnce:
    """Two processes that do the same in the same place, started in the same moment."""

    def both(self, tmp_path: Path, *commands: tuple[str, ...]) -> list[subprocess.CompletedProcess[str]]:
        furnish(tmp_path)
        environment = {**os.environ, "BRAINALIGN_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}

        def start(arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
            line = [sys.executable, "-c", "from brainalign.cli import main; main()", *arguments]
            return subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, env=environment)

        with ThreadPoolExecutor() as pool:
            return list(pool.map(start, commands))

    def test_two_extractions_share_a_cache(self, tmp_path: Path) -> None:
        out = [(*EXTRACT[:-1], f"{k}.nc") for k in range(2)]
        assert [done.returncode for done in self.both(tmp_path, *out)] == [0, 0]
        assert (tmp_path / "0.nc").read_bytes() == (tmp_path / "1.nc").read_bytes()
        assert not any(verify(tmp_path / "cache").values())

    @pytest.mark.slow
    def test_two_runs_of_one_cache_and_folder(self, tmp_path: Path) -> None:
        done = self.both(tmp_path, COMMANDS["run"].arguments, COMMANDS["run"].arguments)
        codes = sorted(one.returncode for one in done)
        assert codes in ([0, 2], [0, 0])
        first = (tmp_path / "out" / "results.csv").read_bytes()
        for one in done:
            if one.returncode == 2:
                assert "out appeared while the run was going; the results are in out-2" in said(one.stderr)
                assert (tmp_path / "out-2" / "results.csv").read_bytes() == first
        assert codes == [0, 2], "two runs cannot both have made the same folder"
        assert not any(verify(tmp_path / "cache").values())
        check_tidy(tmp_path)

    @pytest.mark.slow
    def test_two_trainings_of_one_folder(self, tmp_path: Path) -> None:
        done = self.both(tmp_path, COMMANDS["train"].arguments, COMMANDS["train"].arguments)
        assert sorted(one.returncode for one in done) == [0, 2]
        refused = next(one for one in done if one.returncode == 2)
        assert "another process trains into trained; wait until it has ended" in said(refused.stderr)
        assert COMMANDS["train"].outcome(tmp_path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    folder = tmp_path_factory.mktemp("kept")
    furnish(folder)
    values = extract(load_model("logmel"), load_stimuli(folder / "set"), cache=folder / "cache").values
    return folder, np.array(values)


class TestRot:
    @given(st.data())
    def test_any_damage_of_a_cache_is_found_and_mended(
        self, kept: tuple[Path, np.ndarray], data: st.DataObject
    ) -> None:
        folder, expected = kept
        cache = folder / "rotten"
        shutil.rmtree(cache, ignore_errors=True)
        shutil.copytree(folder / "cache", cache)
        files = sorted(p for p in cache.glob("*/*") if p.suffix in (".npy", ".sums", ".json"))
        path = data.draw(st.sampled_from(files))
        content = bytearray(path.read_bytes())
        if data.draw(st.booleans(), label="cut off"):
            content = content[: data.draw(st.integers(0, len(content) - 1))]
        else:
            bit = data.draw(st.integers(0, 8 * len(content) - 1))
            content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = extract(load_model("logmel"), load_stimuli(folder / "set"), cache=cache).values
        np.testing.assert_array_equal(found, expected)
        assert not any(verify(cache).values())


class TestReplacement:
    """``--overwrite`` takes two steps; a kill between them loses neither results."""

    @pytest.mark.parametrize("new_is_there", [False, True])
    def test_a_kill_between_the_two_steps(self, tmp_path: Path, new_is_there: bool) -> None:
        out, old = tmp_path / "out", tmp_path / ".out.replaced"
        for folder in (old, *([out] if new_is_there else [])):
            folder.mkdir()
            (folder / "provenance.json").write_text(folder.name)
        with pytest.raises(ResultsError, match="exists already"):
            run_recipe("demo", out)
        assert (out / "provenance.json").read_text() == ("out" if new_is_there else ".out.replaced")
        assert [p.name for p in tmp_path.iterdir()] == ["out"]


class TestScratch:
    def test_what_a_killed_process_left_goes(self, tmp_path: Path) -> None:
        (tmp_path / ".x.writing").mkdir()
        (tmp_path / ".x.writing" / "x").write_text("half")
        with scratch_folder(tmp_path / "x") as folder:
            assert folder == tmp_path / ".x.writing"
            assert not (folder / "x").exists()
        assert not list(tmp_path.iterdir())

    def test_what_a_living_one_writes_stays(self, tmp_path: Path) -> None:
        with scratch_folder(tmp_path / "x") as first:
            (first / "x").write_text("of the first")
            with scratch_folder(tmp_path / "x") as second:
                assert second.name == ".x.writing-2"
                remove_leftovers(tmp_path)
                assert second.is_dir()
            assert (first / "x").read_text() == "of the first"
        assert not list(tmp_path.iterdir())

    def test_many_threads_write_one_file(self, tmp_path: Path) -> None:
        def write(k: int) -> None:
            for _ in range(50):
                with write_then_rename(tmp_path / "x") as temporary:
                    temporary.write_text(f"{k}" * 1_000)
                assert len(set((tmp_path / "x").read_text())) == 1

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(8)))
        assert len((tmp_path / "x").read_text()) == 1_000
        assert [p.name for p in tmp_path.iterdir()] == ["x"]

    def test_without_locks_each_has_a_folder_of_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_locks(_handle: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr("brainalign._files._lock", no_locks)
        with write_then_rename(tmp_path / "x") as first, write_then_rename(tmp_path / "y") as second:
            assert first.parent != second.parent
            first.write_text("1")
            second.write_text("2")
        assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith(".")) == ["x", "y"]
