"""Known data sets: fetched from their public origin or taken from a folder, every file checked by its digest."""

from __future__ import annotations

import csv
import errno
import os
import shutil
import tomllib
from pathlib import Path

from brainalign._files import data_folder, sha256, shipped, write_then_rename
from brainalign._progress import track
from brainalign.errors import DownloadError, StimulusError, did_you_mean, name_some


def fetchable() -> list[str]:
    """Return the names of the data sets that can be fetched."""
    return sorted(p.parent.name for p in shipped("stimuli").glob("*/files.csv"))


def fetch(name: str, source: Path | None = None, *, progress: bool = False) -> Path:
    """Bring the files of a known data set into the data folder.

    Files that are there and whole are left alone, so an interrupted fetch goes on where it stopped.

    Parameters
    ----------
    name : str
        A data set of :func:`fetchable`, for instance ``"natsound165"``.
    source : Path, optional
        A folder that holds the same files in the same layout; they are copied instead of downloaded. Some known sets
        are to be had in this way only (:mod:`brainalign.stimuli.known`).
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        The folder of the data set: ``BRAINALIGN_DATA/NAME``, or in the user's cache.

    Raises
    ------
    StimulusError
        If the name is unknown.
    DownloadError
        If a file cannot be had or is not the published one.
    """
    if name not in fetchable():
        from brainalign.stimuli.known import known_sets, take_from_folder

        known = [k.manifest.name for k in known_sets()]
        if name in known:
            return take_from_folder(name, source)
        known += ["tuckute2023", *fetchable()]
        raise StimulusError(f"no data set {name!r} can be fetched; {did_you_mean(name, known)}")
    facts = shipped("stimuli") / name / "brain_data.toml"
    if source is None and facts.is_file():
        how = tomllib.loads(facts.read_text(encoding="utf-8"))["how"]
        raise DownloadError(f"{name} is not downloaded for you: {how}")
    folder = data_folder() / name
    digests = published_digests(name)
    if source is not None:
        missing = [f for f in digests if not (source / f).is_file()]
        if missing:
            raise DownloadError(
                f"{source} lacks {len(missing)} of the {len(digests)} files of {name}: {name_some(missing)}"
            )
    for file, digest in track(digests.items(), name, unit="file", show=progress):
        target = folder / file
        try:
            if target.is_file() and sha256(target) == digest:
                continue
            if source is None:
                _download(name, file, digest, target)
            else:
                _copy(source / file, digest, target)
        except OSError as why:
            raise DownloadError(
                f"{file} cannot be written to {folder} ({os.strerror(why.errno or 0)}); make room, or choose another "
                f"folder by BRAINALIGN_DATA"
            ) from why
    return folder


def published_digests(name: str) -> dict[str, str]:
    """Return the SHA-256 of each file of a known data set, by its path in the data set."""
    with (shipped("stimuli") / name / "files.csv").open(newline="", encoding="utf-8") as stream:
        return {row["file"]: row["sha256"] for row in csv.DictReader(stream)}


def check_fetched(name: str, files: list[str]) -> Path:
    """Return the folder of a fetched data set after checking that these files are there.

    Parameters
    ----------
    name : str
        The data set.
    files : list of str
        Paths within it.

    Returns
    -------
    Path
        Its folder.

    Raises
    ------
    DownloadError
        If a file is not there; says how to fetch.
    """
    folder = data_folder() / name
    missing = [f for f in files if not (folder / f).is_file()]
    if missing:
        raise DownloadError(
            f"{len(missing)} of {len(files)} files of {name} are not in {folder} (first: {missing[0]}); "
            f"do: brainalign fetch {name}, or set BRAINALIGN_DATA to the folder that holds {name}/"
        )
    return folder


def _download(name: str, file: str, digest: str, target: Path) -> None:
    import pooch

    pooch.get_logger().setLevel("WARNING")  # a line per file would drown the progress bar
    origin = tomllib.loads((shipped("stimuli") / name / "origin.toml").read_text(encoding="utf-8"))["url"]
    # What pooch has received so far lies beside the file that it makes: in a folder that goes, even after a kill.
    with write_then_rename(target) as temporary:
        try:
            pooch.retrieve(origin + file, known_hash=f"sha256:{digest}", fname=temporary.name, path=temporary.parent)
        except Exception as why:  # requests and pooch raise many kinds; all but a full disk mean: not to be had
            if isinstance(why, OSError) and why.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise DownloadError(
                f"{file} of {name} could not be fetched from {origin}: "
                f"{' '.join(str(why).split()) or type(why).__name__}; "
                f"if you have the files, do: brainalign fetch {name} --from FOLDER"
            ) from why


def _copy(source: Path, digest: str, target: Path) -> None:
    found = sha256(source)
    if found != digest:
        raise DownloadError(
            f"{source} is not the published file: its SHA-256 is {found[:12]}..., expected {digest[:12]}..."
        )
    with write_then_rename(target) as temporary:
        shutil.copyfile(source, temporary)
