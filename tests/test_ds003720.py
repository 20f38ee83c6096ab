"""The music genre fMRI data set: its events as published, and responses out of images whose truth is known."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest

from brainalign._files import shipped
from brainalign.brain import load_brain
from brainalign.brain.data import BrainData
from brainalign.brain.ds003720 import load_ds003720, read_ds003720_events
from brainalign.errors import BrainError

TR = 1.5
VOLUMES = 10  # per clip


def write_run(stem: Path, clips: list[str], codes: dict[str, float], *, delay: int = 3) -> None:
    """Write events and an image: voxel 0 answers with a clip's code `delay` volumes later, voxel 1 counts volumes."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        f"{15 * i}\t15\t'{clip.split('.')[0]}'\t{int(clip.split('.')[1])}\t1.5\t16.5" for i, clip in enumerate(clips)
    ]
    Path(f"{stem}_events.tsv").write_text("onset\tduration\tgenre\ttrack\tstart\tend\n" + "\n".join(rows) + "\n")
    write_bold(stem, clips, codes, delay)


def write_bold(stem: Path, clips: list[str], codes: dict[str, float], delay: int) -> None:
    heard = np.repeat([codes[c] for c in clips], VOLUMES).astype(float)
    series = np.zeros((len(heard), 2))
    series[delay:, 0] = heard[: len(heard) - delay]
    series[:, 1] = np.arange(len(heard))
    image = nibabel.Nifti1Image(series.T.reshape(2, 1, 1, -1).astype(np.float32), np.eye(4))
    image.header.set_zooms((1, 1, 1, TR))
    nibabel.save(image, f"{stem}_bold.nii")


def write_mask(folder: Path) -> str:
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 1, 1), dtype=np.uint8), np.eye(4)), folder / "mask.nii")
    return "mask.nii"


