"""Stand-ins for the music clips of ds003720: the same ids and length, made of music that may be handed on.

The clips of ds003720 are cut from GTZAN, which has no licence. The stand-ins are put together from 4-s pieces of music
from free games and other free sources, so that the whole way from sounds to a report can be gone without GTZAN.

Sources are put in an order in which neighbours sound alike, and the row of their tracks is cut into ten parts, one for
each genre of the ids. A genre of the stand-ins hangs together acoustically, but its name says nothing: no blues is
heard in ``blues.00017``. The tracks of a genre are dealt to training clips, test clips and the library, so that no
track is in two of these. A piece is used in one clip only; a training track gives several clips.
"""

from __future__ import annotations

from itertools import chain, cycle
from pathlib import Path

import numpy as np
import pandas as pd

from brainalign._files import data_folder, shipped
from brainalign.errors import DownloadError, StimulusError, name_some
from brainalign.stimuli.audio import Waveform, read_audio, resample
from brainalign.stimuli.layouts import GENRES
from brainalign.stimuli.prepare import with_ramps
from brainalign.stimuli.sets import Manifest, StimulusSet, read_text_table

SAMPLE_RATE = 22_050
CLIP_S = 15.0
#: Three pieces of 4 s and these cross-fades, one piece again, make 15 s.
CROSS_FADE_S = 1 / 3
RAMP_S = 2.0
MOST_PIECES = 3
#: Tracks of each genre.
TEST_TRACKS, LIBRARY_TRACKS = 6, 4
#: In an order in which neighbours sound alike; sources that are not named come last, by name.
SOURCES = (
    "wesnoth-music", "widelands-music", "megaglest-music", "unknown-horizons-music", "gcompris-worldmusic",
    "librosa-data", "etr-music", "hedgewars-music", "supertuxkart-music", "fretsonfire-sectoid", "fretsonfire-muldjord",
    "marsshooter-music", "colobot-music", "freedroidrpg-music", "hyperrogue-music", "singularity-music",
    "warzone2100-music",
)  # fmt: skip
#: Single notes of instruments are no music.
LEFT_OUT = ("gcompris-instruments",)
HOW_TO_GET = (
    "the stand-ins are made of the folder minisounds: metadata.csv (columns file, source, licence, group, has_music) "
    "and audio/; put it there, or set BRAINALIGN_DATA to the folder that holds it"
)


def load_ds003720_standins() -> StimulusSet:
    """Load stand-ins for the 540 clips of ds003720, of music that may be handed on; the sounds are made when played.

    Each is 15 s long: up to three 4-s pieces of one track, one after another with cross-fades of 1/3 s, again from the
    first piece on where they do not fill it; then faded in and out over 2 s and brought to an RMS of 0.1, as the clips
    of ``ds003720`` are.

    Returns
    -------
    StimulusSet
        Ids, ``category`` and ``split`` are those of ``ds003720``; the genre says nothing of the sound (see the module).
        ``title`` (track and source), ``track`` (none is in both splits), ``source``, ``licence`` and ``file`` (the
        pieces).

    Raises
    ------
    DownloadError
        If the music is not in ``BRAINALIGN_DATA/minisounds``.
    StimulusError
        If it is too little, or its table lacks a column.
    """
    clips = read_text_table(shipped("stimuli") / "ds003720" / "stimuli.csv")
    return _standin_set("ds003720-standins", clips)


def load_ds003720_standins_library() -> StimulusSet:
    """Load other music like that of the stand-ins, to retrieve from: none of their tracks is in it.

    Returns
    -------
    StimulusSet
        Sounds and columns as those of :func:`load_ds003720_standins`; ids ``"library.00000"`` on, ``split`` is
        ``"library"`` and ``category`` the part of the row of sources in which the track lies, by its genre.

    Raises
    ------
    DownloadError
        If the music is not in ``BRAINALIGN_DATA/minisounds``.
    StimulusError
        If it is too little, or its table lacks a column.
    """
    return _standin_set("ds003720-standins-library", None)


def _standin_set(name: str, clips: pd.DataFrame | None) -> StimulusSet:
    folder = data_folder() / "minisounds"
    pieces = _read_pieces(folder)
    table = _library_table(pieces) if clips is None else _clip_table(pieces, clips)
    files = {i: [folder / "audio" / f for f in own.split()] for i, own in table["file"].to_dict().items()}

    def source(stimulus_id: str) -> tuple[Waveform, int]:
        joined = _joined([_read_piece(path) for path in files[stimulus_id]])
        return with_ramps(joined, round(RAMP_S * SAMPLE_RATE), stimulus_id), SAMPLE_RATE

    manifest = Manifest(
        name=name,
        version="1",
        citation=f"ids: Nakai et al. 2021, doi:10.1002/brb3.1936; music: {', '.join(sorted(set(table['source'])))}",
        licence="of each clip in the column licence",
        sample_rate=SAMPLE_RATE,
        target_rms=0.1,
    )
    return StimulusSet(manifest, table, source)


