"""Speed of sound quilts: brainalign beside a direct port of a released function, and beside file access alone.

    OMP_NUM_THREADS=1 python benchmarks/quilting_speed.py [--clips 1000] [--direct 2]

Clips of 10 s at 22,050 Hz are written to a temporary folder, as 16-bit wav files. Three ways are timed on them, one
process, one thread:

* brainalign: read each clip, make quilts of six segment lengths (30 to 960 ms), write them;
* files and a transform: read each clip, take one STFT of it (25 ms, half overlapping), write it six times;
* direct: the function of the notebook released with Kim et al. 2024, written anew from its description: segments of
  one sound are ordered and joined one after the other, for one length (50 to 1600 ms) after the other, with mel frames
  computed for each, unused segments searched in a list, and np.correlate in mode 'full' at every join. It is timed on a
  few clips, without file access, beside brainalign's same protocol and beside the default one, without file access too.

Processor times are given, elapsed ones in brackets, for machines that do other work.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import scipy
import torch
from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

from brainalign.stimuli.audio import read_audio, write_audio
from brainalign.stimuli.quilting import SEGMENTS_MS, quilts

RATE, SECONDS, WINDOW = 22_050, 10, 551
LENGTHS = SEGMENTS_MS["overath2015"][1:]


def clip(seed: int) -> np.ndarray:
    """Return noise whose level and spectrum wander."""
    rng = np.random.default_rng(seed)
    n = SECONDS * RATE
    bands = [np.convolve(rng.standard_normal(n + 31), rng.standard_normal(32), "valid") for _ in range(2)]
    gains = [np.interp(np.arange(n), np.linspace(0, n, 41), rng.uniform(0, 1, 41)) for _ in bands]
    sound = sum(g * b for g, b in zip(gains, bands, strict=True))
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def direct_quilts(sound: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Make quilts of 50 to 1600 ms as the released function does, step by step."""
    made = []
    for n_windows in (2, 4, 8, 16, 32, 64):
        length = n_windows * WINDOW
        n_segments = len(sound) // length
        mel = MelSpectrogram(RATE, n_fft=WINDOW, win_length=WINDOW, hop_length=WINDOW, f_max=8000, n_mels=64)
        frames = AmplitudeToDB()(mel(torch.tensor(sound))).numpy()
        changes = []
        for j in range(n_segments - 1):
            last = frames[:, (j + 1) * n_windows - 2 : (j + 1) * n_windows]
            first = frames[:, (j + 1) * n_windows : (j + 1) * n_windows + 2]
            changes.append(np.sum((last - first) ** 2))
        unused = list(range(n_segments - 1))
        order = [unused.pop(int(rng.integers(len(unused))))]
        while unused:
            nearest = min(unused, key=lambda j: abs(changes[j] - changes[order[-1]]))
            unused.remove(nearest)
            order.append(nearest)
        made.append(direct_join(sound, order, length))
    return made


def direct_join(sound: np.ndarray, order: list[int], length: int) -> np.ndarray:
    """Overlap-add one windowed segment after the other."""
    half = most = WINDOW // 2
    margin = WINDOW + most
    source = np.pad(sound.astype(float), margin)
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(WINDOW) + 0.5) / WINDOW)
    window = np.concatenate([rise, np.ones(length - WINDOW), rise[::-1]])
    out = np.zeros(len(order) * length + WINDOW)
    for place, segment in enumerate(order):
        at = margin + segment * length - half
        if place:
            tail = out[place * length : place * length + WINDOW] * rise[::-1]
            block = source[at - most : at + WINDOW + most]
            correlation = np.correlate(block, tail, "full")[WINDOW - 1 : WINDOW + 2 * most]
            at += int(np.argmax(correlation)) - most
        out[place * length : (place + 1) * length + WINDOW] += source[at : at + length + WINDOW] * window
    return out[half : half + len(order) * length]


def timed(function: Callable[[], object]) -> tuple[float, float]:
    """Return processor time and elapsed time."""
    start = time.process_time(), time.perf_counter()
    function()
    return time.process_time() - start[0], time.perf_counter() - start[1]


def quilt_files(paths: Iterable[Path], out: Path) -> None:
    for path in paths:
        waveform, rate = read_audio(path)
        for ms, made in zip(LENGTHS, quilts(waveform, rate, LENGTHS), strict=True):
            write_audio(out / f"{ms}.wav", made.waveform, rate)


def transform_files(paths: Iterable[Path], out: Path) -> None:
    window = torch.hann_window(WINDOW)
    for path in paths:
        waveform, rate = read_audio(path)
        torch.stft(torch.from_numpy(waveform), WINDOW, WINDOW // 2, window=window, return_complex=True)
        for ms in LENGTHS:
            write_audio(out / f"{ms}.wav", waveform, rate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--direct", type=int, default=2, help="clips that the direct way is timed on")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"numpy {np.__version__}, scipy {scipy.__version__}, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}; clips of {SECONDS} s at {RATE} Hz"
    )
    sounds = [clip(seed) for seed in range(8)]
    quilts(sounds[0], RATE, LENGTHS)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"clip{i}.wav" for i in range(len(sounds))]
        for path, sound in zip(paths, sounds, strict=True):
            write_audio(path, sound, RATE)
        every = [paths[i % len(paths)] for i in range(args.clips)]
        # In turns, so that both meet the machine in the same state.
        own, files = np.zeros(2), np.zeros(2)
        for start in range(0, len(every), 20):
            own += timed(lambda start=start: quilt_files(every[start : start + 20], Path(folder)))
            files += timed(lambda start=start: transform_files(every[start : start + 20], Path(folder)))
    print(
        f"{args.clips} clips at 6 lengths, with files: brainalign {own[0]:.1f} s ({own[1]:.1f} s); reading, one STFT "
        f"and writing {files[0]:.1f} s ({files[1]:.1f} s): {own[0] / files[0]:.2f} times as long"
    )
    few = sounds[: args.direct]
    rng = np.random.default_rng(0)
    direct = timed(lambda: [direct_quilts(s, rng) for s in few])[0] / len(few)
    for protocol, lengths in (("overath2015", LENGTHS), ("kim2024", SEGMENTS_MS["kim2024"])):
        one = timed(lambda p=protocol, x=lengths: [quilts(s, RATE, x, protocol=p) for s in sounds])[0] / len(sounds)
        print(
            f"one clip at 6 lengths, without files: {protocol} {1000 * one:.1f} ms, direct {1000 * direct:.0f} ms: "
            f"{direct / one:.1f} times as fast"
        )


if __name__ == "__main__":
    main()
