"""
Components of voxel responses
=============================

Thousands of voxels answer to sounds in few independent ways. Voxel decomposition finds these ways without being told
what the sounds are. Here the voxels are simulated, so that the right answer is known.
"""

import matplotlib.pyplot as plt

import brainalign as ba
from brainalign.brain.simulation import simulate_brain, simulate_components
from brainalign.report.figures import plot_category_means

sounds = ba.load_stimuli("demo")
truth = simulate_components(sounds)
voxels = simulate_brain(truth, noise_sd=0.3).responses
print(dict(voxels.sizes))

# %%
# How many?
# ---------
# Each number of components predicts the responses of held-out subjects to held-out sounds.

ba.cross_validate_n_components(voxels)

# %%
# Find and match
# --------------

found = ba.VoxelDecomposition(n_components=6, seed=0).fit(voxels)
ba.match_components(truth, found.profiles_)

# %%
# ``negentropy_`` near 0 and starts that disagree say: do not interpret this component, whatever its profile looks like.

named = found.named_after(truth)
print(named.negentropy_.round(3))

# %%
# What was found beside what was planted, as category means.

category = sounds.table["category"]
figure, axes = plt.subplots(2, 3, figsize=(10, 5), sharey=True, layout="constrained")
for ax, name in zip(axes.flat, truth["unit"].values, strict=True):
    profile, planted = named.profiles_.sel(unit=name).to_series(), truth.sel(unit=name).to_series()
    order = list(category.unique())
    plot_category_means(ax, profile, category, order=order)
    means = planted.groupby(category).mean().loc[order] * profile.std() / planted.std()
    ax.plot(means, range(len(order)), "D", color="black", markerfacecolor="none", markersize=5)
    ax.set_title(str(name))
figure.suptitle("bars: found (mean and SEM over sounds); diamonds: planted", fontsize=9)
