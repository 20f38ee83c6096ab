"""The replication scoreboard: verdicts, published numbers, recomputed statistics, and results by digest."""

from __future__ import annotations

import inspect
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from scipy import stats
from typer.testing import CliRunner

from brainalign._files import sha256
from brainalign.cli.replicate import replicate
from brainalign.errors import MeasureError, ResultsError
from brainalign.measures import MEASURES
from brainalign.measures.result import COLUMNS
from brainalign.recipes import shipped_recipes
from brainalign.recipes.schema import read_recipe
from brainalign.replication.facts import FACTS
from brainalign.replication.page import render_page
from brainalign.replication.published import (
    ComparisonCheck,
    CorrelationCheck,
    DifferenceCheck,
    EstimateCheck,
    FactCheck,
    NeedsCheck,
    PublishedNumber,
    RankSumCheck,
    SignedRankCheck,
    known_papers,
    read_papers,
)
from brainalign.replication.runs import Runs, difference_of_two, given_results, read_results, rows_of
from brainalign.replication.scoreboard import Score, count_verdicts, scoreboard, to_table, write_scoreboard
from brainalign.replication.statistics import recompute_statistic
from brainalign.replication.verdicts import VERDICTS, as_printed, judge_estimate, judge_test

PAPERS = read_papers()
NUMBERS = [pytest.param(p, n, id=f"{name}-{n.id}") for name, p in PAPERS.items() for n in p.numbers]
STATISTICS = [
    pytest.param(n, id=f"{name}-{n.id}")
    for name, p in PAPERS.items()
    for n in p.numbers
    if isinstance(n.check, RankSumCheck | SignedRankCheck | CorrelationCheck)
]
#: What the papers print wrongly, and a reader is told so.
SLIPS = {"audioset-ratio-no-music-v-music", "selective-units"}
CLAIM = "kim2024/claim"
NO_MUSIC = [f"kim2024-cnn:no-music/{i}" for i in range(5)]
MUSIC = [f"kim2024-cnn:all/{i}" for i in range(5)]
RANDOM = [f"kim2024-cnn@random:{i}" for i in range(5)]


class TestVerdicts:
    @pytest.mark.parametrize(
        ("value", "text", "equal"),
        [
            (0.03125, ".031", True), (0.0315, ".031", False), (0.9375, ".938", True), (0.5, ".500", True),
            (0.50051, ".500", False), (1.0, "1", True), (0.9999, "1", False), (4.8913e-276, "4.891e-276", True),
            (4.8916e-276, "4.891e-276", False), (1278191, "1,278,191", True), (1278192, "1,278,191", False),
            (0.0, "0", True), (2.0, "2", True), (0.876, "0.88", True), (-0.123, "-.12", True),
        ],
    )  # fmt: skip
    def test_equal_to_the_printed_digits(self, value: float, text: str, equal: bool) -> None:
        assert as_printed(value, text) is equal

    @pytest.mark.parametrize(
        ("published", "low", "high", "options", "verdict"),
        [
            (1.88, 1.6, 2.2, {"null": 1.0, "claim": "greater"}, "reproduced"),
            (1.61, 2.7, 4.2, {"null": 1.0, "claim": "greater"}, "same sign"),
            (1.61, 0.4, 0.9, {"null": 1.0, "claim": "greater"}, "differs"),
            (1.61, 0.9, 1.4, {"null": 1.0, "claim": "greater"}, "differs"),
            # Wide enough to hold everything: reproduces nothing.
            (1.88, 0.5, 9.0, {"null": 1.0, "claim": "greater"}, "differs"),
            (0.6, 0.4, 0.8, {"null": 1.0, "claim": "less"}, "reproduced"),
            (0.6, 0.7, 0.8, {"null": 1.0, "claim": "less"}, "same sign"),
            (0.6, 1.2, 1.8, {"null": 1.0, "claim": "less"}, "differs"),
            (1.03, 0.98, 1.06, {}, "reproduced"),
            (1.03, 1.04, 1.06, {}, "differs"),
            (0.3, 0.1, 0.5, {"null": 0.0, "claim": "greater", "stand_in": True}, "same sign"),
            (0.3, 0.1, 0.2, {"null": 0.0, "claim": "greater", "stand_in": True}, "same sign"),
            (0.3, -0.1, 0.2, {"null": 0.0, "claim": "greater", "stand_in": True}, "differs"),
            (0.3, 0.1, 0.5, {"stand_in": True}, "differs"),
            (1.0, np.nan, np.nan, {}, "not run"),
        ],
    )
    def test_estimates(self, published: float, low: float, high: float, options: Any, verdict: str) -> None:
        for number in (float, np.float64):
            found, reason = judge_estimate(published, number(low), number(high), **options)
            assert found == verdict
            assert reason

    def test_no_stand_in_ever_reproduces(self) -> None:
        rng = np.random.default_rng(0)
        for published, low, width in rng.uniform(-2, 2, (200, 3)):
            verdict, _ = judge_estimate(
                published, low, low + abs(width), null=0.0, claim="greater", stand_in=True
            )  # fmt: skip
            assert verdict in ("same sign", "differs")

    def test_reasons_of_both_kinds_of_difference(self) -> None:
        _, wide = judge_estimate(1.88, np.float64(0.5), np.float64(9), null=1.0, claim="greater")
        assert wide == "our interval holds the published value, but 1 (no effect) as well"
        _, beside = judge_estimate(0.33, np.float64(-0.1), np.float64(0.2), null=0.0, claim="greater")
        assert beside == "the published value lies outside our interval, which does not lie above 0"

    @pytest.mark.parametrize(
        ("u_text", "p_text", "u", "p", "verdict"),
        [
            ("25", ".006", 25, 0.00609, "reproduced"),
            ("22", ".030", 24, 0.0108, "same sign"),
            ("22", ".030", 17, 0.2, "differs"),
            ("22", ".030", 0, 0.997, "differs"),
            ("14", ".417", 16, 0.27, "same sign"),
        ],
    )
    def test_tests(self, u_text: str, p_text: str, u: float, p: float, verdict: str) -> None:
        assert judge_test(u_text, p_text, u, p, n_pairs=25)[0] == verdict


