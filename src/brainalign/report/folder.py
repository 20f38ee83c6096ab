"""The results folder of a run: tables, arrays, figures, the page and the provenance, whole or not there."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from brainalign._files import HDF5Stream, file_name, scratch_folder, sha256, write_then_rename
from brainalign.errors import ResultsError
from brainalign.measures.leaderboard import leaderboard
from brainalign.measures.result import Result
from brainalign.recipes import Run, compute_recipe
from brainalign.recipes.repeat import Source
from brainalign.report._draw import missing_glyphs_once
from brainalign.report.leaderboard import PAGE, write_leaderboard
from brainalign.report.methods import write_methods
from brainalign.report.page import ReportContent, write_report


def run_recipe(
    recipe: str | Path | Source,
    out: str | Path,
    *,
    seed: int | None = None,
    jobs: int = 1,
    cluster: str | None = None,
    overwrite: bool = False,
    cache: Path | str | None = None,
    progress: bool = False,
    audio: bool = True,
) -> Path:
    """Run a recipe and write its results folder.

    Parameters
    ----------
    recipe : str or path-like or Source
        A TOML file, the name of a recipe that ships, or the record of a run
        (:func:`brainalign.recipes.repeat.read_record`), which is repeated.
    out : path-like
        The results folder. It appears when the run has succeeded, not before.
    seed : int, optional
        Replaces the seed of the recipe.
    jobs : int
        Tasks side by side, in processes of this machine or workers of a cluster; the numbers are the same.
    cluster : str, optional
        ``"local"``, ``"slurm"`` or the address of a Dask scheduler; see docs/cluster.md.
    overwrite : bool
        Replace an existing results folder.
    cache : path-like, optional
        Folder in which activations and finished results are kept, see :func:`brainalign.models.cache_folder`.
    progress : bool
        Show progress bars.
    audio : bool
        Let the page bring the sounds along, compressed (docs/listening.md).

    Returns
    -------
    Path
        The folder: ``results.csv``, ``costs.csv``, ``report.html``, ``figures/``, ``arrays/``, ``methods.md``,
        ``references.bib``, ``provenance.json``, and ``generated/`` if music was.

    Raises
    ------
    BrainalignError
        If the recipe or anything that it names cannot be used, or the folder is in the way; nothing is written then.
    """
    out = Path(out)
    out = out.resolve() if out.is_symlink() else out
    _check_out(out, overwrite)
    with tempfile.TemporaryDirectory(prefix="brainalign-") as sounds:
        run = compute_recipe(
            recipe, seed=seed, jobs=jobs, cluster=cluster, cache=cache, sounds=Path(sounds), progress=progress
        )
        with scratch_folder(out) as temporary:
            written = temporary / out.name
            with missing_glyphs_once():
                _write(written, run, audio, out, progress)
            if (Path(sounds) / "generated").is_dir():
                shutil.copytree(Path(sounds) / "generated", written / "generated")
            _put_in_place(written, out, overwrite)
    if run.source is not None and run.source.same_results(out / "results.csv") is False:
        warnings.warn(
            f"the numbers are not those of the run that is repeated: {out / 'results.csv'} has another digest; "
            f"brainalign report OLD NEW shows where they differ",
            stacklevel=2,
        )
    return out


def _put_in_place(written: Path, out: Path, overwrite: bool) -> None:
    """Rename the finished folder to where it belongs; what has come to lie there meanwhile is never deleted."""
    if overwrite and (out / "provenance.json").is_file():
        # Another run may have moved it since; then there is nothing to move.
        with suppress(FileNotFoundError):
            out.replace(_aside(out))
    try:
        written.replace(out)
        shutil.rmtree(_aside(out), ignore_errors=True)
    except OSError:
        if not out.exists():
            _take_back(out)
            raise
        kept = next(p for p in (out.with_name(f"{out.name}-{i}") for i in range(2, 10_000)) if not p.exists())
        written.replace(kept)
        raise ResultsError(f"{out} appeared while the run was going; the results are in {kept}") from None


def _aside(out: Path) -> Path:
    """Name the place of the results that are being replaced."""
    return out.with_name(f".{out.name}.replaced")


def _take_back(out: Path) -> None:
    """Undo half a replacement, or finish it, where a run was killed between its two steps."""
    if _aside(out).is_dir():
        if out.exists():
            shutil.rmtree(_aside(out), ignore_errors=True)
        else:
            _aside(out).replace(out)


def _check_out(out: Path, overwrite: bool) -> None:
    """Raise if the results folder is in the way or cannot be made, before anything is computed."""
    if out.name in ("", ".."):
        raise ResultsError(f"--out is {str(out)!r}, expected the name of a folder, such as results/my-study")
    parent = next(p for p in out.absolute().parents if p.exists())
    try:
        with scratch_folder(parent / out.name):
            pass
    except OSError as why:
        raise ResultsError(f"{out} cannot be made: no folder can be made in {parent} ({why.strerror})") from why
    _take_back(out)
    if out.is_file():
        raise ResultsError(f"{out} is a file; choose another folder with --out")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not overwrite:
        raise ResultsError(f"{out} exists already; choose another folder with --out, or replace it with --overwrite")
    if not (out / "provenance.json").is_file():
        raise ResultsError(
            f"{out} is no results folder (it has no provenance.json), so it is not replaced; choose another"
        )


def _write(folder: Path, run: Run, audio: bool, out: Path, progress: bool) -> None:
    folder.mkdir()
    table = pd.concat([r.table for r in run.results], ignore_index=True)
    # Counts that only some measures have would turn into fractions beside the gaps of the others.
    counts = [c for c in table if str(c).startswith("n_") and pd.api.types.is_numeric_dtype(table[c])]
    table = table.astype(dict.fromkeys(counts, "Int64"))
    with write_then_rename(folder / "results.csv") as temporary:
        table.to_csv(temporary, index=False)
    with write_then_rename(folder / "costs.csv") as temporary:
        run.costs.to_csv(temporary, index=False)
    for result in run.results:
        if result.arrays:
            _write_arrays(result, folder / "arrays" / f"{_about(result, len(run.brains))}.nc")
    content = ReportContent(run.recipe.title, run.recipe.question, run.stimuli, run.brains, run.results,
                            run.provenance, audio=audio, examples=run.examples,
                            leaderboard=PAGE if run.recipe.leaderboard else "")  # fmt: skip
    if run.recipe.leaderboard:
        options = run.recipe.leaderboard.model_dump()
        board = leaderboard(run.results, run.brains, costs=run.costs, **options)
        write_leaderboard(board, folder, title=run.recipe.title, report="report.html")
    write_report(content, folder / "report.html", figures_folder=folder / "figures", progress=progress)
    write_methods(run, folder)
    record = {
        **run.provenance,
        "recipe_place": {} if run.source is None else run.source.place(out),
        "results": [_record(result, len(run.brains)) for result in run.results],
        "results_sha256": sha256(folder / "results.csv"),
        "files": sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()),
    }
    _write_json(record, folder / "provenance.json")


def _record(result: Result, n_brains: int) -> dict[str, Any]:
    """Say how a result came about, and where its arrays are."""
    return {
        "measure": result.measure,
        "kind": result.kind,
        "models": list(dict.fromkeys(str(m) for m in result.table["model"] if m)),
        "brains": list(dict.fromkeys(str(b) for b in result.table["brain"] if b)),
        "settings": result.settings,
        "warnings": result.warnings,
        "arrays": f"arrays/{_about(result, n_brains)}.nc" if result.arrays else "",
    }


def _about(result: Result, n_brains: int) -> str:
    """Name a result by its measure, its model if it is about one alone, and its brain where there are several."""
    models = list(dict.fromkeys(str(m) for m in result.table["model"] if m))
    brain = next((str(b) for b in result.table["brain"] if b), "")
    whose = [] if len(models) > 1 else models or ["brain"]
    names = [result.measure, *whose, *([brain] if brain and n_brains > 1 else [])]
    return "--".join(map(file_name, names))


def _write_arrays(result: Result, path: Path) -> None:
    """Write the arrays of a result as one netCDF file; coordinates that differ between them keep apart by group."""
    path.parent.mkdir(exist_ok=True)
    with write_then_rename(path) as temporary, HDF5Stream(temporary) as stream:
        for i, (name, array) in enumerate(result.arrays.items()):
            xr.Dataset({name: array}).to_netcdf(stream, group=name, engine="h5netcdf", mode="a" if i else "w")


def _write_json(content: dict[str, Any], path: Path) -> None:
    """Write JSON, indented, whole or not at all."""
    with write_then_rename(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False, default=_plain) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Turn what JSON does not know, such as numbers and arrays of numpy among settings, into what it knows."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
