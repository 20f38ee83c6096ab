"""From BIDS folders of small real images to responses: planted values come back, broken folders are named."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nilearn.glm.first_level import glover_hrf

from brainalign.brain import load_brain
from brainalign.brain.bids import load_bids
from brainalign.brain.data import BrainData
from brainalign.errors import BrainError, MeasureError
from brainalign.recipes.runner import compute_recipe
from brainalign.responses import average_repetitions
from brainalign.stimuli import load_stimuli

TR = 2.0
SHAPE = (3, 4, 2)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
IDS = ["alarm", "bell", "cello", "drum", "echo"]
RNG = np.random.default_rng(1)
#: Response of each voxel to each stimulus, in percent of its mean.
PLANTED = RNG.uniform(0.5, 4, size=(len(IDS), np.prod(SHAPE)))
BASELINE = RNG.uniform(500, 1500, size=np.prod(SHAPE))
ORDERS = ([0, 1, 2, 3, 4], [3, 0, 4, 2, 1])
N_VOLUMES = 70


def hemodynamic_series(order: Sequence[int], n_volumes: int = N_VOLUMES, planted: Any = PLANTED) -> Any:
    """Convolve boxes of 4 s, one every 24 s, in steps of 0.02 s: independent of the code's own design matrix."""
    fine = 0.02
    kernel = glover_hrf(TR, oversampling=round(TR / fine))
    series = np.zeros((n_volumes, planted.shape[1]))
    for place, which in enumerate(order):
        box = np.zeros(round(n_volumes * TR / fine))
        box[round((6 + 24 * place) / fine) : round((10 + 24 * place) / fine)] = 1
        response = np.convolve(box, kernel)[: len(box) : round(TR / fine)]
        series += response[:, None] * planted[which]
    return BASELINE * (1 + series / 100)


def write_image(path: Path, series: Any, *, affine: Any = AFFINE, tr: float = TR) -> None:
    image = nibabel.Nifti1Image(series.T.reshape(*SHAPE, -1).astype(np.float32), affine)
    image.header.set_zooms((3, 3, 3, tr))
    image.header.set_xyzt_units("mm", "sec")
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def write_events(path: Path, order: Sequence[int], **columns: Mapping[str, str]) -> None:
    lines = ["\t".join(["onset", "duration", "trial_type", *columns])]
    lines += [
        "\t".join([f"{6 + 24 * i}", "4", IDS[w], *(c[IDS[w]] for c in columns.values())]) for i, w in enumerate(order)
    ]
    path.write_text("\n".join(lines) + "\n")


