"""Running a recipe: from names to results."""

from __future__ import annotations

import inspect
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joblib import Parallel, delayed

from brainalign.brain import BRAINS, BrainData, load_brain
from brainalign.errors import StimulusError, did_you_mean, name_some
from brainalign.measures import MEASURES
from brainalign.measures.decoding_plan import window_difference
from brainalign.measures.result import Result
from brainalign.recipes.provenance import provenance
from brainalign.recipes.schema import (
    GIVEN,
    BrainPart,
    MeasurePart,
    ModelPart,
    Recipe,
    ReconstructionPart,
    StimuliPart,
    find_recipe,
    read_recipe,
)
from brainalign.responses import Responses, with_columns
from brainalign.stimuli import STIMULI, StimulusSet, load_stimuli
from brainalign.stimuli.manipulations import manipulate

if TYPE_CHECKING:
    from brainalign.models.base import AudioModel
    from brainalign.reconstruction.examples import Example
    from brainalign.reconstruction.steps import Reconstruction


@dataclass(frozen=True)
class Run:
    """A recipe and what it gave.

    Attributes
    ----------
    recipe : Recipe
        As run, the seed included.
    stimuli : StimulusSet
        The sounds.
    brains : tuple of BrainData
        What the models were compared with: responses to these sounds; under their labels where the recipe has any.
    results : list of Result
        One per measure and model, and per measure of the brain itself; a reconstruction last.
    provenance : dict
        What determines the numbers, ready for JSON.
    examples : list of Example
        Reconstructed music, and what was heard.
    """

    recipe: Recipe
    stimuli: StimulusSet
    brains: tuple[BrainData, ...]
    results: list[Result]
    provenance: dict[str, Any]
    examples: list[Example] = field(default_factory=list)


def compute_recipe(
    recipe: str | Path,
    *,
    seed: int | None = None,
    jobs: int = 1,
    cache: Path | None = None,
    sounds: Path | None = None,
    progress: bool = False,
) -> Run:
    """Compute what a recipe asks for; no results are written.

    Parameters
    ----------
    recipe : str or path-like
        A TOML file or the name of a recipe that ships.
    seed : int, optional
        Replaces the seed of the recipe.
    jobs : int
        Processes that compute measures side by side.
    cache : Path, optional
        Folder in which activations are kept, so that a killed run goes on where it stopped and no sound is heard twice.
    sounds : Path, optional
        Folder for music that a reconstruction generates.
    progress : bool
        Show progress bars.

    Returns
    -------
    Run
        The results and how they came about.

    Raises
    ------
    BrainalignError
        If the recipe or anything that it names cannot be used.
    """
    path = find_recipe(recipe)
    plan = read_recipe(path)
    if seed is not None:
        plan = plan.with_seed(seed)
    stimuli = _load_stimuli(plan.stimuli, path.parent)
    whole = _load_stimuli(plan.stimuli.model_copy(update={"ids": None, "categories": None}), path.parent)
    selection = None if plan.selection is None else _load_stimuli(plan.selection, path.parent)
    models = [_checked_captions(m, stimuli, whole, plan.stimuli.in_brain) for m in _load_models(plan, path.parent)]
    brains = tuple(_load_brain(part, path.parent, plan.stimuli) for part in plan.brain)
    if plan.stimuli.in_brain:
        stimuli, brains = _leave_out(stimuli, brains, whole)
    brains = tuple(_match_stimuli(brain, stimuli) for brain in brains)
    _check_categories(plan, stimuli)
    record = provenance(
        plan,
        path,
        str(recipe),
        stimuli,
        [{"name": m.name, "sample_rate": m.sample_rate, "record": dict(m.record)} for m in models],
        brains,
        selection,
    )
    _refuse_renamed(record)
    heard = [
        _Heard(part.name, model, *(_extract(part, model, s, cache, progress) for s in (stimuli, selection)))
        for part, model in zip(plan.models, models, strict=True)
    ]
    results = _measure_all(plan, heard, brains, stimuli, jobs, progress)
    if any(step.name != "windows" for step in plan.stimuli.manipulate):
        for result in results:
            for name in sorted(set(result.table["brain"]) - {""}):
                result.warnings.append(f"the models heard manipulated sounds; {name} are responses to the originals")
    results += _witnesses(plan, results)
    if plan.reconstruction is None:
        return Run(plan, stimuli, brains, results, record)
    made = _reconstruct(plan, plan.reconstruction, path.parent, heard, results, stimuli, cache, sounds, progress)
    return Run(plan, stimuli, brains, [*results, made.result], record, made.examples)


