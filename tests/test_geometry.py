"""Values go to the voxels and vertices that their units lie on, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from nilearn.maskers import NiftiMasker
from nilearn.surface import load_surf_data

from brainalign.brain.geometry import (
    combine_geometry,
    fsaverage5_mesh,
    surface_maps,
    volume_coordinates,
    volume_image,
)
from brainalign.errors import BrainError
from brainalign.responses import Responses, load_responses, make_responses, save_responses, select_units

AFFINE = np.array([[-2.0, 0.1, 0, 90], [0, 2, 0.3, -126], [0.2, 0, 2.5, -72], [0, 0, 0, 1]])


@pytest.fixture
def mask() -> nibabel.Nifti1Image:
    inside = np.random.default_rng(0).random((5, 6, 7)) < 0.3
    return nibabel.Nifti1Image(inside.astype(np.uint8), AFFINE)


def voxels(mask: nibabel.Nifti1Image, subject: str = "sub-01", space: str | None = None) -> Responses:
    info, attrs = volume_coordinates(mask, space)
    ids = [f"{subject}_v{i:03d}" for i in range(len(info))]
    values = np.random.default_rng(1).normal(size=(4, len(info)))
    info["subject"] = subject
    return make_responses(values, list("abcd"), ids, unit_info=dict(info), attrs=attrs)


def vertices(subject: str, left: list[int], right: list[int], **attrs: object) -> Responses:
    names = [f"{subject}_L_v{v}" for v in left] + [f"{subject}_R_v{v}" for v in right]
    info = {
        "subject": [subject] * len(names),
        "hemisphere": ["left"] * len(left) + ["right"] * len(right),
        "vertex": left + right,
    }
    values = np.random.default_rng(1).normal(size=(2, len(names)))
    return make_responses(values, ["a", "b"], names, unit_info=info, attrs={"space": "fsaverage5", **attrs})


def joined(*responses: Responses) -> Responses:
    first = responses[0]
    info = {
        str(c): np.concatenate([r[c].values for r in responses]) for c in first.coords if first[c].dims == ("unit",)
    }
    names = info.pop("unit")
    values = np.concatenate([r.values for r in responses], axis=1)
    attrs = combine_geometry({str(r["subject"].values[0]): r.attrs for r in responses})
    return make_responses(values, first["stimulus"].values, names, unit_info=info, attrs=attrs)


class TestVolumes:
    def test_voxels_are_in_the_order_of_nilearns_masker(self, mask: nibabel.Nifti1Image) -> None:
        indices = np.stack(np.meshgrid(*map(np.arange, mask.shape), indexing="ij"), axis=-1).astype(np.float32)
        rows = NiftiMasker(mask_img=mask, standardize=None).fit_transform(nibabel.Nifti1Image(indices, AFFINE))
        info, attrs = volume_coordinates(mask)
        np.testing.assert_array_equal(info[list("ijk")].to_numpy(), rows.T)
        assert attrs["grid"] == [5, 6, 7]
        np.testing.assert_array_equal(np.reshape(attrs["affine"], (4, 4)), AFFINE)

    def test_millimetres_are_those_of_nibabel(self, mask: nibabel.Nifti1Image) -> None:
        info, _ = volume_coordinates(mask)
        expected = nibabel.affines.apply_affine(AFFINE, info[list("ijk")].to_numpy())
        np.testing.assert_allclose(info[["x", "y", "z"]].to_numpy(), expected, rtol=0, atol=1e-12)

    @pytest.mark.parametrize(("code", "space"), [(0, "unknown"), (1, "scanner"), (2, "unknown"), (4, "MNI152")])
    def test_the_space_is_what_the_header_says(self, mask: nibabel.Nifti1Image, code: int, space: str) -> None:
        mask.set_qform(AFFINE, code=0)
        mask.set_sform(AFFINE, code=code)
        assert volume_coordinates(mask)[1]["space"] == space
        assert volume_coordinates(mask, "T1w")[1]["space"] == "T1w"

    def test_there_and_back_through_netcdf(self, mask: nibabel.Nifti1Image, tmp_path: Path) -> None:
        units = load_responses(save_responses(voxels(mask, space="MNI152NLin6Asym"), tmp_path / "voxels.nc"))
        values = np.arange(units.sizes["unit"]) + 1.0
        image = volume_image(units, values, fill=0.0)
        back = NiftiMasker(mask_img=mask, standardize=None).fit_transform(image)
        np.testing.assert_array_equal(np.ravel(back), values)
        assert np.asarray(image.dataobj).sum() == values.sum()
        np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
        assert int(image.header["sform_code"]) == 4
        outside = np.asarray(mask.dataobj) == 0
        assert np.isnan(np.asarray(volume_image(units, values).dataobj)[outside]).all()

    def test_a_selection_of_units_fills_only_its_voxels(self, mask: nibabel.Nifti1Image) -> None:
        units = voxels(mask).isel(unit=[3, 0])
        image = np.asarray(volume_image(units, [5.0, 7.0]).dataobj)
        info, _ = volume_coordinates(mask)
        assert image[tuple(info.loc[3, list("ijk")].astype(int))] == 5
        assert image[tuple(info.loc[0, list("ijk")].astype(int))] == 7
        assert np.isfinite(image).sum() == 2

    def test_subjects_on_one_voxel_are_averaged_only_on_request(self, mask: nibabel.Nifti1Image) -> None:
        both = joined(voxels(mask, "sub-01"), voxels(mask, "sub-02"))
        n = both.sizes["unit"] // 2
        values = np.r_[np.full(n, 1.0), np.full(n, 4.0)]
        with pytest.raises(BrainError, match=r"several subjects \(sub-01, sub-02\).*average_subjects=True"):
            volume_image(both, values)
        mean = np.asarray(volume_image(both, values, average_subjects=True).dataobj)
        assert set(mean[np.isfinite(mean)]) == {2.5}
        one = select_units(both, subject="sub-02")
        assert np.nanmax(np.asarray(volume_image(one, np.full(n, 4.0)).dataobj)) == 4

    def test_subjects_with_grids_of_their_own(self, mask: nibabel.Nifti1Image) -> None:
        other = nibabel.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.diag([3.0, 3, 3, 1]))
        both = joined(voxels(mask, "sub-01", "T1w"), voxels(other, "sub-02", "T1w"))
        assert both.attrs["space"] == "T1w"
        assert "grid" not in both.attrs
        with pytest.raises(BrainError, match="each have a grid of their own: select one"):
            volume_image(both, np.ones(both.sizes["unit"]), average_subjects=True)
        image = volume_image(select_units(both, subject="sub-02"), np.arange(8.0))
        np.testing.assert_array_equal(np.asarray(image.dataobj).ravel(), np.arange(8))
        np.testing.assert_array_equal(image.affine, other.affine)

    def test_bad_input(self, mask: nibabel.Nifti1Image) -> None:
        units = voxels(mask)
        with pytest.raises(BrainError, match=r"values of shape \(3,\), expected one for each of"):
            volume_image(units, np.ones(3))
        with pytest.raises(BrainError, match="no coordinate 'i', 'j', 'k'"):
            volume_image(vertices("sub-01", [0], [0]), [1.0, 2.0])
        with pytest.raises(BrainError, match="no attributes 'grid' and 'affine'"):
            volume_image(units.drop_attrs(), np.ones(units.sizes["unit"]))
        with pytest.raises(BrainError, match="outside their grid"):
            volume_image(units.assign_attrs(grid=[2, 2, 2]), np.ones(units.sizes["unit"]))
        with pytest.raises(BrainError, match="several units of one subject lie on one voxel"):
            volume_image(units.isel(unit=[0, 0]), [1.0, 2.0], average_subjects=True)
        with pytest.raises(BrainError, match="voxels that are not 0"):
            volume_coordinates(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), AFFINE))


class TestSurfaces:
    @pytest.mark.parametrize("surface", ["inflated", "pial", "white", "sphere", "flat"])
    def test_the_mesh_is_a_whole_fsaverage5(self, surface: str) -> None:
        mesh = fsaverage5_mesh(surface)
        for coordinates, faces in mesh.values():
            assert coordinates.shape == (10242, 3)
            assert faces.max() < 10242
            assert np.isfinite(coordinates).all()
        if surface != "flat":
            # Euler: a closed surface without handles has V - E + F = 2.
            faces = mesh["left"][1]
            edges = np.unique(np.sort(np.vstack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])), axis=0)
            assert 10242 - len(edges) + len(faces) == 2

    def test_left_is_left(self) -> None:
        mesh = fsaverage5_mesh("pial")
        assert mesh["left"][0][:, 0].mean() < -20
        assert mesh["right"][0][:, 0].mean() > 20

    def test_the_order_of_vertices_is_that_of_nilearns_maps(self) -> None:
        from nilearn.datasets import fetch_surf_fsaverage

        thickness = load_surf_data(fetch_surf_fsaverage("fsaverage5")["thick_left"])
        white, pial = (fsaverage5_mesh(s)["left"][0] for s in ("white", "pial"))
        distance = np.linalg.norm(white - pial, axis=1)
        assert np.corrcoef(thickness, distance)[0, 1] > 0.9

    def test_values_lie_on_their_vertices(self, tmp_path: Path) -> None:
        units = load_responses(save_responses(vertices("sub-01", [5, 2], [10241]), tmp_path / "vertices.nc"))
        maps = surface_maps(units, [1.0, 2.0, 3.0])
        assert {h: np.flatnonzero(np.isfinite(m)).tolist() for h, m in maps.items()} == {
            "left": [2, 5],
            "right": [10241],
        }
        assert (maps["left"][5], maps["left"][2], maps["right"][10241]) == (1, 2, 3)
        for h, m in surface_maps(units, [1.0, 2.0, 3.0], fsaverage5_mesh()).items():
            np.testing.assert_array_equal(m, maps[h])

    def test_subjects_on_one_vertex(self) -> None:
        both = joined(vertices("sub-01", [5, 2], []), vertices("sub-02", [5], [7]))
        with pytest.raises(BrainError, match="lie on one left vertex"):
            surface_maps(both, [1.0, 2.0, 3.0, 4.0])
        maps = surface_maps(both, [1.0, 2.0, 3.0, 4.0], average_subjects=True)
        assert (maps["left"][5], maps["left"][2], maps["right"][7]) == (2, 2, 4)
        assert np.isnan(surface_maps(both, [np.nan, 2, 3, 4], average_subjects=True)["left"][5])

    def test_meshes_of_unequal_hemispheres(self) -> None:
        maps = surface_maps(vertices("sub-01", [5], [7], space="sub-01", n_vertices=[6, 9]), [1.0, 2.0])
        assert (len(maps["left"]), len(maps["right"])) == (6, 9)

    def test_voxels_beside_vertices_are_passed_over(self) -> None:
        units = vertices("sub-01", [5], [7]).assign_coords(vertex=("unit", [5, -1]), hemisphere=("unit", ["left", ""]))
        maps = surface_maps(units, [1.0, 2.0])
        assert np.nansum(maps["left"]) == 1
        assert np.isnan(maps["right"]).all()

    def test_bad_input(self, mask: nibabel.Nifti1Image) -> None:
        with pytest.raises(BrainError, match="has 10242 vertices, but there is a unit on vertex 20000"):
            surface_maps(vertices("sub-01", [], [20000]), [1.0])
        with pytest.raises(BrainError, match="mesh of the space 'mine' is not known"):
            surface_maps(vertices("sub-01", [1], [2], space="mine"), [1.0, 2.0])
        for names in (["lh", "rh"], ["L", "right"], ["", "right"]):
            other = vertices("sub-01", [1], [2]).assign_coords(hemisphere=("unit", names))
            with pytest.raises(BrainError, match=f"hemisphere is '{names[0]}' for . units, expected 'left' or 'right'"):
                surface_maps(other, [1.0, 2.0])
        other = vertices("sub-01", [1], [2], space="fsLR-32k", n_vertices=[10242, 10242])
        with pytest.raises(BrainError, match=r"n_vertices is \[10242, 10242\], but the space 'fsLR-32k' has \[32492"):
            surface_maps(other, [1.0, 2.0])
        with pytest.raises(BrainError, match="no coordinate 'vertex', 'hemisphere'"):
            surface_maps(voxels(mask), np.ones(1))
        with pytest.raises(BrainError, match="did you mean 'inflated'"):
            fsaverage5_mesh("inflatd")
