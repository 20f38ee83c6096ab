"""What is installed, what is broken, and how to mend it, in plain words."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Literal, NamedTuple

State = Literal["ok", "missing", "broken"]

#: torch and torchaudio whose pairing is known to work; see also pyproject.toml.
MEND_TORCH = "pip install 'torch>=2.9,<2.12' 'torchaudio>=2.9,<2.12'"


class Finding(NamedTuple):
    """One thing looked at: its state, what it is, what was found, and what to do (empty if nothing)."""

    state: State
    what: str
    found: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at Python, the packages, torch with torchaudio, audio formats, data and machine.

    Returns
    -------
    list of Finding
        ``missing`` is something optional; ``broken`` stops brainalign from working.
    """
    return [_python(), *_packages(), _torch_pair(), _audio(), _netcdf(), *_data(), _machine()]


def _python() -> Finding:
    return Finding("ok", "Python", platform.python_version())


def _packages() -> list[Finding]:
    """Compare what is installed with what brainalign requires, extras apart."""
    from packaging.requirements import Requirement

    findings = []
    extras: dict[str, list[str]] = {}
    for line in requires("brainalign") or []:
        requirement = Requirement(line)
        extra = re.search(r"extra == ['\"](\w+)['\"]", line)
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            found = ""
        if extra:
            if not found:
                extras.setdefault(extra[1], []).append(requirement.name)
        elif not found:
            findings.append(Finding("broken", requirement.name, "not installed", f"pip install '{requirement}'"))
        elif not requirement.specifier.contains(found, prereleases=True):
            remedy = f"pip install '{requirement.name}{requirement.specifier}'"
            findings.append(Finding("broken", requirement.name, f"{found}, needed {requirement.specifier}", remedy))
    if not findings:
        findings.append(Finding("ok", "required packages", "all installed in versions that fit"))
    findings += [
        Finding(
            "missing",
            f"extra {extra}",
            "not installed: " + ", ".join(names),
            f"if wanted: pip install 'brainalign[{extra}]'",
        )
        for extra, names in extras.items()
    ]
    return findings


def _torch_pair() -> Finding:
    """Import torch and torchaudio in a process of their own: a broken pair can end the process."""
    what = "torch with torchaudio"
    try:
        pair = f"torch {version('torch')}, torchaudio {version('torchaudio')}"
    except PackageNotFoundError as why:
        return Finding("broken", what, f"{why.name} is not installed", MEND_TORCH)
    code = (
        "import torch, torchaudio; torchaudio.transforms.MelSpectrogram()(torch.zeros(1, 16000)); "
        "print(torch.cuda.is_available())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return Finding("ok", what, f"{pair}; GPU: {'yes' if done.stdout.strip() == 'True' else 'none'}")
    return diagnose_torch(pair, done.stderr)


def diagnose_torch(pair: str, stderr: str) -> Finding:
    """Name the known ways in which torch and torchaudio fail together.

    Parameters
    ----------
    pair : str
        The versions found.
    stderr : str
        What the failing import printed.

    Returns
    -------
    Finding
        State ``broken``, with the remedy.
    """
    what = "torch with torchaudio"
    if "different CUDA versions" in stderr:
        reason = (
            "they were built for different CUDA versions. torchaudio does not say which torch it needs, so an unpinned "
            "install pairs the newest torch with a torchaudio that cannot be imported"
        )
    elif "libc10_cuda" in stderr or "libcudart" in stderr or "libtorch_cuda" in stderr:
        reason = "a CUDA build of torchaudio beside a CPU build of torch"
    elif "undefined symbol" in stderr:
        reason = "they were built for different versions of torch"
    else:
        reason = (stderr.strip().splitlines() or ["the import ended without a message"])[-1]
    return Finding("broken", what, f"{pair}: {reason}", MEND_TORCH + "  (both in one command)")


def _audio() -> Finding:
    try:
        import soundfile
        import soxr
    except (ImportError, OSError) as why:
        return Finding("broken", "audio files", str(why), "pip install soundfile soxr")
    formats = [f for f in ("WAV", "FLAC", "OGG", "MP3") if f in soundfile.available_formats()]
    found = f"soundfile {soundfile.__version__} reads {', '.join(formats)}; soxr {soxr.__version__} resamples"
    if "MP3" not in formats:
        return Finding("missing", "audio files", found, "for MP3: pip install --upgrade soundfile")
    return Finding("ok", "audio files", found)


def _netcdf() -> Finding:
    """Write and read a small file, as every run does at its end."""
    import tempfile
    from pathlib import Path

    try:
        from brainalign.responses import load_responses, make_responses, save_responses

        with tempfile.TemporaryDirectory() as folder:
            path = save_responses(make_responses([[0.0, 1.0], [2.0, 3.0]], ["a", "b"]), Path(folder) / "r.nc")
            load_responses(path)
    except Exception as why:  # whatever it is, a run would end with it
        return Finding("broken", "netCDF files", f"{type(why).__name__}: {why}", "pip install --upgrade h5netcdf h5py")
    return Finding("ok", "netCDF files", "written and read")


def _data() -> list[Finding]:
    from brainalign._files import data_folder
    from brainalign.stimuli.fetch import fetchable, published_digests

    findings = []
    for name in fetchable():
        files = published_digests(name)
        there = sum((data_folder() / name / f).is_file() for f in files)
        if there == len(files):
            findings.append(Finding("ok", f"data set {name}", f"{there} files in {data_folder() / name}"))
        else:
            findings.append(
                Finding(
                    "missing",
                    f"data set {name}",
                    f"{there} of {len(files)} files",
                    f"if wanted: brainalign fetch {name}",
                )
            )
    return findings


def _machine() -> Finding:
    return Finding("ok", "machine", f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}")