def _witnesses(plan: Recipe, results: list[Result]) -> list[Result]:
    """Compare what several brain data sets say about a component, where a recipe asks several."""
    matches = [r for r in results if r.kind == "component-match"]
    if len({str(r.table["brain"].iloc[0]) for r in matches}) < 2:
        return []
    from brainalign.measures.witnesses import witness_agreement

    return [
        witness_agreement(first, second, seed=plan.seed)
        for first, second in combinations(matches, 2)
        if first.table["brain"].iloc[0] != second.table["brain"].iloc[0]
    ]


def _reconstruct(
    plan: Recipe,
    part: ReconstructionPart,
    folder: Path,
    heard: list[_Heard],
    results: list[Result],
    stimuli: StimulusSet,
    cache: Path | None,
    sounds: Path | None,
    progress: bool,
) -> Reconstruction:
    from brainalign.models import load_model
    from brainalign.reconstruction.generator import load_generator
    from brainalign.reconstruction.steps import Wanted, reconstruct

    by_name = {own.name: own for own in heard}
    own = by_name[part.model]
    decoded = [r for r in results if r.measure == part.measure and (r.table["model"] == own.model.name).any()]
    wanted = Wanted(
        layer=part.layer,
        library=None if part.library is None else _load_stimuli(StimuliPart(set=part.library), folder),
        centre=part.centre,
        generator=None if part.generator is None else load_generator(part.generator, **part.generator_options),
        text=None if part.text_model is None else by_name[part.text_model].responses,
        tagger=None if part.tagger is None else load_model(part.tagger, folder=folder),
        n_samples=part.n_samples,
        duration_s=part.duration_s,
        stands_for=part.stands_for,
        seed=plan.seed,
    )
    assert own.responses is not None  # only responses to the selection may be missing
    with ExitStack() as stack:
        made = sounds or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="brainalign-")))
        return reconstruct(
            decoded, own.model, own.responses, stimuli, wanted, folder=made, cache=cache, progress=progress
        )


def _checked_captions(model: Any, stimuli: StimulusSet, whole: StimulusSet, in_brain: bool) -> Any:
    """Compare captions with the clips of the set before its sounds are cut, so that what is cut is no unknown clip."""
    from brainalign.models.captions import CaptionModel

    if not isinstance(model, CaptionModel):
        return model
    wanted = [str(c) for c in stimuli.table["clip"].unique()] if "clip" in stimuli.table else stimuli.ids
    # Which of the sounds are asked for, the brain data will tell.
    model.check([c for c in wanted if not in_brain or c in model.captions], whole)
    return replace(model, ignore_others=True)


def _leave_out(
    stimuli: StimulusSet, brains: tuple[BrainData, ...], whole: StimulusSet
) -> tuple[StimulusSet, tuple[BrainData, ...]]:
    """Take the sounds to which all brain data have responses, and let the brain data say what that leaves out."""
    known = [set(brain.responses["stimulus"].values.astype(str).tolist()) for brain in brains]
    hint = _windows_hint(brains[0], stimuli)
    kept = [i for i in stimuli.ids if all(i in k for k in known)]
    if not kept:
        raise StimulusError(
            f"the brain data have a response to none of the {len(stimuli)} sounds of {stimuli.name} "
            f"({name_some(stimuli.ids, 2)}); they have {name_some(sorted(known[0]), 2)}{hint}"
        )
    brains = tuple(
        replace(
            b,
            warnings=(
                *b.warnings,
                f"responses to {len(unknown)} of {len(k)} ids that {whole.name} does not have are not used: "
                f"{name_some(map(repr, unknown))}",
            ),
        )
        if (unknown := sorted(k - set(whole.ids)))
        else b
        for b, k in zip(brains, known, strict=True)
    )
    n_out = len(stimuli) - len(kept)
    if n_out == 0:
        return stimuli, brains
    text = f"{n_out} of the {len(stimuli)} sounds of {stimuli.name} have no response and are left out, as in_brain asks"
    return stimuli.select(kept), tuple(replace(b, warnings=(*b.warnings, text)) for b in brains)


