"""Manipulations: a stimulus set gives another, whose sounds are made when they are played.

Each is a function of a set and its parameters, and has a name, for recipes: ``scramble(stimuli, 250)`` is
``manipulate(stimuli, "scramble", window_ms=250)``. They keep the sample rate, and the length unless they are about it;
they compute in double precision and give float32, in which samples may exceed full scale. A lab's own is added by the
entry-point group ``brainalign.manipulations`` or by ``@MANIPULATIONS.register(name)``.
"""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from brainalign.errors import StimulusError, did_you_mean
from brainalign.stimuli.manipulations.base import MANIPULATIONS, ManipulatedSet, manipulated
from brainalign.stimuli.manipulations.level import add_noise, attenuate, normalise_level
from brainalign.stimuli.manipulations.order import scramble, time_reverse
from brainalign.stimuli.manipulations.room import reverberate
from brainalign.stimuli.manipulations.spectrum import (
    high_pass,
    low_pass,
    modulation_matched_noise,
    phase_randomise,
    spectrally_matched_noise,
)
from brainalign.stimuli.manipulations.tempo import change_pitch, change_tempo
from brainalign.stimuli.sets import StimulusSet

__all__ = [
    "MANIPULATIONS",
    "ManipulatedSet",
    "add_noise",
    "attenuate",
    "change_pitch",
    "change_tempo",
    "high_pass",
    "low_pass",
    "manipulate",
    "manipulated",
    "modulation_matched_noise",
    "normalise_level",
    "phase_randomise",
    "reverberate",
    "scramble",
    "spectrally_matched_noise",
    "time_reverse",
]


def manipulate(stimuli: StimulusSet, name: str, **parameters: Any) -> ManipulatedSet:
    """Manipulate a set by the name of the manipulation.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    name : str
        Such as ``"phase-randomise"``; ``"phase_randomise"`` is the same, so that an entry of
        :attr:`ManipulatedSet.history` makes its set again.
    **parameters
        Of the manipulation.

    Returns
    -------
    ManipulatedSet
        Nothing is computed before a sound is played, but for the mean level where a manipulation needs it.

    Raises
    ------
    StimulusError
        If there is no such manipulation, or a parameter is unknown, is lacking, or has the wrong type or value.
    """
    function = MANIPULATIONS.get(name.replace("_", "-"))
    known = dict(list(inspect.signature(function).parameters.items())[1:])
    hints = get_type_hints(function, include_extras=True)
    for key, value in parameters.items():
        if key not in known:
            raise StimulusError(f"the manipulation {name!r} has no parameter {key!r}; {did_you_mean(key, known)}")
        try:
            TypeAdapter(hints.get(key, Any), config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError as why:
            message = why.errors()[0]["msg"]
            raise StimulusError(f"the manipulation {name!r}, parameter {key}: {message}, found {value!r}") from why
    for key, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and key not in parameters:
            raise StimulusError(f"the manipulation {name!r} needs the parameter {key!r}")
    made: ManipulatedSet = function(stimuli, **parameters)
    return made
