"""Silero VAD from the package silero-vad: an AudioModel written out by hand, for a network with a state.

The network hears chunks of 512 samples, each with the last 64 of the chunk before, and hands a state from chunk to
chunk. Nothing of that fits a forward hook, so this is the protocol itself: five attributes and one function.

    pip install silero-vad onnxruntime                          # weights inside, MIT
    python silero_vad_model.py
    brainalign models layers python:silero_vad_model.py:SileroVad

Checked with silero-vad 6.2.3, onnxruntime 1.31: the probabilities of speech equal those of the package's
own model (TorchScript) to 2e-7, sound by sound in a batch.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

CHUNK, CONTEXT = 512, 64


class SileroVad:
    """Two layers: the recurrent state, and the probability of speech, every 32 ms."""

    name = "silero-vad"
    sample_rate = 16_000
    minimum_samples = CHUNK

    def __init__(self) -> None:
        self.layouts = {"state": "BTCF", "speech": "BTC"}
        self.record = {"citation": "Silero Team, github.com/snakers4/silero-vad", "chunk_samples": CHUNK}
        file = Path(find_spec("silero_vad").origin).parent / "data" / "silero_vad_16k_op15.onnx"
        self.session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def activations(self, waveforms: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return activations for waveforms of shape (n_sounds, n_samples); the rest of a last chunk is not heard."""
        n_sounds, n_samples = waveforms.shape
        chunks = waveforms[:, : n_samples // CHUNK * CHUNK].cpu().numpy().reshape(n_sounds, -1, CHUNK)
        state = np.zeros((2, n_sounds, 128), np.float32)
        context = np.zeros((n_sounds, CONTEXT), np.float32)
        states, speech = [], []
        for chunk in chunks.transpose(1, 0, 2):
            heard = np.concatenate([context, chunk], axis=1)
            probability, state = self.session.run(
                ["output", "stateN"], {"input": heard, "state": state, "sr": np.array(self.sample_rate)}
            )
            context = heard[:, -CONTEXT:]
            states.append(state.transpose(1, 0, 2))
            speech.append(probability)
        given = {"state": np.stack(states, axis=1), "speech": np.stack(speech, axis=1)}
        return {layer: torch.from_numpy(given[layer]) for layer in layers}


if __name__ == "__main__":
    from silero_vad import load_silero_vad

    sounds = 0.05 * torch.randn(2, 32_000, generator=torch.Generator().manual_seed(0))
    ours = SileroVad().activations(sounds, ["speech"])["speech"][..., 0]
    theirs = torch.cat([load_silero_vad().audio_forward(sound[None], 16_000) for sound in sounds])
    print(f"largest difference from the package: {float((ours - theirs[:, : ours.shape[1]]).abs().max()):.1e}")