#: Columns that a measure has beyond those of all.
OWN_COLUMNS = {"readout": ["units"], "quilt-sweep": ["sounds", "segment_ms"]}


class TestTheTable:
    def test_papers(self) -> None:
        assert known_papers() == ["brain2music", "kim2024", "nh2015", "tuckute2023"]
        assert list(read_papers(["nh2015", "kim2024"])) == ["nh2015", "kim2024"]
        with pytest.raises(ResultsError, match=r"no published numbers of a paper 'kim'; did you mean 'kim2024'\?"):
            read_papers(["kim"])

    @pytest.mark.parametrize("name", PAPERS)
    def test_ids_are_unique_and_papers_can_be_found(self, name: str) -> None:
        ids = [n.id for n in PAPERS[name].numbers]
        assert len(set(ids)) == len(ids)
        assert re.search(r"doi:|arXiv:", PAPERS[name].citation)
        needed = {n.check.data for n in PAPERS[name].numbers if getattr(n.check, "data", None)}
        assert needed == set(PAPERS[name].data), "data that nothing needs, or that are not explained"

    @pytest.mark.parametrize(("paper", "number"), NUMBERS)
    def test_every_number_has_a_source_and_a_check_that_resolves(self, paper: Any, number: PublishedNumber) -> None:
        assert number.where
        assert number.what
        assert re.search(r"\d", number.printed)
        check = number.check
        if isinstance(check, FactCheck):
            inspect.signature(FACTS[check.fact][0]).bind(**check.options)
            float(str(number.value).replace(",", ""))
        elif isinstance(check, EstimateCheck | DifferenceCheck | ComparisonCheck):
            self.resolves_in_the_recipe(check)
        elif not isinstance(check, NeedsCheck):
            assert number.value is None, "the printed statistic stands in the check"

    def resolves_in_the_recipe(self, check: EstimateCheck | DifferenceCheck | ComparisonCheck) -> None:
        recipe = read_recipe(shipped_recipes()[check.recipe])
        own = {m.name: m for m in recipe.models}
        asked = [check.model, check.against] if isinstance(check, DifferenceCheck) else list(check.models)
        if isinstance(check, ComparisonCheck):
            asked += check.against
        assert set(asked) <= set(own)
        assert set(check.rows) <= {*COLUMNS, *OWN_COLUMNS.get(str(check.rows["measure"]), ())}
        labels = {m.label or m.name for m in recipe.measures}
        assert check.rows["measure"] in labels
        assert check.rows["measure"] in MEASURES.names()
        for name in asked:
            layers = own[name].layers
            assert layers is None or check.rows["layer"] in (*layers, "chosen")
        if "brain" in check.rows:
            assert check.rows["brain"] in {b.called for b in recipe.brain}

    def test_brain2music_as_the_reconstruction_has_it(self) -> None:
        from brainalign.reconstruction.published import PUBLISHED

        prefix = {"identification_accuracy": "identification-test", "correlation": "correlation-test"}
        numbers = {n.id: n for n in PAPERS["brain2music"].numbers}
        for (embedding, statistic), (mean, sd) in PUBLISHED.items():
            number = numbers[f"{prefix[statistic]}-{embedding.lower().replace(' ', '-')}"]
            assert (float(str(number.value)), float(str(number.sd))) == (mean, sd)

    def test_a_claim_names_its_null(self) -> None:
        for paper in PAPERS.values():
            for number in paper.numbers:
                if isinstance(number.check, EstimateCheck):
                    assert (number.check.claim is None) == (number.check.null is None)


