"""The network of Kim, Kim & Jeong 2024 (Nature Communications 15:148, doi:10.1038/s41467-023-44516-0).

Written from the paper's Methods and the sizes of the released notebook: four unpadded convolutions on a log-mel
spectrogram and a temporal mean, 1,278,191 parameters with 527 classes. The paper's text puts max-pooling after
all four convolutions; the released network has none after the fourth, and only that gives the published
parameter count and a map one band high.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brainalign._files import sha256
from brainalign._reading import read_json, reading
from brainalign.errors import ModelError, did_you_mean
from brainalign.models.hooked import HookedModel, load_weights, weights_digest
from brainalign.models.logmel import HOP_SAMPLES, SAMPLE_RATE, LogMel

N_CLASSES = 527
MAXIMUM_CLASSES = 100_000
#: Receptive field of one unit of ``conv4``: the shortest spectrogram, in frames, that the network takes.
MINIMUM_FRAMES = 121
LAYOUTS = {
    "conv1": "BCFT",
    "pool1": "BCFT",
    "conv2": "BCFT",
    "pool2": "BCFT",
    "conv3": "BCFT",
    "pool3": "BCFT",
    "conv4": "BCFT",
    "avgpool": "BC",
    "fc1": "BC",
    "fc2": "BC",
}


def _convolution(n_in: int, n_out: int, stride: tuple[int, int] = (1, 1)) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel_size=5, stride=stride, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(),
    )


class Kim2024CNN(nn.Module):
    """The network; layers ``conv1`` to ``conv4`` are taken after batch normalisation and ReLU.

    Parameters
    ----------
    n_classes : int
        Categories of sound that it tells apart.
    """

    def __init__(self, n_classes: int = N_CLASSES) -> None:
        super().__init__()
        self.logmel = LogMel()
        self.conv1 = _convolution(1, 32, stride=(2, 4))
        self.pool1 = nn.MaxPool2d(2, stride=2)
        self.conv2 = _convolution(32, 64)
        self.pool2 = nn.MaxPool2d(2, stride=1)
        self.conv3 = _convolution(64, 128)
        self.pool3 = nn.MaxPool2d(2, stride=1)
        self.conv4 = _convolution(128, 256)
        self.avgpool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc1 = nn.Sequential(nn.Linear(256, 256), nn.ReLU())
        self.fc2 = nn.Linear(256, n_classes)
        self.dropout = nn.Dropout(0.2)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return logits for waveforms of shape (n_sounds, n_samples) at 22,050 Hz: (n_sounds, n_classes)."""
        return self.classify(self.logmel(waveforms))

    def classify(self, spectrograms: Tensor) -> Tensor:
        """Return logits for log-mel spectrograms.

        Parameters
        ----------
        spectrograms : Tensor, shape (n_sounds, 1, 64, n_frames)
            As :class:`~brainalign.models.logmel.LogMel` gives them.

        Returns
        -------
        Tensor, shape (n_sounds, n_classes)
            The sigmoid is left to the loss.
        """
        x = self.dropout(self.pool1(self.conv1(spectrograms)))
        x = self.pool2(self.conv2(x))
        x = self.dropout(self.pool3(self.conv3(x)))
        x = self.avgpool(self.dropout(self.conv4(x)))
        x = self.dropout(self.fc1(x))
        logits: Tensor = self.fc2(x)
        return logits


