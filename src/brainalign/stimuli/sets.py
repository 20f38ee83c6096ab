"""Stimulus sets: a table of sounds, one row each, and their audio.

On disk a set is a folder with

* ``stimuli.csv``: columns ``stimulus_id``, ``file``, ``category``, and any others that the lab adds;
* ``stimulus_set.toml``: ``name``, ``version``, ``citation``, ``licence``, and optionally ``sample_rate`` (Hz; what the
  files have, checked on reading) and ``target_rms`` (of full scale; every sound is brought to it when it is read);
* the audio files, named relative to the folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from brainalign._html import html_card, html_fold, html_table
from brainalign._reading import check_names, parse_toml, read_toml_text, reading
from brainalign.errors import StimulusError, did_you_mean, name_some
from brainalign.stimuli.audio import Waveform, read_audio, resample, rms

REQUIRED_COLUMNS = ("stimulus_id", "file", "category")


class Manifest(BaseModel):
    """What ``stimulus_set.toml`` says of a set."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    version: str
    citation: str
    licence: str
    sample_rate: PositiveInt | None = None
    target_rms: float | None = Field(default=None, gt=0, le=1)


@dataclass(frozen=True)
class StimulusSet:
    """Sounds with their descriptions.

    Attributes
    ----------
    manifest : Manifest
        Name, version, citation, licence, sample rate, target RMS.
    table : DataFrame
        Indexed by ``stimulus_id``, in the order of the set; columns ``file``, ``category`` and others.
    source : callable
        Gives the waveform (float32, mono, units of full scale) and its sample rate for a stimulus id.
    folder : Path or None
        Where the files are; None for sounds that are made, not read.
    """

    manifest: Manifest
    table: pd.DataFrame
    source: Callable[[str], tuple[Waveform, int]]
    folder: Path | None = None

    @property
    def name(self) -> str:
        """Name of the set."""
        return self.manifest.name

    @property
    def ids(self) -> list[str]:
        """Stimulus ids, in order."""
        return [str(i) for i in self.table.index]

    @property
    def categories(self) -> list[str]:
        """Categories, in the order in which they first appear."""
        return [str(c) for c in self.table["category"].unique()]

    def __len__(self) -> int:
        return len(self.table)

    def waveform(self, stimulus_id: str, sample_rate: int | None = None) -> tuple[Waveform, int]:
        """Return one sound, at the target RMS of the set if there is one.

        Parameters
        ----------
        stimulus_id : str
            Which sound.
        sample_rate : int, optional
            Rate in Hz to resample to; the rate of the source if not given.

        Returns
        -------
        waveform : ndarray, shape (n_samples,)
            Mono, float32, units of full scale.
        sample_rate : int
            Its rate in Hz.

        Raises
        ------
        StimulusError
            If there is no such stimulus, or its sound cannot be used; the message names it.
        """
        if stimulus_id not in self.table.index:
            raise StimulusError(f"{self.name} has no stimulus {stimulus_id!r}; {did_you_mean(stimulus_id, self.ids)}")
        try:
            waveform, rate = self.source(stimulus_id)
        except StimulusError as why:
            raise StimulusError(f"stimulus {stimulus_id!r} of {self.name}: {why}") from why
        expected = self.manifest.sample_rate
        if expected is not None and rate != expected:
            raise StimulusError(
                f"stimulus {stimulus_id!r} of {self.name} has {rate} Hz, stimulus_set.toml says {expected} Hz"
            )
        if self.manifest.target_rms is not None:
            level = rms(waveform)
            if level == 0:
                raise StimulusError(
                    f"stimulus {stimulus_id!r} of {self.name} is silent: "
                    f"it cannot be brought to an RMS of {self.manifest.target_rms}"
                )
            waveform = (waveform * (self.manifest.target_rms / level)).astype(np.float32)
        wanted = rate if sample_rate is None else sample_rate
        return resample(waveform, rate, wanted), wanted

    def digest(self, stimulus_id: str) -> str:
        """Return the SHA-256 of a sound as it is played: its samples (float32) and their rate.

        Parameters
        ----------
        stimulus_id : str
            Which sound.

        Returns
        -------
        str
            The digest, in hexadecimal.

        Raises
        ------
        StimulusError
            As :meth:`waveform` does.
        """
        waveform, rate = self.waveform(stimulus_id)
        return hashlib.sha256(waveform.astype("<f4").tobytes() + f"@{rate}".encode()).hexdigest()

    def select(
        self, stimulus_ids: Sequence[str] | str | None = None, categories: Sequence[str] | str | None = None
    ) -> StimulusSet:
        """Return the subset with these ids (in this order) and of these categories.

        Parameters
        ----------
        stimulus_ids : sequence of str, or str, optional
            Which sounds; all if not given.
        categories : sequence of str, or str, optional
            Which categories; all if not given.

        Returns
        -------
        StimulusSet
            The subset.

        Raises
        ------
        StimulusError
            If an id or a category is unknown, an id is asked for twice, or nothing is left.
        """
        table = self.table
        if stimulus_ids is not None:
            stimulus_ids = [stimulus_ids] if isinstance(stimulus_ids, str) else list(stimulus_ids)
            missing = [i for i in stimulus_ids if i not in table.index]
            if missing:
                raise StimulusError(
                    f"{self.name} has no stimulus {name_some(missing)}; {did_you_mean(missing[0], self.ids)}"
                )
            table = table.loc[stimulus_ids]
            if not table.index.is_unique:
                raise StimulusError(f"asked twice for {name_some(table.index[table.index.duplicated()].unique())}")
        if categories is not None:
            categories = [categories] if isinstance(categories, str) else list(categories)
            missing = [c for c in categories if c not in self.categories]
            if missing:
                raise StimulusError(
                    f"{self.name} has no category {name_some(missing)}; {did_you_mean(missing[0], self.categories)}"
                )
            table = table[table["category"].isin(categories)]
        if table.empty:
            raise StimulusError(f"no stimulus of {self.name} is left by this selection")
        return replace(self, table=table)

    def __repr__(self) -> str:
        counts = ", ".join(f"{c} {n}" for c, n in self.table["category"].value_counts(sort=False).items())
        return f"<StimulusSet {self.name} {self.manifest.version}: {len(self)} sounds ({counts})>"

    def _repr_html_(self) -> str:
        about = self.manifest
        facts = {
            "sounds": len(self),
            "categories": self.table["category"].value_counts(sort=False).to_dict(),
            "sample rate": f"{about.sample_rate} Hz" if about.sample_rate else None,
            "citation": about.citation,
            "licence": about.licence,
        }
        table = html_table(["stimulus_id", *self.table.columns], self.table.itertuples(name=None), "sounds")
        return html_card(f"{self.name} {about.version}", facts, html_fold("sounds", table))


