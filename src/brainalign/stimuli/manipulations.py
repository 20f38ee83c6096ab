"""Manipulations of level: a stimulus set gives another, whose sounds are made when they are played."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from brainalign.errors import StimulusError, did_you_mean
from brainalign.stimuli.audio import Waveform, rms
from brainalign.stimuli.sets import StimulusSet


@dataclass(frozen=True, repr=False)
class ManipulatedSet(StimulusSet):
    """A stimulus set made from another.

    Attributes
    ----------
    parent : StimulusSet
        What it was made from.
    manipulation : str
        Name of the function that made it.
    parameters : mapping
        Its parameters.
    """

    parent: StimulusSet | None = None
    manipulation: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def history(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Manipulations and their parameters, the first that was made first."""
        before = self.parent.history if isinstance(self.parent, ManipulatedSet) else []
        return [*before, (self.manipulation, self.parameters)]


def normalise_level(stimuli: StimulusSet, level: float | None = None) -> ManipulatedSet:
    """Bring every sound to one RMS.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    level : float, optional
        RMS in units of full scale; the mean RMS of the sounds if not given (Kim et al. 2024).

    Returns
    -------
    ManipulatedSet
        The same sounds at one level. Samples may exceed full scale; nothing is clipped.

    Raises
    ------
    StimulusError
        If the level is not positive, or a sound is silent (when it is played).
    """
    target = float(np.mean([rms(stimuli.waveform(i)[0]) for i in stimuli.ids])) if level is None else level
    if not target > 0:
        raise StimulusError(f"sounds cannot be brought to an RMS of {target}: expected a positive one, of full scale")

    def scale(stimulus_id: str, waveform: Waveform) -> float:
        own = rms(waveform)
        if own == 0:
            raise StimulusError(f"stimulus {stimulus_id!r} is silent: it cannot be brought to an RMS of {target}")
        return target / own

    return _scaled(stimuli, "normalise_level", {"rms": target}, scale)


def attenuate(stimuli: StimulusSet, power_ratio: float, categories: Sequence[str] | None = None) -> ManipulatedSet:
    """Lower the power of the sounds of some categories.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    power_ratio : float
        Power after / power before, for instance 1/64; the RMS changes by its square root.
    categories : sequence of str, optional
        Whose sounds, by the column ``category``; all if not given.

    Returns
    -------
    ManipulatedSet
        The other sounds stay as they are.

    Raises
    ------
    StimulusError
        If the ratio is not positive, or a category is unknown.
    """
    if not power_ratio > 0:
        raise StimulusError(f"the power ratio is {power_ratio}, expected a positive one, such as 1/64 = 0.015625")
    for name in categories or ():
        if name not in stimuli.categories:
            raise StimulusError(f"{stimuli.name} has no category {name!r}; {did_you_mean(name, stimuli.categories)}")
    chosen = None if categories is None else frozenset(categories)
    column = stimuli.table["category"]
    gain = float(np.sqrt(power_ratio))

    def scale(stimulus_id: str, _waveform: Waveform) -> float:
        return gain if chosen is None or str(column[stimulus_id]) in chosen else 1.0

    parameters = {"power_ratio": power_ratio, "categories": None if chosen is None else sorted(chosen)}
    return _scaled(stimuli, "attenuate", parameters, scale)


def _scaled(
    stimuli: StimulusSet, manipulation: str, parameters: dict[str, Any], scale: Callable[[str, Waveform], float]
) -> ManipulatedSet:
    """Make a set whose waveforms are those of another times a factor."""

    def source(stimulus_id: str) -> tuple[Waveform, int]:
        waveform, rate = stimuli.waveform(stimulus_id)
        return (waveform * np.float32(scale(stimulus_id, waveform))).astype(np.float32), rate

    options = ", ".join(f"{k}={v:.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in parameters.items())
    # The level that the parent's manifest asks for is in its waveforms already.
    manifest = stimuli.manifest.model_copy(
        update={"name": f"{stimuli.name} > {manipulation}({options})", "target_rms": None}
    )
    return ManipulatedSet(manifest, stimuli.table, source, None, stimuli, manipulation, parameters)
