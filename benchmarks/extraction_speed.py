"""Sounds per second of extraction, beside the bare forward pass and the ways in which others extract.

    OMP_NUM_THREADS=2 python benchmarks/extraction_speed.py [--sounds 165] [--seconds 2] [--model kim2024-cnn]

Models are ``kim2024-cnn`` (random weights, 10 layers) and ``wav2vec2-base`` (torchaudio's architecture, random weights,
12 transformer layers). What is timed, on wav files at 44.1 kHz unless said otherwise:

* bare: the forward pass alone, batches of 16, on waveforms that lie on the device already, nothing kept;
* extract: all layers; then with a cache that is empty, and with one that holds everything;
* peers: one file at a time, as Net2Brain does, and one pass per layer on top of it, as scripts around thingsvision do
  (several layers in one pass came to it in 2025). Both read sounds as brainalign does: only the way is compared. They
  hear `--peer-sounds` sounds; times are per sound.

Bare and extraction take turns, `--repeats` times; the median is given, in elapsed and in processor time. The second is
steadier on a machine that has other work to do, but counts the thread that reads ahead as if nothing ran beside it.
Ratios are those of throughput: above 1, it does more sounds per second than the bare forward pass.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io.wavfile
import torch

from brainalign import extract, load_model
from brainalign.models.hooked import HookedModel, recording
from brainalign.stimuli import StimulusSet
from brainalign.stimuli.sets import read_stimulus_set

RATE = 44_100
BATCH = 16


def write_set(folder: Path, n: int, seconds: float) -> StimulusSet:
    """Write noises as a lab has them, 16-bit wav files of one length with a table."""
    rng = np.random.default_rng(0)
    for k in range(n):
        noise = rng.uniform(-0.2, 0.2, int(seconds * RATE)) * rng.uniform(0.1, 1)
        scipy.io.wavfile.write(folder / f"{k}.wav", RATE, (32_767 * noise).astype(np.int16))
    rows = "".join(f"s{k},{k}.wav,noise\n" for k in range(n))
    (folder / "stimuli.csv").write_text("stimulus_id,file,category\n" + rows, encoding="utf-8")
    manifest = "".join(f'{key} = "{key}"\n' for key in ("name", "version", "citation", "licence"))
    (folder / "stimulus_set.toml").write_text(manifest, encoding="utf-8")
    return read_stimulus_set(folder)


class Wav2Vec2(torch.nn.Module):
    """torchaudio's wav2vec 2.0 base with random weights; gives the last layer."""

    def __init__(self) -> None:
        super().__init__()
        from torchaudio.models import wav2vec2_base

        self.network = wav2vec2_base()

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.network(waveforms)[0]
        return output


def model_of(name: str) -> HookedModel:
    if name == "wav2vec2-base":
        torch.manual_seed(0)
        layers = {f"network.encoder.transformer.layers.{k}.final_layer_norm": "BTC" for k in range(12)}
        return HookedModel(name, Wav2Vec2(), 16_000, layers, 400)
    model = load_model(f"{name}@random:0")
    assert isinstance(model, HookedModel)
    return model


def bare(model: HookedModel, waveforms: torch.Tensor) -> None:
    with torch.inference_mode():
        for start in range(0, len(waveforms), BATCH):
            model.module(waveforms[start : start + BATCH])


def one_file_at_a_time(model: HookedModel, stimuli: StimulusSet, layers: list[str], device: str) -> None:
    for stimulus_id in stimuli.ids:
        waveform, _ = stimuli.waveform(stimulus_id, model.sample_rate)
        with torch.inference_mode(), recording(model.module, layers) as outputs:
            model.module(torch.from_numpy(waveform)[None].to(device))
        for layer in layers:
            outputs[layer][0].mean(model.layouts[layer].find("T")).cpu().numpy()


def one_pass_per_layer(model: HookedModel, stimuli: StimulusSet, layers: list[str], device: str) -> None:
    for layer in layers:
        one_file_at_a_time(model, stimuli, [layer], device)


def seconds(call: Callable[[], object], device: str) -> np.ndarray:
    """Give elapsed and processor time."""
    start = np.array([time.perf_counter(), time.process_time()])
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return np.array([time.perf_counter(), time.process_time()]) - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sounds", type=int, default=165)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--peer-sounds", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", choices=["kim2024-cnn", "wav2vec2-base"], default="kim2024-cnn")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = options.device
    model = model_of(options.model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sounds").mkdir()
        stimuli = write_set(folder / "sounds", options.sounds, options.seconds)
        few = stimuli.select(stimuli.ids[: options.peer_sounds])
        waveforms = torch.from_numpy(np.stack([stimuli.waveform(i, model.sample_rate)[0] for i in stimuli.ids]))
        waveforms = waveforms.to(device)
        model.module.to(device)
        bare(model, waveforms[:BATCH])
        times: dict[str, list[np.ndarray]] = {"bare": [], "extract": [], "into a cache": [], "from a cache": []}
        for turn in range(options.repeats):
            cache = folder / f"cache{turn}"
            calls = {
                "bare": lambda: bare(model, waveforms),
                "extract": lambda: extract(model, stimuli, device=device),
                "into a cache": lambda cache=cache: extract(model, stimuli, device=device, cache=cache),
                "from a cache": lambda cache=cache: extract(model, stimuli, device=device, cache=cache),
            }
            for what, call in calls.items():
                times[what].append(seconds(call, device) / len(stimuli))
        layers = list(model.layouts)
        for what, peer in (("one file at a time", one_file_at_a_time), ("one pass per layer", one_pass_per_layer)):
            times[what] = [seconds(lambda peer=peer: peer(model, few, layers, device), device) / len(few)]
    per_sound = {what: np.median(found, axis=0) for what, found in times.items()}
    result: dict[str, Any] = {
        "model": model.name,
        "layers": len(layers),
        "sounds": options.sounds,
        "seconds": options.seconds,
        "device": device,
        "threads": torch.get_num_threads(),
    }
    for k, clock in enumerate(("elapsed", "processor")):
        result[clock] = {
            "ms_per_sound": {what: round(1_000 * t[k], 2) for what, t in per_sound.items()},
            "throughput_over_bare": {what: round(per_sound["bare"][k] / t[k], 3) for what, t in per_sound.items()},
            "extract_over_bare_each_turn": [
                round(b[k] / e[k], 3) for b, e in zip(times["bare"], times["extract"], strict=True)
            ],
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
