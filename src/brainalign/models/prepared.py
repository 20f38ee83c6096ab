"""Networks that want their input prepared and their outputs put in order: what the adapters of model families share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from brainalign.errors import ModelError
from brainalign.models.hooked import HookedModel, Pool

#: Takes the output of a layer; gives one with the axes of the layout, and only frames of the sound. It is also told the
#: number of samples of the sounds.
Arrange = Callable[[Tensor, int], Tensor]

#: Feature extractors take stereo for a batch; sounds are mono before they get there.
MONO_RULE = "the mean of the channels, before the model"


@dataclass(frozen=True)
class PreparedModel(HookedModel):
    """A HookedModel whose outputs need more than a cut to be as `layouts` says.

    Attributes
    ----------
    arrange : mapping of str to callable
        For layers whose output is not yet as the layout says, see :data:`Arrange`.
    in_pieces : bool
        The network is called on pieces of a sound, one after the other; their frames are joined.
    maximum_samples : int, optional
        The longest input that it can take; longer sounds are an error, never cut.
    """

    arrange: Mapping[str, Arrange] = field(default_factory=dict)
    in_pieces: bool = False
    maximum_samples: int | None = None

    def activations(self, waveforms: Tensor, layers: Sequence[str], pool: Pool | None = None) -> dict[str, Tensor]:
        """Return the activations of layers.

        Parameters
        ----------
        waveforms : Tensor, shape (n_sounds, n_samples)
            Mono sounds of one length, at the model's sample rate, units of full scale.
        layers : sequence of str
            Which of the model's layers.
        pool : callable, optional
            See :meth:`HookedModel.activations`.

        Returns
        -------
        dict of str to Tensor
            For each layer its activations, axes as in `layouts`, frames of the sound only, or what `pool` made of them.

        Raises
        ------
        ModelError
            As HookedModel does; also if the waveforms are not mono, or are too short or too long.
        """
        if waveforms.ndim != 2:
            raise ModelError(
                f"model {self.name!r} takes mono sounds, shape (n_sounds, n_samples), found {tuple(waveforms.shape)}"
            )
        found, rate = waveforms.shape[-1], self.sample_rate
        if found < self.minimum_samples:
            raise ModelError(
                f"model {self.name!r} takes at least {self.minimum_samples / rate:.3f} s, found {found / rate:.3f} s"
            )
        if self.maximum_samples is not None and found > self.maximum_samples:
            raise ModelError(
                f"model {self.name!r} takes at most {self.maximum_samples / rate:.2f} s, found {found / rate:.2f} s; "
                f"cut the sounds into clips, it would leave out the rest"
            )
        return super().activations(waveforms, layers, pool)

    @property
    def _whole_calls(self) -> bool:
        return not self.in_pieces

    def _as_laid_out(self, layer: str, calls: Sequence[Tensor], waveforms: Tensor) -> Tensor:
        if self.in_pieces and len(calls) > 1:
            calls = [torch.cat(list(calls), dim=self.layouts[layer].index("T"))]
        if layer in self.arrange and len(calls) == 1:
            calls = [self.arrange[layer](calls[0], waveforms.shape[-1]).contiguous()]
        return super()._as_laid_out(layer, calls, waveforms)


def receptive_field(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Return the receptive field and the stride, in samples, of unpadded convolutions in a row.

    Parameters
    ----------
    sizes : iterable of (int, int)
        Kernel and stride of each.

    Returns
    -------
    tuple of (int, int)
        Samples that one output rests on, and samples between two outputs.
    """
    pairs = list(sizes)
    strides = [math.prod(stride for _, stride in pairs[:i]) for i in range(len(pairs) + 1)]
    return 1 + sum((kernel - 1) * step for (kernel, _), step in zip(pairs, strides, strict=False)), strides[-1]


def whole_frames(stride: int, n_samples: int) -> int:
    """Return how many frames of `stride` samples a sound fills."""
    return n_samples // stride
