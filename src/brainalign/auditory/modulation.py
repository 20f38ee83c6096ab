"""The cortex: spectral and temporal modulation filters of cochleagrams.

Filters of Chi, Ru & Shamma 2005 (J. Acoust. Soc. Am. 118, 887, doi:10.1121/1.1945807), in the settings of Norman-
Haignere & McDermott 2018 and of Tuckute, Feather et al. 2023. A filter is a product of a temporal and a spectral one,
of which half of the quadrants of modulation frequency is kept, so that it prefers one direction. Only the one-
dimensional factors are ever held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainalign.errors import ModelError, StimulusError

Form = Literal["bandpass", "lowpass", "highpass"]
#: Rate in Hz and scale; None is no filtering on that axis. Negative rates prefer ripples that move up, positive ones
#: down.
Modulation = tuple[float | None, float | None]


def temporal_filter(
    rate: float, frame_rate: float, n_padded: int, *, form: Form = "bandpass", n_taps: int | None = None
) -> NDArray[np.complex128]:
    """Return the transfer function of a temporal modulation filter.

    Its impulse response is sin(2 pi u) u^2 exp(-3.5 u), u = rate x time, scaled to a largest gain of 1 (gen_cort of the
    NSL toolbox).

    Parameters
    ----------
    rate : float
        Best modulation rate in Hz; at 0 the filter is the mean over time.
    frame_rate : float
        Frames per second.
    n_padded : int
        Length of the Fourier transform.
    form : {'bandpass', 'lowpass', 'highpass'}
        ``lowpass``: without the sine (Norman-Haignere & McDermott 2018); ``highpass``: a gain of 1 above the best rate,
        phases as they are.
    n_taps : int, optional
        If given, the impulse response is cut at this length, and its mean taken away.

    Returns
    -------
    ndarray of complex, shape (n_padded // 2 + 1,)
        Gain at the non-negative frequencies of a real Fourier transform.

    Raises
    ------
    ModelError
        If the rate is not below half the frame rate.
    """
    _check_below_nyquist("rate", rate, frame_rate)
    if rate == 0:
        return _mean_only(n_padded // 2 + 1).astype(np.complex128)
    u = rate / frame_rate * np.arange(n_padded if n_taps is None else n_taps)
    response = u**2 * np.exp(-3.5 * u) * (1.0 if form == "lowpass" else np.sin(2 * np.pi * u))
    if n_taps is not None:
        response -= response.mean()
    transfer = np.fft.rfft(response, n_padded)
    gain = np.abs(transfer)
    transfer /= gain.max()
    if form == "highpass":
        above = slice(int(gain.argmax()), None)
        transfer[above] = np.exp(1j * np.angle(transfer[above]))
    return np.asarray(transfer)


def spectral_filter(
    scale: float, channel_rate: float, n_padded: int, *, form: Form = "bandpass"
) -> NDArray[np.float64]:
    """Return the transfer function of a spectral modulation filter.

    A Mexican hat, R exp(-R), R = (frequency / scale)^2, scaled to a largest gain of 1 (gen_corf of the NSL toolbox).

    Parameters
    ----------
    scale : float
        Best modulation scale, in cycles per unit (ERB or octave); at 0 the filter is the mean over channels.
    channel_rate : float
        Channels per unit.
    n_padded : int
        Length of the Fourier transform.
    form : {'bandpass', 'lowpass', 'highpass'}
        ``lowpass``: a Gaussian, exp(-(pi / 2)^2 R) (Norman-Haignere & McDermott 2018); ``highpass``: a gain of 1 above
        the best scale.

    Returns
    -------
    ndarray, shape (n_padded,)
        Real gain at all frequencies of a Fourier transform.

    Raises
    ------
    ModelError
        If the scale is not below half the channel rate.
    """
    _check_below_nyquist("scale", scale, channel_rate)
    if scale == 0:
        return _mean_only(n_padded)
    ratio = (np.fft.fftfreq(n_padded, 1 / channel_rate) / scale) ** 2
    transfer = np.exp(-((np.pi / 2) ** 2) * ratio) if form == "lowpass" else ratio * np.exp(-ratio)
    transfer /= transfer.max()
    if form == "highpass":
        transfer[ratio >= ratio[transfer.argmax()]] = 1.0
    return np.asarray(transfer)


def _check_below_nyquist(what: str, frequency: float, sampling: float) -> None:
    if not 0 <= frequency < sampling / 2:
        raise ModelError(f"the modulation {what} {frequency:g} does not lie from 0 to below {sampling / 2:g}")


def _mean_only(n_frequencies: int) -> NDArray[np.float64]:
    transfer = np.zeros(n_frequencies)
    transfer[0] = 1.0
    return transfer


@dataclass(frozen=True)
class ModulationBank:
    """Settings of a filter bank.

    Attributes
    ----------
    rates : tuple of float
        Temporal modulation rates in Hz, not negative.
    scales : tuple of float
        Spectral modulation scales in cycles per unit, not negative.
    frame_rate : float
        Frames of the cochleagram per second.
    channel_rate : float
        Its channels per unit.
    frame_padding, channel_padding : tuple of (int, int)
        What is added to each axis: so many times its length, and so many more.
    pad_with_mean : bool
        Whether the padding is the mean of the cochleagram, rather than 0.
    one_axis : bool
        Whether there are also filters of one axis alone.
    highest_pass : bool
        Whether the highest rate and scale are high-pass filters.
    short_responses : bool
        Whether temporal impulse responses end with the sound, without their mean, rather than with the padding.
    """

    rates: tuple[float, ...]
    scales: tuple[float, ...]
    frame_rate: float
    channel_rate: float
    frame_padding: tuple[int, int]
    channel_padding: tuple[int, int]
    pad_with_mean: bool = False
    one_axis: bool = False
    highest_pass: bool = False
    short_responses: bool = False

    @property
    def modulations(self) -> tuple[Modulation, ...]:
        """Return rate and scale of each filter.

        Returns
        -------
        tuple of (float or None, float or None)
            First, where there are such, those of rates alone and of scales alone; then, for each scale, all rates up
            (negative or 0); then, for each scale, all rates down. Where one of the two is 0 there is no direction, and
            one filter.
        """
        alone: list[Modulation] = []
        if self.one_axis:
            alone = [*((rate, None) for rate in self.rates if rate), *((None, scale) for scale in self.scales)]
        up = [(-rate if rate else 0.0, scale) for scale in self.scales for rate in self.rates]
        down = [(rate, scale) for scale in self.scales for rate in self.rates if rate and scale]
        return (*alone, *up, *down)

    def filters_for(self, cochleagrams: Tensor) -> ModulationFilters:
        """Design the filters for cochleagrams of a size, in their precision and on their device.

        Parameters
        ----------
        cochleagrams : Tensor, shape (..., n_channels, n_frames)
            Cochleagrams.

        Returns
        -------
        ModulationFilters
            Filters.

        Raises
        ------
        StimulusError
            If there is only one frame.
        ModelError
            If a rate or scale is too high for the cochleagram.
        """
        n_channels, n_frames = cochleagrams.shape[-2:]
        if n_frames < 2:
            raise StimulusError("a modulation filter needs 2 frames at least, found 1; the sound is too short")
        channels = n_channels + self.channel_padding[0] * n_channels + self.channel_padding[1]
        frames = n_frames + self.frame_padding[0] * n_frames + self.frame_padding[1]
        n_taps = n_frames if self.short_responses else None
        dtype, device = cochleagrams.dtype, cochleagrams.device
        temporal, spectral = {}, {}
        for rate in self.rates:
            form: Form = "highpass" if self.highest_pass and rate == max(self.rates) else "bandpass"
            transfer = temporal_filter(rate, self.frame_rate, frames, form=form, n_taps=n_taps)
            temporal[rate] = torch.as_tensor(transfer, dtype=dtype.to_complex(), device=device)
        for scale in self.scales:
            form = "highpass" if self.highest_pass and scale == max(self.scales) else "bandpass"
            gain = spectral_filter(scale, self.channel_rate, channels, form=form)
            spectral[scale] = torch.as_tensor(gain, dtype=dtype, device=device)
        return ModulationFilters(
            self.modulations, temporal, spectral, (n_channels, n_frames), (channels, frames), self.pad_with_mean
        )


@dataclass(frozen=True)
class ModulationFilters:
    """One-dimensional factors of filters for cochleagrams of one size.

    Attributes
    ----------
    modulations : tuple of (float or None, float or None)
        Rate and scale of each filter.
    temporal : dict of float to Tensor, shape (n_padded_frames // 2 + 1,)
        For each rate (its magnitude) the transfer function.
    spectral : dict of float to Tensor, shape (n_padded_channels,)
        For each scale the transfer function.
    size, padded : tuple of (int, int)
        Channels and frames, without and with padding.
    pad_with_mean : bool
        Whether the padding is the mean, rather than 0.
    """

    modulations: tuple[Modulation, ...]
    temporal: dict[float, Tensor]
    spectral: dict[float, Tensor]
    size: tuple[int, int]
    padded: tuple[int, int]
    pad_with_mean: bool

    def suit(self, cochleagrams: Tensor) -> bool:
        """Tell whether cochleagrams have the size, the precision and the device of the filters.

        Parameters
        ----------
        cochleagrams : Tensor, shape (..., n_channels, n_frames)
            Cochleagrams.

        Returns
        -------
        bool
            Whether the filters can be applied as they are.
        """
        factor = next(iter(self.spectral.values()))
        mine = self.size, factor.dtype, factor.device
        return mine == (tuple(cochleagrams.shape[-2:]), cochleagrams.dtype, cochleagrams.device)


#: Norman-Haignere & McDermott 2018 (doi:10.1371/journal.pbio.2005127), the filters that predicted voxels; cycles per
#: octave.
NORMAN_HAIGNERE2018 = ModulationBank(
    rates=(0.5, 1, 2, 4, 8, 16, 32, 64, 128),
    scales=(0, 0.25, 0.5, 1, 2, 4, 8),
    frame_rate=400,
    channel_rate=24,
    frame_padding=(0, 24 * 400),
    channel_padding=(0, 8 * 24),
    pad_with_mean=True,
    one_axis=True,
)

#: Tuckute, Feather et al. 2023 (doi:10.1371/journal.pbio.3002366), 111 filters. Scales are nominally in cycles per ERB,
#: for 6 channels per ERB; the cochleagram has 6.11. The released code can make the lowest filters low-pass, and forgets
#: the last bin where it does; but its lowest rate and scale are 0, the mean, so that this is never used: from 0.5 Hz
#: and 0.0625 cycles on all are band-pass. Where the padded cochleagram has an odd number of frames it takes the highest
#: frequency for that of Nyquist; here it is filtered as the others are. Cochleagrams of 2 s have an even number.
TUCKUTE2023 = ModulationBank(
    rates=(0, 0.5, 1, 2, 4, 8, 16, 32, 64),
    scales=(0, 0.0625, 0.125, 0.25, 0.5, 1, 2),
    frame_rate=200,
    channel_rate=6,
    frame_padding=(2, 0),
    channel_padding=(1, 0),
    highest_pass=True,
    short_responses=True,
)


def modulate(cochleagrams: Tensor, filters: ModulationFilters) -> Iterator[Tensor]:
    """Filter cochleagrams, one modulation filter after the other.

    The convolution is circular over the padded cochleagram, and the padding is cut. The spectrum is split by direction
    and filtered along its channels once per scale; what is left for each rate is a product and a one-dimensional
    transform.

    Parameters
    ----------
    cochleagrams : Tensor, shape (..., n_channels, n_frames)
        Cochleagrams.
    filters : ModulationFilters
        For their size, as of :meth:`ModulationBank.filters_for`.

    Yields
    ------
    Tensor, shape (..., n_channels, n_frames)
        The response of each filter, in the order of ``filters.modulations``. If the padding is the mean of the
        cochleagram, less the response to this mean, which is constant in time.

    Raises
    ------
    StimulusError
        If the filters are for another size.
    """
    if tuple(cochleagrams.shape[-2:]) != filters.size:
        raise StimulusError(
            f"cochleagrams of {' x '.join(map(str, cochleagrams.shape[-2:]))} channels and frames do not fit filters "
            f"designed for {' x '.join(map(str, filters.size))}; design filters for this size"
        )
    (n_channels, n_frames), (padded_channels, padded_frames) = filters.size, filters.padded
    if filters.pad_with_mean:
        cochleagrams = cochleagrams - cochleagrams.mean(dim=(-2, -1), keepdim=True)
    spectrum = torch.fft.fft(torch.fft.rfft(cochleagrams, n=padded_frames), n=padded_channels, dim=-2)
    for (direction, scale), group in groupby(filters.modulations, key=_direction_and_scale):
        kept = _one_direction(spectrum, direction, padded_frames)
        if scale is not None:
            kept = kept * filters.spectral[scale].unsqueeze(-1)
        rows = torch.fft.ifft(kept, dim=-2)[..., :n_channels, :]
        for rate, _ in group:
            filtered = rows if rate is None else rows * filters.temporal[abs(rate)]
            yield torch.fft.irfft(filtered, n=padded_frames)[..., :n_frames]


def _direction_and_scale(modulation: Modulation) -> tuple[int, float | None]:
    """Return -1 for up (or no temporal modulation), 1 for down, 0 if only one axis is filtered; and the scale."""
    rate, scale = modulation
    if rate is None or scale is None:
        return 0, scale
    return (1 if rate > 0 else -1), scale


def _one_direction(spectrum: Tensor, direction: int, n_frames: int) -> Tensor:
    """Return a half spectrum (..., n_channels, n_frames // 2 + 1) without one quadrant.

    In a downward ripple temporal and spectral frequency have the same sign. Frequencies of 0 and of Nyquist have no
    sign and stay.
    """
    n_channels = spectrum.shape[-2]
    signed_frames = slice(1, (n_frames + 1) // 2)
    positive, negative = slice(1, (n_channels + 1) // 2), slice(n_channels // 2 + 1, None)
    if direction == 0:
        return spectrum
    kept = spectrum.clone()
    kept[..., negative if direction > 0 else positive, signed_frames] = 0
    return kept
