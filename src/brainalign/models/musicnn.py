"""musicnn: convolutional networks for music tagging (Pons & Serra 2019, arXiv:1909.06654; Pons et al. 2018, ISMIR).

Written from the papers and the published parameters: a musically motivated front end (filters that are tall for
timbre, long for rhythm), three dense convolutions in time, pooling over time, 50 tags of MagnaTagATune or of the
Million Song Dataset. Patches of 187 frames (3 s), one after the other, as in training.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainalign.errors import ModelError, did_you_mean
from brainalign.models.hooked import load_weights, weights_digest
from brainalign.models.tagger import Tagger
from brainalign.models.weights_files import fill, find_weights, read_arrays, read_class_names, save

SAMPLE_RATE = 16_000
N_FFT = 512
HOP_SAMPLES = 256
N_MELS = 96
PATCH_FRAMES = 187
N_CLASSES = 50
#: One second; the front end's longest filters span two.
MINIMUM_SAMPLES = SAMPLE_RATE
#: (frames, bands) of the filters for timbre, and frames of those for rhythm.
TIMBRE = ((7, 38), (7, 67))
RHYTHM = (128, 64, 32)
N_TIMBRE, N_RHYTHM, N_DENSE, N_PENULTIMATE = 204, 51, 64, 200
EPSILON = 1e-3
LAYOUTS = {
    "logmel": "BCFT",
    "timbral": "BTC",
    "temporal": "BTC",
    **{f"cnn{i}": "BTC" for i in (1, 2, 3)},
    **dict.fromkeys(("mean_pool", "max_pool", "penultimate", "logits"), "BTC"),
}
ORIGIN = "github.com/jordipons/musicnn (ISC; MTT_musicnn.npz, MSD_musicnn.npz)"
PUBLISHED_SHA256 = {
    "MTT": "cc5452b1b2adcd814bf72c91d5c720829cd6b371c05bee0be0d6809eab01ac25",
    "MSD": "ef22d448755240d2eb5775dce6609675395bf3792764f49638cda40ce9163c84",
}
_MTT_TAGS = (
    "guitar, classical, slow, techno, strings, drums, electronic, rock, fast, piano, ambient, beat, violin, vocal, "
    "synth, female, indian, opera, male, singing, vocals, no vocals, harpsichord, loud, quiet, flute, woman, "
    "male vocal, no vocal, pop, soft, sitar, solo, man, classic, choir, voice, new age, dance, male voice, "
    "female vocal, beats, harp, cello, no voice, weird, country, metal, female voice, choral"
)
_MSD_TAGS = (
    "rock, pop, alternative, indie, electronic, female vocalists, dance, 00s, alternative rock, jazz, beautiful, "
    "metal, chillout, male vocalists, classic rock, soul, indie rock, Mellow, electronica, 80s, folk, 90s, chill, "
    "instrumental, punk, oldies, blues, hard rock, ambient, acoustic, experimental, female vocalist, guitar, "
    "Hip-Hop, 70s, party, country, easy listening, sexy, catchy, funk, electro, heavy metal, Progressive rock, "
    "60s, rnb, indie pop, sad, House, happy"
)
TAGS = {"MTT": _MTT_TAGS.split(", "), "MSD": _MSD_TAGS.split(", ")}


class MusicnnLogMel(nn.Module):
    """log10(1 + 10,000 x) of a mel power spectrogram: 96 bands (Slaney's scale and area normalisation), 0-8,000 Hz.

    32-ms periodic Hann windows every 16 ms, centred, edges reflected. The published code rounds x to half precision,
    in which loud bands overflow; here it stays in single precision.
    """

    def __init__(self) -> None:
        super().__init__()
        from torchaudio.transforms import MelSpectrogram

        self.mel = MelSpectrogram(
            SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP_SAMPLES, n_mels=N_MELS, norm="slaney", mel_scale="slaney"
        )
        # Constants, no weights: kept out of the file.
        for part, name in ((self.mel.spectrogram, "window"), (self.mel.mel_scale, "fb")):
            part.register_buffer(name, getattr(part, name), persistent=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return the spectrogram, shape (n_sounds, 1, 96, 1 + n_samples // 256)."""
        return torch.log10(1 + 10_000 * self.mel(waveforms)).unsqueeze(1)


class _Filters(nn.Module):
    """Convolution, ReLU, batch normalisation, then the maximum over the bands: (n_patches, n_channels, n_frames)."""

    def __init__(self, n_out: int, n_frames: int, n_bands: int) -> None:
        super().__init__()
        self.pad = ((n_frames - 1) // 2, n_frames // 2, 0, 0)
        self.conv = nn.Conv2d(1, n_out, (n_bands, n_frames))
        self.norm = nn.BatchNorm2d(n_out, eps=EPSILON)

    def forward(self, spectrograms: Tensor) -> Tensor:
        maps: Tensor = self.norm(self.conv(functional.pad(spectrograms, self.pad)).relu())
        return maps.amax(dim=2)


class _Bank(nn.Module):
    """Several kinds of filters side by side: (n_sounds, n_frames, n_channels)."""

    def __init__(self, n_out: int, sizes: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        self.filters = nn.ModuleList([_Filters(n_out, *size) for size in sizes])

    def forward(self, spectrograms: Tensor, n_patches: int) -> Tensor:
        maps = torch.cat([filters(spectrograms) for filters in self.filters], dim=1)
        return _in_one_row(maps, n_patches)


class _Dense(nn.Module):
    """A convolution over 7 frames within each patch, with its input added if it is as wide."""

    def __init__(self, n_in: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.conv = nn.Conv1d(n_in, N_DENSE, 7, padding=3)
        self.norm = nn.BatchNorm1d(N_DENSE, eps=EPSILON)

    def forward(self, frames: Tensor, n_patches: int) -> Tensor:
        output = _in_one_row(self.norm(self.conv(_by_patch(frames, n_patches)).relu()), n_patches)
        return output + frames if self.residual else output


class _Pool(nn.Module):
    """The mean or the maximum over the frames of each patch: (n_sounds, n_patches, n_channels)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, frames: Tensor, n_patches: int) -> Tensor:
        patches = _patches(frames, n_patches)
        return patches.amax(dim=2) if self.kind == "max" else patches.mean(dim=2)


class _Penultimate(nn.Module):
    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.norm_in = nn.BatchNorm1d(n_in, eps=EPSILON)
        self.dense = nn.Linear(n_in, N_PENULTIMATE)
        self.norm = nn.BatchNorm1d(N_PENULTIMATE, eps=EPSILON)

    def forward(self, pooled: Tensor) -> Tensor:
        hidden: Tensor = self.norm(self.dense(self.norm_in(pooled.flatten(0, 1))).relu())
        return hidden.reshape(*pooled.shape[:2], N_PENULTIMATE)


def _by_patch(frames: Tensor, n_patches: int) -> Tensor:
    """Turn (n_sounds, n_patches * n_frames, n_channels) into (n_sounds * n_patches, n_channels, n_frames)."""
    return _patches(frames, n_patches).flatten(0, 1).mT


def _in_one_row(maps: Tensor, n_patches: int) -> Tensor:
    """Undo :func:`_by_patch`."""
    n_all, n_channels, n_frames = maps.shape
    return maps.mT.reshape(n_all // n_patches, n_patches * n_frames, n_channels)


def _patches(frames: Tensor, n_patches: int) -> Tensor:
    n_sounds, n_frames, n_channels = frames.shape
    return frames.reshape(n_sounds, n_patches, n_frames // n_patches, n_channels)


class Musicnn(nn.Module):
    """The network; layers have the names of the published feature extractor."""

    def __init__(self) -> None:
        super().__init__()
        self.logmel = MusicnnLogMel()
        self.norm = nn.BatchNorm2d(1, eps=EPSILON)
        self.timbral = _Bank(N_TIMBRE, TIMBRE)
        self.temporal = _Bank(N_RHYTHM, tuple((n_frames, 1) for n_frames in RHYTHM))
        n_front = len(TIMBRE) * N_TIMBRE + len(RHYTHM) * N_RHYTHM
        self.cnn1 = _Dense(n_front, residual=False)
        self.cnn2 = _Dense(N_DENSE, residual=True)
        self.cnn3 = _Dense(N_DENSE, residual=True)
        self.mean_pool, self.max_pool = _Pool("mean"), _Pool("max")
        self.penultimate = _Penultimate(2 * (n_front + 3 * N_DENSE))
        self.logits = nn.Linear(N_PENULTIMATE, N_CLASSES)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return logits.

        Parameters
        ----------
        waveforms : Tensor, shape (n_sounds, n_samples)
            At 16 kHz, units of full scale. A last piece that fills no patch is not heard; a sound shorter than a patch
            is one patch of its own length.

        Returns
        -------
        Tensor, shape (n_sounds, n_patches, 50)
            The sigmoid is left to :meth:`scores`.
        """
        spectrogram = self.logmel(waveforms)
        length = min(PATCH_FRAMES, spectrogram.shape[-1])
        patches = spectrogram.unfold(-1, length, length).permute(0, 3, 1, 2, 4)
        n_patches = patches.shape[1]
        normalised = self.norm(patches.flatten(0, 1))
        front = torch.cat([self.timbral(normalised, n_patches), self.temporal(normalised, n_patches)], dim=-1)
        cnn1 = self.cnn1(front, n_patches)
        cnn2 = self.cnn2(cnn1, n_patches)
        features = torch.cat([front, cnn1, cnn2, self.cnn3(cnn2, n_patches)], dim=-1)
        pooled = torch.stack([self.max_pool(features, n_patches), self.mean_pool(features, n_patches)], dim=-1)
        logits: Tensor = self.logits(self.penultimate(pooled.flatten(2)))
        return logits

    def scores(self, waveforms: Tensor) -> Tensor:
        """Return the mean over patches of the sigmoid scores, (n_sounds, 50)."""
        return torch.sigmoid(self(waveforms)).mean(dim=1)


def load_musicnn(variant: str = "", *, pretrained: bool = True) -> Tagger:
    """Load a network.

    Parameters
    ----------
    variant : str
        What it was trained on: ``"MTT"`` (MagnaTagATune; the default) or ``"MSD"`` (Million Song Dataset); or a
        safetensors file with weights of one's own.
    pretrained : bool
        False for the architecture alone, whose weights a control then draws.

    Returns
    -------
    Tagger
        Layers ``logmel``, ``timbral``, ``temporal``, ``cnn1`` to ``cnn3`` (one frame every 16 ms), and ``mean_pool``,
        ``max_pool``, ``penultimate`` and ``logits``, whose time axis counts patches of 3 s.

    Raises
    ------
    ModelError
        If the weights are not there or do not fit.
    """
    if not pretrained:
        if variant:
            raise ModelError(f"random weights replace all weights: leave the variant {variant!r} out")
        return _model("musicnn", _untrained(), {}, ())
    trained = variant or "MTT"
    if trained in TAGS:
        path, name = find_weights("musicnn", f"{trained}.safetensors", ORIGIN), f"musicnn:{trained}"
    elif variant.endswith(".safetensors"):
        path, name = Path(variant), f"musicnn:{Path(variant).stem}"
    else:
        raise ModelError(
            f"model 'musicnn' has no variant {variant!r}; {did_you_mean(variant, TAGS)}; or give a file, "
            f"'musicnn:FILE.safetensors'"
        )
    network = _untrained()
    load_weights(network, path)
    record = {"weights_sha256": weights_digest(network)}
    if record["weights_sha256"] in PUBLISHED_SHA256.values():
        record["weights_licence"] = "ISC"
    return _model(name, network, record, read_class_names(path, N_CLASSES))


def convert_musicnn(source: Path, target: Path) -> list[Path]:
    """Convert the published arrays to safetensors.

    Parameters
    ----------
    source : Path
        A folder with ``MTT_musicnn.npz`` and ``MSD_musicnn.npz``: the variables of the published networks.
    target : Path
        The folder to write into.

    Returns
    -------
    list of Path
        The files ``MTT.safetensors`` and ``MSD.safetensors``.

    Raises
    ------
    ModelError
        If a file is missing or holds something else.
    """
    sources = _sources()
    converted = []
    for trained, tags in TAGS.items():
        path = source / f"{trained}_musicnn.npz"
        arrays = read_arrays(path, list(sources.values()))
        network = _untrained()
        fill(network, {name: _to_torch(name, arrays[array]) for name, array in sources.items()}, path)
        converted.append(save(network, target / f"{trained}.safetensors", PUBLISHED_SHA256[trained], tags))
    return converted


def _sources() -> dict[str, str]:
    """Return for each tensor of the network the published variable; those are numbered in order of depth."""
    norms = ["norm", "timbral.filters.0.norm", "timbral.filters.1.norm"]
    norms += [f"temporal.filters.{i}.norm" for i in range(len(RHYTHM))] + [f"cnn{i}.norm" for i in (1, 2, 3)]
    norms += ["penultimate.norm_in", "penultimate.norm"]
    convolutions = [norm.replace(".norm", ".conv") for norm in norms[1:9]]
    moments = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    weights = {"weight": "kernel", "bias": "bias"}
    sources: dict[str, str] = {}
    for paths, stem, kinds in (
        (norms, "batch_normalization", moments),
        (convolutions, "conv2d", weights),
        (["penultimate.dense", "logits"], "dense", weights),
    ):
        for i, path in enumerate(paths):
            number = f"_{i}" if i else ""
            sources |= {f"{path}.{ours}": f"{stem}{number}.{theirs}" for ours, theirs in kinds.items()}
    return sources


def _to_torch(name: str, array: np.ndarray) -> np.ndarray:
    """Order the axes of a kernel: out, in, then bands and frames; (frames, channels, 1, out) is one over time."""
    if array.ndim != 4:
        return array.transpose()
    if name.startswith("cnn"):
        return array[:, :, 0].transpose(2, 1, 0)
    return array.transpose(3, 2, 1, 0)


def _untrained() -> Musicnn:
    """Build the network without drawing from the global generator of torch."""
    with torch.random.fork_rng(devices=[]):
        return Musicnn()


def _model(name: str, network: Musicnn, record: dict[str, str], class_names: tuple[str, ...]) -> Tagger:
    return Tagger(
        name=name,
        module=network,
        sample_rate=SAMPLE_RATE,
        layouts=LAYOUTS,
        minimum_samples=MINIMUM_SAMPLES,
        record={
            "front_end": "musicnn: log10(1 + 10000 mel power), 96 bands, 0-8000 Hz, single precision",
            "padding": "none: whole patches of 187 frames (3 s); a shorter sound is one patch of its own length",
            "citation": "Pons & Serra 2019, arXiv:1909.06654",
            **record,
        },
        class_names=class_names,
    )
