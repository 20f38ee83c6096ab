"""The Gabor filter bank: an acoustic baseline of spectro-temporal modulations.

Formulae of Schädler, Meyer & Kollmeier 2012 (J. Acoust. Soc. Am. 131, 4134, doi:10.1121/1.3699200), in the setting of
Kim, Kim & Jeong 2024 (Nature Communications 15:148) and in those of the authors' reference feature extraction.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from brainalign.auditory.gabor import GaborSettings, boundary_gain, gabor_filter_bank, representative_channels
from brainalign.errors import ModelError, did_you_mean
from brainalign.models.hooked import HookedModel
from brainalign.models.logmel import MINIMUM_SAMPLES, N_MELS, SAMPLE_RATE, LogMel

#: Filters that are applied at a time: bounds the memory.
_BLOCK = 8

#: Kim et al. print d = (0.1, 0.045), omega_max = pi / 4 and 263 filters: 15 spectral x 18 temporal frequencies less 7.
#: Sizes above 55 and up to 69 channels, and above 72 and up to 80 frames, give these numbers; here the height of the
#: log-mel spectrogram and one second.
KIM2024 = GaborSettings(omega_max=(math.pi / 4, math.pi / 4), size_max=(64, 80), distance=(0.1, 0.045))


def reference_settings(n_bands: int) -> GaborSettings:
    """Return the settings of the reference feature extraction, 41 filters for 23 to 36 bands.

    Parameters
    ----------
    n_bands : int
        Channels of the spectrogram.

    Returns
    -------
    GaborSettings
        Modulations up to 1/4 cycle per channel and per frame (25 Hz at 100 frames per second).
    """
    return GaborSettings(omega_max=(math.pi / 2, math.pi / 2), size_max=(3 * n_bands, 40), distance=(0.3, 0.2))


def mel(frequency: float) -> float:
    """Return a frequency in Hz on the mel scale (HTK)."""
    return 2595 * math.log10(1 + frequency / 700)


class ReferenceLogMel(nn.Module):
    """Log-mel spectrogram of the reference feature extraction.

    Magnitudes of the Fourier transform of 25-ms Hamming windows (of RMS 1) every 10 ms, without padding, zero-padded
    to a power of two and divided by it; triangular filters whose centres lie a 24th of the way from 64 to 4,000 Hz
    apart on the mel scale, from 64 Hz up to half the sampling rate or 12 kHz; 20 log10 + 130 dB, limited to -20
    to 130. The corners of the triangles are rounded to bins of the transform. The released MATLAB code counts these
    bins from 1 where the transform counts from 0, so that its filters lie one bin (23 to 31 Hz) too low.

    Parameters
    ----------
    sample_rate : int
        Rate in Hz.
    released_bins : bool
        Place the filters as the released code does, one bin lower.
    """

    triangles: Tensor
    window: Tensor

    def __init__(self, sample_rate: int, *, released_bins: bool = False) -> None:
        super().__init__()
        self.hop = round(0.010 * sample_rate)
        n_window = round(0.025 * sample_rate)
        self.n_fft = 2 ** math.ceil(math.log2(n_window))
        window = torch.hamming_window(n_window, periodic=False, dtype=torch.float64)
        self.register_buffer("window", (window / window.square().mean().sqrt()).float(), persistent=False)
        distance = (mel(4_000) - mel(64)) / 24
        n_corners = int((mel(min(sample_rate / 2, 12_000)) - mel(64)) / distance) + 1
        mels = mel(64) + distance * np.arange(n_corners)
        corners = np.round(700 * (10 ** (mels / 2595) - 1) / sample_rate * self.n_fft) - released_bins
        bins = np.arange(self.n_fft // 2 + 1)
        triangles = [np.interp(bins, corners[i : i + 3], [0, 1, 0]) for i in range(n_corners - 2)]
        self.register_buffer("triangles", torch.tensor(np.array(triangles), dtype=torch.float32), persistent=False)

    @property
    def n_bands(self) -> int:
        """How many mel bands there are."""
        return len(self.triangles)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return the log-mel spectrogram.

        Parameters
        ----------
        waveforms : Tensor, shape (n_sounds, n_samples)
            Units of full scale.

        Returns
        -------
        Tensor, shape (n_sounds, 1, n_bands, n_frames)
            In dB; an RMS of full scale counts as 130 dB.
        """
        frames = waveforms.unfold(-1, len(self.window), self.hop) * self.window
        magnitude = torch.fft.rfft(frames, self.n_fft).abs() / self.n_fft
        bands: Tensor = (magnitude @ self.triangles.T).transpose(1, 2)
        return (20 * bands.log10() + 130).clamp(-20, 130).unsqueeze(1)


