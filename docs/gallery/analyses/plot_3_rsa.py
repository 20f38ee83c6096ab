"""
Representational similarity: the geometry of layers and of the brain
====================================================================

RSA asks whether two sounds that are alike for the brain are alike for a layer too. First one layer after the other,
then two models against each other with a noise ceiling.
"""

import matplotlib.pyplot as plt

import brainalign as ba
from brainalign.report.figures import plot_rdms

sounds = ba.load_stimuli("demo")
voxels = ba.load_brain("demo-voxels")
model, control = (ba.load_model(name) for name in ("kim2024-cnn:no-music/0", "kim2024-cnn@random:0"))
layers = ["conv1", "conv2", "conv3", "avgpool"]
responses, others = ba.extract(model, sounds, layers=layers), ba.extract(control, sounds, layers=layers)

# %%
# RDMs
# ----
# Each cell is a pair of sounds: how differently the units respond to them. Sounds are grouped by category.

result = ba.rsa(responses, voxels, n_permutations=200, n_bootstrap=200)
category = sounds.table["category"]
figure = plt.figure(figsize=(10, 5.5), layout="constrained")
plot_rdms(result.arrays["brain_rdm"], result.arrays["rdms"], category, figure=figure, n_columns=3)

# %%
# The rank correlation of each layer's RDM with that of the brain. Pairs of sounds are not independent, so the p comes
# from permuted sounds and the interval from resampled sounds, never from the number of pairs.

result.table[["layer", "value", "ci_low", "ci_high", "p", "n", "n_of"]]

# %%
# Which model is better?
# ----------------------
# ``compare_models`` scores every subject, adds the ceiling that the data allow, and tests differences between models
# directly: that one p is small and the other is not is no such test.

pair = {"trained": responses.sel(unit=responses["layer"] == "avgpool"),
        "random weights": others.sel(unit=others["layer"] == "avgpool")}  # fmt: skip
compared = ba.compare_models(pair, voxels, n_bootstrap=200, n_permutations=200)
columns = ["model", "model_2", "statistic", "value", "ci_low", "ci_high", "p", "ceiling_lower", "ceiling_upper"]
compared.table[columns]

# %%
compared.plot()
