"""The spectrotemporal modulation model: statistics of the modulation filters of a cochleagram."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import torch
from torch import Tensor, nn

from brainalign.auditory.cochlea import Cochlea
from brainalign.auditory.modulation import (
    NORMAN_HAIGNERE2018,
    TUCKUTE2023,
    ModulationBank,
    ModulationFilters,
    modulate,
)
from brainalign.models.cochleagram import Cochleagram, named_settings
from brainalign.models.hooked import HookedModel

#: Tuckute et al. 2023 multiply the cochleagram, and keep the power of each frame from below.
_GAIN = 100.0
_LEAST_POWER = 1e-8


def modulation_power(cochleagram: Tensor, filters: ModulationFilters) -> Tensor:
    """Return the mean over time of the squared responses, as Tuckute et al. 2023.

    Parameters
    ----------
    cochleagram : Tensor, shape (n_channels, n_frames)
        Of one sound; it is multiplied by 100.
    filters : ModulationFilters
        For its size.

    Returns
    -------
    Tensor, shape (n_filters, n_channels)
        Power; each frame counts 1e-8 at least.
    """
    responses = modulate(_GAIN * cochleagram, filters)
    return torch.stack([r.square().clamp(min=_LEAST_POWER).mean(dim=-1) for r in responses])


def modulation_spread(cochleagram: Tensor, filters: ModulationFilters) -> Tensor:
    """Return mean and standard deviations over time, as Norman-Haignere & McDermott 2018.

    Parameters
    ----------
    cochleagram : Tensor, shape (n_channels, n_frames)
        Of one sound.
    filters : ModulationFilters
        For its size.

    Returns
    -------
    Tensor, shape (1 + n_filters, n_channels)
        First the mean, then the standard deviations (n - 1), those of both directions of one rate and scale averaged.
    """
    found: dict[tuple[float | None, float | None], list[Tensor]] = {}
    for (rate, scale), response in zip(filters.modulations, modulate(cochleagram, filters), strict=True):
        key = (None if rate is None else abs(rate)), scale
        found.setdefault(key, []).append(response.std(dim=-1))
    return torch.stack([cochleagram.mean(dim=-1), *(torch.stack(both).mean(dim=0) for both in found.values())])


_STATISTICS: dict[str, tuple[ModulationBank, Callable[[Tensor, ModulationFilters], Tensor]]] = {
    "tuckute2023": (TUCKUTE2023, modulation_power),
    "nhm2018": (NORMAN_HAIGNERE2018, modulation_spread),
}


class SpectroTemporal(nn.Module):
    """A statistic over time of modulation filters, for cochleagrams of any length, which are taken one by one.

    The filters of the last length are kept, so that sounds of one length share them.

    Parameters
    ----------
    bank : ModulationBank
        Settings of the filters.
    statistic : callable
        Takes a cochleagram (n_channels, n_frames) and filters, gives features (n_features, n_channels).
    """

    def __init__(self, bank: ModulationBank, statistic: Callable[[Tensor, ModulationFilters], Tensor]) -> None:
        super().__init__()
        self.bank = bank
        self.statistic = statistic
        self._filters: ModulationFilters | None = None

    def forward(self, cochleagrams: Tensor) -> Tensor:
        """Return the features.

        Parameters
        ----------
        cochleagrams : Tensor, shape (n_sounds, n_channels, n_frames)
            Cochleagrams.

        Returns
        -------
        Tensor, shape (n_sounds, n_features * n_channels)
            For each filter all channels.
        """
        if self._filters is None or not self._filters.suit(cochleagrams):
            self._filters = self.bank.filters_for(cochleagrams)
        return torch.stack([self.statistic(c, self._filters).flatten() for c in cochleagrams])


class _SpectroTemporalModel(nn.Module):
    """Names the features as a layer."""

    def __init__(self, cochlea: Cochlea, spectrotemporal: SpectroTemporal) -> None:
        super().__init__()
        self.cochleagram = Cochleagram(cochlea)
        self.spectrotemporal = spectrotemporal

    def forward(self, waveforms: Tensor) -> Tensor:
        features: Tensor = self.spectrotemporal(self.cochleagram(waveforms))
        return features


def load_spectrotemporal(variant: str = "", *, pretrained: bool = True) -> HookedModel:
    """Load the spectrotemporal modulation model: one layer ``spectrotemporal``.

    Parameters
    ----------
    variant : str
        ``tuckute2023`` (the default): the power of 111 filters (rates up to 64 Hz, scales up to 2 cycles per ERB, both
        directions) in 211 bands, 23,421 units, unit 211 f + b for filter f and band b. ``nhm2018``: the mean of 217
        channels and the standard deviations of 9 temporal, 7 spectral and 63 spectrotemporal filters in each, 17,360
        units, channels fastest. The filters are in the order of
        :attr:`~brainalign.auditory.modulation.ModulationBank.modulations`.
    pretrained : bool
        False asks for random weights, which it cannot have.

    Returns
    -------
    HookedModel
        The baseline, at 20,000 Hz. It hears the level of sounds; Tuckute et al. set each to a mean of 0 and an RMS of
        0.1.

    Raises
    ------
    ModelError
        If the variant is unknown, or random weights are asked for.

    Notes
    -----
    In float32, features are off from float64 by less than 0.1 % of the median feature of a sound. Filters are designed
    for the length of each sound, as in the released code, so that sounds of different lengths meet slightly different
    filters.
    """
    name, cochlea, citation = named_settings("spectrotemporal", variant, pretrained)
    bank, statistic = _STATISTICS[name]
    return HookedModel(
        name=f"spectrotemporal:{variant}" if variant else "spectrotemporal",
        module=_SpectroTemporalModel(cochlea, SpectroTemporal(bank, statistic)),
        sample_rate=cochlea.sample_rate,
        layouts={"spectrotemporal": "BC"},
        minimum_samples=cochlea.minimum_samples(2),
        record={
            "front_end": name,
            "cochlea": asdict(cochlea),
            "modulation": asdict(bank),
            "statistic": statistic.__name__,
            "citation": citation,
        },
    )
