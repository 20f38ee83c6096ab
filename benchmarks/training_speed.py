"""Clips per second of the trainer, beside a straight port of the paper's loop on the same clips.

    OMP_NUM_THREADS=2 python benchmarks/training_speed.py [--clips 640] [--seconds 10] [--out results.json]

The port does what the notebook released with Kim et al. 2024 does: a data loader with one worker reads wav files,
batches of 32 are padded with zeros to the longest, and the log-mel spectrogram is computed in the forward pass, in
every epoch again. Both are timed over whole epochs, in turn, the trainer in single precision (as the shipped networks)
and with bfloat16 arithmetic. Beside stand the trainer's one-off cost of computing spectrograms, and the bare forward
and backward pass on spectrograms in memory, in single precision, which bounds what a trainer can do.

On a GPU, an epoch of 17,902 ten-second clips through the trainer is compared with the bare forward and backward pass on
data that lie on the GPU already; without a GPU that part says so and is left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import scipy.io.wavfile
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, Dataset

from brainalign.models.kim2024 import Kim2024CNN
from brainalign.training.features import LogMels, log_mels
from brainalign.training.module import Material, Training, one_cycle

RATE = 22_050
N_CLASSES = 527
BATCH = 32


def write_clips(folder: Path, n: int, seconds: float) -> list[Path]:
    """Write noise of slowly changing level: 16-bit wav files, as a lab has them."""
    rng = np.random.default_rng(0)
    files = [folder / f"{i}.wav" for i in range(n)]
    for path in files:
        level = np.repeat(rng.uniform(0.01, 0.2, size=20), int(seconds * RATE) // 20)
        scipy.io.wavfile.write(path, RATE, (32_767 * level * rng.uniform(-1, 1, len(level))).astype(np.int16))
    return files


class Clips(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The port's data set."""

    def __init__(self, files: list[Path], targets: np.ndarray) -> None:
        self.files, self.targets = files, targets

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        _, samples = scipy.io.wavfile.read(self.files[i])
        return torch.from_numpy(samples.astype(np.float32) / 32_768), torch.from_numpy(self.targets[i]).float()


