"""Running a recipe: from names to results."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from brainalign._html import html_card, html_fold
from brainalign.brain import BrainData
from brainalign.engine import one_thread, open_engine
from brainalign.engine.store import ResultStore
from brainalign.measures.result import Result
from brainalign.recipes import inputs
from brainalign.recipes.measuring import HeardModel, cost_table, hear_all, measure_all
from brainalign.recipes.provenance import provenance
from brainalign.recipes.repeat import Source, find_source
from brainalign.recipes.schema import Recipe, ReconstructionPart, StimuliPart
from brainalign.stimuli import StimulusSet

if TYPE_CHECKING:
    from brainalign.models.base import AudioModel
    from brainalign.reconstruction.examples import Example
    from brainalign.reconstruction.steps import Reconstruction


#: Folder of finished results, in that of activations.
RESULTS = "results"


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
    costs : DataFrame
        Time and memory of each task; columns as :mod:`brainalign.engine.costs` says.
    source : Source, optional
        Where the recipe came from.
    """

    recipe: Recipe
    stimuli: StimulusSet
    brains: tuple[BrainData, ...]
    results: list[Result]
    provenance: dict[str, Any]
    examples: list[Example] = field(default_factory=list)
    costs: pd.DataFrame = field(default_factory=lambda: cost_table([]))
    source: Source | None = None

    def _repr_html_(self) -> str:
        facts = {
            "question": self.recipe.question,
            "sounds": f"{len(self.stimuli)} of {self.stimuli.name}",
            "models": [m.name for m in self.recipe.models],
            "brain": [b.name for b in self.brains],
        }
        results = [html_fold(repr(r).strip("<>"), r._repr_html_()) for r in self.results]
        return html_card(self.recipe.title, facts, *results)


def compute_recipe(
    recipe: str | Path | Source,
    *,
    seed: int | None = None,
    jobs: int = 1,
    cluster: str | None = None,
    cache: Path | str | None = None,
    sounds: Path | None = None,
    progress: bool = False,
) -> Run:
    """Compute what a recipe asks for; no results are written.

    Parameters
    ----------
    recipe : str or path-like or Source
        A TOML file, the name of a recipe that ships, or the record of a run (:func:`read_record`).
    seed : int, optional
        Replaces the seed of the recipe.
    jobs : int
        Tasks side by side, in processes of this machine or workers of a cluster; one thread each. The numbers are the
        same, to the last bit, however many.
    cluster : str, optional
        ``"local"``, ``"slurm"`` or the address of a Dask scheduler; see docs/cluster.md.
    cache : path-like, optional
        Folder in which activations and finished results are kept, so that a killed run goes on where it stopped, and a
        model more is all that is computed.
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
    from brainalign.models.cache import checked_folder

    cache = checked_folder(cache)
    source = recipe if isinstance(recipe, Source) else find_source(recipe)
    plan, folder = source.plan, source.folder
    if seed is not None:
        plan = plan.with_seed(seed)
    # In one thread here too: what is simulated or fitted before the tasks must not depend on the machine's cores.
    with one_thread():
        stimuli, selection, models, brains = _load(plan, folder)
    record = provenance(plan, source, stimuli, models, brains, selection)
    inputs.refuse_renamed(record)
    source.warn_of_differences(record)
    store = None if cache is None else ResultStore(cache / RESULTS)
    with open_engine(jobs, cluster) as engine:
        heard, hearing = hear_all(plan, folder, models, stimuli, selection, engine, cache, progress)
        results, measuring = measure_all(plan, heard, brains, stimuli, engine, store, progress)
    costs = pd.concat([hearing, measuring], ignore_index=True)
    if any(step.name != "windows" for step in plan.stimuli.manipulate):
        for result in results:
            for name in sorted(set(result.table["brain"]) - {""}):
                result.warnings.append(f"the models heard manipulated sounds; {name} are responses to the originals")
    with one_thread():
        results += _witnesses(plan, results)
    if plan.reconstruction is None:
        return Run(plan, stimuli, brains, results, record, costs=costs, source=source)
    made = _reconstruct(plan, plan.reconstruction, folder, heard, results, stimuli, cache, sounds, progress)
    return Run(plan, stimuli, brains, [*results, made.result], record, made.examples, costs, source)


def _load(
    plan: Recipe, folder: Path
) -> tuple[StimulusSet, StimulusSet | None, list[AudioModel], tuple[BrainData, ...]]:
    """Load sounds, models and brain data, and match them."""
    stimuli = inputs.load_sounds(plan.stimuli, folder)
    whole = inputs.load_sounds(plan.stimuli.model_copy(update={"ids": None, "categories": None}), folder)
    selection = None if plan.selection is None else inputs.load_sounds(plan.selection, folder)
    in_brain = plan.stimuli.in_brain
    models = [inputs.checked_captions(m, stimuli, whole, in_brain) for m in inputs.load_models(plan, folder)]
    brains = tuple(inputs.load_brain_data(part, folder, plan.stimuli) for part in plan.brain)
    if in_brain:
        stimuli, brains = inputs.leave_out(stimuli, brains, whole)
    brains = tuple(inputs.match_stimuli(brain, stimuli) for brain in brains)
    inputs.check_categories(plan, stimuli)
    return stimuli, selection, models, brains


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
    heard: Sequence[HeardModel],
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
        library=None if part.library is None else inputs.load_sounds(StimuliPart(set=part.library), folder),
        centre=part.centre,
        generator=None if part.generator is None else load_generator(part.generator, **part.generator_options),
        text=None if part.text_model is None else by_name[part.text_model].responses,
        tagger=None if part.tagger is None else load_model(part.tagger, folder=folder),
        n_samples=part.n_samples,
        duration_s=part.duration_s,
        stands_for=part.stands_for,
        seed=plan.seed,
    )
    with ExitStack() as stack:
        made = sounds or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="brainalign-")))
        return reconstruct(
            decoded, own.model, own.responses, stimuli, wanted, folder=made, cache=cache, progress=progress
        )
