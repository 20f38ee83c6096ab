"""An index of music: the embeddings of many tracks on disk, in which nearest neighbours are looked up.

The folder of an index holds

* ``index.json``: the model, its record, the layer, how tracks were cut, the state of their files, and digests of the
  other two files; written last, so that an index is whole or none;
* ``tracks.csv``: one row per track, in the order of the embeddings;
* ``embeddings.npy``: float32, (track, dimension), every row of length 1; mapped into memory, not read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign._files import sha256, write_then_rename
from brainalign._progress import track
from brainalign._reading import read_json, reading
from brainalign.errors import ReconstructionError, name_some
from brainalign.responses import Responses
from brainalign.stimuli import StimulusSet
from brainalign.stimuli.windows import window_table, windowed

if TYPE_CHECKING:
    from brainalign.models.base import AudioModel

#: Tracks that are heard in one extraction: what a killed build loses at most where there is no cache.
TRACKS_AT_ONCE = 1000
#: Rows of the index that are compared at a time.
ROWS_AT_ONCE = 2**16
_FILES = ("index.json", "tracks.csv", "embeddings.npy")


@dataclass(frozen=True, repr=False)
class MusicIndex:
    """Embeddings of tracks, ready for looking up neighbours.

    Attributes
    ----------
    folder : Path
        Where it lies.
    tracks : DataFrame
        Indexed by stimulus id, in the order of `embeddings`: what the stimulus set said of each.
    embeddings : ndarray, shape (n_tracks, n_dimensions)
        Float32, rows of length 1, mapped from the file.
    record : dict
        What determines the embeddings: ``model``, ``model_record``, ``layer``, ``pooling``, and how tracks were cut.
    """

    folder: Path
    tracks: pd.DataFrame
    embeddings: NDArray[np.float32]
    record: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.tracks)

    def __repr__(self) -> str:
        n, width = self.embeddings.shape
        return f"<MusicIndex {self.folder.name}: {n} tracks x {width}, {self.record['model']} {self.record['layer']}>"

    def search(
        self, queries: ArrayLike, k: int = 1, *, centre: ArrayLike | None = None
    ) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        """Find the tracks that are nearest by cosine similarity.

        Parameters
        ----------
        queries : array-like, shape (n_queries, n_dimensions) or (n_dimensions,)
            Embeddings of the model of the index; of any length, not zero.
        k : int
            How many neighbours.
        centre : array-like, shape (n_dimensions,), optional
            What is taken away from queries and tracks (of length 1) before cosines are computed, for instance the mean
            of other clips: embeddings that are far from the origin all have nearly the same direction.

        Returns
        -------
        ids : ndarray of str, shape (n_queries, k)
            The nearest first; of equal ones the one that stands first in the index.
        similarities : ndarray, shape (n_queries, k)
            Their cosines.

        Raises
        ------
        ReconstructionError
            If queries have another width, are not finite or zero, or `k` is not between 1 and the number of tracks.
        """
        wanted = self._unit_rows(queries)
        if not 1 <= k <= len(self):
            raise ReconstructionError(f"k is {k}; the index {self.folder.name} holds {len(self)} tracks")
        middle = None if centre is None else np.asarray(centre, dtype=np.float64)
        if middle is not None:
            wanted = self._unit_rows(wanted - middle)
        best = np.full((len(wanted), 0), 0, np.intp)
        similarities = np.empty((len(wanted), 0), np.float32)
        for start in range(0, len(self), ROWS_AT_ONCE):
            tracks = self.embeddings[start : start + ROWS_AT_ONCE]
            block = wanted @ tracks.T
            if middle is not None:
                # Of a track t of length 1: |t - c|^2 = 1 - 2 tc + |c|^2.
                lengths = np.sqrt(np.maximum(1 - 2 * (tracks @ middle.astype(np.float32)) + middle @ middle, 1e-12))
                block = ((block - (wanted @ middle)[:, None]) / lengths).astype(np.float32)
            rows = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
            best, similarities = _keep_best(
                np.concatenate([best, rows], axis=1), np.concatenate([similarities, block], axis=1), k
            )
        return self.tracks.index.to_numpy().astype(str)[best], similarities

    def check_model(self, embeddings: Responses) -> None:
        """Raise unless embeddings came from the same model, layer and pooling as the index.

        Parameters
        ----------
        embeddings : Responses
            As :func:`~brainalign.models.extraction.extract` gives them, of a single layer.

        Raises
        ------
        ReconstructionError
            If they did not; says what differs.
        """
        found = {
            "model": embeddings.attrs.get("source"),
            "model_record": json.loads(embeddings.attrs.get("model_record", "null")),
            "layer": ", ".join(dict.fromkeys(embeddings["layer"].values.astype(str))),
            "pooling": embeddings.attrs.get("pooling"),
        }
        for what, value in found.items():
            if value != self.record[what]:
                differs = _difference(what, self.record[what], value)
                raise ReconstructionError(
                    f"the index {self.folder.name} and the embeddings come from different models: {differs}; "
                    f"build the index anew with the model of the embeddings"
                )

    def _unit_rows(self, queries: ArrayLike) -> NDArray[np.float32]:
        rows = np.atleast_2d(np.asarray(queries, dtype=np.float64))
        width = self.embeddings.shape[1]
        if rows.ndim != 2 or rows.shape[1] != width:
            raise ReconstructionError(
                f"queries have the shape {rows.shape}; the index {self.folder.name} holds embeddings of width {width}"
            )
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not (np.isfinite(lengths).all() and lengths.all()):
            raise ReconstructionError("a query is zero or not finite: it has no direction in which to look")
        unit: NDArray[np.float32] = (rows / lengths).astype(np.float32)
        return unit


def _keep_best(
    rows: NDArray[np.intp], similarities: NDArray[np.float32], k: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Keep the k largest similarities of each query, the largest first and among equal ones the first row."""
    if rows.shape[1] > 4 * k:
        # Whatever equals the k-th largest must stay, so that the order of rows decides among equal ones.
        least = np.partition(similarities, -k, axis=1)[:, -k]
        n_kept = int((similarities >= least[:, None]).sum(axis=1).max())
        kept = np.argsort(similarities < least[:, None], axis=1, kind="stable")[:, :n_kept]
        rows, similarities = np.take_along_axis(rows, kept, axis=1), np.take_along_axis(similarities, kept, axis=1)
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(similarities, order, axis=1)


