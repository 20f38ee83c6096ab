"""Transformers on spectrograms of a fixed length: AST, Whisper's encoder, CLAP's audio side.

All three fill a short sound up to their window; only what rests on the sound is given back.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from brainalign.errors import ModelError
from brainalign.models.huggingface import Parts, prepared_input
from brainalign.models.prepared import Arrange, whole_frames

if TYPE_CHECKING:
    from torch import Tensor


def spectrogram_transformer(network: Any, extractor: Any) -> Parts:
    """Adapt the Audio Spectrogram Transformer (Gong et al. 2021, arXiv:2104.01778).

    Its tokens are two for the class, then patches of the spectrogram in frequency-major order. The two are left out
    and the patches laid out as channel x frequency x time; those that reach into the padding are left out.

    Parameters
    ----------
    network : ASTModel
        The network.
    extractor : ASTFeatureExtractor
        Kaldi's filter bank (25-ms windows every 10 ms), scaled by the mean and SD of AudioSet.

    Returns
    -------
    Parts
        Layers ``embeddings``, ``layers.i`` and ``layernorm``, all ``"BCFT"``.
    """
    config, rate = network.config, extractor.sampling_rate
    window, hop = round(rate * 0.025), round(rate * 0.010)
    n_bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1

    def n_patches(n_samples: int) -> int:
        return int((1 + (n_samples - window) // hop - config.patch_size) // config.time_stride + 1)

    def arranged(tokens: Tensor, _n_samples: int) -> Tensor:
        n_sounds, n_tokens, n_channels = tokens.shape
        return tokens[:, 2:].mT.reshape(n_sounds, n_channels, n_bands, (n_tokens - 2) // n_bands)

    def forward(module: Any, waveforms: Tensor) -> None:
        module(prepared_input(extractor, waveforms)["input_values"])

    blocks = next(path for path in ("layers", "encoder.layer") if _has(network, path))
    layers = ["embeddings", *(f"{blocks}.{i}" for i in range(config.num_hidden_layers)), "layernorm"]
    return Parts(
        sample_rate=rate,
        layouts=dict.fromkeys(layers, "BCFT"),
        forward=forward,
        arrange=dict.fromkeys(layers, arranged),
        valid_frames=dict.fromkeys(layers, n_patches),
        minimum_samples=window + (config.patch_size - 1) * hop,
        maximum_samples=window + config.max_length * hop - 1,
        record={
            "front_end": f"{config.num_mel_bins} log-mel bands every 10 ms (Kaldi)",
            "normaliser": f"(x - {extractor.mean}) / (2 x {extractor.std}), fixed"
            if extractor.do_normalize
            else "none",
            "padding": f"to {config.max_length} frames, which the network hears; patches of padding are left out",
            "hidden_states": f"{blocks}.i is the output of block i, before the final layernorm; class tokens left out",
        },
    )


def whisper_encoder(network: Any, extractor: Any) -> Parts:
    """Adapt Whisper's encoder (Radford et al. 2022, arXiv:2212.04356).

    Parameters
    ----------
    network : WhisperEncoder
        The encoder.
    extractor : WhisperFeatureExtractor
        Computes log-mel bands relative to the clip's maximum, filled up to 30 s.

    Returns
    -------
    Parts
        Layers ``conv1``, ``conv2`` (before GELU), ``layers.i`` and ``layer_norm``; states of 20 ms, only those of the
        sound.
    """
    rate, hop = extractor.sampling_rate, extractor.hop_length
    blocks = [*(f"layers.{i}" for i in range(len(network.layers))), "layer_norm"]
    state = hop * network.conv2.stride[0]
    strides = {"conv1": hop, "conv2": state, **dict.fromkeys(blocks, state)}

    def forward(module: Any, waveforms: Tensor) -> None:
        module(prepared_input(extractor, waveforms)["input_features"])

    return Parts(
        sample_rate=rate,
        layouts={"conv1": "BCT", "conv2": "BCT", **dict.fromkeys(blocks, "BTC")},
        forward=forward,
        valid_frames={layer: partial(whole_frames, stride) for layer, stride in strides.items()},
        minimum_samples=state,
        maximum_samples=extractor.n_samples,
        record={
            "front_end": f"{extractor.feature_size} log10-mel bands every 10 ms",
            "normaliser": "clamped to 8 below the clip's maximum, then (x + 4) / 4; the level of a clip matters",
            "padding": f"to {extractor.n_samples / rate:g} s, which the network hears; states of padding are left out",
            "hidden_states": "layers.i is the output of block i, before the final layer_norm; transformers' own "
            "hidden_states[-1] is after it",
        },
    )


def clap_audio(network: Any, extractor: Any) -> Parts:
    """Adapt the audio side of CLAP (Wu et al. 2023, arXiv:2211.06687).

    Sounds longer than the window would be cut at random, and one random short sound of a batch would be treated as a
    long one in models with fusion: longer sounds are an error, and no sound is treated as long.

    Parameters
    ----------
    network : ClapModel
        Both sides; the text side is not called.
    extractor : ClapFeatureExtractor
        Repeats the sound to fill the window, then adds silence.

    Returns
    -------
    Parts
        Layers of ``audio_model.audio_encoder``: ``patch_embed`` and ``layers.i.0`` (the stages, after their pooling),
        ``"BCFT"``, frames of the first repetition only; ``avgpool``, over the whole window; and ``audio_projection``,
        the joint embedding before it is scaled to unit length.
    """
    encoder, root = network.audio_model.audio_encoder, "audio_model.audio_encoder"
    window, rate = extractor.nb_max_samples, extractor.sampling_rate
    if extractor.padding not in ("repeatpad", "repeat", "pad"):
        raise ModelError(f"unknown padding {extractor.padding!r} of CLAP's feature extractor")
    grids = [encoder.patch_embed.grid_size] + [_halved(encoder, i) for i in range(len(encoder.layers))]
    stages = [f"{root}.patch_embed", *(f"{root}.layers.{i}.0" for i in range(len(encoder.layers)))]

    def forward(module: Any, waveforms: Tensor) -> None:
        inputs = prepared_input(extractor, waveforms)
        module.get_audio_features(inputs["input_features"], is_longer=inputs["is_longer"].new_zeros(len(waveforms), 1))

    return Parts(
        sample_rate=rate,
        layouts={**dict.fromkeys(stages, "BCFT"), f"{root}.avgpool": "BC", "audio_projection": "BC"},
        forward=forward,
        arrange={
            **{s: _unfolded(grid, encoder.freq_ratio, window) for s, grid in zip(stages, grids, strict=True)},
            f"{root}.avgpool": lambda pooled, _n_samples: pooled.squeeze(-1),
        },
        minimum_samples=extractor.fft_window_size,
        maximum_samples=window,
        record={
            "front_end": f"{extractor.feature_size} log-mel bands (dB) every {1000 * extractor.hop_length / rate:g} ms",
            "normaliser": "batch normalisation of each band, fixed",
            "padding": f"{extractor.padding} to {window / rate:g} s, which the network hears; maps keep the first "
            f"repetition, avgpool and audio_projection are of the whole window",
            "long_sounds": "refused: nothing is cut at random; no fusion",
            "hidden_states": "layers.i.0 is the output of stage i, pooled: hidden_states[i + 1]",
        },
    )


def _halved(encoder: Any, stage: int) -> tuple[int, int]:
    """Return rows and columns after a stage."""
    rows, columns = encoder.input_resolutions[stage]
    pooled = encoder.layers[stage].downsample is not None
    return ((rows + 1) // 2, (columns + 1) // 2) if pooled else (rows, columns)


def _unfolded(grid: tuple[int, int], n_folds: int, window: int) -> Arrange:
    """Undo the folding of time: the image holds `n_folds` stretches of time, one above the other."""
    rows, columns = grid

    def arranged(tokens: Tensor, n_samples: int) -> Tensor:
        image = tokens.mT.reshape(*tokens.mT.shape[:2], n_folds, rows // n_folds, columns)
        maps = image.transpose(2, 3).flatten(-2)
        return maps[..., : max(1, n_samples * maps.shape[-1] // window)]

    return arranged


def _has(network: Any, path: str) -> bool:
    return any(name == path for name, _ in network.named_modules())