class TestStatistics:
    @pytest.mark.parametrize("number", STATISTICS)
    def test_printed_digits_or_a_slip_that_is_named(self, number: PublishedNumber) -> None:
        _, verdict, how = recompute_statistic(number.check)  # type: ignore[arg-type]
        if number.id in SLIPS:
            assert verdict == "differs"
            assert "a slip of the paper" in number.note
        else:
            assert verdict == "reproduced"
        assert "sided" in how

    @pytest.mark.parametrize("number", STATISTICS)
    def test_ours_equals_an_independent_computation(self, number: PublishedNumber) -> None:
        ours = float(re.search(r"p = (\S+?),? ", recompute_statistic(number.check)[0] + " ")[1])  # type: ignore
        assert ours == pytest.approx(self.by_other_means(number.check), rel=6e-4)

    def by_other_means(self, check: Any) -> float:
        if isinstance(check, CorrelationCheck):
            # Two variables whose correlation is exactly r.
            x, e = np.linalg.qr(np.random.default_rng(0).standard_normal((check.n, 3)))[0].T[:2]
            x, e = x - x.mean(), e - e.mean()
            x /= np.linalg.norm(x)
            e -= x * (x @ e)
            e /= np.linalg.norm(e)
            r = float(check.r)
            return float(stats.pearsonr(x, r * x + np.sqrt(1 - r * r) * e).pvalue)
        if isinstance(check, RankSumCheck):
            n1, n2 = check.n1, check.n2
            sd = np.sqrt(n1 * n2 * (n1 + n2 + 1) / 12)
            above = {"greater": 1, "less": -1, "two-sided": np.sign(check.u - n1 * n2 / 2)}[check.alternative]
            z = (above * (check.u - n1 * n2 / 2) - 0.5) / sd
            return float(stats.norm.sf(z) * (2 if check.alternative == "two-sided" else 1))
        if check.n == 5:
            sums = [sum(r for r, s in zip(range(1, 6), signs, strict=True) if s)
                    for signs in itertools.product((0, 1), repeat=5)]  # fmt: skip
            return float(np.mean([s >= check.w for s in sums]))
        mean, variance = check.n * (check.n + 1) / 4, check.n * (check.n + 1) * (2 * check.n + 1) / 24
        return float(np.exp(stats.norm.logsf((check.w - mean) / np.sqrt(variance))))

    @pytest.mark.parametrize(
        "change", [{"p": ".007"}, {"effect_size": ".99"}, {"u": 24}, {"n1": 6}, {"alternative": "two-sided"}]
    )
    def test_a_wrong_digit_differs(self, change: dict[str, Any]) -> None:
        right = RankSumCheck(kind="rank-sum", u=25, n1=5, n2=5, alternative="greater", p=".006", effect_size="1")
        assert recompute_statistic(right)[1] == "reproduced"
        assert recompute_statistic(right.model_copy(update=change))[1] == "differs"

    @pytest.mark.parametrize(("r", "n", "p", "verdict"), [
        (".601", 30, "4.447e-4", "reproduced"), (".601", 35, "4.447e-4", "differs"), (".38", 30, ".036", "reproduced"),
        (".38", 30, ".030", "differs"), (".601", 30, "4.6e-4", "differs"),
    ])  # fmt: skip
    def test_a_correlation_within_its_rounding(self, r: str, n: int, p: str, verdict: str) -> None:
        assert recompute_statistic(CorrelationCheck(kind="correlation", r=r, n=n, p=p))[1] == verdict

    def test_what_only_the_rounding_of_r_covers_says_so(self) -> None:
        """Counted apart in docs/replication.md: 41 equal the printed digits, 2 by the rounding of r, 1 slip."""
        counts = {"digits": 0, "rounding": 0, "slip": 0}
        for number in PAPERS["kim2024"].numbers:
            check = number.check
            if not isinstance(check, RankSumCheck | SignedRankCheck | CorrelationCheck):
                continue
            _, verdict, how = recompute_statistic(check)
            by_rounding = isinstance(check, CorrelationCheck) and not as_printed(self.by_other_means(check), check.p)
            assert ("some r that rounds to it" in how) == (verdict == "reproduced" and by_rounding)
            counts["slip" if verdict == "differs" else "rounding" if by_rounding else "digits"] += 1
        assert counts == {"digits": 41, "rounding": 2, "slip": 1}


