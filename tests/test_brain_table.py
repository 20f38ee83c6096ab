"""Brain data kept in a file of the lab's own."""

import numpy as np
import pytest

from brainalign.brain import BrainData, load_brain
from brainalign.brain.table import save_brain
from brainalign.errors import BrainError
from brainalign.responses import make_responses, save_responses


def voxels():
    values = np.random.default_rng(0).standard_normal((2, 3, 4))
    responses = make_responses(values, ["a", "b", "c"], unit_info={"subject": ["sub-01"] * 4})
    return BrainData("lab", responses, "1", "Someone 2026", "CC0-1.0", warnings=("sub-02 was left out",))


def test_what_belongs_to_the_data_survives_the_file(tmp_path):
    brain = voxels()
    again = load_brain("table", path=str(save_brain(brain, tmp_path / "voxels.nc")))
    np.testing.assert_array_equal(again.responses, brain.responses)
    assert (again.citation, again.licence, again.warnings) == (brain.citation, brain.licence, brain.warnings)
    assert again.name == "voxels"


def test_what_the_recipe_says_of_the_data_stands_above_the_file(tmp_path):
    again = load_brain("table", path=str(save_brain(voxels(), tmp_path / "voxels.nc")), citation="Someone else")
    assert (again.citation, again.licence) == ("Someone else", "CC0-1.0")


def test_responses_alone_are_unpublished(tmp_path):
    again = load_brain("table", path=str(save_responses(voxels().responses, tmp_path / "voxels.nc")))
    assert (again.citation, again.licence, again.warnings) == ("unpublished", "not stated", ())


class TestArrays:
    def write(self, folder, **changes):
        values = np.random.default_rng(0).standard_normal((2, 3, 4))
        arrays = {"responses": values, "stimulus": np.array(["a", "b", "c"]), "unit_subject": np.array(["sub-01"] * 4),
                  "stimulus_category": np.array(["x", "y", "x"])} | changes  # fmt: skip
        np.savez_compressed(folder / "voxels.npz", **{k: v for k, v in arrays.items() if v is not None})
        return str(folder / "voxels.npz"), values

    def test_arrays_with_what_describes_them(self, tmp_path):
        path, values = self.write(tmp_path, unit=np.array(["v1", "v2", "v3", "v4"]))
        responses = load_brain("table", path=path).responses
        np.testing.assert_array_equal(responses.values, values)
        assert responses.dims == ("repetition", "stimulus", "unit")
        assert responses["stimulus"].values.tolist() == ["a", "b", "c"]
        assert responses["unit"].values.tolist() == ["v1", "v2", "v3", "v4"]
        assert responses["category"].values.tolist() == ["x", "y", "x"]
        assert set(responses["subject"].values) == {"sub-01"}

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"stimulus": None}, "lacks the array 'stimulus'; it holds responses"),
            ({"stimulus": np.array(["a", "b"])}, "stimulus has 2 entries"),
            ({"unit_region": np.array(["A1"])}, "region has 1 entries"),
            ({"notes": np.array(["x"])}, "what is the array 'notes'"),
            ({"responses": np.array([object()])}, "cannot be read as an npz file"),
        ],
    )
    def test_mistakes_are_named(self, tmp_path, changes, message):
        path, _ = self.write(tmp_path, **changes)
        with pytest.raises(BrainError, match=message):
            load_brain("table", path=path)

    def test_a_file_that_is_no_archive(self, tmp_path):
        (tmp_path / "voxels.npz").write_bytes(b"PK\x03\x04 cut off")
        with pytest.raises(BrainError, match="cannot be read as an npz file"):
            load_brain("table", path=str(tmp_path / "voxels.npz"))


@pytest.mark.parametrize("text", ["careful", '{"a": 1}', "[1]"])
def test_warnings_that_are_no_list_are_refused(tmp_path, text):
    responses = voxels().responses.assign_attrs(warnings=text)
    with pytest.raises(BrainError, match="expected a JSON list of strings"):
        load_brain("table", path=str(save_responses(responses, tmp_path / "voxels.nc")))
