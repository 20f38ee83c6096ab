"""Clips with labels: what a network is trained on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from brainalign._reading import reading
from brainalign.errors import StimulusError, name_some

SPLITS = ("train", "val", "test")
#: Share of the training clips that is kept for validation where the corpus names none.
VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class Corpus:
    """Clips and their labels.

    Attributes
    ----------
    name : str
        As in tables and cards.
    clips : DataFrame
        One row per clip, indexed by its id; ``file`` (Path), ``labels`` (tuple of display names) and ``split``
        (``"train"``, ``"val"`` or ``"test"``).
    classes : tuple of str
        The labels that a network learns to tell apart, in the order of its outputs.
    left_out : mapping of str to int
        Why clips of the source are not among `clips`, and how many.
    unmapped : mapping of str to int
        Labels of the source that have no name in AudioSet, and how many clips carry each.
    """

    name: str
    clips: pd.DataFrame
    classes: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    unmapped: Mapping[str, int] = field(default_factory=dict)

    def targets(self) -> np.ndarray:
        """Return which clip carries which label: bool, shape (n_clips, n_classes)."""
        column = {label: i for i, label in enumerate(self.classes)}
        targets = np.zeros((len(self.clips), len(self.classes)), dtype=bool)
        for row, labels in enumerate(self.clips["labels"]):
            targets[row, [column[label] for label in labels]] = True
        return targets

    def digest(self) -> str:
        """Return the SHA-256 over classes, ids, labels and splits."""
        rows = zip(self.clips.index, self.clips["labels"], self.clips["split"], strict=True)
        content = json.dumps([self.classes, [[clip, labels, split] for clip, labels, split in rows]])
        return hashlib.sha256(content.encode()).hexdigest()

    def of(self, split: str) -> np.ndarray:
        """Return the positions of the clips of a split."""
        return np.flatnonzero(self.clips["split"].to_numpy() == split)


def read_folder(
    folder: Path, label_map: Path | None = None, missing_clips: Literal["error", "leave-out"] = "error"
) -> Corpus:
    """Read a folder of sounds with a table of labels.

    Parameters
    ----------
    folder : Path
        Holds ``metadata.csv`` with columns ``file`` (beneath the folder or its ``audio``; either may be or hold
        symbolic links) and ``labels`` (separated by a bar), and optionally ``id`` and ``split`` (train, val, test).
    label_map : Path, optional
        A CSV with columns ``label`` and ``audioset`` (names separated by a bar): what the labels of the table are
        called in AudioSet. Labels that are not in it are counted; clips without any that is are left out and counted.
        Without a map the labels are taken as they are.
    missing_clips : {'error', 'leave-out'}
        Whether clips of the table that are not there are left out and counted; otherwise they stay, and are reported
        with all others that cannot be used when the clips are read.

    Returns
    -------
    Corpus
        Its classes are all labels of the table, sorted. Without a ``split`` column the clips are all ``train``; see
        :func:`split_off_validation`.

    Raises
    ------
    StimulusError
        If the table is missing, lacks a column, or has empty, repeated or unknown entries.
    """
    table = read_table(folder / "metadata.csv", ("file", "labels"))
    if table.empty:
        raise StimulusError(f"{folder / 'metadata.csv'} lists no clip")
    ids = (table["id"] if "id" in table else table["file"]).astype(str)
    repeated = ids[ids.duplicated()]
    if len(repeated):
        raise StimulusError(f"{folder / 'metadata.csv'}: ids occur more than once: {name_some(repeated.unique())}")
    split = table["split"].astype(str) if "split" in table else pd.Series("train", index=table.index)
    odd = sorted(set(split) - set(SPLITS))
    if odd:
        raise StimulusError(f"{folder / 'metadata.csv'}: unknown splits {name_some(odd)}; expected train, val or test")
    given = [tuple(dict.fromkeys(entry.split("|"))) for entry in table["labels"]]
    names = read_label_map(label_map) if label_map else {label: (label,) for labels in given for label in labels}
    mapped = [tuple(dict.fromkeys(name for label in labels for name in names.get(label, ()))) for labels in given]
    unmapped = Counter(label for labels in given for label in labels if label not in names)
    clips = pd.DataFrame(
        {
            "file": [_sound(folder, name) for name in table["file"]],
            "labels": mapped,
            "split": split.to_numpy(),
        },
        index=pd.Index(ids, name="id"),
    )
    named = np.array([bool(labels) for labels in mapped])
    absent = np.array([missing_clips == "leave-out" and not path.is_file() for path in clips["file"]])
    left_out = {
        "no label with a name in AudioSet": int((~named).sum()),
        "clip is not there": int((named & absent).sum()),
    }
    return Corpus(
        name=folder.resolve().name,
        clips=clips[named & ~absent],
        classes=tuple(sorted({name for labels in mapped for name in labels})),
        left_out={why: n for why, n in left_out.items() if n},
        unmapped=dict(unmapped.most_common()),
    )


def read_label_map(path: Path) -> dict[str, tuple[str, ...]]:
    """Read what the labels of a corpus are called in AudioSet.

    Parameters
    ----------
    path : Path
        A CSV with columns ``label`` and ``audioset`` (display names separated by a bar).

    Returns
    -------
    dict of str to tuple of str
        Display names for each label.

    Raises
    ------
    StimulusError
        If the file is missing, lacks a column, or maps a label twice.
    """
    table = read_table(path, ("label", "audioset"))
    repeated = table["label"][table["label"].duplicated()]
    if len(repeated):
        raise StimulusError(f"{path}: labels are mapped more than once: {name_some(repeated)}")
    return {label: tuple(names.split("|")) for label, names in zip(table["label"], table["audioset"], strict=True)}


def split_off_validation(corpus: Corpus, seed: int = 0) -> Corpus:
    """Set a tenth of the training clips aside for validation, unless the corpus names validation clips itself.

    Parameters
    ----------
    corpus : Corpus
        The clips.
    seed : int
        Seed of the draw; it depends on the number of training clips alone, not on the condition.

    Returns
    -------
    Corpus
        With ``floor(0.1 n)`` of the n training clips marked ``val``.
    """
    if (corpus.clips["split"] == "val").any():
        return corpus
    train = corpus.of("train")
    drawn = np.random.default_rng(seed).permutation(train)[: int(len(train) * VALIDATION_SHARE)]
    split = corpus.clips["split"].to_numpy(copy=True)
    split[drawn] = "val"
    return replace(corpus, clips=corpus.clips.assign(split=split))


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a CSV as text.

    Parameters
    ----------
    path : Path
        The file.
    columns : tuple of str
        Columns that it must have, without empty entries.

    Returns
    -------
    DataFrame
        All columns, as text.

    Raises
    ------
    StimulusError
        If the file cannot be read, lacks a column, or has empty entries in it.
    """
    with reading(path, "a table", StimulusError):
        table = pd.read_csv(path, dtype=str, keep_default_na=False, compression=None)
    if not isinstance(table.index, pd.RangeIndex):
        raise StimulusError(f"{path}: the rows have more fields than the header has columns")
    missing = [c for c in columns if c not in table]
    if missing:
        raise StimulusError(f"{path} has no column {missing[0]!r}; it has {name_some(table.columns)}")
    for column in columns:
        empty = np.flatnonzero(table[column].str.strip() == "")
        if len(empty):
            rows = name_some(empty + 2)  # as an editor counts: from one, after the header
            raise StimulusError(f"{path}: column {column!r} is empty in line {rows}")
    return table


def _sound(folder: Path, name: str) -> Path:
    """Return where a sound lies; a table must not name files outside its folder, but a link in it may lead there."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise StimulusError(
            f"{folder / 'metadata.csv'} names a file outside its folder: {name!r}; names are relative to the folder or "
            f"its 'audio', without '..' (a symbolic link in the folder may lead elsewhere)"
        )
    root = folder.resolve()
    return root / name if (root / name).is_file() else root / "audio" / name