def results_folder(folder: Path, recipe: str, rows: list[dict[str, Any]], **record: Any) -> Path:
    """Write a results folder with the digest of a shipped recipe."""
    folder.mkdir(parents=True)
    digest = sha256(shipped_recipes()[recipe])
    content = {"command": f"brainalign run {recipe} --seed 0", "recipe_sha256": digest, "seed": 0, **record}
    (folder / "provenance.json").write_text(json.dumps(content))
    pd.DataFrame(rows).to_csv(folder / "results.csv", index=False)
    return folder


def claim_rows(no_music: list[float], music: list[float], random: list[float], gabor: float) -> list[dict[str, Any]]:
    shared = {"measure": "selective-ratio", "statistic": "ratio", "target": "selected units", "n_of": "stimuli"}
    values = dict(zip([*NO_MUSIC, *MUSIC, *RANDOM], [*no_music, *music, *random], strict=True))
    rows = [shared | {"model": m, "layer": "avgpool", "value": v, "ci_low": v - 0.3, "ci_high": v + 0.3}
            for m, v in values.items()]  # fmt: skip
    rows += [row | {"target": "other units", "value": 99.0} for row in rows]
    rows += [row | {"layer": "conv1", "value": 77.0} for row in rows]
    return [*rows, shared | {"model": "gbfb", "layer": "gbfb", "value": gabor, "ci_low": 0.85, "ci_high": 1.08}]


WITHOUT, WITH, UNTRAINED = [2.2, 1.7, 2.1, 1.7, 1.8], [3.0, 3.6, 3.5, 4.3, 2.8], [1.01, 0.97, 1.02, 1.06, 1.04]


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    return results_folder(tmp_path / "claim", CLAIM, claim_rows(WITHOUT, WITH, UNTRAINED, 0.96))


def by_id(scores: list[Score]) -> dict[str, Score]:
    return {s.id: s for s in scores}


