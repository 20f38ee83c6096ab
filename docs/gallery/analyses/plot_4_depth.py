"""
Which layer for which region?
=============================

Deeper layers for regions further from primary auditory cortex? First the score of every layer, then the relative best
stage of each region, with the choice of a layer kept apart from its test.
"""

import matplotlib.pyplot as plt

import brainalign as ba
from brainalign.report.figures import plot_layer_curves

sounds = ba.load_stimuli("demo")
voxels = ba.load_brain("demo-voxels")
model = ba.load_model("kim2024-cnn:no-music/0")
print(*model.layouts, sep=", ")

# %%
# Layers are asked for by name or by glob. Everything is extracted in one pass.

responses = ba.extract(model, sounds, layers=["conv*", "avgpool", "fc*"])

# %%
# Voxel encoding
# --------------
# Scores are corrected for noise by the reliability of each voxel: a voxel that does not answer twice alike is flagged,
# not divided into a good one. Subjects count, not voxels.

encoding = ba.voxel_encoding(responses, voxels, correction="reliability", n_permutations=0, n_bootstrap=200)
regions = encoding.table[encoding.table["target"] != "all units"]
plot_layer_curves(regions, figure=plt.figure(figsize=(9, 5), layout="constrained"), n_columns=2, label="corrected r²")

# %%
# The layer ``chosen`` is picked for each voxel on training sounds; the highest of the other rows is high by luck too.

chosen = encoding.table[encoding.table["layer"] == "chosen"]
chosen[["target", "value", "ci_low", "ci_high", "n", "n_of", "note"]]

# %%
# Depth profile
# -------------
# For each voxel the best stage between 0 (first layer) and 1 (last), averaged within region and subject. Regions are
# compared within subjects by the signed-rank test. With four subjects its p cannot fall below 1/8, whatever the data
# say: look at the effect and plan for more people.

depth = ba.depth_profile(responses, voxels, n_bootstrap=200)
depth.table[["target", "statistic", "value", "ci_low", "ci_high", "p", "n", "n_of"]]

# %%
depth.plot()

# %%
# In this simulation the weights do not depend on the region, so there is no gradient to be found. A figure that shows
# one would be a false alarm.
