"""Noise that shares statistics with a sound: its long-term spectrum, or its spectrotemporal modulations.

The second is the synthesis of Norman-Haignere & McDermott 2018 (PLoS Biol. 16, e2005127,
doi:10.1371/journal.pbio.2005127), which extends that of McDermott & Simoncelli 2011 (Neuron 71, 926): statistics are
imposed on noise, alternating between the cochleagram and the sound, until they agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainalign.auditory import cochlea, modulation
from brainalign.auditory.envelopes import Downsampling, downsample
from brainalign.errors import StimulusError
from brainalign.stimuli.audio import resample, rms

Signal = NDArray[np.float64]

#: Frequencies from here on are matched, in Hz; lower ones have one band.
LOWEST_HZ = 20.0
#: The sound is synthesised at this rate in Hz, or at the next lower multiple of the frame rate.
SYNTHESIS_RATE = 20_000
#: Cochlear filters, before there are four times as many: as wide as 30 between 20 Hz and 10 kHz.
BANDS = 30
COMPRESSION = 0.3
#: Lowest sample rate of sounds whose modulations are matched, in Hz.
LOWEST_RATE = 4_000
#: Steps towards the long-term spectrum; each costs a product with a matrix as large as the number of bands.
SPECTRUM_STEPS = 500
#: Filters of Norman-Haignere & McDermott 2018 with 1 s and 2 octaves of padding, not 24 s and 8 octaves.
BANK = replace(modulation.NORMAN_HAIGNERE2018, frame_padding=(0, 400), channel_padding=(0, 48))


def match_spectrum(white: Signal, waveform: Signal, sample_rate: int) -> Signal:
    """Shape noise so that each frequency band has the power of a sound.

    Bands are half-cosine filters, one ERB wide and one apart, that tile the whole spectrum. The power spectrum of the
    filter is a sum of their squared gains. Its weights, which are not negative, bring the powers of the bands as near
    as can be in Kullback-Leibler divergence (Richardson 1972, J. Opt. Soc. Am. 62, 55), which keeps the power of the
    whole.

    Parameters
    ----------
    white : ndarray, shape (n_samples,)
        White noise.
    waveform : ndarray, shape (n_samples,)
        The sound, not silent.
    sample_rate : int
        In Hz.

    Returns
    -------
    ndarray, shape (n_samples,)
        Noise with the RMS of the sound. The powers of its bands are those of the sound, unless neighbours differ by
        more than the slopes of the filters allow, as around a pure tone.
    """
    n_samples = len(waveform)
    n_bands = max(1, round(float(np.diff(cochlea.erb_number([LOWEST_HZ, sample_rate / 2]))[0])) - 1)
    filters = cochlea.erb_filters(
        sample_rate, n_samples, n_bands=n_bands, low_hz=LOWEST_HZ, high_hz=sample_rate / 2, dtype=torch.float64
    )
    gains = filters.transfer.numpy() ** 2
    # A half spectrum holds all but 0 Hz and half the sample rate twice.
    twice = np.full(gains.shape[1], 2.0)
    twice[0] = 1.0
    twice[(n_samples + 1) // 2 :] = 1.0
    noise = np.fft.rfft(white)
    powers = gains @ (twice * np.abs(np.fft.rfft(waveform)) ** 2)
    spread = (gains * (twice * np.abs(noise) ** 2)) @ gains.T
    # Of a short sound, no line of the spectrum may lie in a low band.
    reach = np.maximum(spread.sum(axis=0), np.finfo(np.float64).tiny)
    weights = powers / reach
    for _ in range(SPECTRUM_STEPS):
        heard = spread @ weights
        missing = np.divide(powers, heard, out=np.zeros_like(powers), where=heard > 0)
        weights *= (spread @ missing) / reach
    return np.asarray(np.fft.irfft(noise * np.sqrt(weights @ gains), n_samples))


@dataclass(frozen=True)
class ModulationStatistics:
    """Statistics of a cochleagram and of its modulations, over time.

    Attributes
    ----------
    modulations : tuple of (float or None, float or None)
        Rate (Hz) and scale (cycles per octave) of each filter, as of
        :class:`~brainalign.auditory.modulation.ModulationBank`.
    frequencies_hz : ndarray, shape (n_channels,)
        Centres of the channels.
    envelope_mean, envelope_sd : ndarray, shape (n_channels,)
        Of the compressed envelopes.
    modulation_sd : ndarray, shape (n_filters, n_channels)
        Standard deviation of the response of each filter.
    """

    modulations: tuple[modulation.Modulation, ...]
    frequencies_hz: Signal
    envelope_mean: Signal
    envelope_sd: Signal
    modulation_sd: Signal


def modulation_statistics(waveform: Signal, sample_rate: int) -> ModulationStatistics:
    """Measure the statistics that :func:`match_modulations` imposes.

    Parameters
    ----------
    waveform : ndarray, shape (n_samples,)
        A sound, not silent.
    sample_rate : int
        In Hz.

    Returns
    -------
    ModulationStatistics
        Means and standard deviations over time.

    Raises
    ------
    StimulusError
        If the sample rate is below 4 kHz.
    """
    rate = _synthesis_rate(sample_rate)
    sound = torch.as_tensor(_resampled(waveform, sample_rate, rate), dtype=torch.float32)
    listener = _Listener(rate, len(sound))
    _, envelopes = listener.cochleagram(sound)
    octaves = listener.to_octaves @ envelopes
    return ModulationStatistics(
        listener.bank.modulations,
        listener.frequencies_hz,
        octaves.mean(dim=-1).double().numpy(),
        octaves.std(dim=-1).double().numpy(),
        np.stack([response.std(dim=-1).double().numpy() for response in listener.modulations(envelopes)]),
    )


def match_modulations(white: Signal, waveform: Signal, sample_rate: int, *, n_iterations: int) -> Signal:
    """Impose cochleagram and spectrotemporal modulation statistics of a sound on noise.

    In each iteration the responses of the modulation filters to the cochleagram of the noise get, in each channel, the
    distribution over time of those to the sound, by rank; the cochleagram is put together from them; its channels get
    the distribution that they have in the sound; and the sub-bands of the noise get these envelopes.

    What differs from the paper: the noise has the long-term spectrum of the sound at the start; padding is shorter;
    channels are interpolated linearly; filters at 0, 0.125 and 0.25 Hz are left out. It takes about 100 MB of memory
    for each second of sound.

    Parameters
    ----------
    white : ndarray, shape (n_samples,)
        White noise.
    waveform : ndarray, shape (n_samples,)
        The sound, not silent.
    sample_rate : int
        In Hz.
    n_iterations : int
        At least 1; the paper took 100.

    Returns
    -------
    ndarray, shape (n_samples,)
        Noise with the RMS that the sound has below 10 kHz, and nothing above.

    Raises
    ------
    StimulusError
        If the sample rate is below 4 kHz.
    """
    rate = _synthesis_rate(sample_rate)
    goal = _resampled(waveform, sample_rate, rate)
    start = match_spectrum(white[: len(goal)], goal, rate)
    # A caller may listen to sounds without gradients.
    with torch.inference_mode(False), torch.enable_grad():
        made = _impose(torch.as_tensor(start).float(), torch.as_tensor(goal).float(), rate, n_iterations)
    made = _resampled(made * (rms(goal) / rms(made)), rate, sample_rate)[: len(waveform)]
    return np.pad(made, (0, len(waveform) - len(made)))


def _impose(sound: Tensor, goal: Tensor, rate: int, n_iterations: int) -> Signal:
    listener = _Listener(rate, len(goal))
    _, wanted = listener.cochleagram(goal)
    modulations = [response.sort(dim=-1).values for response in listener.modulations(wanted)]
    envelopes = wanted.sort(dim=-1).values
    for _ in range(n_iterations):
        analytic, heard = listener.cochleagram(sound)
        heard = _with_distribution(listener.with_modulations(heard, modulations), envelopes)
        sound = listener.waveform(analytic, heard)
    return np.asarray(sound.double())


class _Listener:
    """The cochleagram and modulations of sounds of one length, and the ways back."""

    def __init__(self, sample_rate: int, n_samples: int) -> None:
        spacing = float(np.diff(cochlea.erb_number([LOWEST_HZ, SYNTHESIS_RATE / 2]))[0]) / (BANDS + 1)
        reach = float(np.diff(cochlea.erb_number([LOWEST_HZ, sample_rate / 2]))[0])
        self.filters = cochlea.erb_filters(
            sample_rate,
            n_samples,
            n_bands=round(reach / spacing) - 1,
            low_hz=LOWEST_HZ,
            high_hz=sample_rate / 2,
            density=4,
        )
        self.factor = sample_rate // int(BANK.frame_rate)
        octaves = np.log2(np.maximum(self.filters.centres, LOWEST_HZ / 2))
        wanted = np.arange(np.log2(LOWEST_HZ), octaves[-1], 1 / BANK.channel_rate)
        self.frequencies_hz = np.exp2(wanted)
        self.to_octaves = _interpolation(octaves, wanted)
        self.to_bands = _interpolation(wanted, octaves)
        n_frames = -(-n_samples // self.factor)
        self.bank = BANK.filters_for(torch.zeros(len(wanted), n_frames))

    def cochleagram(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Return analytic sub-bands and compressed envelopes at the frame rate (n_bands, n_frames)."""
        analytic = cochlea.analytic_subbands(waveform, self.filters)
        return analytic, downsample(analytic.abs() ** COMPRESSION, self.factor, Downsampling()).clamp(min=0)

    def modulations(self, cochleagram: Tensor) -> Iterator[Tensor]:
        """Return the responses of the modulation filters (n_channels, n_frames), one after the other."""
        return modulation.modulate(self.to_octaves @ cochleagram, self.bank)

    def with_modulations(self, cochleagram: Tensor, ordered: Sequence[Tensor]) -> Tensor:
        """Change a cochleagram such that its modulations come to have the distributions that are given.

        The change is the least-squares one: what the responses lack goes back through the filters, whose transpose is
        the gradient, and is divided by the sum of their squared gains.
        """
        octaves = (self.to_octaves @ cochleagram).requires_grad_()
        agreement = torch.zeros(())
        for response, goal in zip(modulation.modulate(octaves, self.bank), ordered, strict=True):
            with torch.no_grad():
                lacking = _with_distribution(response, goal) - response
            agreement = agreement + (response * lacking).sum()
        (back,) = torch.autograd.grad(agreement, octaves)
        spectrum = torch.fft.rfft2(back, s=self.bank.padded) / self._squared_gains()
        change = torch.fft.irfft2(spectrum, s=self.bank.padded)[: len(octaves), : octaves.shape[-1]]
        changed: Tensor = cochleagram + self.to_bands @ change
        return changed

    def _squared_gains(self) -> Tensor:
        """Return the sum over filters, of rates and scales together and alone; far from 0 everywhere."""
        temporal = torch.stack([t.abs().square() for t in self.bank.temporal.values()]).sum(dim=0)
        spectral = torch.stack([s.square() for s in self.bank.spectral.values()]).sum(dim=0)[:, None]
        return temporal * spectral + temporal + spectral

    def waveform(self, analytic: Tensor, cochleagram: Tensor) -> Tensor:
        """Give sub-bands new envelopes and add them up."""
        # Mirrored, so that interpolation by a Fourier transform meets no step where the end joins the beginning.
        mirrored = torch.cat([cochleagram, cochleagram.flip(-1)], dim=-1)
        spectrum = torch.fft.rfft(mirrored) * self.factor
        fine = torch.fft.irfft(spectrum, n=mirrored.shape[-1] * self.factor)[..., : analytic.shape[-1]]
        envelopes = fine.clamp(min=0) ** (1 / COMPRESSION)
        return cochlea.collapse(cochlea.with_envelopes(analytic, envelopes), self.filters)


def _interpolation(have: Signal, want: Signal) -> Tensor:
    """Return the matrix that interpolates linearly from points to others, 0 beyond the ends."""
    columns = [np.interp(want, have, row, left=0.0, right=0.0) for row in np.eye(len(have))]
    return torch.as_tensor(np.stack(columns, axis=1), dtype=torch.float32)


def _with_distribution(signals: Tensor, ordered: Tensor) -> Tensor:
    """Return signals (..., n_frames) whose smallest value becomes the smallest of others, and so on, in each row."""
    return torch.empty_like(signals).scatter_(-1, signals.argsort(dim=-1), ordered)


def _synthesis_rate(sample_rate: int) -> int:
    rate = min(SYNTHESIS_RATE, sample_rate) // int(BANK.frame_rate) * int(BANK.frame_rate)
    if rate < LOWEST_RATE:
        raise StimulusError(
            f"modulations of a sound at {sample_rate} Hz are not matched; the least is {LOWEST_RATE} Hz"
        )
    return rate


def _resampled(waveform: Signal, sample_rate: int, rate: int) -> Signal:
    return resample(waveform.astype(np.float32), sample_rate, rate).astype(np.float64)
