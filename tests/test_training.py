"""The trainer: schedule, resume, selection, cards, bad input."""

from __future__ import annotations

import csv
import errno
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from brainalign._files import sha256, write_then_rename
from brainalign.errors import ModelError, RecipeError, ResultsError, StimulusError
from brainalign.models import load_model
from brainalign.models.kim2024 import Kim2024CNN
from brainalign.stimuli.audio import read_audio
from brainalign.training import TrainingRecipe, read_training_recipe, train
from brainalign.training.batches import Batches
from brainalign.training.features import LogMels
from brainalign.training.scores import mean_average_precision, micro_average_precision

pytest.importorskip("lightning")
from brainalign.training import module

RATE = 22_050
KINDS = ("Noise", "Tone", "Piano")


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 36 short clips of three kinds, their labels, an ontology and a recipe."""
    folder = tmp_path_factory.mktemp("studio")
    rng = np.random.default_rng(0)
    (folder / "set" / "audio").mkdir(parents=True)
    rows = []
    for i in range(36):
        kind = KINDS[i % 3]
        t = np.arange(int((1.6 + 0.02 * (i % 5)) * RATE)) / RATE
        sound = rng.standard_normal(len(t)) if kind == "Noise" else np.sin(2 * np.pi * rng.uniform(300, 900) * t)
        if kind == "Piano":
            sound = sound * np.exp(-6 * (t % 0.4))
        soundfile.write(folder / "set" / "audio" / f"{i}.wav", 0.1 * sound, RATE, subtype="FLOAT")
        rows.append([i, f"{i}.wav", kind, "val" if i >= 30 else "test" if i >= 27 else "train"])
    with (folder / "set" / "metadata.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["id", "file", "labels", "split"], *rows])
    names = ["Music", *KINDS, "Singing", "Speech"]
    entries = [{"id": n, "name": n, "child_ids": ["Piano"] if n == "Music" else []} for n in names]
    (folder / "ontology.json").write_text(json.dumps(entries))
    (folder / "recipe.toml").write_text(
        '[training]\ndata = "set"\nontology = "ontology.json"\ncondition = "all"\nepochs = 3\nbatch_size = 9\n'
        'mean_rms = 0.05\ndevice = "cpu"\nlicence = "CC0"\n'
    )
    return folder


@pytest.fixture(scope="session")
def trained(studio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    before = torch.get_rng_state()
    train(studio / "recipe.toml", out)
    assert torch.equal(torch.get_rng_state(), before)
    return out


class KilledError(Exception):
    pass


def stop_in(monkeypatch: pytest.MonkeyPatch, epoch: int, after_steps: int = 2) -> None:
    """Let a training die in the middle of an epoch, as a killed process does: without a word."""
    step = module.Training.training_step

    def dying(self: module.Training, batch: Any, index: int) -> Any:
        if self.current_epoch == epoch and index == after_steps:
            raise KilledError
        return step(self, batch, index)

    monkeypatch.setattr(module.Training, "training_step", dying)


class TestSchedule:
    @pytest.mark.parametrize("n_steps", [10, 333, 5_040])
    def test_the_learning_rate_follows_its_closed_form(self, n_steps: int) -> None:
        optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
        schedule = module.one_cycle(optimiser, n_steps)
        rates = []
        for _ in range(n_steps):
            rates.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            schedule.step()
        top, last = 0.3 * n_steps - 1, n_steps - 1
        step = np.arange(n_steps)
        rising = 4e-5 + (1e-3 - 4e-5) * step / top
        falling = 1e-3 + (4e-9 - 1e-3) * (step - top) / (last - top)
        np.testing.assert_allclose(rates, np.where(step <= top, rising, falling), rtol=1e-6, atol=1e-12)
        assert rates[0] == pytest.approx(4e-5)
        assert rates[-1] == pytest.approx(4e-9)

    def test_the_trainer_uses_it_to_its_end(self, trained: Path) -> None:
        log = pd.read_csv(trained / "log.csv")
        # 27 clips in batches of 9: three steps an epoch, nine in all; the last of each epoch is logged
        top = 0.3 * 9 - 1
        expected = [1e-3 + (4e-9 - 1e-3) * (step - top) / (8 - top) for step in (2, 5, 8)]
        np.testing.assert_allclose(log["learning_rate"], expected, rtol=1e-6)

    def test_the_optimiser_is_as_published(self) -> None:
        features = LogMels(np.zeros((4, 64, 121), np.float32), np.full(4, 121), 1.0, 1.0, "")
        material = module.Material(features, np.zeros((4, 2), bool), np.arange(4), np.arange(4))
        training = module.Training(Kim2024CNN(2), material, epochs=2, batch_size=2, seed=0)
        optimiser = training.configure_optimizers()["optimizer"]
        assert type(optimiser) is torch.optim.AdamW
        assert optimiser.param_groups[0]["weight_decay"] == 0.01


class TestBatches:
    N_FRAMES = np.array([130, 200, 121, 150, 180])

    def batches(self, **options: Any) -> Batches:
        values = np.full((5, 64, 200), -100, dtype=np.float32)
        for i, n in enumerate(self.N_FRAMES):
            values[i, :, :n] = i
        return Batches(values, self.N_FRAMES, np.eye(5, dtype=bool), np.array([0, 2, 3, 4]), 3, **options)

    def test_each_clip_comes_once_as_long_as_the_longest_beside_it(self) -> None:
        batches = list(self.batches())
        assert [tuple(x.shape) for x, _ in batches] == [(3, 1, 64, 150), (1, 1, 64, 180)]
        first, targets = batches[0]
        assert targets.argmax(dim=1).tolist() == [0, 2, 3]
        assert (first[1, 0, :, :121] == 2).all()
        assert (first[1, 0, :, 121:] == -100).all()

    def test_shuffling_follows_the_generator(self) -> None:
        def order(seed: int) -> list[int]:
            shuffled = self.batches(order=np.random.default_rng(seed))
            return [int(i) for _, targets in shuffled for i in targets.argmax(dim=1)]

        assert order(1) == order(1)
        assert sorted(order(1)) == [0, 2, 3, 4]
        assert len({tuple(order(seed)) for seed in range(20)}) > 5

    def test_devices_share_a_batch(self) -> None:
        whole = [targets for _, targets in self.batches()]
        parts = [[targets for _, targets in self.batches(part=i, n_parts=3)] for i in range(3)]
        for i, targets in enumerate(whole):
            shared = torch.cat([part[i] for part in parts])
            assert sorted(shared.argmax(dim=1).tolist()) == sorted(targets.argmax(dim=1).tolist())


class TestScores:
    def test_average_precision_by_hand(self) -> None:
        # ranks of the true ones: 1, 3, 4 of 5 -> (1/1 + 2/3 + 3/4) / 3
        targets = np.array([[True, False, True, True, False]])
        logits = np.array([[5.0, 4.0, 3.0, 2.0, 1.0]], dtype=np.float32)
        assert micro_average_precision(targets, logits) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)

    def test_mean_over_labels_that_occur(self) -> None:
        targets = np.array([[True, False, False], [False, False, True], [False, False, False]])
        logits = np.array([[1, 0, 3], [2, 0, 2], [0, 0, 1]], dtype=np.float32)
        result = mean_average_precision(targets, logits)
        assert result == {"map": pytest.approx(0.5), "chance": pytest.approx(1 / 3), "n_labels": 2}
        assert mean_average_precision(targets, logits, np.array([False, True, False])) == {}

    def test_chance_on_noise(self) -> None:
        rng = np.random.default_rng(0)
        targets = rng.random((4_000, 20)) < 0.1
        logits = rng.standard_normal(targets.shape).astype(np.float32)
        result = mean_average_precision(targets, logits)
        assert result["map"] == pytest.approx(result["chance"], abs=0.01)


class TestTrain:
    def test_it_learns(self, studio: Path, tmp_path: Path) -> None:
        card = train(studio / "recipe.toml", tmp_path / "out", epochs=12).card
        assert card["scores"]["train_chance"] == pytest.approx(1 / 3)
        assert card["scores"]["val_ap"] > 0.8
        assert card["scores"]["train_ap"] > 0.8

    def test_the_card_says_what_the_weights_do(self, studio: Path, trained: Path) -> None:
        """The scores come out again from the sounds, through the model that a user loads."""
        card = json.loads((trained / "weights.json").read_text())
        weights = trained / "weights.safetensors"
        assert card["weights_sha256"] == sha256(weights)
        model = load_model(f"kim2024-cnn:{weights}")
        table = pd.read_csv(studio / "set" / "metadata.csv")
        sounds = [read_audio(studio / "set" / "audio" / name)[0] for name in table["file"]]
        gain = 0.05 / np.mean([np.sqrt(np.mean(s.astype(float) ** 2)) for s in sounds])
        assert card["data"]["gain"] == pytest.approx(gain)
        longest = max(len(s) for s in sounds)
        padded = torch.from_numpy(np.stack([np.pad(s * np.float32(gain), (0, longest - len(s))) for s in sounds]))
        logits = model.activations(padded, ["fc2"])["fc2"].numpy()
        targets = np.array([[label == kind for label in card["labels"]] for kind in table["labels"]])
        for split in ("train", "val"):
            rows = (table["split"] == split).to_numpy()
            ap = micro_average_precision(targets[rows], logits[rows])
            assert card["scores"][f"{split}_ap"] == pytest.approx(
                ap, abs=0.02
            )  # the last frame of a clip sees its edge
        assert card["labels"] == sorted(KINDS)
        assert card["data"]["n_clips"] == {"train": 27, "val": 6, "test": 3}

    def test_the_best_epoch_is_kept_in_half_precision(self, studio: Path, trained: Path) -> None:
        card = json.loads((trained / "weights.json").read_text())
        log = pd.read_csv(trained / "log.csv")
        assert log["epoch"].tolist() == [1, 2, 3]
        assert card["training"]["kept_epoch"] == log["epoch"][log["val_ap"].idxmax()]
        # rounding to half precision moves outputs by less than what would reorder many of the 18 pairs
        assert card["scores"]["val_ap"] == pytest.approx(log["val_ap"].max(), abs=0.05)
        weights = load_file(trained / "weights.safetensors")
        assert weights["conv1.0.weight"].dtype == torch.float16
        assert weights["logmel.mel.mel_scale.fb"].dtype == torch.float32
        assert (trained / "learning-curves.png").stat().st_size > 10_000
        assert sorted(p.name for p in trained.iterdir()) == [
            "learning-curves.png",
            "log.csv",
            "training.json",
            "weights.json",
            "weights.safetensors",
        ]

    def test_seeds_differ_and_repeat(self, studio: Path, trained: Path, tmp_path: Path) -> None:
        again = train(studio / "recipe.toml", tmp_path / "again")
        other = train(studio / "recipe.toml", tmp_path / "other", seed=1)
        assert sha256(again.weights) == sha256(trained / "weights.safetensors") != sha256(other.weights)

    def test_a_condition_leaves_its_labels_unlearnt(self, studio: Path, tmp_path: Path) -> None:
        card = train(studio / "recipe.toml", tmp_path / "out", condition="no-music", epochs=1).card
        assert card["data"]["n_clips"] == {"train": 18, "val": 4, "test": 3}
        assert card["name"] == "no-music/0"
        assert card["scores"]["test"]["n_labels"] == 2
        assert card["scores"]["test_removed"]["n_labels"] == 1

    def test_the_same_recipe_trains_on_audioset(self, studio: Path, tmp_path: Path) -> None:
        names = ("Noise", "Piano", "Speech", "Tone")
        rows = [f'{i},/m/{i},"{name}"\n' for i, name in enumerate(names)]
        (tmp_path / "class_labels_indices.csv").write_text("index,mid,display_name\n" + "".join(rows))
        head = "# one\n# two\n# YTID, start_seconds, end_seconds, positive_labels\n"
        for file, clips in (("balanced_train", range(30)), ("eval", range(30, 36))):
            segments = [f'id{i:09d}, 0.000, 10.000, "/m/{names.index(KINDS[i % 3])}"\n' for i in clips]
            (tmp_path / f"{file}_segments.csv").write_text(head + "".join(segments))
        for i in range(36):
            (tmp_path / f"id{i:09d}.wav").symlink_to(studio / "set" / "audio" / f"{i}.wav")
        (tmp_path / "removed.txt").write_text("id000000000_0.000.wav\n")
        changes = {"data": str(tmp_path), "label_map": "minisounds", "exclude": str(tmp_path / "removed.txt")}
        card = train(studio / "recipe.toml", tmp_path / "out", condition="exclude:Speech", epochs=1, **changes).card
        assert card["labels"] == list(names)
        assert card["training"]["label_map"] is None
        counts = card["data"]["n_clips"]
        assert counts["train"] + counts["val"] == 29
        assert counts["val"] in (2, 3)  # a tenth of 30, one of which may be the clip removed by hand
        assert counts["test"] == 6
        assert card["data"]["left_out"] == {"removed by hand": 1}

    def test_random_labels_keep_the_last_epoch(
        self, studio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("brainalign._progress.QUIET_S", 0.0)
        out = tmp_path / "out"
        card = train(studio / "recipe.toml", out, condition="random-labels", epochs=2, progress=True).card
        assert card["training"]["kept_epoch"] == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        ((done, total),) = re.findall(r"^2 epochs: (\d+)/(\d+) step", shown.err, re.MULTILINE)
        assert done == total
        assert int(total) % 2 == 0

    def test_labels_that_the_map_lacks_are_named(self, studio: Path, tmp_path: Path) -> None:
        table = (studio / "set" / "metadata.csv").read_text().replace("Tone,train", "Tone|spaceship,train", 2)
        (tmp_path / "lab-sounds").mkdir()
        (tmp_path / "lab-sounds" / "metadata.csv").write_text(table.replace("Noise,val", "noize,val", 1))
        (tmp_path / "lab-sounds" / "audio").symlink_to(studio / "set" / "audio", target_is_directory=True)
        (tmp_path / "map.csv").write_text("label,audioset\n" + "".join(f"{kind},{kind}\n" for kind in KINDS))
        changes = {"data": str(tmp_path / "lab-sounds"), "label_map": str(tmp_path / "map.csv"), "epochs": 1}
        message = r"not in the label map .*map\.csv are not learnt: 'spaceship' \(2 clips\), 'noize' \(1 clip\);"
        with pytest.warns(UserWarning, match=message):
            card = train(studio / "recipe.toml", tmp_path / "out", **changes).card
        assert card["data"]["name"] == "lab-sounds"
        assert card["data"]["unmapped_labels"] == {"spaceship": 2, "noize": 1}
        assert card["data"]["left_out"] == {"no label with a name in AudioSet": 1}

    def test_missing_clips_of_a_folder_are_left_out(self, studio: Path, tmp_path: Path) -> None:
        folder = tmp_path / "set"
        folder.mkdir()
        table = (studio / "set" / "metadata.csv").read_text()
        (folder / "metadata.csv").write_text(table + "99,gone.wav,Noise,train\n")
        (folder / "audio").symlink_to(studio / "set" / "audio", target_is_directory=True)
        with pytest.raises(StimulusError, match=r'1 of 37 clips .*gone\.wav.*missing_clips = "leave-out"'):
            train(studio / "recipe.toml", tmp_path / "out", data=str(folder))
        changes = {"data": str(folder), "missing_clips": "leave-out", "epochs": 1}
        card = train(studio / "recipe.toml", tmp_path / "out", **changes).card
        assert card["data"]["n_clips"] == {"train": 27, "val": 6, "test": 3}
        assert card["data"]["left_out"] == {"clip is not there": 1}


class TestResume:
    @pytest.mark.parametrize(("epoch", "step"), [(0, 1), (1, 2), (2, 0)])
    def test_a_killed_run_ends_as_if_it_had_never_stopped(
        self, studio: Path, trained: Path, tmp_path: Path, epoch: int, step: int
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:
            stop_in(patch, epoch, step)
            with pytest.raises(KilledError):
                train(studio / "recipe.toml", tmp_path / "out")
        assert (tmp_path / "out" / "last.ckpt").exists() == (epoch > 0)
        # what a kill in the middle of writing leaves, and what another process is writing
        (tmp_path / "out" / ".last.ckpt.writing").mkdir()
        (tmp_path / "out" / ".last.ckpt.writing" / "last.ckpt").write_bytes(b"half")
        with write_then_rename(tmp_path / "out" / "notes.txt"):
            resumed = train(studio / "recipe.toml", tmp_path / "out")
            hidden = [p.name for p in (tmp_path / "out").iterdir() if p.name.startswith(".")]
            assert hidden == [".notes.txt.writing"]
            (tmp_path / "out" / ".notes.txt.writing" / "notes.txt").write_text("done")
        assert sha256(resumed.weights) == sha256(trained / "weights.safetensors")
        columns = ["epoch", "learning_rate", "train_loss", "val_loss", "val_ap"]
        logs = [pd.read_csv(folder / "log.csv")[columns] for folder in (trained, tmp_path / "out")]
        pd.testing.assert_frame_equal(*logs, check_exact=True)

    def test_a_full_disk_leaves_the_last_checkpoint_whole(
        self, studio: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out"
        save = module.lightning.Trainer.save_checkpoint

        def full(self: Any, path: Path, **options: Any) -> None:
            if self.current_epoch == 1:
                Path(path).write_bytes(b"half a check")
                raise OSError(errno.ENOSPC, "No space left on device")
            save(self, path, **options)

        with monkeypatch.context() as patch:
            patch.setattr(module.lightning.Trainer, "save_checkpoint", full)
            with pytest.raises(ResultsError, match=r"last.ckpt cannot be written: No space left .*make room and start"):
                train(studio / "recipe.toml", out)
        assert not [p for p in out.iterdir() if p.name.startswith(".")]
        assert torch.load(out / "last.ckpt", weights_only=True)["epoch"] == 0
        assert sha256(train(studio / "recipe.toml", out).weights) == sha256(trained / "weights.safetensors")

    def test_a_folder_belongs_to_one_training(self, studio: Path, trained: Path, tmp_path: Path) -> None:
        with pytest.raises(ResultsError, match="finished training"):
            train(studio / "recipe.toml", trained)
        with pytest.MonkeyPatch.context() as patch:
            stop_in(patch, 1)
            with pytest.raises(KilledError):
                train(studio / "recipe.toml", tmp_path)
        with pytest.raises(ResultsError, match="another training: seed is 0 there and 1 here"):
            train(studio / "recipe.toml", tmp_path, seed=1)
        (tmp_path / "training.json").write_text("{")
        with pytest.raises(ResultsError, match="damaged"):
            train(studio / "recipe.toml", tmp_path)

    def test_a_checkpoint_of_another_architecture(self, studio: Path, tmp_path: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            stop_in(patch, 1)
            with pytest.raises(KilledError):
                train(studio / "recipe.toml", tmp_path)
        checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
        checkpoint["state_dict"]["network.fc2.bias"] = torch.zeros(7)
        torch.save(checkpoint, tmp_path / "last.ckpt")
        with pytest.raises(ModelError, match=r"another architecture: .*fc2\.bias"):
            train(studio / "recipe.toml", tmp_path)
        (tmp_path / "last.ckpt").write_bytes(b"half a checkpoint")
        with pytest.raises(ResultsError, match="damaged"):
            train(studio / "recipe.toml", tmp_path)


class TestBadInput:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"epoch": 3}, "epoch: Extra inputs"),
            ({"epochs": 0}, "epochs: .*greater than or equal to 1"),
            ({"mean_rms": 2.0}, "mean_rms"),
            ({"n_devices": 2, "batch_size": 9}, "cannot be shared equally by 2 devices"),
            ({"data": "nowhere"}, r'data = "nowhere" is not there .*BRAINALIGN_DATA; docs/training\.md'),
            ({"ontology": "nowhere"}, 'ontology = "nowhere" is not there'),
            ({"label_map": "nowhere"}, 'label_map = "nowhere" is not there'),
            ({"exclude": "nowhere"}, 'exclude = "nowhere" is not there'),
            ({"batch_size": 13}, "would hold 1 of 27 training clips"),
            ({"batch_size": 12, "n_devices": 2}, "would hold 3 of 27 training clips"),
        ],
    )
    def test_recipes(self, studio: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(RecipeError, match=message):
            train(studio / "recipe.toml", tmp_path, **changes)

    def test_recipe_files(self, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match=r"no file .*none\.toml, expected a training recipe"):
            read_training_recipe(tmp_path / "none.toml")
        (tmp_path / "a.toml").write_text("[stimuli]\n")
        with pytest.raises(RecipeError, match=r"expected one table \[training\], found stimuli"):
            read_training_recipe(tmp_path / "a.toml")

    def test_published_numbers_of_epochs(self) -> None:
        assert TrainingRecipe(data="x").epochs == 100
        assert TrainingRecipe(data="x", condition="random-labels").epochs == 200

    def test_an_exclusion_list_of_other_clips(self, studio: Path, tmp_path: Path) -> None:
        (tmp_path / "list.txt").write_text("abc.wav\n")
        with pytest.raises(StimulusError, match=r"none of the 1 clips .* 'abc' there, '0' here"):
            train(studio / "recipe.toml", tmp_path / "out", exclude=str(tmp_path / "list.txt"))

    def test_a_folder_of_neither_layout(self, studio: Path, tmp_path: Path) -> None:
        with pytest.raises(
            StimulusError, match=r"neither metadata\.csv nor balanced_train_segments\.csv; docs/training"
        ):
            train(studio / "recipe.toml", tmp_path / "out", data=str(tmp_path))

    def test_unreadable_clips_stop_it_before_it_starts(self, studio: Path, tmp_path: Path) -> None:
        folder = tmp_path / "set"
        folder.mkdir()
        (folder / "metadata.csv").write_text("file,labels,split\na.wav,Noise,train\nb.wav,Tone,val\n")
        with pytest.raises(StimulusError, match=r"2 of 2 clips cannot be used: .*a\.wav.*b\.wav"):
            train(studio / "recipe.toml", tmp_path / "out", data=str(folder))
        assert not (tmp_path / "out").exists()


def test_the_docs_name_every_key_with_its_default() -> None:
    page = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
    table = page.partition("## All keys of a recipe")[2].partition("\n\n--")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE))
    assert list(rows) == list(TrainingRecipe.model_fields)
    recipes = [TrainingRecipe(data="x", condition=name) for name in ("no-music", "random-labels")]
    for key, text in rows.items():
        if key in ("epochs", "keep"):
            expected = [f"{getattr(recipe, key)}" for recipe in recipes]
            assert re.sub(r'[`"]', "", text) == f"{expected[0]}, {expected[1]} for random-labels"
        elif key != "data":
            default = TrainingRecipe.model_fields[key].default
            given = None if text == "none" else tomllib.loads(f"x = {text.strip('`')}")["x"]
            assert given == default, key


@pytest.mark.slow
def test_two_devices_share_a_training(studio: Path, tmp_path: Path) -> None:
    """Two processes on the CPU: each hears half of each batch, one of them writes, both end with the card."""
    script = (
        "from brainalign.training import train\n"
        f"card = train({str(studio / 'recipe.toml')!r}, {str(tmp_path / 'out')!r}, n_devices=2, batch_size=10).card\n"
        "print('digest', card['weights_sha256'])\n"
    )
    (tmp_path / "script.py").write_text(script)
    run = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=300, cwd=tmp_path, check=True
    )
    digest = sha256(tmp_path / "out" / "weights.safetensors")
    assert run.stdout.count(digest) == 2  # of both devices; their lines may mix
    assert len(pd.read_csv(tmp_path / "out" / "log.csv")) == 3


WEIGHTS = Path(module.__file__).parents[1] / "models" / "weights" / "kim2024"
SHIPPED = sorted(WEIGHTS.glob("*/*.safetensors"))


class TestShippedNetworks:
    def test_they_are_small_and_each_has_a_card(self) -> None:
        assert sum(p.stat().st_size for p in WEIGHTS.rglob("*")) < 40_000_000
        assert {p.with_suffix(".json") for p in SHIPPED} == set(WEIGHTS.glob("*/*.json"))

    @pytest.mark.parametrize("weights", SHIPPED, ids=lambda p: f"{p.parent.name}/{p.stem}")
    def test_the_card_fits_the_weights(self, weights: Path) -> None:
        card = json.loads(weights.with_suffix(".json").read_text())
        assert card["name"] == f"{weights.parent.name}/{weights.stem}" == f"{card['condition']}/{card['seed']}"
        assert card["weights_sha256"] == sha256(weights)
        assert card["licence"] == "CC BY-NC 4.0"
        state = load_file(weights)
        assert len(card["labels"]) == len(state["fc2.bias"])
        assert all(torch.isfinite(tensor).all() for tensor in state.values())
        # learnt, and better on held-out clips than chance by far; random labels can only be learnt by heart
        scores = card["scores"]
        assert scores["train_ap"] > 10 * scores["train_chance"]
        if card["condition"] == "random-labels":
            assert scores["val_ap"] < 5 * scores["val_chance"]
        else:
            assert scores["val_ap"] > 10 * scores["val_chance"]
            assert scores["test"]["map"] > 3 * scores["test"]["chance"]

    def test_the_seeds_of_a_condition_differ(self) -> None:
        assert len({sha256(p) for p in SHIPPED}) == len(SHIPPED)
