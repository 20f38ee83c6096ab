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


@pytest.mark.parametrize("text", ["careful", '{"a": 1}', "[1]"])
def test_warnings_that_are_no_list_are_refused(tmp_path, text):
    responses = voxels().responses.assign_attrs(warnings=text)
    with pytest.raises(BrainError, match="expected a JSON list of strings"):
        load_brain("table", path=str(save_responses(responses, tmp_path / "voxels.nc")))
