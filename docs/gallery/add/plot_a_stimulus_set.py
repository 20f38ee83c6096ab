"""
Add a stimulus set
==================

From a folder of sounds to a set that every analysis takes. The folder here is made on the spot; take yours.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import soundfile

import brainalign as ba
from brainalign.stimuli import STIMULI, check_stimuli, create_stimulus_set

folder = Path(tempfile.mkdtemp())
rng = np.random.default_rng(0)
time = np.arange(44_100) / 22_050
for i in range(6):
    (folder / "recordings" / "Noise").mkdir(parents=True, exist_ok=True)
    (folder / "recordings" / "Tone").mkdir(exist_ok=True)
    noise = 0.05 * rng.standard_normal(len(time)) * (1 + np.sin(2 * np.pi * (i + 1) * time))
    tone = 0.1 * sum(np.sin(2 * np.pi * 110 * 2 ** (i / 4) * k * time) / k for k in range(1, 6))
    soundfile.write(folder / "recordings" / "Noise" / f"noise_{i}.wav", noise, 22_050)
    soundfile.write(folder / "recordings" / "Tone" / f"tone_{i}.wav", tone, 22_050)

# %%
# Make the set
# ------------
# Sub-folders become categories; a table can say more (``table="table.csv"``). Sounds are copied, never moved. The same
# on the command line: ``brainalign stimuli new my-sounds --from recordings``.

sounds = create_stimulus_set(folder / "my-sounds", folder / "recordings", citation="our lab, 2026", licence="CC0-1.0")
print(sounds)
sounds.table.head()

# %%
# Check it
# --------
# Errors keep a study from running. Warnings are what a reviewer would ask about: above all, do categories differ in
# level, duration or spectrum? Here they do, since noise and tones must.

report = check_stimuli(sounds)
for finding in report.findings:
    print(f"{finding.level}, {finding.check}: {finding.message}")

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 2.6), sharey=True, layout="constrained")
for ax, stimulus_id in zip(axes, ["noise_0", "tone_0"], strict=True):
    waveform, rate = sounds.waveform(stimulus_id)
    ax.specgram(waveform + 1e-8, NFFT=1024, Fs=rate, noverlap=768, cmap="magma", vmin=-140, vmax=-50)
    ax.set(title=f"{stimulus_id} ({sounds.table.loc[stimulus_id, 'category']})", xlabel="time (s)", ylim=(0, 6000))
axes[0].set_ylabel("frequency (Hz)")

# %%
# Use it
# ------
# By its folder: in Python, or in a recipe beside it as ``set = "my-sounds"``.

responses = ba.extract(ba.load_model("logmel"), ba.load_stimuli(folder / "my-sounds"))
print(dict(responses.sizes))

# %%
# Give it a name
# --------------
# A function that returns the set, and a name for it. In a package of yours the same is an entry point, and then the
# name works on the command line too; ``template/`` in the repository is such a package to copy::
#
#     [project.entry-points."brainalign.stimuli"]
#     my-sounds = "my_package:load_my_sounds"


@STIMULI.register("my-sounds")
def load_my_sounds() -> ba.StimulusSet:
    """Load the sounds of our lab."""
    return ba.load_stimuli(folder / "my-sounds")


print(ba.load_stimuli("my-sounds"))
