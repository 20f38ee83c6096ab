"""
Listen: manipulations and quilts
================================

A manipulation turns one set of sounds into another. Hear what it does before you believe what it shows.
"""

import matplotlib.pyplot as plt
import numpy as np

import brainalign as ba
from brainalign.report.listening import snippet
from brainalign.stimuli.manipulations import phase_randomise, time_reverse
from brainalign.stimuli.quilting import quilted

sounds = ba.load_stimuli("demo").select(categories=["Music", "Song", "Speech", "Texture"])


class Player:
    """Sounds that a notebook or a page plays."""

    def __init__(self, waveforms):
        self.waveforms = waveforms

    def _repr_html_(self):
        rows = (f'<span>{name}</span><audio controls aria-label="{name}" src="{snippet(*sound).uri}"></audio>'
                for name, sound in self.waveforms.items())  # fmt: skip
        return f'<div class="listen">{"".join(rows)}</div>'


# %%
# One melody, five ways
# ---------------------
# Nothing is computed before a sound is played, and the original set stays as it is. Quilts cut a sound into segments
# and put these into another order, so that what is longer than a segment is lost (Overath et al. 2015).

melody = "music03_violin_melody"
versions = {
    "original": sounds,
    "quilt of 60 ms": quilted(sounds, 60),
    "quilt of 240 ms": quilted(sounds, 240),
    "reversed": time_reverse(sounds),
    "phases drawn at random": phase_randomise(sounds, seed=0),
}
Player({name: version.waveform(melody) for name, version in versions.items()})

# %%
# Their spectrograms: the spectrum over the whole sound stays, its order goes.

figure, axes = plt.subplots(1, len(versions), figsize=(11, 2.6), sharex=True, sharey=True, layout="constrained")
for ax, (name, version) in zip(axes, versions.items(), strict=True):
    waveform, rate = version.waveform(melody)
    power, *_ = ax.specgram(waveform + 1e-8, NFFT=1024, Fs=rate, noverlap=768, cmap="magma", vmin=-140, vmax=-50)
    ax.set(title=name, ylim=(0, 6000), xlabel="time (s)", facecolor="black")
axes[0].set_ylabel("frequency (Hz)")

# %%
# How long a stretch do units need?
# ---------------------------------
# Units that prefer music are selected on originals and tested on quilts of other sounds. ``log_length_r`` is a
# correlation over lengths, here over three, where it is high easily: the p comes from the slopes of single sounds.

model = ba.load_model("kim2024-cnn:no-music/0")
responses = ba.extract(model, sounds, layers=["avgpool"])
sweep = ba.quilt_sweep(responses, model, sounds, categories=["Music", "Song"], segments_ms=[60, 240, 480],
                       n_bootstrap=200)  # fmt: skip
rows = sweep.table[(sweep.table["statistic"] == "log_length_r") & (sweep.table["target"] == "selected units")]
rows[["layer", "sounds", "value", "ci_low", "ci_high", "p", "n", "n_of", "note"]]

# %%
sweep.plot()

# %%
# A quilt of short segments is not only music without structure: its borders, its level and its spectrum change a
# little too. Quilts of the *other* sounds, drawn beside, are the control.

loudness = {name: np.mean([np.std(v.waveform(i)[0]) for i in v.ids]) for name, v in versions.items()}
print({name: round(float(value), 4) for name, value in loudness.items()})

# sphinx_gallery_thumbnail_number = 1