def load_kim2024(variant: str = "", *, pretrained: bool = True) -> HookedModel:
    """Load the network.

    Parameters
    ----------
    variant : str
        Which weights: ``CONDITION/SEED`` for a network that ships, such as ``no-music/0``
        (see :func:`trained_networks`), or a safetensors file.
    pretrained : bool
        False for the architecture alone, whose weights a control then draws.

    Returns
    -------
    HookedModel
        Layers ``conv1``, ``pool1`` ... ``conv4``, ``avgpool`` (the feature layer of the paper, 256 units),
        ``fc1``, ``fc2``.

    Raises
    ------
    ModelError
        If no weights are named, they do not fit, or a card beside the file (the same name with the suffix ``.json``)
        is not JSON or belongs to other weights.
    """
    if not pretrained:
        if variant:
            raise ModelError(f"random weights replace all weights: leave the variant {variant!r} out")
        return _model("kim2024-cnn", _untrained(N_CLASSES), {})
    trained = trained_networks()
    if variant in trained:
        path, name = trained[variant], variant
    elif variant.endswith(".safetensors"):
        path, name = Path(variant), Path(variant).stem
    elif Path(variant).suffix:
        raise ModelError(
            f"model 'kim2024-cnn' reads weights from .safetensors files only, not from {variant!r} (other formats may "
            f"hold code); save the network's state_dict with safetensors.torch.save_file"
        )
    else:
        asked = f"has no trained network {variant!r}" if variant else "names no weights"
        raise ModelError(
            f"model 'kim2024-cnn' {asked}; {did_you_mean(variant, trained)}; or give a file, "
            f"'kim2024-cnn:FILE.safetensors', or draw random weights, 'kim2024-cnn@random:0'"
        )
    network = _untrained(_n_classes(path))
    load_weights(network, path)
    record = {"weights_sha256": weights_digest(network)}
    card = _card(path, network.fc2.out_features)
    if "licence" in card:
        record["weights_licence"] = str(card["licence"])
    return _model(f"kim2024-cnn:{name}", network, record)


def _untrained(n_classes: int) -> Kim2024CNN:
    """Build the network without drawing from the global generator of torch."""
    with torch.random.fork_rng(devices=[]):
        return Kim2024CNN(n_classes)


def trained_networks() -> dict[str, Path]:
    """Return the weights that ship, by ``CONDITION/SEED``; a card in JSON lies beside each."""
    folder = Path(__file__).parent / "weights" / "kim2024"
    return {p.relative_to(folder).with_suffix("").as_posix(): p for p in sorted(folder.rglob("*.safetensors"))}


def _n_classes(path: Path) -> int:
    """Read the number of classes from the file's header, so that any label set loads."""
    import safetensors

    if not path.is_file():
        raise ModelError(f"no weights file {path}")
    with reading(path, "a safetensors file", ModelError), safetensors.safe_open(path, framework="pt") as file:
        if "fc2.bias" in file.keys():  # noqa: SIM118  (a safetensors file is no mapping)
            shape = file.get_slice("fc2.bias").get_shape()
            # What is built for them has 4096 weights for each class: a header may announce any number of them.
            if len(shape) != 1 or not 0 < shape[0] <= MAXIMUM_CLASSES:
                raise ModelError(f"{path.name}: fc2.bias has the shape {shape}, at most {MAXIMUM_CLASSES} classes")
            return int(shape[0])
    return N_CLASSES


def _card(weights: Path, n_classes: int) -> dict[str, Any]:
    """Read the card beside a weights file, if there is one, and check that it is of these weights."""
    path = weights.with_suffix(".json")
    if not path.is_file():
        return {}
    card = read_json(path, f"the card of {weights.name}", ModelError)
    if not isinstance(card, dict):
        raise ModelError(f"{path}, the card of {weights.name}, is not a JSON object; mend it or move it away")
    found = sha256(weights)
    if card.get("weights_sha256", found) != found:
        raise ModelError(
            f"{path} is the card of other weights: it says weights_sha256 {card['weights_sha256']!r}, "
            f"{weights.name} has {found!r}; bring the file and the card of one training together"
        )
    labels = card.get("labels")
    if labels is not None and (not isinstance(labels, list) or len(labels) != n_classes):
        count = len(labels) if isinstance(labels, list) else "no list of"
        raise ModelError(f"{path} names {count} labels, {weights.name} has {n_classes} outputs; mend the card")
    return card


def _model(name: str, network: Kim2024CNN, record: dict[str, str]) -> HookedModel:
    citation = "Kim, Kim & Jeong 2024, doi:10.1038/s41467-023-44516-0"
    return HookedModel(
        name=name,
        module=network.to(torch.float32),
        sample_rate=SAMPLE_RATE,
        layouts=LAYOUTS,
        minimum_samples=(MINIMUM_FRAMES - 1) * HOP_SAMPLES + 1,
        record={"front_end": "kim2024", "citation": citation, **record},
    )