def read_stimulus_set(folder: Path | str, *, audio_folder: Path | None = None) -> StimulusSet:
    """Read a set from its folder.

    Parameters
    ----------
    folder : path-like
        Holds ``stimuli.csv`` and ``stimulus_set.toml``.
    audio_folder : Path, optional
        What the files of the table are relative to; `folder` if not given.

    Returns
    -------
    StimulusSet
        The set. That every file is there is checked now; audio is read when asked for.

    Raises
    ------
    StimulusError
        If a file of the set is missing, a column is lacking, an id is duplicate, or a path leads out of the folder.
    """
    folder = Path(folder)
    audio_folder = folder if audio_folder is None else audio_folder
    manifest = read_manifest(folder / "stimulus_set.toml")
    table = _read_table(folder / "stimuli.csv")
    found = {str(i): _find(audio_folder, str(f), str(i)) for i, f in table["file"].items()}
    paths = {i: p for i, p in found.items() if p is not None}
    missing = [i for i in found if i not in paths]
    if missing:
        raise StimulusError(
            f"{manifest.name}: the files of {len(missing)} of {len(found)} stimuli are not in {audio_folder}: "
            f"{name_some(missing)}"
        )
    return StimulusSet(manifest, table, lambda i: read_audio(paths[i]), audio_folder)


