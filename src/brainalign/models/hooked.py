"""Any torch module as an AudioModel: activations of its submodules, taken by forward hooks."""

from __future__ import annotations

import copy
import fnmatch
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brainalign._reading import reading
from brainalign.errors import ModelError, did_you_mean, name_some
from brainalign.models.base import ShownModel
from brainalign.models.hooks import Target, find_item, hooking, parse_layer, recording, replace_item

#: Takes a layer's name and its activations, gives what is wanted of them.
Pool = Callable[[str, Tensor], Tensor]


@dataclass(frozen=True)
class HookedModel(ShownModel):
    """A torch module and which outputs of its submodules are layers.

    :meth:`from_module` finds the layers by itself.

    Attributes
    ----------
    name : str
        Identifier.
    module : nn.Module
        Takes waveforms (n_sounds, n_samples); its front end is a submodule of it.
    sample_rate : int
        Rate in Hz that it takes.
    layouts : mapping of str to str
        Layer names (see :mod:`brainalign.models.hooks`), in order of depth, and the axes of their activations (see
        AudioModel), batch first.
    minimum_samples : int
        The shortest input that it can take.
    record : mapping
        What determines the output beyond the name.
    forward : callable, optional
        How the module is called, ``forward(module, waveforms)``, where ``module(waveforms)`` will not do.
    batch_axes : mapping of str to int
        Where the axis of sounds lies in what a submodule gives, where it is not the first; it is moved there.
    valid_frames : mapping of str to callable
        For layers whose module pads the sound: the number of frames, from the first on, that rest on the sound,
        given its ``n_samples``. The others are cut.
    untrained : callable, optional
        Builds the module with untrained weights, drawn from torch's global generator; without it,
        :meth:`with_random_weights` calls the ``reset_parameters`` of each submodule.
    fixed : sequence of str
        Globs of parameters and buffers that were never learned (a filter bank held as a convolution); control
        conditions leave them as they are.
    """

    name: str
    module: nn.Module
    sample_rate: int
    layouts: Mapping[str, str]
    minimum_samples: int = 1
    record: Mapping[str, Any] = field(default_factory=dict)
    forward: Callable[[nn.Module, Tensor], Any] | None = None
    batch_axes: Mapping[str, int] = field(default_factory=dict)
    valid_frames: Mapping[str, Callable[[int], int]] = field(default_factory=dict)
    untrained: Callable[[], nn.Module] | None = None
    fixed: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the layer names and put the module into evaluation mode.

        Raises
        ------
        ModelError
            If the module has no submodule of that name, or a layout does not begin with the batch.
        """
        for layer, layout in self.layouts.items():
            try:
                parse_layer(self.module, layer)
            except ModelError as why:
                raise ModelError(f"model {self.name!r} has {why}") from why
            if not layout.startswith("B") or len(set(layout)) < len(layout):
                raise ModelError(
                    f"model {self.name!r}, layer {layer!r}: a layout begins with 'B' and names each axis once, "
                    f"found {layout!r}"
                )
        self.module.eval()

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        sample_rate: int,
        *,
        name: str | None = None,
        forward: Callable[[nn.Module, Tensor], Any] | None = None,
        lengths: tuple[int, int] | None = None,
        attention_maps: bool = False,
        duplicates: bool = False,
        **fields: Any,
    ) -> HookedModel:
        """Make a model of any module that takes waveforms, and find all its layers.

        Parameters
        ----------
        module : nn.Module
            Takes waveforms (n_sounds, n_samples) or (n_sounds, 1, n_samples), whichever runs.
        sample_rate : int
            Rate in Hz that it takes.
        name : str, optional
            Identifier; the name of the class if not given.
        forward, lengths, attention_maps, duplicates
            See :func:`~brainalign.models.discovery.discover_layers`.
        **fields
            Further attributes of the model, such as ``record`` or ``minimum_samples``, which is otherwise searched.

        Returns
        -------
        HookedModel
            With every layer that has an axis of sounds; those left out, and why, stand in
            ``record["left_out_layers"]``.

        Raises
        ------
        ModelError
            If the module takes neither form of input, or has no layers.
        """
        from brainalign.models.discovery import discover_layers, find_minimum_samples

        found = discover_layers(
            module,
            sample_rate,
            forward=forward,
            lengths=lengths,
            attention_maps=attention_maps,
            duplicates=duplicates,
        )
        if "minimum_samples" not in fields:
            fields["minimum_samples"] = find_minimum_samples(module, found, lengths[0] if lengths else 2 * sample_rate)
        record = {"weights_sha256": weights_digest(module), "input": found.input, **fields.pop("record", {})}
        return cls(
            name=name or type(module).__name__,
            module=module,
            sample_rate=sample_rate,
            layouts=found.layouts,
            forward=found.forward,
            batch_axes=found.batch_axes,
            record={**record, "left_out_layers": found.left_out},
            **fields,
        )

    def activations(self, waveforms: Tensor, layers: Sequence[str], pool: Pool | None = None) -> dict[str, Tensor]:
        """Return the activations of layers.

        Parameters
        ----------
        waveforms : Tensor, shape (n_sounds, n_samples)
            Sounds of one length, at the model's sample rate, units of full scale. The module is moved to their device.
        layers : sequence of str
            Which of the model's layers.
        pool : callable, optional
            Takes a layer's name and its activations, gives what is wanted of them. It is called in the hook, so that
            nothing larger is copied.

        Returns
        -------
        dict of str to Tensor
            For each layer its activations, axes as in `layouts`, or what `pool` made of them; computed in evaluation
            mode, without gradient.

        Raises
        ------
        ModelError
            If a layer is unknown, is not called exactly once, or gives something else than one row per sound.
        """
        for layer in layers:
            self._check_layer(layer)
        module = self.module.to(waveforms.device).eval()

        def take(layer: str, output: Tensor) -> Tensor:
            assert pool is not None
            pooled = pool(layer, self._as_laid_out(layer, [output], waveforms))
            shared = pooled.untyped_storage().data_ptr() == output.untyped_storage().data_ptr()
            return pooled.clone() if shared else pooled

        at_once = pool is not None and self._whole_calls
        with torch.inference_mode(), recording(module, layers, take if at_once else None) as outputs:
            module(waveforms) if self.forward is None else self.forward(module, waveforms)
        if at_once:
            return {layer: self._only_call(layer, outputs[layer]) for layer in layers}
        laid_out = {layer: self._as_laid_out(layer, outputs[layer], waveforms) for layer in layers}
        return laid_out if pool is None else {layer: pool(layer, values) for layer, values in laid_out.items()}

    @property
    def _whole_calls(self) -> bool:
        """Whether one call of a layer gives all of its activations."""
        return True

    def _check_layer(self, layer: str) -> None:
        if layer in self.layouts:
            return
        why = self.record.get("left_out_layers", {}).get(layer)
        hint = f"it was left out: {why}" if why else did_you_mean(layer, self.layouts)
        raise ModelError(f"model {self.name!r} has no layer {layer!r}; {hint}")

    def _only_call(self, layer: str, calls: Sequence[Tensor]) -> Tensor:
        if len(calls) != 1:
            choices = f"name one: {layer + ':0'!r} to {f'{layer}:{len(calls) - 1}'!r}"
            hint = choices if calls else "choose one that encloses or follows it"
            raise ModelError(
                f"model {self.name!r} calls the layer {layer!r} {len(calls)} times in one pass, expected once; {hint}"
            )
        return calls[0]

    def _as_laid_out(self, layer: str, calls: Sequence[Tensor], waveforms: Tensor) -> Tensor:
        """Return the one output of a layer, batch first, without frames of padding."""
        layout, values = self.layouts[layer], self._only_call(layer, calls)
        if values.ndim == len(layout):
            values = values.movedim(self.batch_axes.get(layer, 0), 0)
        if values.ndim != len(layout) or len(values) != len(waveforms):
            raise ModelError(
                f"model {self.name!r}, layer {layer!r}: an output of shape {tuple(calls[0].shape)} for "
                f"{len(waveforms)} sounds does not fit the layout {layout!r}"
            )
        if layer not in self.valid_frames:
            return values
        axis, valid = layout.index("T"), self.valid_frames[layer](waveforms.shape[1])
        if not 1 <= valid <= values.shape[axis]:
            raise ModelError(
                f"model {self.name!r}, layer {layer!r}: {valid} of {values.shape[axis]} frames rest on a sound of "
                f"{waveforms.shape[1]} samples; is it too short or too long for the model?"
            )
        return values.narrow(axis, 0, valid).contiguous()

    def with_random_weights(self, seed: int) -> HookedModel:
        """Return a copy with weights drawn afresh: by `untrained`, or by each submodule's own initialisation.

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
            If weights would stay as they are: a submodule with weights of its own has no ``reset_parameters``, or one
            that does not reach them (as with weight normalisation).
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            module = self._redrawn() if self.untrained is None else self.untrained().cpu()
        own = self.module.state_dict()
        for name, tensor in module.state_dict().items():
            if self._is_fixed(name):
                tensor.copy_(own[name])
        return self._control(module, "random", seed)

    def _redrawn(self) -> nn.Module:
        """Copy the module and let each submodule draw its weights."""
        module = copy.deepcopy(self.module).cpu()
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.is_floating_point():
                    parameter.fill_(torch.nan)
        for part in module.modules():
            # torch's own attention spells it with an underscore.
            reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
            if callable(reset):
                reset()
        for path, part in module.named_modules():
            prefix = f"{path}." if path else ""
            left = [
                name
                for name, parameter in part.named_parameters(recurse=False)
                if parameter.isnan().any() and not self._is_fixed(prefix + name)
            ]
            if left:
                raise ModelError(
                    f"model {self.name!r}: {type(part).__name__} {path!r} cannot draw its weights afresh "
                    f"({name_some(left)}): no reset_parameters() reaches them; build the model with untrained=..."
                )
        return module

    def _is_fixed(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.fixed)

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

        Raises
        ------
        ModelError
            If nothing in it was learned.
        """
        module = copy.deepcopy(self.module).cpu()
        generator = torch.Generator().manual_seed(seed)
        learned = {name for name, _ in module.named_parameters() if not self._is_fixed(name)}
        if not learned:
            raise ModelError(f"model {self.name!r} has no weights, so there is no permuted control of it")
        for name, tensor in module.state_dict().items():
            if name in learned or (name.endswith(("running_mean", "running_var")) and not self._is_fixed(name)):
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

    def silence(layer: str, target: Target, silent: Sequence[int]) -> Callable[[Any], Any]:
        calls = itertools.count()

        def hook(output: Any) -> Any:
            if next(calls) != target.call and target.call is not None:
                return None
            key = find_item(output, target.item, layer)
            return replace_item(output, key, lambda values: _silenced(model, layer, values, silent))

        return hook

    targets = {layer: parse_layer(model.module, layer) for layer in units}
    hooks = [(target.path, silence(layer, target, units[layer])) for layer, target in targets.items()]
    with hooking(model.module, hooks):
        yield model


def _silenced(model: HookedModel, layer: str, values: Tensor, silent: Sequence[int]) -> Tensor:
    """Return what a submodule gave with units set to 0."""
    layout, batch = model.layouts[layer], model.batch_axes.get(layer, 0)
    if values.ndim != len(layout):
        raise ModelError(
            f"layer {layer!r} of {model.name!r} cannot be ablated: the network's own output has shape "
            f"{tuple(values.shape)}, in which units do not lie as in the layout {layout!r}"
        )
    shape = [n for axis, n in zip(layout, values.movedim(batch, 0).shape, strict=True) if axis not in "BT"]
    mask = torch.zeros(math.prod(shape), dtype=torch.bool, device=values.device)
    wrong = [i for i in silent if not 0 <= i < len(mask)]
    if wrong:
        raise ModelError(f"layer {layer!r} of {model.name!r} has {len(mask)} units, there is no unit {wrong[0]}")
    mask[list(silent)] = True
    mask = mask.view(shape).unsqueeze(0)
    if "T" in layout:
        mask = mask.unsqueeze(layout.index("T"))
    return values.masked_fill(mask.movedim(0, batch), 0.0)


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
    from safetensors.torch import load_file

    if not path.is_file():
        raise ModelError(f"no weights file {path}")
    with reading(path, "a safetensors file", ModelError):
        weights = load_file(path)
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
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
