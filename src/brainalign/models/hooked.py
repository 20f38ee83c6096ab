"""Any torch module as an AudioModel: activations of its submodules, taken by forward hooks."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brainalign.errors import ModelError, did_you_mean, name_some


@dataclass(frozen=True)
class HookedModel:
    """A torch module and which of its submodules are layers.

    Attributes
    ----------
    name : str
        Identifier.
    module : nn.Module
        Takes waveforms (n_sounds, n_samples); its front end is a submodule of it.
    sample_rate : int
        Rate in Hz that it takes.
    layouts : mapping of str to str
        Submodule paths, in order of depth, and the axes of their outputs (see AudioModel).
    minimum_samples : int
        The shortest input that it can take.
    record : mapping
        What determines the output beyond the name.
    """

    name: str
    module: nn.Module
    sample_rate: int
    layouts: Mapping[str, str]
    minimum_samples: int = 1
    record: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the layer names and put the module into evaluation mode.

        Raises
        ------
        ModelError
            If the module has no submodule of that name.
        """
        paths = [p for p, _ in self.module.named_modules() if p]
        for layer in self.layouts:
            if layer not in paths:
                raise ModelError(f"model {self.name!r} has no layer {layer!r}; {did_you_mean(layer, paths)}")
        self.module.eval()

    def activations(self, waveforms: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations of layers.

        Parameters
        ----------
        waveforms : Tensor, shape (n_sounds, n_samples)
            Sounds of one length, at the model's sample rate, units of full scale. The module is moved to their device.
        layers : sequence of str
            Which of the model's layers.

        Returns
        -------
        dict of str to Tensor
            For each layer its activations, axes as in `layouts`.

        Raises
        ------
        ModelError
            If a layer is unknown, is not called exactly once, or gives something else than a tensor.
        """
        unknown = [layer for layer in layers if layer not in self.layouts]
        if unknown:
            raise ModelError(
                f"model {self.name!r} has no layer {unknown[0]!r}; {did_you_mean(unknown[0], self.layouts)}"
            )
        module = self.module.to(waveforms.device).eval()
        with torch.inference_mode(), recording(module, layers) as outputs:
            module(waveforms)
        for layer in layers:
            calls = len(outputs[layer])
            if calls != 1:
                raise ModelError(
                    f"model {self.name!r} calls the layer {layer!r} {calls} times in one pass, expected once; "
                    f"choose a layer that encloses or follows it"
                )
        return {layer: outputs[layer][0] for layer in layers}

    def with_random_weights(self, seed: int) -> HookedModel:
        """Return a copy with weights drawn afresh by each submodule's own initialisation.

        Parameters
        ----------
        seed : int
            Seed of the draw. The global generator of torch is left as it was.

        Returns
        -------
        HookedModel
            Named ``NAME@random:SEED``, on the CPU.

        Raises
        ------
        ModelError
            If a submodule has weights of its own and no ``reset_parameters``: they would stay as they are.
        """
        module = copy.deepcopy(self.module).cpu()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            for path, part in module.named_modules():
                reset = getattr(part, "reset_parameters", None)
                if callable(reset):
                    reset()
                elif own := [name for name, _ in part.named_parameters(recurse=False)]:
                    raise ModelError(
                        f"model {self.name!r}: {type(part).__name__} {path!r} cannot draw its weights afresh "
                        f"({name_some(own)}): it has no reset_parameters()"
                    )
        return self._control(module, "random", seed)

    def with_permuted_weights(self, seed: int) -> HookedModel:
        """Return a copy whose weights are shuffled within each tensor.

        The control of Tuckute et al. 2023 (PLoS Biology, e3002366): the distribution of the weights of each
        layer stays, their arrangement goes. Running statistics of batch normalisation are shuffled alike.

        Parameters
        ----------
        seed : int
            Seed of the shuffle.

        Returns
        -------
        HookedModel
            Named ``NAME@permuted:SEED``.
        """
        module = copy.deepcopy(self.module)
        generator = torch.Generator().manual_seed(seed)
        learned = {name for name, _ in module.named_parameters()}
        for name, tensor in module.state_dict().items():
            if name in learned or name.endswith(("running_mean", "running_var")):
                order = torch.randperm(tensor.numel(), generator=generator)
                tensor.copy_(tensor.flatten()[order].view_as(tensor))
        return self._control(module, "permuted", seed)

    def _control(self, module: nn.Module, control: str, seed: int) -> HookedModel:
        record = {
            **self.record,
            "control": f"{control} weights, seed {seed}",
            "weights_sha256": weights_digest(module),
        }
        return replace(self, name=f"{self.name}@{control}:{seed}", module=module, record=record)


@contextmanager
def recording(module: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Record the outputs of submodules while the block runs.

    Each output is cloned in the hook: a later in-place operation (an in-place ReLU after a batch normalisation) would
    otherwise change what was recorded. One entry is kept per call.

    Parameters
    ----------
    module : nn.Module
        The module whose submodules are watched.
    layers : sequence of str
        Paths of submodules.

    Yields
    ------
    dict of str to list of Tensor
        Filled by forward passes; the hooks are removed at the end, also after an error.
    """
    outputs: dict[str, list[Tensor]] = {layer: [] for layer in layers}

    def keep(layer: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                raise ModelError(
                    f"layer {layer!r} gives a {type(output).__name__}, not a tensor; choose a layer inside it"
                )
            outputs[layer].append(output.detach().clone())

        return hook

    handles = [module.get_submodule(layer).register_forward_hook(keep(layer)) for layer in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def ablating(model: HookedModel, units: Mapping[str, Sequence[int]]) -> Iterator[HookedModel]:
    """Silence units of a model while the block runs: their activations are replaced by 0 during inference.

    Parameters
    ----------
    model : HookedModel
        What listens. All later layers, and recordings of the layer itself, see the zeros.
    units : mapping of str to sequence of int
        For each layer the indices of the units, as the coordinate ``channel`` of extracted Responses counts them: over
        all axes but time, channel-major. A unit is silent in every frame.

    Yields
    ------
    HookedModel
        `model` itself; the hooks are removed at the end, also after an error.

    Raises
    ------
    ModelError
        If the model has no such layer, or the layer, when it runs, has no such unit.
    """
    for layer in units:
        if layer not in model.layouts:
            raise ModelError(f"model {model.name!r} has no layer {layer!r}; {did_you_mean(layer, model.layouts)}")

    def silence(layer: str, silent: Sequence[int]) -> Any:
        layout = model.layouts[layer]

        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            shape = [n for axis, n in zip(layout, output.shape, strict=True) if axis not in "BT"]
            mask = torch.zeros(math.prod(shape), dtype=torch.bool, device=output.device)
            wrong = [i for i in silent if not 0 <= i < len(mask)]
            if wrong:
                raise ModelError(
                    f"layer {layer!r} of {model.name!r} has {len(mask)} units, there is no unit {wrong[0]}"
                )
            mask[list(silent)] = True
            mask = mask.view(shape).unsqueeze(0)
            return output.masked_fill(mask.unsqueeze(layout.index("T")) if "T" in layout else mask, 0.0)

        return hook

    handles = [model.module.get_submodule(k).register_forward_hook(silence(k, v)) for k, v in units.items()]
    try:
        yield model
    finally:
        for handle in handles:
            handle.remove()


def load_weights(module: nn.Module, path: Path) -> None:
    """Load weights from a safetensors file into a module.

    Parameters
    ----------
    module : nn.Module
        Changed in place.
    path : Path
        A safetensors file; other formats may hold code and are refused.

    Raises
    ------
    ModelError
        If the file is missing, is not safetensors, or belongs to another architecture; the message names the
        tensors that differ.
    """
    import safetensors
    from safetensors.torch import load_file

    if not path.is_file():
        raise ModelError(f"no weights file {path}")
    try:
        weights = load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as why:
        raise ModelError(f"{path} is not a safetensors file: {why}") from why
    own = module.state_dict()
    differ = [f"{k} is missing" for k in own if k not in weights]
    differ += [f"{k} is unknown" for k in weights if k not in own]
    differ += [
        f"{k} is {tuple(weights[k].shape)}, expected {tuple(own[k].shape)}"
        for k in own
        if k in weights and weights[k].shape != own[k].shape
    ]
    if differ:
        raise ModelError(f"{path.name} holds weights of another architecture: {name_some(differ, 4)}")
    module.load_state_dict({k: v.to(own[k].dtype) for k, v in weights.items()})


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 over names and values of all tensors of a module."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
