"""The network under training, in Lightning's form."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.lr_scheduler import OneCycleLR

from brainalign._files import write_then_rename
from brainalign._progress import Bar, progress_bar
from brainalign.models.kim2024 import Kim2024CNN
from brainalign.training.batches import Batches
from brainalign.training.features import LogMels
from brainalign.training.scores import micro_average_precision

#: Kim et al. 2024, Methods: AdamW with a one-cycle schedule 4e-5 -> 1e-3 -> 4e-9, linear.
WEIGHT_DECAY = 0.01
PEAK_LEARNING_RATE = 1e-3
START_DIVISOR = 25.0
END_DIVISOR = 1e4
RISING_SHARE = 0.3


@dataclass
class Material:
    """What a training run reads: spectrograms, labels, and which clips train and which validate."""

    log_mels: LogMels
    targets: NDArray[np.bool_]
    train: NDArray[np.int64]
    val: NDArray[np.int64]


@dataclass
class History:
    """What happened so far; goes into each checkpoint."""

    rows: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    best_ap: float = -1.0


class Training(lightning.LightningModule):
    """Binary cross-entropy over labels, AdamW, one cycle of the learning rate.

    Parameters
    ----------
    network : Kim2024CNN
        Trained in place.
    material : Material
        The clips.
    epochs, batch_size, seed : int
        As in the recipe. The order of the clips and the dropout of an epoch depend on seed and epoch alone, so that a
        resumed run goes on as if it had never stopped.
    """

    def __init__(self, network: Kim2024CNN, material: Material, *, epochs: int, batch_size: int, seed: int) -> None:
        super().__init__()
        self.network = network
        self.material = material
        self.epochs = epochs
        self.batch_size = batch_size
        self.seed = seed
        self.history = History()
        self.losses: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self._values: NDArray[np.float32] | Tensor = material.log_mels.values

    def setup(self, stage: str) -> None:
        """Move the spectrograms to the GPU, if there is one and they take less than half of its free memory."""
        device = self.trainer.strategy.root_device  # the network itself is moved there only after this hook
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if self.material.log_mels.values.nbytes < free / 2:
                self._values = torch.from_numpy(np.ascontiguousarray(self.material.log_mels.values)).to(device)

    def train_dataloader(self) -> Batches:
        """Return the shuffled batches of the current epoch."""
        order = np.random.default_rng([self.seed, self.current_epoch])
        world = self.trainer
        return self.batches(self.material.train, order=order, part=world.global_rank, n_parts=world.world_size)

    def val_dataloader(self) -> Batches:
        """Return the validation clips; each device takes all of them."""
        return self.batches(self.material.val)

    def batches(self, rows: NDArray[np.int64], **options: Any) -> Batches:
        """Return batches of some of the clips."""
        log_mels = self.material.log_mels
        return Batches(self._values, log_mels.n_frames, self.material.targets, rows, self.batch_size, **options)

    def configure_optimizers(self) -> Any:
        """Return AdamW and its schedule, which steps with every batch."""
        optimiser = torch.optim.AdamW(self.network.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        n_steps = self.epochs * -(-len(self.material.train) // self.batch_size)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": one_cycle(optimiser, n_steps), "interval": "step"},
        }

    def on_train_epoch_start(self) -> None:
        """Seed the dropout of this epoch."""
        words = np.random.SeedSequence([self.seed, self.current_epoch, self.global_rank]).generate_state(1)
        torch.manual_seed(int(words[0]))
        self.losses = []
        self.started = time.perf_counter()

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of one batch."""
        spectrograms, targets = batch
        loss = binary_cross_entropy_with_logits(self.network.classify(spectrograms), targets)
        self.losses.append(loss.detach())
        self.learning_rate = float(self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin a validation pass."""
        self.outputs = []

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Keep the outputs for one batch."""
        self.outputs.append(self.network.classify(batch[0]).float().cpu())

    def on_validation_epoch_end(self) -> None:
        """Enter the epoch into the history."""
        logits = torch.cat(self.outputs)
        targets = self.material.targets[self.material.val]
        val_loss = binary_cross_entropy_with_logits(logits, torch.from_numpy(targets).float())
        val_ap = micro_average_precision(targets, logits.numpy())
        self.log("val_ap", val_ap, prog_bar=True, logger=False, sync_dist=True)
        self.history.rows.append(
            {
                "epoch": self.current_epoch + 1,
                "learning_rate": self.learning_rate,
                "train_loss": float(torch.stack(self.losses).mean()),
                "val_loss": float(val_loss),
                "val_ap": val_ap,
                "seconds": time.perf_counter() - self.started,
            }
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the history to a checkpoint."""
        checkpoint["history"] = vars(self.history)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the history from a checkpoint."""
        self.history = History(**checkpoint["history"])


def one_cycle(optimiser: torch.optim.Optimizer, n_steps: int) -> OneCycleLR:
    """Return the published schedule: linear from 4e-5 to 1e-3 in the first 30 % of the steps, then linear to 4e-9.

    Parameters
    ----------
    optimiser : Optimizer
        Whose learning rate it sets; momentum is cycled with it, as torch does by default.
    n_steps : int
        Batches in the whole training.

    Returns
    -------
    OneCycleLR
        To be stepped after every batch.
    """
    return OneCycleLR(
        optimiser,
        max_lr=PEAK_LEARNING_RATE,
        total_steps=n_steps,
        pct_start=RISING_SHARE,
        anneal_strategy="linear",
        div_factor=START_DIVISOR,
        final_div_factor=END_DIVISOR,
    )


class Progress(Callback):
    """One bar for the whole training, so that the time left is that of all epochs."""

    bar: Bar | None = None

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Begin, after the epochs of an earlier run if there is one."""
        per_epoch = int(trainer.num_training_batches)
        total, done = (n * per_epoch for n in (trainer.max_epochs or 0, trainer.current_epoch))
        self.bar = progress_bar(f"{trainer.max_epochs} epochs", total, unit="step", done=done)
        self.bar.__enter__()

    def on_train_batch_end(self, *_: Any) -> None:
        """Count a step."""
        if self.bar is not None:
            self.bar.update()

    def on_train_end(self, *_: Any) -> None:
        """End."""
        if self.bar is not None:
            self.bar.__exit__(None, None, None)
            self.bar = None

    def on_exception(self, *_: Any) -> None:
        """End, also where the training fails."""
        self.on_train_end()


class Keep(Callback):
    """After each epoch, keep the best weights, a checkpoint to resume from, and the log.

    Parameters
    ----------
    folder : Path
        Where they go.
    selection : {'best', 'last'}
        Keep the epoch with the highest validation AP, or the last one.
    """

    def __init__(self, folder: Path, selection: str) -> None:
        self.folder = folder
        self.selection = selection

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write; each file is whole or not there."""
        assert isinstance(pl_module, Training)
        history = pl_module.history
        latest = history.rows[-1]
        better = self.selection == "last" or latest["val_ap"] > history.best_ap
        if better:
            history.best_epoch, history.best_ap = int(latest["epoch"]), latest["val_ap"]
        if trainer.is_global_zero:
            if better:
                state = {k: v.detach().cpu().contiguous() for k, v in pl_module.network.state_dict().items()}
                with write_then_rename(self.folder / "best.safetensors") as temporary:
                    save_file(state, temporary)
            with write_then_rename(self.folder / "log.csv") as temporary:
                pd.DataFrame(history.rows).to_csv(temporary, index=False)
            with write_then_rename(self.folder / "last.ckpt") as temporary:
                trainer.save_checkpoint(temporary, weights_only=False)
        else:
            trainer.save_checkpoint(
                self.folder / "last.ckpt", weights_only=False
            )  # takes part in collecting, writes nothing


class Checkpoints(TorchCheckpointIO):
    """Writes checkpoints where they are asked for; Lightning's own way leaves parts in /tmp after a kill."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Parameters
        ----------
        checkpoint : dict
            Its content.
        path : path-like
            The file.
        storage_options : None
            Lightning's; not used.
        """
        torch.save(checkpoint, path)