def pad(batch: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    waveforms = torch.nn.utils.rnn.pad_sequence([w for w, _ in batch], batch_first=True)
    return waveforms, torch.stack([t for _, t in batch])


def time_port(files: list[Path], targets: np.ndarray, epochs: int) -> list[float]:
    """Return the seconds of each epoch of the paper's loop."""
    torch.manual_seed(0)
    network = Kim2024CNN(N_CLASSES)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    loader = DataLoader(Clips(files, targets), BATCH, shuffle=True, num_workers=1, collate_fn=pad)
    schedule = one_cycle(optimiser, epochs * len(loader))
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        for waveforms, wanted in loader:
            optimiser.zero_grad()
            loss = binary_cross_entropy_with_logits(network(waveforms), wanted)
            loss.backward()
            optimiser.step()
            schedule.step()
        seconds.append(time.perf_counter() - start)
    return seconds


class Timed(Training):
    """The trainer, with a look at how long its batches take to come."""

    def train_dataloader(self) -> Any:
        batches = super().train_dataloader()
        self.waited: list[float] = getattr(self, "waited", [])

        class Watched:
            def __len__(_self) -> int:  # noqa: N805
                return len(batches)

            def __iter__(_self) -> Any:  # noqa: N805
                parts = iter(batches)
                while True:
                    start = time.perf_counter()
                    try:
                        batch = next(parts)
                    except StopIteration:
                        return
                    self.waited.append(time.perf_counter() - start)
                    yield batch

        return Watched()


class Stopwatch(lightning.Callback):
    """Seconds of each training epoch, without validation."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        synchronise()
        self.start = time.perf_counter()

    def on_train_epoch_end(self, *_: Any) -> None:
        synchronise()
        self.seconds.append(time.perf_counter() - self.start)


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def time_trainer(
    features: LogMels, targets: np.ndarray, epochs: int, device: str, precision: Any = "32-true"
) -> tuple[list[float], float]:
    """Return the seconds of each epoch of the trainer, and the share of them that it waited for batches."""
    torch.manual_seed(0)
    rows = np.arange(len(targets))
    network = Kim2024CNN(N_CLASSES)
    network.to(memory_format=torch.channels_last)
    training = Timed(network, Material(features, targets, rows, rows[:0]), epochs=epochs, batch_size=BATCH, seed=0)
    watch = Stopwatch()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator=device,
        devices=1,
        precision=precision,
        callbacks=[watch],
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        reload_dataloaders_every_n_epochs=1,
    )
    trainer.fit(training)
    return watch.seconds, sum(training.waited) / sum(watch.seconds)


def time_bare(values: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the seconds of the forward and backward passes of one epoch on resident data, and nothing else."""
    network = Kim2024CNN(N_CLASSES).to(values.device)
    network.to(memory_format=torch.channels_last)
    batches = [(values[i : i + BATCH, None], targets[i : i + BATCH]) for i in range(0, len(values), BATCH)]

    def one_pass(some: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        for spectrograms, wanted in some:
            network.zero_grad()
            binary_cross_entropy_with_logits(network.classify(spectrograms), wanted).backward()

    one_pass(batches[:20])  # warm
    synchronise()
    start = time.perf_counter()
    one_pass(batches)
    synchronise()
    return time.perf_counter() - start


def on_cpu(n_clips: int, seconds: float, epochs: int) -> dict[str, Any]:
    targets = np.random.default_rng(1).random((n_clips, N_CLASSES)) < 0.004
    with tempfile.TemporaryDirectory() as folder:
        files = write_clips(Path(folder), n_clips, seconds)
        start = time.perf_counter()
        features = log_mels(files, workers=torch.get_num_threads())
        once = time.perf_counter() - start
        port: list[float] = []
        ours: dict[str, list[float]] = {"32-true": [], "bf16-mixed": []}
        waiting = {}
        for _ in range(2):  # in turn, so that a busy machine slows all
            port += time_port(files, targets, epochs)
            for precision, seconds_per_epoch in ours.items():
                timed, waiting[precision] = time_trainer(features, targets, epochs, "cpu", precision)
                seconds_per_epoch += timed
        bare = time_bare(torch.from_numpy(features.values).float(), torch.from_numpy(targets).float())
    port_s = statistics.median(port)
    return {
        "clips": n_clips,
        "seconds_per_clip": seconds,
        "threads": torch.get_num_threads(),
        "port_clips_per_s": n_clips / port_s,
        "bare_clips_per_s": n_clips / bare,
        "spectrograms_once_s": once,
        "trainer": {
            precision: {
                "clips_per_s": n_clips / statistics.median(timed),
                "ratio": port_s / statistics.median(timed),
                "share_waiting_for_batches": waiting[precision],
            }
            for precision, timed in ours.items()
        },
    }


def on_gpu(n_clips: int = 17_902) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    values = generator.standard_normal((n_clips, 64, 802), dtype=np.float32)
    targets = generator.random((n_clips, N_CLASSES)) < 0.004
    features = LogMels(values, np.full(n_clips, 802), 0.1, 1.0, "")
    epochs, waiting = time_trainer(features, targets, 2, "gpu")
    bare = time_bare(torch.from_numpy(values).cuda(), torch.from_numpy(targets).float().cuda())
    return {
        "device": torch.cuda.get_device_name(),
        "clips": n_clips,
        "trainer_clips_per_s": n_clips / epochs[-1],
        "bare_clips_per_s": n_clips / bare,
        "ratio": bare / epochs[-1],
        "share_waiting_for_batches": waiting,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=640)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results: dict[str, Any] = {"cpu": on_cpu(options.clips, options.seconds, options.epochs)}
    if torch.cuda.is_available():
        results["gpu"] = on_gpu()
    else:
        print("no GPU here: that part is left out")
    text = json.dumps(results, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
