"""The cache: pooled activations on disk, one array per layer, written sound by sound and checked by digest.

A cache folder holds, for each model, list of sounds and pooling,

* ``KEY/entry.json``: what determines the numbers (KEY is its digest) and which set it was; its
  time is that of the last use;
* ``KEY/LAYER.npy``: float32, (sound, part, channel), parts as the pooling gives them;
* ``KEY/LAYER.sums``: a digest of 16 bytes for each sound, zeros as long as the sound was not heard;
* ``KEY/LAYER.json``: the name of the layer, its layout, and the shape of the array;
* ``KEY/costs``: what hearing took so far, as JSON;
* ``KEY.lock``: held by the process that writes; several may listen for it.

Values are written before their digest, so that whatever kills the process, a sound is there and whole or not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainalign._files import days_ago, remove_leftovers, write_then_rename
from brainalign.engine.costs import Cost
from brainalign.errors import ModelError, did_you_mean, name_some
from brainalign.models._arrays import SUM_BYTES, LayerArray

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from brainalign.models.base import AudioModel
    from brainalign.stimuli import StimulusSet

#: Version of the code that stands between a model and its activations.
VERSION = version("brainalign")
#: More than any set has: an entry that says so is damaged.
MAXIMUM_SOUNDS = 10**8


def cache_folder() -> Path:
    """Return the folder of the cache: ``BRAINALIGN_CACHE``, or ``extraction`` in the user's cache folder."""
    named = os.environ.get("BRAINALIGN_CACHE")
    if named:
        return Path(named).expanduser()
    import pooch

    return Path(pooch.os_cache("brainalign")) / "extraction"


def checked_folder(cache: Path | str | None) -> Path | None:
    """Return the folder that an argument ``cache`` names.

    Parameters
    ----------
    cache : path-like or None
        As the user gave it.

    Returns
    -------
    Path or None
        None if nothing is to be kept.

    Raises
    ------
    ModelError
        If it is neither.
    """
    if cache is None:
        return None
    try:
        return Path(cache)
    except TypeError as why:
        raise ModelError(
            f"cache must be a folder or None, found {cache!r}; brainalign.models.cache_folder() names the usual one"
        ) from why


def entry_identity(model: AudioModel, stimuli: StimulusSet, pooling: str) -> dict[str, Any]:
    """Collect what determines the numbers of an extraction, whatever the layers.

    Parameters
    ----------
    model : AudioModel
        What listens. The weights of one that has a torch module are digested as they are now.
    stimuli : StimulusSet
        What is played: each sound by :meth:`StimulusSet.digest`, that is by its samples and not by its name or file.
    pooling : str
        Name of the pooling.

    Returns
    -------
    dict
        Ready for JSON. Neither batch size nor device: they change numbers by rounding only.
    """
    module: Any = getattr(model, "module", None)
    weights = None
    if hasattr(module, "state_dict"):
        from brainalign.models.hooked import weights_digest

        weights = weights_digest(module)
    sounds = hashlib.sha256("".join(stimuli.digest(i) for i in stimuli.ids).encode()).hexdigest()
    identity = {
        "brainalign": VERSION,
        "model": model.name,
        "record": dict(model.record),
        "weights_sha256": weights,
        "sample_rate": model.sample_rate,
        "sounds_sha256": sounds,
        "n_sounds": len(stimuli),
        "pooling": pooling,
    }
    # As it will be read back, so that its digest is the same then.
    return dict(json.loads(json.dumps(identity)))


@contextmanager
def open_entry(
    folder: Path, identity: Mapping[str, Any], stimulus_set: str, layouts: Mapping[str, str]
) -> Iterator[dict[str, LayerArray] | None]:
    """Open the arrays of layers for one process to write, and wait where another one does.

    Parameters
    ----------
    folder : Path
        The cache.
    identity : mapping
        As :func:`entry_identity` gives it.
    stimulus_set : str
        Name of the set, for the list of entries.
    layouts : mapping of str to str
        The layers that are wanted, and their axes.

    Yields
    ------
    dict of str to LayerArray, or None
        None, with a warning, if the folder cannot be written and does not hold all that is wanted already.
    """
    from filelock import FileLock

    entry = folder / key_of(identity)
    lock = FileLock(entry.with_suffix(".lock"))
    failure: BaseException | None = None
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _acquire(lock, f"{identity['model']} into {entry}")
            remove_leftovers(entry)
            with write_then_rename(entry / "entry.json") as temporary:
                temporary.write_text(json.dumps({**identity, "stimulus_set": stimulus_set}), encoding="utf-8")
        except OSError as why:
            failure = why.__cause__ or why
        arrays: dict[str, LayerArray] | None = _layer_arrays(entry, layouts, int(identity["n_sounds"]))
        if failure is not None and not all(array.done.all() for array in (arrays or {}).values()):
            warnings.warn(f"the cache {folder} cannot be written ({failure}); going on without it", stacklevel=3)
            arrays = None
        yield arrays
    finally:
        lock.release()


