"""Files made to fill the memory, to reach out of their folder, or to run code: each is refused before it does."""

from __future__ import annotations

import ast
import gzip
import io
import os
import pickle
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_targets import MANIFEST, TABLE, quiet, sounds

import brainalign
from brainalign._reading import LIMIT_VARIABLE, UNPACKED_BYTES, read_npy, read_npz, unpacked_limit
from brainalign.errors import BrainalignError, BrainError, StimulusError

#: What refusing may cost; each bomb is of several times this.
ALLOWED_BYTES = 3 * 2**28
#: More than what anything may unpack to; it packs to a thousandth.
BOMB_BYTES = 2**29


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    """Check that the process has not grown by the size of a bomb."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < ALLOWED_BYTES


def npy_header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def zipped(path: Path, name: str, begin: bytes, n_zeros: int) -> Path:
    """Write a zip file with one member: some bytes, and zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as stream:
        stream.write(begin)
        for _ in range(n_zeros // 2**20):
            stream.write(bytes(2**20))
    return path


def zlib_bomb() -> bytes:
    packer = zlib.compressobj()
    return b"".join(packer.compress(bytes(2**20)) for _ in range(BOMB_BYTES // 2**20)) + packer.flush()


class TestArrays:
    @pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6), (2**62, 4), (-1, 3)])
    def test_a_shape_that_the_file_does_not_hold(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        (tmp_path / "a.npy").write_bytes(npy_header(shape) + bytes(64))
        with pytest.raises(
            BrainError, match=r"a\.npy cannot be read as a numpy array without pickle: a\.npy (announces|has)"
        ):
            read_npy(tmp_path / "a.npy", BrainError)
        np.savez(tmp_path / "whole.npz", x=np.ones(3))
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("responses.npy", npy_header(shape) + bytes(64))
        with pytest.raises(BrainError, match=r"a\.npz cannot be read .*responses\.npy (announces|has)"):
            read_npz(tmp_path / "a.npz", BrainError)

    def test_a_zip_bomb(self, tmp_path: Path) -> None:
        path = zipped(tmp_path / "bomb.npz", "x.npy", npy_header((BOMB_BYTES,), "|u1"), BOMB_BYTES)
        assert path.stat().st_size * 500 < BOMB_BYTES
        with pytest.raises(BrainError, match=rf"bomb\.npz has \d+ bytes and announces 536,871,0.*{LIMIT_VARIABLE}"):
            read_npz(path, BrainError)

    def test_the_limit_can_be_raised_and_lowered(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert unpacked_limit(1) == UNPACKED_BYTES
        assert unpacked_limit(10**9) == 5 * 10**10
        np.savez_compressed(tmp_path / "a.npz", x=np.zeros(2**18))
        assert read_npz(tmp_path / "a.npz", BrainError)["x"].sum() == 0
        monkeypatch.setenv(LIMIT_VARIABLE, "0.001")
        with pytest.raises(BrainError, match="announces 2,097,280"):
            read_npz(tmp_path / "a.npz", BrainError)
        monkeypatch.setenv(LIMIT_VARIABLE, "much")
        with pytest.raises(BrainalignError, match=f"{LIMIT_VARIABLE} is 'much', expected a number of GiB"):
            read_npz(tmp_path / "a.npz", BrainError)

    def test_netcdf_of_values_that_are_not_there(self, tmp_path: Path) -> None:
        import h5py

        from brainalign.responses import load_responses

        with h5py.File(tmp_path / "r.nc", "w") as file:
            file.create_dataset("responses", shape=(10**6, 10**6), chunks=(100, 100), dtype="f8")
        with pytest.raises(BrainalignError, match=r"r\.nc has \d+ bytes and announces 8,000,000,000,000"):
            load_responses(tmp_path / "r.nc")

    @pytest.mark.parametrize("how", ["external", "virtual", "link", "soft"])
    def test_netcdf_that_takes_its_values_elsewhere(self, tmp_path: Path, how: str) -> None:
        import h5py

        from brainalign.responses import load_responses

        (tmp_path / "secret").write_bytes(np.arange(6.0).tobytes())
        with h5py.File(tmp_path / "other.nc", "w") as file:
            file["x"] = np.arange(6.0).reshape(2, 3)
        with h5py.File(tmp_path / "r.nc", "w") as file:
            if how == "external":
                file.create_dataset("responses", (2, 3), "f8", external=[(tmp_path / "secret", 0, 48)])
            elif how == "virtual":
                layout = h5py.VirtualLayout((2, 3), "f8")
                layout[:] = h5py.VirtualSource(tmp_path / "other.nc", "x", (2, 3))
                file.create_virtual_dataset("responses", layout)
            elif how == "link":
                file["responses"] = h5py.ExternalLink(tmp_path / "other.nc", "/x")
            else:
                file["responses"] = h5py.SoftLink("/nowhere")
        with pytest.raises(BrainalignError, match="'responses' (are in another file, which is not|is a link; what it)"):  # noqa: RUF043
            load_responses(tmp_path / "r.nc")

    def test_hard_links_that_lead_back(self, tmp_path: Path) -> None:
        import h5py

        from brainalign.responses import load_responses

        with h5py.File(tmp_path / "r.nc", "w") as file:
            for name in "abcdef":
                file[name] = file["/"]
        with pytest.raises(BrainalignError):
            load_responses(tmp_path / "r.nc")


def mat_element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def mat_file(content: bytes) -> bytes:
    return b" " * 116 + bytes(8) + struct.pack("<H", 0x0100) + b"IM" + content


def nested_cells(depth: int) -> bytes:
    head = struct.pack("<IIII", 6, 8, 1, 0) + struct.pack("<IIii", 5, 8, 1, 1) + struct.pack("<II", 1, 0)
    parts, size = [struct.pack("<II", 14, 0)], 8
    for _ in range(depth):
        size += len(head)
        parts += [head, struct.pack("<II", 14, size)]
        size += 8
    return b"".join(reversed(parts))


class TestMatlab:
    def read(self, tmp_path: Path, content: bytes) -> None:
        from brainalign.brain._mat import read_mat

        (tmp_path / "x.mat").write_bytes(content)
        read_mat(tmp_path / "x.mat")

    def test_a_bomb_of_zlib(self, tmp_path: Path) -> None:
        packed = zlib_bomb()
        with pytest.raises(BrainError, match=r"x\.mat has \d+ bytes and announces"):
            self.read(tmp_path, mat_file(mat_element(15, packed)))

    def test_cells_within_cells_without_end(self, tmp_path: Path) -> None:
        """Without the check scipy ends the process: 5,000 are enough."""
        with pytest.raises(BrainError, match="more than 1,500 cell arrays and structures"):
            self.read(tmp_path, mat_file(nested_cells(100_000)))
        packed = zlib.compress(nested_cells(100_000))
        with pytest.raises(BrainError, match="more than 1,500 cell arrays and structures"):
            self.read(tmp_path, mat_file(mat_element(15, packed)))

    def test_cells_that_announce_more_cells_than_they_hold(self, tmp_path: Path) -> None:
        """One after another in the file, but scipy takes each for a part of the one before."""
        head = struct.pack("<IIII", 6, 8, 1, 0) + struct.pack("<IIii", 5, 8, 1, 1) + struct.pack("<II", 1, 0)
        with pytest.raises(BrainError, match="more than 1,500"):
            self.read(tmp_path, mat_file(mat_element(14, head) * 100_000))

    @pytest.mark.parametrize("tag", [struct.pack("<HH", 24, 1), struct.pack("<HH", 4096, 1), struct.pack("<HH", 14, 1)])
    def test_a_data_type_that_scipy_has_not(self, tmp_path: Path, tag: bytes) -> None:
        """Without the check scipy follows a pointer to nowhere (found by atheris)."""
        head = struct.pack("<IIII", 6, 8, 4, 0) + struct.pack("<IIii", 5, 8, 1, 1) + struct.pack("<II", 1, 0)
        self.read(tmp_path, mat_file(mat_element(14, head + struct.pack("<HH", 16, 1) + b"a\0\0\0")))
        with pytest.raises(BrainError, match=r"x\.mat cannot be read as a MATLAB file: (an element|a matrix)"):
            self.read(tmp_path, mat_file(mat_element(14, head + tag + b"a\0\0\0")))

    @pytest.mark.parametrize(
        ("extent", "message"),
        [
            (struct.pack("<HHi", 5, 1, 8), "class, extent and name"),
            (struct.pack("<IIi", 5, 4, 1) + bytes(4), "class, extent and name"),
            (struct.pack("<IIii", 5, 8, 2**20, 2**20), "announces"),
        ],
        ids=["a byte", "one number", "more than there is"],
    )
    @pytest.mark.parametrize("kind", [1, 4])
    def test_an_extent_that_scipy_trusts(self, tmp_path: Path, extent: bytes, message: str, kind: int) -> None:
        head = struct.pack("<IIII", 6, 8, kind, 0) + extent + struct.pack("<II", 1, 0)
        with pytest.raises(BrainError, match=message):
            self.read(tmp_path, mat_file(mat_element(14, head + struct.pack("<II", 16, 0))))

    def test_a_matrix_without_its_numbers(self, tmp_path: Path) -> None:
        """Without the check scipy takes the matrix that follows for the numbers."""
        head = struct.pack("<IIII", 6, 8, 4, 0) + struct.pack("<IIii", 5, 8, 1, 1) + struct.pack("<II", 1, 0)
        cells = struct.pack("<IIII", 6, 8, 1, 0) + struct.pack("<IIii", 5, 8, 1, 2) + struct.pack("<II", 1, 0)
        with pytest.raises(BrainError, match="has 3 parts, expected 4"):
            self.read(tmp_path, mat_file(mat_element(14, cells + 2 * mat_element(14, head))))

    def test_a_matrix_whose_size_is_out_of_step(self, tmp_path: Path) -> None:
        """Without the check scipy goes on within what was checked as something else (found by atheris)."""
        head = struct.pack("<IIII", 6, 8, 4, 0) + struct.pack("<IIii", 5, 8, 1, 1) + struct.pack("<II", 1, 0)
        cells = struct.pack("<IIII", 6, 8, 1, 0) + struct.pack("<IIii", 5, 8, 1, 1) + struct.pack("<II", 1, 0)
        whole = head + struct.pack("<HH", 16, 1) + b"a\0\0\0"
        self.read(tmp_path, mat_file(mat_element(14, cells + mat_element(14, whole))))
        for extra in (1, 4):
            with pytest.raises(BrainError, match="expected a multiple of 8"):
                self.read(tmp_path, mat_file(mat_element(14, cells + mat_element(14, whole + bytes(extra)))))

    def test_what_matlab_itself_has_written(self) -> None:
        """The files of scipy's own tests: those of version 5 to 7 that scipy reads are not refused."""
        from scipy.io import loadmat, matlab

        from brainalign.brain._mat import read_mat

        n_read = 0
        for path in sorted((Path(matlab.__file__).parent / "tests" / "data").glob("*.mat")):
            if path.read_bytes()[126:128] not in (b"IM", b"MI"):
                continue
            try:
                expected = sorted(loadmat(path))
            except Exception:  # made to be refused by scipy
                continue
            assert sorted(read_mat(path)) == expected, path.name
            n_read += 1
        assert n_read > 80

    def test_version_7_3_and_others(self, tmp_path: Path) -> None:
        head = b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<H", 0x0200) + b"IM"
        with pytest.raises(BrainError, match=r"it is of another version \(7\.3 is HDF5\): save it with -v7"):
            self.read(tmp_path, head + bytes(512) + b"\x89HDF\r\n\x1a\n")
        with pytest.raises(BrainError, match="its first 128 bytes are no header"):
            self.read(tmp_path, struct.pack("<5i", 0, 10**6, 10**6, 0, 2) + b"x\0")


class TestSounds:
    def read(self, path: Path) -> None:
        from brainalign.stimuli.audio import read_audio

        read_audio(path)

    def test_a_header_that_announces_a_year_of_sound(self, tmp_path: Path) -> None:
        import soundfile

        soundfile.write(tmp_path / "a.flac", np.zeros(4096), 44100, subtype="PCM_16")
        content = bytearray((tmp_path / "a.flac").read_bytes())
        content[21] |= 0x0F  # the last 36 bits of these eight bytes are the number of samples
        content[22:26] = b"\xff\xff\xff\xff"
        (tmp_path / "a.flac").write_bytes(content)
        with pytest.raises(StimulusError, match=r"a\.flac has \d+ bytes and announces 274,"):
            self.read(tmp_path / "a.flac")

    @pytest.mark.parametrize("size", [2**31, 2**32 - 300])
    def test_a_wav_whose_header_announces_more_than_it_holds(self, tmp_path: Path, size: int) -> None:
        head = struct.pack(
            "<4sI4s4sIHHIIHH4sI", b"RIFF", size, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", size
        )
        (tmp_path / "a.wav").write_bytes(head + bytes(400))
        with pytest.raises(StimulusError, match="is cut short: it holds 400 of the"):
            self.read(tmp_path / "a.wav")

    def test_a_rate_that_would_fill_the_memory(self) -> None:
        from brainalign.stimuli.audio import resample

        with pytest.raises(
            StimulusError, match="would be 44,100,000,000 at 44100 Hz; is the sample rate in the header"
        ):
            resample(np.zeros(10**6, np.float32), 1, 44100)
        assert len(resample(np.zeros(100, np.float32), 100, 44100)) == 44100

    def test_rates_of_any_size_are_resampled_soon(self) -> None:
        from brainalign.stimuli.audio import resample

        for rate in (2**31 - 1, 2**31 - 2, 7919, 1):
            resample(np.zeros(1000, np.float32), rate, 16000)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
    def test_a_pipe_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.wav")
        with pytest.raises(StimulusError, match="is not there"):
            self.read(tmp_path / "a.wav")


class TestImages:
    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mgz"])
    def test_a_header_that_announces_more_than_the_file_can_hold(self, tmp_path: Path, suffix: str) -> None:
        import nibabel

        from brainalign.brain.image_files import load_image

        small = np.zeros((2, 3, 4), np.float32)
        kind = nibabel.MGHImage if suffix == ".mgz" else nibabel.Nifti1Image
        path = tmp_path / f"a{suffix}"
        kind(small, np.eye(4)).to_filename(path)
        packed = suffix != ".nii"
        content = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
        if suffix == ".mgz":
            content[4:16] = struct.pack(">3i", 30000, 30000, 30000)
        else:
            content[42:48] = struct.pack("<3h", 30000, 30000, 30000)
        path.write_bytes(gzip.compress(bytes(content)) if packed else bytes(content))
        with pytest.raises(BrainError, match=r"announces 108,000,000,000"):
            load_image(path)

    def test_zeros_after_a_compressed_image(self, tmp_path: Path) -> None:
        import nibabel

        from brainalign.brain.image_files import load_image

        path = tmp_path / "a.nii.gz"
        nibabel.Nifti1Image(np.zeros((2, 3, 4), np.float32), np.eye(4)).to_filename(path)
        packed = gzip.compress(bytes(2**24))
        with path.open("ab") as stream:
            for _ in range(BOMB_BYTES // 2**24):
                stream.write(packed)
        with pytest.raises(BrainError, match=r"a\.nii\.gz has \d+ bytes and announces"):
            load_image(path)

    def test_gifti_that_unpacks_or_expands_or_reads_elsewhere(self, tmp_path: Path) -> None:
        import base64

        from brainalign.brain.surface_files import read_surface

        head = (
            '<?xml version="1.0"?>{}<GIFTI Version="1.0" NumberOfDataArrays="1"><DataArray Intent="NIFTI_INTENT_SHAPE" '
        )
        head += 'DataType="NIFTI_TYPE_FLOAT32" ArrayIndexingOrder="RowMajorOrder" Dimensionality="1" Dim0="{}" '
        head += 'Encoding="{}" Endian="LittleEndian" ExternalFileName="{}" ExternalFileOffset="0"><Data>{}</Data>'
        head += "</DataArray></GIFTI>"
        packed = zlib_bomb()
        path = tmp_path / "a.func.gii"
        path.write_text(head.format("", BOMB_BYTES // 4, "GZipBase64Binary", "", base64.b64encode(packed).decode()))
        with pytest.raises(BrainError, match="bytes and announces"):
            read_surface(path)
        levels = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
        lol = f'<!DOCTYPE x [<!ENTITY l0 "1 2 3 4 5 6 7 8 ">{levels}]>'
        path.write_text(head.format(lol, 8, "ASCII", "", "&l11;"))
        with pytest.raises(BrainError, match="amplification"):
            read_surface(path)
        (tmp_path / "secret.bin").write_bytes(np.arange(4, dtype="<f4").tobytes())
        path.write_text(head.format("", 4, "ExternalFileBinary", "secret.bin", ""))
        with pytest.raises(BrainError, match="ExternalFileBinary is not supported"):
            read_surface(path)


class Runs:
    """What runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.path}",))


class TestNoCodeIsRun:
    @pytest.fixture
    def trace(self, tmp_path: Path) -> Iterator[Path]:
        trace = tmp_path / "it-ran"
        yield trace
        assert not trace.exists()

    def test_the_bait_works(self, tmp_path: Path) -> None:
        pickle.loads(pickle.dumps(Runs(tmp_path / "ran")))
        assert (tmp_path / "ran").exists()

    def test_in_npy_and_npz(self, tmp_path: Path, trace: Path) -> None:
        bait = np.array([Runs(trace)], dtype=object)
        np.save(tmp_path / "a.npy", bait, allow_pickle=True)
        np.savez(tmp_path / "a.npz", responses=bait, stimulus=["a"])
        with pytest.raises(BrainError, match="Python objects, which only a pickle could bring back"):
            read_npy(tmp_path / "a.npy", BrainError)
        with pytest.raises(BrainError, match="Python objects, which only a pickle could bring back"):
            read_npz(tmp_path / "a.npz", BrainError)
        (tmp_path / "b.npy").write_bytes(pickle.dumps(Runs(trace)))
        with pytest.raises(BrainError, match="cannot be read as a numpy array without pickle"):
            read_npy(tmp_path / "b.npy", BrainError)

    def test_in_pickled_tables(self, tmp_path: Path, trace: Path) -> None:
        from brainalign.brain.restricted_pickle import read_pickled_table

        for protocol in range(6):
            (tmp_path / "t.pkl").write_bytes(pickle.dumps(Runs(trace), protocol))
            with pytest.raises(BrainError, match=r"asks for (posix|nt)\.system, which is no part of a plain table"):
                read_pickled_table(tmp_path / "t.pkl")

    @pytest.mark.parametrize("new", [True, False])
    def test_in_weights(self, tmp_path: Path, trace: Path, new: bool) -> None:
        import torch

        from brainalign.models.hooked import load_weights
        from brainalign.models.torchaudio_bundles import _load

        torch.save({"weight": Runs(trace)}, tmp_path / "w.pth", _use_new_zipfile_serialization=new)
        with pytest.raises(BrainalignError, match="cannot be read as tensors alone"):
            _load(torch.nn.Linear(3, 2), tmp_path / "w.pth", None)
        with pytest.raises(BrainalignError, match="safetensors"):
            load_weights(torch.nn.Linear(3, 2), tmp_path / "w.pth")

    def test_a_checkpoint_that_is_a_bomb(self, tmp_path: Path) -> None:
        import torch

        from brainalign.models.torchaudio_bundles import _load

        path = zipped(tmp_path / "w.pth", "archive/data/0", b"", BOMB_BYTES)
        with pytest.raises(BrainalignError, match=r"w\.pth has \d+ bytes and announces 536,870,912"):
            _load(torch.nn.Linear(3, 2), path, None)

    def test_a_mat_file_with_objects(self, tmp_path: Path) -> None:
        from scipy.io import savemat

        from brainalign.brain.nh2015 import load_nh2015_components

        savemat(tmp_path / "components.mat", {"R": np.array([{"a": 1}], dtype=object)})
        with pytest.raises(BrainError, match="lacks W"):
            load_nh2015_components(tmp_path / "components.mat")

    def test_the_source_calls_nothing_that_unpacks_or_unpickles(self) -> None:
        """No archive is unpacked to disk at all: ``..``, links and devices in one have nowhere to go."""
        forbidden = {"extractall", "unpack_archive", "read_pickle", "eval", "exec"}
        source = Path(brainalign.__file__).parent
        found = []
        for path in source.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                function = node.func
                name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                owner = getattr(getattr(function, "value", None), "id", "")
                keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
                bad = (
                    (name in forbidden and isinstance(function, ast.Name) == (name in ("eval", "exec")))
                    or (owner in ("pickle", "joblib", "dill", "marshal") and name in ("load", "loads"))
                    or (owner == "np" and name == "load" and keywords.get("allow_pickle", False) is not False)
                    or (owner == "torch" and name == "load" and keywords.get("weights_only") is not True)
                    or (owner == "os" and name in ("system", "popen"))
                    or keywords.get("shell") is True
                    or keywords.get("trust_remote_code") is True
                )
                if bad:
                    found.append(f"{path.relative_to(source)}:{node.lineno} {owner}.{name}")
        # Tasks go from process to process of one run by pickle; nothing there comes from a file of others.
        assert [f for f in found if not f.startswith("engine/tasks.py")] == []


def forged(index: int) -> bytes:
    """Return a pickle that puts its value under a large number in the memo."""
    return b"\x80\x04N" + b"r" + struct.pack("<I", index) + b"."


class TestPickledTables:
    def test_a_large_number_in_the_memo(self, tmp_path: Path) -> None:
        """The unpickler in C would make a list as long as that: 64 GiB for nine bytes."""
        from brainalign.brain.restricted_pickle import read_pickled_table

        (tmp_path / "t.pkl").write_bytes(forged(2**32 - 1))
        with pytest.raises(BrainError, match="expected a DataFrame"):
            read_pickled_table(tmp_path / "t.pkl")

    def test_names_of_columns_that_double(self, tmp_path: Path) -> None:
        """A tuple of two of a tuple of two ...: 100 bytes that are 2^60 signs when they are written out."""
        from brainalign.brain import restricted_pickle as rp

        doubled: Any = ()
        for _ in range(60):
            doubled = (doubled, doubled)
        reconstruct = rp._stand_ins()[("numpy.core.multiarray", "_reconstruct")]
        dtype = rp._stand_ins()[("numpy", "dtype")]("O8")
        dtype.state = (3, "|")
        names = reconstruct()
        names.state = (1, (1,), dtype, False, [doubled])
        axis = rp._stand_ins()[("pandas.core.indexes.base", "_new_Index")](
            rp._stand_ins()[("pandas.core.indexes.base", "Index")], {"data": names}
        )
        frame = rp._stand_ins()[("pandas.core.frame", "DataFrame")]()
        manager = rp._stand_ins()[("pandas.core.internals.managers", "BlockManager")]((), [axis])
        frame.state = {"_mgr": manager}
        with pytest.raises(BrainError, match="columns are tuple, expected different names"):
            rp._table(frame)


class TestText:
    DEEP = "[" * 100_000

    @pytest.mark.parametrize("suffix", ["json", "toml"])
    def test_deeply_nested(self, tmp_path: Path, suffix: str) -> None:
        from brainalign.recipes.schema import read_recipe
        from brainalign.stimuli.sets import read_manifest
        from brainalign.training.ontology import read_ontology
        from brainalign.training.recipe import read_training_recipe

        path = tmp_path / f"x.{suffix}"
        path.write_text(self.DEEP if suffix == "json" else f"a = {self.DEEP}")
        readers: list[Callable[[Path], Any]] = [read_ontology, read_manifest, read_recipe, read_training_recipe]
        for read in readers[:1] if suffix == "json" else readers[1:]:
            with pytest.raises(BrainalignError):
                read(path)

    def test_keys_of_many_parts(self, tmp_path: Path) -> None:
        """``tomllib`` takes 20 s and 3 GB for a file of 60 kB."""
        from brainalign.recipes.schema import read_recipe

        (tmp_path / "x.toml").write_text("title = 'a.b'\n" + ".".join("a" * 30_000) + " = 1\n")
        with pytest.raises(BrainalignError, match=r"x\.toml, line 2: a key of more than 32 parts"):
            read_recipe(tmp_path / "x.toml")

    def test_a_template_that_asks_for_a_wide_field(self, tmp_path: Path) -> None:
        from brainalign.brain.events import read_events

        (tmp_path / "events.tsv").write_text("onset\tduration\ttrial_type\n0\t1\ta\n")
        with pytest.raises(BrainError, match=r"does not fit .* a width of '>99999999999'"):
            read_events(tmp_path / "events.tsv", stimulus="{trial_type:>99999999999}")

    def test_a_cache_entry_of_so_many_sounds(self, tmp_path: Path) -> None:
        from brainalign.models.cache import list_entries, verify

        for n in ("1000000000000", "-1", "1e400", "[" * 50_000):
            entry = tmp_path / "key"
            entry.mkdir(exist_ok=True)
            (entry / "entry.json").write_text(f'{{"model": "m", "stimulus_set": "s", "pooling": "p", "n_sounds": {n}}}')
            assert [e.readable for e in list_entries(tmp_path)] == [False]
            assert verify(tmp_path) == {"key": ["entry.json cannot be read"]}

    def test_weights_that_announce_a_billion_classes(self, tmp_path: Path) -> None:
        from brainalign.models.kim2024 import _n_classes

        head = b'{"fc2.bias":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
        (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
        with pytest.raises(BrainalignError, match=r"fc2.bias has the shape \[0\], at most"):
            _n_classes(tmp_path / "w.safetensors")
        (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
        with pytest.raises(BrainalignError, match="cannot be read as a safetensors file"):
            _n_classes(tmp_path / "w.safetensors")


class TestPathsThatLeadOut:
    @pytest.mark.parametrize(
        "file", ["../outside.wav", "/etc/hostname", "audio/../../outside.wav", "link.wav", "linked/outside.wav"]
    )
    def test_of_a_stimulus_set(self, tmp_path: Path, file: str) -> None:
        from brainalign.stimuli.sets import read_stimulus_set

        folder = tmp_path / "set"
        folder.mkdir()
        sounds(folder)
        (tmp_path / "outside.wav").write_bytes((folder / "audio" / "a.wav").read_bytes())
        (folder / "link.wav").symlink_to(tmp_path / "outside.wav")
        (folder / "linked").symlink_to(tmp_path, target_is_directory=True)
        (folder / "stimulus_set.toml").write_text(MANIFEST)
        (folder / "stimuli.csv").write_text(TABLE.replace("audio/b.wav", file))
        with pytest.raises(StimulusError, match="leads out of"):
            read_stimulus_set(folder)

    @pytest.mark.parametrize("file", ["../../../outside.wav", "x/../../../outside.wav"])
    def test_of_esc50_that_would_be_copied_out(self, tmp_path: Path, file: str) -> None:
        from brainalign.stimuli.layouts import read_esc50

        rows = [f"{i}.wav,1,{i % 50},dog,False,1" for i in range(1999)] + [f"{file},1,49,dog,False,1"]
        (tmp_path / "meta").mkdir()
        (tmp_path / "meta" / "esc50.csv").write_text("filename,fold,target,category,esc10,src_file\n" + "\n".join(rows))
        with pytest.raises(StimulusError, match="names files outside it"):
            read_esc50(tmp_path)

    @pytest.mark.parametrize("file", ["../x.wav", "/etc/hostname", "a/../../x.wav"])
    def test_of_a_corpus(self, tmp_path: Path, file: str) -> None:
        from brainalign.training.corpus import read_folder

        (tmp_path / "metadata.csv").write_text(f"file,labels\n{file},x\n")
        with pytest.raises(StimulusError, match="names a file outside its folder"):
            read_folder(tmp_path)


#: Readers of the files that people pass on most; ``python tests/fuzz/run.py`` takes all.
MOST_EXPOSED = ["stimuli.csv", "stimulus_set.toml", "recipe", "npy", "mat", "sounds", "events.tsv", "nii", "pth"]


@pytest.mark.slow
def test_atheris(record_property: Callable[[str, object], None], tmp_path: Path) -> None:
    """Run targets of tests/fuzz for a few seconds, in processes with a limit of memory and of time."""
    pytest.importorskip("atheris")
    script = Path(__file__).parents[1] / "fuzz" / "run.py"
    done = subprocess.run(
        [sys.executable, str(script), "--seconds", "2", "--seed", "1", "--keep", str(tmp_path),
         "--targets", *MOST_EXPOSED],
        capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip
    for line in done.stdout.splitlines():
        name, tried = line[:24].strip(), line[24:34].strip()
        if line.rstrip().endswith(("ok", "BROKEN")) and tried.isdigit():
            record_property("hostile_inputs", (f"{name} (fuzz)", int(tried), 0, 0.0))
    assert f"of {len(MOST_EXPOSED)} readers" in done.stdout
    with quiet():
        assert done.returncode == 0, done.stdout
