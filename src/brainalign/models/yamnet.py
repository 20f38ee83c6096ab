"""YAMNet: a MobileNet trained on AudioSet (Plakal & Ellis, Google, 2019-2020), 521 classes.

Written from the published parameters (tensorflow/models, research/audioset/yamnet) and MobileNet's paper (Howard et
al. 2017, arXiv:1704.04861). Patches of 96 frames (0.96 s) every 48 (0.48 s) are heard one by one.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainalign.errors import ModelError
from brainalign.models.hooked import load_weights, weights_digest
from brainalign.models.tagger import Tagger
from brainalign.models.weights_files import fill, find_weights, read_arrays, read_class_names, save

SAMPLE_RATE = 16_000
WINDOW_SAMPLES = 400
HOP_SAMPLES = 160
N_FFT = 512
N_MELS = 64
PATCH_FRAMES = 96
PATCH_HOP_FRAMES = 48
N_CLASSES = 521
#: One whole patch: 96 windows.
MINIMUM_SAMPLES = (PATCH_FRAMES - 1) * HOP_SAMPLES + WINDOW_SAMPLES
#: Output channels and stride of the 14 convolutions; all but the first are depthwise separable.
CONVOLUTIONS = (
    *((32, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)
LAYOUTS = {
    "logmel": "BCFT",
    **{f"layer{i + 1}": "BCFT" for i in range(len(CONVOLUTIONS))},
    "embedding": "BTC",
    "logits": "BTC",
}
ORIGIN = "github.com/tensorflow/models, research/audioset/yamnet (Apache-2.0; yamnet_float32.npz, yamnet_class_map.csv)"
PUBLISHED_SHA256 = "c962919d446b15db58bab995ba1db304f546ef219c65b5baab124d1b04b87ae4"


class YamnetLogMel(nn.Module):
    """Log-mel magnitudes: 25-ms periodic Hann windows every 10 ms, 64 bands from 125 to 7,500 Hz, log(x + 0.001).

    The bands are triangles on the mel axis (HTK scale) itself, not on the axis of frequency, and leave out the bin of
    0 Hz, as TensorFlow's ``linear_to_mel_weight_matrix``. Windows lie inside the sound; none is padded.
    """

    filters: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        bins = _mel(torch.arange(N_FFT // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / N_FFT)
        low, high = _mel(torch.tensor([125.0, 7_500.0], dtype=torch.float64))
        edges = torch.linspace(float(low), float(high), N_MELS + 2, dtype=torch.float64)
        rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
        falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
        filters = torch.minimum(rising, falling).clamp(min=0)
        filters[:, 0] = 0
        self.register_buffer("filters", filters.float(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES), persistent=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return the spectrogram, shape (n_sounds, 1, 64, 1 + (n_samples - 400) // 160)."""
        frames = waveforms.unfold(-1, WINDOW_SAMPLES, HOP_SAMPLES) * self.window
        magnitudes = torch.fft.rfft(frames, n=N_FFT).abs()
        logmel: Tensor = torch.log(self.filters @ magnitudes.mT + 0.001)
        return logmel.unsqueeze(1)


def _mel(frequency: Tensor) -> Tensor:
    return 1127 * torch.log1p(frequency / 700)


class _Convolution(nn.Module):
    """A convolution of 3 x 3, depthwise separable or not, within each patch.

    Maps are (n_sounds, n_channels, n_bands, n_patches * n_frames): the patches stand one after the other on the time
    axis, but no filter reaches from one into the next.
    """

    def __init__(self, n_in: int, n_out: int, stride: int, separable: bool) -> None:
        super().__init__()
        n_middle = n_in if separable else n_out
        self.pad = (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1)
        self.conv = nn.Conv2d(n_in, n_middle, 3, stride, groups=n_in if separable else 1, bias=False)
        self.norm = nn.BatchNorm2d(n_middle, eps=1e-4)
        if separable:
            self.pointwise = nn.Conv2d(n_middle, n_out, 1, bias=False)
            self.pointwise_norm = nn.BatchNorm2d(n_out, eps=1e-4)

    def forward(self, maps: Tensor, n_patches: int) -> Tensor:
        patches = _patches(maps, n_patches).permute(0, 3, 1, 2, 4).flatten(0, 1)
        x: Tensor = self.norm(self.conv(functional.pad(patches, self.pad))).relu()
        if hasattr(self, "pointwise"):
            x = self.pointwise_norm(self.pointwise(x)).relu()
        return x.reshape(len(maps), n_patches, *x.shape[1:]).permute(0, 2, 3, 1, 4).flatten(-2)