def _load_stimuli(part: StimuliPart, folder: Path) -> StimulusSet:
    stimuli = load_stimuli(part.set if part.set in STIMULI.names() else folder / part.set)
    if part.ids is not None or part.categories is not None:
        stimuli = stimuli.select(part.ids, part.categories)
    for step in part.manipulate:
        stimuli = manipulate(stimuli, step.name, **(step.model_extra or {}))
    return stimuli


def _refuse_renamed(record: dict[str, Any]) -> None:
    """Raise if a sound stands among the test sounds and, by another id, among those that select; ids alone hide it."""
    tested = {digest: i for i, digest in record["stimuli"]["sha256"].items()}
    for i, digest in record.get("selection", {}).get("sha256", {}).items():
        if digest in tested and tested[digest] != i:
            raise StimulusError(
                f"the sound {i!r} of the selection is the test sound {tested[digest]!r} by another id; leave one of "
                f"them out, or give them the same id"
            )


def _match_stimuli(brain: BrainData, stimuli: StimulusSet) -> BrainData:
    """Take the sounds of the set from the brain data; their description is the set's, for both sides alike."""
    known = brain.responses.indexes["stimulus"]
    lacking = [i for i in stimuli.ids if i not in known]
    if lacking:
        # An id that another sound has already is no misspelling of this one.
        near = did_you_mean(lacking[0], set(map(str, known)) - set(stimuli.ids))
        hint = _windows_hint(brain, stimuli) or (f"; {near}" if near.startswith("did you mean") else "")
        raise StimulusError(
            f"{brain.name} has no responses to {len(lacking)} of the {len(stimuli)} sounds of {stimuli.name}: "
            f"{name_some(map(repr, lacking))}{hint}; to leave out sounds without a response, say in_brain = true in "
            f"[stimuli], or name those to use as stimuli.ids"
        )
    asked = brain.responses.sel(stimulus=stimuli.ids)
    own = asked.drop_vars([str(c) for c in asked.coords if asked[c].dims == ("stimulus",) and c in stimuli.table])
    matched = with_columns(own, stimuli.table)
    if differ := window_difference((matched, asked), (stimuli.name, brain.name)):
        raise StimulusError(differ)
    return replace(brain, responses=matched)


def _windows_hint(brain: BrainData, stimuli: StimulusSet) -> str:
    """Say what to do where one side is cut into windows and the other is not."""
    coords = brain.responses.coords
    if "window_s" in coords and "window" not in stimuli.table:
        starts = sorted(set(coords["window_start_s"].values.astype(float).tolist()))
        step = f", step_s = {starts[1] - starts[0]:g}" if len(starts) > 1 else ""
        return (
            f'; the brain data are of windows: add to [stimuli] manipulate = [{{ name = "windows", '
            f"window_s = {float(coords['window_s'].values[0]):g}{step} }}]"
        )
    if "window" in stimuli.table and "window" not in coords:
        return "; the sounds are windows of clips, the brain data are not: give [brain] a window_s"
    return ""


def _load_brain(part: BrainPart, folder: Path, stimuli: StimuliPart) -> BrainData:
    options = part.options
    # Events name sounds of the whole set, whichever of them are asked for, and before they are cut into windows.
    if part.name in BRAINS.names() and "stimulus_set" in inspect.signature(BRAINS.get(part.name)).parameters:
        options.setdefault("stimulus_set", _load_stimuli(StimuliPart(set=stimuli.set), folder).ids)
    # A file or folder is looked for beside the recipe first, as a folder of sounds is.
    if isinstance(options.get("path"), str) and (folder / options["path"]).exists():
        options["path"] = str(folder / options["path"])
    brain = load_brain(part.name, **options)
    return brain if part.label is None else replace(brain, name=part.label)


