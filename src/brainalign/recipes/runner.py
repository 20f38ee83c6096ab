"""Running a recipe: from names to a results folder."""

from __future__ import annotations

import inspect
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr
from joblib import Parallel, delayed

from brainalign._files import write_then_rename
from brainalign.brain import BrainData, load_brain
from brainalign.errors import ResultsError
from brainalign.measures import MEASURES
from brainalign.measures.result import Result
from brainalign.recipes.provenance import provenance, write_json
from brainalign.recipes.schema import MeasurePart, Recipe, find_recipe, read_recipe
from brainalign.responses import Responses, align
from brainalign.stimuli import STIMULI, StimulusSet, load_stimuli

if TYPE_CHECKING:
    from brainalign.models.base import AudioModel


def run_recipe(
    recipe: str | Path,
    out: str | Path,
    *,
    seed: int | None = None,
    jobs: int = 1,
    overwrite: bool = False,
    progress: bool = False,
) -> Path:
    """Run a recipe and write its results folder.

    Parameters
    ----------
    recipe : str or path-like
        A TOML file or the name of a recipe that ships.
    out : path-like
        The results folder. It appears when the run has succeeded, not before.
    seed : int, optional
        Replaces the seed of the recipe.
    jobs : int
        Processes that compute measures side by side.
    overwrite : bool
        Replace an existing results folder.
    progress : bool
        Show progress bars.

    Returns
    -------
    Path
        The folder: ``results.csv``, ``report.html``, ``figures/``, ``arrays/``, ``provenance.json``.

    Raises
    ------
    BrainalignError
        If the recipe or anything that it names cannot be used, or the folder is in the way; nothing is written then.
    """
    path, out = find_recipe(recipe), Path(out)
    plan = read_recipe(path)
    if seed is not None:
        plan = plan.model_copy(update={"seed": seed})
    _check_out(out, overwrite)
    stimuli = _load_stimuli(plan, path.parent)
    brain = load_brain(plan.brain.name, **plan.brain.options)
    brain = _match_stimuli(brain, stimuli, subset=bool(plan.stimuli.ids or plan.stimuli.categories))
    models, responses = _extract_all(plan, stimuli, progress)
    results = _measure_all(plan, responses, brain, jobs, progress)
    record = provenance(
        plan,
        path,
        stimuli,
        [{"name": m.name, "sample_rate": m.sample_rate, "record": dict(m.record)} for m in models],
        {"name": brain.name, "version": brain.version, "citation": brain.citation, "licence": brain.licence},
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        written = Path(temporary) / out.name
        _write(written, plan, stimuli, brain, results, record)
        if out.exists():
            shutil.rmtree(out)
        written.replace(out)
    return out


def _check_out(out: Path, overwrite: bool) -> None:
    """Raise if the results folder is in the way."""
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


def _load_stimuli(plan: Recipe, folder: Path) -> StimulusSet:
    named = plan.stimuli.set
    stimuli = load_stimuli(named if named in STIMULI.names() else folder / named)
    if plan.stimuli.ids is None and plan.stimuli.categories is None:
        return stimuli
    return stimuli.select(plan.stimuli.ids, plan.stimuli.categories)


def _match_stimuli(brain: BrainData, stimuli: StimulusSet, subset: bool) -> BrainData:
    """Bring the brain data to the order of the sounds; a subset that the recipe asks for is taken of both."""
    from dataclasses import replace

    from brainalign.responses import make_responses, select_stimuli

    responses = select_stimuli(brain.responses, stimuli.ids) if subset else brain.responses
    order = make_responses(
        [[0.0]] * len(stimuli), stimuli.ids, ["stimuli"], attrs={"source": f"the set {stimuli.name}"}
    )
    return replace(brain, responses=align(order, responses)[1])


def _extract_all(plan: Recipe, stimuli: StimulusSet, progress: bool) -> tuple[list[AudioModel], dict[str, Responses]]:
    from brainalign.models import load_model
    from brainalign.models.extraction import extract, match_layers

    models = [load_model(part.name) for part in plan.models]
    # A misspelt layer is found before the first sound is played.
    for model, part in zip(models, plan.models, strict=True):
        match_layers(model, part.layers)
    responses = {
        model.name: extract(model, stimuli, layers=part.layers, progress=progress)
        for model, part in zip(models, plan.models, strict=True)
    }
    return models, responses


def _measure_all(
    plan: Recipe, responses: dict[str, Responses], brain: BrainData, jobs: int, progress: bool
) -> list[Result]:
    """Compute each measure for every model; one that takes no brain data also for the brain itself."""
    from tqdm.auto import tqdm

    tasks: list[tuple[MeasurePart, Responses, BrainData | None]] = []
    for part in plan.measures:
        compares = "brain" in inspect.signature(MEASURES.get(part.name)).parameters
        if not compares:
            tasks.append((part, brain.responses, None))
        tasks += [(part, own, brain if compares else None) for own in responses.values()]
    # One thread a process, so that processes do not compete for cores.
    limit = {} if jobs == 1 else {"inner_max_num_threads": 1, "backend": "loky"}
    with _parallel_config(**limit):
        done = Parallel(n_jobs=jobs, return_as="generator")(
            delayed(_measure)(part, own, other, plan.seed) for part, own, other in tasks
        )
        return list(tqdm(done, total=len(tasks), desc="measures", unit="measure", disable=not progress))


def _parallel_config(**settings: Any) -> Any:
    from contextlib import nullcontext

    from joblib import parallel_config

    return parallel_config(**settings) if settings else nullcontext()


def _measure(part: MeasurePart, responses: Responses, brain: BrainData | None, seed: int) -> Result:
    function = MEASURES.get(part.name)
    options = dict(part.options)
    if "seed" in inspect.signature(function).parameters:
        options.setdefault("seed", seed)
    result: Result = function(responses, brain, **options) if brain is not None else function(responses, **options)
    return result


def _write(
    folder: Path, plan: Recipe, stimuli: StimulusSet, brain: BrainData, results: list[Result], record: dict[str, Any]
) -> None:
    from brainalign.report.page import ReportContent, write_report

    folder.mkdir()
    table = pd.concat([r.table for r in results], ignore_index=True)
    with write_then_rename(folder / "results.csv") as temporary:
        table.to_csv(temporary, index=False)
    for result in results:
        if result.arrays:
            about = next((str(m) for m in result.table["model"] if m), "brain")
            _write_arrays(result, folder / "arrays" / f"{result.measure}--{_file_name(about)}.nc")
    content = ReportContent(plan.title, plan.question, stimuli, brain, results, record)
    write_report(content, folder / "report.html", figures_folder=folder / "figures")
    write_json(record, folder / "provenance.json")


def _write_arrays(result: Result, path: Path) -> None:
    """Write the arrays of a result as one netCDF file; coordinates that differ between them keep apart by group."""
    path.parent.mkdir(exist_ok=True)
    with write_then_rename(path) as temporary:
        for i, (name, array) in enumerate(result.arrays.items()):
            xr.Dataset({name: array}).to_netcdf(temporary, group=name, engine="h5netcdf", mode="a" if i else "w")


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
