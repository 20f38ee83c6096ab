"""Speech encoders of transformers: wav2vec 2.0 and its relatives, and w2v-BERT 2.0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from brainalign.models.huggingface import Parts, prepared_input
from brainalign.models.prepared import receptive_field

if TYPE_CHECKING:
    from torch import Tensor

#: Mel frames of w2v-BERT: 25-ms windows every 10 ms, taken in pairs.
WINDOW_S, HOP_S = 0.025, 0.010


def speech_encoder(network: Any, extractor: Any) -> Parts:
    """Adapt an encoder of the wav2vec 2.0 kind: convolutions on the waveform, then a transformer.

    Models with group normalisation in the convolutions were trained without a mask and hear padding as sound; sounds
    of one length need neither.

    Parameters
    ----------
    network : transformers model
        wav2vec 2.0, HuBERT, WavLM, data2vec-audio, UniSpeech, MERT ...
    extractor : Wav2Vec2FeatureExtractor
        Says the rate, and whether clips are normalised.

    Returns
    -------
    Parts
        Layers ``feature_extractor.conv_layers.i``, ``feature_projection``, ``encoder.layers.i`` and
        ``encoder.layer_norm``, which comes first or last depending on the model; ``.0`` is added where a module gives a
        tuple, its state first.
    """
    config = network.config
    last = bool(getattr(config, "do_stable_layer_norm", False)) or "conformer" in config.model_type
    # WavLM's blocks hand on their position bias beside their state.
    state = ".0" if config.model_type == "wavlm" else ""
    blocks = {f"encoder.layers.{i}{state}": "BTC" for i in range(len(network.encoder.layers))}
    norm = {"encoder.layer_norm": "BTC"}
    layouts = {f"feature_extractor.conv_layers.{i}": "BCT" for i in range(len(config.conv_kernel))}
    layouts |= {
        _projection(network, config.conv_dim[-1]): "BTC",
        **({**blocks, **norm} if last else {**norm, **blocks}),
    }
    minimum, _ = receptive_field(zip(config.conv_kernel, config.conv_stride, strict=True))
    meaning = "encoder.layers.i is the output of block i: hidden_states[i + 1]"
    where = "last_hidden_state, the normalised output of the last block" if last else "hidden_states[0]"

    def forward(module: Any, waveforms: Tensor) -> None:
        module(prepared_input(extractor, waveforms, padding=False)["input_values"])

    return Parts(
        sample_rate=extractor.sampling_rate,
        layouts=layouts,
        forward=forward,
        minimum_samples=minimum,
        record={
            "front_end": "waveform",
            "normaliser": "zero mean and unit variance, clip by clip" if extractor.do_normalize else "none",
            "padding": "none: sounds of one length, no mask",
            "hidden_states": f"{meaning}; encoder.layer_norm is {where}",
        },
    )


def w2v_bert(network: Any, extractor: Any) -> Parts:
    """Adapt w2v-BERT 2.0: mel frames in pairs, then a conformer.

    Parameters
    ----------
    network : Wav2Vec2BertModel
        The encoder.
    extractor : SeamlessM4TFeatureExtractor
        Computes 80 mel bands, normalises each over the clip, and stacks two frames.

    Returns
    -------
    Parts
        Layers ``feature_projection`` and ``encoder.layers.i``; frames of 20 ms, whole pairs only.
    """
    rate = extractor.sampling_rate
    window, hop = round(rate * WINDOW_S), round(rate * HOP_S)
    layouts = {_projection(network, network.config.feature_projection_input_dim): "BTC"}
    layouts |= {f"encoder.layers.{i}": "BTC" for i in range(len(network.encoder.layers))}

    def whole_pairs(n_samples: int) -> int:
        return int((1 + (n_samples - window) // hop) // extractor.stride)

    def forward(module: Any, waveforms: Tensor) -> None:
        module(**prepared_input(extractor, waveforms))

    return Parts(
        sample_rate=rate,
        layouts=layouts,
        forward=forward,
        valid_frames=dict.fromkeys(layouts, whole_pairs),
        minimum_samples=window + (extractor.stride - 1) * hop,
        record={
            "front_end": f"{extractor.feature_size} log-mel bands every 10 ms, {extractor.stride} frames stacked",
            "normaliser": "each mel band to zero mean and unit variance over the clip",
            "padding": "an odd last frame is filled up, masked and left out",
            "hidden_states": "encoder.layers.i is the output of block i: hidden_states[i + 1]",
        },
    )


def _projection(network: Any, n_features: int) -> str:
    """Return the name of the projected features, which most models give together with their normalised input."""
    projection = network.feature_projection
    with torch.inference_mode():
        output = projection(torch.zeros(1, 1, n_features, device=next(projection.parameters()).device))
    return "feature_projection.0" if isinstance(output, tuple) else "feature_projection"
