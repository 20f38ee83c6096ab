"""Networks whose last layer names what they hear."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from brainalign.errors import ModelError
from brainalign.models.hooked import HookedModel


@dataclass(frozen=True)
class Tagger(HookedModel):
    """A network with named outputs.

    Attributes
    ----------
    class_names : tuple of str
        What the outputs stand for, in their order; empty for random and permuted weights.
    """

    class_names: tuple[str, ...] = ()

    def scores(self, waveforms: Tensor) -> Tensor:
        """Return how sure the network is that each class is heard, as its authors compute it for a clip.

        Parameters
        ----------
        waveforms : Tensor, shape (n_sounds, n_samples)
            Sounds of one length, at the model's sample rate, units of full scale.

        Returns
        -------
        Tensor, shape (n_sounds, n_classes)
            Between 0 and 1, in the order of `class_names`; the mean over the patches of the clip.

        Raises
        ------
        ModelError
            If the outputs stand for nothing, as those of random weights.
        """
        if not self.class_names:
            raise ModelError(f"the outputs of model {self.name!r} stand for no class; load trained weights for scores")
        module = self.module.to(waveforms.device).eval()
        with torch.inference_mode():
            scores: Tensor = module.scores(waveforms)  # type: ignore[operator]
        return scores

    def _control(self, module: nn.Module, control: str, seed: int) -> HookedModel:
        model = super()._control(module, control, seed)
        return replace(model, class_names=()) if isinstance(model, Tagger) else model
