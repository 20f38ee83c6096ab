"""Learning curves as a figure."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from brainalign._files import write_then_rename


def save_learning_curves(log: pd.DataFrame, path: Path, title: str, kept_epoch: int) -> None:
    """Draw loss, average precision and learning rate over epochs.

    Parameters
    ----------
    log : DataFrame
        One row per epoch, counted from 1, as in ``log.csv``.
    path : Path
        A PNG file.
    title : str
        The name of the network.
    kept_epoch : int
        The epoch, from 1, whose weights were kept; marked.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    losses, precision, rate = figure.subplots(1, 3)
    epochs = log["epoch"]
    losses.semilogy(epochs, log["train_loss"], label="training (with dropout)")
    losses.semilogy(epochs, log["val_loss"], label="validation")
    losses.set_ylabel("binary cross-entropy")
    losses.legend(frameon=False)
    precision.plot(epochs, log["val_ap"], color="C1")
    precision.axvline(kept_epoch, color="0.6", linestyle=":", label=f"kept: epoch {kept_epoch}")
    precision.set_ylabel("validation average precision")
    precision.legend(frameon=False)
    rate.semilogy(epochs, log["learning_rate"], color="0.3")
    rate.set_ylabel("learning rate at the end of the epoch")
    for axes in (losses, precision, rate):
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    with write_then_rename(path) as temporary:
        figure.savefig(temporary, dpi=150)
