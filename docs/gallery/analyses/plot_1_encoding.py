"""
Which component of the brain does a network predict?
====================================================

The main job in Python: sounds, a brain, two models, and how well each layer predicts responses to sounds that it was
not fitted to.
"""

import matplotlib.pyplot as plt
import pandas as pd

import brainalign as ba
from brainalign.report.figures import plot_layer_curves, plot_targets

# %%
# Sounds and a brain
# ------------------
# ``demo`` are 66 synthesised sounds; ``demo-components`` are six components of a simulated brain that heard them, with
# the names of those that Norman-Haignere et al. (2015) found in human auditory cortex.

sounds = ba.load_stimuli("demo")
brain = ba.load_brain("demo-components")
print(sounds)
print(brain)

# %%
# Two models, one question
# ------------------------
# A network that learned without music, and the same network with random weights: the control without which no score
# of the first means much. Penalties are chosen on the training sounds; ``n_permutations`` and ``n_bootstrap`` are
# small here because the page has to be built quickly.

names = ["kim2024-cnn:no-music/0", "kim2024-cnn@random:0"]
responses = {name: ba.extract(ba.load_model(name), sounds) for name in names}
results = [ba.component_encoding(r, brain, n_permutations=200, n_bootstrap=200) for r in responses.values()]

# %%
# Each row of the table is one estimate, with its interval, its test, its n and what the n counts. The layer ``chosen``
# is picked on training sounds alone, so this is the row to quote.

table = pd.concat([r.table for r in results], ignore_index=True)
chosen = table[table["layer"] == "chosen"]
chosen[["model", "target", "value", "ci_low", "ci_high", "p", "n", "n_of"]]

# %%
# The same as a figure.

figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
plot_targets(axes, table)

# %%
# And over depth. The points at the right are the chosen layers.

plot_layer_curves(table, figure=plt.figure(figsize=(9, 5), layout="constrained"), label="held-out r²")

# %%
# What can mislead
# ----------------
# Every p is small, and the same for both models: it says that a layer knows *something* about the component, which
# random weights do too. The question is how far the trained network lies above them, and above acoustic baselines such
# as ``logmel``. Here it hardly does, for any component: the simulated brain is made of acoustics and categories, and 66
# sounds leave wide intervals. Whether a difference is more than chance is a test of its own, see ``component_match``
# and ``compare_models``.

# sphinx_gallery_thumbnail_number = 1
