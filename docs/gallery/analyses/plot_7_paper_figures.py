"""
Figures for a paper
===================

Every figure of a report is a function that takes tidy data and your axes. Text stays text in SVG and PDF, and the
numbers go with it as CSV.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

import brainalign as ba
from brainalign.report.figures import plot_category_grid, plot_response_profiles, plot_targets

sounds = ba.load_stimuli("demo")
brain = ba.load_brain("demo-components")
names = {"kim2024-cnn:no-music/0": "no music", "kim2024-cnn@random:0": "random weights", "logmel": "log-mel"}
results = {n: ba.component_encoding(ba.extract(ba.load_model(n), sounds), brain, n_permutations=0, n_bootstrap=200)
           for n in names}  # fmt: skip

# %%
# Your axes
# ---------
# Make the axes yourself; names of models are yours too.

table = pd.concat([r.table for r in results.values()], ignore_index=True).replace({"model": names})
plt.rcParams.update({"svg.fonttype": "none", "pdf.fonttype": 42, "font.size": 8})
figure, axes = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
plot_targets(axes, table)
axes.set_xlabel("held-out r²")

# %%
# Save it, with its data beside it.

folder = Path(tempfile.mkdtemp())
figure.savefig(folder / "encoding.pdf")
figure.savefig(folder / "encoding.svg")
table.to_csv(folder / "encoding.csv", index=False)
print(*sorted(p.name for p in folder.iterdir()))
print("text stays text:", "<text" in (folder / "encoding.svg").read_text(encoding="utf-8"))

# %%
# Response profiles
# -----------------
# The form of Figure 2 of Norman-Haignere et al. (2015) for two components: the brain at the left, held-out predictions
# at the right, each sorted by its own responses. Each colour is a category.

result = results["kim2024-cnn:no-music/0"]
profiles = {"brain": result.arrays["observed"], "network": result.arrays["predictions"].sel(layer="chosen")}
two = {whose: profile.sel(target=["speech", "music"]) for whose, profile in profiles.items()}
plot_response_profiles(two, sounds.table["category"], figure=plt.figure(figsize=(11, 4.2), layout="constrained"))

# %%
# And the means of categories, for all components.

plot_category_grid(profiles, sounds.table["category"], figure=plt.figure(figsize=(11, 4), layout="constrained"))

# sphinx_gallery_thumbnail_number = 2
