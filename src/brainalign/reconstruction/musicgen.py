"""MusicGen as a generator (Copet et al. 2023, arXiv:2306.05284).

MusicGen is conditioned on the states of a T5 encoder, token by token, and has no joint embedding. Here it is given one
state only: an embedding of text as the mean over the tokens of a caption, which can be decoded from a brain as any
other embedding. That is less than the network was trained with, and no published system; for a published path from a
joint embedding to music see :mod:`~brainalign.reconstruction.latent_diffusion`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brainalign.errors import ReconstructionError
from brainalign.models.hooked import weights_digest
from brainalign.reconstruction.generator import check_guidance, optional


@dataclass(frozen=True)
class MusicGen:
    """A generator out of MusicGen, conditioned on one state of its text encoder.

    Attributes
    ----------
    name : str
        Identifier.
    network : Module
        ``MusicgenForConditionalGeneration`` of transformers.
    tokenizer : callable or None
        Of its text encoder, for :meth:`embed_texts`.
    guidance : float
        Weight of guidance; 1 is none.
    record : dict
        What determines the output.
    """

    name: str
    network: nn.Module
    tokenizer: Any = None
    guidance: float = 3.0
    record: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what can be checked before a token is drawn."""
        check_guidance(self.guidance)

    @property
    def width(self) -> int:
        """Dimensions of a state of the text encoder."""
        config: Any = self.network.config
        return int(config.text_encoder.hidden_size)

    @property
    def sample_rate(self) -> int:
        """Of the codec, in Hz."""
        config: Any = self.network.config
        return int(config.audio_encoder.sampling_rate)

    def generate(self, embedding: NDArray[np.float64], seed: int, duration_s: float) -> NDArray[np.float32]:
        """Generate one sound.

        Parameters
        ----------
        embedding : ndarray, shape (width,)
            As :meth:`embed_texts` gives it for a caption, or decoded.
        seed : int
            Of the tokens that are drawn.
        duration_s : float
            Length in s.

        Returns
        -------
        ndarray, shape (n_samples,)
            Float32.

        Raises
        ------
        ReconstructionError
            If the embedding has another width or is not finite.
        """
        if embedding.shape != (self.width,) or not np.isfinite(embedding).all():
            raise ReconstructionError(
                f"{self.name} is conditioned on finite embeddings of width {self.width}, found {embedding.shape}"
            )
        outputs = optional("transformers.modeling_outputs")
        state = torch.as_tensor(embedding, dtype=torch.float32)[None, None]
        config: Any = self.network.config
        n_frames = math.ceil(duration_s * config.audio_encoder.frame_rate)
        # generate() draws from torch's global state: it is put back as it was.
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.manual_seed(seed)
            waveform: Tensor = self.network.generate(  # type: ignore[operator]
                encoder_outputs=outputs.BaseModelOutput(last_hidden_state=state),
                attention_mask=torch.ones(1, 1, dtype=torch.long),
                do_sample=True,
                guidance_scale=self.guidance,
                min_new_tokens=n_frames,
                max_new_tokens=n_frames + config.decoder.num_codebooks,
            )
        return np.asarray(waveform.reshape(-1)[: round(duration_s * self.sample_rate)].float().numpy())

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the mean state of the text encoder over the tokens of each text.

        Parameters
        ----------
        texts : sequence of str
            Captions.

        Returns
        -------
        ndarray, shape (n_texts, width)
            Float32.

        Raises
        ------
        ReconstructionError
            If there are no texts or no tokenizer.
        """
        if self.tokenizer is None or not texts:
            raise ReconstructionError(f"{self.name} has {'no tokenizer' if texts else 'been given no texts'}")
        rows = []
        with torch.inference_mode():
            for text in texts:
                tokens = self.tokenizer([text], return_tensors="pt")
                states = self.network.text_encoder(input_ids=tokens["input_ids"]).last_hidden_state  # type: ignore[operator]
                rows.append(states[0].mean(dim=0).numpy())
        return np.stack(rows)


def load_musicgen(variant: str, *, guidance: float = 3.0) -> MusicGen:
    """Load MusicGen from a local folder; nothing is downloaded.

    Parameters
    ----------
    variant : str
        A folder such as that of ``facebook/musicgen-small``, weights as safetensors.
    guidance : float
        Weight of guidance; 1 is none.

    Returns
    -------
    MusicGen
        Its record holds the digest of the weights.

    Raises
    ------
    ReconstructionError
        If there is no such folder or it cannot be loaded.
    MissingExtraError
        If transformers is not installed.
    """
    transformers = optional("transformers")
    folder = Path(variant)
    if not variant or not folder.is_dir():
        raise ReconstructionError(f"no folder {variant!r}; name that of the weights, 'musicgen:/PATH/TO/FOLDER'")
    local = {"local_files_only": True}
    try:
        network = transformers.MusicgenForConditionalGeneration.from_pretrained(
            folder, use_safetensors=True, **local
        ).eval()
        has_tokenizer = any((folder / f).is_file() for f in ("tokenizer.json", "spiece.model", "tokenizer_config.json"))
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **local) if has_tokenizer else None
    except (OSError, ValueError, KeyError, RuntimeError) as why:
        raise ReconstructionError(f"{folder} cannot be loaded: {' '.join(str(why).split())}") from why
    record = {"weights_sha256": weights_digest(network), "guidance": guidance}
    return MusicGen(folder.name, network, tokenizer, guidance, record)
