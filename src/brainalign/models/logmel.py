"""The log-mel spectrogram: front end of the network of Kim et al. 2024, and the simplest acoustic baseline."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from brainalign.errors import ModelError
from brainalign.models.hooked import HookedModel

SAMPLE_RATE = 22_050
WINDOW_SAMPLES = 551  # round(22050 / 40), 25 ms
HOP_SAMPLES = WINDOW_SAMPLES // 2  # 12.47 ms
N_MELS = 64
#: Centred frames with reflected edges need more than half a window of sound.
MINIMUM_SAMPLES = WINDOW_SAMPLES // 2 + 1


class LogMel(nn.Module):
    """Log-mel spectrogram with the settings of the code released with Kim, Kim & Jeong 2024.

    64 mel bands (HTK scale, no area normalisation) from 0 to 8,000 Hz of the power spectrum of 25-ms Hann
    windows every 275 samples, centred, edges reflected; then 10 log10(max(x, 1e-10)), so silence is -100 dB,
    the reference being a power of one. The scale of the waveforms that the authors fed in is not known (16-bit
    integers would add 90.3 dB); here they are in units of full scale.

    As in the authors' torchaudio, the filters take the 276 bins of the spectrum to lie evenly from 0 to 11,025 Hz;
    with a window of 551 samples the last lies at 11,005 Hz, so all frequencies are 0.2 % too high.
    """

    def __init__(self) -> None:
        super().__init__()
        from torchaudio.transforms import MelSpectrogram

        self.mel = MelSpectrogram(
            sample_rate=SAMPLE_RATE,
            n_fft=WINDOW_SAMPLES,
            win_length=WINDOW_SAMPLES,
            hop_length=HOP_SAMPLES,
            f_min=0.0,
            f_max=8_000.0,
            n_mels=N_MELS,
        )

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return the log-mel spectrogram.

        Parameters
        ----------
        waveforms : Tensor, shape (n_sounds, n_samples)
            At 22,050 Hz, units of full scale.

        Returns
        -------
        Tensor, shape (n_sounds, 1, 64, 1 + (n_samples - 1) // 275)
            In dB.
        """
        power: Tensor = self.mel(waveforms)
        return 10 * torch.log10(power.clamp(min=1e-10)).unsqueeze(1)


class _LogMelModel(nn.Module):
    """Names the spectrogram as a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.logmel = LogMel()

    def forward(self, waveforms: Tensor) -> Tensor:
        output: Tensor = self.logmel(waveforms)
        return output


def load_logmel(variant: str = "", *, pretrained: bool = True) -> HookedModel:
    """Load the log-mel baseline: one layer ``logmel``, 64 bands.

    Parameters
    ----------
    variant : str
        There are none.
    pretrained : bool
        False asks for random weights, which it cannot have.

    Returns
    -------
    HookedModel
        The baseline.

    Raises
    ------
    ModelError
        If a variant or random weights are asked for.
    """
    if variant:
        raise ModelError(f"model 'logmel' has no variant {variant!r}; use 'logmel'")
    if not pretrained:
        raise ModelError("model 'logmel' has no weights, so there is no random control of it")
    return HookedModel(
        name="logmel",
        module=_LogMelModel(),
        sample_rate=SAMPLE_RATE,
        layouts={"logmel": "BCFT"},
        minimum_samples=MINIMUM_SAMPLES,
        record={
            "front_end": "kim2024",
            "citation": "Kim, Kim & Jeong 2024, doi:10.1038/s41467-023-44516-0",
        },
    )
