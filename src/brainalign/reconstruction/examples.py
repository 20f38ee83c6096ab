"""Sounds of a reconstruction that a report plays side by side."""

from __future__ import annotations

from dataclasses import dataclass

from brainalign.errors import ReconstructionError
from brainalign.stimuli.audio import Waveform

#: What an example may be, in the order in which a report shows them: the clip that was heard, the nearest clip of the
#: index, a sound made from the decoded embedding, and what the same path gives for the clip's own embedding.
KINDS = ("original", "retrieved", "generated", "oracle")


@dataclass(frozen=True, eq=False)
class Example:
    """One sound of a reconstruction.

    Attributes
    ----------
    clip : str
        Stimulus id of the clip that the subject heard.
    category : str
        Its category (genre).
    kind : str
        One of :data:`KINDS`.
    title : str
        What this sound is: the title of a retrieved track, say.
    waveform : ndarray, shape (n_samples,)
        Mono, units of full scale.
    sample_rate : int
        Its rate in Hz.
    brain : str
        Label of the brain data it was decoded from; ``""`` for an original and an oracle.
    subject : str
        Whose responses it was decoded from; ``""`` for an original, an oracle, and responses pooled over subjects.
    similarity : float or None
        Cosine (after the mean of the library was taken away, where that is asked for) of a track with the embedding by
        which it was found: the one decoded from the brain data, or
        for an oracle that of the clip; None where there is none to give.

    Raises
    ------
    ReconstructionError
        If the kind is another.
    """

    clip: str
    category: str
    kind: str
    title: str
    waveform: Waveform
    sample_rate: int
    brain: str = ""
    subject: str = ""
    similarity: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ReconstructionError(f"an example of {self.clip!r} is {self.kind!r}; it is one of {', '.join(KINDS)}")
