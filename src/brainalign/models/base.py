"""The form that every audio model has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from brainalign._html import html_card, html_fold, html_list, html_table

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class AudioModel(Protocol):
    """Turns waveforms into activations of named layers.

    Attributes
    ----------
    name : str
        Identifier, as in tables.
    sample_rate : int
        The rate in Hz at which the model takes its input.
    layouts : mapping of str to str
        The layers, in order of depth, and the axes of their activations, one letter each: B (batch) first, at most one
        T (time), C (channel), F (frequency), and D, E, G for further axes: ``"BC"``, ``"BCT"``, ``"BTC"``, ``"BCFT"``,
        ``"BTCF"`` and the like. All axes but B and T together are the units; a layer ``"B"`` or ``"BT"`` has one. An
        attention map has a second axis of time, S.
    minimum_samples : int
        The shortest input that the model can take.
    record : mapping
        What determines its output beyond the name: front end, weights, digests. Goes into the provenance.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def sample_rate(self) -> int: ...  # noqa: D102
    @property
    def layouts(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def minimum_samples(self) -> int: ...  # noqa: D102
    @property
    def record(self) -> Mapping[str, Any]: ...  # noqa: D102

    def activations(self, waveforms: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations of layers.

        Parameters
        ----------
        waveforms : Tensor, shape (n_sounds, n_samples)
            Sounds of one length, at the model's sample rate, units of full scale.
        layers : sequence of str
            Which of the model's layers.

        Returns
        -------
        dict of str to Tensor
            For each layer its activations, axes as in `layouts`; memory of their own, and only frames that rest on
            the sound (no frames of padding that the model adds to a fixed length).
        """
        ...


class ShownModel:
    """What a notebook shows of a model: a class that has the attributes of an AudioModel inherits it."""

    def _repr_html_(self: AudioModel) -> str:
        facts = {"sample rate": f"{self.sample_rate} Hz", "shortest sound": f"{self.minimum_samples} samples"}
        layers = html_table(("layer", "axes"), self.layouts.items(), "layers")
        record = html_list("record", [f"{name}: {value}" for name, value in self.record.items()])
        return html_card(self.name, facts, html_fold(f"layers ({len(self.layouts)})", layers), record)