class _PatchMean(nn.Module):
    """The mean over the bands and frames of each patch: (n_sounds, n_patches, n_channels)."""

    def forward(self, maps: Tensor, n_patches: int) -> Tensor:
        return _patches(maps, n_patches).mean(dim=(2, 4)).mT


def _patches(maps: Tensor, n_patches: int) -> Tensor:
    """Split the time axis: (..., n_patches, n_frames)."""
    return maps.reshape(*maps.shape[:-1], n_patches, maps.shape[-1] // n_patches)


class Yamnet(nn.Module):
    """The network; ``layer1`` to ``layer14`` are taken after batch normalisation and ReLU.

    Parameters
    ----------
    n_classes : int
        Categories of sound that it tells apart.
    """

    def __init__(self, n_classes: int = N_CLASSES) -> None:
        super().__init__()
        self.logmel = YamnetLogMel()
        n_in = 1
        for i, (n_out, stride) in enumerate(CONVOLUTIONS):
            self.add_module(f"layer{i + 1}", _Convolution(n_in, n_out, stride, separable=i > 0))
            n_in = n_out
        self.embedding = _PatchMean()
        self.logits = nn.Linear(n_in, n_classes)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return logits.

        Parameters
        ----------
        waveforms : Tensor, shape (n_sounds, n_samples)
            At 16 kHz, units of full scale. A last piece that fills no patch is not heard.

        Returns
        -------
        Tensor, shape (n_sounds, n_patches, n_classes)
            The sigmoid is left to :meth:`scores`.
        """
        patches = self.logmel(waveforms).unfold(-1, PATCH_FRAMES, PATCH_HOP_FRAMES)
        n_patches = patches.shape[-2]
        maps = patches.flatten(-2)
        for i in range(len(CONVOLUTIONS)):
            maps = self.get_submodule(f"layer{i + 1}")(maps, n_patches)
        logits: Tensor = self.logits(self.embedding(maps, n_patches))
        return logits

    def scores(self, waveforms: Tensor) -> Tensor:
        """Return sigmoid scores.

        Parameters
        ----------
        waveforms : Tensor, shape (n_sounds, n_samples)
            At 16 kHz, units of full scale. A sound shorter than a patch is filled up with silence. The published code
            fills up the last piece of every sound, and lets that patch count like the others.

        Returns
        -------
        Tensor, shape (n_sounds, n_classes)
            The mean over whole patches.
        """
        missing = max(0, MINIMUM_SAMPLES - waveforms.shape[-1])
        return torch.sigmoid(self(functional.pad(waveforms, (0, missing)))).mean(dim=1)


def load_yamnet(variant: str = "", *, pretrained: bool = True) -> Tagger:
    """Load the network.

    Parameters
    ----------
    variant : str
        A safetensors file with weights of one's own; the published ones if empty.
    pretrained : bool
        False for the architecture alone, whose weights a control then draws.

    Returns
    -------
    Tagger
        Layers ``logmel``, ``layer1`` ... ``layer14``, ``embedding`` (1,024 units) and ``logits``. The time axis of
        ``embedding`` and ``logits`` counts whole patches of 0.96 s, every 0.48 s. That of the convolutions holds the
        frames of all patches one after the other; as patches overlap by half, sounds in the middle are in two of them.

    Raises
    ------
    ModelError
        If the weights are not there or do not fit.
    """
    if not pretrained:
        if variant:
            raise ModelError(f"random weights replace all weights: leave the variant {variant!r} out")
        return _model("yamnet", _untrained(), {}, ())
    if variant and not variant.endswith(".safetensors"):
        raise ModelError(f"model 'yamnet' has no variant {variant!r}; use 'yamnet' or 'yamnet:FILE.safetensors'")
    path = Path(variant) if variant else find_weights("yamnet", "yamnet.safetensors", ORIGIN)
    network = _untrained()
    load_weights(network, path)
    record = {"weights_sha256": weights_digest(network)}
    if record["weights_sha256"] == PUBLISHED_SHA256:
        record["weights_licence"] = "Apache-2.0"
    return _model(f"yamnet:{path.stem}" if variant else "yamnet", network, record, read_class_names(path, N_CLASSES))


def convert_yamnet(source: Path, target: Path) -> list[Path]:
    """Convert the published arrays to safetensors.

    Parameters
    ----------
    source : Path
        A folder with ``yamnet_float32.npz`` (arrays of the 55 layers that have any, numbered in order) and
        ``yamnet_class_map.csv``.
    target : Path
        The folder to write into.

    Returns
    -------
    list of Path
        The file ``yamnet.safetensors``.

    Raises
    ------
    ModelError
        If a file is missing or holds something else.
    """
    names = source / "yamnet_class_map.csv"
    if not names.is_file():
        raise ModelError(f"no file {names.name} in {source}")
    with names.open(encoding="utf-8", newline="") as stream:
        class_names = [row["display_name"] for row in csv.DictReader(stream)]
    sources = _sources()
    path = source / "yamnet_float32.npz"
    arrays = read_arrays(path, list(sources.values()))
    network = _untrained()
    values = {name: _to_torch(array, arrays[array]) for name, array in sources.items()}
    scales = {k: v.numpy() for k, v in network.state_dict().items() if k.endswith("norm.weight")}
    fill(network, values | scales, path)
    return [save(network, target / "yamnet.safetensors", PUBLISHED_SHA256, class_names)]


def _sources() -> dict[str, str]:
    """Return for each tensor of the network the published array."""
    moments = {"bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    sources, number = {}, 0
    for i in range(len(CONVOLUTIONS)):
        parts = [("conv", "depthwise_kernel" if i else "kernel", "norm")]
        parts += [("pointwise", "kernel", "pointwise_norm")] if i else []
        for conv, kernel, norm in parts:
            sources[f"layer{i + 1}.{conv}.weight"] = f"{number}.{kernel}"
            sources |= {f"layer{i + 1}.{norm}.{ours}": f"{number + 1}.{theirs}" for ours, theirs in moments.items()}
            number += 2
    return sources | {"logits.weight": f"{number}.kernel", "logits.bias": f"{number}.bias"}


def _to_torch(name: str, array: np.ndarray) -> np.ndarray:
    """Order the axes: (time, frequency, in, out) becomes (out, in, frequency, time)."""
    if name.endswith("depthwise_kernel"):
        return array.transpose(2, 3, 1, 0)
    return array.transpose() if name.endswith("kernel") else array


def _untrained() -> Yamnet:
    """Build the network without drawing from the global generator of torch."""
    with torch.random.fork_rng(devices=[]):
        return Yamnet()


def _model(name: str, network: Yamnet, record: dict[str, str], class_names: tuple[str, ...]) -> Tagger:
    return Tagger(
        name=name,
        module=network,
        sample_rate=SAMPLE_RATE,
        layouts=LAYOUTS,
        minimum_samples=MINIMUM_SAMPLES,
        record={
            "front_end": "yamnet: log(mel + 0.001), 64 bands, 125-7500 Hz; no normalisation of level",
            "padding": "none: only whole patches of 0.96 s, every 0.48 s",
            "citation": "Plakal & Ellis 2020, github.com/tensorflow/models, research/audioset/yamnet",
            **record,
        },
        class_names=class_names,
    )
