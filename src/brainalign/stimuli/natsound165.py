"""The 165 natural sounds of Norman-Haignere, Kanwisher & McDermott 2015 (Neuron 88:1281)."""

from __future__ import annotations

from brainalign._files import shipped
from brainalign.stimuli.fetch import check_fetched, published_digests
from brainalign.stimuli.sets import StimulusSet, read_stimulus_set

NAME = "natsound165"


def load_natsound165() -> StimulusSet:
    """Load the 165 natural sounds: 2 s each, eleven categories, in the order of the public release.

    Returns
    -------
    StimulusSet
        Named ``natsound165``.

    Raises
    ------
    DownloadError
        If the sounds have not been fetched.
    """
    sounds = [f for f in published_digests(NAME) if f.endswith(".wav")]
    folder = check_fetched(NAME, sounds)
    return read_stimulus_set(shipped("stimuli") / NAME, audio_folder=folder)
