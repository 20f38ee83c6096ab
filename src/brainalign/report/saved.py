"""Results folders read back: the table with its types, the provenance, the settings, the arrays when asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from brainalign._files import file_name, sha256
from brainalign._reading import check_netcdf, reading
from brainalign.errors import ResultsError, did_you_mean, name_some
from brainalign.measures.result import COLUMNS, Result, result_table
from brainalign.recipes.repeat import FORMAT, record_format
from brainalign.report.headline import headline
from brainalign.report.words import records, telling_columns

#: Columns without which a table says nothing.
_NEEDED = ("measure", "statistic", "value")
_NUMBERS = ("value", "ci_low", "ci_high", "p", "effect_size", "n")
#: Keys of provenance without which a page or a comparison cannot say what a run was.
_DESCRIBED_BY = ("recipe", "seed", "versions", "stimuli", "models")
_SOUNDS = {"sha256": {"": str}}
_NAMED = [{"name": str}]
#: What provenance.json holds, where it holds it: tables by key ("": every key), lists by their entries. Text is needed.
_SHAPE = {
    "recipe": {
        "stimuli": {"set": str, "manipulate": _NAMED}, "selection": {"set": str, "manipulate": _NAMED},
        "models": _NAMED, "brain": _NAMED, "measures": [{}], "reconstruction": {},
    },
    "stimuli": _SOUNDS, "selection": _SOUNDS, "models": [{"record": {}}], "brains": [{}], "versions": {"": str},
    "results": [{"settings": {}, "warnings": []}], "files": [],
}  # fmt: skip
_KINDS = {dict: "a table", list: "a list", str: "text", bool: "a truth value", type(None): "nothing"}


@dataclass(frozen=True, repr=False)
class SavedRun:
    """A results folder, read back.

    Attributes
    ----------
    folder : Path
        Where it lies.
    table : DataFrame
        ``results.csv``: text as strings, ``n`` and other counts as whole numbers that may be missing, all else as it
        was; columns that this version does not know are kept.
    provenance : dict
        What determined the numbers; see :func:`brainalign.recipes.provenance.provenance`.
    warnings : tuple of str
        What is missing or could not be checked.
    digest : str
        SHA-256 of ``results.csv`` as it was read.
    """

    folder: Path
    table: pd.DataFrame
    provenance: dict[str, Any]
    warnings: tuple[str, ...] = ()
    digest: str = ""
    _cache: dict[str, dict[str, xr.DataArray]] = field(default_factory=dict, init=False, compare=False)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.resolve().name

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe as run; empty in a folder that does not record it."""
        return _mapping(self.provenance.get("recipe"))

    @property
    def title(self) -> str:
        """Title of the recipe."""
        return str(self.recipe.get("title", ""))

    @property
    def question(self) -> str:
        """The question that the recipe asks."""
        return str(self.recipe.get("question", ""))

    @property
    def page(self) -> Path:
        """Where the page of the run should be; it is not checked."""
        return self.folder / "report.html"

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Settings of each measure, by its name; those of its first result, and empty in folders of format 0."""
        found: dict[str, dict[str, Any]] = {}
        for record in self._records:
            found.setdefault(str(record["measure"]), _mapping(record.get("settings")))
        return found

    @property
    def answer(self) -> tuple[str, ...]:
        """The answer in sentences, as the page of the run gives it."""
        return headline(self.results).sentences

    @cached_property
    def results(self) -> list[Result]:
        """The results, one per measure and model (or brain), without their arrays; see :meth:`arrays`."""
        return [
            Result(
                str(record["measure"]),
                self._rows_of(record),
                settings=_mapping(record.get("settings")),
                warnings=[str(w) for w in record.get("warnings", ())],
                asked=str(record["kind"]) if record["kind"] != record["measure"] else "",
            )
            for record in self._records
        ]

    @property
    def with_arrays(self) -> list[str]:
        """Names for :meth:`arrays`: the files of ``arrays/``, without suffix."""
        recorded = {Path(str(r["arrays"])).stem for r in self._records if r.get("arrays")}
        return sorted(recorded | {path.stem for path in (self.folder / "arrays").glob("*.nc")})

    def arrays(self, name: str) -> dict[str, xr.DataArray]:
        """Read the arrays behind a result.

        Parameters
        ----------
        name : str
            One of :attr:`with_arrays`, for instance ``"rsa--logmel"``. The model may be called by its own name, as in
            ``"rsa--kim2024-cnn:no-music/0"``, though the file is ``rsa--kim2024-cnn_no-music_0.nc``.

        Returns
        -------
        dict of str to DataArray
            By the names that they have in :class:`~brainalign.measures.result.Result`; read once.

        Raises
        ------
        ResultsError
            If there are none by this name, or the file is missing or damaged.
        """
        name = name if name in self.with_arrays else file_name(name)
        if name not in self.with_arrays:
            raise ResultsError(f"{self.folder} has no arrays {name!r}; {did_you_mean(name, self.with_arrays)}")
        if name not in self._cache:
            path = self.folder / "arrays" / f"{name}.nc"
            if not path.is_file():
                raise ResultsError(f"{path} is missing: it was written by the run and is not there any more; run again")
            self._cache[name] = _read_arrays(path)
        return self._cache[name]

    def _rows_of(self, record: Mapping[str, Any]) -> pd.DataFrame:
        table = self.table
        rows = table["measure"] == record["measure"]
        for column, key in (("model", "models"), ("brain", "brains")):
            rows &= table[column].isin([*record[key], *([] if record[key] else [""])])
        found: pd.DataFrame = table.loc[rows, _columns(table[rows])].reset_index(drop=True)
        return found

    @cached_property
    def _records(self) -> list[dict[str, Any]]:
        """What the folder records of each result; made from the table where it records nothing (format 0)."""
        recorded = self.provenance.get("results")
        if isinstance(recorded, list):
            return recorded
        asked = {str(m.get("label") or m.get("name")): str(m.get("name")) for m in _tables(self.recipe.get("measures"))}
        triples = self.table[["measure", "model", "brain"]].drop_duplicates().to_numpy().tolist()
        return [
            {"measure": m, "kind": asked.get(m, m), "models": [s] if s else [], "brains": [b] if b else []}
            for m, s, b in triples
        ]

    def __repr__(self) -> str:
        return f"<SavedRun {self.name}: {self.title}, {len(self.table)} estimates>"

    def _repr_html_(self) -> str:
        parts = [f"<h4>{escape(self.title or self.name)}</h4>", f"<p>{escape(self.question)}</p>" * bool(self.question)]
        parts += [f"<p>{escape(sentence)}</p>" for sentence in self.answer]
        parts += [f"<p><strong>Beware:</strong> {escape(warning)}</p>" for warning in self.warnings]
        about = COLUMNS[: COLUMNS.index("value")]
        further = [c for _, own in self.table.groupby("measure", sort=False) for c in telling_columns(own, about)]
        shown = self.table[[*about, *dict.fromkeys(further), *(c for c in COLUMNS if c not in about)]]
        parts.append(shown.to_html(index=False, float_format=lambda x: f"{x:.3g}", na_rep="", max_rows=20))
        return "".join(parts)


def load_run(folder: str | Path, *, check: bool = True) -> SavedRun:
    """Read a results folder.

    Folders of an older format (0: before the format was recorded) are read, and what they lack is said in
    ``warnings``; folders of a newer format than this version writes are refused, since their numbers could be
    misread. Columns and keys that are new within a format are kept as they are.

    Parameters
    ----------
    folder : path-like
        What ``brainalign run --out`` wrote.
    check : bool
        Refuse a ``results.csv`` that is not the one that the run wrote (its SHA-256 stands in ``provenance.json``).
        False reads it and says so in ``warnings``.

    Returns
    -------
    SavedRun
        The table, the provenance and, when asked for, the arrays.

    Raises
    ------
    ResultsError
        If it is no results folder, is damaged, was changed after the run, or is of a newer format.
    """
    folder = Path(folder)
    provenance, warnings = _read_provenance(folder)
    path = folder / "results.csv"
    if not path.is_file():
        raise ResultsError(f"{folder} has no results.csv, which every results folder has; run the recipe again")
    expected = provenance.get("results_sha256")
    digest = sha256(path)
    if expected is None:
        warnings.append("no digest of results.csv is recorded, so whether it was changed cannot be checked")
    elif expected != digest:
        text = f"{path} is not the file that the run wrote: its SHA-256 differs from the one in provenance.json"
        if check:
            raise ResultsError(
                f"{text}; put the original back, run again, or read it as it is (--unchecked; in Python check=False)"
            )
        warnings.append(text)
    table, lacking = _read_table(path)
    if lacking:
        warnings.append(f"results.csv lacks the columns {name_some(lacking, 14)}; they are taken as empty")
    gone = [f for f in _strings(provenance.get("files")) if not (folder / f).is_file()]
    if gone:
        warnings.append(f"{len(gone)} files that the run wrote are missing: {name_some(gone)}")
    return SavedRun(folder, table, provenance, tuple(warnings), digest)


def _read_provenance(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Read provenance.json, give old keys their present names, and say what an old folder lacks."""
    path = folder / "provenance.json"
    if not path.is_file():
        there = "has no provenance.json" if folder.is_dir() else "is no folder"
        raise ResultsError(f"{folder} {there}, so it is no results folder; give one that brainalign run wrote")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as why:
        raise ResultsError(f"{path} is damaged, it is not valid JSON: {why}") from why
    if not isinstance(content, dict):
        raise ResultsError(f"{path} is damaged: expected a table of keys, found a {type(content).__name__}")
    warnings = []
    if record_format(content, path) < FORMAT:
        warnings.append("written by an older brainalign (format 0): the settings of its results are not recorded")
    if "brain" in content and "brains" not in content:
        brain = content.pop("brain")
        content["brains"] = brain if isinstance(brain, list) else [brain] if brain else []
    _check_shape(content, _SHAPE, path)
    lacking = [key for key in _DESCRIBED_BY if key not in content]
    if lacking:
        warnings.append(f"provenance.json does not say: {', '.join(lacking)}")
    if "results" in content:
        content["results"] = [_checked(record, path) for record in content["results"]]
    return content, warnings