class TestResults:
    def test_means_over_networks_and_their_verdicts(self, claim: Path) -> None:
        scores = by_id(scoreboard(["kim2024"], results=[claim]))
        score = scores["ratio165-networks-without-music"]
        expected = stats.ttest_1samp(WITHOUT, 0).confidence_interval(0.95)
        assert (score.value, score.ci_low, score.ci_high) == pytest.approx((np.mean(WITHOUT), *expected))
        assert score.verdict == "reproduced"
        assert score.interval.endswith("over 5 networks")
        assert scores["ratio165-networks-with-music"].verdict == "same sign"
        assert "another corpus" in scores["ratio165-networks-with-music"].reason
        assert scores["ratio165-random-networks"].verdict == "reproduced"
        gabor = scores["ratio165-gabor-filters"]
        assert (gabor.verdict, gabor.value, gabor.interval) == ("reproduced", 0.96, "0.85 to 1.08, over stimuli")
        assert all(s.recipe == CLAIM and str(claim) in s.reason for i, s in scores.items() if s.check == "run")

    def test_the_test_between_networks(self, claim: Path) -> None:
        scores = by_id(scoreboard(["kim2024"], results=[claim]))
        against_random = scores["ratio165-v-random-run"]
        peer = stats.mannwhitneyu(WITHOUT, UNTRAINED, alternative="greater", method="asymptotic")
        assert against_random.ours == f"U = {peer.statistic:g}, p = {peer.pvalue:.3g}"
        assert scores["ratio165-no-music-v-music-run"].verdict == "differs"
        assert scores["ratio165-no-music-v-music-run"].value == 0

    def test_without_results_nothing_that_needs_a_run_is_judged(self) -> None:
        scores = scoreboard(["kim2024"])
        run = [s for s in scores if s.check.startswith("run")]
        assert len(run) == 12
        assert {(s.verdict, s.ours, s.value) for s in run} == {("not run", "", None)}

    def test_a_difference_of_two_models(self, tmp_path: Path) -> None:
        shared = {"measure": "component-encoding", "statistic": "r2", "layer": "chosen", "brain": "nh2015-components"}
        names = ("lowfreq", "highfreq", "envsounds", "pitch", "speech", "music")
        rows = [
            shared | {"model": m, "target": t, "value": v, "ci_low": v - 0.03, "ci_high": v + 0.04}
            for t in names
            for m, v in (("kim2024-cnn:all/0", 0.5), ("kim2024-cnn:all/0@permuted:0", 0.1 if t == "music" else 0.48))
        ]
        folder = results_folder(tmp_path / "components", "tuckute2023/components", rows)
        scores = by_id(scoreboard(["tuckute2023"], results=[folder]))
        music = scores["gap-music"]
        assert (music.value, music.ci_low, music.ci_high) == pytest.approx((0.4, 0.35, 0.45))
        assert (music.verdict, music.check) == ("same sign", "run, stand-in")
        assert scores["gap-pitch"].verdict == "differs"

    def test_the_interval_of_a_difference(self) -> None:
        """Normal intervals give back the normal interval of the difference."""
        half = [1.96 * 0.3, 1.96 * 0.4]
        one, other = ((v, v - h, v + h) for v, h in zip((2.0, 0.5), half, strict=True))
        assert difference_of_two(one, other) == pytest.approx((1.5, 1.5 - 1.96 * 0.5, 1.5 + 1.96 * 0.5))

    def test_a_folder_of_another_recipe_is_refused(self, claim: Path) -> None:
        with pytest.raises(
            ResultsError, match=r"no number asked for is checked by that recipe.*tuckute2023/components"
        ):
            scoreboard(["tuckute2023"], results=[claim])

    def test_a_recipe_that_has_changed_since_is_refused(self, tmp_path: Path) -> None:
        folder = results_folder(tmp_path / "old", CLAIM, [], recipe_sha256="0" * 64)
        with pytest.raises(
            ResultsError, match=r"was written by 'brainalign run kim2024/claim --seed 0', .* 000000000000"
        ):
            scoreboard(["kim2024"], results=[folder])

    def test_two_folders_of_one_recipe_are_refused(self, claim: Path, tmp_path: Path) -> None:
        again = results_folder(tmp_path / "again", CLAIM, claim_rows(WITHOUT, WITH, UNTRAINED, 0.96))
        with pytest.raises(ResultsError, match="are both of kim2024/claim"):
            given_results([claim, again], [CLAIM])

    @pytest.mark.parametrize("content", [None, "no json", "[1]"])
    def test_no_results_folder(self, tmp_path: Path, content: str | None) -> None:
        if content is not None:
            (tmp_path / "provenance.json").write_text(content)
        with pytest.raises(ResultsError, match=r"no results folder|not a JSON object"):
            read_results(tmp_path, [CLAIM])

    def test_a_folder_that_is_not_there_is_named_plainly(self, tmp_path: Path) -> None:
        missing = tmp_path / "nodir"
        with pytest.raises(ResultsError) as caught:
            read_results(missing, [CLAIM])
        assert str(caught.value) == f"no results folder {str(missing)!r}; give one that brainalign run wrote"
        with pytest.raises(ResultsError, match=r"no results folder of brainalign run: it has no provenance\.json$"):
            read_results(tmp_path, [CLAIM])

    def test_a_table_that_was_changed_by_hand_is_refused(self, tmp_path: Path) -> None:
        rows = claim_rows(WITHOUT, WITH, UNTRAINED, 0.96)
        unsigned = results_folder(tmp_path / "unsigned", CLAIM, rows)
        digest = sha256(unsigned / "results.csv")
        folder = results_folder(tmp_path / "signed", CLAIM, rows, results_sha256=digest)
        assert read_results(folder, [CLAIM])[0] == read_results(unsigned, [CLAIM])[0] == CLAIM
        table = folder / "results.csv"
        table.write_text(table.read_text().replace("0.96", "0.95"))
        with pytest.raises(ResultsError, match=rf"results\.csv was changed after the run: .* says {digest[:12]}"):
            scoreboard(["kim2024"], results=[folder])
        nothing = results_folder(tmp_path / "null", CLAIM, rows, results_sha256=None)
        with pytest.raises(ResultsError, match="says None"):
            read_results(nothing, [CLAIM])
        table.unlink()
        with pytest.raises(ResultsError, match=r"results\.csv cannot be read"):
            read_results(folder, [CLAIM])

    def test_a_row_that_is_lacking_or_twice_is_named(self, tmp_path: Path) -> None:
        rows = [r for r in claim_rows(WITHOUT, WITH, UNTRAINED, 0.96) if r["model"] != NO_MUSIC[2]]
        lacking = results_folder(tmp_path / "lacking", CLAIM, rows)
        with pytest.raises(ResultsError, match=r"has 0 rows of kim2024-cnn:no-music/2 with .*layer = avgpool"):
            scoreboard(["kim2024"], results=[lacking])
        twice = results_folder(tmp_path / "twice", CLAIM, [*rows, *rows])
        with pytest.raises(ResultsError, match="has 2 rows of kim2024-cnn:no-music/0"):
            scoreboard(["kim2024"], results=[twice])

    def test_results_of_an_older_version(self, tmp_path: Path) -> None:
        rows = [{k: v for k, v in r.items() if k != "ci_low"} for r in claim_rows(WITHOUT, WITH, UNTRAINED, 0.96)]
        folder = results_folder(tmp_path / "older", CLAIM, rows)
        with pytest.raises(ResultsError, match="has no column 'ci_low'"):
            scoreboard(["kim2024"], results=[folder])

    def test_a_model_without_an_interval_is_not_judged(self, tmp_path: Path) -> None:
        rows = claim_rows(WITHOUT, WITH, UNTRAINED, 0.96)
        rows[-1] |= {"ci_low": None, "ci_high": None}
        scores = by_id(scoreboard(["kim2024"], results=[results_folder(tmp_path / "r", CLAIM, rows)]))
        gabor = scores["ratio165-gabor-filters"]
        assert (gabor.verdict, gabor.value, gabor.ci_low, gabor.interval) == ("not run", 0.96, None, "")