def build_index(
    tracks: StimulusSet,
    model: AudioModel,
    folder: Path | str,
    *,
    layer: str,
    pooling: str = "mean",
    clip_s: float = 15.0,
    window_s: float | None = None,
    step_s: float = 1.5,
    cache: Path | None = None,
    progress: bool = False,
) -> MusicIndex:
    """Embed the beginning of every track and write an index.

    The embedding of a track is the mean over its windows, brought to length 1. Tracks are heard a thousand at a time,
    in the order of the set: with a cache, what was heard is not heard again, when a build was killed or tracks were
    added at the end.

    Parameters
    ----------
    tracks : StimulusSet
        At least `clip_s` long.
    model : AudioModel
        What embeds.
    folder : path-like
        Where to write. An index of the same tracks and model that is there is opened instead.
    layer, pooling : str
        Which of its layers, and how frames are pooled.
    clip_s : float
        How much of each track, from its beginning, in s (Denk et al. 2023: 15).
    window_s, step_s : float, optional
        Length of the windows in s and from one to the next; one window of `clip_s` if not given.
    cache : Path, optional
        Folder of the cache of activations.
    progress : bool
        Show a progress bar.

    Returns
    -------
    MusicIndex
        The index, opened.

    Raises
    ------
    ReconstructionError
        If the folder holds another index, an index of these tracks before their files were changed, or other files, or
        a track has an embedding of zero.
    BrainalignError
        If a track or the model cannot be used.
    """
    window_s = clip_s if window_s is None else window_s
    folder = Path(folder)
    _check_folder(folder)
    record = {
        "model": model.name,
        "model_record": json.loads(json.dumps(dict(model.record))),
        "layer": layer,
        "pooling": pooling,
        "clip_s": clip_s,
        "window_s": window_s,
        "step_s": step_s,
        "tracks": f"{tracks.name} {tracks.manifest.version}",
        "sounds": sounds_key(tracks),
    }
    window_table(
        tracks.table, clip_s, window_s, step_s
    )  # what is wrong with the lengths is said before the first track
    if (folder / "index.json").is_file():
        return _same_index(folder, record, tracks)
    rows = _embed(tracks, model, record, cache, progress)
    with write_then_rename(folder / "embeddings.npy") as temporary, temporary.open("wb") as stream:
        np.save(stream, rows, allow_pickle=False)
    with write_then_rename(folder / "tracks.csv") as temporary:
        tracks.table.to_csv(temporary, encoding="utf-8")
    digests = {f"{file}_sha256": sha256(folder / file) for file in _FILES[1:]}
    with write_then_rename(folder / "index.json") as temporary:
        temporary.write_text(json.dumps({**record, **digests}, indent=2), encoding="utf-8")
    return open_index(folder)


def sounds_key(tracks: StimulusSet) -> str:
    """Return what changes when a sound of a set does: sizes and times of files, or digests of sounds that are made.

    Parameters
    ----------
    tracks : StimulusSet
        The set. To digest a hundred thousand files each time would take longer than to look up what is in them.

    Returns
    -------
    str
        A digest.
    """
    if tracks.folder is None:
        parts = [tracks.digest(i) for i in tracks.ids]
    else:
        states = ((file, (tracks.folder / file).stat()) for file in tracks.table["file"].astype(str))
        parts = [f"{file} {state.st_size} {state.st_mtime_ns}" for file, state in states]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _check_folder(folder: Path) -> None:
    """Raise if there is something else in the folder; what a build that was killed left is written again."""
    if folder.exists() and not folder.is_dir():
        raise ReconstructionError(f"{folder} is a file; name a folder for the index")
    others = (
        [p.name for p in folder.iterdir() if p.name not in _FILES and not p.name.startswith(".")]
        if folder.exists()
        else []
    )
    if others:
        raise ReconstructionError(f"{folder} holds {name_some(sorted(others))} and is no index; choose another folder")


