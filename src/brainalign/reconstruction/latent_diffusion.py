"""Music by latent diffusion, conditioned on one joint embedding of music and text: MusicLDM and AudioLDM.

A UNet removes noise from a latent image step by step (Rombach et al. 2022, arXiv:2112.10752), guided away from what it
would make of an empty text (Ho & Salimans 2022, arXiv:2207.12598); a variational autoencoder turns the latent into a
mel spectrogram, a vocoder that into sound (Liu et al. 2023, AudioLDM, arXiv:2301.12503; Chen et al. 2024, MusicLDM,
arXiv:2308.01546). The networks and the scheduler are those of diffusers and transformers; the published pipelines,
which take texts, are not needed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brainalign.errors import ReconstructionError, name_some
from brainalign.models.hooked import weights_digest
from brainalign.reconstruction.generator import check_guidance, optional

_PARTS = ("unet", "vae", "vocoder", "scheduler")


@dataclass(frozen=True)
class LatentDiffusion:
    """A generator out of a UNet, an autoencoder, a vocoder and a scheduler.

    Attributes
    ----------
    name : str
        Identifier.
    unet, vae, vocoder : Module
        As diffusers (``UNet2DConditionModel`` that takes the embedding as its class, ``AutoencoderKL``) and
        transformers (``SpeechT5HifiGan``) build them.
    scheduler : object
        Of diffusers, such as ``DDIMScheduler``.
    unconditional : Tensor, shape (width,), or None
        Embedding of the empty text, for guidance.
    n_steps : int
        Steps of denoising.
    guidance : float
        Weight of guidance; 1 is none.
    record : dict
        What determines the output.
    """

    name: str
    unet: nn.Module
    vae: nn.Module
    vocoder: nn.Module
    scheduler: Any
    unconditional: Tensor | None = None
    n_steps: int = 200
    guidance: float = 2.0
    record: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what can be checked before a step is taken."""
        most = int(self.scheduler.config.num_train_timesteps)
        if not 1 <= self.n_steps <= most:
            raise ReconstructionError(f"n_steps is {self.n_steps}, expected 1 to {most}")
        check_guidance(self.guidance)
        if self.guidance > 1 and self.unconditional is None:
            raise ReconstructionError(
                f"guidance of {self.guidance:g} needs the embedding of the empty text, and {self.name} has no text "
                f"encoder beside it; use guidance = 1"
            )

    @property
    def width(self) -> int:
        """Dimensions of the embedding."""
        return int(self.unet.config.projection_class_embeddings_input_dim)  # type: ignore[union-attr, arg-type]

    @property
    def sample_rate(self) -> int:
        """Of the vocoder, in Hz."""
        return int(self.vocoder.config.sampling_rate)  # type: ignore[union-attr, arg-type]

    def generate(self, embedding: NDArray[np.float64], seed: int, duration_s: float) -> NDArray[np.float32]:
        """Generate one sound.

        Parameters
        ----------
        embedding : ndarray, shape (width,)
            In the joint space of the network; brought to length 1, as those that it was trained with.
        seed : int
            Of the noise at the beginning.
        duration_s : float
            Length in s.

        Returns
        -------
        ndarray, shape (n_samples,)
            Float32.

        Raises
        ------
        ReconstructionError
            If the embedding has another width, or is zero or not finite.
        """
        condition = self.condition(embedding)
        vocoder: Any = self.vocoder.config
        hop = math.prod(vocoder.upsample_rates)
        n_frames = math.ceil(duration_s * self.sample_rate / hop)
        vae: Any = self.vae.config
        scale = 2 ** (len(vae.block_out_channels) - 1)
        unet: Any = self.unet.config
        shape = (1, unet.in_channels, math.ceil(n_frames / scale), vocoder.model_in_dim // scale)
        # Drawn on the processor, so that a seed means the same on every device.
        source = torch.Generator().manual_seed(seed)
        latent = torch.randn(shape, generator=source) * self.scheduler.init_noise_sigma
        with torch.inference_mode():
            self.scheduler.set_timesteps(self.n_steps)
            for step in self.scheduler.timesteps:
                noise = self.predicted_noise(latent, step, condition)
                latent = self.scheduler.step(noise, step, latent).prev_sample
            mel = self.vae.decode(latent / vae.scaling_factor).sample  # type: ignore[operator]
            waveform = self.vocoder(mel[:, 0])
        return np.asarray(waveform.reshape(-1)[: round(duration_s * self.sample_rate)].float().numpy())

    def condition(self, embedding: NDArray[np.float64]) -> Tensor:
        """Return what the UNet is given for an embedding: length 1, after the unconditional one if there is guidance.

        Parameters
        ----------
        embedding : ndarray, shape (width,)
            An embedding.

        Returns
        -------
        Tensor, shape (1 or 2, width)
            Rows for one pass through the UNet.

        Raises
        ------
        ReconstructionError
            If the embedding has another width, or is zero or not finite.
        """
        length = float(np.linalg.norm(embedding))
        if embedding.shape != (self.width,):
            raise ReconstructionError(
                f"{self.name} is conditioned on embeddings of width {self.width}, found {embedding.shape}"
            )
        if not (math.isfinite(length) and length > 0):
            raise ReconstructionError(f"the embedding for {self.name} is zero or not finite")
        own = torch.as_tensor(embedding / length, dtype=torch.float32)[None]
        if self.guidance <= 1 or self.unconditional is None:
            return own
        return torch.cat([self.unconditional.to(own)[None], own])

    def predicted_noise(self, latent: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        """Return the noise that the UNet finds in a latent, guided.

        Parameters
        ----------
        latent : Tensor, shape (1, n_channels, n_frames, n_bands)
            The latent.
        step : Tensor
            Step of the scheduler.
        condition : Tensor, shape (1 or 2, width)
            As :meth:`condition` gives it.

        Returns
        -------
        Tensor
            Of the shape of the latent.
        """
        given = self.scheduler.scale_model_input(torch.cat([latent] * len(condition)), step)
        found: Tensor = self.unet(given, step, encoder_hidden_states=None, class_labels=condition).sample
        if len(condition) == 1:
            return found
        empty, own = found.chunk(2)
        return empty + self.guidance * (own - empty)


def load_latent_diffusion(variant: str, *, n_steps: int = 200, guidance: float = 2.0) -> LatentDiffusion:
    """Load MusicLDM or AudioLDM from a local folder; nothing is downloaded.

    Parameters
    ----------
    variant : str
        A folder with ``unet``, ``vae``, ``vocoder`` and ``scheduler``, and for guidance ``text_encoder`` and
        ``tokenizer``, as diffusers saves the pipelines ``ucsd-reach/musicldm`` and ``cvssp/audioldm-s-full-v2``;
        weights as safetensors.
    n_steps : int
        Steps of denoising.
    guidance : float
        Weight of guidance; 1 is none.

    Returns
    -------
    LatentDiffusion
        Its record holds digests of the weights.

    Raises
    ------
    ReconstructionError
        If the folder lacks a part or it cannot be loaded, or the UNet takes no embedding as its class.
    MissingExtraError
        If diffusers or transformers are not installed.
    """
    diffusers, transformers = optional("diffusers"), optional("transformers")
    folder = Path(variant)
    missing = [part for part in _PARTS if not (folder / part).is_dir()]
    if not variant or missing:
        raise ReconstructionError(
            f"{variant or 'no folder'!r} lacks {name_some(missing or _PARTS)}; name the folder of a pipeline, "
            f"'musicldm:/PATH/TO/FOLDER'"
        )
    local = {"local_files_only": True, "use_safetensors": True}
    try:
        unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet", **local).eval()
        vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae", **local).eval()
        vocoder = transformers.SpeechT5HifiGan.from_pretrained(folder / "vocoder", **local).eval()
        scheduler = _scheduler(folder / "scheduler")
        unconditional = _empty_text(folder, local) if guidance > 1 else None
    except (OSError, ValueError, KeyError, RuntimeError) as why:
        raise ReconstructionError(f"{folder} cannot be loaded: {' '.join(str(why).split())}") from why
    if not unet.config.projection_class_embeddings_input_dim:
        raise ReconstructionError(f"the UNet of {folder} takes no embedding as its class; is it MusicLDM or AudioLDM?")
    record = {
        "weights_sha256": {k: weights_digest(m) for k, m in (("unet", unet), ("vae", vae), ("vocoder", vocoder))},
        "scheduler": type(scheduler).__name__,
        "n_steps": n_steps,
        "guidance": guidance,
    }
    return LatentDiffusion(folder.name, unet, vae, vocoder, scheduler, unconditional, n_steps, guidance, record)


def _scheduler(folder: Path) -> Any:
    """Build the scheduler that a folder names, if it is one of diffusers."""
    diffusers = optional("diffusers")
    name = str(json.loads((folder / "scheduler_config.json").read_text(encoding="utf-8"))["_class_name"])
    known: Any = getattr(diffusers, name, None)
    try:
        is_scheduler = issubclass(known, diffusers.SchedulerMixin)
    except TypeError:  # no class
        is_scheduler = False
    if not is_scheduler:
        raise ValueError(f"diffusers has no scheduler {name!r}")
    return known.from_pretrained(folder, local_files_only=True)


def _empty_text(folder: Path, local: Mapping[str, Any]) -> Tensor | None:
    """Embed the empty text; None if there is no text encoder."""
    if not ((folder / "text_encoder").is_dir() and (folder / "tokenizer").is_dir()):
        return None
    transformers = optional("transformers")
    tokens = transformers.AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)(
        [""], return_tensors="pt"
    )
    joint = transformers.AutoConfig.from_pretrained(folder / "text_encoder", local_files_only=True).model_type == "clap"
    with torch.inference_mode():
        if joint:
            network = transformers.ClapModel.from_pretrained(folder / "text_encoder", **local).eval()
            row = network.get_text_features(**tokens).pooler_output
        else:
            network = transformers.ClapTextModelWithProjection.from_pretrained(folder / "text_encoder", **local).eval()
            row = network(**tokens).text_embeds
    unit: Tensor = torch.nn.functional.normalize(row[0], dim=0)
    return unit
