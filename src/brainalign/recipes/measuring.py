"""The tasks of a recipe: models hear sounds, measures are computed; on an engine, with a store of what is finished."""

from __future__ import annotations

import inspect
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from brainalign._progress import track
from brainalign.brain import BrainData
from brainalign.engine import COST_COLUMNS, Cost, Engine, Task
from brainalign.engine.sources import source_digest
from brainalign.engine.store import ResultStore
from brainalign.errors import EngineError, MeasureError, ResponseError
from brainalign.measures import MEASURES
from brainalign.measures.result import Result
from brainalign.recipes.identity import Digests
from brainalign.recipes.options import GIVEN
from brainalign.recipes.schema import MeasurePart, Recipe
from brainalign.responses import Responses
from brainalign.stimuli import StimulusSet

if TYPE_CHECKING:
    from brainalign.models.base import AudioModel


@dataclass(frozen=True)
class HeardModel:
    """A model and its responses to the sounds, and to those that select units if there are any.

    Attributes
    ----------
    name : str
        As in the recipe.
    model : AudioModel
        Loaded.
    responses : Responses
        To the sounds.
    selection : Responses or None
        To the other sounds.
    load : callable or None
        Gives the model again, on a worker.
    """

    name: str
    model: AudioModel
    responses: Responses
    selection: Responses | None
    load: Callable[[], AudioModel] | None


@dataclass(frozen=True)
class _Job:
    """A measure, what it is given, and what it is about."""

    part: MeasurePart
    given: dict[str, Any]
    model: str
    brain: str


def hear_all(
    plan: Recipe,
    folder: Path,
    models: Sequence[AudioModel],
    stimuli: StimulusSet,
    selection: StimulusSet | None,
    engine: Engine,
    cache: Path | None,
    progress: bool,
) -> tuple[list[HeardModel], pd.DataFrame]:
    """Let all models hear the sounds.

    Parameters
    ----------
    plan : Recipe
        Names layers and pooling.
    folder : Path
        What relative paths are relative to.
    models : sequence of AudioModel
        Those of the recipe, loaded.
    stimuli : StimulusSet
        The sounds.
    selection : StimulusSet or None
        Other sounds, which select units or fit.
    engine : Engine
        Where shards of the sounds are heard.
    cache : Path or None
        Folder of activations.
    progress : bool
        Show it.

    Returns
    -------
    heard : list of HeardModel
        In the order of the recipe.
    costs : DataFrame
        Rows of the table of costs.
    """
    from brainalign.models.extraction import Wanted, extract_all

    loads = [_loader(part.name, folder) for part in plan.models]
    sets = [s for s in (stimuli, selection) if s is not None]
    wanted = [
        Wanted(model, s, part.layers, part.pooling, load)
        for part, model, load in zip(plan.models, models, loads, strict=True)
        for s in sets
    ]
    found = extract_all(wanted, cache=cache, engine=engine, progress=progress)
    rows = [
        _row("extraction", h.cost, h.from_cache, model=w.model.name, stimulus_set=w.stimuli.name,
             n_parameters=_n_parameters(w.model))
        for w, h in zip(wanted, found, strict=True)
    ]  # fmt: skip
    responses = iter([_contiguous(h.responses) for h in found])
    heard = [
        HeardModel(part.name, model, next(responses), next(responses) if selection is not None else None, load)
        for part, model, load in zip(plan.models, models, loads, strict=True)
    ]
    return heard, cost_table(rows)


def _loader(name: str, folder: Path) -> Callable[[], AudioModel] | None:
    """Return what loads a model on a worker; None for one that only this process knows, which must travel itself."""
    from brainalign.models import load_model

    if not entry_points(group="brainalign.models", name=name.split(":")[0].split("@")[0]):
        return None
    return partial(load_model, name, folder=folder.resolve())


def _n_parameters(model: Any) -> int | None:
    module: Any = getattr(model, "module", None)
    # An acoustic model may be a module with nothing to train.
    return (sum(p.numel() for p in module.parameters()) or None) if hasattr(module, "parameters") else None


def _contiguous(responses: Responses) -> Responses:
    """Return responses as they arrive on a worker: sums run along memory, and their last digits with it."""
    values = responses.values
    return responses if values.flags.c_contiguous else responses.copy(data=np.ascontiguousarray(values))


