"""What Denk et al. 2023 (Brain2Music, arXiv:2307.11078, table 2) report, to stand beside what is computed here."""

from __future__ import annotations

from types import MappingProxyType

#: By embedding and statistic: mean and SD over five subjects, on the 60 test clips.
PUBLISHED = MappingProxyType({
    ("SoundStream-avg", "identification_accuracy"): (0.674, 0.016),
    ("w2v-BERT-avg", "identification_accuracy"): (0.837, 0.005),
    ("MuLan text", "identification_accuracy"): (0.817, 0.014),
    ("MuLan music", "identification_accuracy"): (0.876, 0.015),
    ("SoundStream-avg", "correlation"): (0.184, 0.020),
    ("w2v-BERT-avg", "correlation"): (0.113, 0.003),
    ("MuLan text", "correlation"): (0.181, 0.012),
    ("MuLan music", "correlation"): (0.307, 0.016),
})  # fmt: skip
#: What an embedding of a recipe may stand for.
EMBEDDINGS = tuple(dict.fromkeys(name for name, _ in PUBLISHED))
