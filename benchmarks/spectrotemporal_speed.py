"""Speed of the spectrotemporal model: separable filters beside a 2-D Fourier transform for each filter.

    OMP_NUM_THREADS=2 python benchmarks/spectrotemporal_speed.py [--sounds 165] [--direct 3]

The direct way multiplies the 2-D spectrum of the padded cochleagram by each of the 111 filters, held as one array, and
transforms back, as the released code of Tuckute et al. 2023 does. It gets the cochleagrams ready made and is timed on a
few sounds, in turn with brainalign on the same sounds, which makes its cochleagrams itself; the largest difference of
features is given beside. Then brainalign alone takes all sounds, with its peak of memory above that before. Processor
times are given beside elapsed ones, for machines that do other work.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from brainalign.auditory.modulation import TUCKUTE2023, modulate
from brainalign.models.cochleagram import load_cochleagram
from brainalign.models.spectrotemporal import load_spectrotemporal

N_SAMPLES = 40_000
LAYER = "spectrotemporal"


def timed(function: Callable[[], Tensor]) -> tuple[float, float, Tensor]:
    """Return processor time, elapsed time, and what the function gives."""
    start = time.process_time(), time.perf_counter()
    values = function()
    return time.process_time() - start[0], time.perf_counter() - start[1], values


def whole_filters(n_channels: int, n_frames: int) -> Tensor:
    """Return the whole bank (111, padded channels, padded frames): spectra of the responses to an impulse."""
    filters = TUCKUTE2023.filters_for(torch.zeros(n_channels, n_frames))
    impulse = torch.zeros(filters.padded)
    impulse[0, 0] = 1
    return torch.stack([torch.fft.fft2(r) for r in modulate(impulse, replace(filters, size=filters.padded))])


def direct(cochleagram: Tensor, bank: Tensor) -> Tensor:
    n_channels, n_frames = cochleagram.shape
    spectrum = torch.fft.fft2(100 * cochleagram, s=bank.shape[1:])
    filtered = [torch.fft.ifft2(spectrum * one).real[:n_channels, :n_frames] for one in bank]
    return torch.stack([f.square().clamp(min=1e-8).mean(dim=-1) for f in filtered]).flatten()


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sounds", type=int, default=165)
    parser.add_argument("--direct", type=int, default=3, help="sounds that the direct way is timed on")
    args = parser.parse_args()
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, "
        f"{torch.get_num_threads()} threads; sounds of {N_SAMPLES / 20_000:g} s"
    )
    model = load_spectrotemporal()
    sounds = 0.1 * torch.randn(args.sounds, N_SAMPLES, generator=torch.Generator().manual_seed(0))

    def listen(some: Tensor) -> Tensor:
        return torch.cat([model.activations(batch, [LAYER])[LAYER] for batch in some.split(16)])

    before = peak_megabytes()
    used, elapsed, _ = timed(lambda: listen(sounds))
    print(
        f"brainalign, {args.sounds} sounds in batches of 16: {used:.1f} s ({elapsed:.1f} s elapsed); "
        f"peak memory {peak_megabytes() - before:.0f} MB above the {before:.0f} MB before"
    )
    few = sounds[: args.direct]
    cochleagrams = load_cochleagram().activations(few, ["cochleagram"])["cochleagram"]
    bank = whole_filters(*cochleagrams.shape[1:])
    own, theirs, differences = [], [], []
    for sound, cochleagram in zip(few, cochleagrams, strict=True):
        with torch.inference_mode():
            *times, expected = timed(lambda cochleagram=cochleagram: direct(cochleagram, bank))
        theirs.append(times)
        *times, given = timed(lambda sound=sound: listen(sound[None])[0])
        own.append(times)
        differences.append(float((given - expected).abs().max() / expected.median()))
    (own_used, own_elapsed), (used, elapsed) = (map(statistics.median, zip(*t, strict=True)) for t in (own, theirs))
    print(
        f"one sound: brainalign {own_used:.2f} s ({own_elapsed:.2f} s elapsed), direct {used:.2f} s ({elapsed:.2f} s "
        f"elapsed), its cochleagram not counted: {used / own_used:.1f} times as fast; features differ by "
        f"{max(differences):.1e} of their median at most; the bank of the direct way holds "
        f"{bank.element_size() * bank.nelement() / 2**20:.0f} MB"
    )


if __name__ == "__main__":
    main()
