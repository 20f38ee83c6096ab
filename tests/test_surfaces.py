"""Surface files of every kind give the same planted values, on the vertices where they were planted."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, LabelAxis, ScalarAxis, SeriesAxis
from nibabel.freesurfer import write_annot, write_morph_data
from nilearn.datasets import fetch_surf_fsaverage
from nilearn.surface import load_surf_data

from brainalign.brain.cifti import open_cifti_reader
from brainalign.brain.geometry import surface_maps, volume_image
from brainalign.brain.surface_files import read_labels, read_surface
from brainalign.brain.surfaces import open_surface_reader
from brainalign.errors import BrainError
from brainalign.responses import make_responses

N = 40


def values(n_volumes: int = 3, seed: int = 0, n: int = N) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_volumes, n)).astype(np.float32)


def write(path: Path, data: np.ndarray) -> Path:
    """Write volumes x vertices in the format that the name says."""
    name = path.name
    if ".gii" in name:
        image = nibabel.GiftiImage(
            darrays=[nibabel.gifti.GiftiDataArray(row, intent="NIFTI_INTENT_TIME_SERIES") for row in data]
        )
        path.write_bytes(gzip.compress(image.to_bytes()) if name.endswith(".gz") else image.to_bytes())
    elif name.endswith((".mgh", ".mgz")):
        volumes = data.T[:, None, None, :] if len(data) > 1 else data.T[:, None, :]
        nibabel.save(nibabel.MGHImage(volumes, np.eye(4)), path)
    elif name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(data.T[:, None, None, :], np.eye(4)), path)
    else:
        write_morph_data(path, data[0])
    return path


def annotation(path: Path, numbers: np.ndarray, names: list[str]) -> Path:
    colours = np.column_stack([np.arange(4 * len(names)).reshape(-1, 4) * 7 % 251, np.zeros(len(names), int)])
    write_annot(path, numbers, colours, names, fill_ctab=True)
    return path


class TestFiles:
    @pytest.mark.parametrize("name", ["lh.func.gii", "lh.func.gii.gz", "lh.mgh", "lh.mgz", "lh.nii", "lh.nii.gz"])
    def test_every_format_gives_the_same_values(self, tmp_path: Path, name: str) -> None:
        data = values()
        path = write(tmp_path / name, data)
        np.testing.assert_array_equal(read_surface(path), data)
        if name not in ("lh.mgh", "lh.nii", "lh.nii.gz"):  # nilearn reads .mgh by another name, and NIfTI not at all
            np.testing.assert_array_equal(read_surface(path), load_surf_data(str(path)).T)

    def test_morphometry(self, tmp_path: Path) -> None:
        data = values(1)
        path = write(tmp_path / "lh.thickness", data)
        np.testing.assert_array_equal(read_surface(path), data)

    def test_one_array_with_all_volumes(self, tmp_path: Path) -> None:
        data = values()
        image = nibabel.GiftiImage(darrays=[nibabel.gifti.GiftiDataArray(np.ascontiguousarray(data.T))])
        nibabel.save(image, tmp_path / "lh.func.gii")
        np.testing.assert_array_equal(read_surface(tmp_path / "lh.func.gii"), data)

    def test_a_mesh_that_freesurfer_folded(self, tmp_path: Path) -> None:
        data = values(2, n=60)
        folded = data.T.reshape((12, 1, 5, 2), order="F")
        nibabel.save(nibabel.Nifti1Image(folded, np.eye(4)), tmp_path / "lh.nii.gz")
        np.testing.assert_array_equal(read_surface(tmp_path / "lh.nii.gz"), data)

    def test_the_thickness_that_comes_with_nilearn(self) -> None:
        path = fetch_surf_fsaverage("fsaverage5")["thick_left"]
        np.testing.assert_array_equal(read_surface(path)[0], load_surf_data(path))

    def test_bad_files(self, tmp_path: Path) -> None:
        path = write(tmp_path / "lh.func.gii", values())
        path.write_bytes(path.read_bytes()[:-300])
        with pytest.raises(BrainError, match=r"lh.func.gii cannot be read as GIFTI"):
            read_surface(path)
        for name in ("lh.mgz", "lh.nii.gz", "lh.nii"):
            path = write(tmp_path / name, values(200))
            path.write_bytes(path.read_bytes()[:-1000])
            with pytest.raises(BrainError, match=f"{name} (is damaged|cannot be read)"):
                read_surface(path)
        (tmp_path / "lh.curv").write_bytes(b"\xff\xff\xff\x00\x00")
        with pytest.raises(BrainError, match=r"lh.curv cannot be read as FreeSurfer morphometry"):
            read_surface(tmp_path / "lh.curv")
        with pytest.raises(BrainError, match="no surface file"):
            read_surface(tmp_path / "absent.gii")
        with pytest.raises(BrainError, match="holds a mesh, expected data on vertices"):
            read_surface(fetch_surf_fsaverage("fsaverage5")["pial_left"])
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.float32), np.eye(4)), tmp_path / "volume.nii")
        with pytest.raises(BrainError, match="a volume, not data on vertices"):
            read_surface(tmp_path / "volume.nii")


class TestReader:
    def files(self, folder: Path, suffix: str = "func.gii", left: int = N, right: int = N + 2) -> dict[str, Path]:
        return {
            "left": write(folder / f"lh.{suffix}", values(3, 1, left)),
            "right": write(folder / f"rh.{suffix}", values(3, 2, right)),
        }

    def test_both_hemispheres_are_one_set_of_units(self, tmp_path: Path) -> None:
        reader = open_surface_reader("sub-01", n_vertices=(N, N + 2))
        read = reader.read(self.files(tmp_path))
        np.testing.assert_array_equal(read, np.hstack([values(3, 1), values(3, 2, N + 2)]))
        assert reader.units[:2] == ["L_v00", "L_v01"]
        assert reader.units[-1] == "R_v41"
        assert len(set(reader.units)) == 2 * N + 2
        assert reader.attrs == {"space": "sub-01", "n_vertices": [N, N + 2]}

    def test_a_label_and_a_map_as_masks(self, tmp_path: Path) -> None:
        label = "#!ascii label\n3\n" + "".join(f"{v} 0.0 0.0 0.0 1.0\n" for v in (31, 2, 7))
        (tmp_path / "lh.auditory.label").write_text(label)
        inside = np.zeros(N + 2, np.float32)
        inside[[5, 41]] = 1
        mask = {"left": tmp_path / "lh.auditory.label", "right": write(tmp_path / "rh.mask.mgz", inside[None])}
        reader = open_surface_reader("sub-01", n_vertices=(N, N + 2), mask=mask)
        assert reader.units == ["L_v02", "L_v07", "L_v31", "R_v05", "R_v41"]
        expected = np.hstack([values(3, 1)[:, [2, 7, 31]], values(3, 2, N + 2)[:, [5, 41]]])
        np.testing.assert_array_equal(reader.read(self.files(tmp_path)), expected)

    def test_regions_of_annotations_and_gifti_labels(self, tmp_path: Path) -> None:
        numbers = {"left": np.arange(N) % 4 - 1, "right": np.arange(N + 2) % 3}
        names = ["Unknown", "HG", "PT"]
        table = nibabel.gifti.GiftiLabelTable()
        for key, name in enumerate(names):
            table.labels.append(nibabel.gifti.GiftiLabel(key))
            table.labels[-1].label = name
        array = nibabel.gifti.GiftiDataArray(numbers["right"].astype(np.int32), intent="NIFTI_INTENT_LABEL")
        nibabel.save(nibabel.GiftiImage(darrays=[array], labeltable=table), tmp_path / "rh.label.gii")
        labels = {
            "left": annotation(tmp_path / "lh.annot", numbers["left"], names),
            "right": tmp_path / "rh.label.gii",
        }
        reader = open_surface_reader("sub-01", n_vertices=(N, N + 2), labels=labels)
        data = {"left": values(3, 1), "right": values(3, 2, N + 2)}
        for h in data:
            of = reader.unit_info[reader.unit_info["hemisphere"] == h]
            assert of["vertex"].tolist() == np.flatnonzero(numbers[h] > 0).tolist()
            assert of["region"].tolist() == [names[n] for n in numbers[h] if n > 0]
        files = self.files(tmp_path)
        means = open_surface_reader("sub-01", n_vertices=(N, N + 2), labels=labels, average_regions=True)
        assert means.units == ["L_HG", "L_PT", "R_HG", "R_PT"]
        expected = [data[h][:, numbers[h] == n].mean(axis=1) for h in data for n in (1, 2)]
        np.testing.assert_allclose(means.read(files), np.transpose(expected), rtol=1e-5, atol=1e-6)
        one = open_surface_reader("sub-01", n_vertices=(N, N + 2), labels=labels, regions=["PT"], average_regions=True)
        np.testing.assert_allclose(one.read(files), np.transpose(expected)[:, [1, 3]], rtol=1e-5, atol=1e-6)

    def test_values_go_back_to_fsaverage5(self) -> None:
        files = fetch_surf_fsaverage("fsaverage5")
        reader = open_surface_reader()
        read = reader.read({"left": files["sulc_left"], "right": files["sulc_right"]})
        units = make_responses(
            np.vstack([read, read]), ["a", "b"], reader.units, unit_info=dict(reader.unit_info), attrs=reader.attrs
        )
        for h, found in surface_maps(units, read[0]).items():
            np.testing.assert_array_equal(found, load_surf_data(files[f"sulc_{h}"]))

    def test_one_hemisphere(self, tmp_path: Path) -> None:
        reader = open_surface_reader("sub-01", n_vertices=(N, N + 2), hemispheres=["right"])
        files = self.files(tmp_path)
        np.testing.assert_array_equal(reader.read({"right": files["right"]}), values(3, 2, N + 2))
        with pytest.raises(BrainError, match="hemispheres left, right, expected right"):
            reader.read(files)

    def test_bad_input(self, tmp_path: Path) -> None:
        files = self.files(tmp_path)
        with pytest.raises(
            BrainError, match=r"lh.func.gii has 40 vertices, .* left hemisphere of fsaverage5 has 10242"
        ):
            open_surface_reader().read(files)
        reader = open_surface_reader("sub-01", n_vertices=(N, N + 2))
        with pytest.raises(BrainError, match="hemispheres left, expected left, right"):
            reader.read({"left": files["left"]})
        with pytest.raises(BrainError, match="have 5 and 3 volumes"):
            reader.read({**files, "left": write(tmp_path / "long.func.gii", values(5))})
        bad = values(3, 1)
        bad[1, 4], bad[:, 6] = np.nan, 0
        with pytest.raises(BrainError, match=r"2 of 82 units .* are NaN or constant .*: L_v04, L_v06"):
            reader.read({**files, "left": write(tmp_path / "bad.func.gii", bad)})
        with pytest.raises(BrainError, match="mesh 'fsaverge5' is not known, give n_vertices; did you mean"):
            open_surface_reader("fsaverge5")
        with pytest.raises(BrainError, match="fsaverage5 has 10242 vertices per hemisphere"):
            open_surface_reader("fsaverage5", n_vertices=(40, 42))
        with pytest.raises(BrainError, match="'left' and 'right', found 'lh'"):
            open_surface_reader(hemispheres=["lh"])
        with pytest.raises(BrainError, match="need labels"):
            open_surface_reader(average_regions=True)
        with pytest.raises(BrainError, match="mask is given for left, expected left, right"):
            open_surface_reader(mask={"left": np.ones(10242)})
        with pytest.raises(BrainError, match="no vertex is left"):
            open_surface_reader(mask={"left": np.zeros(10242), "right": np.zeros(10242)})
        (tmp_path / "lh.label").write_text("#!ascii\n1\n10300 0 0 0 0\n")
        with pytest.raises(BrainError, match=r"lh.label names vertex 10300 of a mesh of 10242"):
            open_surface_reader(hemispheres=["left"], mask={"left": tmp_path / "lh.label"})
        with pytest.raises(BrainError, match="is no GIFTI file with one array of labels"):
            read_labels(files["left"])
        (tmp_path / "x.annot").write_bytes(b"abc")
        with pytest.raises(BrainError, match=r"x.annot cannot be read as an annotation"):
            read_labels(tmp_path / "x.annot")


class TestCifti:
    VOLUME = np.zeros((6, 7, 8), bool)
    VOLUME[1:3, 2, 3:5] = True

    def axis(self) -> BrainModelAxis:
        left = BrainModelAxis.from_surface(np.array([0, 3, 31, 7]), 32492, "CortexLeft")
        right = BrainModelAxis.from_surface(np.array([5, 32491]), 32492, "CortexRight")
        affine = np.diag([2.0, 2, 2, 1])
        affine[:3, 3] = (-6, -7, -8)
        return left + right + BrainModelAxis.from_mask(self.VOLUME, "ThalamusLeft", affine)

    def series(self, folder: Path, n_volumes: int = 3) -> tuple[Path, np.ndarray]:
        data = values(n_volumes, 4, 10)
        image = Cifti2Image(data, header=(SeriesAxis(0, 1.5, n_volumes), self.axis()))
        nibabel.save(image, folder / "bold.dtseries.nii")
        return folder / "bold.dtseries.nii", data

    def test_vertices_and_voxels(self, tmp_path: Path) -> None:
        path, data = self.series(tmp_path)
        reader = open_cifti_reader(path)
        np.testing.assert_array_equal(reader.read(path), data)
        assert reader.units[:6] == ["L_v00000", "L_v00003", "L_v00031", "L_v00007", "R_v00005", "R_v32491"]
        assert reader.units[6:] == ["v0", "v1", "v2", "v3"]
        info = reader.unit_info
        assert info["vertex"].tolist() == [0, 3, 31, 7, 5, 32491, -1, -1, -1, -1]
        np.testing.assert_array_equal(info.loc[6:, list("ijk")], np.argwhere(self.VOLUME))
        np.testing.assert_array_equal(info.loc[6, ["x", "y", "z"]].astype(float), [-4, -3, -2])
        assert (info.loc[:5, "i"] == -1).all()
        assert reader.attrs["space"] == "fsLR-32k"

    def test_values_go_back_to_surface_and_volume(self, tmp_path: Path) -> None:
        path, data = self.series(tmp_path)
        reader = open_cifti_reader(path)
        units = make_responses(data, list("abc"), reader.units, unit_info=dict(reader.unit_info), attrs=reader.attrs)
        maps = surface_maps(units, data[0])
        np.testing.assert_array_equal(maps["left"][[0, 3, 31, 7]], data[0, :4])
        np.testing.assert_array_equal(maps["right"][[5, 32491]], data[0, 4:6])
        assert np.isfinite(maps["left"]).sum() == 4
        volume = np.asarray(volume_image(units, data[0]).dataobj)
        np.testing.assert_array_equal(volume[self.VOLUME], data[0, 6:])
        assert np.isfinite(volume).sum() == 4

    def test_scalars_of_some_structures(self, tmp_path: Path) -> None:
        data = values(2, 4, 10)
        image = Cifti2Image(data, header=(ScalarAxis(["dog", "rain"]), self.axis()))
        nibabel.save(image, tmp_path / "betas.dscalar.nii")
        for structures, columns in (
            (["cortex"], [0, 1, 2, 3, 4, 5]),
            (["thalamus_left", "cortex_right"], range(4, 10)),
        ):
            reader = open_cifti_reader(tmp_path / "betas.dscalar.nii", structures=structures)
            np.testing.assert_array_equal(reader.read(tmp_path / "betas.dscalar.nii"), data[:, list(columns)])

    def test_labels(self, tmp_path: Path) -> None:
        path, data = self.series(tmp_path)
        table = {0: ("???", (0, 0, 0, 0)), 1: ("A1", (1, 0, 0, 1)), 2: ("Belt", (0, 1, 0, 1))}
        numbers = np.array([[1, 1, 2, 0, 1, 2, 0, 0, 0, 0]], np.float32)
        labels = tmp_path / "x.dlabel.nii"
        nibabel.save(Cifti2Image(numbers, header=(LabelAxis(["atlas"], [table]), self.axis())), labels)
        reader = open_cifti_reader(path, labels=labels)
        assert reader.unit_info["region"].tolist() == ["A1", "A1", "Belt", "A1", "Belt"]
        np.testing.assert_array_equal(reader.read(path), data[:, [0, 1, 2, 4, 5]])
        means = open_cifti_reader(path, labels=labels, average_regions=True)
        assert means.units == ["L_A1", "L_Belt", "R_A1", "R_Belt"]
        expected = np.column_stack([data[:, :2].mean(axis=1), data[:, 2], data[:, 4], data[:, 5]])
        np.testing.assert_allclose(means.read(path), expected, rtol=1e-6)
        belt = open_cifti_reader(path, labels=labels, regions=["Belt"])
        np.testing.assert_array_equal(belt.read(path), data[:, [2, 5]])

    def test_bad_input(self, tmp_path: Path) -> None:
        path, data = self.series(tmp_path)
        reader = open_cifti_reader(path)
        other = Cifti2Image(data[:, :4], header=(SeriesAxis(0, 1.5, 3), self.axis()[:4]))
        nibabel.save(other, tmp_path / "other.dtseries.nii")
        with pytest.raises(BrainError, match=r"holds other vertices and voxels \(4\) than the first file \(10\)"):
            reader.read(tmp_path / "other.dtseries.nii")
        with pytest.raises(BrainError, match="no structure 'thalamus'; did you mean 'thalamus_left'"):
            open_cifti_reader(path, structures=["thalamus"])
        with pytest.raises(BrainError, match="which holds both hemispheres"):
            read_surface(path)
        nibabel.save(nibabel.Nifti1Image(np.ones((2, 2, 2), np.float32), np.eye(4)), tmp_path / "volume.nii")
        with pytest.raises(BrainError, match=r"volume.nii is no CIFTI-2 file"):
            open_cifti_reader(tmp_path / "volume.nii")
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(BrainError, match="damaged or cut short"):
            reader.read(path)
