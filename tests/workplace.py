"""A folder with all that a small run, extraction and training need; made anew for every attempt series."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

RATE = 22_050
KINDS = ("Music", "Speech", "Noise")
#: Beyond a run's numbers, files of a training tell the time.
UNTIMED = ["epoch", "learning_rate", "train_loss", "val_loss", "val_ap"]

RECIPE = """
title = "Small"
question = "Does it end the same?"
seed = 3

[stimuli]
set = "set"

[[models]]
name = "logmel"

[[models]]
name = "kim2024-cnn@random:0"
layers = ["conv1"]

[brain]
name = "table"
path = "brain.csv"

[[measures]]
name = "response-ratio"
categories = ["Music"]
n_bootstrap = 50

[[measures]]
name = "dimensionality"
"""

TRAINING = """
[training]
data = "set"
ontology = "ontology.json"
condition = "all"
epochs = 3
batch_size = 4
device = "cpu"
licence = "CC0"
cache = "features"
"""


def furnish(folder: Path) -> None:
    """Write sounds, a table of responses, an ontology and two recipes."""
    (folder / "set" / "audio").mkdir(parents=True)
    (folder / "tmp").mkdir()
    rng = np.random.default_rng(0)
    stimuli, clips, responses = ["stimulus_id,file,category"], ["id,file,labels,split"], ["stimulus_id,v1,v2"]
    for i in range(12):
        t = np.arange(int((1.6 + 0.02 * (i % 2)) * RATE)) / RATE
        sound = np.sin(2 * np.pi * rng.uniform(200, 2_000) * t) * (1 + np.sin(2 * np.pi * (i + 1) * t))
        sound = sound if i % 3 else rng.standard_normal(len(t))
        soundfile.write(folder / "set" / "audio" / f"{i}.wav", 0.05 * sound, RATE)
        stimuli.append(f"s{i:02d},audio/{i}.wav,{KINDS[i % 3]}")
        clips.append(f"{i},{i}.wav,{KINDS[i % 3]},{'val' if i >= 9 else 'test' if i == 8 else 'train'}")
        responses.append(f"s{i:02d},{rng.normal():.3f},{rng.normal():.3f}")
    manifest = {"name": "small", "version": "1", "citation": "none", "licence": "CC0"}
    (folder / "set" / "stimulus_set.toml").write_text("".join(f'{k} = "{v}"\n' for k, v in manifest.items()))
    (folder / "set" / "stimuli.csv").write_text("\n".join([*stimuli, ""]))
    (folder / "set" / "metadata.csv").write_text("\n".join([*clips, ""]))
    (folder / "brain.csv").write_text("\n".join([*responses, ""]))
    entries = [{"id": name, "name": name, "child_ids": []} for name in KINDS]
    (folder / "ontology.json").write_text(json.dumps([*entries, {"id": "Singing", "name": "Singing", "child_ids": []}]))
    (folder / "run.toml").write_text(RECIPE)
    (folder / "train.toml").write_text(TRAINING)
