"""The methods of a run in sentences, with citations and references, ready to be pasted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign._files import write_then_rename
from brainalign.brain.data import BrainData
from brainalign.measures.encoding import CHOSEN, PUBLISHED_ALPHAS
from brainalign.measures.result import Result
from brainalign.measures.ridge import relative_alphas
from brainalign.recipes import Run
from brainalign.report.citations import citations_of_run, references_of
from brainalign.report.references import Reference, bibtex, cite, methods_in, uses_of
from brainalign.report.words import join, setting
from brainalign.stats.rank_nulls import AUTO_EXACT
from brainalign.stimuli.sets import StimulusSet

#: Settings that a sentence of their own says; all others follow in one more sentence.
_SAID = ("n_splits", "splits", "n_permutations", "n_bootstrap", "level", "seed", "score", "test", "interval", "penalty",
         "correction", "alphas", "categories", "n_mixed_left_out")  # fmt: skip
#: Kinds of things whose owners say how to cite them, where there is no reference here.
_OWN_CITATION = ("stimulus set", "brain data", "model", "generator")
#: Most values of a setting that are written out.
_MOST = 12
#: Measures that fit by ridge regression and do not say so in a setting of their own.
_REGRESSIONS = ("voxel-encoding", "depth-profile")
#: Columns of p that allow for how many there are.
_CORRECTED = ("p_holm", "p_fdr", "p_adjusted")


@dataclass(frozen=True)
class MethodsText:
    """A methods section.

    Attributes
    ----------
    paragraphs : list of tuple
        Heading and text.
    references : list of Reference
        Of all that the text cites and the run used.
    others : list of str
        What else is to be cited, in the words of those who offer it.
    """

    paragraphs: list[tuple[str, str]]
    references: list[Reference]
    others: list[str]

    @property
    def text(self) -> str:
        """Paragraphs and references as plain text."""
        parts = [f"{heading}. {text}" for heading, text in self.paragraphs]
        parts += [f"Also to be cited: {other}" for other in self.others]
        return "\n\n".join([*parts, "References", *(r.text for r in self.references)]) + "\n"

    @property
    def markdown(self) -> str:
        """The same as Markdown."""
        parts = ["# Methods", *(f"**{_md(heading)}.** {_md(text)}" for heading, text in self.paragraphs)]
        parts += (
            ["Also to be cited:\n\n" + "\n".join(f"* {_md(other)}" for other in self.others)] if self.others else []
        )
        listed = "\n".join(f"* {_md(r.text)}" for r in self.references)
        return "\n\n".join([*parts, "# References", listed, "The same as BibTeX: references.bib"]) + "\n"

    @property
    def bibtex(self) -> str:
        """The references as a BibTeX file."""
        return bibtex(self.references)


def methods_section(
    stimuli: StimulusSet, brains: Sequence[BrainData], results: Sequence[Result], provenance: Mapping[str, Any]
) -> MethodsText:
    """Write the methods of a run from what was truly run.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    brains : sequence of BrainData
        What was measured.
    results : sequence of Result
        Of all measures; their settings are what the sentences say.
    provenance : mapping
        Of the run: recipe, models, versions, seed.

    Returns
    -------
    MethodsText
        One paragraph on sounds, brain data and models, one for each measure, one on the software.
    """
    recipe = provenance.get("recipe", {})
    paragraphs = [("Stimuli", _sounds(stimuli, recipe))]
    paragraphs += [("Brain data", " ".join(_brain(b, p) for b, p in _named(brains, recipe)))] if brains else []
    paragraphs += [("Models", _models(results, recipe, provenance))] if recipe.get("models") else []
    for measure in dict.fromkeys(r.measure for r in results):
        paragraphs.append((measure, _measure([r for r in results if r.measure == measure])))
    paragraphs.append(("Software", _software(provenance)))
    citations = citations_of_run(provenance, results)
    others = [f"{c.kind} {c.name}: {c.note}" for c in citations if c.note and c.kind in _OWN_CITATION]
    return MethodsText(paragraphs, references_of(citations, provenance), others)


def write_methods(run: Run, folder: Path) -> None:
    """Write ``methods.md`` and ``references.bib`` into a results folder."""
    section = methods_section(run.stimuli, run.brains, run.results, run.provenance)
    for name, text in (("methods.md", section.markdown), ("references.bib", section.bibtex)):
        with write_then_rename(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _sounds(stimuli: StimulusSet, recipe: Mapping[str, Any]) -> str:
    counts = stimuli.table["category"].value_counts(sort=False)
    shown = join(f"{n} {name}" for name, n in list(counts.items())[:_MOST])
    shown += f", and {len(counts) - _MOST} more categories" if len(counts) > _MOST else ""
    part = recipe.get("stimuli", {})
    text = f"We used {len(stimuli)} sounds of the set {stimuli.name}, version {stimuli.manifest.version}"
    text += f"{_cited('stimuli', str(part.get('set', stimuli.name)))}: {shown}."
    for step in part.get("manipulate", ()):
        options = ", ".join(f"{_words(k)} {setting(v)}" for k, v in step.items() if k != "name")
        how = f" ({options})" if options else ""
        text += f" The sounds were manipulated by {step['name']}{how}{_cited('manipulations', step['name'])}."
    if other := recipe.get("selection"):
        text += f" Units were selected, or read-outs fitted, on other sounds, those of {other['set']}"
        text += f"{_cited('stimuli', str(other['set']))}."
    return text


def _named(brains: Sequence[BrainData], recipe: Mapping[str, Any]) -> list[tuple[BrainData, str]]:
    """Pair brain data with the registered names of the recipe, since labels may stand in for these."""
    parts = recipe.get("brain", [])
    return [(b, str(parts[i]["name"]) if i < len(parts) else b.name) for i, b in enumerate(brains)]


def _brain(brain: BrainData, name: str) -> str:
    sizes = join(f"{n} {_PLURAL.get(str(dim), str(dim))}" for dim, n in brain.responses.sizes.items())
    return f"Brain data were {brain.name}, version {brain.version}{_cited('brains', name)}: {sizes}."


_PLURAL = {"stimulus": "stimuli", "unit": "units", "repetition": "repetitions"}


def _models(results: Sequence[Result], recipe: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    rates = {m["name"]: m.get("sample_rate") for m in provenance.get("models", ())}
    rows = pd.concat([r.table[["model", "layer"]] for r in results], ignore_index=True)
    named, how = [], []
    for part in recipe["models"]:
        name = str(part["name"])
        layers = [x for x in rows.loc[rows["model"] == name, "layer"].unique() if x not in ("", CHOSEN)]
        facts = [f"{len(layers)} layer{'s' if len(layers) > 1 else ''}"] if layers else []
        facts += [f"sounds at {rates[name] / 1000:g} kHz"] if rates.get(name) else []
        described = f" ({', '.join(facts)})" if facts else ""
        named.append(f"{name}{described}{_cited('models', name)}")
        how.append(str(part.get("pooling", "mean")))
    text = f"Activations were taken from {join(named)}"
    pooled = " or ".join(dict.fromkeys(how))
    return f"{text}, and summarised over time (pooling: {pooled})."


def _measure(results: Sequence[Result]) -> str:
    """Write the paragraph of one measure; where its results differ in a setting, each value is given."""
    kind = results[0].kind
    uses = uses_of("measures", kind)
    settings: dict[str, str] = {}
    for key in dict.fromkeys(k for r in results for k in r.settings):
        values = [setting(r.settings[key]) for r in results if key in r.settings]
        settings[str(key)] = " or ".join(dict.fromkeys(values))
    what = uses.what if uses else f"computed {kind}"
    cited = cite(uses.keys) if uses else ""
    return " ".join([f"We {what}{cited}.", *_sentences(settings, kind, pd.concat([r.table for r in results]))])


def _sentences(settings: Mapping[str, str], kind: str, table: pd.DataFrame) -> list[str]:
    said = []
    if categories := settings.get("categories"):
        said.append(f"Target categories were {categories}.")
    if "splits" in settings:
        sizes = [int(table[c].iloc[0]) for c in ("n_train", "n_test") if c in table and table[c].notna().any()]
        into = f" into {sizes[0]} for training and {sizes[1]} for testing" if len(sizes) == 2 else ""
        count = f"{settings['n_splits']} times" if settings.get("n_splits", "1") != "1" else "once"
        said.append(f"Sounds were split {count}{into} ({settings['splits']}).")
    for key, words in (("score", "The score was"), ("penalty", "Penalties of the regression were")):
        if key in settings:
            said.append(f"{words}: {settings[key]}{_by_name(settings[key])}.")
    said += [f"Penalties were chosen from {grid}."] if (grid := _grid(settings, kind)) else []
    if settings.get("test", "none") not in ("none", ""):
        n = _count(settings, "n_permutations", "permutations")
        said.append(f"p values are of this test: {settings['test']}{n}{_by_name(settings['test'])}.")
        said += _about_p(settings)
    if settings.get("interval", "none") not in ("none", ""):
        level = settings.get("level", "")
        level = f"{100 * float(level):g}% confidence intervals" if _is_number(level) else "Confidence intervals"
        n = _count(settings, "n_bootstrap", "resamples")
        said.append(f"{level} are of this kind: {settings['interval']}{n}{_by_name(settings['interval'])}.")
        if re.search(r"\bfits( and \w+)? held fixed", settings["interval"]):
            said.append(
                "They hold the splits and the fits fixed, so they leave out what other splits, and fits to other "
                "training sounds, would change."
            )
    if settings.get("correction", "none") not in ("none", ""):
        said.append(f"Correction: {settings['correction']}{_by_name(settings['correction'])}.")
    said += _multiple(settings, table)
    rest = [f"{_words(k)} {v}" for k, v in settings.items() if k not in _SAID and v not in ("", "none")]
    further = "; ".join(rest)
    return [*said, f"Further settings: {further}{_by_name(further)}."] if rest else said


def _grid(settings: Mapping[str, str], kind: str) -> str:
    """Name the penalties among which a regression chose; nothing for measures without one."""
    if "penalty" not in settings and kind not in _REGRESSIONS:
        return ""
    if settings.get("alphas", "none") not in ("none", ""):
        return f"this grid: {settings['alphas']}"
    relative = relative_alphas(np.ones(1), 1)
    times = "the summed variance of the features" if kind == "encoding-map" else "the mean eigenvalue of X X'"
    ours = f"{_steps(relative)} times {times} of the training sounds"
    published = _steps(PUBLISHED_ALPHAS)
    protocols = settings.get("protocol", "brainalign").split(" or ")
    return " or ".join(published if p == "tuckute2023" else ours for p in protocols)


def _steps(grid: NDArray[np.float64]) -> str:
    return f"{len(grid)} values from {grid.min():.3g} to {grid.max():.3g} in equal steps of their logarithm"


def _about_p(settings: Mapping[str, str]) -> list[str]:
    """Say how small p can be, and which rank tests are exact."""
    test, count = settings["test"], settings.get("n_permutations", "0")
    said = []
    if "permutation" in test and "tails by moments" not in test and _is_number(count) and float(count):
        n = int(float(count))
        said.append(
            "The observed order counts as one of the permutations, so p cannot be below "
            f"1/({n:,} + 1) = {1 / (n + 1):.2g}."
        )
    if re.search(r"rank.sum|signed.rank", test) and not re.search(r"\b(exact|asymptotic)\b", test):
        said.append(
            f"Its p is exact where there are no ties and up to {AUTO_EXACT} values in the larger sample, and otherwise "
            "of the normal approximation with the variance corrected for ties."
        )
    return said


def _multiple(settings: Mapping[str, str], table: pd.DataFrame) -> list[str]:
    """Say whether p values are corrected for their number."""
    n = int(table["p"].notna().sum())
    corrected = [str(c) for c in table if str(c).startswith(_CORRECTED) and table[c].notna().any()]
    if corrected:
        return [
            f"p values corrected for multiple comparisons stand in {join(corrected)}; those in p are not corrected."
        ]
    named = methods_in(settings.get("correction", ""))
    if n < 2 or set(named) & {"holm", "benjamini-hochberg"}:
        return []
    return [f"No correction for multiple comparisons was made over the {n:,} p values."]


def _by_name(text: str) -> str:
    """Cite the statistical methods that a text names."""
    return cite([key for name in methods_in(text) if (own := uses_of("methods", name)) for key in own.keys])


def _count(settings: Mapping[str, str], key: str, what: str) -> str:
    value = settings.get(key, "0")
    return f" ({int(float(value)):,} {what})" if _is_number(value) and float(value) else ""


def _software(provenance: Mapping[str, Any]) -> str:
    versions = dict(provenance.get("versions", {}))
    python = versions.pop("python", "")
    ours = versions.pop("brainalign", "")
    versions.pop("platform", None)
    used = [f"{name} {v}{_cited('software', name)}" for name, v in versions.items() if v != "not installed"]
    text = f"Analyses were computed with brainalign {ours}" + (f" in Python {python}" if python else "")
    text += f", with {join(used)}" if used else ""
    return f"{text}; the seed of all random draws was {provenance.get('seed', 'not recorded')}."


def _cited(kind: str, name: str) -> str:
    uses = uses_of(kind, name)
    return cite(uses.keys) if uses else ""


def _words(key: str) -> str:
    return key.replace("_", " ")


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def _md(text: str) -> str:
    """Keep names from being read as Markdown or HTML."""
    for letter in "\\`*_<>[]":
        text = text.replace(letter, f"\\{letter}")
    return text
