"""
Add a measure
=============

A measure is a function from responses to a ``Result``. Register it, and recipes, the command line and the report know
it by name.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import brainalign as ba
from brainalign.measures import MEASURES
from brainalign.measures.result import result_table
from brainalign.responses import units_by_layer
from brainalign.stats import bootstrap_interval, permutation_p, permute_labels

# %%
# The question
# ------------
# How sparse is a layer's answer to a sound? The measure of Treves and Rolls (1991): 1 minus the squared mean over the
# mean square of the responses, over units; 0 if all units respond alike, towards 1 if few respond.
#
# What a measure needs it names in its signature: ``responses``, ``brain``, ``selection``, ``model``, ``stimuli`` or
# ``all_responses``. Everything else is an option of the recipe, checked by its type. ``seed`` comes from the recipe.


@MEASURES.register("sparseness")
def sparseness(responses, *, categories: list[str], n_permutations: int = 500, seed: int = 0) -> ba.Result:
    """Compare the sparseness of the answer to some categories with that to all other sounds."""
    rng = np.random.default_rng(seed)
    is_target = np.isin(responses["category"].values, categories)
    shuffled = permute_labels(len(is_target), n_permutations, rng)
    rows = []
    for layer, units in units_by_layer(responses).items():
        x = responses.values[:, units].astype(float)
        sparse = 1 - x.mean(axis=1) ** 2 / (x**2).mean(axis=1)
        interval = bootstrap_interval(np.mean, sparse[is_target], n_resamples=500, seed=seed)
        difference = sparse[is_target].mean() - sparse[~is_target].mean()
        null = [sparse[t].mean() - sparse[~t].mean() for t in is_target[shuffled]]
        rows.append({
            "measure": "sparseness", "model": responses.attrs["source"], "layer": layer, "statistic": "sparseness",
            "value": sparse[is_target].mean(), "ci_low": interval.low, "ci_high": interval.high,
            "p": permutation_p(difference, null, alternative="two-sided"), "effect_size": difference,
            "n": int(is_target.sum()), "n_of": "stimuli", "chance": sparse[~is_target].mean(),
        })  # fmt: skip
    return ba.Result("sparseness", result_table(rows), settings={"test": "two-sided permutation of target and rest"})


# %%
# In Python
# ---------

sounds = ba.load_stimuli("demo")
model = ba.load_model("kim2024-cnn:no-music/0")
responses = ba.extract(model, sounds, layers=["conv*", "avgpool"])
result = sparseness(responses, categories=["Music", "Song"])
result.table[["layer", "value", "ci_low", "ci_high", "p", "effect_size", "n", "n_of", "chance"]]

# %%
# In a recipe
# -----------
# The same options by the same names; one that does not exist is an error that says so before anything is computed.

folder = Path(tempfile.mkdtemp())
(folder / "study.toml").write_text(
    """
title = "Sparse music"
question = "Is the answer to music sparser?"
stimuli = { set = "demo" }

[[models]]
name = "kim2024-cnn:no-music/0"
layers = ["conv*", "avgpool"]

[[measures]]
name = "sparseness"
categories = ["Music", "Song"]
""",
    encoding="utf-8",
)
out = ba.run_recipe(folder / "study.toml", folder / "results", audio=False)
pd.read_csv(out / "results.csv")[["measure", "layer", "value", "p", "n"]]

# %%
# A figure, drawn from the table.

figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
table = result.table
error = [table["value"] - table["ci_low"], table["ci_high"] - table["value"]]
axes.errorbar(table["layer"], table["value"], yerr=error, fmt="o-", label="Music and Song")
axes.plot(table["layer"], table["chance"], "s--", color="0.5", label="other sounds")
axes.set(ylabel="sparseness", title="How sparse is the answer?")
axes.legend(frameon=False)

# %%
# What a good measure does besides: say its n and what the n counts; take its p from permuted labels and its interval
# from resampled sounds; never test on what selected; name what it left out in ``warnings``; refuse what it cannot do
# with a ``MeasureError``. From a package it is an entry point, ``[project.entry-points."brainalign.measures"]``.
