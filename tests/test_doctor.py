"""The doctor names what is missing or broken and how to mend it."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from brainalign import doctor
from brainalign.doctor import Finding, diagnose_torch, examine

PAIR = "torch 2.15.0, torchaudio 2.11.0"


def by_what(findings: list[Finding]) -> dict[str, Finding]:
    assert len({f.what for f in findings}) == len(findings)
    return {f.what: f for f in findings}


@pytest.fixture(scope="module")
def here() -> list[Finding]:
    return examine()


class TestThisMachine:
    def test_nothing_is_broken_where_the_tests_run(self, here: list[Finding]) -> None:
        findings = by_what(here)
        assert [f for f in findings.values() if f.state == "broken"] == []
        assert {"Python", "required packages", "torch with torchaudio", "audio files", "machine"} <= set(findings)
        assert findings["Python"].found == ".".join(map(str, sys.version_info[:3]))
        assert "MP3" in findings["audio files"].found

    def test_what_is_missing_or_broken_comes_with_a_remedy(self, here: list[Finding]) -> None:
        for finding in here:
            assert bool(finding.remedy) == (finding.state != "ok"), finding

    def test_data_that_were_not_fetched(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
        finding = by_what(doctor._data())["data set natsound165"]
        assert finding.state == "missing"
        assert finding.found.startswith("0 of ")
        assert finding.remedy.endswith("brainalign fetch natsound165")

    @pytest.mark.realdata
    def test_data_that_are_there(self, shared_data: Path) -> None:
        finding = by_what(doctor._data())["data set natsound165"]
        assert finding.state == "ok"
        assert str(shared_data / "natsound165") in finding.found


class TestPackages:
    requirements = ("numpy>=2.0", "torch<2.12,>=2.9", 'transformers>=5.0; extra == "hf"', 'dask>=1; extra == "cluster"')

    @pytest.fixture
    def installed(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
        versions = {"numpy": "2.1.0", "torch": "2.11.0+cu130", "transformers": "5.1", "dask": "2025.1"}

        def version(name: str) -> str:
            if name not in versions:
                raise PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(doctor, "version", version)
        monkeypatch.setattr(doctor, "requires", lambda _: list(self.requirements))
        return versions

    def test_all_fits(self, installed: dict[str, str]) -> None:
        assert [f.state for f in doctor._packages()] == ["ok"]

    def test_a_missing_requirement_is_broken(self, installed: dict[str, str]) -> None:
        del installed["numpy"]
        finding = by_what(doctor._packages())["numpy"]
        assert finding[0] == "broken"
        assert finding.remedy == "pip install 'numpy>=2.0'"

    @pytest.mark.parametrize("version", ["2.15.0+cu132", "2.8.0"])
    def test_a_version_that_does_not_fit_is_broken(self, installed: dict[str, str], version: str) -> None:
        installed["torch"] = version
        finding = by_what(doctor._packages())["torch"]
        assert finding.state == "broken"
        assert finding.found == f"{version}, needed <2.12,>=2.9"
        assert finding.remedy == "pip install 'torch<2.12,>=2.9'"

    def test_a_missing_extra_is_only_missing(self, installed: dict[str, str]) -> None:
        del installed["transformers"]
        findings = by_what(doctor._packages())
        assert findings["required packages"].state == "ok"
        assert findings["extra hf"] == Finding(
            "missing", "extra hf", "not installed: transformers", "if wanted: pip install 'brainalign[hf]'"
        )
        assert "extra cluster" not in findings


class TestTorchPair:
    @pytest.mark.parametrize(
        ("stderr", "reason"),
        [
            (
                "RuntimeError: Detected that PyTorch and TorchAudio were compiled with different CUDA versions. "
                "PyTorch has CUDA version 13.2 whereas TorchAudio has CUDA version 13.0.",
                "different CUDA versions",
            ),
            (
                "OSError: libc10_cuda.so: cannot open shared object file: No such file or directory",
                "CPU build of torch",
            ),
            ("OSError: libcudart.so.13: cannot open shared object file", "CPU build of torch"),
            ("OSError: _torchaudio.so: undefined symbol: _ZN3c104impl3cow23materialize", "different versions of torch"),
            ("Traceback (most recent call last):\n  ...\nImportError: something new\n", "ImportError: something new"),
            ("", "ended without a message"),
        ],
    )
    def test_known_ways_to_fail(self, stderr: str, reason: str) -> None:
        finding = diagnose_torch(PAIR, stderr)
        assert finding.state == "broken"
        assert finding.found.startswith(PAIR)
        assert reason in finding.found
        assert "torch>=2.9,<2.12" in finding.remedy
        assert "torchaudio>=2.9,<2.12" in finding.remedy

    def test_the_remedy_is_what_the_package_requires(self) -> None:
        from importlib.metadata import requires

        from packaging.requirements import Requirement

        needed = {r.name: r.specifier for r in map(Requirement, requires("brainalign") or []) if r.marker is None}
        for word in doctor.MEND_TORCH.replace("'", " ").split()[2:]:
            requirement = Requirement(word)
            assert requirement.specifier == needed[requirement.name]

    def test_a_pair_that_fails_is_diagnosed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def failing(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
            return subprocess.CompletedProcess([], 1, "", "OSError: libc10_cuda.so: cannot open")

        monkeypatch.setattr(subprocess, "run", failing)
        assert "CPU build of torch" in doctor._torch_pair().found

    def test_a_missing_half_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def version(name: str) -> str:
            if name == "torchaudio":
                raise PackageNotFoundError(name)
            return "2.11.0"

        monkeypatch.setattr(doctor, "version", version)
        finding = doctor._torch_pair()
        assert (finding.state, finding.found) == ("broken", "torchaudio is not installed")


class TestAudio:
    def test_without_soundfile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "soundfile", None)
        finding = doctor._audio()
        assert finding.state == "broken"
        assert "soundfile" in finding.remedy

    def test_an_old_libsndfile_without_mp3(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("soundfile.available_formats", lambda: {"WAV": "", "FLAC": "", "OGG": ""})
        finding = doctor._audio()
        assert finding.state == "missing"
        assert "reads WAV, FLAC, OGG;" in finding.found
        assert finding.remedy.startswith("for MP3")
