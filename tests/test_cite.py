"""What to cite: complete for all that is registered, correct BibTeX, methods written from what was run."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from brainalign.brain import BRAINS
from brainalign.cli import app
from brainalign.errors import ResultsError
from brainalign.measures import MEASURES
from brainalign.measures.result import Result, result_table
from brainalign.measures.ridge import relative_alphas
from brainalign.models import MODELS
from brainalign.report.citations import citations_of_names, citations_of_run, references_of
from brainalign.report.methods import methods_section
from brainalign.report.references import (
    KINDS,
    Reference,
    bibliography,
    bibtex,
    cite,
    known_names,
    methods_in,
    references,
    uses_of,
)
from brainalign.stats import permutation_p, rank_sum
from brainalign.stimuli import MANIPULATIONS, STIMULI, load_stimuli

ROOT = Path(__file__).parents[1]
SHIPPED = tomllib.loads(files("brainalign.report").joinpath("references.toml").read_text(encoding="utf-8"))
_REGISTRIES = {
    "stimuli": STIMULI, "manipulations": MANIPULATIONS, "brains": BRAINS, "models": MODELS, "measures": MEASURES,
}  # fmt: skip
REGISTERED = [(kind, name) for kind, registry in _REGISTRIES.items() for name in registry.names()]


def ours(kind: str, name: str) -> bool:
    """Tell whether brainalign itself registers a name; other packages cite what they offer themselves."""
    return _REGISTRIES[kind].get(name).__module__.startswith("brainalign.")


def parse(text: str) -> dict[str, dict[str, str]]:
    """Read BibTeX letter by letter: entries by key, fields with balanced braces."""
    entries: dict[str, dict[str, str]] = {}
    place = 0
    while (place := text.find("@", place)) >= 0:
        head = re.match(r"@(\w+)\{([^,\s{}]+),", text[place:])
        assert head, text[place : place + 40]
        key = head[2]
        assert key not in entries, f"{key} stands twice"
        entries[key] = {"": head[1]}
        place += head.end()
        while field := re.match(r"\s*(\w+) = \{", text[place:]):
            place += field.end()
            depth, start = 1, place
            while depth:
                letter = text[place]
                if letter == "\\":
                    place += 2
                    continue
                depth += {"{": 1, "}": -1}.get(letter, 0)
                place += 1
            assert field[1] not in entries[key], f"{key}: {field[1]} stands twice"
            entries[key][field[1]] = text[start : place - 1]
            assert text[place] == ","
            place += 1
        end = re.match(r"\s*\}", text[place:])
        assert end, text[place : place + 40]
        place += end.end()
    return entries


class TestList:
    @pytest.mark.parametrize(("kind", "name"), REGISTERED)
    def test_all_that_is_registered_has_a_reference_or_a_reason(self, kind, name):
        if not ours(kind, name):
            pytest.skip("of another package")
        uses = uses_of(kind, name)
        assert uses is not None, f"say in references.toml what to cite for {name}"
        assert bool(uses.keys) != bool(uses.none), name

    @pytest.mark.parametrize("kind", sorted(_REGISTRIES))
    def test_nothing_is_listed_that_is_not_there(self, kind):
        # Results that no measure by itself gives.
        made = {"reconstruction", "witness-agreement"} if kind == "measures" else set()
        assert set(known_names(kind)) <= set(_REGISTRIES[kind].names()) | made

    def test_measures_say_what_they_do(self):
        for name in known_names("measures"):
            assert uses_of("measures", name).what, name

    def test_every_key_exists_and_every_reference_is_used(self):
        used = set()
        for kind in KINDS:
            for entry in SHIPPED[kind].values():
                used |= {*entry.get("cite", ()), *(k for keys in entry.get("variants", {}).values() for k in keys)}
        assert used - set(references()) == set()
        assert set(references()) - used == {"brainalign"}

    def test_a_doi_or_an_address_stands_once(self):
        for name in ("doi", "arxiv", "title"):
            found = [getattr(r, name) for r in references().values() if getattr(r, name)]
            assert len(set(found)) == len(found)

    def test_dois_and_pages_have_their_form(self):
        for r in references().values():
            assert not r.doi or re.fullmatch(r"10\.\d{4,}/\S+", r.doi), r.key
            assert not r.arxiv or re.fullmatch(r"\d{4}\.\d{4,5}", r.arxiv), r.key
            assert not r.pages or re.fullmatch(r"\d+-\d+", r.pages), r.key
            assert all(a == "others" or a.startswith("{") or re.fullmatch(r"[^,]+, \S.*\.", a) for a in r.authors), (
                r.key
            )
            assert r.year is None or 1900 < r.year < 2030
            assert r.place or r.arxiv or r.url or r.key == "brainalign"

    def test_keys_are_made_of_name_and_year(self):
        for r in references().values():
            if r.year:
                bare = r.families[0].casefold().replace("é", "e").replace("ä", "a").replace("ü", "u").replace(" ", "-")
                assert r.key == f"{bare}-{r.year}"

    def test_the_project_cites_itself_as_its_citation_file_says(self):
        lines = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
        own = references()["brainalign"]
        assert f"version: {own.version}" in lines
        assert f"  - name: {own.authors[0].strip('{}')}" in lines
        assert any(own.title.startswith(line.removeprefix("title: ")) for line in lines if line.startswith("title:"))

    def test_dois_are_those_of_manifests_and_models(self):
        """DOIs that the rest of the project states were entered by others, so a slip in either shows."""
        known = {r.doi.casefold(): r for r in references().values() if r.doi}
        said = {}
        for path in [*(ROOT / "stimuli").rglob("*.toml"), ROOT / "src/brainalign/models/models.toml",
                     *(ROOT / "src/brainalign/replication/papers").glob("*.toml")]:  # fmt: skip
            for author, year, doi in re.findall(
                r"([A-Z][\w-]+)[^;\"]*? (\d{4})[^;\"]*?doi:(10\.\d+/[^\s;,\"]+)", path.read_text(encoding="utf-8")
            ):
                said[doi.casefold()] = (author, int(year))
        assert len(said) > 8
        for doi, (author, year) in said.items():
            if doi.startswith("10.18112"):
                continue  # the data set itself, whose paper is cited
            assert doi in known, doi
            assert known[doi].year == year
            assert known[doi].families[0] == author


class TestBibtex:
    def test_it_parses_back_to_what_went_in(self):
        entries = parse(bibtex(list(references().values())))
        assert set(entries) == set(references())
        for key, r in references().items():
            entry = entries[key]
            assert entry.get("doi", "") == r.doi
            assert entry.get("year", "") == str(r.year or "")
            assert entry["author"].count(" and ") == len(r.authors) - 1
            assert entry.get("pages", "").replace("--", "-") in (r.pages, r.number)
            if entry[""] == "article":
                assert entry["journal"], key

    def test_all_is_ascii_and_escaped(self):
        text = bibtex(list(references().values()))
        assert text.isascii()
        for key, entry in parse(text).items():
            for name in set(entry) - {"doi", "url", ""}:
                assert not re.search(r"(?<!\\)[&%$#_^~]", entry[name]), (key, name)

    def test_letters_that_tex_reads(self):
        odd = Reference("x", "article", ("Łé & {Co}, Ü.",), "100% of $5_a #1 ^ ~ \\", 2000, "J")
        entry = parse(odd.bibtex)["x"]
        assert entry["author"] == r"{\L}{\'{e}} \& \{Co\}, {\"{U}}."
        assert entry["title"] == (r"{100\% of \$5\_a \#1 \textasciicircum{} \textasciitilde{} \textbackslash{}}")

    def test_several_authors(self):
        entry = parse(references()["harris-2020"].bibtex)["harris-2020"]
        assert entry["author"] == "Harris, C. R. and others"
        assert parse(references()["brainalign"].bibtex)["brainalign"]["author"] == "{The brainalign developers}"


class TestText:
    @pytest.mark.parametrize(
        ("key", "short"),
        [("efron-1987", "Efron, 1987"), ("mann-1947", "Mann & Whitney, 1947"), ("kim-2024", "Kim et al., 2024"),
         ("harris-2020", "Harris et al., 2020")],
    )  # fmt: skip
    def test_author_and_year(self, key, short):
        assert references()[key].short == short

    def test_a_formatted_reference(self):
        assert references()["kim-2024"].text == (
            "Kim, G., Kim, D.-K., & Jeong, H. (2024). Spontaneous emergence of rudimentary music detectors in deep "
            "neural networks. Nature Communications, 15, 148. https://doi.org/10.1038/s41467-023-44516-0"
        )

    def test_sorted_and_once(self):
        found = bibliography(["williams-2021", "efron-1987", "efron-1987", "defossez-2022"])
        assert [r.key for r in found] == ["defossez-2022", "efron-1987", "williams-2021"]
        assert cite(["kim-2024", "efron-1987"]) == " (Efron, 1987; Kim et al., 2024)"

    def test_author_and_year_tell_references_apart(self):
        shorts = [r.short for r in references().values()]
        assert len(set(shorts)) == len(shorts)

    @pytest.mark.parametrize(
        ("name", "keys"),
        [("kim2024-cnn:no-music/0", ["kim-2024"]), ("kim2024-cnn@random:0", ["kim-2024"]),
         ("hf:facebook/wav2vec2-base", ["baevski-2020"]), ("hf:facebook/w2v-bert-2.0", ["barrault-2023"]),
         ("hf:wav2vec2-bert@random:0", ["barrault-2023"]), ("hf:lab/fast-net", []),
         ("hf:MIT/ast-finetuned-audioset", ["gong-2021"]), ("torchaudio:HUBERT_BASE", ["hsu-2021"])],
    )  # fmt: skip
    def test_variants_belong_to_their_family(self, name, keys):
        assert list(uses_of("models", name).keys) == keys

    @pytest.mark.parametrize(
        ("text", "found"),
        [("BCa bootstrap over stimuli", ["bca"]), ("Wilcoxon rank-sum over stimuli", ["rank-sum"]),
         ("Wilcoxon signed rank over networks", ["signed-rank"]), ("score above chance", []),
         ("one-sided permutation of residuals (Freedman-Lane)", ["permutation", "freedman-lane"]),
         ("two-sided; p_holm for all regions", ["holm"]), ("p_fdr: Benjamini-Hochberg", ["benjamini-hochberg"])],
    )  # fmt: skip
    def test_methods_by_their_words(self, text, found):
        assert methods_in(text) == found


PROVENANCE = {
    "seed": 7,
    "recipe": {
        "stimuli": {"set": "demo", "manipulate": [{"name": "quilt", "segment_ms": 30}]},
        "models": [{"name": "logmel", "pooling": "max"}, {"name": "python:lab:net"}],
        "brain": [],
    },
    "models": [
        {"name": "logmel", "sample_rate": 22050},
        {"name": "python:lab:net", "record": {"citation": "Lab 2025"}},
    ],
    "versions": {"python": "3.11.7", "brainalign": "9.9.9", "platform": "x", "numpy": "2.4", "soxr": "1.1"},
}


def result(**settings) -> Result:
    row = {"measure": "rsa", "model": "logmel", "layer": "logmel", "statistic": "spearman", "value": 0.5, "n_train": 40,
           "n_test": 26}  # fmt: skip
    return Result("rsa", result_table([row]), settings=settings)


class TestMethods:
    def test_sentences_say_what_was_run(self):
        run = result(
            n_splits=4, splits="halves", n_permutations=1234, n_bootstrap=500, level=0.9, distance="crossnobis",
            interval="BCa bootstrap over stimuli", test="one-sided permutation of stimulus labels",
            correction="Holm over layers",
        )  # fmt: skip
        section = methods_section(load_stimuli("demo"), (), [run], PROVENANCE)
        text = dict(section.paragraphs)
        assert "66 sounds of the set demo, version 1: 14 Music, 8 Song" in text["Stimuli"]
        assert "manipulated by quilt (segment ms 30) (Overath et al., 2015)" in text["Stimuli"]
        assert "logmel (1 layer, sounds at 22.05 kHz) (Kim et al., 2024) and python:lab:net" in text["Models"]
        assert "pooling: max or mean" in text["Models"]
        assert "split 4 times into 40 for training and 26 for testing (halves)" in text["rsa"]
        assert "permutation of stimulus labels (1,234 permutations) (Phipson & Smyth, 2010)" in text["rsa"]
        assert (
            "90% confidence intervals are of this kind: BCa bootstrap over stimuli (500 resamples) (Efron, 1987)"
            in text["rsa"]
        )
        assert "Correction: Holm over layers (Holm, 1979)" in text["rsa"]
        assert "distance crossnobis (Walther et al., 2016)" in text["rsa"]
        assert (
            "brainalign 9.9.9 in Python 3.11.7, with numpy 2.4 (Harris et al., 2020) and soxr 1.1" in text["Software"]
        )
        assert "seed of all random draws was 7" in text["Software"]
        assert "model python:lab:net: Lab 2025" in section.others

    def test_every_citation_of_the_text_stands_in_the_references(self):
        run = result(interval="jackknife over stimuli", test="Wilcoxon rank-sum over stimuli", n_bootstrap=0)
        section = methods_section(load_stimuli("demo"), (), [run], PROVENANCE)
        cited = {c.strip() for _, text in section.paragraphs for group in re.findall(r"\(([^()]*\d{4})\)", text)
                 for c in group.split(";") if re.search(r", \d{4}$", c)}  # fmt: skip
        assert len(cited) >= 5
        assert cited <= {r.short for r in section.references}
        assert "resamples" not in section.text
        assert set(parse(section.bibtex)) == {r.key for r in section.references}
        assert next(r for r in section.references if r.key == "brainalign").version == "9.9.9"

    def test_results_that_differ_in_a_setting_give_each_value(self):
        runs = [result(distance="euclidean"), result(distance="correlation")]
        section = methods_section(load_stimuli("demo"), (), runs, PROVENANCE)
        assert "distance euclidean or correlation" in dict(section.paragraphs)["rsa"]

    @staticmethod
    def said(kind: str = "rsa", rows: list[dict] | None = None, **settings) -> str:
        row = {"measure": kind, "model": "logmel", "layer": "logmel", "statistic": "spearman", "value": 0.5, "p": 0.01}
        own = Result(kind, result_table(rows or [row, {**row, "layer": "other"}]), settings=settings)
        return dict(methods_section(load_stimuli("demo"), (), [own], PROVENANCE).paragraphs)[kind]

    def test_the_grid_of_penalties_is_that_of_the_fits(self):
        text = self.said("component-encoding", penalty="per target", protocol="brainalign")
        eigenvalues = np.array([3.0, 1.0])
        grid = relative_alphas(eigenvalues, 2) / 2.0
        assert f"{len(grid)} values from {grid.min():g} to {grid.max():g} in equal steps" in text
        assert "times the mean eigenvalue of X X'" in text
        text = self.said("voxel-encoding", protocol="tuckute2023")
        assert "100 values from 1e-50 to 1e+49" in text
        assert "this grid: 0.1, 1." in self.said("encoding-map", penalty="for each unit", alphas=[0.1, 1.0])
        assert "summed variance of the features" in self.said("encoding-map", penalty="for each unit", alphas=None)
        assert "Penalties" not in self.said("rsa", protocol="brainalign")

    def test_whether_p_values_are_corrected_for_their_number(self):
        none = "No correction for multiple comparisons was made over the 2 p values."
        assert none in self.said()
        assert none in self.said(correction="reliability")
        assert none not in self.said(correction="Benjamini-Hochberg over the units")
        row = {"measure": "rsa", "model": "logmel", "statistic": "spearman", "value": 0.5, "p": 0.01, "p_fdr": 0.02}
        text = self.said(rows=[row, row])
        assert none not in text
        assert "corrected for multiple comparisons stand in p_fdr; those in p are not" in text
        assert "multiple" not in self.said(rows=[{**row, "p_fdr": np.nan}])

    def test_the_least_p_of_a_permutation_test(self):
        test = "one-sided permutation of stimulus labels"
        least = float(permutation_p(1.0, np.zeros(199)))
        assert f"p cannot be below 1/(199 + 1) = {least:g}" in self.said(test=test, n_permutations=199)
        for other in ({"n_permutations": 0}, {"n_permutations": 199, "test": "permutation; tails by moments"}):
            assert "cannot be below" not in self.said(**{"test": test, **other})

    def test_what_intervals_hold_fixed(self):
        held = "hold the splits and the fits fixed"
        assert held in self.said(interval="BCa bootstrap over test stimuli, fits held fixed")
        assert held in self.said(interval="bootstrap, fits and reliabilities held fixed")
        assert held not in self.said(interval="jackknife, fits repeated with penalties held fixed")
        assert held not in self.said(interval="BCa bootstrap over stimuli")

    def test_whether_rank_tests_are_exact(self):
        rng = np.random.default_rng(0)
        rule = "exact where there are no ties and up to 50 values in the larger sample"
        assert rule in self.said(test="Wilcoxon rank-sum over stimuli, greater")
        assert [rank_sum(rng.normal(size=n), rng.normal(size=5)).method for n in (50, 51)] == ["exact", "asymptotic"]
        assert "no ties" not in self.said(test="Wilcoxon rank sum over networks, asymptotic: greater")

    def test_names_do_not_become_markdown(self):
        section = methods_section(load_stimuli("demo"), (), [result(distance="<b>*x*_")], PROVENANCE)
        assert r"\<b\>\*x\*\_" in section.markdown

    def test_a_bare_record_is_enough(self):
        section = methods_section(load_stimuli("demo"), (), [result()], {})
        assert "seed of all random draws was not recorded" in section.text


class TestNames:
    def test_a_name_of_several_kinds_gives_each(self):
        found = citations_of_names(["ds003720"])
        assert [c.kind for c in found] == ["stimulus set", "brain data"]

    def test_unknown(self):
        with pytest.raises(ResultsError, match=r"nothing to cite is called 'natsound166'.*did you mean 'natsound165'"):
            citations_of_names(["natsound166"])

    def test_what_another_package_offers(self):
        found = citations_of_run({"recipe": {"models": [{"name": "lab-net"}]}}, [])
        assert found[-1].note == "no reference is known here: cite whoever offers it"

    def test_references_of_a_run_hold_the_project(self):
        assert "brainalign" in {r.key for r in references_of(citations_of_run({}, []))}


class TestCommand:
    def test_the_project_itself(self):
        done = CliRunner().invoke(app, ["cite"])
        assert done.exit_code == 0
        assert references()["brainalign"].text in done.output

    def test_bibtex(self):
        done = CliRunner().invoke(app, ["cite", "natsound165", "rsa", "bca", "numpy", "--bibtex"])
        assert set(parse(done.output)) == {"norman-haignere-2015", "kriegeskorte-2008", "efron-1987", "harris-2020"}

    def test_json(self):
        content = json.loads(CliRunner().invoke(app, ["cite", "demo", "yamnet", "--json"]).output)
        assert content["uses"][0]["note"] == "synthesised by brainalign"
        assert {r["key"] for r in content["references"]} == {"plakal-2020", "howard-2017", "gemmeke-2017"}

    def test_both_forms(self):
        assert "choose one" in str(CliRunner().invoke(app, ["cite", "--json", "--bibtex"]).exception)

    def test_help_has_an_example(self):
        assert "brainalign cite natsound165" in CliRunner().invoke(app, ["cite", "--help"]).output
