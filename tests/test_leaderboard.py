"""Leaderboards: ranks against the tests they rest on, planted truth, what counts, the page, recipes end to end."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError, RecipeError
from brainalign.measures.compare_models import compare_models
from brainalign.measures.encoding import CHOSEN, component_encoding
from brainalign.measures.leaderboard import leaderboard
from brainalign.measures.voxel_encoding import voxel_encoding
from brainalign.recipes import compute_recipe
from brainalign.recipes.schema import read_recipe
from brainalign.report.folder import run_recipe
from brainalign.report.leaderboard import write_leaderboard
from brainalign.responses import make_responses
from brainalign.stats.ceilings import split_half_reliability

QUICK = {"n_permutations": 0, "n_bootstrap": 0}
N = 80
IDS = [f"s{i:02d}" for i in range(N)]


@pytest.fixture(scope="module")
def signal():
    return np.random.default_rng(0).standard_normal((N, 6))


def model(signal, name, noise, *, layers=1, seed=1):
    """Layers of a model: the signal with more and more noise."""
    rng = np.random.default_rng(seed)
    values = [signal + noise * (1 + k) * rng.standard_normal(signal.shape) for k in range(layers)]
    info = {"layer": [f"l{k}" for k in range(layers) for _ in range(6)]}
    return make_responses(np.hstack(values), IDS, unit_info=info, attrs={"source": name})


@pytest.fixture(scope="module")
def models(signal):
    return {
        "good": model(signal, "good", 0.2, layers=2),
        "bad": model(signal, "bad", 3.0, layers=2, seed=2),
        "twin": model(signal, "twin", 0.2, layers=2),
    }


@pytest.fixture(scope="module")
def components(signal):
    rng = np.random.default_rng(3)
    truth = signal @ rng.standard_normal((6, 3))
    runs = truth + 0.5 * rng.standard_normal((4, N, 3))
    return BrainData("brain", make_responses(runs, IDS, ["a", "b", "c"]), "v1", "A. Author 2026", "CC0")


@pytest.fixture(scope="module")
def voxels(signal):
    rng = np.random.default_rng(4)
    truth = signal @ rng.standard_normal((6, 24))
    info = {"subject": [f"sub-{v // 6}" for v in range(24)], "region": [("A", "B")[v % 2] for v in range(24)]}
    return make_responses(truth + rng.standard_normal((2, N, 24)), IDS, unit_info=info, attrs={"source": "voxels"})


@pytest.fixture(scope="module")
def encoded(models, components):
    return [component_encoding(m, components, **QUICK) for m in models.values()]


class TestRanks:
    def test_planted_order_with_a_tie(self, encoded, components):
        board = leaderboard(encoded, [components])
        table = board.table.set_index("model")
        assert table["rank"].to_dict() == {"good": 1, "twin": 1, "bad": 3}
        assert table["rank_high"].to_dict() == {"good": 2, "twin": 2, "bad": 3}
        twins = board.pairs[board.pairs["model_2"] == "twin"].set_index("model").loc["good"]
        assert (twins["difference"], twins["p"]) == (0, 1)

    def test_the_score_is_that_of_the_layer_chosen_on_training_sounds(self, encoded, components):
        row = leaderboard(encoded, [components]).table.set_index("model").loc["good"]
        rows = encoded[0].table
        assert row["layer"] == CHOSEN
        assert row["score"] == pytest.approx(rows[rows["layer"] == CHOSEN]["value"].mean())

    def test_p_is_the_corrected_resampled_t_test_by_hand(self, encoded):
        from scipy import stats

        found = leaderboard(encoded[:2]).pairs.iloc[0]
        by_split = [r.arrays["scores"].sel(layer=CHOSEN).mean("target").values for r in encoded[:2]]
        d = by_split[0] - by_split[1]
        error = np.sqrt(d.var(ddof=1) * (1 / 10 + 40 / 40))
        # Nadeau & Bengio 2003: the mean over splits, though the scores shown are medians over splits.
        assert found["difference"] == pytest.approx(d.mean())
        shown = leaderboard(encoded[:2]).table.set_index("model")["score"]
        assert abs(shown["good"] - shown["bad"] - d.mean()) > 1e-6
        assert found["p"] == pytest.approx(2 * stats.t.sf(abs(d.mean()) / error, 9))
        width = error * stats.t.ppf(0.975, 9)
        assert (found["ci_low"], found["ci_high"]) == pytest.approx((d.mean() - width, d.mean() + width))

    def test_each_target_alone_and_their_mean(self, encoded, components):
        apart = leaderboard(encoded, [components], per_target=True)
        together = leaderboard(encoded, [components])
        names = [f"brain · component-encoding · {t}" for t in "abc"]
        assert list(apart.benchmarks["benchmark"]) == [*names, "mean of 3 benchmarks"]
        mean = apart.table[apart.table["benchmark"] == "mean of 3 benchmarks"]
        np.testing.assert_allclose(mean["score"], together.table["score"])
        np.testing.assert_allclose(
            apart.pairs[apart.pairs["benchmark"] == "mean of 3 benchmarks"]["p"], together.pairs["p"]
        )
        only = leaderboard(encoded, [components], targets=["b"])
        np.testing.assert_allclose(only.table["score"], apart.table[apart.table["benchmark"] == names[1]]["score"])

    def test_brains_weigh_the_same_whatever_the_number_of_their_targets(self, models, components, encoded):
        two = replace(components, name="two", responses=components.responses.isel(unit=[0, 1]))
        others = [component_encoding(m, two, **QUICK) for m in models.values()]
        mean = leaderboard([*encoded, *others], per_target=True).table.groupby("benchmark").get_group(
            "mean of 5 benchmarks"
        )  # fmt: skip
        whole = leaderboard([*encoded, *others]).table
        expected = whole[whole["benchmark"] != "mean of 2 benchmarks"].groupby("model")["score"].mean()
        np.testing.assert_allclose(mean.set_index("model")["score"].loc[expected.index], expected)

    def test_voxels_of_subjects(self, models, voxels, components):
        results = [voxel_encoding(m, voxels, **QUICK) for m in models.values()]
        board = leaderboard(results)
        assert board.benchmarks.loc[0, ["generalises_to", "n_subjects"]].tolist() == [
            "new stimuli and new subjects",
            4,
        ]
        for row in board.table.to_dict("records"):
            table = next(r for r in results if r.table["model"].iloc[0] == row["model"]).table
            own = table[(table["layer"] == row["layer"]) & (table["target"] == "all units")]
            assert row["score"] == pytest.approx(own["value"].item())
        alone = leaderboard(results, generalise_to="subjects")
        from scipy import stats

        by_split = [r.arrays["split_scores"].sel(layer=CHOSEN).groupby("subject").median("unit") for r in results]
        scores = [s.mean("split").values for s in by_split]
        assert alone.pairs["p"].iloc[0] == pytest.approx(stats.ttest_rel(scores[0], scores[1]).pvalue)
        regions = leaderboard(results, targets=["A", "B"], per_target=True)
        assert list(regions.benchmarks["targets"]) == ["A", "B", ""]

    def test_models_compared_by_rdms_keep_their_own_test(self, models, voxels):
        layers = {"good": "l0", "bad": "l0", "twin": "l1"}
        compared = compare_models(models, voxels, layers=layers, n_permutations=0, n_bootstrap=200)
        board = leaderboard([compared])
        own = compared.table[compared.table["model_2"] != ""]
        np.testing.assert_allclose(board.pairs["p"], own["p"])
        assert board.table.iloc[0]["score"] == compared.table["value"].iloc[:3].max()
        np.testing.assert_allclose(board.benchmarks["ceiling"], compared.table["ceiling_upper"].iloc[0])

    def test_the_best_of_several_layers_does_not_count(self, models, voxels, encoded):
        compared = compare_models(models, voxels, n_permutations=0, n_bootstrap=50)
        board = leaderboard([*encoded, compared])
        assert set(board.benchmarks["measure"]) == {"component-encoding"}
        assert any("several layers of bad, good, twin" in note for note in board.notes)
        with pytest.raises(MeasureError, match=r"no result ranks models.*several layers"):
            leaderboard([compared])


class TestCeiling:
    def test_is_the_reliability_of_the_mean(self, encoded, components):
        board = leaderboard(encoded, [components])
        expected = split_half_reliability(components.responses.values).mean()
        np.testing.assert_allclose(board.table["ceiling"], expected)
        np.testing.assert_allclose(board.table["of_ceiling"], board.table["score"] / expected)
        assert board.benchmarks.loc[0, ["version", "citation"]].tolist() == ["v1", "A. Author 2026"]

    def test_unknown_without_repetitions(self, encoded):
        board = leaderboard(encoded)
        assert board.table["ceiling"].isna().all()
        assert any("no noise ceiling is known" in note for note in board.notes)

    def test_of_corrected_scores_is_1_and_a_score_above_it_is_noted(self, models, voxels):
        result = voxel_encoding(models["good"], voxels, correction="reliability", **QUICK)
        result.arrays["subject_scores"] += 1
        row = leaderboard([result]).table.iloc[0]
        assert row["ceiling"] == 1
        assert row["note"] == "above the ceiling"


class TestRefusals:
    def test_nothing_ranks(self, encoded):
        with pytest.raises(MeasureError, match="needs one of component-encoding, voxel-encoding, compare-models"):
            leaderboard([replace(r, measure="rsa") for r in encoded])

    @pytest.mark.parametrize(
        ("wrap", "said"),
        [
            (lambda r: {"x": r}, "results is a dict, expected a list of Result; give its values"),
            (lambda r: r, "results is a Result, expected a list of Result"),
            (lambda _: None, "results is a NoneType, expected a list of Result"),
            (lambda r: [r, r.table], r"results\[1\] is a DataFrame, expected a Result"),
            (lambda _: "results", r"results\[0\] is a str, expected a Result"),
        ],
    )
    def test_what_are_no_results(self, encoded, wrap, said):
        with pytest.raises(MeasureError, match=said):
            leaderboard(wrap(encoded[0]))

    def test_unknown_names(self, encoded):
        with pytest.raises(MeasureError, match="no measure 'component-encodin'"):
            leaderboard(encoded, measures=["component-encodin"])
        with pytest.raises(MeasureError, match="no target 'music' to rank by"):
            leaderboard(encoded, targets=["music"])

    def test_different_splits(self, models, components, encoded):
        other = component_encoding(models["bad"], components, seed=1, **QUICK)
        with pytest.raises(MeasureError, match="different splits of stimuli"):
            leaderboard([encoded[0], other])

    def test_a_model_that_a_benchmark_lacks_is_named(self, models, components, encoded):
        other = replace(components, name="other")
        results = [*encoded, *(component_encoding(models[m], other, **QUICK) for m in ("good", "bad"))]
        board = leaderboard(results)
        assert any("other · component-encoding has no score of twin" in note for note in board.notes)
        assert set(board.table[board.table["benchmark"] == "mean of 2 benchmarks"]["model"]) == {"good", "bad"}

    def test_no_mean_of_different_statistics(self, models, voxels, encoded):
        results = [voxel_encoding(m, voxels, statistic="r", **QUICK) for m in models.values()]
        board = leaderboard([*encoded, *results])
        assert not board.benchmarks["benchmark"].str.startswith("mean").any()
        assert "the benchmarks have no mean: their statistics or splits differ" in board.notes


def test_costs_of_a_model_are_its_extraction_and_the_measures_of_the_benchmark(encoded):
    costs = pd.DataFrame(
        [
            ("good", "", "", 1.0, 0.5, 10.0, 99.0),
            ("good", "component-encoding", "brain", 2.0, 1.5, 30.0, np.nan),
            ("good", "component-encoding", "other", 100.0, 100.0, 100.0, np.nan),
            ("bad", "", "", 7.0, 7.0, 7.0, np.nan),
        ],
        columns=["model", "measure", "brain", "seconds", "cpu_s", "peak_mb", "n_parameters"],
    )
    table = leaderboard(encoded, costs=costs).table.set_index("model")
    columns = ["seconds", "cpu_s", "peak_mb", "n_parameters"]
    assert table.loc["good", columns].tolist() == [3.0, 2.0, 30.0, 99]
    assert table.loc["bad", columns[:3]].tolist() == [7.0, 7.0, 7.0]
    assert table.loc["bad", "n_parameters"] is pd.NA
    assert table.loc["twin", columns].isna().all()


def test_memory_that_is_not_known_is_a_dash_on_the_page_and_sorts_last(encoded, tmp_path):
    costs = pd.DataFrame(
        [("good", "", "", 1.0, 0.5, np.nan, 9.0), ("bad", "", "", 7.0, 7.0, 7.5, 9.0)],
        columns=["model", "measure", "brain", "seconds", "cpu_s", "peak_mb", "n_parameters"],
    )
    write_leaderboard(leaderboard(encoded[:2], costs=costs), tmp_path)
    assert pd.read_csv(tmp_path / "leaderboard.csv").set_index("model")["peak_mb"].isna().to_dict() == {
        "good": True,
        "bad": False,
    }
    html = (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
    row = next(r for r in html.split("<tr>") if '<th scope="row" data-key="good">' in r)
    # The page puts cells without a key last, whatever the direction.
    assert '<td class="number" data-key="">–</td>' in row


def test_the_page_escapes_names_and_the_tables_hold_no_formula(models, components, tmp_path):
    nasty = '=cmd|"<img src=x onerror=alert(1)>'
    named = {m: models[m].assign_attrs(source=n) for m, n in (("good", nasty), ("bad", "plain"))}
    board = leaderboard([component_encoding(m, components, **QUICK) for m in named.values()], [components])
    paths = write_leaderboard(board, tmp_path, title="<script>alert(2)</script>", report="report.html")
    assert all(p.is_file() for p in paths)
    html = (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
    assert "<img" not in html
    assert "<script>alert(2)" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert 'href="report.html"' in html
    for name in ("leaderboard.csv", "leaderboard-pairs.csv"):
        table = pd.read_csv(tmp_path / name)
        assert set(table["model"]) <= {f"'{nasty}", "plain"}
    assert len(pd.read_csv(tmp_path / "leaderboard.csv")) == 2


def test_targets_of_one_file_name_keep_their_figures(models, signal, tmp_path):
    runs = (signal @ np.random.default_rng(3).standard_normal((6, 3)))[None] + np.zeros((2, 1, 1))
    brain = BrainData("brain", make_responses(runs, IDS, ["a b", "a/b", "c d"]), "v1", "A. Author 2026", "CC0")
    board = leaderboard([component_encoding(m, brain, **QUICK) for m in models.values()], [brain], per_target=True)
    write_leaderboard(board, tmp_path)
    html = (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
    figures = [p for p in (tmp_path / "figures").iterdir() if p.suffix == ".csv"]
    drawn = {name for p in figures for name in pd.read_csv(p)["benchmark"].unique()}
    assert drawn == set(board.benchmarks["benchmark"])
    assert len({p.name.casefold() for p in figures}) == len(figures) == len(drawn)
    assert all(f'href="figures/{p.name}"' in html for p in figures)
    assert sum("c_d" in p.name and p.name.endswith("c_d.csv") for p in figures) == 1


def test_many_models_keep_the_page_readable(encoded, components, tmp_path):
    many = [replace(encoded[0], table=encoded[0].table.assign(model=f"m{i}")) for i in range(70)]
    write_leaderboard(leaderboard(many, [components]), tmp_path)
    html = (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
    assert "The 60 highest scores of 70" in html
    assert "too many for this page" in html
    assert html.count('<th scope="row"') == 70
    assert len(pd.read_csv(tmp_path / "leaderboard-pairs.csv")) == 70 * 69 / 2


@pytest.mark.browser
def test_the_table_sorts_by_keyboard_and_nothing_is_loaded(encoded, components, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on the path")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    page_file = write_leaderboard(leaderboard(encoded, [components]), tmp_path)[0]
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page, asked, errors = browser.new_page(), [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(page_file.as_uri())
        models = page.locator("table:not(.pairs) tbody th")
        assert models.all_inner_texts() == ["good", "twin", "bad"]
        page.get_by_role("button", name="score").focus()
        page.keyboard.press("Enter")
        assert models.all_inner_texts()[0] == "bad"
        page.get_by_role("button", name="model").focus()
        page.keyboard.press("Space")
        assert models.all_inner_texts() == ["bad", "good", "twin"]
        browser.close()
    assert asked == [page_file.as_uri()]
    assert errors == []


GRID = """
title = "A grid"
models = ["logmel", {{ name = "cochleagram" }}{more}]
brains = ["demo-components"]
[stimuli]
set = "demo"
categories = ["Music", "Speech"]
[[measures]]
name = "component-encoding"
n_permutations = 0
n_bootstrap = 0
{rest}
"""


def grid(folder, more="", rest="[leaderboard]"):
    path = folder / "grid.toml"
    path.write_text(GRID.format(more=more, rest=rest), encoding="utf-8")
    return path


class TestRecipe:
    def test_names_stand_for_tables(self, tmp_path):
        recipe = read_recipe(grid(tmp_path))
        assert [m.name for m in recipe.models] == ["logmel", "cochleagram"]
        assert [b.name for b in recipe.brain] == ["demo-components"]
        assert recipe.leaderboard.correction == "holm"
        again = type(recipe).model_validate(recipe.model_dump(exclude_none=True))
        assert again == recipe

    def test_brains_and_brain_are_one_list(self, tmp_path):
        rest = '[[brain]]\nname = "demo-components"\nlabel = "again"\n[leaderboard]'
        assert [b.called for b in read_recipe(grid(tmp_path, rest=rest)).brain] == ["again", "demo-components"]

    @pytest.mark.parametrize(
        ("rest", "message"),
        [
            ("[leaderboard]\nalpa = 0.1", "unknown key 'leaderboard.alpa'; did you mean 'alpha'"),
            ("[leaderboard]\nalpha = 1.5", "less than 1"),
            ('[leaderboard]\ncorrection = "bonf"', "correction is 'bonf'"),
            ('[leaderboard]\nmeasures = ["rsa"]', "leaderboard.measures: no measure 'rsa' that ranks models"),
            ('[[brain]]\nname = "demo-components"\n[leaderboard]', "stands twice"),
        ],
    )
    def test_what_a_leaderboard_cannot_say(self, tmp_path, rest, message):
        with pytest.raises(RecipeError, match=message):
            read_recipe(grid(tmp_path, rest=rest))

    def test_there_must_be_something_to_rank(self, tmp_path):
        path = grid(tmp_path)
        path.write_text(path.read_text().replace('name = "component-encoding"', 'name = "rsa"'), encoding="utf-8")
        with pytest.raises(RecipeError, match="no measure of the recipe ranks models"):
            read_recipe(path)

    def test_a_results_folder_holds_the_page_and_the_report_links_to_it(self, tmp_path):
        out = run_recipe(grid(tmp_path), tmp_path / "out", audio=False)
        board = pd.read_csv(out / "leaderboard.csv")
        results = pd.read_csv(out / "results.csv")
        counted = results[results["layer"].isin([CHOSEN, "logmel"]) | ~results["model"].isin(board["model"])]
        for name, own in board.groupby("model"):
            rows = counted[counted["model"] == name] if name == "logmel" else results[results["model"] == name]
            rows = rows[rows["layer"] == own["layer"].item()]
            assert own["score"].item() == pytest.approx(rows["value"].mean())
        assert '<a href="leaderboard.html">' in (out / "report.html").read_text(encoding="utf-8")
        assert 'href="report.html"' in (out / "leaderboard.html").read_text(encoding="utf-8")
        assert board["seconds"].gt(0).all()

    def test_one_model_more_recomputes_only_what_is_new(self, tmp_path):
        cache = tmp_path / "cache"
        first = compute_recipe(grid(tmp_path), cache=cache)
        assert not first.costs["from_store"].any()
        more = compute_recipe(grid(tmp_path, more=', "spectrotemporal"'), cache=cache)
        new = more.costs[~more.costs["from_store"].astype(bool)]
        assert list(zip(new["task"], new["model"], strict=True)) == [
            ("extraction", "spectrotemporal"),
            ("measure", "spectrotemporal"),
        ]
        assert len(more.costs) == 6
        for old, same in zip(first.results, more.results, strict=False):
            pd.testing.assert_frame_equal(old.table, same.table)
        # Another option of the board is no task at all.
        again = compute_recipe(grid(tmp_path, rest="[leaderboard]\nalpha = 0.1"), cache=cache)
        assert again.costs["from_store"].all()
