"""Level sweep: what is left of selectivity when all sounds are equally loud, or the target sounds softer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError
from brainalign.measures.resampling import Level, Resamples, Seed, Share, draw_counts
from brainalign.measures.result import Result, result_table
from brainalign.measures.selective import (
    CONDITIONAL,
    OTHER,
    RANK_SUM,
    SELECTED,
    about_row,
    ratio_row,
    selected_units,
)
from brainalign.measures.selectivity import FRACTION, Index
from brainalign.measures.targets import Parts, make_parts
from brainalign.models.base import AudioModel
from brainalign.responses import Responses, average_repetitions, units_by_layer
from brainalign.stats.rank_nulls import Alternative
from brainalign.stimuli import StimulusSet
from brainalign.stimuli.manipulations import normalise_level

Array = NDArray[np.float64]
#: Power of the target sounds / power of the rest, as in Kim et al. 2024.
POWER_RATIOS = (1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64)


def level_sweep(
    responses: Responses,
    model: AudioModel,
    stimuli: StimulusSet,
    *,
    selection: Responses | None = None,
    categories: Sequence[str],
    column: str = "category",
    power_ratios: Sequence[float] = POWER_RATIOS,
    level_rms: float | None = None,
    index: Index = "welch-t",
    fraction: Share = FRACTION,
    allow_overlap: bool = False,
    alternative: Alternative = "greater",
    n_bootstrap: Resamples = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Measure response ratios after level normalisation, and with the target sounds attenuated.

    Units are selected by the original sounds and kept.

    Parameters
    ----------
    responses : Responses
        Of `model` to the original test sounds.
    model : AudioModel
        What listens to the manipulated sounds, at the layers of `responses`.
    stimuli : StimulusSet
        The test sounds; those of `responses` are played.
    selection, categories, column, index, fraction, allow_overlap, alternative, n_bootstrap, level, seed
        See :func:`~brainalign.measures.selective.selective_ratio`.
    power_ratios : sequence of float
        Power of the target sounds / power of the rest.
    level_rms : float, optional
        RMS of the normalised sounds, of full scale; the mean RMS of the test sounds if not given.

    Returns
    -------
    Result
        Rows as of ``selective-ratio``, with the columns ``sounds`` (``original`` or ``normalised``) and
        ``power_ratio``. Array ``roles`` (part, stimulus).

    Raises
    ------
    MeasureError
        As :func:`~brainalign.measures.selective.selective_ratio`, or if a power ratio is not positive.
    ModelError, StimulusError
        If a sound cannot be played.
    """
    if not power_ratios or not all(r > 0 for r in power_ratios):
        raise MeasureError(f"the power ratios are {list(power_ratios)}, expected positive ones, such as 1 and 0.015625")
    responses = average_repetitions(responses)
    parts = make_parts(responses, selection, categories, column=column, allow_overlap=allow_overlap, seed=seed)
    layers = list(units_by_layer(responses))
    tested = dict.fromkeys(i for p in parts.parts for i in p.test.ids)
    targets = {i for p in parts.parts for i, y in zip(p.test.ids, p.test.is_target, strict=True) if y}
    normalised = normalise_level(stimuli.select(list(tested)), level_rms)
    listen = partial(_listen, model, layers)
    rest = listen(normalised)
    rng = np.random.default_rng(seed)
    counts = draw_counts(len(parts.is_target), n_bootstrap, rng, strata=parts.strata)
    selected = {k: selected_units(parts, units, index, fraction) for k, units in units_by_layer(responses).items()}

    def measure(played: Responses, what: str, power_ratio: float) -> list[dict[str, object]]:
        rows = []
        for layer, units in units_by_layer(responses).items():
            for group in (SELECTED, OTHER):
                masks = [m if group == SELECTED else ~m for m in selected[layer]]
                if not all(m.any() for m in masks):
                    continue
                means = _means(parts, played, [units[m] for m in masks])
                about = about_row("level-sweep", responses, layer, group)
                about |= {"sounds": what, "power_ratio": power_ratio}
                rows.append(about | ratio_row(parts, means, counts, alternative, level))
        return rows

    rows = measure(responses, "original", np.nan)
    for power_ratio in power_ratios:
        played = rest
        if power_ratio != 1:
            softer = listen(_attenuated(normalised, power_ratio, targets))
            played = rest.copy(deep=True)
            played.loc[{"stimulus": softer["stimulus"].values}] = softer.values
        rows += measure(played, "normalised", power_ratio)
    return Result(
        measure="level-sweep",
        table=result_table(rows),
        arrays={"roles": parts.roles()},
        settings={
            "categories": list(categories),
            "column": column,
            "power_ratios": [float(r) for r in power_ratios],
            "normalised_rms": normalised.parameters["rms"],
            "units": "selected by the original sounds, and kept",
            "index": index,
            "fraction": fraction,
            **parts.settings(),
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "test": f"{RANK_SUM}; {alternative}",
            "interval": CONDITIONAL,
        },
        warnings=parts.warnings(),
    )


def _listen(model: AudioModel, layers: list[str], stimuli: StimulusSet) -> Responses:
    from brainalign.models.extraction import extract

    return extract(model, stimuli, layers=layers)


def _attenuated(stimuli: StimulusSet, power_ratio: float, targets: set[str]) -> StimulusSet:
    """Return the target sounds alone, softer."""
    from brainalign.stimuli.manipulations import attenuate

    return attenuate(stimuli.select([i for i in stimuli.ids if i in targets]), power_ratio)


def _means(parts: Parts, played: Responses, units: Sequence[NDArray[np.intp]]) -> list[Array]:
    """Return the mean response of each part's units to its test sounds."""
    return [
        np.asarray(played.sel(stimulus=p.test.ids).values[:, u].mean(axis=1, dtype=np.float64))
        for p, u in zip(parts.parts, units, strict=True)
    ]