def _check_shape(content: Any, shape: Any, path: Path, where: str = "") -> None:
    """Raise if there is something else where a table, a list or text belongs."""
    if where == "recipe.brain" and isinstance(content, dict):
        content = [content]  # format 0 had one brain
    expected = shape if shape is str else type(shape)
    if not isinstance(content, expected):
        found = _KINDS.get(type(content), "a number")
        raise ResultsError(f"{path}: {where}: expected {_KINDS[expected]}, found {found}; the file was changed")
    if isinstance(content, dict):
        for key in content if "" in shape else shape:
            inner = shape.get(key, shape.get(""))
            if key in content or inner is str:
                _check_shape(content.get(key), inner, path, f"{where}.{key}".lstrip("."))
    elif isinstance(content, list) and shape:
        for i, entry in enumerate(content):
            _check_shape(entry, shape[0], path, f"{where}[{i}]")


def _checked(record: dict[str, Any], path: Path) -> dict[str, Any]:
    if not (isinstance(record.get("measure"), str) and isinstance(record.get("kind"), str)):
        raise ResultsError(f"{path} is damaged: an entry of results does not name its measure")
    return {**record, "models": _strings(record.get("models")), "brains": _strings(record.get("brains"))}


def _read_table(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read results.csv, give columns the types that they were written with, and say which are lacking."""
    text = [c for c in COLUMNS if c not in _NUMBERS]
    with reading(path, "a table", ResultsError):
        raw = pd.read_csv(path, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=[""], low_memory=False)
    if not isinstance(raw.index, pd.RangeIndex):
        raise ResultsError(f"{path} is damaged: its rows have more cells than its header has columns")
    needed = [c for c in _NEEDED if c not in raw]
    if needed:
        raise ResultsError(f"{path} is no table of results: it has no column {', '.join(needed)}")
    for column in [c for c in _NUMBERS if c in raw]:
        numbers = pd.to_numeric(raw[column], errors="coerce")
        wrong = raw.index[numbers.isna() & raw[column].notna() & ~raw[column].isin(["nan", "NaN"])]
        if len(wrong):
            raise ResultsError(
                f"{path}, line {wrong[0] + 2}: {column} is {raw[column][wrong[0]]!r}, expected a number; "
                "the file was changed or cut off"
            )
        raw[column] = numbers
    counts = [c for c in raw if str(c).startswith("n_") and c != "n_of" and _whole(raw[c])]
    raw = raw.astype(dict.fromkeys(counts, "Int64"))
    for column in [str(c) for c in raw if c not in COLUMNS]:
        if pd.api.types.infer_dtype(raw[column], skipna=True) == "string":
            raw[column] = raw[column].astype(object).where(raw[column].notna(), "")
    lacking = [c for c in COLUMNS if c not in raw]
    types = {c: raw[c].dtype for c in raw if c not in COLUMNS}
    table = result_table(records(raw)) if len(raw) else raw.reindex(columns=[*COLUMNS, *types])
    return table.astype(types), lacking


def _whole(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column) and (column.dropna() % 1 == 0).all())


def _read_arrays(path: Path) -> dict[str, xr.DataArray]:
    """Read the arrays of a file, each from its own group."""
    check_netcdf(path, ResultsError)
    with reading(path, "netCDF-4", ResultsError):
        groups = {str(name).strip("/"): data for name, data in xr.open_groups(path, engine="h5netcdf").items()}
        found = {name: data[name].load() for name, data in groups.items() if name}
        for data in groups.values():
            data.close()
    return found


def _columns(rows: pd.DataFrame) -> list[str]:
    """Return the columns of a result: those that every table has, and others that hold something."""
    filled = [str(c) for c in rows if c not in COLUMNS and (rows[c].notna() & (rows[c].astype(str) != "")).any()]
    return [*COLUMNS, *filled]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _tables(value: Any) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _strings(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else []
