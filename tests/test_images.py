"""What is read out of images is what nilearn's maskers give; other grids and damaged files are found."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template
from nilearn.image import resample_to_img
from nilearn.maskers import NiftiLabelsMasker, NiftiMasker, NiftiSpheresMasker
from nilearn.masking import compute_epi_mask

from brainalign.brain import images
from brainalign.brain.image_files import bad_units
from brainalign.brain.images import open_reader
from brainalign.errors import BrainError

AFFINE = np.array([[-3.0, 0, 0, 12], [0, 3, 0, -15], [0, 0, 3, -9], [0, 0, 0, 1]])
SHAPE = (8, 9, 7)


def image(values: np.ndarray, affine: np.ndarray = AFFINE) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image(values, affine)


@pytest.fixture
def bold() -> nibabel.Nifti1Image:
    return image(np.random.default_rng(0).normal(100, 5, (*SHAPE, 12)).astype(np.float32))


@pytest.fixture
def mask() -> nibabel.Nifti1Image:
    return image((np.random.default_rng(1).random(SHAPE) < 0.4).astype(np.uint8))


@pytest.fixture
def atlas() -> nibabel.Nifti1Image:
    return image(np.random.default_rng(2).choice([0, 2, 5, 11], SHAPE).astype(np.int16))


def saved(img: nibabel.Nifti1Image, path: Path) -> Path:
    nibabel.save(img, path)
    return path


class TestVoxels:
    @pytest.mark.parametrize("name", ["bold.nii", "bold.nii.gz"])
    @pytest.mark.parametrize("kind", [np.int16, np.float32, np.float64])
    def test_the_values_are_those_of_nilearns_masker(
        self, bold: nibabel.Nifti1Image, mask: nibabel.Nifti1Image, tmp_path: Path, name: str, kind: type
    ) -> None:
        path = saved(image(np.asarray(bold.dataobj).astype(kind)), tmp_path / name)
        reader = open_reader(saved(mask, tmp_path / "mask.nii.gz"))
        values = reader.read(path)
        assert values.dtype == np.float32
        expected = NiftiMasker(mask_img=mask, standardize=None).fit_transform(nibabel.load(path))
        np.testing.assert_allclose(values, expected, rtol=1e-6)
        assert len(set(reader.units)) == values.shape[1] == len(reader.unit_info)

    def test_scaled_integers_and_pieces_of_a_few_volumes(
        self, bold: nibabel.Nifti1Image, mask: nibabel.Nifti1Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bold.header.set_data_dtype(np.int16)
        path = saved(bold, tmp_path / "scaled.nii.gz")
        assert nibabel.load(path).dataobj.slope != 1
        whole = open_reader(mask).read(path)
        np.testing.assert_allclose(
            whole, NiftiMasker(mask_img=mask, standardize=None).fit_transform(nibabel.load(path)), rtol=1e-6
        )
        monkeypatch.setattr(images, "_BYTES_AT_ONCE", 8 * 5 * np.prod(SHAPE))
        np.testing.assert_array_equal(open_reader(mask).read(path), whole)

    def test_a_single_map(self, bold: nibabel.Nifti1Image, mask: nibabel.Nifti1Image) -> None:
        values = open_reader(mask).read(bold.slicer[..., 3])
        np.testing.assert_array_equal(values, open_reader(mask).read(bold)[3:4])

    def test_a_mask_computed_by_name(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        head = np.zeros((20, 20, 20, 5))
        head[4:16, 5:15, 4:16] = 1000
        noisy = image((head + rng.normal(50, 10, head.shape)).astype(np.float32))
        reader = open_reader("compute-epi", reference=saved(noisy, tmp_path / "epi.nii.gz"))
        expected = np.asarray(compute_epi_mask(noisy).dataobj).astype(bool)
        assert 500 < expected.sum() < 2500
        np.testing.assert_array_equal(reader.unit_info[list("ijk")], np.argwhere(expected))

    def test_a_mask_with_a_fourth_axis_of_one(self, bold: nibabel.Nifti1Image, mask: nibabel.Nifti1Image) -> None:
        longer = image(np.asarray(mask.dataobj)[..., None])
        np.testing.assert_array_equal(open_reader(longer).read(bold), open_reader(mask).read(bold))

    def test_bad_voxels_are_named(self, bold: nibabel.Nifti1Image, mask: nibabel.Nifti1Image) -> None:
        reader = open_reader(mask)
        values = np.asarray(bold.dataobj).copy()
        first, second = (tuple(reader.unit_info.loc[u, list("ijk")].astype(int)) for u in (3, 20))
        values[first] = 7.0
        values[(*second, 5)] = np.nan
        with pytest.raises(BrainError, match=r"2 of \d+ units of the image are NaN or constant .*: v003, v020;"):
            reader.read(image(values))
        there = reader.read(image(values), allow_bad=True)
        np.testing.assert_array_equal(np.flatnonzero(bad_units(there)), [3, 20])
        with pytest.raises(BrainError, match="v020"):
            reader.read(image(values[..., 5]))
        assert reader.read(image(values[..., 4])).shape == (1, len(reader.units))


class TestRegions:
    @pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
    @pytest.mark.parametrize("with_mask", [False, True])
    def test_means_are_those_of_nilearns_masker(
        self, bold: nibabel.Nifti1Image, mask: nibabel.Nifti1Image, atlas: nibabel.Nifti1Image, with_mask: bool
    ) -> None:
        within = mask if with_mask else None
        reader = open_reader(within, atlas=atlas, average_regions=True)
        expected = NiftiLabelsMasker(labels_img=atlas, mask_img=within, standardize=None).fit_transform(bold)
        np.testing.assert_allclose(reader.read(bold), expected, rtol=1e-6)
        assert reader.units == ["2", "5", "11"]

    def test_voxels_with_their_region(
        self, bold: nibabel.Nifti1Image, mask: nibabel.Nifti1Image, atlas: nibabel.Nifti1Image
    ) -> None:
        reader = open_reader(mask, atlas=atlas, labels={2: "HG", 5: "PT", 11: "STG"})
        values = reader.read(bold)
        numbers, inside = np.asarray(atlas.dataobj), np.asarray(mask.dataobj) != 0
        np.testing.assert_array_equal(reader.unit_info[list("ijk")], np.argwhere((numbers != 0) & inside))
        names = {2: "HG", 5: "PT", 11: "STG"}
        at = reader.unit_info[list("ijk")].to_numpy().T
        assert reader.unit_info["region"].tolist() == [names[n] for n in numbers[tuple(at)]]
        means = open_reader(mask, atlas=atlas, labels=names, average_regions=True).read(bold)
        for i, name in enumerate(names.values()):
            of_region = values[:, (reader.unit_info["region"] == name).to_numpy()]
            np.testing.assert_allclose(means[:, i], of_region.astype(np.float64).mean(axis=1), rtol=1e-6)

    def test_names_as_lists_and_tables(self, atlas: nibabel.Nifti1Image, tmp_path: Path) -> None:
        eleven = [f"r{i}" for i in range(1, 12)]
        assert open_reader(atlas=atlas, labels=eleven, average_regions=True).units == ["r2", "r5", "r11"]
        background = ["Background", *eleven]
        assert open_reader(atlas=atlas, labels=background, average_regions=True).units == ["r2", "r5", "r11"]
        table = pd.DataFrame({"index": [11, 2, 5], "name": ["c", "a", "b"]})
        table.to_csv(tmp_path / "dseg.tsv", sep="\t", index=False)
        for given in (table, tmp_path / "dseg.tsv"):
            assert open_reader(atlas=atlas, labels=given, average_regions=True).units == ["a", "b", "c"]

    def test_only_some_regions(self, bold: nibabel.Nifti1Image, atlas: nibabel.Nifti1Image) -> None:
        names = {2: "HG", 5: "PT", 11: "STG"}
        whole = open_reader(atlas=atlas, labels=names, average_regions=True).read(bold)
        reader = open_reader(atlas=atlas, labels=names, regions=["STG", "HG"], average_regions=True)
        assert reader.units == ["HG", "STG"]
        np.testing.assert_array_equal(reader.read(bold), whole[:, [0, 2]])

    def test_bad_atlases(self, mask: nibabel.Nifti1Image, atlas: nibabel.Nifti1Image) -> None:
        with pytest.raises(BrainError, match="no name for the numbers 11"):
            open_reader(atlas=atlas, labels={2: "a", 5: "b"})
        with pytest.raises(BrainError, match="several regions of the atlas are named 'a'"):
            open_reader(atlas=atlas, labels={2: "a", 5: "a", 11: "b"})
        with pytest.raises(BrainError, match="no region 'STGG'; did you mean 'STG'"):
            open_reader(atlas=atlas, labels={2: "HG", 5: "PT", 11: "STG"}, regions=["STGG"])
        with pytest.raises(BrainError, match="columns 'index' and 'name', found number, label"):
            open_reader(atlas=atlas, labels=pd.DataFrame({"number": [2], "label": ["a"]}))
        with pytest.raises(BrainError, match="whole numbers"):
            open_reader(atlas=image(np.full(SHAPE, 0.5)))
        elsewhere = np.where(np.asarray(atlas.dataobj) == 5, 0, 1).astype(np.uint8)
        with pytest.raises(BrainError, match="no voxel is left of the regions 5"):
            open_reader(image(elsewhere), atlas=atlas)


class TestSpheres:
    CENTRES = {"left": (3.0, -3.0, 0.0), "right": (-4.2, 1.0, 3.0)}  # noqa: RUF012

    @pytest.mark.parametrize("radius", [None, 4.0, 7.0])
    @pytest.mark.parametrize("with_mask", [False, True])
    def test_means_are_those_of_nilearns_masker(
        self, bold: nibabel.Nifti1Image, radius: float | None, with_mask: bool
    ) -> None:
        mask = image((np.indices(SHAPE).sum(axis=0) > 7).astype(np.uint8)) if with_mask else None
        reader = open_reader(mask, spheres=self.CENTRES, radius_mm=radius, reference=bold)
        judge = NiftiSpheresMasker(
            list(self.CENTRES.values()), radius=radius, mask_img=mask, allow_overlap=True, standardize=None
        )
        np.testing.assert_allclose(reader.read(bold), judge.fit_transform(bold), rtol=1e-5)
        assert reader.units == ["left", "right"]
        assert reader.unit_info["n_voxels"].min() >= (1 if radius is None else 5)

    def test_a_template_of_nilearn(self) -> None:
        grey, mask = load_mni152_gm_template(resolution=4), load_mni152_brain_mask(resolution=4)
        centres = {"left Heschl": (-42.0, -22.0, 8.0), "right Heschl": (46.0, -16.0, 6.0)}
        reader = open_reader(mask, spheres=centres, radius_mm=8, resample=True)
        judge = NiftiSpheresMasker(list(centres.values()), radius=8, mask_img=mask, standardize=None)
        np.testing.assert_allclose(reader.read(grey)[0], np.ravel(judge.fit_transform(grey)), rtol=1e-5)
        assert reader.unit_info["n_voxels"].between(20, 45).all()  # 8 mm hold 33.5 voxels of 4 mm.
        offsets = reader.unit_info[["x", "y", "z"]].to_numpy() - np.array(list(centres.values()))
        assert np.abs(offsets).max() < 4

    def test_bad_spheres(self, bold: nibabel.Nifti1Image, mask: nibabel.Nifti1Image) -> None:
        with pytest.raises(BrainError, match="no voxel of the mask lies in the spheres far"):
            open_reader(mask, spheres={"far": (500, 0, 0)}, radius_mm=5)
        with pytest.raises(BrainError, match="give a mask, or a reference"):
            open_reader(spheres={"a": (0, 0, 0)})
        with pytest.raises(BrainError, match="radius_mm must be positive, found -1"):
            open_reader(mask, spheres={"a": (0, 0, 0)}, radius_mm=-1)
        with pytest.raises(BrainError, match="x, y, z in mm"):
            open_reader(mask, spheres={"a": (0, 0)})


class TestGrids:
    def test_another_grid_is_named_and_resampled_only_on_request(
        self, bold: nibabel.Nifti1Image, tmp_path: Path
    ) -> None:
        finer = np.diag([-2.0, 2, 2, 1])
        finer[:3, 3] = (12, -15, -9)
        mask = image(np.ones((9, 10, 8), np.uint8), finer)
        path = saved(bold, tmp_path / "bold.nii.gz")
        with pytest.raises(BrainError, match=r"bold.nii.gz is on the grid 8 x 9 x 7 .* 3 x 3 x 3 mm .* on 9 x 10 x 8 .*"
                                             r"2 x 2 x 2 mm .*resample=true"):  # fmt: skip
            open_reader(mask).read(path)
        values = open_reader(mask, resample=True).read(path)
        expected = resample_to_img(bold, mask, copy_header=True, force_resample=True)
        np.testing.assert_allclose(values, np.asarray(expected.dataobj).reshape(-1, 12).T, rtol=1e-5)

    def test_a_shifted_affine_of_the_same_shape(self, bold: nibabel.Nifti1Image, mask: nibabel.Nifti1Image) -> None:
        shifted = AFFINE.copy()
        shifted[0, 3] += 0.01
        with pytest.raises(BrainError, match=r"from \(12.01, -15, -9\).*from \(12, -15, -9\)"):
            open_reader(mask).read(image(np.asarray(bold.dataobj), shifted))
        shifted[0, 3] = AFFINE[0, 3] + 0.0005
        open_reader(mask).read(image(np.asarray(bold.dataobj), shifted))

    def test_resampling_recovers_a_planted_region(self) -> None:
        fine = np.zeros((24, 24, 24, 2), np.float32)
        fine[8:16, 8:16, 8:16] = (5, 9)
        fine += np.random.default_rng(0).normal(0, 0.01, fine.shape)
        coarse = np.diag([4.0, 4, 4, 1])
        inner = np.zeros((12, 12, 12), np.int16)
        inner[5:7, 5:7, 5:7] = 1
        reader = open_reader(atlas=image(inner, coarse), resample=True, average_regions=True)
        values = reader.read(image(fine, np.diag([2.0, 2, 2, 1])))
        np.testing.assert_allclose(values[:, 0], [5, 9], atol=0.05)

    def test_mask_and_atlas_of_different_grids(self, mask: nibabel.Nifti1Image) -> None:
        halves = np.ones((4, 5, 4), np.int16)
        halves[2:] = 2
        coarse = AFFINE.copy()
        coarse[:3, :3] *= 2
        with pytest.raises(BrainError, match=r"the atlas is on the grid 4 x 5 x 4 .* the mask on 8 x 9 x 7"):
            open_reader(mask, atlas=image(halves, coarse))
        reader = open_reader(mask, atlas=image(halves, coarse), resample=True)
        clear = reader.unit_info[reader.unit_info["i"] != 3]
        assert (clear["region"] == np.where(clear["i"] < 3, "1", "2")).all()


class TestBadFiles:
    def test_cut_short(self, bold: nibabel.Nifti1Image, mask: nibabel.Nifti1Image, tmp_path: Path) -> None:
        for name in ("bold.nii", "bold.nii.gz"):
            path = saved(bold, tmp_path / name)
            path.write_bytes(path.read_bytes()[:-2000])
            with pytest.raises(BrainError, match=f"{name} is damaged or cut short"):
                open_reader(mask).read(path)
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(BrainError, match=r"cannot be read as an image|damaged"):
            open_reader(mask).read(path)

    def test_damaged_within(self, bold: nibabel.Nifti1Image, mask: nibabel.Nifti1Image, tmp_path: Path) -> None:
        path = saved(bold, tmp_path / "bold.nii.gz")
        content = bytearray(path.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
        path.write_bytes(content)
        with pytest.raises(BrainError, match="damaged or cut short"):
            open_reader(mask).read(path)

    def test_no_image(self, mask: nibabel.Nifti1Image, tmp_path: Path) -> None:
        text = tmp_path / "bold.nii"
        text.write_text("no image")
        with pytest.raises(BrainError, match=r"bold.nii cannot be read as an image"):
            open_reader(mask).read(text)
        packed = tmp_path / "bold.nii.gz"
        packed.write_bytes(gzip.compress(b"no image"))
        with pytest.raises(BrainError, match=r"bold.nii.gz cannot be read as an image"):
            open_reader(mask).read(packed)
        with pytest.raises(BrainError, match=r"no image .*absent.nii"):
            open_reader(mask).read(tmp_path / "absent.nii")
        with pytest.raises(BrainError, match="expected an image or its path, found int"):
            open_reader(mask).read(3)
        with pytest.raises(BrainError, match="5 dimensions"):
            open_reader(mask).read(image(np.ones((*SHAPE, 1, 2), np.float32)))
        colours = np.zeros(SHAPE, [("R", np.uint8), ("G", np.uint8), ("B", np.uint8)])
        with pytest.raises(BrainError, match="expected real numbers"):
            open_reader(mask).read(image(colours))

    def test_bad_questions(self, mask: nibabel.Nifti1Image, atlas: nibabel.Nifti1Image) -> None:
        with pytest.raises(BrainError, match="say what to read"):
            open_reader()
        with pytest.raises(BrainError, match="not both"):
            open_reader(atlas=atlas, spheres={"a": (0, 0, 0)})
        with pytest.raises(BrainError, match="need an atlas"):
            open_reader(mask, average_regions=True)
        with pytest.raises(BrainError, match="with voxels that are not 0"):
            open_reader(image(np.zeros(SHAPE, np.uint8)))
        with pytest.raises(BrainError, match="needs a functional image as reference"):
            open_reader("compute-epi")