TINY = """
title = "Tiny"
[stimuli]
set = "demo"
ids = ["music01_piano_tune", "music02_guitar_chords", "animal01_bird_chirps", "animal09_owl_hoots", "tone01_low_tone"]
[[models]]
name = "logmel"
[[measures]]
name = "response-ratio"
categories = ["Music"]
n_bootstrap = 20
"""


class TestRunning:
    def test_a_recipe_is_run_once_and_found_again(self, tmp_path: Path) -> None:
        from brainalign import load_stimuli

        ids = load_stimuli("demo").table.groupby("category").head(2).index.tolist()
        recipe = tmp_path / "tiny.toml"
        recipe.write_text(re.sub(r"ids = .*", f"ids = {json.dumps(ids)}", TINY))
        out = tmp_path / "out"
        name = str(recipe)
        first = Runs(out=out).get(name)
        assert first is not None
        assert first.how == "run in this call"
        assert len(rows_of(first, {"measure": "response-ratio", "statistic": "ratio"}, ["logmel"])) == 1
        again = Runs(out=out).get(name)
        assert again is not None
        assert again.how.startswith(f"results of {first.folder}: seed 0, brainalign ")
        assert Runs().get(name) is None
        table = first.folder / "results.csv"
        table.write_text(table.read_text() + "\n")
        with pytest.raises(ResultsError, match="was changed after the run"):
            Runs(out=out).get(name)
        recipe.write_text(recipe.read_text() + "\n# changed\n")
        with pytest.raises(ResultsError, match="as it ships now"):
            Runs(out=out).get(name)

    def test_a_recipe_that_fails_is_tried_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tried: list[str] = []

        def fail(recipe: str, *_: Any, **__: Any) -> None:
            tried.append(recipe)
            raise MeasureError("no luck")

        monkeypatch.setattr("brainalign.replication.runs.run_recipe", fail)
        scores = [s for s in scoreboard(["kim2024"], run_into=tmp_path / "out") if s.recipe]
        assert sorted(tried) == [CLAIM, "kim2024/natsound165-units"]
        assert len(scores) == 12
        assert {s.verdict for s in scores} == {"not run"}
        assert all(s.reason.startswith("the recipe failed: no luck") for s in scores)

    def test_data_that_are_not_there_are_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path / "empty"))
        scores = by_id(scoreboard(["nh2015", "tuckute2023", "brain2music"], run_into=tmp_path / "out"))
        for name, data in (
            ("gap-music", "natsound165"), ("voxels", "natsound165"), ("count-b2021-voxels", "tuckute2023"),
            ("data-clips", "ds003720"), ("duration", "natsound165"), ("r2-trained-music", "cochresnet50"),
        ):  # fmt: skip
            assert scores[name].verdict_text == f"needs data {data}"
            assert scores[name].ours == ""
            assert scores[name].reason.startswith("needs ")
            assert scores[name].how_to_get
        assert not (tmp_path / "out" / "runs" / "tuckute2023--components").exists()


