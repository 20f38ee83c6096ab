"""Known stimulus sets: what they are, whom to cite, on what terms they may be used, and how to get them."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from brainalign._files import data_folder, shipped
from brainalign.errors import DownloadError, StimulusError, did_you_mean
from brainalign.stimuli.audio import Waveform
from brainalign.stimuli.create import new_folder, write_set_files
from brainalign.stimuli.fetch import published_digests
from brainalign.stimuli.layouts import read_boebinger2021, read_esc50, read_gtzan
from brainalign.stimuli.prepare import with_ramps
from brainalign.stimuli.sets import Manifest, StimulusSet, read_manifest, read_stimulus_set, read_text_table

#: Sets that nobody may hand on, or that have no published digests: they are taken from the user's own copy.
LAYOUTS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "boebinger2021": read_boebinger2021,
    "esc50": read_esc50,
    "gtzan": read_gtzan,
}


@dataclass(frozen=True)
class KnownSet:
    """What is known of a stimulus set.

    Attributes
    ----------
    manifest : Manifest
        Name, version, citation, licence.
    what : str
        What the sounds are, in a few words.
    n_sounds : int
        How many; 0 if that is for the user to choose.
    url : str
        Where it comes from.
    how : str
        What to do to get it.
    state : str
        ``"ready"``, or ``"not here"``.
    """

    manifest: Manifest
    what: str
    n_sounds: int
    url: str
    how: str
    state: str


def known_sets() -> list[KnownSet]:
    """Return all known sets, sorted by name."""
    return [known_set(p.parent.name) for p in sorted(shipped("stimuli").glob("*/origin.toml"))]


def known_set(name: str) -> KnownSet:
    """Return what is known of a set.

    Parameters
    ----------
    name : str
        Such as ``"esc50"``.

    Returns
    -------
    KnownSet
        Facts, and whether its sounds are here.

    Raises
    ------
    StimulusError
        If no such set is known.
    """
    path = shipped("stimuli") / name / "origin.toml"
    if not path.is_file():
        known = [p.parent.name for p in shipped("stimuli").glob("*/origin.toml")]
        raise StimulusError(f"no stimulus set named {name!r} is known; {did_you_mean(name, known)}")
    origin = tomllib.loads(path.read_text(encoding="utf-8"))
    how = origin["how"] + (f"; then: brainalign fetch {name} --from FOLDER" if name in LAYOUTS else "")
    return KnownSet(
        manifest=read_manifest(path.with_name("stimulus_set.toml")),
        what=origin["what"],
        n_sounds=origin["n_sounds"],
        url=origin["url"],
        how=how,
        state="ready" if _is_here(name) else "not here",
    )


def _is_here(name: str) -> bool:
    if name in LAYOUTS:
        return (data_folder() / name / "stimuli.csv").is_file()
    if name == "ds003720":
        return _is_here("gtzan")
    if (shipped("stimuli") / name / "files.csv").is_file():
        return all((data_folder() / name / f).is_file() for f in published_digests(name))
    return False


def take_from_folder(name: str, source: Path | None) -> Path:
    """Make a known set of the user's own copy of it.

    Parameters
    ----------
    name : str
        A known set; only those of ``LAYOUTS`` can be taken.
    source : Path or None
        The copy, as it is given out; it is not touched.

    Returns
    -------
    Path
        The folder of the set: ``BRAINALIGN_DATA/NAME``, or in the user's cache; left alone if it is there already.

    Raises
    ------
    DownloadError
        If there is no copy; says how to get one.
    StimulusError
        If the folder does not hold the set.
    """
    folder = data_folder() / name
    if name in LAYOUTS and _is_here(name):
        return folder
    if source is None or name not in LAYOUTS:
        raise DownloadError(f"{name} is not downloaded for you: {known_set(name).how}")
    rows = LAYOUTS[name](source)
    with new_folder(folder) as temporary:
        for file in rows["file"]:
            target = temporary / "audio" / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file, target)
        write_set_files(temporary, known_set(name).manifest, rows.assign(file="audio/" + rows["file"]))
        read_stimulus_set(temporary)
    return folder


def _load_taken(name: str) -> StimulusSet:
    if not _is_here(name):
        raise DownloadError(f"{name} is not in {data_folder()}: {known_set(name).how}")
    return read_stimulus_set(data_folder() / name)


def load_esc50() -> StimulusSet:
    """Load ESC-50, 2,000 environmental sounds (Piczak 2015), after ``brainalign fetch esc50 --from FOLDER``.

    Returns
    -------
    StimulusSet
        Categories are the 50 classes; the column ``group`` holds the five groups, ``fold`` the published folds.

    Raises
    ------
    DownloadError
        If it was not taken from a folder yet.
    """
    return _load_taken("esc50")


def load_gtzan() -> StimulusSet:
    """Load GTZAN, 1,000 tracks of ten genres (Tzanetakis & Cook 2002), after ``brainalign fetch gtzan --from FOLDER``.

    Returns
    -------
    StimulusSet
        Categories are the genres.

    Raises
    ------
    DownloadError
        If it was not taken from a folder yet.
    """
    return _load_taken("gtzan")


def load_boebinger2021() -> StimulusSet:
    """Load the 192 sounds of Boebinger et al. 2021, after ``brainalign fetch boebinger2021 --from FOLDER``.

    Returns
    -------
    StimulusSet
        Categories of natsound165 where it has the sound, else those of the user's table.

    Raises
    ------
    DownloadError
        If they were not taken from a folder yet.
    """
    return _load_taken("boebinger2021")


def load_ds003720() -> StimulusSet:
    """Load the 540 music clips of Nakai et al. 2021, cut from GTZAN when they are played.

    Which track, and from when to when, is published with the data (15 s each). They also had "2 s of fade-in and
    fade-out", of a shape that is not published (raised cosine here), and one RMS, whose value is not published (0.1
    here); both are the same for all clips.

    Returns
    -------
    StimulusSet
        Ids are those of GTZAN (``"blues.00017"``): no track is used twice. Columns ``start_s``, ``end_s`` and
        ``split`` (``"train"`` or ``"test"``).

    Raises
    ------
    DownloadError
        If GTZAN was not taken from a folder yet.
    """
    here = shipped("stimuli") / "ds003720"
    tracks = _load_taken("gtzan")
    table = read_text_table(here / "stimuli.csv").set_index("stimulus_id")
    table = table.assign(**table[["start_s", "end_s"]].astype(float))
    times = dict(zip(table.index, zip(table["start_s"], table["end_s"], strict=True), strict=True))

    def source(stimulus_id: str) -> tuple[Waveform, int]:
        waveform, rate = tracks.waveform(stimulus_id)
        begin, end = (round(t * rate) for t in times[stimulus_id])
        # Tracks of GTZAN are up to 0.07 s shorter than the 30 s at which some clips are said to end.
        clip = waveform[begin:end]
        if len(clip) < end - begin - rate // 10:
            raise StimulusError(f"the track has {len(waveform) / rate:.2f} s, too few for a clip up to {end / rate} s")
        return with_ramps(np.pad(clip, (0, end - begin - len(clip))), 2 * rate, stimulus_id), rate

    return StimulusSet(read_manifest(here / "stimulus_set.toml"), table, source)