TRAIN = [["pop.00001", "jazz.00002", "rock.00003"], ["pop.00004", "jazz.00005", "rock.00006"]]
TEST = ["pop.00007", "jazz.00008"]
CODES = {clip: float(i + 1) for i, clip in enumerate([*TRAIN[0], *TRAIN[1], *TEST])}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The protocol in small: two training runs of 3 clips, a test run of 2 clips, two subjects."""
    (tmp_path / "task-Training_bold.json").write_text(json.dumps({"RepetitionTime": TR}))
    (tmp_path / "task-Test_bold.json").write_text(json.dumps({"RepetitionTime": TR}))
    write_mask(tmp_path)
    for s in ("sub-001", "sub-002"):
        stem = tmp_path / s / "func" / s
        for r in (0, 1):
            write_run(Path(f"{stem}_task-Training_run-0{r + 1}"), [TRAIN[1 - r][-1], *TRAIN[r]], CODES)
        write_run(Path(f"{stem}_task-Test_run-01"), [TEST[-1], *(TEST * 4)], CODES)
    return tmp_path


def load(folder: Path, **options: Any) -> BrainData:
    return load_ds003720(str(folder), **({"mask": "mask.nii", "drift": None, "scaling": None} | options))


def unit(brain: BrainData, voxel: int, subject: str = "sub-001") -> pd.Series:
    responses = brain.responses.sel(unit=f"{subject}_v{voxel}")
    return pd.Series(responses.values, index=responses["stimulus"].values)


class TestResponses:
    def test_clips_some_seconds_later(self, small: Path) -> None:
        brain = load(small)
        for subject in ("sub-001", "sub-002"):
            assert unit(brain, 0, subject).to_dict() == pytest.approx(CODES)
        # The clip that ends a run has 7 volumes left: 33 to 39, less the 10 that are discarded.
        counted = unit(brain, 1)
        assert counted["pop.00001"] == 13 + 4.5
        assert counted["rock.00003"] == 33 + 3
        assert counted["pop.00007"] == np.mean([13, 33, 53, 73]) + 4.5
        assert counted["jazz.00008"] == np.mean([23 + 4.5, 43 + 4.5, 63 + 4.5, 83 + 3])
        about = brain.responses
        assert dict(zip(about["stimulus"].values, about["split"].values, strict=True)) == {
            c: "test" if c in TEST else "train" for c in CODES
        }
        assert set(about["category"].values) == {"pop", "jazz", "rock"}
        assert about["start_s"].dtype == float
        assert set((about["end_s"] - about["start_s"]).values) == {15.0}
        assert brain.warnings == ()

    def test_windows_and_what_the_end_of_a_run_leaves(self, small: Path) -> None:
        brain = load(small, window_s=1.5)
        # 8 clips x 10 windows; the last 3 of the clips that end the two training runs have no volume.
        assert brain.responses.sizes["stimulus"] == 80 - 2 * 3
        lost = "rock.00003@07, rock.00003@08, rock.00003@09, rock.00006@07, rock.00006@08 and 1 more"
        assert brain.warnings == tuple(
            f"{s}: 6 stimuli have no volumes in any run and are left out: {lost}" for s in ("sub-001", "sub-002")
        )
        counted = unit(brain, 1)
        assert counted["jazz.00002@04"] == 23 + 4
        # Of the last test clip, the fourth presentation lacks the last windows; three are averaged.
        assert counted["jazz.00008@09"] == np.mean([23, 43, 63]) + 9
        starts = brain.responses["window_start_s"].to_series()
        assert starts["jazz.00002@04"] == 4 * 1.5
        assert set(brain.responses["window_s"].values) == {1.5}
        clips, codes = brain.responses["clip"].values, unit(brain, 0).to_numpy()
        np.testing.assert_allclose(codes, [CODES[c] for c in clips])

    @pytest.mark.parametrize(("window_s", "n_windows", "n_volumes"), [(1.5, 10, 1), (5, 7, 4), (10, 4, 7)])
    def test_the_published_protocol_has_no_delay(
        self, small: Path, window_s: float, n_windows: int, n_volumes: int
    ) -> None:
        brain = load(small, window_s=window_s, protocol="denk2023")
        assert brain.responses.sizes["stimulus"] == 8 * n_windows
        assert brain.warnings == ()
        counted = unit(brain, 1)
        for w in range(n_windows):
            assert counted[f"rock.00003@{w:02d}"] == 30 + w + (n_volumes - 1) / 2

    def test_repetitions_can_be_kept(self, small: Path) -> None:
        brain = load(small, split="test", repetitions="keep")
        assert brain.responses.dims == ("repetition", "stimulus", "unit")
        assert brain.responses.sel(unit="sub-001_v1", stimulus="pop.00007").values.tolist() == [
            n + 4.5 for n in (13, 33, 53, 73)
        ]
        with pytest.raises(BrainError, match=r"presented 1, 4 times, so repetitions cannot be kept apart"):
            load(small, repetitions="keep")

    def test_defaults_clean_the_series(self, small: Path) -> None:
        clips = ["pop.00001", *(["jazz.00002", "rock.00003", "pop.00001"] * 4)]
        stem = small / "sub-001/func/sub-001_task-Test_run-01"
        write_run(stem, clips, CODES)
        series = np.squeeze(nibabel.load(f"{stem}_bold.nii").get_fdata()).T[10:]
        brain = load_ds003720(str(small), mask="mask.nii", split="test", subjects=["001"], protocol="denk2023")
        # The median's window has 161 volumes, the run 120: it is reflected at both ends.
        padded = np.concatenate([series[::-1], series, series[::-1]])
        n = len(series)
        drift = np.array([np.median(padded[n + t - 80 : n + t + 81], axis=0) for t in range(n)])
        clean = series - drift
        clean = (clean - clean.mean(axis=0)) / clean.std(axis=0, ddof=1)
        expected = clean.reshape(4, 3, 10, 2).mean(axis=(0, 2))
        np.testing.assert_allclose(brain.responses.values, expected, atol=1e-5)

    def test_a_glm_has_its_own_way_with_drifts(self, small: Path) -> None:
        brain = load(small, design="glm", drift="auto", scaling="zscore", split="train")
        values = unit(brain, 0)
        assert list(values.index) == [*TRAIN[0], *TRAIN[1]]
        assert values["rock.00006"] > values["pop.00004"]

    def test_registered(self, small: Path) -> None:
        brain = load_brain("ds003720", path=str(small), mask="mask.nii", drift=None, subjects=["sub-002"])
        assert brain.name == "ds003720"
        assert "Nakai" in brain.citation
        assert brain.licence.startswith("CC0")


class TestBadInput:
    def test_no_data(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path / "data"))
        with pytest.raises(BrainError, match=r"no folder .*data/ds003720.*get the data set \(46 GB\) from OpenNeuro"):
            load_ds003720()
        with pytest.raises(BrainError, match=r"holds no events .*OpenNeuro"):
            read_ds003720_events(tmp_path)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"protocol": "denk2022"}, "no protocol 'denk2022' for ds003720; known: 'denk2023'"),
            ({"split": "Test"}, "split must be 'train' or 'test', found 'Test'"),
            ({"subjects": ["sub-006"]}, "no images with sub-006"),
            ({"reading": {"resampel": True}}, "reading: no option 'resampel'; did you mean 'resample'"),
            ({"drift": "median"}, "the median's window of 240 s is longer than twice the run of 80 volumes"),
        ],
    )
    def test_options(self, small: Path, options: dict[str, Any], message: str) -> None:
        with pytest.raises(BrainError, match=message):
            load(small, **options)

    def test_a_run_with_missing_volumes_leaves_its_subject_out(self, small: Path) -> None:
        stem = small / "sub-002/func/sub-002_task-Training_run-02"
        write_bold(stem, [TRAIN[0][-1], *TRAIN[1][:2]], CODES, 3)
        with pytest.raises(BrainError, match=r"^sub-002_task-Training_run-02: .*beyond the end .* the images at 45 s"):
            load(small)
        brain = load(small, on_error="skip")
        assert set(brain.responses["subject"].values) == {"sub-001"}
        assert brain.warnings[0].startswith("sub-002 is left out: sub-002_task-Training_run-02: ")

    def test_events_of_another_kind(self, small: Path) -> None:
        path = small / "sub-001/func/sub-001_task-Test_run-01_events.tsv"
        text = path.read_text()
        path.write_text(text.replace("start\t", "begin\t"))
        with pytest.raises(BrainError, match=r"has no column 'start', which the events of ds003720 have"):
            load(small)
        path.write_text(text.replace("\t1.5\t", "\tn/a\t"))
        with pytest.raises(BrainError, match="start and end must be seconds"):
            load(small)

    def test_runs_of_different_repetition_times(self, small: Path) -> None:
        (small / "task-Test_bold.json").write_text(json.dumps({"RepetitionTime": 1.51}))
        with pytest.raises(BrainError):
            load(small)


@pytest.fixture(scope="module")
def published(shared_data: Path) -> pd.DataFrame:
    return read_ds003720_events(shared_data / "ds003720")


@pytest.mark.realdata
class TestPublishedEvents:
    def test_every_run(self, published: pd.DataFrame) -> None:
        runs = published.groupby(["subject", "task", "run"])
        assert len(runs) == 90
        assert runs.ngroups == 5 * (12 + 6)
        assert set(runs.size()) == {41}
        assert (published["onset"] == 15 * published.groupby(["subject", "task", "run"]).cumcount()).all()
        assert set(published["duration"]) == {15.0}
        assert published["dummy"].sum() == 90

    def test_the_540_clips_are_those_of_the_stimulus_set(self, published: pd.DataFrame) -> None:
        ours = pd.read_csv(shipped("stimuli") / "ds003720" / "stimuli.csv", index_col="stimulus_id")
        assert len(ours) == 540
        clips = published.drop_duplicates("stimulus_id").set_index("stimulus_id")
        assert set(clips.index) == set(ours.index)
        columns = ["category", "split", "start_s", "end_s"]
        pd.testing.assert_frame_equal(clips[columns].loc[ours.index], ours[columns], check_dtype=False)
        assert clips["split"].value_counts().to_dict() == {"train": 480, "test": 60}
        assert set(clips.groupby(["category", "split"]).size().unstack()["train"]) == {48}
        assert set(clips.groupby(["category", "split"]).size().unstack()["test"]) == {6}
        # No clip is cut twice, in any other way, or used in both parts.
        assert len(published.drop_duplicates(["stimulus_id", *columns])) == 540

    def test_all_subjects_heard_the_same_in_the_same_order(self, published: pd.DataFrame) -> None:
        first = published[published["subject"] == "sub-001"].drop(columns="subject").reset_index(drop=True)
        for _, other in published.groupby("subject"):
            pd.testing.assert_frame_equal(other.drop(columns="subject").reset_index(drop=True), first)

    def test_training_runs(self, published: pd.DataFrame) -> None:
        own = published[(published["subject"] == "sub-001") & (published["task"] == "Training")]
        runs = {int(r): t.reset_index(drop=True) for r, t in own.groupby("run")}
        for number, run in runs.items():
            before = runs[(number - 2) % 12 + 1]
            # Also for run 5, whose dummy seems to be another clip if the missing quote in run 4 is not mended.
            assert run["stimulus_id"].iloc[0] == before["stimulus_id"].iloc[-1]
            played = run["stimulus_id"].iloc[1:]
            assert played.nunique() == 40
            assert set(run["category"].iloc[1:].value_counts()) == {4}
        assert Counter(own.loc[~own["dummy"], "stimulus_id"].value_counts()) == {1: 480}

    def test_test_runs_cycle_their_ten_clips_four_times(self, published: pd.DataFrame) -> None:
        own = published[(published["subject"] == "sub-001") & (published["task"] == "Test")]
        for _, run in own.groupby("run"):
            clips = run["stimulus_id"].tolist()
            assert clips[0] == clips[-1]
            assert clips[1:] == clips[1:11] * 4
            assert run["category"].iloc[1:11].nunique() == 10

    def test_the_rows_without_one_of_their_quotes(self, shared_data: Path) -> None:
        odd = [
            (path.name, line)
            for path in sorted((shared_data / "ds003720").glob("sub-*/func/*_events.tsv"))
            for line in path.read_text().splitlines()[1:]
            if line.count("'") != 2
        ]
        assert odd == [
            (f"sub-00{s}_task-Training_run-04_events.tsv", row)
            for s in range(1, 6)
            for row in (
                "570\t15\tclassical'\t37\t1.96\t16.96",
                "585\t15\tjazz'\t58\t4.73\t19.73",
                "600\t15\tmetal'\t97\t9.98\t24.98",
            )
        ]

    def test_responses_to_all_clips(self, shared_data: Path, tmp_path: Path, published: pd.DataFrame) -> None:
        """One subject with the real events and sidecars; images of two voxels."""
        func = tmp_path / "sub-001" / "func"
        shutil.copytree(shared_data / "ds003720" / "sub-001" / "func", func)
        own = published[published["subject"] == "sub-001"]
        codes = {clip: float(i + 1) for i, clip in enumerate(sorted(set(own["stimulus_id"])))}
        for (task, run), table in own.groupby(["task", "run"]):
            write_bold(func / f"sub-001_task-{task}_run-{run:02d}", table["stimulus_id"].tolist(), codes, 3)
        write_mask(tmp_path)
        assert unit(load(tmp_path), 0).to_dict() == pytest.approx(codes)
        brain = load(tmp_path, window_s=1.5)
        assert brain.responses.sizes["stimulus"] == 5400 - 12 * 3
        assert brain.warnings[0].startswith("sub-001: 36 stimuli have no volumes in any run and are left out: ")
        np.testing.assert_allclose(unit(brain, 0), [codes[c] for c in brain.responses["clip"].values])
        for window_s, n_windows in ((1.5, 10), (5, 7), (10, 4)):
            published_rows = load(tmp_path, window_s=window_s, protocol="denk2023")
            assert published_rows.responses.sizes["stimulus"] == 540 * n_windows
            assert (published_rows.responses["split"] == "train").sum() == 480 * n_windows
            assert published_rows.warnings == ()
