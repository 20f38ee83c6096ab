"""Noise ceilings beside the curves of layers, where the reliability of the brain was measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import brainalign as ba
from brainalign.report.figures import noise_ceilings, plot_layer_curves


@pytest.fixture(scope="module")
def measured():
    brain = ba.load_brain("demo-components")
    return brain, ba.reliability(brain, n_bootstrap=0)


def test_ceilings_are_the_share_of_signal_in_the_mean(measured):
    """By analysis of variance of each component over sounds and repetitions, computed apart."""
    brain, result = measured
    found = noise_ceilings([result], "demo-components")
    assert list(found) == brain.responses["unit"].values.tolist()
    for k, (_, ceiling) in enumerate(found.items()):
        runs = brain.responses.values[:, :, k] - brain.responses.values[:, :, k].mean(axis=1, keepdims=True)
        n, sounds = runs.shape
        within = ((runs - runs.mean(axis=0)) ** 2).sum() / ((n - 1) * (sounds - 1))
        between = n * (runs.mean(axis=0) ** 2).sum() / (sounds - 1)
        assert ceiling == pytest.approx(1 - within / between, abs=1e-2)


def test_other_brains_and_other_measures_give_none(measured):
    _, result = measured
    assert noise_ceilings([result], "another") == {}
    assert noise_ceilings([], "demo-components") == {}


def test_a_dotted_line_stands_at_the_ceiling_of_each_target():
    rows = [("net", layer, target, 0.2, 0.1, 0.3) for target in ("a", "b") for layer in ("1", "2", "3")]
    table = pd.DataFrame(rows, columns=["model", "layer", "target", "value", "ci_low", "ci_high"])
    figure = plot_layer_curves(table, ceilings={"a": 0.8})
    first, second = figure.axes[:2]
    dotted = [line for line in first.lines if line.get_linestyle() == ":"]
    assert [np.unique(line.get_ydata()).tolist() for line in dotted] == [[0.8]]
    assert not [line for line in second.lines if line.get_linestyle() == ":"]
    assert "noise ceiling" in [text.get_text() for text in figure.legends[0].get_texts()]
