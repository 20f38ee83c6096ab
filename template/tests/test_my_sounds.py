"""The set loads by its name, and nothing in it keeps a study from running."""

import pytest

from brainalign import load_stimuli
from brainalign.stimuli.checks import check_stimuli

NAME = "my-sounds"


@pytest.fixture(scope="module")
def report():
    """Give the report of the check."""
    return check_stimuli(load_stimuli(NAME))


def test_the_set_loads_by_its_name():
    """The entry point works, and every sound can be read."""
    stimuli = load_stimuli(NAME)
    assert stimuli.name == NAME
    assert all(len(stimuli.waveform(i)[0]) for i in stimuli.ids)


def test_no_errors(report):
    """Nothing keeps a study from running."""
    assert not [f.message for f in report.of_level("error")]


# Add the checks whose warnings you do not accept: their names stand before each warning of `brainalign stimuli check`.
@pytest.mark.parametrize("check", ["clipping", "near-duplicates", "sample-rate"])
def test_no_warning(report, check):
    """Warnings that this set does not accept."""
    assert not [f.message for f in report.findings if f.check == check]