class TestFacts:
    def test_every_fact_from_printed_numbers_or_the_architecture(self) -> None:
        scores = [
            s for s in scoreboard(["kim2024", "brain2music"]) if "printed numbers" in s.check or "arch" in s.check
        ]
        assert len(scores) == 12
        assert {s.id for s in scores if s.verdict != "reproduced"} == SLIPS - {"audioset-ratio-no-music-v-music"}

    def test_the_slip_in_the_number_of_units(self) -> None:
        score = by_id(scoreboard(["kim2024"]))["selective-units"]
        assert (score.published, score.ours, score.verdict) == ("16", "32", "differs")

    @pytest.mark.realdata
    def test_published_data(self) -> None:
        scores = [s for s in scoreboard(["nh2015", "brain2music", "tuckute2023"]) if "published data" in s.check]
        here = [s for s in scores if s.needs != "tuckute2023"]
        assert len(here) == 12
        assert {s.verdict for s in here} == {"reproduced"}
        assert {s.id: s.ours for s in here}["voxels"] == "11,065"


class TestOutput:
    def test_the_page_escapes_and_loads_nothing(self) -> None:
        evil = "<script>alert('x')</script>"
        page = render_page([
            Score(evil, "i", evil, evil, evil, "needs data", "run", evil, ours=evil, needs=evil, recipe=evil)
        ])  # fmt: skip
        assert "<script" not in page
        assert page.count("&lt;script&gt;") >= 8
        assert not re.search(r"(src|href)\s*=", page)
        assert "http" not in page

    def test_what_was_not_run_is_marked(self, claim: Path) -> None:
        scores = by_id(scoreboard(["kim2024"], results=[claim]))
        assert scores["ap-chance"].verdict_text == "reproduced (recomputed)"
        assert scores["ap-slices"].verdict_text == "reproduced (recomputed)"
        assert scores["parameters"].verdict_text == "reproduced (recomputed)"
        assert scores["ratio165-random-networks"].verdict_text == "reproduced"
        assert scores["map"].verdict_text == "needs data audioset"

    def test_table_page_and_counts(self, claim: Path, tmp_path: Path) -> None:
        scores = scoreboard(results=[claim])
        table, page = write_scoreboard(scores, tmp_path / "out")
        read = pd.read_csv(table, keep_default_na=False)
        assert len(read) == len(scores) == sum(len(p.numbers) for p in PAPERS.values())
        assert read["verdict"].tolist() == [s.verdict for s in scores]
        assert list(to_table(scores).columns)[:6] == ["paper", "id", "where", "what", "published", "ours"]
        counted = sum(n for *_, counts in count_verdicts(scores) for n in counts.values())
        assert counted == len(scores)
        html = page.read_text(encoding="utf-8")
        assert html.count("<tr class=") == len(scores)
        assert {s.verdict for s in scores} <= set(VERDICTS)

    def test_command_line(self, claim: Path, tmp_path: Path) -> None:
        app = typer.Typer()
        app.command()(replicate)
        runner = CliRunner()
        done = runner.invoke(app, ["--paper", "nh2015", "--json"])
        assert done.exit_code == 0
        assert {s["paper"] for s in json.loads(done.stdout)} == {"Norman-Haignere 2015"}
        done = runner.invoke(app, ["--paper", "kim2024", "--results", str(claim), "--out", str(tmp_path / "o")])
        assert done.exit_code == 0
        assert "1.88 ± .13" in done.stdout
        assert "same sign" in done.stdout
        assert (tmp_path / "o" / "scoreboard.html").is_file()
        done = runner.invoke(app, ["--paper", "nobody"])
        assert isinstance(done.exception, ResultsError)