def key_of(identity: Mapping[str, Any]) -> str:
    """Return the name of the folder of an entry: the digest of what :func:`entry_identity` gives."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def add_cost(entry: Path, cost: Cost) -> None:
    """Add what hearing some of the sounds took to what is noted in an entry; for the process that holds its lock."""
    total = read_cost(entry) or Cost()
    total.add(cost)
    with suppress(OSError), write_then_rename(entry / "costs") as temporary:
        temporary.write_text(json.dumps(asdict(total)), encoding="utf-8")


def read_cost(entry: Path) -> Cost | None:
    """Return what hearing the sounds of an entry took, in all runs together; None if nothing is noted."""
    try:
        return Cost(**{k: float(v) for k, v in json.loads((entry / "costs").read_text(encoding="utf-8")).items()})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _acquire(lock: BaseFileLock, what: str) -> None:
    from filelock import Timeout

    try:
        lock.acquire(timeout=0)
    except Timeout:
        warnings.warn(f"another process extracts {what}; waiting for it to end", stacklevel=3)
        lock.acquire()


def _layer_arrays(entry: Path, layouts: Mapping[str, str], n_sounds: int) -> dict[str, LayerArray]:
    arrays = {layer: LayerArray(entry, layer, layout, n_sounds) for layer, layout in layouts.items()}
    damage = [text for array in arrays.values() for text in array.damage]
    if damage:
        warnings.warn(f"the cache {entry} is damaged ({name_some(damage, 2)}); computing this anew", stacklevel=2)
    return arrays


@dataclass(frozen=True)
class CacheEntry:
    """One entry of the cache.

    Attributes
    ----------
    key : str
        Name of its folder.
    folder : Path
        Where it is.
    model, stimulus_set, pooling : str
        What it is of.
    layers : tuple of str
        Layers that are there, at least in part.
    n_sounds : int
        Sounds of the set.
    sounds_done : int
        Sounds that all of these layers hold.
    n_bytes : int
        Size of its files.
    last_used : datetime
        When it was last written or read.
    readable : bool
        False if ``entry.json`` cannot be read; the names are then ``"?"``.
    """

    key: str
    folder: Path
    model: str
    stimulus_set: str
    pooling: str
    layers: tuple[str, ...]
    n_sounds: int
    sounds_done: int
    n_bytes: int
    last_used: datetime
    readable: bool = True

    @property
    def complete(self) -> bool:
        """Whether every sound is there."""
        return self.readable and bool(self.layers) and self.sounds_done == self.n_sounds


def list_entries(folder: Path | None = None) -> list[CacheEntry]:
    """List the entries of the cache, the one used last first.

    Parameters
    ----------
    folder : Path, optional
        The cache; :func:`cache_folder` if not given.

    Returns
    -------
    list of CacheEntry
        Empty if there is no such folder.
    """
    folder = cache_folder() if folder is None else folder
    entries = [_read_entry(path.parent) for path in folder.glob("[!.]*/entry.json")]
    return sorted(entries, key=lambda entry: entry.last_used, reverse=True)


def _read_entry(entry: Path) -> CacheEntry:
    found: dict[str, Any] = {
        "key": entry.name,
        "folder": entry,
        "n_bytes": sum(path.stat().st_size for path in entry.glob("[!.]*")),
        "last_used": datetime.fromtimestamp((entry / "entry.json").stat().st_mtime, UTC),
    }
    try:
        record = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
        found |= {name: str(record[name]) for name in ("model", "stimulus_set", "pooling")}
        n_sounds = int(record["n_sounds"])
        if not 0 <= n_sounds <= MAXIMUM_SOUNDS:
            raise ValueError(n_sounds)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        found |= dict.fromkeys(("model", "stimulus_set", "pooling"), "?")
        return CacheEntry(**found, layers=(), n_sounds=0, sounds_done=0, readable=False)
    layers, done = [], np.ones(n_sounds, dtype=bool)
    for path in _layer_records(entry):
        try:
            layers.append(str(json.loads(path.read_text(encoding="utf-8"))["layer"]))
            sums = np.fromfile(path.with_suffix(".sums"), np.uint8).reshape(n_sounds, SUM_BYTES)
            done &= sums.any(axis=1)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            done[:] = False
    sounds_done = int(done.sum()) if layers else 0
    return CacheEntry(**found, layers=tuple(layers), n_sounds=n_sounds, sounds_done=sounds_done)


def _layer_records(entry: Path) -> list[Path]:
    # Names that begin with a dot are those of a write that was cut off.
    return sorted(p for p in entry.glob("*.json") if p.name != "entry.json" and not p.name.startswith("."))


def verify(folder: Path | None = None) -> dict[str, list[str]]:
    """Check every value of the cache against its digest.

    Parameters
    ----------
    folder : Path, optional
        The cache; :func:`cache_folder` if not given.

    Returns
    -------
    dict of str to list of str
        For each key what is wrong with the entry; an empty list if nothing is. Sounds that were not heard yet are no
        damage; an extraction computes them, and what is damaged, when it is asked for.
    """
    return {entry.key: _damage(entry) for entry in list_entries(folder)}


def _damage(entry: CacheEntry) -> list[str]:
    if not entry.readable:
        return ["entry.json cannot be read"]
    record = json.loads((entry.folder / "entry.json").read_text(encoding="utf-8"))
    record.pop("stimulus_set")
    found = []
    if key_of(record) != entry.key:
        found.append("entry.json does not fit its digest")
    for path in _layer_records(entry.folder):
        try:
            own = json.loads(path.read_text(encoding="utf-8"))
            array = LayerArray(entry.folder, str(own["layer"]), str(own["layout"]), entry.n_sounds)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as why:
            found.append(f"{path.name} cannot be read: {why}")
            continue
        found += array.damage
        if array.path.stem != path.stem:
            found.append(f"{path.name} does not name the layer of its file")
    return found


def prune(
    folder: Path | None = None,
    *,
    older_than_days: float | None = None,
    model: str | None = None,
    key: str | None = None,
    unfinished: bool = False,
    damaged: bool = False,
    everything: bool = False,
    dry_run: bool = False,
) -> list[CacheEntry]:
    """Remove entries of the cache; those that a process writes stay.

    Parameters
    ----------
    folder : Path, optional
        The cache; :func:`cache_folder` if not given.
    older_than_days : float, optional
        Those that were last used before so many days.
    model : str, optional
        Those of this model; a glob.
    key : str, optional
        The one with this key, or a beginning of it that no other has.
    unfinished, damaged : bool
        Those that lack sounds, those in which :func:`verify` finds damage. Of several criteria all must hold.
    everything : bool
        All entries.
    dry_run : bool
        Say what would be removed, and remove nothing.

    Returns
    -------
    list of CacheEntry
        What was removed.

    Raises
    ------
    ModelError
        If no criterion is given, an age is negative, a key fits not exactly one entry, or a folder cannot be removed.
    """
    if older_than_days is None and model is None and key is None and not (unfinished or damaged or everything):
        raise ModelError("say what to remove from the cache: an age, a model, a key, unfinished, damaged or everything")
    entries = list_entries(folder)
    if key is not None:
        fits = [entry for entry in entries if entry.key.startswith(key)]
        if len(fits) != 1:
            known = name_some(e.key for e in fits) if fits else did_you_mean(key, (e.key for e in entries))
            raise ModelError(f"{len(fits)} entries of the cache have a key that begins with {key!r}; {known}")
        entries = fits
    if older_than_days is not None:
        limit = days_ago(older_than_days, ModelError)
        entries = [entry for entry in entries if entry.last_used < limit]
    if model is not None:
        entries = [entry for entry in entries if fnmatch(entry.model, model)]
    if unfinished:
        entries = [entry for entry in entries if not entry.complete]
    if damaged:
        entries = [entry for entry in entries if _damage(entry)]
    return entries if dry_run else [entry for entry in entries if _remove(entry)]


def _remove(entry: CacheEntry) -> bool:
    """Remove an entry unless a process writes it; first out of sight in one step, then file by file."""
    from filelock import FileLock, Timeout

    lock = FileLock(entry.folder.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except OSError as why:
        raise ModelError(f"the cache {entry.folder.parent} cannot be written: {why}") from why
    try:
        for left in entry.folder.parent.glob(".removed-*"):
            shutil.rmtree(left)
        away = entry.folder.with_name(f".removed-{entry.key}")
        entry.folder.rename(away)
        shutil.rmtree(away)
    except OSError as why:
        raise ModelError(f"{entry.folder} cannot be removed: {why}") from why
    finally:
        lock.release()
    return True
