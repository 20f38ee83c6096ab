"""
Response ratios and selective units
===================================

How much stronger is the response to music than to everything else, in the brain and in the units of a network that
prefer music?
"""

import matplotlib.pyplot as plt
import pandas as pd

import brainalign as ba
from brainalign.report.figures import plot_profile, plot_ratios

sounds = ba.load_stimuli("demo")
brain = ba.load_brain("demo-components")
music = ["Music", "Song"]

# %%
# In the brain
# ------------
# One ratio per component, with a bootstrap over sounds and a rank-sum test. Where responses are negative a ratio is no
# gain factor: the note says so and the point is hollow.

result = ba.response_ratio(brain.responses, categories=music)
result.table[["target", "value", "ci_low", "ci_high", "p", "effect_size", "n", "note"]]

# %%

figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
plot_ratios(axes, result.table)

# %%
# In a network
# ------------
# Units are selected on one half of the sounds and tested on the other, and the other way round. A unit that was tested
# on the sounds that selected it would prefer music by construction. The p (twice the mean p of both directions) is
# cautious, and the interval does not know that other sounds would have selected other units: where the two disagree,
# as here, trust neither alone and test on a set of its own.

names = ["kim2024-cnn:no-music/0", "kim2024-cnn@random:0"]
layers = ["conv1", "conv2", "conv3", "avgpool"]
responses = {name: ba.extract(ba.load_model(name), sounds, layers=layers) for name in names}
selective = {name: ba.selective_ratio(r, categories=music, n_bootstrap=200) for name, r in responses.items()}
table = pd.concat([r.table for r in selective.values()], ignore_index=True)
columns = ["model", "layer", "target", "value", "ci_low", "ci_high", "p", "n_units"]
table.loc[table["layer"] == "avgpool", columns]

# %%
selective["kim2024-cnn:no-music/0"].plot()

# %%
# Sound by sound
# --------------
# The mean response of the selected units to each test sound, strongest first, coloured by category: which sounds make
# the ratio? Here some animal calls come before all music, which a ratio of means does not show.

profiles = selective["kim2024-cnn:no-music/0"].arrays["profiles"]
chosen = profiles[(profiles["layer"] == "avgpool").values & (profiles["target"] == "selected units").values]
values = pd.Series(chosen.mean("profile").values, index=chosen["stimulus"].values)
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
plot_profile(axes, values, sounds.table["category"])
axes.set_ylabel("response of selected units")

# sphinx_gallery_thumbnail_number = -1
