"""Known data sets: every file is the published one, and an interrupted fetch goes on."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pooch
import pytest

from brainalign import load_brain, load_stimuli
from brainalign._files import data_folder, sha256, write_then_rename
from brainalign.errors import DownloadError, StimulusError
from brainalign.stimuli.fetch import check_fetched, fetch, fetchable, published_digests

FILES = {"sounds/a.wav": b"first", "sounds/b c.wav": b"second", "data/x.mat": b"third"}


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a known data set ``tiny`` of three files; give a folder that holds them. The data folder is empty."""
    shipped = tmp_path / "shipped" / "tiny"
    shipped.mkdir(parents=True)
    rows = [f"{f},{len(c)},{hashlib.sha256(c).hexdigest()}" for f, c in FILES.items()]
    (shipped / "files.csv").write_text("\n".join(["file,bytes,sha256", *rows, ""]))
    (shipped / "origin.toml").write_text('url = "https://data.invalid/tiny/raw/"\n')
    monkeypatch.setattr("brainalign.stimuli.fetch.shipped", lambda _kind: tmp_path / "shipped")
    monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path / "data"))
    for file, content in FILES.items():
        path = tmp_path / "origin" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "origin"


def found(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@dataclass
class Server:
    """What it gives for each file, and what it was asked for."""

    files: dict[str, bytes | Exception] = field(default_factory=lambda: dict(FILES))
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """Stand in for the network beneath pooch, whose own check of digests stays at work."""
    server = Server()

    def download(_self: Any, url: str, output_file: str, _pooch: Any, **_: Any) -> None:
        file = url.removeprefix("https://data.invalid/tiny/raw/")
        server.asked.append(file)
        answer = server.files[file]
        if isinstance(answer, Exception):
            raise answer
        Path(output_file).write_bytes(answer)

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", download)
    return server


class TestFromFolder:
    def test_the_files_are_copied(self, origin: Path, tmp_path: Path) -> None:
        folder = fetch("tiny", origin)
        assert folder == tmp_path / "data" / "tiny"
        assert found(folder) == FILES
        assert check_fetched("tiny", list(FILES)) == folder

    def test_more_files_in_the_folder_stay_there(self, origin: Path) -> None:
        (origin / "private.txt").write_text("x")
        assert found(fetch("tiny", origin)) == FILES

    def test_a_tampered_file_is_refused(self, origin: Path, tmp_path: Path) -> None:
        (origin / "sounds" / "b c.wav").write_bytes(b"sec0nd")
        digest, expected = (hashlib.sha256(c).hexdigest()[:12] for c in (b"sec0nd", b"second"))
        with pytest.raises(
            DownloadError, match=rf"b c\.wav is not the published file: .* {digest}\.\.\., .* {expected}"
        ):
            fetch("tiny", origin)
        assert "sounds/b c.wav" not in found(tmp_path / "data")

    def test_missing_files_are_named_before_anything_is_copied(self, origin: Path, tmp_path: Path) -> None:
        (origin / "data" / "x.mat").unlink()
        with pytest.raises(DownloadError, match=r"origin lacks 1 of the 3 files of tiny: data/x\.mat"):
            fetch("tiny", origin)
        assert not (tmp_path / "data").exists()

    def test_a_folder_that_is_not_there(self, origin: Path) -> None:
        with pytest.raises(DownloadError, match="lacks 3 of the 3 files"):
            fetch("tiny", origin / "nowhere")

    def test_a_half_done_fetch_goes_on(self, origin: Path, tmp_path: Path) -> None:
        data = tmp_path / "data" / "tiny" / "sounds"
        data.mkdir(parents=True)
        (data / "a.wav").write_bytes(b"first")
        (data / "b c.wav").write_bytes(b"sec")
        before = (data / "a.wav").stat()
        assert found(fetch("tiny", origin)) == FILES
        after = (data / "a.wav").stat()
        assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)

    def test_an_interrupted_copy_leaves_no_half_file(
        self, origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop_half_way(_source: Path, target: Path) -> None:
            Path(target).write_bytes(b"fi")
            raise KeyboardInterrupt

        monkeypatch.setattr(shutil, "copyfile", stop_half_way)
        with pytest.raises(KeyboardInterrupt):
            fetch("tiny", origin)
        assert found(tmp_path / "data") == {}


class TestDownload:
    def test_the_files_are_fetched_and_not_again(self, origin: Path, server: Server) -> None:
        assert found(fetch("tiny")) == FILES
        assert server.asked == list(FILES)
        fetch("tiny")
        assert server.asked == list(FILES)

    def test_another_file_is_refused(self, origin: Path, tmp_path: Path, server: Server) -> None:
        server.files["sounds/b c.wav"] = b"<html>404</html>"
        with pytest.raises(DownloadError, match=r"b c\.wav of tiny could not be fetched .*hash.* --from FOLDER"):
            fetch("tiny")
        assert found(tmp_path / "data") == {"tiny/sounds/a.wav": b"first"}

    @pytest.mark.parametrize("why", [ConnectionError("no route\nto host"), TimeoutError(), RuntimeError("")])
    def test_without_network(self, origin: Path, server: Server, why: Exception) -> None:
        server.files["sounds/a.wav"] = why
        said = " ".join(str(why).split()) or type(why).__name__
        with pytest.raises(
            DownloadError, match=rf"^sounds/a\.wav of tiny could not be fetched .*: {said}; if"
        ) as caught:
            fetch("tiny")
        assert "\n" not in str(caught.value)

    def test_a_later_try_goes_on(self, origin: Path, server: Server) -> None:
        server.files["data/x.mat"] = ConnectionError("gone")
        with pytest.raises(DownloadError):
            fetch("tiny")
        server.asked.clear()
        server.files["data/x.mat"] = FILES["data/x.mat"]
        assert found(fetch("tiny")) == FILES
        assert server.asked == ["data/x.mat"]

    def test_a_damaged_file_is_replaced(self, origin: Path, tmp_path: Path, server: Server) -> None:
        damaged = tmp_path / "data" / "tiny" / "data" / "x.mat"
        damaged.parent.mkdir(parents=True)
        damaged.write_bytes(b"thi")
        fetch("tiny")
        assert damaged.read_bytes() == b"third"


class TestNames:
    def test_an_unknown_name_gets_a_near_miss(self) -> None:
        with pytest.raises(StimulusError, match=r"no data set 'natsound16' can be fetched; did you mean 'natsound165'"):
            fetch("natsound16")

    def test_natsound165_can_be_fetched_from_a_fixed_version(self) -> None:
        assert "natsound165" in fetchable()
        files = published_digests("natsound165")
        assert sum(f.endswith(".wav") for f in files) == 165
        assert "data/components.mat" in files
        assert all(len(d) == 64 and set(d) <= set("0123456789abcdef") for d in files.values())
        assert len(set(files.values())) == len(files)
        assert not any(Path(f).is_absolute() or ".." in Path(f).parts for f in files)

    def test_what_is_not_fetched_says_how_to_fetch(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
        with pytest.raises(
            DownloadError, match=r"165 of 165 files .* do: brainalign fetch natsound165, or set BRAINALIG"
        ):
            load_stimuli("natsound165")
        with pytest.raises(DownloadError, match=r"1 of 1 files .*components\.mat.* do: brainalign fetch natsound165"):
            load_brain("nh2015-components")


class TestDataFolder:
    def test_named_by_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path / "x"))
        assert data_folder() == tmp_path / "x"
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("BRAINALIGN_DATA", "~/data")
        assert data_folder() == tmp_path / "data"

    def test_else_in_the_cache_of_the_user(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("BRAINALIGN_DATA", raising=False)
        assert data_folder() == Path(pooch.os_cache("brainalign"))


class TestWriteThenRename:
    def test_the_new_file_takes_the_place_of_the_old(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "x.txt"
        for content in ("one", "two"):
            with write_then_rename(path) as temporary:
                assert temporary.parent.parent == path.parent
                assert temporary.name == "x.txt"
                temporary.write_text(content)
            assert found(tmp_path) == {"new/x.txt": content.encode()}

    def test_others_may_read_it_like_any_other_file(self, tmp_path: Path) -> None:
        (tmp_path / "plain").write_text("x")
        with write_then_rename(tmp_path / "x") as temporary:
            temporary.write_text("x")
        assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode

    def test_an_error_leaves_the_old_file(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_text("old")

        def fail() -> None:
            with write_then_rename(tmp_path / "x") as temporary:
                temporary.write_text("half")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fail()
        assert found(tmp_path) == {"x": b"old"}

    def test_digest(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"abc")
        # The example of FIPS 180-2, appendix B.1.
        assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.realdata
def test_natsound165_from_a_folder(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
    folder = fetch("natsound165", shared_data / "natsound165")
    digests = published_digests("natsound165")
    assert {f: sha256(folder / f) for f in digests} == digests
    assert set(found(folder)) == set(digests)
    assert load_brain("nh2015-components").responses.sizes == {"stimulus": 165, "unit": 6}
    assert len(load_stimuli("natsound165")) == 165


def test_a_file_in_the_place_of_the_data_folder(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match=r"cannot be written to .*choose another folder by BRAINALIGN_DATA"):
        fetch("tiny", origin)