class GaborFeatures(nn.Module):
    """Features of a Gabor filter bank: real parts of the filtered log-mel spectrogram.

    The spectrogram is continued in time by its first and last frame, and filtered as if it were 0 above
    and below its channels. What thereby gets through of its mean is taken away again (the boundary correction, see
    :func:`~brainalign.auditory.gabor.boundary_gain`), but not from the filter that is meant to pass the mean.

    Parameters
    ----------
    settings : GaborSettings
        Of the filters.
    n_bands : int
        Channels of the spectrogram.
    keep : {'mean', 'channels'}
        ``mean``: rectify the output of each filter and average it over channels and frames (Kim et al. 2024);
        ``channels``: keep the signed outputs at representative channels, frame by frame (reference).
    boundary_correction : bool
        Whether the mean is taken away at the edges.
    """

    kernels: Tensor
    gain: Tensor

    def __init__(
        self,
        settings: GaborSettings,
        n_bands: int,
        *,
        keep: Literal["mean", "channels"],
        boundary_correction: bool = True,
    ) -> None:
        super().__init__()
        bank = gabor_filter_bank(settings)
        self.keep = keep
        self.channels = [torch.from_numpy(representative_channels(n_bands, len(f.kernel))) for f in bank]
        sizes = np.array([f.kernel.shape for f in bank]).max(axis=0)
        self.half_height, self.half_width = (int(s) // 2 for s in sizes)
        self.context = int(settings.size_max[1] // 2)
        self.boundary_correction = boundary_correction
        # Real part and normalised magnitude of each filter, the centre taps in one place.
        kernels = np.zeros((len(bank), 2, *sizes))
        gain = np.zeros((len(bank), n_bands, 1))
        for i, f in enumerate(bank):
            top, left = (sizes - f.kernel.shape) // 2
            inside = (slice(top, top + f.kernel.shape[0]), slice(left, left + f.kernel.shape[1]))
            kernels[i, 0][inside] = f.kernel.real
            kernels[i, 1][inside] = np.abs(f.kernel) / np.abs(f.kernel).sum()
            if f.omega_k or f.omega_n:
                passed, share = boundary_gain(f.kernel, n_bands).T
                gain[i, :, 0] = passed / share
        self.register_buffer("kernels", torch.tensor(kernels, dtype=torch.float32), persistent=False)
        self.register_buffer("gain", torch.tensor(gain, dtype=torch.float32), persistent=False)

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Return the features.

        Parameters
        ----------
        spectrograms : Tensor, shape (n_sounds, 1, n_bands, n_frames)
            In dB.

        Returns
        -------
        Tensor, shape (n_sounds, n_filters) or (n_sounds, n_features, n_frames)
            For ``keep`` ``mean`` or ``channels``.
        """
        features = []
        for first, maps in self._filtered(spectrograms):
            if self.keep == "mean":
                features.append(maps.relu().mean(dim=(2, 3)))
            else:
                features += [maps[:, i, self.channels[first + i]] for i in range(maps.shape[1])]
        return torch.cat(features, dim=1)

    def _filtered(self, spectrograms: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Give blocks of filtered spectrograms (n_sounds, n_filters, n_bands, n_frames), and where they begin."""
        n_bands, n_frames = spectrograms.shape[2:]
        continued = pad(spectrograms, (self.context, self.context, 0, 0), mode="replicate")
        # Long enough that what wraps around stays out of the rows and frames that are kept.
        size = (_fast_length(n_bands + self.half_height), _fast_length(n_frames + 2 * self.context + self.half_width))
        spectrum = torch.fft.rfft2(continued, s=size)
        rows = slice(self.half_height, self.half_height + n_bands)
        start = self.context + self.half_width
        frames = slice(start, start + n_frames)
        for first in range(0, len(self.kernels), _BLOCK):
            block = slice(first, first + _BLOCK)
            signed, magnitude = torch.fft.rfft2(self.kernels[block], s=size).unbind(1)
            maps = torch.fft.irfft2(spectrum * signed, s=size)[..., rows, frames]
            if self.boundary_correction:
                local_mean = torch.fft.irfft2(spectrum * magnitude, s=size)[..., rows, frames]
                maps = maps - self.gain[block] * local_mean
            yield first, maps


def _fast_length(length: int) -> int:
    from scipy.fft import next_fast_len

    return int(next_fast_len(length, real=True))


class _GBFBModel(nn.Module):
    """Front end and filters; the layer ``rectified`` only where frames are kept."""

    def __init__(self, logmel: nn.Module, gbfb: GaborFeatures) -> None:
        super().__init__()
        self.logmel = logmel
        self.gbfb = gbfb
        self.rectified = nn.ReLU()

    def forward(self, waveforms: Tensor) -> Tensor:
        features: Tensor = self.gbfb(self.logmel(waveforms))
        return features if self.gbfb.keep == "mean" else self.rectified(features)


@dataclass(frozen=True)
class _Variant:
    """A front end, by its rate: Kim's log-mel at 22,050 Hz, else that of the reference."""

    sample_rate: int
    keep: Literal["mean", "channels"]
    citation: str


_SCHAEDLER = "Schädler, Meyer & Kollmeier 2012, doi:10.1121/1.3699200"
_VARIANTS = {
    "kim2024": _Variant(SAMPLE_RATE, "mean", "Kim, Kim & Jeong 2024, doi:10.1038/s41467-023-44516-0"),
    "8khz": _Variant(8_000, "channels", _SCHAEDLER),
    "16khz": _Variant(16_000, "channels", _SCHAEDLER),
    "24khz": _Variant(24_000, "channels", _SCHAEDLER),
    "64bands": _Variant(SAMPLE_RATE, "channels", _SCHAEDLER),
}
_OPTIONS = ("uncorrected", "released-bins")


def load_gbfb(variant: str = "", *, pretrained: bool = True) -> HookedModel:
    """Load a Gabor filter bank.

    Parameters
    ----------
    variant : str
        ``kim2024`` (the default): 263 filters on the log-mel spectrogram of 64 bands at 22,050 Hz, each output
        rectified and averaged over the map, one layer ``gbfb`` of 263 units.
        ``8khz``, ``16khz``, ``24khz``: the reference feature extraction, 41 filters on 23, 31 or 36 bands at 100
        frames per second, 311, 455 or 509 features; ``64bands``: the same settings on Kim's spectrogram, 50 filters,
        923 features. Layers ``gbfb``, signed, and ``rectified``, its positive part: over time, most signed
        features average to nearly nothing.
        Options follow behind a slash: ``16khz/uncorrected`` leaves the boundary correction out, ``16khz/released-bins``
        places the mel filters as the released code does (see :class:`ReferenceLogMel`).
    pretrained : bool
        False asks for random weights, which it cannot have.

    Returns
    -------
    HookedModel
        The baseline.

    Raises
    ------
    ModelError
        If the variant is unknown, or random weights are asked for.

    Notes
    -----
    Kim et al. do not state the largest size of the filters, how the complex output is made real, or what happens at
    the edges. The size follows from the number of filters, see `KIM2024`; the rest is taken from the reference.

    With the boundary correction the level of a sound moves only the first unit, whose filter passes the mean. It is
    the mean level, rectified: close to 0 in units of full scale, about 45 for the same sounds in 16-bit integers (the
    scale that Kim et al. fed in is not known), where it outweighs all others in a mean over units.
    """
    if not pretrained:
        raise ModelError("model 'gbfb' has no weights, so there is no random control of it")
    name, *options = variant.split("/")
    chosen = _VARIANTS.get(name or "kim2024")
    if chosen is None:
        raise ModelError(f"model 'gbfb' has no variant {name!r}; {did_you_mean(name, _VARIANTS)}")
    kim = chosen.sample_rate == SAMPLE_RATE
    known = _OPTIONS[:1] if kim else _OPTIONS
    if unknown := [option for option in options if option not in known]:
        raise ModelError(f"model 'gbfb:{name}' has no option {unknown[0]!r}; {did_you_mean(unknown[0], known)}")
    logmel = LogMel() if kim else ReferenceLogMel(chosen.sample_rate, released_bins="released-bins" in options)
    n_bands = logmel.n_bands if isinstance(logmel, ReferenceLogMel) else N_MELS
    settings = KIM2024 if chosen.keep == "mean" else reference_settings(n_bands)
    features = GaborFeatures(settings, n_bands, keep=chosen.keep, boundary_correction="uncorrected" not in options)
    return HookedModel(
        name=f"gbfb:{variant}" if variant else "gbfb",
        module=_GBFBModel(logmel, features),
        sample_rate=chosen.sample_rate,
        layouts={"gbfb": "BC"} if chosen.keep == "mean" else {"gbfb": "BCT", "rectified": "BCT"},
        minimum_samples=MINIMUM_SAMPLES if kim else round(0.025 * chosen.sample_rate),
        record={
            "front_end": "kim2024" if kim else "Schädler reference, log-mel v1.1",
            "filters": asdict(settings),
            "boundary_correction": "uncorrected" not in options,
            **({} if kim else {"mel_filters": "as released" if "released-bins" in options else "as published"}),
            "citation": chosen.citation,
        },
    )
