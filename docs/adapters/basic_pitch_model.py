"""Basic Pitch (Bittner et al. 2022, arXiv:2203.09893), an ONNX file that takes windows of one length only.

``OnnxModel`` finds its tensors, but with an input of fixed length it cannot tell which axis is time. The adapter knows:
172 frames per window. It cuts sounds of any length into windows that overlap by 30 frames, as the package does, and
joins what the middle of each gives.

    pip install --no-deps basic-pitch                           # weights inside, Apache-2.0; no TensorFlow
    pip install onnxruntime                                     # all that the adapter needs beside
    pip install librosa mir-eval pretty-midi resampy            # what the package's own code needs, to compare
    python basic_pitch_model.py
    brainalign models layers python:basic_pitch_model.py:BasicPitch

Checked with basic-pitch 0.4.0, onnxruntime 1.31: notes, onsets and contours of 4.5 s of
noise equal those of the package's ``run_inference`` on the same sound as a file, bit by bit.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brainalign.models.onnx import OnnxModel

HOP, N_FRAMES, OVERLAP = 256, 172, 30


class BasicPitch:
    """An AudioModel; its layers are all tensors of the file with one axis of frames."""

    name = "basic-pitch"
    sample_rate = 22_050
    minimum_samples = 1

    def __init__(self) -> None:
        self.path = Path(find_spec("basic_pitch").origin).parent / "saved_models" / "icassp_2022" / "nmp.onnx"
        self.window = OnnxModel(self.path, sample_rate=self.sample_rate)
        few = self.window.activations(torch.zeros(1, self.window.fixed_samples), list(self.window.layouts))
        shapes = {layer: values.shape[1:] for layer, values in few.items()}
        self.layouts: Mapping[str, str] = {
            layer: "B" + _letters(shape) for layer, shape in shapes.items() if list(shape).count(N_FRAMES) == 1
        }
        self.record: dict[str, Any] = {**self.window.record, "citation": "Bittner et al. 2022, arXiv:2203.09893"}

    def activations(self, waveforms: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return activations of layers for waveforms of shape (n_sounds, n_samples)."""
        length, step = self.window.fixed_samples, self.window.fixed_samples - OVERLAP * HOP
        n_samples = waveforms.shape[1]
        padded = torch.nn.functional.pad(waveforms, (OVERLAP * HOP // 2, length))
        starts = range(0, n_samples + OVERLAP * HOP // 2, step)
        pieces = [self.window.activations(padded[:, s : s + length], layers) for s in starts]
        n_frames = n_samples * 86 // self.sample_rate  # the package counts 86 frames per second
        joined = {}
        for layer in layers:
            axis = self.layouts[layer].index("T")
            middle = [piece[layer].narrow(axis, OVERLAP // 2, N_FRAMES - OVERLAP) for piece in pieces]
            joined[layer] = torch.cat(middle, dim=axis).narrow(axis, 0, max(n_frames, 1)).contiguous()
        return joined


def _letters(shape: Sequence[int]) -> str:
    others = iter("CFDEG")
    return "".join("T" if n == N_FRAMES else next(others) for n in shape)


if __name__ == "__main__":
    import tempfile

    import soundfile
    from basic_pitch.inference import run_inference

    model = BasicPitch()
    print(len(model.layouts), "layers")
    sound = 0.1 * torch.randn(1, 100_000, generator=torch.Generator().manual_seed(0))
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        soundfile.write(file.name, sound[0].numpy(), model.sample_rate, subtype="FLOAT")
        theirs = run_inference(file.name, model.path)
    for output, layer in (("contour", 0), ("note", 1), ("onset", 2)):
        name = f"StatefulPartitionedCall:{layer}"
        ours = model.activations(sound, [name])[name][0].numpy()
        print(f"{output}: largest difference from the package {abs(ours - theirs[output]).max():.1e}")