def write_mask(path: Path, inside: Any = None) -> None:
    values = np.ones(SHAPE) if inside is None else np.reshape(inside, SHAPE)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values.astype(np.uint8), AFFINE), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three subjects with two runs each; subjects differ by a factor, runs by order."""
    root = tmp_path / "lab"
    root.mkdir()
    (root / "dataset_description.json").write_text(
        json.dumps({"Name": "Sounds", "Authors": ["A. One", "B. Two"], "License": "CC0", "BIDSVersion": "1.8.0"})
    )
    (root / "task-listen_bold.json").write_text(json.dumps({"RepetitionTime": TR}))
    (root / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\nsub-03\n")
    kinds = {"kind": {i: "tool" if i in ("alarm", "bell") else "music" for i in IDS}}
    for s in (1, 2, 3):
        for r, order in enumerate(ORDERS, start=1):
            stem = root / f"sub-{s:02d}/func/sub-{s:02d}_task-listen_run-{r}"
            write_image(Path(f"{stem}_bold.nii.gz"), hemodynamic_series(order, planted=s * PLANTED))
            write_events(Path(f"{stem}_events.tsv"), order, **kinds)
    write_mask(root / "mask.nii.gz")
    return root


def file_of(folder: Path, subject: str, run: int, suffix: str) -> Path:
    return folder / subject / "func" / f"{subject}_task-listen_run-{run}_{suffix}"


def load(folder: Path, **options: Any) -> BrainData:
    return load_bids(str(folder), **({"mask": "mask.nii.gz"} | options))


def planted(subject: int, ids: Sequence[str]) -> Any:
    return subject * PLANTED[[IDS.index(i) for i in ids]]


class TestPlanted:
    # With least squares separate, all other sounds share one amplitude, which leaves a little of their differences.
    @pytest.mark.parametrize(("design", "rtol", "atol"), [("glm", 0.02, 0), ("separate", 0, 0.2)])
    def test_a_glm_finds_the_betas(self, folder: Path, design: str, rtol: float, atol: float) -> None:
        brain = load(folder, design=design, stimulus_info={"category": "kind"}, estimation={"noise_model": "ols"})
        assert brain.responses.dims == ("repetition", "stimulus", "unit")
        assert brain.responses.shape == (2, 5, 72)
        assert brain.responses["category"].values.tolist() == ["tool", "tool", "music", "music", "music"]
        for s in (1, 2, 3):
            own = brain.responses[:, :, brain.responses["subject"].values == f"sub-{s:02d}"]
            # Percent of the mean of the run, which lies a little above the baseline.
            expected = planted(s, IDS) * (BASELINE / hemodynamic_series(ORDERS[0], planted=s * PLANTED).mean(axis=0))
            for repetition in own.values:
                np.testing.assert_allclose(repetition, expected, rtol=rtol, atol=atol * s)
        assert brain.warnings == ()

    def test_units_know_subject_and_place(self, folder: Path) -> None:
        inside = np.zeros(SHAPE)
        inside[2, 1, 0] = inside[0, 3, 1] = 1
        write_mask(folder / "two.nii.gz", inside)
        responses = load(folder, mask="two.nii.gz").responses
        assert responses["unit"].values.tolist() == [f"sub-0{s}_v{v}" for s in (1, 2, 3) for v in (0, 1)]
        assert [responses[c].values.tolist()[:2] for c in "ijk"] == [[0, 2], [3, 1], [1, 0]]
        assert responses["y"].values.tolist()[:2] == [9.0, 3.0]
        # Runs are repetitions in order of time, not averaged and not sorted by stimulus.
        voxel = np.ravel_multi_index((2, 1, 0), SHAPE)
        np.testing.assert_allclose(responses.values[1, :, 1], PLANTED[:, voxel], rtol=0.05)

    def test_block_means_wait_for_the_response(self, folder: Path) -> None:
        brain = load(folder, design="block", delay_s=4, drift=None, scaling=None, repetitions="average")
        assert brain.responses.attrs["n_repetitions"] == 2
        expected = np.zeros((5, 24))
        for order in ORDERS:
            series = hemodynamic_series(order)
            for place, which in enumerate(order):
                begin = round((6 + 24 * place + 4) / TR)
                expected[which] += series[begin : begin + 2].mean(axis=0) / 2
        np.testing.assert_allclose(brain.responses.values[:, :24], expected, rtol=1e-5)

    def test_windows_have_ids_of_their_own(self, folder: Path) -> None:
        brain = load(
            folder, design="windows", window_s=2, delay_s=6, drift=None, scaling="zscore", estimation={"step_s": 2},
            stimulus_info={"category": "kind"}, subjects=["01"],
        )  # fmt: skip
        responses = average_repetitions(brain.responses)
        assert responses["stimulus"].values.tolist() == [f"{i}@{w:02d}" for i in IDS for w in (0, 1)]
        assert responses["clip"].values.tolist() == np.repeat(IDS, 2).tolist()
        assert responses["window"].values.tolist() == [0, 1] * 5
        assert responses["category"].values.tolist() == ["tool"] * 4 + ["music"] * 6
        zscores = []
        for order in ORDERS:
            series = hemodynamic_series(order)
            z = (series - series.mean(axis=0)) / series.std(axis=0, ddof=1)
            volume = round((6 + 24 * order.index(2) + 6) / TR)
            zscores.append(z[volume : volume + 2])
        np.testing.assert_allclose(
            responses.sel(stimulus=["cello@00", "cello@01"]), np.mean(zscores, axis=0), atol=2e-3
        )

    def test_discarded_volumes_move_the_onsets(self, folder: Path) -> None:
        options = {"design": "block", "delay_s": 4, "drift": None, "scaling": None}
        whole = load(folder, **options).responses
        fewer = load(folder, **options, estimation={"discard": 3}).responses
        np.testing.assert_array_equal(whole, fewer)
        with pytest.raises(
            BrainError, match=r"sub-01_task-listen_run-1: 'alarm' is played from 6 s on, partly in the 8 s"
        ):
            load(folder, **options, estimation={"discard": 4})
        later = load(folder, **options, estimation={"discard": 5}, repetitions="average").responses
        assert later["stimulus"].values.tolist() == ["bell", "cello", "drum", "echo", "alarm"]

    def test_labels_are_looked_for_in_the_folder_too(self, folder: Path) -> None:
        numbers = np.zeros(SHAPE, dtype=np.int16)
        numbers[0], numbers[1] = 1, 2
        nibabel.save(nibabel.Nifti1Image(numbers, AFFINE), folder / "atlas.nii.gz")
        for s in ("sub-01", "sub-02", "sub-03"):
            (folder / f"{s}_labels.tsv").write_text(f"index\tname\n1\tA1\n2\t{s} STG\n")
        options = {"mask": None, "atlas": "atlas.nii.gz"}
        reading = {"labels": "{subject}_labels.tsv", "average_regions": True}
        responses = load(folder, reading=reading, **options).responses
        assert responses["region"].values.tolist() == [r for s in (1, 2, 3) for r in ("A1", f"sub-0{s} STG")]
        with pytest.raises(BrainError, match=r"no table of labels other\.tsv$"):
            load(folder, reading={"labels": "other.tsv"}, **options)

    def test_an_atlas_gives_regions(self, folder: Path) -> None:
        numbers = np.zeros(SHAPE, dtype=np.int16)
        numbers[0], numbers[1] = 1, 2
        nibabel.save(nibabel.Nifti1Image(numbers, AFFINE), folder / "atlas.nii.gz")
        reading = {"labels": {1: "A1", 2: "STG"}, "average_regions": True}
        responses = load(folder, mask=None, atlas="atlas.nii.gz", reading=reading).responses
        assert responses["region"].values.tolist() == ["A1", "STG"] * 3
        means = BASELINE.reshape(SHAPE)[0].mean(), BASELINE.reshape(SHAPE)[1].mean()
        weighted = (PLANTED * BASELINE).reshape(5, *SHAPE)
        expected = np.stack([weighted[:, n].mean(axis=(1, 2)) / means[n] for n in (0, 1)], axis=1)
        np.testing.assert_allclose(responses.values[0, :, :2], expected, rtol=0.03)

    def test_confounds_are_regressed_out(self, folder: Path) -> None:
        prep = folder / "derivatives/prep"
        motion = np.cumsum(np.random.default_rng(2).normal(size=(N_VOLUMES, 1)), axis=0)
        for r, order in enumerate(ORDERS, start=1):
            stem = prep / f"sub-01/func/sub-01_task-listen_run-{r}"
            series = hemodynamic_series(order) + 20 * motion
            write_image(Path(f"{stem}_space-T1w_desc-preproc_bold.nii.gz"), series)
            write_mask(Path(f"{stem}_space-T1w_desc-brain_mask.nii.gz"), [0] + [1] * 23)
            Path(f"{stem}_desc-confounds_timeseries.tsv").write_text(
                "trans_x\n" + "\n".join(map(str, motion[:, 0])) + "\n"
            )
        options = {"mask": None, "derivatives": "prep", "space": "T1w", "subjects": ["01"]}
        options["estimation"] = {"noise_model": "ols"}
        raw = load(folder, **options).responses
        options["estimation"] = {"noise_model": "ols", "confounds": ["trans_x"]}
        clean = load(folder, **options).responses
        assert clean.sizes["unit"] == 23
        assert clean.attrs["space"] == "T1w"
        errors = [np.abs(r.values - PLANTED[None, :, 1:]).max() for r in (raw, clean)]
        assert errors[1] < 0.15 < errors[0]
        with pytest.raises(BrainError, match=r"has no column 'trans_z'; did you mean 'trans_x'"):
            load(folder, **(options | {"estimation": {"confounds": ["trans_z"]}}))
        path = prep / "sub-01/func/sub-01_task-listen_run-1_desc-confounds_timeseries.tsv"
        rows = path.read_text().splitlines()
        path.write_text("\n".join(["trans_x", "n/a", *rows[2:]]) + "\n")
        with pytest.raises(BrainError, match=r"trans_x are NaN .* estimation=\{confounds_na=\"zero\"\}"):
            load(folder, **options)
        options["estimation"]["confounds_na"] = "zero"
        filled = load(folder, **options).responses
        path.write_text("\n".join(["trans_x", "0", *rows[2:]]) + "\n")
        np.testing.assert_array_equal(filled, load(folder, **options).responses)
        path.write_text("\n".join(["trans_x", rows[1], "n/a", *rows[3:]]) + "\n")
        with pytest.raises(BrainError, match="trans_x are NaN"):
            load(folder, **options)

    def test_surfaces(self, folder: Path) -> None:
        func = folder / "derivatives/prep/sub-01/func"
        func.mkdir(parents=True)
        for r, order in enumerate(ORDERS, start=1):
            series = hemodynamic_series(order).astype(np.float32)
            stem = f"{func}/sub-01_task-listen_run-{r}"
            for letter, columns in (("L", slice(0, 10)), ("R", slice(10, 20))):
                arrays = [nibabel.gifti.GiftiDataArray(v[columns], intent="NIFTI_INTENT_TIME_SERIES") for v in series]
                nibabel.save(nibabel.GiftiImage(darrays=arrays), f"{stem}_hemi-{letter}_space-tiny_bold.func.gii")
            vertices = nibabel.cifti2.BrainModelAxis.from_surface(range(24), 30, "CortexLeft")
            axes = (nibabel.cifti2.SeriesAxis(0, TR, len(series)), vertices)
            nibabel.save(nibabel.Cifti2Image(series, axes), f"{stem}_space-fsLR_bold.dtseries.nii")
        options = {"mask": None, "derivatives": "prep", "estimation": {"noise_model": "ols"}, "subjects": ["01"]}
        both = load(folder, space="tiny", reading={"n_vertices": [10, 10]}, **options).responses
        assert both["unit"].values.tolist()[::10] == ["sub-01_L_v0", "sub-01_R_v0"]
        assert both["hemisphere"].values.tolist() == ["left"] * 10 + ["right"] * 10
        cifti = load(folder, space="fsLR", **options).responses
        assert cifti["vertex"].values.tolist() == list(range(24))
        volume = load(folder, subjects=["01"], estimation={"noise_model": "ols"}).responses
        np.testing.assert_allclose(both, volume[:, :, :20], rtol=1e-4)
        np.testing.assert_allclose(cifti, volume, rtol=1e-4)
        with pytest.raises(BrainError, match=r"reading: no option 'resample'; known: "):
            load(folder, space="fsLR", reading={"resample": True}, **options)
        with pytest.raises(BrainError, match=r"^mask and atlas are for volumes; .*vertex_mask=\{left=..., right=...\}"):
            load(folder, space="fsLR", **(options | {"mask": "mask.nii.gz"}))
        for letter, kept in (("L", [2, 5]), ("R", [9])):
            inside = nibabel.gifti.GiftiDataArray(np.isin(np.arange(10), kept).astype(np.float32))
            nibabel.save(nibabel.GiftiImage(darrays=[inside]), folder / f"ear.{letter}.shape.gii")
        reading = {"n_vertices": [10, 10], "vertex_mask": {"left": "ear.L.shape.gii", "right": "ear.R.shape.gii"}}
        some = load(folder, space="tiny", reading=reading, **options).responses
        np.testing.assert_array_equal(some, both[:, :, [2, 5, 19]])
        with pytest.raises(BrainError, match="reading: no option 'vertex_mask'"):
            load(folder, reading={"vertex_mask": {"left": "ear.L.shape.gii"}})

    def test_sessions_are_more_repetitions(self, folder: Path) -> None:
        for s in ("a", "b"):
            stem = folder / f"sub-04/ses-{s}/func/sub-04_ses-{s}_task-listen"
            write_image(Path(f"{stem}_bold.nii"), hemodynamic_series(ORDERS[0]))
            write_events(Path(f"{stem}_events.tsv"), ORDERS[0])
        assert load(folder, subjects=["sub-04"]).responses.sizes["repetition"] == 2

    def test_registered_with_origin_and_version(self, folder: Path) -> None:
        brain = load_brain("bids", path=str(folder), mask=str(folder / "mask.nii.gz"), subjects=["01"])
        assert (brain.name, brain.citation, brain.licence) == ("lab", "A. One, B. Two. Sounds", "CC0")
        assert brain.version == load(folder, subjects=["01"]).version
        assert brain.version != load(folder, subjects=["02"]).version
        assert brain.responses.attrs["source"] == "lab"


class TestRepetitions:
    def test_unequal_numbers_are_averaged_with_a_note(self, folder: Path) -> None:
        for s in ("sub-01", "sub-02", "sub-03"):
            write_events(file_of(folder, s, 2, "events.tsv"), [3, 0, 4, 2, 3])
        brain = load(folder)
        assert brain.responses.dims == ("stimulus", "unit")
        assert brain.warnings == ("stimuli were presented 1 to 2 times: repetitions are averaged",)
        with pytest.raises(BrainError, match=r"stimuli were presented 1, 2 times, so repetitions cannot be kept apart"):
            load(folder, repetitions="keep")
        assert load(folder, repetitions="average").warnings == ()

    def test_the_average_is_that_of_the_repetitions(self, folder: Path) -> None:
        apart, mean = load(folder), load(folder, repetitions="average")
        np.testing.assert_allclose(apart.responses.mean("repetition"), mean.responses, rtol=1e-6)


class TestBroken:
    def test_missing_volumes_name_the_run(self, folder: Path) -> None:
        write_image(file_of(folder, "sub-02", 2, "bold.nii.gz"), hemodynamic_series(ORDERS[1])[:50])
        message = (
            r"^sub-02_task-listen_run-2: sub-02_task-listen_run-2_events.tsv: 1 events lie beyond the end of the run: "
            r"'bell' ends at 106 s, the images at 100 s; volumes are missing, .*on_error='skip'"
        )
        with pytest.raises(BrainError, match=message):
            load(folder)

    def test_fewer_volumes_than_other_runs(self, folder: Path) -> None:
        write_image(file_of(folder, "sub-02", 2, "bold.nii.gz"), hemodynamic_series(ORDERS[1])[:64])
        with pytest.raises(
            BrainError, match=r"^sub-02_task-listen_run-2: 64 volumes, but runs whose .* 106 s too have 70"
        ):
            load(folder)
        assert load(folder, allow_missing_volumes=True).responses.sizes["unit"] == 72

    def test_one_broken_subject_and_the_others_go_on(self, folder: Path) -> None:
        path = file_of(folder, "sub-02", 2, "bold.nii.gz")
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(BrainError, match=r"sub-02_task-listen_run-2"):
            load(folder)
        brain = load(folder, on_error="skip")
        assert set(brain.responses["subject"].values) == {"sub-01", "sub-03"}
        (warning,) = brain.warnings
        assert warning.startswith("sub-02 is left out: sub-02_task-listen_run-2: sub-02_task-listen_run-2_bold.nii.gz")
        np.testing.assert_array_equal(
            brain.responses.values[..., 24:], load(folder, subjects=["sub-03"]).responses.values
        )

    def test_all_broken(self, folder: Path) -> None:
        for path in folder.glob("sub-*/func/*run-1_bold.nii.gz"):
            path.write_bytes(b"no image")
        with pytest.raises(
            BrainError, match=r"^no subject is left: sub-01_task-listen_run-1: .*cannot be read as an image"
        ):
            load(folder, on_error="skip")

    @pytest.mark.parametrize(
        ("suffix", "content", "message"),
        [
            ("events.tsv", None, "sub-03_task-listen_run-1: there is no events file"),
            ("events.tsv", "onset\tduration\n0\t1\n", "has neither stim_file nor trial_type"),
            ("events.tsv", "onset\tduration\ttrial_type\n0\t4\techo\n2\t4\tbell\n", "'bell' begins at 2 s, before"),
            ("events.tsv", "onset\tduration\ttrial_type\n0\t4\tfax\n", "unknown condition 'fax'"),
            ("bold.json", '{"RepetitionTime": 0}', "sub-03_task-listen_run-1: its sidecar says RepetitionTime = 0"),
            ("bold.json", '{"RepetitionTime": 1.5}', "a volume every 2 s, its sidecar says RepetitionTime = 1.5 s"),
            ("bold.json", "{", "is not JSON"),
        ],
    )  # fmt: skip
    def test_files_that_do_not_fit(self, folder: Path, suffix: str, content: str | None, message: str) -> None:
        path = file_of(folder, "sub-03", 1, suffix)
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        with pytest.raises(BrainError, match=message):
            load(folder, stimuli=IDS)
        brain = load(folder, stimuli=IDS, on_error="skip")
        assert set(brain.responses["subject"].values) == {"sub-01", "sub-02"}
        assert "sub-03 is left out" in brain.warnings[0]
        assert message.split(" says")[0] in brain.warnings[0]

    def test_a_subject_with_other_stimuli(self, folder: Path) -> None:
        for r in (1, 2):
            write_events(file_of(folder, "sub-01", r, "events.tsv"), [0, 1, 2, 3, 3])
        with pytest.raises(BrainError, match=r"sub-01: its stimuli are not those of the others: it lacks echo"):
            load(folder)
        assert set(load(folder, on_error="skip").responses["subject"].values) == {"sub-02", "sub-03"}

    def test_two_subjects_with_other_stimuli(self, folder: Path) -> None:
        """Neither is the majority: the one with the odd condition must not be taken for the standard."""
        for r in (1, 2):
            path = file_of(folder, "sub-01", r, "events.tsv")
            path.write_text(path.read_text().replace("bell", "bel"))
        both = {"subjects": ["01", "02"]}
        tie = (
            r"no majority tells which are right: sub-01 alone: 'bel'; sub-02 alone: 'bell'; say with stimuli= which ids"
        )
        for on_error in ("raise", "skip"):
            with pytest.raises(BrainError, match=tie):
                load(folder, on_error=on_error, **both)
        known = (
            r"sub-01: its events name the condition 'bel', which is not in the stimulus set \(did you mean 'bell'\?\)"
        )
        with pytest.raises(BrainError, match=known):
            load(folder, stimulus_set=IDS, **both)
        for ids in ({"stimulus_set": IDS}, {"stimuli": IDS}):
            brain = load(folder, on_error="skip", **both, **ids)
            assert set(brain.responses["subject"].values) == {"sub-02"}
            assert brain.warnings[0].count("sub-01") == brain.warnings[0].count("sub-01_task") + 1
        # A set may hold some of the sounds; what all subjects heard beside them is no error.
        some = load(folder, stimulus_set=IDS[:2], subjects=["02", "03"]).responses
        assert some["stimulus"].values.tolist() == IDS

    def test_a_recipe_knows_the_stimuli(self, folder: Path, tmp_path: Path) -> None:
        """Of two subjects, the one whose events name what is not in the recipe's set is the odd one."""
        sounds = load_stimuli("demo").ids[: len(IDS)]
        for path in folder.glob("sub-*/func/*_events.tsv"):
            text = path.read_text()
            for own, sound in zip(IDS, sounds, strict=True):
                text = text.replace(f"\t{own}\t", f"\t{sound}\t")
            path.write_text(text.replace(sounds[1], "typo") if "sub-01" in path.name else text)
        recipe = tmp_path / "study.toml"
        recipe.write_text(
            'title = "T"\nquestion = "Q?"\nseed = 0\n[stimuli]\nset = "demo"\n'
            f"ids = {json.dumps(sounds)}\n[[models]]\nname = 'logmel'\n"
            '[brain]\nname = "bids"\npath = "lab"\nmask = "mask.nii.gz"\nsubjects = ["01", "02"]\n'
            '[[measures]]\nname = "reliability"\n'
        )
        with pytest.raises(
            BrainError, match=r"^sub-01: its events name the condition 'typo', .* not in the stimulus set"
        ):
            compute_recipe(recipe)
        recipe.write_text(recipe.read_text().replace("subjects", 'on_error = "skip"\nsubjects'))
        with pytest.raises(MeasureError, match="reliability needs at least 10 stimuli, found 5"):
            compute_recipe(recipe)

    @pytest.mark.parametrize("derivatives", [None, "prep"])
    def test_events_without_an_image(self, folder: Path, derivatives: str | None) -> None:
        """A subject does not vanish for want of an image, neither of raw data nor of derivatives."""
        if derivatives:
            for s in ("sub-02", "sub-03"):
                for r, order in enumerate(ORDERS, start=1):
                    write_image(file_of(folder / "derivatives/prep", s, r, "bold.nii.gz"), hemodynamic_series(order))
        else:
            for path in (folder / "sub-01/func").glob("*_bold.nii.gz"):
                path.unlink()
        options = {"derivatives": derivatives}
        with pytest.raises(
            BrainError,
            match=r"^sub-01_task-listen_run-1 has events but no image that fits in .*on_error='skip' goes on",
        ):
            load(folder, **options)
        brain = load(folder, on_error="skip", **options)
        assert set(brain.responses["subject"].values) == {"sub-02", "sub-03"}
        (warning,) = brain.warnings
        assert warning.startswith("sub-01 is left out: sub-01_task-listen_run-1 has events but no image that fits in ")
        assert load(folder, subjects=["02", "03"], **options).warnings == ()

    def test_a_run_whose_images_are_missing_in_all_subjects(self, folder: Path) -> None:
        for path in folder.glob("sub-*/func/*run-1_bold.nii.gz"):
            path.unlink()
        with pytest.raises(BrainError, match=r"^sub-01_task-listen_run-1 has events but no image .* is to be read$"):
            load(folder)
        with pytest.raises(BrainError, match=r"^no subject is left: sub-01_task-listen_run-1 has events but no image"):
            load(folder, on_error="skip")
        assert load(folder, entities={"run": "2"}).responses.dims == ("stimulus", "unit")

    def test_what_is_wrong_for_all_is_not_blamed_on_one(self, folder: Path) -> None:
        for options in ({"mask": "other.nii.gz"}, {"stimulus": "knd"}, {"stimuli": ["fax"]}):
            with pytest.raises(BrainError) as caught:
                load(folder, **options)
            assert "on_error" not in str(caught.value)
        with pytest.raises(BrainError, match=r"^no subject is left: no image other.nii.gz$"):
            load(folder, mask="other.nii.gz", on_error="skip")

    def test_a_condition_to_ignore_that_is_nowhere(self, folder: Path) -> None:
        for path in folder.glob("sub-*/func/*_events.tsv"):
            path.write_text(path.read_text() + "130\t4\trest\tn/a\n")
        assert load(folder, ignore=["rest"]).responses.sizes["stimulus"] == 5
        with pytest.raises(BrainError, match=r"ignore names 'rset', which no events hold; did you mean 'rest'"):
            load(folder, ignore=["rset"])

    def test_a_subject_with_fewer_runs_and_one_without_images(self, folder: Path) -> None:
        for suffix in ("bold.nii.gz", "events.tsv"):
            file_of(folder, "sub-01", 2, suffix).unlink()
        with (folder / "participants.tsv").open("a") as stream:
            stream.write("sub-99\n")
        assert load(folder).warnings == (
            "sub-01 has 1 runs, others 2",
            "sub-99 is in participants.tsv, but has no images",
            "stimuli were presented 1 to 2 times: repetitions are averaged",
        )

    def test_image_and_mask_of_different_grids(self, folder: Path) -> None:
        shifted = AFFINE.copy()
        shifted[0, 3] = 1.5
        write_image(file_of(folder, "sub-03", 1, "bold.nii.gz"), hemodynamic_series(ORDERS[0]), affine=shifted)
        with pytest.raises(
            BrainError, match=r"sub-03_task-listen_run-1: .* is on the grid .*reading=\{resample=true\}"
        ):
            load(folder)
        # Half a voxel further, the 8 voxels of the first slice lie outside the image.
        brain = load(folder, reading={"resample": True})
        assert brain.warnings == ("sub-03: 8 of 24 units are NaN or constant in a run and are left out",)
        own = brain.responses[:, :, brain.responses["subject"].values == "sub-03"]
        assert set(own["i"].values.tolist()) == {1, 2}

    def test_constant_voxels_are_left_out_of_their_subject(self, folder: Path) -> None:
        series = hemodynamic_series(ORDERS[1])
        series[:, 5], series[0, 7] = 3.0, np.nan
        write_image(file_of(folder, "sub-02", 2, "bold.nii.gz"), series)
        brain = load(folder)
        assert brain.warnings == ("sub-02: 2 of 24 units are NaN or constant in a run and are left out",)
        assert brain.responses.sizes["unit"] == 70
        assert not {"sub-02_v05", "sub-02_v07"} & set(brain.responses["unit"].values)

    def test_events_that_contradict_each_other(self, folder: Path) -> None:
        write_events(file_of(folder, "sub-01", 1, "events.tsv"), ORDERS[0], kind=dict.fromkeys(IDS, "music"))
        with pytest.raises(BrainError, match=r"the events say different things of 'alarm': kind is 'music', 'tool'"):
            load(folder, stimulus_info={"category": "kind"})
        with pytest.raises(BrainError, match=r"events.tsv has no column 'kin'; did you mean 'kind'"):
            load(folder, stimulus_info={"category": "kin"})

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"design": "glmm"}, "no design 'glmm'; did you mean 'glm'"),
            ({"drift": "cosin"}, "no drift 'cosin'; did you mean 'cosine'"),
            ({"scaling": "z-score"}, "no scaling 'z-score'; did you mean 'zscore'"),
            ({"repetitions": "kep"}, "no way with repetitions 'kep'; did you mean 'keep'"),
            ({"window_s": 2.0}, "window_s is an option of design='windows', not of 'glm'"),
            ({"delay_s": 4.5}, "delay_s is an option of design='block' or 'windows', not of 'glm'"),
            ({"design": "block", "delay_s": -1}, "delay_s must be a number of seconds, at least 0, found -1"),
            ({"design": "block", "delay_s": float("nan")}, "delay_s must be a number .*, at least 0, found nan"),
            ({"design": "block", "delay_s": "4,5"}, "delay_s must be a number of seconds, at least 0, found '4,5'"),
            ({"design": "windows", "estimation": {"step_s": "a"}}, "step_s must be a number .*, above 0, found 'a'"),
            ({"design": "windows", "window_s": 0}, "window_s must be a number of seconds, above 0, found 0"),
            ({"estimation": {"silence": "rest"}}, "silence is an option of design='block', not of 'glm'"),
            ({"estimation": {"confounds_na": "0"}}, "no way with confounds_na '0'"),
            ({"drift": "median"}, "a GLM has regressors for drifts"),
            ({"estimation": {"hfr": "spm"}}, "estimation: no option 'hfr'; did you mean 'hrf'"),
            ({"reading": {"radius": 3}}, "reading: no option 'radius'; did you mean 'radius_mm'"),
            ({"on_error": "pass"}, "on_error must be 'raise' or 'skip'"),
            ({"estimation": {"discard": 1.5}}, "a whole number of volumes; found 1.5"),
            ({"mask": None}, "sub-01: say which voxels to read"),
            ({"mask": "brain"}, "there is no .*_desc-brain_mask beside the image of sub-01_task-listen_run-1"),
            ({"mask": "other.nii.gz"}, "no image other.nii.gz"),
            ({"estimation": {"discard": -1}}, "discard must not be negative"),
            ({"estimation": {"discard": 60}}, "no event is left after the first 120 s"),
            ({"estimation": {"confounds": ["x"]}}, "there is no .*_desc-confounds_timeseries.tsv"),
        ],
    )  # fmt: skip
    def test_options_that_do_not_fit(self, folder: Path, options: dict[str, Any], message: str) -> None:
        with pytest.raises(BrainError, match=message):
            load(folder, **options)
