"""Simulated images: their names, headers, noise and planted weights, found again from the files alone."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from brainalign.brain.bids import load_bids
from brainalign.brain.ds003720 import load_ds003720, read_ds003720_events
from brainalign.brain.simulated_bids import NOISE_SD, SimulatedBids, write_simulated_bids
from brainalign.brain.simulated_ds003720 import write_simulated_ds003720
from brainalign.brain.simulated_scanner import REGIONS, Scanner
from brainalign.errors import BrainError

SMALL = (10, 10, 8)
TR = 1.5


def block_events(n_runs: int = 3, n_events: int = 20, seed: int = 0) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    return {
        f"task-sounds_run-{r + 1:02d}": pd.DataFrame(
            {
                "onset": 9.0 * np.arange(n_events) + 3.0,
                "duration": 4.5,
                "trial_type": [f"s{i:02d}" for i in rng.permutation(n_events)],
            }
        )
        for r in range(n_runs)
    }


def some_features(n_features: int = 4, n_windows: int = 3, n_stimuli: int = 20) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {f"s{i:02d}": rng.standard_normal((n_windows, n_features)) for i in range(n_stimuli)}


def series(bids: SimulatedBids, subject: str, run: str) -> np.ndarray:
    """Read a run by nibabel alone: (n_volumes, n_voxels)."""
    inside = np.asarray(nibabel.load(bids.mask).dataobj) > 0
    image = nibabel.load(bids.folder / subject / "func" / f"{subject}_{run}_bold.nii.gz")
    return np.asarray(image.dataobj)[inside].T.astype(float)


def digests(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def glover(n: int, step: float) -> np.ndarray:
    """Glover 1999 as nilearn has it: two gamma densities, of peaks about 5.4 and 10.8 s, the second times 0.48."""

    def density(t: np.ndarray, shape: float, scale: float) -> np.ndarray:
        t = np.maximum(t - step, 0)
        return t ** (shape - 1) * np.exp(-t / scale) / (math.gamma(shape) * scale**shape)

    t = np.linspace(0, 32, n)
    response = density(t, 6 / 0.9, 0.9) - 0.48 * density(t, 12 / 0.9, 0.9)
    return response / response.sum()


def design(events: pd.DataFrame, features: dict[str, np.ndarray], n_volumes: int) -> np.ndarray:
    """Convolve window by window, in steps of a tenth of the repetition time."""
    step, fine = TR / 10, np.zeros((n_volumes * 10, 4))
    for onset, duration, name in events[["onset", "duration", "trial_type"]].itertuples(index=False):
        for w, row in enumerate(features[name]):
            begin, end = (round((onset + duration * (w + i) / len(features[name])) / step) for i in (0, 1))
            fine[begin:end] += row
    response = glover(round(32 / step), step)
    return np.column_stack([np.convolve(f, response)[: len(fine)] for f in fine.T])[::10]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> SimulatedBids:
    scanner = Scanner(grid=SMALL, snr=1.0, autocorrelation=0, drift=0, smoothness_mm=4)
    return write_simulated_bids(
        tmp_path_factory.mktemp("quiet") / "bids", block_events(), some_features(), scanner=scanner
    )


# What is written


def test_files_are_named_and_described_as_bids_wants(quiet: SimulatedBids) -> None:
    found = {p.relative_to(quiet.folder).as_posix() for p in quiet.folder.rglob("*") if p.is_file()}
    runs = [f"sub-0{s}/func/sub-0{s}_task-sounds_run-0{r}" for s in (1, 2) for r in (1, 2, 3)]
    assert found == {
        "dataset_description.json", "README", "participants.tsv",
        *(f"{run}_{end}" for run in runs for end in ("bold.nii.gz", "bold.json", "events.tsv")),
        "derivatives/simulation/dataset_description.json",
        *(f"derivatives/simulation/{p.name}" for p in (quiet.mask, quiet.atlas, quiet.labels)),
    }  # fmt: skip
    assert list(quiet.folder.parent.iterdir()) == [quiet.folder]
    description = json.loads((quiet.folder / "dataset_description.json").read_text())
    assert description["DatasetType"] == "raw"
    assert {"Name", "BIDSVersion", "License"} <= set(description)
    derived = json.loads((quiet.folder / "derivatives/simulation/dataset_description.json").read_text())
    assert derived["DatasetType"] == "derivative"
    assert derived["GeneratedBy"][0]["Name"] == "brainalign"
    assert (quiet.folder / "participants.tsv").read_text() == "participant_id\nsub-01\nsub-02\n"


def test_headers_agree_with_sidecars_and_events(quiet: SimulatedBids) -> None:
    mask = nibabel.load(quiet.mask)
    assert int((np.asarray(mask.dataobj) > 0).sum()) == len(quiet.region)
    for path in quiet.folder.glob("sub-*/func/*_bold.nii.gz"):
        image, stem = nibabel.load(path), str(path).removesuffix("_bold.nii.gz")
        sidecar = json.loads(Path(f"{stem}_bold.json").read_text())
        assert sidecar == {"TaskName": "sounds", "RepetitionTime": TR}
        assert image.header["pixdim"][4] == TR
        assert image.header.get_xyzt_units() == ("mm", "sec")
        assert image.get_data_dtype() == np.int16
        assert (image.header["scl_slope"], image.header["scl_inter"]) in [(1, 0)] or np.isnan(image.header["scl_slope"])
        np.testing.assert_array_equal(image.affine, mask.affine)
        assert (image.header["sform_code"], image.header["qform_code"]) == (1, 1)
        events = pd.read_csv(f"{stem}_events.tsv", sep="\t")
        pd.testing.assert_frame_equal(
            events, block_events()[path.name[7:].removesuffix("_bold.nii.gz")], check_dtype=False
        )
        end = (events["onset"] + events["duration"]).max()
        assert image.shape == (*SMALL, math.ceil((end + 12) / TR))
        assert not np.asarray(image.dataobj)[np.asarray(mask.dataobj) == 0].any()
    # The middle of the brain is the origin.
    np.testing.assert_allclose(mask.affine @ [4.5, 4.5, 3.5, 1], [0, 0, 0, 1])


def test_the_atlas_names_the_regions(quiet: SimulatedBids) -> None:
    names = pd.read_csv(quiet.labels, sep="\t").set_index("index")["name"]
    atlas, inside = (np.asarray(nibabel.load(p).dataobj) for p in (quiet.atlas, quiet.mask))
    assert len(names) == 2 * len(REGIONS)
    np.testing.assert_array_equal(names.loc[atlas[inside > 0]].to_numpy(), quiet.region)
    assert not atlas[inside == 0].any()
    x = (np.argwhere(inside > 0) @ nibabel.load(quiet.mask).affine[:3, :3].T + nibabel.load(quiet.mask).affine[:3, 3])[
        :, 0
    ]
    np.testing.assert_array_equal(np.char.startswith(quiet.region, "L_"), x < 0)
    auditory = np.char.find(quiet.region, "auditory") > 0
    assert 0.1 < auditory.mean() < 0.5
    for weights in quiet.weights.values():
        np.testing.assert_array_equal((weights != 0).all(axis=0), auditory)


def test_the_same_seed_writes_the_same_bytes(quiet: SimulatedBids, tmp_path: Path) -> None:
    scanner = Scanner(grid=SMALL, snr=1.0, autocorrelation=0, drift=0, smoothness_mm=4)
    three = write_simulated_bids(
        tmp_path / "three", block_events(), some_features(), subjects=["sub-01", "sub-02", "sub-03"], scanner=scanner
    )
    before, after = digests(quiet.folder), digests(three.folder)
    assert {k: after[k] for k in before if k != "participants.tsv"} == {
        k: v for k, v in before.items() if k != "participants.tsv"
    }
    other = write_simulated_bids(tmp_path / "other", block_events(), some_features(), scanner=scanner, seed=1)
    assert abs(np.corrcoef(other.weights["sub-01"].ravel(), quiet.weights["sub-01"].ravel())[0, 1]) < 0.2
    assert series(other, "sub-01", "task-sounds_run-01").shape == series(quiet, "sub-01", "task-sounds_run-01").shape


# What is in the images


def test_planted_weights_are_found_by_least_squares(quiet: SimulatedBids) -> None:
    """Errors of the estimates are those that least squares has in white noise, with signal and without."""
    features = some_features()
    for subject in quiet.subjects:
        designs, measured = [], []
        for run, events in block_events().items():
            y = series(quiet, subject, run)
            X = design(events, features, len(y))
            designs.append(X - X.mean(axis=0))
            measured.append(y - y.mean(axis=0))
        X, Y = np.concatenate(designs), np.concatenate(measured)
        found = np.linalg.pinv(X) @ Y
        truth, auditory = quiet.weights[subject], np.char.find(quiet.region, "auditory") > 0
        standard_error = np.sqrt(np.diag(np.linalg.inv(X.T @ X)))[:, None] * np.hypot(NOISE_SD, np.sqrt(1 / 12))
        z = (found - truth) / standard_error
        assert (z**2).mean() == pytest.approx(1, abs=0.15)
        assert (z[:, ~auditory] ** 2).mean() == pytest.approx(1, abs=0.2)
        assert np.corrcoef(found[:, auditory].ravel(), truth[:, auditory].ravel())[0, 1] > 0.9
        # The signal's share of the time series is the one that was asked for.
        level = np.array([REGIONS[name[2:]][1] for name in quiet.region])
        np.testing.assert_allclose((X @ truth).std(axis=0), level * NOISE_SD, rtol=1e-3)
    shared = np.corrcoef(quiet.weights["sub-01"][:, auditory].ravel(), quiet.weights["sub-02"][:, auditory].ravel())[
        0, 1
    ]
    assert 0.2 < shared < 0.8


def test_without_signal_all_else_stays(quiet: SimulatedBids, tmp_path: Path) -> None:
    scanner = Scanner(grid=SMALL, snr=1.0, autocorrelation=0, drift=0, smoothness_mm=4)
    empty = write_simulated_bids(tmp_path / "empty", block_events(), some_features(), scanner=scanner, signal=0)
    auditory = np.char.find(quiet.region, "auditory") > 0
    for run, events in block_events().items():
        difference = series(quiet, "sub-02", run) - series(empty, "sub-02", run)
        expected = design(events, some_features(), len(difference)) @ quiet.weights["sub-02"]
        assert np.abs(difference - expected).max() <= 1.01
        assert not difference[:, ~auditory].any()
    assert not empty.weights["sub-01"].any()
    images = {k for k in digests(quiet.folder) if k.endswith("_bold.nii.gz")}
    one, other = digests(quiet.folder), digests(empty.folder)
    assert {k for k in one if one[k] != other[k]} == images


def test_one_vector_is_a_constant_clip_and_no_haemodynamics_is_at_once(tmp_path: Path) -> None:
    events = {"task-a": pd.DataFrame({"onset": [3.0, 9.0], "duration": [3.0, 3.0], "trial_type": ["one", "two"]})}
    features = {"one": [1.0, 0.0], "two": [0.0, -2.0]}
    scanner = Scanner(grid=SMALL, hrf="none", snr=20, drift=0)
    made, empty = (
        write_simulated_bids(
            tmp_path / str(s), events, features, subjects=["sub-x"], scanner=scanner, n_volumes=10, signal=s
        )
        for s in (1, 0)
    )
    difference = series(made, "sub-x", "task-a") - series(empty, "sub-x", "task-a")
    X = np.zeros((10, 2))
    X[2:4, 0], X[6:8, 1] = 1, -2
    assert np.abs(difference - X @ made.weights["sub-x"]).max() <= 1.01


def test_noise_has_the_correlations_that_were_asked_for(tmp_path: Path) -> None:
    scanner = Scanner(grid=(16, 16, 12), autocorrelation=0.5, drift=0, smoothness_mm=7)
    events = {
        f"task-a_run-{r}": pd.DataFrame({"onset": [0.0], "duration": [3.0], "trial_type": ["x"]}) for r in (1, 2, 3)
    }
    made = write_simulated_bids(
        tmp_path / "noise", events, {"x": [1.0]}, subjects=["sub-1"], scanner=scanner, n_volumes=600, signal=0
    )
    inside = np.asarray(nibabel.load(made.mask).dataobj) > 0
    sd = 7 / np.sqrt(8 * np.log(2))
    runs = []
    for run in events:
        values = series(made, "sub-1", run)
        runs.append((values - values.mean(axis=0)) / NOISE_SD)
    noise = np.stack(runs)
    assert noise.std() == pytest.approx(1, abs=0.02)
    for lag in (1, 2, 4):
        assert (noise[:, lag:] * noise[:, :-lag]).mean() == pytest.approx(0.5**lag, abs=0.02)
    assert abs((noise[0] * noise[1]).mean()) < 0.02
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(inside.sum())
    for axis in range(3):
        for steps in (1, 2):
            one = np.moveaxis(number, axis, 0)[:-steps].ravel()
            other = np.moveaxis(number, axis, 0)[steps:].ravel()
            both = (one >= 0) & (other >= 0)
            r = (noise[..., one[both]] * noise[..., other[both]]).mean()
            assert r == pytest.approx(np.exp(-((3.0 * steps) ** 2) / (4 * sd**2)), abs=0.03)


def test_drift_is_slow_and_as_large_as_was_asked_for(tmp_path: Path) -> None:
    events = {
        f"task-a_run-{r}": pd.DataFrame({"onset": [0.0], "duration": [3.0], "trial_type": ["x"]}) for r in range(1, 9)
    }
    scanner = Scanner(grid=SMALL, autocorrelation=0, drift=2.0, smoothness_mm=0)
    made = write_simulated_bids(
        tmp_path / "d", events, {"x": [1.0]}, subjects=["sub-1"], scanner=scanner, n_volumes=200, signal=0
    )
    time = (np.arange(200) + 0.5) / 200
    cosines = np.cos(np.pi * np.outer(time, np.arange(200)))
    cosines /= np.linalg.norm(cosines, axis=0)
    power = np.mean([(cosines.T @ series(made, "sub-1", run) / NOISE_SD) ** 2 for run in events], axis=(0, 2))
    assert power[1:3] == pytest.approx([2.0**2 * 200 / 2 + 1] * 2, rel=0.1)
    assert power[3:].mean() == pytest.approx(1, abs=0.02)


def test_the_loader_of_bids_reads_them(quiet: SimulatedBids) -> None:
    brain = load_bids(str(quiet.folder), mask=str(quiet.mask), design="block", delay_s=4.5)
    assert brain.responses.sizes["unit"] == 2 * len(quiet.region)
    assert set(brain.responses["stimulus"].values) == set(some_features())


# The protocol of ds003720


GENRES = ("blues", "disco", "jazz", "metal")


def clip_features(ids: list[str], n_windows: int = 10, n_features: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    return {i: rng.standard_normal(n_features) + 0.5 * rng.standard_normal((n_windows, n_features)) for i in ids}


@pytest.fixture(scope="module")
def clips() -> dict[str, np.ndarray]:
    return clip_features([f"{g}.{t:05d}" for g in GENRES for t in range(15)])


def write_small(folder: Path, clips: dict[str, np.ndarray], signal: float = 1.0) -> SimulatedBids:
    return write_simulated_ds003720(
        folder, clips, n_subjects=1, n_training_runs=4, n_test_runs=2, n_training_clips=12, n_test_clips=4,
        scanner=Scanner(grid=SMALL, snr=1.0), signal=signal,
    )  # fmt: skip


def test_generated_events_follow_the_protocol(tmp_path: Path, clips: dict[str, np.ndarray]) -> None:
    made = write_small(tmp_path / "small", clips)
    table = read_ds003720_events(made.folder)
    runs = dict(iter(table.groupby(["task", "run"])))
    assert set(runs) == {*(("Training", r) for r in (1, 2, 3, 4)), ("Test", 1), ("Test", 2)}
    played: list[str] = []
    for (task, number), run in runs.items():
        ids = run["stimulus_id"].tolist()
        assert run["onset"].tolist() == [15.0 * i for i in range(len(ids))]
        assert len(ids) == (13 if task == "Training" else 17)
        if task == "Test":
            assert ids[1:] == ids[1:5] * 4
            assert ids[0] == ids[-1]
            assert sorted(run["category"].iloc[1:5]) == sorted(GENRES)
        else:
            assert ids[0] == runs[task, 4 if number == 1 else number - 1]["stimulus_id"].iloc[-1]
            assert run["category"].iloc[1:].value_counts().tolist() == [3] * 4
        played += ids[1:5] if task == "Test" else ids[1:]
        image = nibabel.load(made.folder / f"sub-001/func/sub-001_task-{task}_run-{number:02d}_bold.nii.gz")
        assert image.shape[3] * TR == run["onset"].iloc[-1] + 15
    assert len(played) == len(set(played)) == 4 * 12 + 2 * 4


def identification(folder: Path, clips: dict[str, np.ndarray], made: SimulatedBids) -> float:
    """Decode the features of test clips by ridge regression; how often is the own clip nearer than another?"""
    auditory = np.char.find(made.region, "auditory") > 0
    responses = {s: load_ds003720(str(folder), split=s, mask=str(made.mask)).responses for s in ("train", "test")}
    X, ids = (
        {s: f(r) for s, r in responses.items()}
        for f in (lambda r: r.values[:, auditory], lambda r: r["stimulus"].values)
    )
    Y = {s: np.stack([clips[i].mean(axis=0) for i in ids[s]]) for s in ids}
    mean_x, mean_y = X["train"].mean(axis=0), Y["train"].mean(axis=0)
    centred = X["train"] - mean_x
    dual = np.linalg.solve(centred @ centred.T + 10 * np.eye(len(centred)), Y["train"] - mean_y)
    predicted = (X["test"] - mean_x) @ centred.T @ dual + mean_y
    distance = np.linalg.norm(predicted[:, None] - Y["test"], axis=2)
    n = len(distance)
    return float((np.diag(distance)[:, None] < distance).sum() / (n * (n - 1)))


def test_clips_are_identified_from_images_and_not_without_the_signal(
    tmp_path: Path, clips: dict[str, np.ndarray]
) -> None:
    made, empty = write_small(tmp_path / "signal", clips), write_small(tmp_path / "none", clips, signal=0)
    assert identification(made.folder, clips, made) > 0.85
    # 8 clips: the null's standard deviation is about 0.1.
    assert 0.2 < identification(empty.folder, clips, empty) < 0.8


@pytest.mark.realdata
def test_real_events_are_kept_row_by_row(tmp_path: Path, shared_data: Path) -> None:
    real = shared_data / "ds003720"
    ids = sorted(set(read_ds003720_events(real)["stimulus_id"]))
    assert len(ids) == 540
    made = write_simulated_ds003720(
        tmp_path / "real", clip_features(ids), events=real, n_subjects=1, scanner=Scanner(grid=(6, 6, 6), voxel_mm=4)
    )
    written = sorted((made.folder / "sub-001" / "func").glob("*_events.tsv"))
    assert len(written) == 18
    for path in written:
        original = real / "sub-001" / "func" / path.name
        one, other = (
            list(csv.reader(p.read_text().splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
            for p in (path, original)
        )
        assert one == other
        assert nibabel.load(str(path).replace("_events.tsv", "_bold.nii.gz")).shape == (6, 6, 6, 410)
    brain = load_ds003720(
        str(made.folder), split="test", mask=str(made.mask), atlas=str(made.atlas), reading={"labels": str(made.labels)}
    )
    assert brain.responses.sizes["stimulus"] == 60
    assert set(brain.responses["region"].values) == set(made.region)


@pytest.mark.realdata
def test_shortened_real_runs_follow_the_rule_of_the_whole_ones(tmp_path: Path, shared_data: Path) -> None:
    real = shared_data / "ds003720"
    whole = read_ds003720_events(real)
    whole = whole[whole["subject"] == "sub-001"]
    # The rule for the dummy, which the shortened runs follow, holds for all whole ones.
    runs = {key: run["stimulus_id"].tolist() for key, run in whole.groupby(["task", "run"])}
    for (task, number), run in runs.items():
        assert run[0] == (run if task == "Test" else runs[task, 12 if number == 1 else number - 1])[-1]
    options = {"n_subjects": 2, "n_training_runs": 2, "n_test_runs": 1, "n_training_clips": 3, "n_test_clips": 2}
    features = clip_features(sorted(set(whole["stimulus_id"])))
    made = write_simulated_ds003720(tmp_path / "short", features, events=real, scanner=Scanner(grid=SMALL), **options)
    short = read_ds003720_events(made.folder)
    own = {key: run["stimulus_id"].tolist() for key, run in short.groupby(["subject", "task", "run"])}
    first, second, test = runs["Training", 1][1:4], runs["Training", 2][1:4], runs["Test", 1][1:3]
    for subject in ("sub-001", "sub-002"):
        assert own[subject, "Training", 1] == [second[-1], *first]
        assert own[subject, "Training", 2] == [first[-1], *second]
        assert own[subject, "Test", 1] == [test[-1], *test * 4]
    assert short["start_s"].iloc[1] in whole["start_s"].values


# Bad input


def bad(**changes: object) -> dict[str, object]:
    given = {"events": block_events(1, 3), "features": some_features(n_stimuli=3), "scanner": Scanner(grid=SMALL)}
    return given | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": some_features(n_stimuli=2)}, "no features for 's02', which task-sounds_run-01 plays"),
        ({"features": some_features(n_stimuli=3) | {"s02": [1.0]}}, "with one n_features, found"),
        ({"features": some_features(n_stimuli=3) | {"s02": [np.nan] * 4}}, "features of s02 are NaN or infinite"),
        ({"features": {f"s{i:02d}": [0.0] for i in range(3)}}, "the features are the same at all times"),
        ({"n_volumes": 10}, "lie beyond the end of the run"),
        ({"stimulus": "sound"}, "have no column 'sound' to name stimuli"),
        ({"stimulus": "{trial_type:05d}"}, "the template '{trial_type:05d}' does not fit"),
        ({"events": {"task-a": pd.DataFrame({"onset": [0]})}}, "the events of task-a have no column duration"),
        ({"events": {"task-a": block_events(1, 3)["task-sounds_run-01"].assign(duration=0)}}, "or durations of 0"),
        ({"events": {"music": block_events(1, 3)["task-sounds_run-01"]}}, "'music' is no name that BIDS knows"),
        ({"events": {}}, "at least one run and one subject"),
        ({"subjects": ["one"]}, "'one' is no name that BIDS knows, expected the form 'sub-01'"),
        ({"subjects": ["sub-1", "sub-1"]}, "the name 'sub-1' occurs twice"),
        ({"signal": 1e6}, "leave the range of the images"),
        ({"signal": np.inf}, "the signal must be finite"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_and_leaves_nothing(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(BrainError, match=message):
        write_simulated_bids(tmp_path / "bids", **bad(**changes))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(BrainError, match="is there already; give a new folder or an empty one"):
        write_simulated_bids(tmp_path, **bad())  # type: ignore[arg-type]
    assert (tmp_path / "mine").read_text() == "keep"
    (tmp_path / "empty").mkdir()
    made = write_simulated_bids(tmp_path / "empty", **bad())  # type: ignore[arg-type]
    assert made.mask.is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repetition_time_s": 0}, "repetition_time_s must be 0.1 to 20, found 0"),
        ({"autocorrelation": 1}, "autocorrelation must be 0 to 0.99"),
        ({"snr": float("nan")}, "snr must be 0 to 20, found nan"),
        ({"grid": (4, 10, 10)}, r"each 6 to 128, found \(4, 10, 10\)"),
        ({"hrf": "glovr"}, "no haemodynamic response 'glovr'; did you mean 'glover'"),
    ],
)
def test_a_scanner_out_of_range_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(BrainError, match=message):
        Scanner(**options)  # type: ignore[arg-type]


def test_bad_protocols_are_refused(tmp_path: Path, clips: dict[str, np.ndarray]) -> None:
    with pytest.raises(BrainError, match="60 clips have features, but the runs play 540"):
        write_simulated_ds003720(tmp_path / "a", clips)
    with pytest.raises(BrainError, match="'song' is not named after genre and track"):
        write_simulated_ds003720(tmp_path / "a", {"song": [1.0]})
    with pytest.raises(BrainError, match="n_training_runs must be 1 to 12, found 13"):
        write_simulated_ds003720(tmp_path / "a", clips, n_training_runs=13)
    with pytest.raises(BrainError, match=r"no events file .*sub-001_task-Training_run-01_events.tsv"):
        write_simulated_ds003720(tmp_path / "a", clips, events=tmp_path)
    assert list(tmp_path.iterdir()) == []
