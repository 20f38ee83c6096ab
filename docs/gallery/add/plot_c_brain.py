"""
Add a brain
===========

Responses of yours, from a table or an array, become brain data that every measure takes. Images go another way: see
"A study of your own" for a BIDS folder or one image per stimulus.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import brainalign as ba
from brainalign.brain import BRAINS

folder = Path(tempfile.mkdtemp())
sounds = ba.load_stimuli("demo")

# %%
# A table
# -------
# A CSV with the column ``stimulus_id`` and one column per unit: voxel, electrode, region, component. Rows are matched
# by id, so their order does not matter. The responses here are those of a simulated region average.

truth = ba.load_brain("demo-components").responses.mean("repetition")
table = truth.sel(unit=["pitch", "speech"]).to_pandas().rename_axis("stimulus_id")
table.sample(frac=1, random_state=0).to_csv(folder / "our-electrodes.csv")
brain = ba.load_brain("table", path=str(folder / "our-electrodes.csv"), citation="our lab, 2026")
print(brain)

# %%
# In a recipe::
#
#     [brain]
#     name = "table"
#     path = "our-electrodes.csv"
#     citation = "our lab, 2026"
#
# With repetitions
# ----------------
# Repetitions are what a noise ceiling is made of, so keep them: an array ``(repetition, stimulus, unit)``, with the
# subject and the region of each unit.

rng = np.random.default_rng(0)
signal = truth.values @ rng.gamma(1.0, size=(6, 40))
values = signal + 1.5 * rng.standard_normal((3, *signal.shape))
responses = ba.make_responses(
    values,
    truth["stimulus"].values.tolist(),
    [f"electrode-{i:02d}" for i in range(40)],
    stimulus_info=sounds.table[["category"]],
    unit_info={"subject": np.repeat(["p1", "p2", "p3", "p4"], 10), "region": np.tile(["STG", "HG"], 20)},
)
ours = ba.BrainData("our-electrodes", responses, version="1", citation="our lab, 2026", licence="on request")
path = ba.save_brain(ours, folder / "our-electrodes.nc")
print(ba.load_brain("table", path=str(path)))

# %%
# Is it reliable?
# ---------------
# The first question about any brain data. The median over the electrodes of each patient, and what a model could reach.

ba.reliability(ours).table[["target", "statistic", "value", "ci_low", "ci_high", "n", "n_of"]]

# %%
# Give it a name
# --------------
# In a package of yours: ``[project.entry-points."brainalign.brains"]``, and the name works in recipes.


@BRAINS.register("our-electrodes")
def load_our_electrodes() -> ba.BrainData:
    """Load the electrodes of our lab."""
    return ba.load_brain("table", path=str(path))


model = ba.extract(ba.load_model("kim2024-cnn:no-music/0"), sounds, layers=["conv*", "avgpool"])
encoding = ba.voxel_encoding(
    model, ba.load_brain("our-electrodes"), correction="reliability", n_permutations=0, n_bootstrap=200
)
encoding.table.loc[encoding.table["layer"] == "chosen", ["target", "value", "ci_low", "ci_high", "n", "n_of"]]

# %%
# Each electrode: what the chosen layers predict against how reliable it is.

scores = pd.DataFrame({
    "score": encoding.arrays["scores"].sel(layer="chosen").to_series(),
    "reliability": ba.reliability(ours, statistics=["split-half"]).arrays["split-half"].to_series(),
})  # fmt: skip
figure, axes = plt.subplots(figsize=(4.5, 3.4), layout="constrained")
for region, rows in scores.groupby(pd.Series(responses["region"].values, index=responses["unit"].values)):
    axes.scatter(rows["reliability"], rows["score"], s=22, label=region)
axes.set(xlabel="split-half reliability", ylabel="corrected r²", title="electrodes")
axes.legend(frameon=False)