def _check_categories(plan: Recipe, stimuli: StimulusSet) -> None:
    """Raise if a measure names a category that no sound has."""
    for part in plan.measures:
        for name in part.options.get("categories") or []:
            if part.options.get("column", "category") == "category" and name not in stimuli.categories:
                raise StimulusError(
                    f"measure {part.name}: {stimuli.name} has no category {name!r}; "
                    f"{did_you_mean(name, stimuli.categories)}"
                )


def _load_models(plan: Recipe, folder: Path) -> list[AudioModel]:
    from brainalign.models import load_model, select_layers

    models = [load_model(part.name, folder=folder) for part in plan.models]
    # A misspelt layer is found before the first sound is played.
    for model, part in zip(models, plan.models, strict=True):
        select_layers(model, part.layers)
    return models


@dataclass(frozen=True)
class _Heard:
    """A model and its responses to the sounds, and to those that select units if there are any."""

    name: str
    model: AudioModel
    responses: Responses | None
    selection: Responses | None


def _extract(
    part: ModelPart, model: AudioModel, stimuli: StimulusSet | None, cache: Path | None, progress: bool
) -> Responses | None:
    from brainalign.models.extraction import extract

    if stimuli is None:
        return None
    return extract(model, stimuli, layers=part.layers, pooling=part.pooling, cache=cache, progress=progress)


def _measure_all(
    plan: Recipe, heard: list[_Heard], brains: tuple[BrainData, ...], stimuli: StimulusSet, jobs: int, progress: bool
) -> list[Result]:
    """Compute each measure for every model and brain, and one that takes all models at once for every brain.

    One about responses alone is computed for every model once, and for every brain itself too.
    """
    from tqdm.auto import tqdm

    tasks: list[tuple[MeasurePart, dict[str, Any]]] = []
    for part in plan.measures:
        needs = GIVEN & set(inspect.signature(MEASURES.get(part.name)).parameters)
        asked = [own for own in heard if part.models is None or own.name in part.models]
        if "all_responses" in needs:
            listeners: list[dict[str, Any]] = [{"all_responses": {own.name: own.responses for own in asked}}]
        elif needs & {"responses", "selection", "model"}:
            listeners = [vars(own) for own in asked]
        else:
            listeners = [{}]
        chosen = [b for b in brains if part.brains is None or b.name in part.brains]
        offers: list[dict[str, Any]] = [
            {"stimuli": stimuli, "brain": brain, **own}
            for brain in (chosen if "brain" in needs else [None])
            for own in listeners
        ]
        if part.models is None and not needs & {"brain", "model", "selection", "all_responses"}:
            offers = [{"stimuli": stimuli, "responses": brain.responses} for brain in chosen] + offers
        tasks += [(part, {name: offer[name] for name in needs}) for offer in offers]
    # One thread a process, so that processes do not compete for cores.
    limit = {} if jobs == 1 else {"inner_max_num_threads": 1, "backend": "loky"}
    with _parallel_config(**limit):
        done = Parallel(n_jobs=jobs, return_as="generator")(
            delayed(_measure)(part, given, plan.seed) for part, given in tasks
        )
        return list(tqdm(done, total=len(tasks), desc="measures", unit="measure", disable=not progress))


def _parallel_config(**settings: Any) -> Any:
    from contextlib import nullcontext

    from joblib import parallel_config

    return parallel_config(**settings) if settings else nullcontext()


def _measure(part: MeasurePart, given: dict[str, Any], seed: int) -> Result:
    function = MEASURES.get(part.name)
    options = dict(part.options)
    if "seed" in inspect.signature(function).parameters:
        options.setdefault("seed", seed)
    result: Result = function(**given, **options)
    if part.label is not None:
        result = replace(result, measure=part.label, asked=result.kind, table=result.table.assign(measure=part.label))
    return result