def _same_index(folder: Path, record: Mapping[str, Any], tracks: StimulusSet) -> MusicIndex:
    index = open_index(folder)
    if list(index.tracks.index) != tracks.ids:
        raise ReconstructionError(
            f"{folder} holds an index of {len(index)} tracks, not of these {len(tracks)}; choose another folder, or "
            f"remove this one"
        )
    differs = [k for k in record if index.record.get(k) != record[k]]
    if differs == ["sounds"]:
        raise ReconstructionError(
            f"{folder} holds an index of these tracks, but their files were changed since; choose another folder, or "
            f"remove this one"
        )
    if differs:
        difference = _difference(differs[0], index.record.get(differs[0]), record[differs[0]])
        raise ReconstructionError(
            f"{folder} holds another index: {difference}; choose another folder, or remove this one"
        )
    return index


def _embed(
    tracks: StimulusSet, model: AudioModel, record: Mapping[str, Any], cache: Path | None, progress: bool
) -> NDArray[np.float32]:
    from brainalign.models.extraction import extract

    parts = []
    starts = range(0, len(tracks), TRACKS_AT_ONCE)
    for start in track(starts, "index", unit="thousand tracks", show=progress):
        some = tracks.select(tracks.ids[start : start + TRACKS_AT_ONCE])
        windows = windowed(some, record["window_s"], record["step_s"], record["clip_s"])
        heard = extract(
            model, windows, layers=[record["layer"]], pooling=record["pooling"], cache=cache, progress=progress
        )
        means = np.asarray(heard.values, dtype=np.float64).reshape(len(some), -1, heard.sizes["unit"]).mean(axis=1)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        if not lengths.all():
            zero = [i for i, length in zip(some.ids, lengths, strict=True) if not length]
            raise ReconstructionError(f"the embedding of {name_some(zero)} is zero: is there no sound?")
        parts.append((means / lengths).astype(np.float32))
    return np.concatenate(parts)


def open_index(folder: Path | str) -> MusicIndex:
    """Open an index; its embeddings are mapped, not read.

    Parameters
    ----------
    folder : path-like
        As :func:`build_index` wrote it.

    Returns
    -------
    MusicIndex
        The index.

    Raises
    ------
    ReconstructionError
        If there is none, or its files do not fit each other.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ReconstructionError(f"no folder {folder} with an index; brainalign decode index makes one")
    missing = [f for f in _FILES if not (folder / f).is_file()]
    if missing:
        raise ReconstructionError(f"{folder} holds no whole index: it lacks {name_some(missing)}; build it again")
    record = read_json(folder / "index.json", "an index", ReconstructionError)
    with reading(folder / "tracks.csv", "a table of tracks", ReconstructionError):
        tracks = pd.read_csv(folder / "tracks.csv", index_col=0, dtype={"stimulus_id": str}, encoding="utf-8")
    with reading(folder / "embeddings.npy", "an array of numpy", ReconstructionError):
        embeddings = np.load(folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    lacking = [
        k for k in ("model", "model_record", "layer", "pooling") if not isinstance(record, dict) or k not in record
    ]
    if lacking:
        raise ReconstructionError(f"index.json of {folder} does not say {name_some(lacking)}; build the index again")
    if embeddings.ndim != 2 or embeddings.dtype != np.float32 or len(embeddings) != len(tracks):
        raise ReconstructionError(
            f"{folder}: embeddings.npy holds {embeddings.dtype} of shape {embeddings.shape} for {len(tracks)} tracks; "
            f"build the index again"
        )
    for file in _FILES[1:]:
        if record.get(f"{file}_sha256") != sha256(folder / file):
            raise ReconstructionError(
                f"{file} of {folder} is not the one that the index was written with; remove the folder and build again"
            )
    return MusicIndex(folder, tracks, embeddings, record)


def describe_tracks(index: MusicIndex, ids: Sequence[str]) -> list[str]:
    """Name tracks for people: artist and title where the index knows them, else the id.

    Parameters
    ----------
    index : MusicIndex
        Where they were found.
    ids : sequence of str
        Which tracks.

    Returns
    -------
    list of str
        Such as ``"Artist: Title"``.
    """
    known = [c for c in ("artist", "title") if c in index.tracks]
    names = []
    for i in ids:
        parts = [str(index.tracks[c][i]) for c in known if not pd.isna(index.tracks[c][i])]
        names.append(": ".join(parts) or str(i))
    return names


def _difference(what: str, ours: Any, theirs: Any) -> str:
    """Say how two entries differ, of mappings by the first key that does."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        key = next((k for k in [*ours, *theirs] if ours.get(k) != theirs.get(k)), "")
        return f"{what}: {_difference(str(key), ours.get(key), theirs.get(key))}"
    return f"{what} is {_short(ours)} in the one and {_short(theirs)} in the other"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
