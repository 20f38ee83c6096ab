"""The store of finished tasks: a run that was cut off goes on, and one with a model more computes only what is new.

``KEY.npz`` holds arrays and, as ``tree``, the rest as JSON; ``KEY.json`` says what it is of, what it took, and the
digest of the other file. It is written last: a result is there, whole, or not there.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from brainalign._files import days_ago, write_then_rename
from brainalign.engine.codec import Arrays, decode, encode, same
from brainalign.engine.costs import Cost
from brainalign.errors import EngineError

#: Raised when files that are there already can no longer be read.
FORMAT = 1


@dataclass(frozen=True)
class StoredResult:
    """What the store has of a task, for lists.

    Attributes
    ----------
    key : str
        Digest of what determines the numbers.
    about : dict
        What it is of: measure, model, brain.
    n_bytes : int
        Size of its files.
    last_used : datetime
        When it was last written or read.
    """

    key: str
    about: dict[str, str]
    n_bytes: int
    last_used: datetime


class ResultStore:
    """Results of tasks, by what determines them.

    Parameters
    ----------
    folder : Path
        Where they lie; made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._can_write = True

    def get(self, identity: Mapping[str, Any]) -> tuple[Any, Cost] | None:
        """Return what is kept of a task.

        Parameters
        ----------
        identity : mapping
            All that determines the numbers; text and numbers.

        Returns
        -------
        tuple of object and Cost, or None
            The value and what it took; None if it is not there or, with a warning, damaged.
        """
        key = key_of(identity)
        record_file = self.folder / f"{key}.json"
        if not record_file.is_file():
            return None
        try:
            value, cost = self._read(key)
        except Exception as why:
            warnings.warn(f"the stored result {record_file} is damaged ({why}); computing it anew", stacklevel=2)
            return None
        with suppress(OSError):  # one that may only be read serves all the same
            os.utime(record_file)
        return value, cost

    def _read(self, key: str) -> tuple[Any, Cost]:
        record = json.loads((self.folder / f"{key}.json").read_text(encoding="utf-8"))
        if key_of(record["identity"]) != key:
            raise ValueError("its record does not fit its name")
        content = (self.folder / f"{key}.npz").read_bytes()
        if hashlib.sha256(content).hexdigest() != record["sha256"]:
            raise ValueError("its arrays do not fit their digest")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        tree = json.loads(arrays.pop("tree").tobytes())
        return decode(tree, arrays), Cost(**record["cost"])

    def put(self, identity: Mapping[str, Any], about: Mapping[str, str], value: Any, cost: Cost) -> bool:
        """Keep what a task gave.

        Parameters
        ----------
        identity : mapping
            As for :meth:`get`.
        about : mapping of str to str
            What it is of, for lists.
        value : object
            What it gave.
        cost : Cost
            What it took.

        Returns
        -------
        bool
            False if it is of a kind that does not come back the same, or, with one warning, cannot be written.
        """
        arrays: Arrays = {}
        try:
            tree = encode(value, arrays)
            if not same(decode(json.loads(json.dumps(tree)), arrays), value):
                return False
        except TypeError:
            return False
        stream = io.BytesIO()
        text = np.frombuffer(json.dumps(tree).encode(), np.uint8)
        np.savez(stream, allow_pickle=False, tree=text, **arrays)
        content = stream.getvalue()
        key = key_of(identity)
        record = {
            "format": FORMAT,
            "about": dict(about),
            "identity": identity,
            "cost": asdict(cost),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        try:
            with write_then_rename(self.folder / f"{key}.npz") as temporary:
                temporary.write_bytes(content)
            with write_then_rename(self.folder / f"{key}.json") as temporary:
                temporary.write_text(json.dumps(record), encoding="utf-8")
        except OSError as why:
            if self._can_write:
                warnings.warn(f"results cannot be kept in {self.folder} ({why}); going on without", stacklevel=2)
            self._can_write = False
        return self._can_write

    def entries(
        self,
        *,
        older_than_days: float | None = None,
        model: str | None = None,
        measure: str | None = None,
        damaged: bool = False,
    ) -> list[StoredResult]:
        """List what is kept, the one used last first; of several criteria all must hold.

        Parameters
        ----------
        older_than_days : float, optional
            Those that were last used before so many days.
        model, measure : str, optional
            Those of this model or measure; globs.
        damaged : bool
            Those that do not fit their digest.

        Returns
        -------
        list of StoredResult
            Empty if there is no such folder.

        Raises
        ------
        EngineError
            If an age is negative.
        """
        found = []
        for path in self.folder.glob("[!.]*.json"):
            try:
                about = {k: str(v) for k, v in json.loads(path.read_text(encoding="utf-8"))["about"].items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                about = {"measure": "?"}
            arrays = path.with_suffix(".npz")
            n_bytes = path.stat().st_size + (arrays.stat().st_size if arrays.is_file() else 0)
            found.append(StoredResult(path.stem, about, n_bytes, datetime.fromtimestamp(path.stat().st_mtime, UTC)))
        if older_than_days is not None:
            limit = days_ago(older_than_days, EngineError)
            found = [entry for entry in found if entry.last_used < limit]
        for name, wanted in (("model", model), ("measure", measure)):
            if wanted is not None:
                found = [entry for entry in found if fnmatch(entry.about.get(name, ""), wanted)]
        if damaged:
            found = [entry for entry in found if self._damage(entry.key)]
        return sorted(found, key=lambda entry: entry.last_used, reverse=True)

    def _damage(self, key: str) -> str:
        try:
            self._read(key)
        except Exception as why:
            return str(why) or type(why).__name__
        return ""

    def remove(self, key: str) -> None:
        """Remove a result; its record goes first, so that it is whole or not there.

        Parameters
        ----------
        key : str
            Which.

        Raises
        ------
        EngineError
            If it cannot be removed.
        """
        try:
            (self.folder / f"{key}.json").unlink(missing_ok=True)
            (self.folder / f"{key}.npz").unlink(missing_ok=True)
        except OSError as why:
            raise EngineError(f"the result {key} cannot be removed from {self.folder}: {why}") from why


def key_of(identity: Mapping[str, Any]) -> str:
    """Return the key of an identity.

    Parameters
    ----------
    identity : mapping
        For JSON.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    text = json.dumps({"format": FORMAT, **identity}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
