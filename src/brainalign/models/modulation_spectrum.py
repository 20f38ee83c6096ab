"""The modulation power spectrum: how strongly a sound's spectrogram is modulated in time and frequency jointly.

The form of Singh & Theunissen 2003 (J. Acoust. Soc. Am. 114, 3394, doi:10.1121/1.1624067) and Elliott & Theunissen 2009
(PLoS Comput. Biol. 5, e1000302): the two-dimensional power spectrum of windows of the logarithmic spectrogram, over
temporal modulation in Hz and spectral modulation in cycles per kHz, averaged over windows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from brainalign.errors import ModelError
from brainalign.models.hooked import HookedModel

SAMPLE_RATE = 16_000
#: Standard deviation of the Gaussian analysis window in frequency and in time, Hz and s.
BANDWIDTH_HZ = 32.0
WINDOW_SD_S = 1 / (2 * math.pi * BANDWIDTH_HZ)
N_FFT = 512  # 31.25 Hz per bin; holds six standard deviations, 477 samples
HOP_SAMPLES = 64  # 250 frames per second
N_BINS = N_FFT // 2  # 0 to 8 kHz
FLOOR_DB = 50.0
#: Frames of a modulation window (1 s) and from one to the next (0.5 s).
N_FRAMES = 250
STEP_FRAMES = 125
MAXIMUM_RATE_HZ = 32
MAXIMUM_DENSITY_CYC_PER_KHZ = 12
#: Spectral modulation is resolved to one cycle per 8 kHz.
N_DENSITIES = MAXIMUM_DENSITY_CYC_PER_KHZ * N_BINS * SAMPLE_RATE // N_FFT // 1000 + 1
MINIMUM_SAMPLES = N_FFT + (N_FRAMES - 1) * HOP_SAMPLES


class LogSpectrogram(nn.Module):
    """Level of a spectrogram of Gaussian windows, in dB, not more than 50 dB below the maximum of the sound."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        time = (torch.arange(N_FFT, dtype=torch.float64) - N_FFT // 2) / SAMPLE_RATE
        gauss = torch.exp(-0.5 * (time / WINDOW_SD_S) ** 2) * (time.abs() <= 3 * WINDOW_SD_S)
        self.register_buffer("window", gauss.float(), persistent=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return the spectrogram.

        Parameters
        ----------
        waveforms : Tensor, shape (n_sounds, n_samples)
            At 16,000 Hz.

        Returns
        -------
        Tensor, shape (n_sounds, 256, n_frames)
            In dB; 0 to 8 kHz. Silence is constant.
        """
        frames = waveforms.unfold(-1, N_FFT, HOP_SAMPLES) * self.window
        level: Tensor = 20 * torch.fft.rfft(frames).abs()[..., :N_BINS].clamp(min=1e-10).log10().transpose(1, 2)
        return torch.maximum(level, level.amax(dim=(1, 2), keepdim=True) - FLOOR_DB)


class ModulationPower(nn.Module):
    """Modulation power of windows of a spectrogram.

    The weighted mean of a window is taken away, a Hann window tapers it in time, and the squared magnitude of its 2-D
    Fourier transform is scaled so that all modulations together sum to the variance of the window, weighted by the
    squared taper. Each unit holds both halves of its conjugate pair, (rate, density) and (-rate, -density).
    """

    taper: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("taper", torch.hann_window(N_FRAMES, periodic=True), persistent=False)

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Return the modulation power.

        Parameters
        ----------
        spectrograms : Tensor, shape (n_sounds, 256, n_frames)
            In dB.

        Returns
        -------
        Tensor, shape (n_sounds, n_units, n_windows)
            In dB squared, units as :func:`modulation_axes` says.
        """
        power = modulation_power(spectrograms.unfold(-1, N_FRAMES, STEP_FRAMES).transpose(1, 2), self.taper)
        rates = torch.arange(-MAXIMUM_RATE_HZ, MAXIMUM_RATE_HZ + 1, device=power.device)
        kept = power[..., :N_DENSITIES, :][..., rates % N_FRAMES].flatten(start_dim=2)
        # At density 0 negative rates repeat the positive ones, and rate 0 is the mean, which is taken away.
        return 2 * kept[..., MAXIMUM_RATE_HZ + 1 :].transpose(1, 2)


def modulation_power(windows: Tensor, taper: Tensor) -> Tensor:
    """Return the power of all modulations of windows of a spectrogram.

    Parameters
    ----------
    windows : Tensor, shape (..., n_bins, n_frames)
        In dB.
    taper : Tensor, shape (n_frames,)
        Window in time.

    Returns
    -------
    Tensor, shape (..., n_bins, n_frames)
        In the order of the Fourier transform, in dB squared. The sum over both axes is the mean square deviation from
        the mean, the frames weighted by the squared taper; the mean itself is weighted by the taper.
    """
    n_bins, n_frames = windows.shape[-2:]
    mean = (windows * taper).sum(dim=(-2, -1), keepdim=True) / (n_bins * taper.sum())
    transform = torch.fft.fft2((windows - mean) * taper)
    power: Tensor = transform.abs().square() / (n_bins**2 * n_frames * taper.square().sum())
    return power


def modulation_axes() -> tuple[Tensor, Tensor]:
    """Return which modulation each unit stands for.

    Returns
    -------
    rates_hz : Tensor, shape (6272,)
        Temporal modulation, -32 to 32 Hz by 1; with a density above 0, positive is downward and negative upward.
    densities_cyc_per_khz : Tensor, shape (6272,)
        Spectral modulation, 0 to 12 cycles per kHz by 0.125; the unit changes slower along it than along the rate.
    """
    rates = torch.arange(-MAXIMUM_RATE_HZ, MAXIMUM_RATE_HZ + 1).float()
    densities = torch.arange(N_DENSITIES) * (1000 * N_FFT / SAMPLE_RATE / N_BINS)
    grid = torch.cartesian_prod(densities, rates)[MAXIMUM_RATE_HZ + 1 :]
    return grid[:, 1], grid[:, 0]


class _Decibels(nn.Module):
    """Average over windows, in dB relative to 1 dB squared; -60 where there is no modulation."""

    def forward(self, power: Tensor) -> Tensor:
        return 10 * power.mean(dim=2).clamp(min=1e-6).log10()


class _ModulationSpectrumModel(nn.Module):
    """Spectrogram, modulation power, and its logarithm."""

    def __init__(self) -> None:
        super().__init__()
        self.spectrogram = LogSpectrogram()
        self.power = ModulationPower()
        self.decibels = _Decibels()

    def forward(self, waveforms: Tensor) -> Tensor:
        level: Tensor = self.decibels(self.power(self.spectrogram(waveforms)))
        return level


def load_modulation_spectrum(variant: str = "", *, pretrained: bool = True) -> HookedModel:
    """Load the modulation power spectrum.

    Parameters
    ----------
    variant : str
        There are none.
    pretrained : bool
        False asks for random weights, which it cannot have.

    Returns
    -------
    HookedModel
        Layers ``power`` (dB squared; over windows of 1 s, one every 0.5 s) and ``decibels`` (10 log10 of its mean
        over windows), 6,272 units each: :func:`modulation_axes` names them. It takes sounds of at least 1.03 s.

    Raises
    ------
    ModelError
        If a variant or random weights are asked for.

    Notes
    -----
    Gaussian analysis windows of 32 Hz bandwidth (one standard deviation) every 4 ms, 0 to 8 kHz, a floor 50 dB below
    the maximum of the sound, so the level of the sound does not matter. Harmonics of a pitch f0 lie at a density of
    1000 / f0 cycles per kHz. Power is skewed over sounds; where a measure assumes otherwise, ``decibels`` is the layer.
    """
    if variant:
        raise ModelError(f"model 'modulation-spectrum' has no variant {variant!r}; use 'modulation-spectrum'")
    if not pretrained:
        raise ModelError("model 'modulation-spectrum' has no weights, so there is no random control of it")
    return HookedModel(
        name="modulation-spectrum",
        module=_ModulationSpectrumModel(),
        sample_rate=SAMPLE_RATE,
        layouts={"power": "BCT", "decibels": "BC"},
        minimum_samples=MINIMUM_SAMPLES,
        record={
            "bandwidth_hz": BANDWIDTH_HZ,
            "window_s": N_FRAMES * HOP_SAMPLES / SAMPLE_RATE,
            "floor_db": FLOOR_DB,
            "maximum_rate_hz": MAXIMUM_RATE_HZ,
            "maximum_density_cyc_per_khz": MAXIMUM_DENSITY_CYC_PER_KHZ,
            "citation": "Singh & Theunissen 2003, doi:10.1121/1.1624067; "
            "Elliott & Theunissen 2009, doi:10.1371/journal.pcbi.1000302",
        },
    )
