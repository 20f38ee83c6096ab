"""The component maps are the published ones, and maps and clusters belong together."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from brainalign.brain.nh2015 import COMPONENTS, load_nh2015_components
from brainalign.brain.nh2015_maps import load_nh2015_maps
from brainalign.errors import BrainError, DownloadError

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def maps(shared_data: Path) -> xr.Dataset:
    return load_nh2015_maps(shared_data / "natsound165")


def test_form(maps: xr.Dataset) -> None:
    assert maps.sizes == {"component": 6, "hemisphere": 2, "vertex": 163_842}
    assert maps["component"].values.tolist() == list(COMPONENTS)
    assert maps.attrs["space"] == "fsaverage"
    # The icosahedron that was divided seven times has 10 x 4^7 + 2 vertices.
    assert maps.sizes["vertex"] == 10 * 4**7 + 2


def test_all_components_are_mapped_where_the_first_is(maps: xr.Dataset) -> None:
    measured = maps["significance"].notnull()
    assert (measured == measured.isel(component=0)).all()
    assert measured.isel(component=0).sum("vertex").values.tolist() == [11_618, 12_015]


def test_clusters_are_the_top_tenth_of_both_hemispheres(maps: xr.Dataset) -> None:
    """All vertices of a cluster lie above one threshold, which 10 to 10.5 % of the mapped vertices reach."""
    for component in COMPONENTS:
        one = maps.sel(component=component)
        values, inside = one["significance"].values, one["cluster"].values
        threshold = values[inside].min()
        share = np.nanmean(np.where(np.isnan(values), np.nan, values >= threshold))
        assert 0.1 <= share <= 0.105, component
        outside = (values >= threshold) & ~inside
        # What is above it and not inside is a cluster of its own: there is one only in some hemispheres.
        assert outside.sum() < inside.sum(), component
    assert maps["cluster"].sum("vertex").sel(component="music").values.tolist() == [1_116, 692]


def test_scalars_of_the_labels_are_the_values_of_the_maps(maps: xr.Dataset, shared_data: Path) -> None:
    from nibabel.freesurfer import read_label

    for number, component in enumerate(COMPONENTS, start=1):
        for hemisphere, side in (("left", "lh"), ("right", "rh")):
            path = shared_data / f"natsound165/data/component-clusters-top10/{side}.comp{number}.label"
            vertices, scalars = read_label(path, read_scalars=True)
            one = maps.sel(component=component, hemisphere=hemisphere)
            np.testing.assert_allclose(one["significance"].values[vertices], scalars, rtol=1e-6)
            assert set(np.flatnonzero(one["cluster"].values)) == set(vertices)


def test_where_the_strongest_clusters_lie(maps: xr.Dataset, shared_data: Path) -> None:
    """On the right, speech lies to the side of the tonotopic low-frequency component, music in front of it."""
    from nibabel.freesurfer import read_label

    def centre(component: str) -> np.ndarray:
        number = COMPONENTS.index(component) + 1
        lines = (shared_data / f"natsound165/data/component-clusters-top10/rh.comp{number}.label").read_text()
        rows = np.array([line.split() for line in lines.splitlines()[2:]], dtype=float)
        vertices = read_label(shared_data / f"natsound165/data/component-clusters-top10/rh.comp{number}.label")
        assert rows[:, 0].astype(int).tolist() == vertices.tolist()
        return rows[:, 1:4].mean(axis=0)

    assert centre("speech")[0] > centre("lowfreq")[0]
    assert centre("music")[1] > centre("lowfreq")[1]


def test_by_the_fetched_folder(maps: xr.Dataset) -> None:
    assert load_nh2015_maps().identical(maps)
    assert "significance" not in load_nh2015_components().arrays


def test_a_changed_file_is_refused(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(shared_data / "natsound165/data", tmp_path / "natsound165/data")
    path = tmp_path / "natsound165/data/component-clusters-top10/lh.comp6.label"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BrainError, match=r"clusters-top10/lh\.comp6\.label in .* are not the published files; do: "):
        load_nh2015_maps(tmp_path / "natsound165")
    path.parent.chmod(0o755)
    path.unlink()
    with pytest.raises(BrainError, match=r"lacks 1 of 24 maps and clusters: data/component-clusters-top10/lh\.comp6"):
        load_nh2015_maps(tmp_path / "natsound165")
    monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
    with pytest.raises(DownloadError, match=r"1 of 24 files of natsound165 are not in .*do: brainalign fetch"):
        load_nh2015_maps()


def test_a_path_that_is_none():
    with pytest.raises(BrainError, match="path must name a folder, found 3"):
        load_nh2015_maps(3)
