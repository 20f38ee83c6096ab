"""The cochlea: ERB-spaced half-cosine filters, Hilbert envelopes, cochleagrams, and the way back to sound.

Filters as in McDermott & Simoncelli 2011 (Neuron 71, 926, doi:10.1016/j.neuron.2011.06.032), on the ERB-number scale of
Glasberg & Moore 1990 (Hear. Res. 47, 103). Waveforms are tensors (..., n_samples); filters are designed once for a rate
and a length and passed on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from brainalign.auditory.envelopes import Downsampling, downsample
from brainalign.errors import ModelError, StimulusError

#: Glasberg & Moore: the bandwidth in Hz is 24.7 + f / 9.265.
_ERB_MINIMUM = 24.7
_ERB_QUALITY = 9.265
#: Bands whose analytic signals are held at a time: bounds the memory.
_BLOCK = 16


def erb_number(frequency: ArrayLike) -> NDArray[np.float64]:
    """Return how many equivalent rectangular bandwidths lie below a frequency.

    Parameters
    ----------
    frequency : array_like
        In Hz.

    Returns
    -------
    ndarray
        9.265 ln(1 + f / (24.7 x 9.265)), Glasberg & Moore 1990.
    """
    return _ERB_QUALITY * np.log1p(np.asarray(frequency, dtype=np.float64) / (_ERB_MINIMUM * _ERB_QUALITY))


def erb_frequency(number: ArrayLike) -> NDArray[np.float64]:
    """Return the frequency below which lie so many equivalent rectangular bandwidths.

    Parameters
    ----------
    number : array_like
        ERB numbers.

    Returns
    -------
    ndarray
        In Hz, the inverse of :func:`erb_number`.
    """
    return _ERB_MINIMUM * _ERB_QUALITY * np.expm1(np.asarray(number, dtype=np.float64) / _ERB_QUALITY)


@dataclass(frozen=True)
class CochlearFilters:
    """Filters for sounds of one rate and one length.

    Attributes
    ----------
    transfer : Tensor, shape (n_filters, n_samples // 2 + 1)
        Gain of each filter, in order of frequency, at the frequencies of a real Fourier transform.
    centres : ndarray, shape (n_filters,)
        Their centres in Hz; of the low- and high-pass filters, where the next centre would be (0 at least).
    sample_rate : float
        In Hz.
    n_samples : int
        Length of the sounds.
    """

    transfer: Tensor
    centres: NDArray[np.float64]
    sample_rate: float
    n_samples: int

    def suit(self, waveforms: Tensor) -> bool:
        """Tell whether waveforms have the length, the precision and the device of the filters.

        Parameters
        ----------
        waveforms : Tensor, shape (..., n_samples)
            Sounds.

        Returns
        -------
        bool
            Whether the filters can be applied as they are.
        """
        mine = self.n_samples, self.transfer.dtype, self.transfer.device
        return mine == (waveforms.shape[-1], waveforms.dtype, waveforms.device)


def erb_filters(
    sample_rate: float,
    n_samples: int,
    *,
    n_bands: int,
    low_hz: float,
    high_hz: float,
    density: int = 1,
    n_edges: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> CochlearFilters:
    """Design half-cosine filters whose centres are evenly spaced in ERB number.

    At density 1, `n_bands` filters span the range, each reaching from the centre of its lower to that of its upper
    neighbour; at density d there are d (n_bands + 1) - 1 of the same width. Below the d lowest and above
    the d highest, low- and high-pass filters complete their slopes. With all of them the squared gains add up to 1 at
    each frequency, so that filtering twice and adding up (:func:`subbands`, :func:`collapse`) gives the sound back.

    Parameters
    ----------
    sample_rate : float
        Of the sounds, in Hz.
    n_samples : int
        Their length.
    n_bands : int
        Band-pass filters at density 1.
    low_hz, high_hz : float
        Outer ends of the outermost band-pass filters, in Hz.
    density : int
        How many times as many filters.
    n_edges : int, optional
        How many low-pass and how many high-pass filters are kept, the innermost ones; all (`density` of each) if not
        given.
    dtype : torch.dtype
        Of the gains, float32 or float64.
    device : torch.device or str
        Where they lie.

    Returns
    -------
    CochlearFilters
        ``density * (n_bands + 1) - 1 + 2 * n_edges`` filters.

    Raises
    ------
    ModelError
        If the range is not within 0 Hz and half the sample rate, or a number is not positive.
    """
    if not 0 <= low_hz < high_hz <= sample_rate / 2:
        raise ModelError(
            f"cochlear filters from {low_hz:g} to {high_hz:g} Hz do not lie within 0 and {sample_rate / 2:g} Hz, "
            f"half the sample rate; choose another range or resample"
        )
    if min(n_bands, density, n_samples) < 1:
        raise ModelError(
            f"cochlear filters: found {n_bands} bands, density {density}, {n_samples} samples, expected at least 1 each"
        )
    kept = density if n_edges is None else n_edges
    if not 0 <= kept <= density:
        raise ModelError(f"cochlear filters of density {density} have 0 to {density} edge filters, found {n_edges}")
    low_end, high_end = erb_number([low_hz, high_hz])
    inner = np.linspace(low_end, high_end, density * (n_bands + 1) + 1)[1:-1, np.newaxis]
    reach = (high_end - low_end) / (n_bands + 1)
    frequencies = erb_number(np.arange(n_samples // 2 + 1) * sample_rate / n_samples)
    distance = frequencies - inner
    gains = np.where(np.abs(distance) < reach, np.cos(distance / reach * (np.pi / 2)), 0.0)
    lowest, highest = slice(density - kept, density), slice(len(inner) - density, len(inner) - density + kept)
    low = np.where(distance[lowest] < 0, np.sqrt(1 - gains[lowest] ** 2), 0.0)
    high = np.where(distance[highest] > 0, np.sqrt(1 - gains[highest] ** 2), 0.0)
    centres = np.concatenate([inner[lowest] - reach, inner, inner[highest] + reach])[:, 0]
    transfer = np.concatenate([low, gains, high]) / math.sqrt(density)
    return CochlearFilters(
        torch.as_tensor(transfer, dtype=dtype, device=device),
        np.maximum(erb_frequency(centres), 0.0),
        sample_rate,
        n_samples,
    )


def _spectra(waveforms: Tensor, filters: CochlearFilters) -> Tensor:
    if waveforms.shape[-1] != filters.n_samples:
        raise StimulusError(
            f"sounds of {waveforms.shape[-1]} samples do not fit filters designed for {filters.n_samples}; "
            f"design filters for this length"
        )
    spectra: Tensor = torch.fft.rfft(waveforms)
    return spectra.unsqueeze(-2)


def _analytic(spectra: Tensor, n_samples: int) -> Tensor:
    """Return the analytic signals of half spectra: only 0 Hz and the Nyquist frequency have no negative counterpart."""
    weights = torch.full((n_samples // 2 + 1,), 2.0, dtype=spectra.real.dtype, device=spectra.device)
    weights[0] = 1.0
    weights[(n_samples + 1) // 2 :] = 1.0
    analytic: Tensor = torch.fft.ifft(spectra * weights, n=n_samples)
    return analytic


def subbands(waveforms: Tensor, filters: CochlearFilters) -> Tensor:
    """Split sounds into frequency bands, without delay; the sound is taken as periodic.

    Parameters
    ----------
    waveforms : Tensor, shape (..., n_samples)
        Sounds.
    filters : CochlearFilters
        For their rate and length.

    Returns
    -------
    Tensor, shape (..., n_filters, n_samples)
        Sub-bands.

    Raises
    ------
    StimulusError
        If the filters are for another length.
    """
    bands: Tensor = torch.fft.irfft(_spectra(waveforms, filters) * filters.transfer, n=filters.n_samples)
    return bands


def analytic_subbands(waveforms: Tensor, filters: CochlearFilters) -> Tensor:
    """Split sounds into analytic bands: the real part is the sub-band, the magnitude its Hilbert envelope.

    Parameters
    ----------
    waveforms : Tensor, shape (..., n_samples)
        Sounds.
    filters : CochlearFilters
        For their rate and length.

    Returns
    -------
    Tensor of complex, shape (..., n_filters, n_samples)
        Analytic signals of the sub-bands.

    Raises
    ------
    StimulusError
        If the filters are for another length.
    """
    return _analytic(_spectra(waveforms, filters) * filters.transfer, filters.n_samples)


def with_envelopes(analytic: Tensor, envelopes: Tensor) -> Tensor:
    """Return sub-bands that keep their fine structure and take new envelopes.

    Parameters
    ----------
    analytic : Tensor of complex, shape (..., n_filters, n_samples)
        Analytic sub-bands.
    envelopes : Tensor, shape (..., n_filters, n_samples)
        At the rate of the sound, not compressed.

    Returns
    -------
    Tensor, shape (..., n_filters, n_samples)
        Sub-bands for :func:`collapse`; 0 where the old envelope is 0, which leaves no fine structure.
    """
    return torch.sgn(analytic).real * envelopes


def collapse(bands: Tensor, filters: CochlearFilters) -> Tensor:
    """Filter sub-bands once more and add them up to sounds.

    Parameters
    ----------
    bands : Tensor, shape (..., n_filters, n_samples)
        Sub-bands, as of :func:`subbands` or :func:`with_envelopes`.
    filters : CochlearFilters
        With which they were made.

    Returns
    -------
    Tensor, shape (..., n_samples)
        Sounds; sub-bands that were not changed give the original, to rounding.

    Raises
    ------
    StimulusError
        If the filters are for another length.
    """
    spectra = _spectra(bands, filters).squeeze(-2)
    waveforms: Tensor = torch.fft.irfft((spectra * filters.transfer).sum(dim=-2), n=filters.n_samples)
    return waveforms


@dataclass(frozen=True)
class Cochlea:
    """Settings of a cochleagram.

    Attributes
    ----------
    sample_rate : int
        Of the sounds, in Hz.
    n_bands, low_hz, high_hz, density, n_edges
        Of the filters, see :func:`erb_filters`.
    envelope_rate : int
        Frames per second; divides `sample_rate`.
    one_sided : bool
        Take the non-negative frequencies of a band as they are, rather than its analytic signal, which holds those
        between 0 Hz and the Nyquist frequency twice: half the Hilbert envelope, if nothing lies at these two.
    floor : float
        Smallest value of an envelope before it is downsampled.
    downsampling : Downsampling
        From the rate of the sound to that of the envelopes.
    compression : float
        Power to which envelopes are raised.
    compress_first : bool
        Whether they are before they are downsampled, rather than after.
    offset : float
        Added before compression.
    channels_per_octave : int, optional
        If given, channels are interpolated at this spacing on a logarithmic frequency axis.
    """

    sample_rate: int
    n_bands: int
    low_hz: float
    high_hz: float
    envelope_rate: int
    density: int = 1
    n_edges: int | None = None
    one_sided: bool = False
    floor: float = 0.0
    downsampling: Downsampling = field(default_factory=Downsampling)
    compression: float = 0.3
    compress_first: bool = False
    offset: float = 0.0
    channels_per_octave: int | None = None

    def __post_init__(self) -> None:
        """Check the rates.

        Raises
        ------
        ModelError
            If the rate of the envelopes does not divide that of the sounds.
        """
        if self.envelope_rate < 1 or self.sample_rate % self.envelope_rate:
            raise ModelError(f"the envelope rate {self.envelope_rate} Hz does not divide {self.sample_rate} Hz")

    def minimum_samples(self, n_frames: int = 1) -> int:
        """Return the length of the shortest sound that gives so many frames.

        Parameters
        ----------
        n_frames : int
            How many frames.

        Returns
        -------
        int
            In samples.
        """
        return self.downsampling.minimum_samples(self.sample_rate // self.envelope_rate, n_frames)

    def filters_for(self, waveforms: Tensor) -> CochlearFilters:
        """Design the filters for sounds of a length, in their precision and on their device.

        Parameters
        ----------
        waveforms : Tensor, shape (..., n_samples)
            Sounds.

        Returns
        -------
        CochlearFilters
            Filters.
        """
        return erb_filters(
            self.sample_rate,
            waveforms.shape[-1],
            n_bands=self.n_bands,
            low_hz=self.low_hz,
            high_hz=self.high_hz,
            density=self.density,
            n_edges=self.n_edges,
            dtype=waveforms.dtype,
            device=waveforms.device,
        )


#: In-house models and SpectroTemporal baseline of Tuckute, Feather et al. 2023 (doi:10.1371/journal.pbio.3002366): 211
#: bands, 390 frames for 2 s. As in the released code, envelopes are one-sided, and the sinc of the kernel lies half a
#: sample (25 microseconds) late. That code makes envelopes one sample too short for sounds of an odd number of samples;
#: here they are whole. The authors set the mean of each sound to 0 and its RMS to 0.1.
TUCKUTE2023 = Cochlea(
    sample_rate=20_000,
    n_bands=50,
    low_hz=50.0,
    high_hz=10_000.0,
    density=4,
    envelope_rate=200,
    one_sided=True,
    floor=1e-8,
    downsampling=Downsampling(delay=0.5, unit_gain=False, padded=False),
    offset=1e-8,
)

#: Norman-Haignere & McDermott 2018 (doi:10.1371/journal.pbio.2005127): 125 bands, interpolated at 24 channels per
#: octave from 20 Hz (217 channels); 800 frames for 2 s.
NORMAN_HAIGNERE2018 = Cochlea(
    sample_rate=20_000,
    n_bands=30,
    low_hz=20.0,
    high_hz=10_000.0,
    density=4,
    n_edges=1,
    envelope_rate=400,
    compress_first=True,
    channels_per_octave=24,
)


def cochleagram(waveforms: Tensor, cochlea: Cochlea, filters: CochlearFilters) -> Tensor:
    """Return compressed envelopes of frequency bands.

    Sounds are taken one by one and bands in blocks, so that memory is bounded and results do not depend on the batch.
    On octave-spaced channels it cannot be differentiated.

    Parameters
    ----------
    waveforms : Tensor, shape (..., n_samples)
        Sounds, units of full scale.
    cochlea : Cochlea
        Settings.
    filters : CochlearFilters
        For their length, as of :meth:`Cochlea.filters_for`.

    Returns
    -------
    Tensor, shape (..., n_channels, n_frames)
        Not negative. In float32, off by less than 1e-4 of its maximum from float64.

    Raises
    ------
    StimulusError
        If the filters are for another length, or the sounds are too short for a frame.
    """
    # A copy of each: how a sound lies in memory changes the rounding of its transform.
    sounds = [_cochleagram(w.clone(), cochlea, filters) for w in waveforms.reshape(-1, waveforms.shape[-1])]
    return torch.stack(sounds).reshape(*waveforms.shape[:-1], *sounds[0].shape)


def _cochleagram(waveform: Tensor, cochlea: Cochlea, filters: CochlearFilters) -> Tensor:
    spectrum = _spectra(waveform, filters)
    blocks = []
    for transfer in torch.split(filters.transfer, _BLOCK):
        bands = spectrum * transfer
        bands = torch.fft.ifft(bands, n=len(waveform)) if cochlea.one_sided else _analytic(bands, len(waveform))
        # Twice as fast as the magnitude of complex numbers.
        envelopes = torch.addcmul(bands.real.square(), bands.imag, bands.imag).clamp(min=cochlea.floor**2).sqrt()
        if cochlea.compress_first:
            envelopes = (envelopes + cochlea.offset) ** cochlea.compression
        blocks.append(downsample(envelopes, cochlea.sample_rate // cochlea.envelope_rate, cochlea.downsampling))
    frames = torch.cat(blocks)
    if cochlea.channels_per_octave is not None:
        frames = _on_octaves(frames, filters.centres, cochlea.channels_per_octave)
    frames = frames.clamp(min=0.0)
    return frames if cochlea.compress_first else (frames + cochlea.offset) ** cochlea.compression


def _on_octaves(frames: Tensor, centres: NDArray[np.float64], per_octave: int) -> Tensor:
    """Interpolate channels (piecewise cubic, monotone) from the first centre to at most a step beyond the last."""
    from scipy.interpolate import PchipInterpolator

    octaves = np.log2(centres)
    n_channels = int((octaves[-1] - octaves[0]) * per_octave + 1) + 1
    wanted = octaves[0] + np.arange(n_channels) / per_octave
    values = PchipInterpolator(octaves, frames.double().cpu().numpy(), axis=0)(wanted)
    return torch.as_tensor(values, dtype=frames.dtype, device=frames.device)
