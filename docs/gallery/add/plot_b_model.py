"""
Add a model
===========

Any ``torch.nn.Module`` that takes waveforms is a model in one line: its layers and their axes are found by listening.
"""

import matplotlib.pyplot as plt
import pandas as pd
import torch

import brainalign as ba
from brainalign.models import MODELS, describe_layers
from brainalign.report.figures import plot_rsa


class SmallNet(torch.nn.Module):
    """Two convolutions over the waveform, ``(n_sounds, n_samples)``. The front end is part of the network."""

    def __init__(self):
        super().__init__()
        self.ear = torch.nn.Sequential(torch.nn.Conv1d(1, 24, 400, stride=160), torch.nn.ReLU())
        self.deep = torch.nn.Sequential(torch.nn.Conv1d(24, 48, 5, stride=2), torch.nn.ReLU())

    def forward(self, waveforms):
        return self.deep(self.ear(waveforms.unsqueeze(1)))


# %%
# One line
# --------
# Sounds arrive at ``sample_rate``, in units of full scale. Attention maps and copies of other layers are left out, and
# ``describe_layers`` says what was found.

torch.manual_seed(0)
model = ba.HookedModel.from_module(SmallNet(), sample_rate=16_000, name="small-net")
describe_layers(model)

# %%
# It is a model like any other.

sounds, brain = ba.load_stimuli("demo"), ba.load_brain("demo-components")
responses = ba.extract(model, sounds)
result = ba.rsa(responses, brain, n_permutations=200, n_bootstrap=200)
result.table[["model", "layer", "value", "ci_low", "ci_high", "p", "n", "n_of"]]

# %%
# Give it a name
# --------------
# A loader takes the variant (what stands after ``:`` in a name) and whether weights are wanted: for the control
# ``small-net@random:1`` brainalign draws weights of its own. In a package of yours it is an entry point::
#
#     [project.entry-points."brainalign.models"]
#     small-net = "my_package:load_small_net"


@MODELS.register("small-net")
def load_small_net(variant: str = "", *, pretrained: bool = True) -> ba.HookedModel:
    """Load our network; it has one variant only."""
    return model


control = ba.extract(ba.load_model("small-net@random:1"), sounds)
print(control.attrs["source"])

# %%
# Without a package or a name, a recipe finds the network in a file: ``name = "python:my_nets.py:SmallNet"``.
#
# This network has learned nothing, and the intervals of all its layers hold 0. Those of other untrained networks do
# not: their layers keep much of the spectrum. So a network that has learned has to be better than its own untrained
# weights, not only better than chance, and the control belongs into every figure.

both = pd.concat([result.table, ba.rsa(control, brain, n_permutations=200, n_bootstrap=200).table])
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
plot_rsa(axes, both)
