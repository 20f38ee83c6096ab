"""Maps that were written come back as responses, of the right stimulus, subject and place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from brainalign import BrainData, load_brain
from brainalign.brain.from_images import load_images
from brainalign.brain.geometry import volume_image
from brainalign.errors import BrainError
from brainalign.responses import load_responses, save_responses, select_units

SHAPE = (5, 6, 4)
AFFINE = np.array([[-3.0, 0, 0, 12], [0, 3, 0, -15], [0, 0, 3, -9], [0, 0, 0, 1]])
STIMULI = ["rain", "dog", "song"]
SUBJECTS = ["sub-01", "sub-02"]

Planted = dict[tuple[str, str, str], np.ndarray]


@pytest.fixture
def mask(tmp_path: Path) -> str:
    inside = np.random.default_rng(9).random(SHAPE) < 0.4
    nibabel.save(nibabel.Nifti1Image(inside.astype(np.uint8), AFFINE), tmp_path / "mask.nii.gz")
    return str(tmp_path / "mask.nii.gz")


def planted(repetitions: tuple[str, ...] = ("1", "2")) -> Planted:
    rng = np.random.default_rng(4)
    keys = [(sub, stim, rep) for sub in SUBJECTS for rep in repetitions for stim in STIMULI]
    return {key: rng.normal(size=SHAPE).astype(np.float32) for key in keys}


def save(values: np.ndarray, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), path)


@pytest.fixture
def study(tmp_path: Path) -> tuple[pd.DataFrame, Planted]:
    """Write one file per subject, stimulus and repetition; the rows of the table are shuffled."""
    truth = planted()
    rows = []
    for sub, stim, rep in truth:
        save(truth[sub, stim, rep], tmp_path / sub / f"{stim}_{rep}.nii.gz")
        rows.append((stim, f"{sub}/{stim}_{rep}.nii.gz", sub, rep, "animal" if stim == "dog" else "other"))
    table = pd.DataFrame(rows, columns=["stimulus_id", "file", "subject", "repetition", "category"])
    first, rest = table.iloc[:3], table.iloc[3:]
    return pd.concat([first, rest.sample(frac=1, random_state=0)]), truth


@pytest.fixture
def write(tmp_path: Path) -> Callable[[pd.DataFrame], str]:
    def writer(table: pd.DataFrame, name: str = "maps.csv") -> str:
        table.to_csv(tmp_path / name, index=False, sep="\t" if name.endswith("tsv") else ",")
        return str(tmp_path / name)

    return writer


def inside(mask: str) -> np.ndarray:
    return np.asarray(nibabel.load(mask).dataobj) != 0


class TestVolumes:
    def test_a_file_per_map(
        self, study: tuple[pd.DataFrame, Planted], mask: str, write: Callable[..., str], tmp_path: Path
    ) -> None:
        table, truth = study
        brain = load_brain("images", path=write(table), mask=mask, citation="Lab 2026", licence="CC0")
        responses = brain.responses
        assert responses.dims == ("repetition", "stimulus", "unit")
        assert responses["stimulus"].values.tolist() == STIMULI
        assert responses["category"].values.tolist() == ["other", "animal", "other"]
        for subject in SUBJECTS:
            own = select_units(responses, subject=subject)
            for r, rep in enumerate(["1", "2"]):
                for stim in STIMULI:
                    expected = truth[subject, stim, rep][inside(mask)]
                    np.testing.assert_array_equal(own.isel(repetition=r).sel(stimulus=stim), expected)
        assert (brain.name, brain.citation, brain.licence, brain.warnings) == ("maps", "Lab 2026", "CC0", ())
        back = load_responses(save_responses(responses, tmp_path / "saved.nc"))
        image = volume_image(select_units(back, subject="sub-02"), back.sel(stimulus="dog")[0][-inside(mask).sum() :])
        np.testing.assert_array_equal(
            np.asarray(image.dataobj)[inside(mask)], truth["sub-02", "dog", "1"][inside(mask)]
        )

    def test_without_repetitions_and_subjects(
        self, study: tuple[pd.DataFrame, Planted], mask: str, write: Callable[..., str]
    ) -> None:
        table, truth = study
        one = table[(table["subject"] == "sub-02") & (table["repetition"] == "2")]
        brain = load_images(write(one.drop(columns=["subject", "repetition"]), "maps.tsv"), mask=mask)
        assert brain.responses.dims == ("stimulus", "unit")
        assert set(brain.responses["subject"].values) == {"sub-01"}
        for stim in STIMULI:
            np.testing.assert_array_equal(brain.responses.sel(stimulus=stim), truth["sub-02", stim, "2"][inside(mask)])

    def test_one_image_and_the_order_of_its_volumes(self, mask: str, write: Callable[..., str], tmp_path: Path) -> None:
        truth = planted(("1",))
        for sub in SUBJECTS:
            save(np.stack([truth[sub, s, "1"] for s in STIMULI], axis=-1), tmp_path / f"{sub}_betas.nii.gz")
        table = pd.DataFrame({"stimulus_id": STIMULI * 2, "subject": ["01"] * 3 + ["02"] * 3})
        brain = load_images(write(table), image="{subject}_betas.nii.gz", mask=mask)
        for sub in SUBJECTS:
            own = select_units(brain.responses, subject=sub)
            for stim in STIMULI:
                np.testing.assert_array_equal(own.sel(stimulus=stim), truth[sub, stim, "1"][inside(mask)])
        numbered = table.assign(volume=["2", "0", "1"] * 2)
        brain = load_images(write(numbered), image="{subject}_betas.nii.gz", mask=mask)
        own = select_units(brain.responses, subject="sub-01")
        np.testing.assert_array_equal(own.sel(stimulus="rain"), truth["sub-01", "song", "1"][inside(mask)])
        with pytest.raises(BrainError, match=r"has 3 volumes for 2 rows of the table; add a column 'volume'"):
            load_images(write(table[table["stimulus_id"] != "dog"]), image="{subject}_betas.nii.gz", mask=mask)
        with pytest.raises(BrainError, match="has 3 volumes, but the table asks for volume 7"):
            load_images(write(table.assign(volume="7")), image="{subject}_betas.nii.gz", mask=mask)

    def test_means_of_regions(
        self, study: tuple[pd.DataFrame, Planted], write: Callable[..., str], tmp_path: Path
    ) -> None:
        table, truth = study
        numbers = np.random.default_rng(1).integers(0, 3, SHAPE).astype(np.int16)
        save(numbers, tmp_path / "atlas.nii.gz")
        reading = {"labels": {1: "HG", 2: "PT"}, "average_regions": True}
        brain = load_images(write(table), atlas=str(tmp_path / "atlas.nii.gz"), reading=reading)
        assert brain.responses["unit"].values.tolist() == ["sub-01_HG", "sub-01_PT", "sub-02_HG", "sub-02_PT"]
        np.testing.assert_allclose(
            brain.responses.sel(stimulus="song", unit="sub-02_PT")[0],
            truth["sub-02", "song", "1"][numbers == 2].mean(),
            rtol=1e-5,
        )

    def test_masks_of_single_subjects(self, write: Callable[..., str], tmp_path: Path) -> None:
        affines = {"sub-01": AFFINE, "sub-02": np.diag([2.0, 2, 2, 1])}
        rows = []
        for i, (sub, affine) in enumerate(affines.items()):
            data = np.random.default_rng(i).normal(size=(3 + i, 4, 4, 3)).astype(np.float32)
            nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / f"{sub}.nii")
            nibabel.save(nibabel.Nifti1Image(np.ones(data.shape[:3], np.uint8), affine), tmp_path / f"{sub}_mask.nii")
            rows += [(s, f"{sub}.nii", sub) for s in STIMULI]
        table = pd.DataFrame(rows, columns=["stimulus_id", "file", "subject"])
        brain = load_images(write(table), mask=str(tmp_path / "{subject}_mask.nii"), reading={"space": "T1w"})
        assert brain.responses.attrs["grid_sub-02"] == [4, 4, 4]
        back = load_responses(save_responses(brain.responses, tmp_path / "saved.nc"))
        own = select_units(back, subject="sub-02")
        np.testing.assert_array_equal(volume_image(own, own[0]).affine, affines["sub-02"])

    def test_the_version_follows_the_values(
        self, study: tuple[pd.DataFrame, Planted], mask: str, write: Callable[..., str], tmp_path: Path
    ) -> None:
        path = write(study[0])
        version = load_images(path, mask=mask).version
        assert load_images(path, mask=mask).version == version
        save(study[1]["sub-02", "dog", "1"] + 1, tmp_path / "sub-02" / "dog_1.nii.gz")
        assert load_images(path, mask=mask).version != version


class TestSurfaces:
    def gifti(self, values: np.ndarray, path: Path) -> None:
        array = nibabel.gifti.GiftiDataArray(values, intent="NIFTI_INTENT_SHAPE")
        nibabel.save(nibabel.GiftiImage(darrays=[array]), path)

    def load(self, folder: Path, write: Callable[..., str], **options: object) -> tuple[BrainData, dict]:
        truth = {}
        rows = []
        for i, stim in enumerate(STIMULI):
            for hemisphere, short in (("left", "lh"), ("right", "rh")):
                values = np.random.default_rng(10 * i + len(short + hemisphere)).normal(size=10242).astype(np.float32)
                self.gifti(values, folder / f"{short}.{stim}.func.gii")
                truth[hemisphere, stim] = values
                rows.append((stim, f"{short}.{stim}.func.gii", short))
        table = pd.DataFrame(rows, columns=["stimulus_id", "file", "hemisphere"])
        return load_images(write(table.sample(frac=1, random_state=1)), **options), truth

    def test_pairs_of_hemispheres(self, tmp_path: Path, write: Callable[..., str]) -> None:
        brain, truth = self.load(tmp_path, write)
        for (hemisphere, stim), values in truth.items():
            own = select_units(brain.responses, hemisphere=hemisphere)
            np.testing.assert_array_equal(own.sel(stimulus=stim), values)
        assert brain.responses["unit"].values[0] == "sub-01_L_v00000"
        assert brain.responses.attrs["space"] == "fsaverage5"

    def test_a_mask_of_vertices(self, tmp_path: Path, write: Callable[..., str]) -> None:
        keep = np.zeros(10242, bool)
        keep[[3, 900]] = True
        brain, truth = self.load(tmp_path, write, mask={"left": keep, "right": keep})
        assert brain.responses.sizes["unit"] == 4
        np.testing.assert_array_equal(brain.responses.sel(stimulus="dog")[:2], truth["left", "dog"][keep])

    def test_bad_input(self, tmp_path: Path, write: Callable[..., str]) -> None:
        with pytest.raises(BrainError, match=r"atlas is no option for files such as lh.*; known: 'average_regions', "):
            self.load(tmp_path, write, atlas="x.nii")
        with pytest.raises(
            BrainError, match=r"hemispheres is no option for files .*; name the hemispheres in the table"
        ):
            self.load(tmp_path, write, reading={"space": "fsaverage5", "hemispheres": ["left"]})
        with pytest.raises(BrainError, match=r"has a value of the wrong kind: mask=3"):
            self.load(tmp_path, write, mask=3)
        table = pd.DataFrame({"stimulus_id": STIMULI, "file": [f"lh.{s}.func.gii" for s in STIMULI]})
        with pytest.raises(BrainError, match="name it in a column 'hemisphere'"):
            load_images(write(table))
        with pytest.raises(BrainError, match="'left' and 'right', found 'both'"):
            load_images(write(table.assign(hemisphere="both")))


class TestCifti:
    def test_maps_of_one_file(self, tmp_path: Path, write: Callable[..., str]) -> None:
        from nibabel.cifti2 import BrainModelAxis, Cifti2Image, ScalarAxis

        axis = BrainModelAxis.from_surface(np.array([4, 9, 11]), 32492, "CortexLeft")
        data = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
        nibabel.save(Cifti2Image(data, header=(ScalarAxis(STIMULI), axis)), tmp_path / "betas.dscalar.nii")
        brain = load_images(write(pd.DataFrame({"stimulus_id": STIMULI})), image="betas.dscalar.nii")
        np.testing.assert_array_equal(brain.responses.values, data)
        assert brain.responses["vertex"].values.tolist() == [4, 9, 11]
        with pytest.raises(
            BrainError, match=r"^sub-01: mask is no option for files such as betas.dscalar.nii; known: "
        ):
            load_images(write(pd.DataFrame({"stimulus_id": STIMULI})), image="betas.dscalar.nii", mask="m.nii")


class TestIncomplete:
    def test_a_subject_without_a_stimulus(
        self, study: tuple[pd.DataFrame, Planted], mask: str, write: Callable[..., str]
    ) -> None:
        table, _ = study
        path = write(table[~((table["subject"] == "sub-02") & (table["file"].str.contains("dog_2")))])
        with pytest.raises(BrainError, match="sub-02: no map for 'dog' in repetition 2; on_error='skip'"):
            load_images(path, mask=mask)
        brain = load_images(path, mask=mask, on_error="skip")
        assert set(brain.responses["subject"].values) == {"sub-01"}
        assert brain.warnings == ("sub-02 is left out: no map for 'dog' in repetition 2",)

    def test_a_subject_with_a_damaged_file(
        self, study: tuple[pd.DataFrame, Planted], mask: str, write: Callable[..., str], tmp_path: Path
    ) -> None:
        file = tmp_path / "sub-01" / "song_1.nii.gz"
        file.write_bytes(file.read_bytes()[:200])
        with pytest.raises(BrainError, match=r"sub-01: song_1.nii.gz"):
            load_images(write(study[0]), mask=mask)
        brain = load_images(write(study[0]), mask=mask, on_error="skip")
        assert set(brain.responses["subject"].values) == {"sub-02"}
        assert "song_1.nii.gz" in brain.warnings[0]
        whole = load_images(write(study[0][study[0]["subject"] == "sub-02"]), mask=mask)
        order = brain.responses["stimulus"].values
        np.testing.assert_array_equal(whole.responses.sel(stimulus=order), brain.responses)

    def test_another_grid(
        self, study: tuple[pd.DataFrame, Planted], mask: str, write: Callable[..., str], tmp_path: Path
    ) -> None:
        finer = nibabel.Nifti1Image(np.zeros((7, 7, 7), np.float32), np.eye(4))
        nibabel.save(finer, tmp_path / "sub-02" / "dog_1.nii.gz")
        with pytest.raises(
            BrainError, match=r"sub-02: dog_1.nii.gz is on the grid 7 x 7 x 7 .* reading={resample=true}"
        ):
            load_images(write(study[0]), mask=mask)

    def test_no_subject_is_left(
        self, study: tuple[pd.DataFrame, Planted], write: Callable[..., str], tmp_path: Path
    ) -> None:
        with pytest.raises(BrainError, match="no subject could be read: sub-01 is left out: no image"):
            load_images(write(study[0]), mask=str(tmp_path / "absent.nii"), on_error="skip")

    def test_units_that_are_nan_or_constant(
        self, study: tuple[pd.DataFrame, Planted], mask: str, write: Callable[..., str], tmp_path: Path
    ) -> None:
        table, truth = study
        first, second = np.argwhere(inside(mask))[[0, 7]]
        for (sub, stim, rep), values in truth.items():
            if sub == "sub-01":
                values[tuple(second)] = 0
                if (stim, rep) == ("dog", "1"):
                    values[tuple(first)] = np.nan
                save(values, tmp_path / sub / f"{stim}_{rep}.nii.gz")
        with pytest.raises(BrainError, match=r"sub-01: 2 of \d+ units are NaN in some map .*: v00, v07; give a mask"):
            load_images(write(table), mask=mask)
        brain = load_images(write(table), mask=mask, bad_units="drop")
        n = int(inside(mask).sum())
        assert brain.warnings == (f"sub-01: 2 of {n} units are NaN in some map or constant over all, and left out",)
        kept = np.delete(np.argwhere(inside(mask)), [0, 7], axis=0)
        own = select_units(brain.responses, subject="sub-01")
        np.testing.assert_array_equal(np.stack([own[c].values for c in "ijk"], axis=1), kept)
        np.testing.assert_array_equal(own.sel(stimulus="rain")[1], truth["sub-01", "rain", "2"][tuple(kept.T)])
        assert select_units(brain.responses, subject="sub-02").sizes["unit"] == n


class TestBadTables:
    def test_what_is_wrong_is_named(
        self, study: tuple[pd.DataFrame, Planted], mask: str, write: Callable[..., str], tmp_path: Path
    ) -> None:
        table, _ = study

        def refused(changed: pd.DataFrame, message: str, **options: object) -> None:
            with pytest.raises(BrainError, match=message):
                load_images(write(changed), mask=mask, **options)

        refused(table.rename(columns={"stimulus_id": "stimulus"}), "no column 'stimulus_id'; did you mean 'stimulus'")
        refused(table.drop(columns="file"), "no column 'file'")
        refused(table, "as image=, not both", image="x.nii")
        refused(table.iloc[:0], "has no rows")
        refused(table.assign(file=[None, *table["file"][1:]]), "empty in row 1, column 'file'")
        refused(table.drop(columns="repetition"), "two rows for sub-0. .*; number them in a column 'repetition'")
        refused(table.assign(file="../x.nii"), r"the file ../x.nii lies outside .*; say folder=")
        refused(table.assign(volume="-1"), "volume is a number from 0, found '-1'")
        refused(table.assign(category=[f"c{i}" for i in range(len(table))]), "differ in the columns category")
        refused(table, "on_error must be one of 'raise', 'skip', found 'ignore'", on_error="ignore")
        refused(table, "bad_units must be one of", bad_units="keep")
        with pytest.raises(BrainError, match="say what to read out of the images"):
            load_images(write(table))
        with pytest.raises(BrainError, match="no table"):
            load_images(str(tmp_path / "absent.csv"), mask=mask)