def _read_pieces(folder: Path) -> pd.DataFrame:
    """Read the table of pieces of music, in the order of sources, with the genre in whose part their track lies."""
    path = folder / "metadata.csv"
    if not path.is_file():
        raise DownloadError(f"there is no {path}: {HOW_TO_GET}")
    table = read_text_table(path)
    if lacking := [c for c in ("file", "source", "licence", "group", "has_music") if c not in table]:
        raise StimulusError(f"{path} lacks the column {name_some(lacking)}: {HOW_TO_GET}")
    pieces = table[(table["has_music"] == "1") & ~table["source"].isin(LEFT_OUT)]
    if missing := [f for f in pieces["file"] if not (folder / "audio" / f).is_file()]:
        raise StimulusError(f"{folder / 'audio'} lacks {len(missing)} of {len(pieces)} pieces: {name_some(missing)}")
    place = {source: i for i, source in enumerate(SOURCES)}
    pieces = pieces.assign(place=[place.get(s, len(SOURCES)) for s in pieces["source"]])
    pieces = pieces.sort_values(["place", "source", "group", "file"])
    tracks = pieces["group"].unique().tolist()
    part = {track: GENRES[i * len(GENRES) // len(tracks)] for i, track in enumerate(tracks)}
    return pieces.assign(genre=pieces["group"].map(part))


def _deal(pieces: pd.DataFrame, genre: str) -> dict[str, list[pd.DataFrame]]:
    """Deal the tracks of a genre to test clips, library and training clips: at random, but always alike."""
    tracks = [own for _, own in pieces[pieces["genre"] == genre].groupby("group")]
    ends = TEST_TRACKS, TEST_TRACKS + LIBRARY_TRACKS
    if len(tracks) <= ends[1]:
        raise StimulusError(
            f"too little music in minisounds: {len(tracks)} tracks for a genre, more than {ends[1]} are needed"
        )
    rng = np.random.default_rng([3720, GENRES.index(genre)])
    # A test clip is made of no less than a training clip.
    order = sorted((tracks[i] for i in rng.permutation(len(tracks))), key=lambda own: len(own) < MOST_PIECES)
    return {"test": order[: ends[0]], "library": order[ends[0] : ends[1]], "train": order[ends[1] :]}


def _clip_table(pieces: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for genre, own in clips.groupby("category"):
        tracks = _deal(pieces, str(genre))
        for split, ids in own.groupby("split")["stimulus_id"]:
            made = _cut(tracks[str(split)], len(ids))
            about = {"category": genre, "split": split}
            rows += [{"stimulus_id": i, **about, **clip} for i, clip in zip(ids, made, strict=True)]
    return pd.DataFrame(rows).set_index("stimulus_id").loc[clips["stimulus_id"]]


def _library_table(pieces: pd.DataFrame) -> pd.DataFrame:
    rows: list[dict[str, str]] = []
    for genre in GENRES:
        tracks = _deal(pieces, genre)["library"]
        made = _cut(tracks, sum(-(-len(track) // MOST_PIECES) for track in tracks))
        rows += [{"category": genre, "split": "library", **clip} for clip in made]
    return pd.DataFrame(rows, index=pd.Index([f"library.{i:05d}" for i in range(len(rows))], name="stimulus_id"))


def _cut(tracks: list[pd.DataFrame], n_clips: int) -> list[dict[str, str]]:
    """Share the pieces of tracks among clips: one clip a track, the next where there are most pieces."""
    tracks = tracks[:n_clips]
    counts = np.ones(len(tracks), dtype=int)
    n_pieces = np.array([len(track) for track in tracks])
    if n_pieces.sum() < n_clips:
        raise StimulusError(f"too little music in minisounds: {n_pieces.sum()} pieces for {n_clips} clips of one genre")
    while counts.sum() < n_clips:
        counts[(n_pieces / (counts + 1)).argmax()] += 1
    made = []
    for track, n in zip(tracks, counts, strict=True):
        first = track.iloc[0]
        name = str(first["group"]).split(":", 1)[-1].removesuffix(".ogg").removesuffix(".hq").replace("_", " ")
        about = {
            "title": f"{name} ({first['source']})",
            **{column: str(first[column]) for column in ("source", "licence")},
            "track": str(first["group"]),
        }
        for part in np.array_split(track["file"].to_numpy(), n):
            made.append({"file": " ".join(part[:MOST_PIECES]), **about})
    return made


def _read_piece(path: Path) -> Waveform:
    waveform, rate = read_audio(path)
    return resample(waveform, rate, SAMPLE_RATE)


def _joined(pieces: list[Waveform]) -> Waveform:
    """Play pieces one after another, and again from the first on, until the clip is full, with cross-fades."""
    n_samples, n_fade = round(CLIP_S * SAMPLE_RATE), round(CROSS_FADE_S * SAMPLE_RATE)
    angle = np.pi / 2 * (np.arange(n_fade) + 0.5) / n_fade
    shortest = min(map(len, pieces))
    if shortest <= 2 * n_fade:
        raise StimulusError(
            f"a piece of {shortest / SAMPLE_RATE:.3g} s is too short for cross-fades of a third of a second"
        )
    joined = pieces[0].astype(np.float64)
    for piece in chain(pieces[1:], cycle(pieces)):
        if len(joined) >= n_samples:
            break
        overlap = joined[-n_fade:] * np.cos(angle) + piece[:n_fade] * np.sin(angle)
        joined = np.concatenate([joined[:-n_fade], overlap, piece[n_fade:]])
    return joined[:n_samples].astype(np.float32)
