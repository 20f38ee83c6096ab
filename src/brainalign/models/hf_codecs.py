"""Neural codecs of transformers, EnCodec and DAC, and MusicGen's decoder, which listens through EnCodec."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from brainalign.errors import ModelError
from brainalign.models.huggingface import Parts
from brainalign.models.prepared import whole_frames

if TYPE_CHECKING:
    from torch import Tensor


def encodec(network: Any, extractor: None) -> Parts:
    """Adapt EnCodec's encoder (Défossez et al. 2022, arXiv:2210.13438).

    Models of 48 kHz take chunks of one second, each scaled to an RMS of one, and two channels, both the sound.

    Parameters
    ----------
    network : EncodecModel
        The codec; only its encoder is called.
    extractor : None
        The network takes waveforms.

    Returns
    -------
    Parts
        Layers ``encoder.layers.i`` and ``encoder``, the latents before quantisation, all ``"BCT"``.
    """
    config = network.config
    n_layers = len(network.encoder.layers)
    strides, stride = {}, 1
    for i, layer in enumerate(network.encoder.layers):
        stride *= layer.conv.stride[0] if hasattr(layer, "conv") else 1
        strides["encoder" if i == n_layers - 1 else f"encoder.layers.{i}"] = stride
    chunk = config.chunk_length

    def forward(module: Any, waveforms: Tensor) -> None:
        n_samples = waveforms.shape[-1]
        for start in range(0, n_samples, config.chunk_stride if chunk else n_samples):
            piece = waveforms[:, None, start : start + (chunk or n_samples)]
            if config.normalize:
                piece = piece / (piece.square().mean(dim=-1, keepdim=True).sqrt() + 1e-8)
            module.encoder(piece.expand(-1, config.audio_channels, -1))

    return Parts(
        sample_rate=config.sampling_rate,
        layouts=dict.fromkeys(strides, "BCT"),
        forward=forward,
        valid_frames={} if chunk else {layer: partial(whole_frames, s) for layer, s in strides.items()},
        in_pieces=bool(chunk),
        minimum_samples=stride,
        record={
            "front_end": "waveform"
            + (f", the same in {config.audio_channels} channels" if config.audio_channels > 1 else ""),
            "normaliser": "each chunk to an RMS of one" if config.normalize else "none",
            "padding": f"chunks of {config.chunk_length_s} s, {config.overlap:.0%} overlap, frames joined"
            if chunk
            else "reflected at the ends; a last frame that the sound does not fill is left out",
            "hidden_states": "encoder gives the latents before quantisation",
        },
    )


def dac(network: Any, extractor: None) -> Parts:
    """Adapt the encoder of the Descript Audio Codec (Kumar et al. 2023, arXiv:2306.06546).

    Parameters
    ----------
    network : DacModel
        The codec; only its encoder is called.
    extractor : None
        The network takes waveforms.

    Returns
    -------
    Parts
        Layers ``encoder.conv1``, ``encoder.block.i`` and ``encoder``, the latents before quantisation, all ``"BCT"``.
    """
    config = network.config
    blocks = [f"encoder.block.{i}" for i in range(len(config.downsampling_ratios))]

    def forward(module: Any, waveforms: Tensor) -> None:
        module.encoder(waveforms[:, None])

    return Parts(
        sample_rate=config.sampling_rate,
        layouts=dict.fromkeys(["encoder.conv1", *blocks, "encoder"], "BCT"),
        forward=forward,
        minimum_samples=math.prod(config.downsampling_ratios),
        record={
            "front_end": "waveform",
            "normaliser": "none",
            "padding": "zeros at the ends, inside the convolutions",
            "hidden_states": "encoder gives the latents before quantisation",
        },
    )


def musicgen(network: Any, extractor: None) -> Parts:
    """Adapt MusicGen's decoder (Copet et al. 2023, arXiv:2306.05284), listening without a text.

    The sound is encoded by the model's EnCodec; its codebooks are fed in with the delay pattern of the training, which
    transformers applies for generation only. The state of a frame is that after its first codebook came in.

    Parameters
    ----------
    network : MusicgenForConditionalGeneration
        All parts; the text encoder is not called.
    extractor : None
        The network takes waveforms.

    Returns
    -------
    Parts
        Layers ``audio_encoder.encoder`` (``"BCT"``), ``decoder.model.decoder.layers.i`` and
        ``decoder.model.decoder.layer_norm`` (``"BTC"``), one frame per EnCodec frame.
    """
    codec, decoder = network.audio_encoder, network.decoder.model.decoder
    config = network.decoder.config
    if codec.config.chunk_length is not None:
        raise ModelError("this MusicGen has a codec that works in chunks, which its decoder cannot follow")
    hop = math.prod(codec.config.upsampling_ratios)
    root = "decoder.model.decoder"
    blocks = [*(f"{root}.layers.{i}" for i in range(len(decoder.layers))), f"{root}.layer_norm"]

    def forward(module: Any, waveforms: Tensor) -> None:
        sounds = waveforms[:, None].expand(-1, module.audio_encoder.config.audio_channels, -1)
        codes = module.audio_encoder.encode(sounds).audio_codes[0]
        if config.audio_channels == 2:
            codes = codes.repeat_interleave(2, dim=1)
        if codes.shape[1] != config.num_codebooks:
            raise ModelError(f"the codec gives {codes.shape[1]} codebooks, the decoder takes {config.num_codebooks}")
        delayed = delay_pattern(codes, config.pad_token_id, config.audio_channels)
        no_text = waveforms.new_zeros(len(waveforms), 1, config.hidden_size)
        module.decoder.model.decoder(delayed.flatten(0, 1), encoder_hidden_states=no_text, use_cache=False)

    return Parts(
        sample_rate=codec.config.sampling_rate,
        layouts={"audio_encoder.encoder": "BCT", **dict.fromkeys(blocks, "BTC")},
        forward=forward,
        # The state at step 1 is the first that has heard anything.
        arrange=dict.fromkeys(blocks, lambda states, _n_samples: states[:, 1:]),
        valid_frames=dict.fromkeys(["audio_encoder.encoder", *blocks], partial(whole_frames, hop)),
        minimum_samples=hop,
        record={
            "front_end": f"EnCodec, {config.num_codebooks} codebooks with the delay pattern",
            "normaliser": "none",
            "padding": "the start token and a last frame that the sound does not fill are left out",
            "conditioning": "none: a text embedding of zeros",
            "hidden_states": "layers.i is the output of block i, layer_norm that of the last one, normalised",
        },
    )


def draw_codebooks(network: Any) -> None:
    """Fill the codebooks of MusicGen's codec, which transformers leaves at zero: every sound would have the same codes.

    As EnCodec's training begins, codes are drawn from what the encoder makes of a sound, here of white noise.

    Parameters
    ----------
    network : MusicgenForConditionalGeneration
        With fresh weights; changed in place, drawing from torch's generator.
    """
    codec = network.audio_encoder.eval()
    with torch.inference_mode(False), torch.no_grad():
        residual = codec.encoder(torch.randn(1, codec.config.audio_channels, codec.config.sampling_rate))
        for quantizer in codec.quantizer.layers:
            embed = quantizer.codebook.embed
            embed.copy_(residual[0].T[torch.randint(residual.shape[-1], (len(embed),))])
            residual = residual - quantizer.decode(quantizer.encode(residual))


def delay_pattern(codes: Tensor, pad_token: int, n_channels: int = 1) -> Tensor:
    """Delay each codebook by one frame more than the one before, after a start token (Copet et al. 2023, figure 1).

    Parameters
    ----------
    codes : Tensor of int, shape (n_sounds, n_codebooks, n_frames)
        Codes of EnCodec; left and right interleaved if there are two channels.
    pad_token : int
        Stands where there is no code: at the start, and before a delayed codebook.
    n_channels : int
        Two channels share their delay.

    Returns
    -------
    Tensor of int, shape (n_sounds, n_codebooks, n_frames + 1)
        At step t + 1, codebook k holds the code of frame t - k.
    """
    n_sounds, n_codebooks, n_frames = codes.shape
    delayed = torch.full((n_sounds, n_codebooks, n_frames + 1), pad_token, dtype=codes.dtype, device=codes.device)
    for k in range(n_codebooks):
        delay = min(k // n_channels, n_frames)
        delayed[:, k, 1 + delay :] = codes[:, k, : n_frames - delay]
    return delayed
