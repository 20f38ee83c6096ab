"""The cochleagram: compressed envelopes of ERB-spaced bands, an acoustic baseline and the front end of others."""

from __future__ import annotations

from dataclasses import asdict

from torch import Tensor, nn

from brainalign.auditory.cochlea import (
    NORMAN_HAIGNERE2018,
    TUCKUTE2023,
    Cochlea,
    CochlearFilters,
    cochleagram,
)
from brainalign.errors import ModelError, did_you_mean
from brainalign.models.hooked import HookedModel

#: Settings and their source, by the name of the variant.
COCHLEAS = {
    "tuckute2023": (TUCKUTE2023, "Tuckute, Feather et al. 2023, doi:10.1371/journal.pbio.3002366"),
    "nhm2018": (NORMAN_HAIGNERE2018, "Norman-Haignere & McDermott 2018, doi:10.1371/journal.pbio.2005127"),
}


class Cochleagram(nn.Module):
    """Cochleagrams of sounds of any length.

    The filters of the last length are kept, so that sounds of one length share them.

    Parameters
    ----------
    cochlea : Cochlea
        Settings.
    """

    def __init__(self, cochlea: Cochlea) -> None:
        super().__init__()
        self.cochlea = cochlea
        self._filters: CochlearFilters | None = None

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return cochleagrams.

        Parameters
        ----------
        waveforms : Tensor, shape (n_sounds, n_samples)
            At the rate of the cochlea, units of full scale.

        Returns
        -------
        Tensor, shape (n_sounds, n_channels, n_frames)
            Compressed envelopes.
        """
        if self._filters is None or not self._filters.suit(waveforms):
            self._filters = self.cochlea.filters_for(waveforms)
        return cochleagram(waveforms, self.cochlea, self._filters)


class _CochleagramModel(nn.Module):
    """Names the cochleagram as a layer."""

    def __init__(self, cochlea: Cochlea) -> None:
        super().__init__()
        self.cochleagram = Cochleagram(cochlea)

    def forward(self, waveforms: Tensor) -> Tensor:
        output: Tensor = self.cochleagram(waveforms)
        return output


def named_settings(model: str, variant: str, pretrained: bool) -> tuple[str, Cochlea, str]:
    """Return the settings that a baseline on a cochleagram is asked for.

    Parameters
    ----------
    model : str
        Its name, for messages.
    variant : str
        A key of `COCHLEAS`; the first if empty.
    pretrained : bool
        False asks for random weights, which it cannot have.

    Returns
    -------
    name : str
        The key.
    cochlea : Cochlea
        Settings.
    citation : str
        Their source.

    Raises
    ------
    ModelError
        If the variant is unknown, or random weights are asked for.
    """
    if variant and variant not in COCHLEAS:
        raise ModelError(f"model {model!r} has no variant {variant!r}; {did_you_mean(variant, COCHLEAS)}")
    if not pretrained:
        raise ModelError(f"model {model!r} has no weights, so there is no random control of it")
    name = variant or next(iter(COCHLEAS))
    return name, *COCHLEAS[name]


def load_cochleagram(variant: str = "", *, pretrained: bool = True) -> HookedModel:
    """Load the cochleagram baseline: one layer ``cochleagram``, whose units are frequency bands.

    Parameters
    ----------
    variant : str
        ``tuckute2023`` (the default): 211 bands, 50 to 10,000 Hz, 200 frames per second, 390 frames for 2 s; or
        ``nhm2018``: 217 channels, 20 to 10,240 Hz, 24 per octave, 400 frames per second. See
        :mod:`brainalign.auditory.cochlea`.
    pretrained : bool
        False asks for random weights, which it cannot have.

    Returns
    -------
    HookedModel
        The baseline. It hears the level of sounds; Tuckute et al. set each to a mean of 0 and an RMS of 0.1.

    Raises
    ------
    ModelError
        If the variant is unknown, or random weights are asked for.
    """
    name, cochlea, citation = named_settings("cochleagram", variant, pretrained)
    return HookedModel(
        name=f"cochleagram:{variant}" if variant else "cochleagram",
        module=_CochleagramModel(cochlea),
        sample_rate=cochlea.sample_rate,
        layouts={"cochleagram": "BCT"},
        minimum_samples=cochlea.minimum_samples(),
        record={"front_end": name, "cochlea": asdict(cochlea), "citation": citation},
    )