def read_manifest(path: Path) -> Manifest:
    """Read and check ``stimulus_set.toml``.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Manifest
        What it says.

    Raises
    ------
    StimulusError
        If it is missing, no TOML, or a key is unknown, lacking or of another type.
    """
    if not path.is_file():
        raise StimulusError(f"{path.parent} is no stimulus set: it has no {path.name}")
    content = parse_toml(read_toml_text(path, "valid TOML", StimulusError), path, StimulusError)
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as why:
        first = why.errors()[0]
        key = ".".join(map(str, first["loc"]))
        hint = f"; {did_you_mean(key, Manifest.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise StimulusError(f"{path}, key {key!r}: {first['msg']}{hint}") from why
    check_names([manifest.name], f"{path}: the name", StimulusError)
    return manifest


def read_text_table(path: Path) -> pd.DataFrame:
    """Read a CSV table as text, so that an id like "NA" or "007" stays what it is.

    Parameters
    ----------
    path : Path
        In UTF-8, with or without a byte-order mark.

    Returns
    -------
    DataFrame
        All columns hold strings; empty cells are ``""``.

    Raises
    ------
    StimulusError
        If the file cannot be read as a table.
    """
    with reading(path, "a table", StimulusError):
        table = pd.read_csv(path, dtype=str, encoding="utf-8-sig", keep_default_na=False, compression=None)
    if not isinstance(table.index, pd.RangeIndex):
        raise StimulusError(f"{path}: the rows have more fields than the header has columns")
    return table


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise StimulusError(f"{path.parent} is no stimulus set: it has no {path.name}")
    table = read_text_table(path)
    lacking = [c for c in REQUIRED_COLUMNS if c not in table]
    if lacking:
        raise StimulusError(f"{path} lacks the column {name_some(lacking)}; it has {name_some(table.columns, 20)}")
    if table.empty:
        raise StimulusError(f"{path} lists no stimulus")
    for column in REQUIRED_COLUMNS:
        blank = np.flatnonzero(table[column].str.strip() == "")
        if len(blank):
            raise StimulusError(f"{path}, stimulus {blank[0] + 1}: {column} is empty")
    duplicate = table["stimulus_id"][table["stimulus_id"].duplicated()].unique()
    if len(duplicate):
        raise StimulusError(f"{path}: duplicate stimulus_id {name_some(duplicate)}")
    _check_names(path, table)
    return table.apply(_numeric_if_all).set_index("stimulus_id")


def _check_names(path: Path, table: pd.DataFrame) -> None:
    """Raise for what would silently make two of one, or one of two: spaces, case, a file that is there twice."""
    for column in REQUIRED_COLUMNS:
        spaced = table[column][table[column] != table[column].str.strip()]
        if len(spaced):
            raise StimulusError(f"{path}: {column} {spaced.iloc[0]!r} begins or ends with a space; take it away")
    for column in table.columns:
        check_names([column, *table[column]], f"{path}: column {str(column)[:40]!r}:", StimulusError)
    categories = table["category"].drop_duplicates()
    alike = categories[categories.str.casefold().duplicated(keep=False)]
    if len(alike):
        raise StimulusError(
            f"{path}: the categories {name_some(map(repr, alike))} differ in case only; use one of them"
        )
    twice = table[table["file"].duplicated(keep=False)]
    if len(twice):
        ids = name_some(twice["stimulus_id"][twice["file"] == twice["file"].iloc[0]])
        raise StimulusError(f"{path}: {ids} have the same file {twice['file'].iloc[0]!r}")


def _numeric_if_all(column: pd.Series) -> pd.Series:
    """Turn a column that the lab added into numbers if all its entries are; empty ones become NaN."""
    if column.name in REQUIRED_COLUMNS:
        return column
    numbers = pd.to_numeric(column.where(column != ""), errors="coerce")
    return numbers if (numbers.notna() | (column == "")).all() and numbers.notna().any() else column


def _find(folder: Path, file: str, stimulus_id: str) -> Path | None:
    """Return the path of a file of the set, which must not lead out of the folder; None if it is not there."""
    try:
        path = (folder / file).resolve()
        there = path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return None
    if not path.is_relative_to(folder.resolve()):
        raise StimulusError(f"stimulus {stimulus_id!r}: file {file!r} leads out of {folder}")
    return path if there else None
