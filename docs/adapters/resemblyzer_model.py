"""Resemblyzer's voice encoder (Wan et al. 2018, arXiv:1710.10467): a front end in numpy, made a part of the module.

The package computes its mel spectrogram with librosa, in numpy, outside of the network. The wrapper computes the same
in torch, so that a waveform is all that the model takes. The package also raises the level of quiet sounds to -30 dBFS
and cuts silences out; that would change the stimuli, so it is left out here.

    pip install resemblyzer                                     # weights inside, Apache-2.0
    python resemblyzer_model.py
    brainalign models layers python:resemblyzer_model.py:VoiceEncoderOnSounds

Checked with Resemblyzer 0.1.4, librosa 0.11, torch 2.11: the spectrogram equals that of the package to 2e-7 of
its largest value, and the embedding that of the encoder on the package's spectrogram to 2e-7 (two noises of 1.6 s).
"""

import librosa
import torch
from resemblyzer import VoiceEncoder
from torch import Tensor, nn

from brainalign.models import HookedModel


class VoiceEncoderOnSounds(nn.Module):
    """The voice encoder on waveforms of shape (n_sounds, n_samples) at 16 kHz."""

    sample_rate = 16_000

    def __init__(self) -> None:
        super().__init__()
        self.encoder = VoiceEncoder("cpu", verbose=False)
        filters = librosa.filters.mel(sr=self.sample_rate, n_fft=400, n_mels=40)
        self.register_buffer("filters", torch.from_numpy(filters))
        self.register_buffer("window", torch.hann_window(400))
        self.mel = nn.Identity()

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return one embedding per sound, (n_sounds, 256)."""
        spectra = torch.stft(waveforms, 400, 160, window=self.window, pad_mode="constant", return_complex=True)
        return self.encoder(self.mel((self.filters @ spectra.abs() ** 2).transpose(1, 2)))


if __name__ == "__main__":
    from resemblyzer.audio import wav_to_mel_spectrogram

    module = VoiceEncoderOnSounds()
    model = HookedModel.from_module(module, module.sample_rate)
    print(dict(model.layouts))
    sounds = 0.05 * torch.randn(2, 25_600, generator=torch.Generator().manual_seed(0))
    given = model.activations(sounds, ["mel", "encoder"])
    mels = torch.stack([torch.from_numpy(wav_to_mel_spectrogram(sound.numpy())) for sound in sounds])
    with torch.inference_mode():
        theirs = module.encoder(mels)
    print(f"mel: {float((given['mel'] - mels).abs().max() / mels.abs().max()):.1e} of the largest value")
    print(f"embedding: {float((given['encoder'] - theirs).abs().max()):.1e}")
