"""What all manipulations share: the set that they give, their registry, checks and random numbers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import StimulusError
from brainalign.registry import Registry
from brainalign.stimuli.audio import Waveform
from brainalign.stimuli.sets import StimulusSet

if TYPE_CHECKING:
    from brainalign.stimuli._parts import Draws

Signal: TypeAlias = NDArray[np.float64]
#: Takes a sound, its rate in Hz and its stimulus id; gives the manipulated sound.
Alter: TypeAlias = Callable[[Signal, int, str], Signal]

#: Functions of a stimulus set and parameters that give a :class:`ManipulatedSet`, by name.
MANIPULATIONS = Registry("manipulation", "brainalign.manipulations", StimulusError)


@dataclass(frozen=True, repr=False)
class ManipulatedSet(StimulusSet):
    """A stimulus set made from another.

    Sounds are made each time they are played; :func:`~brainalign.stimuli.writing.write_set` keeps them.

    Attributes
    ----------
    parent : StimulusSet
        What it was made from.
    manipulation : str
        Name of the function that made it.
    parameters : mapping
        Its parameters, the seed among them.
    history : list of (str, mapping)
        Manipulations and their parameters, the first that was made first.
    """

    parent: StimulusSet | None = None
    manipulation: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def history(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Manipulations and their parameters, the first that was made first."""
        before = self.parent.history if isinstance(self.parent, ManipulatedSet) else []
        return [*before, (self.manipulation, self.parameters)]


def manipulated(stimuli: StimulusSet, manipulation: str, parameters: Mapping[str, Any], alter: Alter) -> ManipulatedSet:
    """Make a set whose sounds are those of another, altered when they are played.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    manipulation : str
        Name of the function that is called.
    parameters : mapping
        Its parameters; with them and the name, :func:`~brainalign.stimuli.manipulations.manipulate` makes the same set.
    alter : callable
        Takes a sound (float64, shape (n_samples,), neither empty nor silent), its rate in Hz and its stimulus id, and
        gives the new one.

    Returns
    -------
    ManipulatedSet
        At the rate of the parent, float32. Samples may exceed full scale; nothing is clipped.

    Raises
    ------
    StimulusError
        When a sound is played that is empty, silent, or holds NaN or infinite samples.
    """

    def source(stimulus_id: str) -> tuple[Waveform, int]:
        waveform, rate = stimuli.waveform(stimulus_id)
        if not len(waveform):
            raise StimulusError(f"stimulus {stimulus_id!r} holds no samples; leave it out")
        if not np.isfinite(waveform).all():
            raise StimulusError(f"stimulus {stimulus_id!r} holds NaN or infinite samples; leave it out")
        if not waveform.any():
            raise StimulusError(f"stimulus {stimulus_id!r} is silent: {manipulation} needs a sound; leave it out")
        return alter(waveform.astype(np.float64), rate, stimulus_id).astype(np.float32), rate

    options = ", ".join(f"{k}={v:.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in parameters.items())
    # The level that the parent's manifest asks for is in its waveforms already.
    manifest = stimuli.manifest.model_copy(
        update={"name": f"{stimuli.name} > {manipulation}({options})", "target_rms": None}
    )
    return ManipulatedSet(manifest, stimuli.table, source, None, stimuli, manipulation, parameters)


def draws_for(seed: int, manipulation: str, stimulus_id: str) -> Draws:
    """Return random numbers that belong to one sound: other sounds of the set do not change them.

    Parameters
    ----------
    seed : int
        Not negative.
    manipulation : str
        Name of the function: two manipulations with one seed draw independent numbers.
    stimulus_id : str
        Which sound.

    Returns
    -------
    Draws
        The same under every version of numpy.
    """
    from brainalign.stimuli._parts import Draws

    key = hashlib.sha256(f"{manipulation}\n{stimulus_id}".encode()).digest()[:8]
    return Draws(seed, int.from_bytes(key, "big"))


def check_seed(seed: int) -> None:
    """Raise a StimulusError unless a seed is an integer that is not negative."""
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise StimulusError(f"the seed is {seed!r}, expected an integer that is not negative")


def check_positive(what: str, value: float, *, zero: bool = False) -> None:
    """Raise a StimulusError unless a parameter is finite and positive (or 0, if `zero`)."""
    if not (math.isfinite(value) and (value > 0 or (zero and value == 0))):
        raise StimulusError(f"{what} is {value:g}, expected a finite number {'from 0 on' if zero else 'above 0'}")


def check_finite(what: str, value: float) -> None:
    """Raise a StimulusError unless a parameter is finite."""
    if not math.isfinite(value):
        raise StimulusError(f"{what} is {value:g}, expected a finite number")


def check_length(signal: Signal, rate: int, n_samples: int, why: str) -> None:
    """Raise a StimulusError if a sound has fewer samples than are needed."""
    if len(signal) < n_samples:
        raise StimulusError(
            f"the sound is too short, {1000 * len(signal) / rate:.4g} ms; "
            f"{why} needs at least {1000 * n_samples / rate:.4g} ms"
        )