def measure_all(
    plan: Recipe,
    heard: Sequence[HeardModel],
    brains: Sequence[BrainData],
    stimuli: StimulusSet,
    engine: Engine,
    store: ResultStore | None,
    progress: bool,
) -> tuple[list[Result], pd.DataFrame]:
    """Compute each measure for every model and brain, and one that takes all models at once for every brain.

    One about responses alone is computed for every model once, and for every brain itself too.

    Parameters
    ----------
    plan : Recipe
        Names the measures.
    heard : sequence of HeardModel
        As :func:`hear_all` gives them.
    brains : sequence of BrainData
        Responses to the same sounds.
    stimuli : StimulusSet
        The sounds.
    engine : Engine
        Where measures are computed.
    store : ResultStore or None
        Where finished tasks are kept.
    progress : bool
        Show it.

    Returns
    -------
    results : list of Result
        In the order of the recipe, whatever ends first.
    costs : DataFrame
        Rows of the table of costs.
    """
    brains = [replace(b, responses=_contiguous(b.responses)) for b in brains]
    jobs = [job for part in plan.measures for job in _jobs(part, heard, brains, stimuli)]
    digests = Digests()
    found: dict[int, tuple[Result, Cost, bool]] = {}
    tasks: dict[int, Task] = {}
    identities: dict[int, dict[str, Any]] = {}
    for i, job in enumerate(jobs):
        function, options = MEASURES.get(job.part.name), _options(job.part, plan.seed)
        identity = None if store is None else digests.identity(job.part.name, function, options, job.given)
        if store is not None and identity is not None:
            identities[i] = identity
            if (kept := store.get(identity)) is not None:
                found[i] = (Result(**kept[0]), kept[1], True)
                continue
        about = " and ".join(name for name in (job.model, job.brain) if name)
        tasks[i] = _task(f"{job.part.label or job.part.name}{about and f' of {about}'}", function, options, job, heard)
    positions, done = list(tasks), engine.run(list(tasks.values()))
    for k, result, cost in track(done, "measures", unit="measure", total=len(tasks), show=progress):
        i = positions[k]
        found[i] = (result, cost, False)
        if store is not None and i in identities:
            facts = {"measure": jobs[i].part.name, "model": jobs[i].model, "brain": jobs[i].brain}
            store.put(identities[i], facts, dict(vars(result)), cost)
    rows = [
        _row("measure", found[i][1], found[i][2], model=job.model, measure=job.part.label or job.part.name,
             brain=job.brain)
        for i, job in enumerate(jobs)
    ]  # fmt: skip
    return [_labelled(found[i][0], job.part) for i, job in enumerate(jobs)], cost_table(rows)


def _jobs(
    part: MeasurePart, heard: Sequence[HeardModel], brains: Sequence[BrainData], stimuli: StimulusSet
) -> list[_Job]:
    """Say for which models and brains a measure is computed, and what each call is given."""
    needs = GIVEN & set(inspect.signature(MEASURES.get(part.name)).parameters)
    asked = [own for own in heard if part.models is None or own.name in part.models]
    chosen = [b for b in brains if part.brains is None or b.name in part.brains]
    # One that takes all models, or none, is about no single one.
    listeners: list[tuple[str, dict[str, Any]]] = [("", {})]
    if "all_responses" in needs:
        listeners = [("", {"all_responses": {own.name: own.responses for own in asked}})]
    elif needs & {"responses", "selection", "model"}:
        listeners = [
            (own.model.name, {"responses": own.responses, "selection": own.selection, "model": own.model})
            for own in asked
        ]
    offers = [
        (model, "" if brain is None else brain.name, {"stimuli": stimuli, "brain": brain, **own})
        for brain in (chosen if "brain" in needs else [None])
        for model, own in listeners
    ]
    if part.models is None and not needs & {"brain", "model", "selection", "all_responses"}:
        offers = [("", b.name, {"stimuli": stimuli, "responses": b.responses}) for b in chosen] + offers
    return [_Job(part, {n: offer[n] for n in needs}, model, brain) for model, brain, offer in offers]


def _options(part: MeasurePart, seed: int) -> dict[str, Any]:
    options = dict(part.options)
    if "seed" in inspect.signature(MEASURES.get(part.name)).parameters:
        options.setdefault("seed", seed)
    return options


def _task(
    name: str, function: Callable[..., Result], options: dict[str, Any], job: _Job, heard: Sequence[HeardModel]
) -> Task:
    given = dict(job.given)
    own = {"function": function, "options": options, "source": source_digest(function), "about": name}
    if "model" in given:
        load = next(h.load for h in heard if h.model is given["model"])
        if load is not None:
            from brainalign.models._shards import loaded_there

            own["model"] = loaded_there(given.pop("model"), load)
    return Task(name, _measure, own, given)


def _measure(
    function: Callable[..., Result], options: Mapping[str, Any], source: str | None, about: str, **given: Any
) -> Result:
    # A worker that lives longer than a run keeps the code that it has imported.
    if source is not None and (found := source_digest(function)) != source:
        raise EngineError(
            f"the worker on {platform.node()} has other code of {function.__module__}: python_code is {found!r}, "
            f"expected {source!r}; restart the workers, and see that they find the same files"
        )
    try:
        return function(**given, **options)
    except (MeasureError, ResponseError) as why:
        why.args = (f"{about}: {why}", *why.args[1:])
        raise


def _labelled(result: Result, part: MeasurePart) -> Result:
    if part.label is None:
        return result
    return replace(result, measure=part.label, asked=result.kind, table=result.table.assign(measure=part.label))


def _row(task: str, cost: Cost, from_store: bool, **about: Any) -> dict[str, Any]:
    return {"task": task, **about, **vars(cost), "from_store": from_store}


def cost_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Make a table of costs, see :mod:`brainalign.engine.costs`.

    Parameters
    ----------
    rows : sequence of mapping
        One per task; columns that a row lacks stay empty.

    Returns
    -------
    DataFrame
        Columns ``COST_COLUMNS``.
    """
    table = pd.DataFrame(list(rows)).reindex(columns=list(COST_COLUMNS))
    text = ("task", "model", "measure", "brain", "stimulus_set")
    kinds: dict[str, Any] = dict.fromkeys(("seconds", "cpu_s", "peak_mb"), float)
    kinds |= {"from_store": bool, "n_parameters": "Int64"}
    return table.assign(**{c: table[c].astype(object).fillna("").astype(str) for c in text}).astype(kinds)
