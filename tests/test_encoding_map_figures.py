"""The figure of an encoding map and its words."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from brainalign.measures.encoding_map import encoding_map
from brainalign.measures.result import Result
from brainalign.report.answers import SENTENCES
from brainalign.report.captions import caption
from brainalign.report.encoding_map_figures import plot_encoding_map
from brainalign.responses import make_responses


@pytest.fixture(scope="module")
def result() -> Result:
    rng = np.random.default_rng(0)
    ids = [f"c{i:02d}" for i in range(60)]
    split = {"split": ["test" if i % 3 == 0 else "train" for i in range(60)]}
    features = [rng.standard_normal((60, 5)) for _ in range(2)]
    spaces = {
        name: make_responses(x, ids, stimulus_info=split, unit_info={"layer": ["top"] * 5}, attrs={"source": name})
        for name, x in zip(("sound", "noise"), features, strict=True)
    }
    voxels = features[0] @ rng.standard_normal((5, 20)) + rng.standard_normal((60, 20))
    voxels[:, 10:] = rng.standard_normal((60, 10))
    where = {"subject": ["sub-01", "sub-02"] * 10, "region": ["auditory"] * 10 + ["frontal"] * 10}
    brain = make_responses(voxels, ids, unit_info=where, attrs={"source": "lab"})
    return encoding_map(spaces, brain, n_permutations=50, n_bootstrap=50)


def test_the_figure_holds_the_means_of_the_table(result: Result) -> None:
    ax = plot_encoding_map(Figure().subplots(), result)
    rows = result.table[(result.table["statistic"] == "r_mean") & (result.table["subject"] == "all subjects")]
    drawn = np.concatenate([line.get_ydata() for line in ax.get_lines() if line.get_label() in ("sound", "noise")])
    assert sorted(drawn) == pytest.approx(sorted(rows["value"]))
    assert [t.get_text() for t in ax.get_xticklabels()] == ["all units", "auditory", "frontal"]


def test_the_answer_says_shares_by_the_null_that_was_asked_for(result: Result) -> None:
    text = SENTENCES["encoding-map"](result.table, [result])
    rows = result.table[
        (result.table["statistic"] == "share_significant") & (result.table["subject"] == "all subjects")
    ]
    rows = rows[(rows["target"] == "all units") & (rows["null"] == "permutation") & (rows["model"] == "sound")]
    whole = result.table[(result.table["statistic"] == "r_mean") & (result.table["subject"] == "all subjects")]
    r = whole[(whole["target"] == "all units") & (whole["model"] == "sound")]["value"].item()
    assert f"by sound, mean r over all voxels = {r:.2f}" in text
    assert f"{100 * rows['value'].item():.0f}% of them significant; by noise" in text
    assert "false discovery rate 0.05" in text
    assert "bootstrap over subjects and test clips" in caption(result)
