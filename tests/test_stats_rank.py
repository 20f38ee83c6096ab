"""Rank tests against published numbers, scipy on data, and enumeration."""

import itertools
import subprocess
import sys
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from brainalign.errors import MeasureError
from brainalign.stats import p_from_rank_sum, p_from_signed_rank, rank_sum, signed_rank

# Every U, W, p and effect size that Kim et al. (2024) print. Their rank sums at 5 v 5 networks are
# the normal approximation with continuity correction, one-sided; their signed ranks are exact at
# n = 5 and normal without the correction at n = 1845; effect sizes are U / (n1 n2) and
# W+ / (n (n + 1) / 2).
KIM_RANK_SUMS = [
    # what, U, n1, n2, alternative, printed p, printed effect size
    ("mean response, music v others", 30_340_954, 3999, 11010, "greater", "4.891e-276", ".689"),
    ("decoding, selective v other units", 25, 5, 5, "greater", ".006", "1"),
    # Labelled "two-tailed" in the paper; .417 is the one-sided p.
    ("AudioSet ratio, no-music v music", 11, 5, 5, "less", ".417", ".440"),
    ("ratio, no-music v random or Gabor", 25, 5, 5, "greater", ".006", "1"),
    # The legend gives the other sample's U.
    ("the same in the legend", 0, 5, 5, "less", ".006", "0"),
    ("165 sounds ratio, no-music v music", 22, 5, 5, "greater", ".030", ".880"),
    ("generalisation v memorisation, 50 ms", 25, 5, 5, "greater", ".006", "1"),
    ("generalisation v memorisation, 100 ms", 25, 5, 5, "greater", ".006", "1"),
    ("generalisation v memorisation, 200 ms", 17, 5, 5, "greater", ".202", ".68"),
    ("generalisation v memorisation, 400 ms", 14, 5, 5, "greater", ".417", ".56"),
    ("generalisation v memorisation, 800 ms", 10, 5, 5, "greater", ".735", ".4"),
    ("generalisation v memorisation, 1600 ms", 15, 5, 5, "greater", ".338", ".6"),
]
KIM_SIGNED_RANKS = [
    # what, W+ at each of the printed comparisons, n, printed p, printed effect size
    ("PCA, GBFB v network", [15], 5, [".031"], ["1"]),
    ("165 sounds, other categories v music", [15], 5, [".031"], ["1"]),
    ("figure 5c, legend", [15], 5, [".031"], ["1"]),
    (
        "selective units, music quilts",
        [15, 15, 15, 8, 0, 1],
        5,
        [".031", ".031", ".031", ".500", "1", ".969"],
        ["1", "1", "1", ".533", "0", ".067"],
    ),
    (
        "selective units, other quilts",
        [15, 15, 15, 0, 0, 0],
        5,
        [".031", ".031", ".031", "1", "1", "1"],
        ["1", "1", "1", "0", "0", "0"],
    ),
    (
        "other units, music quilts",
        [2, 3, 9, 7, 2, 9],
        5,
        [".938", ".906", ".406", ".594", ".938", ".406"],
        [".133", ".2", ".6", ".467", ".133", ".6"],
    ),
    (
        "other units, other quilts",
        [3, 2, 5, 1, 1, 4],
        5,
        [".906", ".938", ".781", ".969", ".969", ".844"],
        [".2", ".133", ".333", ".067", ".067", ".267"],
    ),
    ("ablation, top v baseline", [1_560_865], 1845, ["3.027e-211"], [".917"]),
    ("ablation, top v L1 top", [1_223_566], 1845, ["9.740e-60"], [".719"]),
]
SIGNED_RANK_CASES = [
    pytest.param(w, n, p, es, id=f"{what}: {w}")
    for what, ws, n, ps, effects in KIM_SIGNED_RANKS
    for w, p, es in zip(ws, ps, effects, strict=True)
]


def as_printed(value: float, text: str) -> str:
    """Write the value with as many digits as the text has; "0" and "1" mean exactly that."""
    if "e" in text:
        digits = len(text.split("e")[0].split(".")[1])
        return f"{value:.{digits}e}"
    if "." not in text:
        return text if value == float(text) else repr(value)
    return f"{value:.{len(text) - 1}f}".lstrip("0")


def samples_with_u(u: int, n1: int, n2: int) -> tuple[np.ndarray, np.ndarray]:
    """Two samples without ties in which x is larger in exactly u of the pairs."""
    above, rest = divmod(u, n2)
    x = np.arange(n1)
    x[n1 - above :] += n2
    if rest:
        x[n1 - above - 1] += rest
    return x.astype(float), np.setdiff1d(np.arange(n1 + n2), x).astype(float)


def differences_with_w(w: int, n: int) -> np.ndarray:
    """Differences of sizes 1 to n whose positive ranks add up to w."""
    d = -np.arange(1.0, n + 1)
    for rank in range(n, 0, -1):
        if w >= rank:
            d[rank - 1] = rank
            w -= rank
    assert w == 0
    return d


@pytest.mark.parametrize(
    ("u", "n1", "n2", "alternative", "p", "effect_size"),
    [pytest.param(*case[1:], id=case[0]) for case in KIM_RANK_SUMS],
)
def test_published_rank_sums(u, n1, n2, alternative, p, effect_size):
    x, y = samples_with_u(u, n1, n2)
    test = rank_sum(x, y, alternative=alternative, method="asymptotic")
    alone = p_from_rank_sum(u, n1, n2, alternative=alternative, method="asymptotic")
    assert test.statistic == u
    assert as_printed(test.p, p) == p
    assert as_printed(alone, p) == p
    assert as_printed(test.effect_size, effect_size) == effect_size


@pytest.mark.parametrize(("w", "n", "p", "effect_size"), SIGNED_RANK_CASES)
def test_published_signed_ranks(w, n, p, effect_size):
    test = signed_rank(differences_with_w(w, n), alternative="greater")
    assert test.statistic == w
    assert test.method == ("exact" if n == 5 else "asymptotic")
    assert as_printed(test.p, p) == p
    assert as_printed(p_from_signed_rank(w, n, alternative="greater"), p) == p
    assert as_printed(test.effect_size, effect_size) == effect_size


def test_the_true_two_sided_p_of_the_audioset_comparison():
    """The paper's "two-tailed" .417 is half of what a two-sided test gives."""
    assert as_printed(p_from_rank_sum(11, 5, 5, method="asymptotic"), ".8345") == ".8345"
    assert as_printed(p_from_rank_sum(11, 5, 5, method="exact"), ".841") == ".841"


def test_the_paper_did_not_use_these_variants_at_5_v_5():
    exact = p_from_rank_sum(25, 5, 5, alternative="greater", method="exact")
    assert exact == pytest.approx(1 / 252, rel=1e-12)  # one of C(10, 5) arrangements
    uncorrected = p_from_rank_sum(25, 5, 5, alternative="greater", method="asymptotic", continuity=False)
    assert as_printed(uncorrected, ".0045") == ".0045"


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("method", ["exact", "asymptotic"])
@pytest.mark.parametrize("continuity", [True, False])
@pytest.mark.parametrize(("n1", "n2"), [(1, 1), (1, 6), (4, 7), (20, 15)])
def test_p_from_rank_sum_equals_scipy_on_data_with_that_u(n1, n2, alternative, method, continuity):
    for u in range(0, n1 * n2 + 1, max(1, n1 * n2 // 25)):
        x, y = samples_with_u(u, n1, n2)
        expected = scipy_stats.mannwhitneyu(x, y, alternative=alternative, method=method, use_continuity=continuity)
        p = p_from_rank_sum(u, n1, n2, alternative=alternative, method=method, continuity=continuity)
        assert expected.statistic == u
        assert p == pytest.approx(expected.pvalue, rel=1e-11)
        test = rank_sum(x, y, alternative=alternative, method=method, continuity=continuity)
        assert (test.statistic, test.p) == pytest.approx((u, expected.pvalue), rel=1e-12)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("method", ["exact", "asymptotic"])
@pytest.mark.parametrize("continuity", [True, False])
@pytest.mark.parametrize("n", [1, 2, 5, 12, 40])
def test_p_from_signed_rank_equals_scipy_on_data_with_that_w(n, alternative, method, continuity):
    most = n * (n + 1) // 2
    for w in range(0, most + 1, max(1, most // 25)):
        d = differences_with_w(w, n)
        expected = scipy_stats.wilcoxon(d, alternative=alternative, method=method, correction=continuity)
        p = p_from_signed_rank(w, n, alternative=alternative, method=method, continuity=continuity)
        assert p == pytest.approx(min(expected.pvalue, 1), rel=1e-11)
        test = signed_rank(d, alternative=alternative, method=method, continuity=continuity)
        assert (test.statistic, test.p) == pytest.approx((w, expected.pvalue), rel=1e-12)


@pytest.mark.parametrize(
    ("n1", "n2", "name"), [(50, 3, "exact"), (3, 50, "exact"), (51, 3, "asymptotic"), (3, 51, "asymptotic")]
)
def test_auto_is_exact_up_to_50_in_the_larger_sample(n1, n2, name):
    x, y = samples_with_u(20, n1, n2)
    expected = scipy_stats.mannwhitneyu(x, y, method=name).pvalue
    assert rank_sum(x, y).method == name
    assert p_from_rank_sum(20, n1, n2) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(("n", "name"), [(50, "exact"), (51, "asymptotic")])
def test_auto_is_exact_up_to_50_differences(n, name):
    d = differences_with_w(400, n)
    expected = scipy_stats.wilcoxon(d, method=name, correction=False).pvalue
    assert signed_rank(d).method == name
    assert p_from_signed_rank(400, n) == pytest.approx(expected, rel=1e-11)


def test_exact_nulls_equal_enumeration():
    n1, n2 = 4, 6
    sums = [sum(c) - n1 * (n1 - 1) / 2 for c in itertools.combinations(range(n1 + n2), n1)]
    for u in range(n1 * n2 + 1):
        expected = np.mean(np.array(sums) >= u)
        got = p_from_rank_sum(u, n1, n2, alternative="greater", method="exact")
        assert got == pytest.approx(expected, rel=1e-12)
    signs = np.array(list(itertools.product([0, 1], repeat=7)))
    plus = signs @ np.arange(1, 8)
    for w in range(29):
        got = p_from_signed_rank(w, 7, alternative="less", method="exact")
        assert got == pytest.approx(np.mean(plus <= w), rel=1e-12)


def test_small_exact_tails_keep_their_digits():
    """The last arrangement has p = 1 / C(200, 100), far below what 1 - cdf can hold."""
    p = p_from_rank_sum(10_000, 100, 100, alternative="greater", method="exact")
    assert p == pytest.approx(1 / comb(200, 100), rel=1e-10)
    p = p_from_signed_rank(500_500, 1000, alternative="greater", method="exact")
    assert p == pytest.approx(2.0**-1000, rel=1e-10)


@pytest.fixture
def units() -> tuple[np.ndarray, np.ndarray]:
    """Samples of 40 units: some with ties, some constant, some with zero differences."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(0.5, 1, (9, 40)), rng.normal(0, 1, (9, 40))
    x[:, 10:20], y[:, 10:20] = np.round(x[:, 10:20]), np.round(y[:, 10:20])
    x[:, 20:25] = y[:, 20:25] = 0.1
    return x, y


def by_all_signs(d, alternative):
    """Try all patterns of signs of the differences that are not zero."""
    d = d[d != 0]
    ranks = scipy_stats.rankdata(np.abs(d))
    sums = np.array([ranks @ signs for signs in itertools.product((0, 1), repeat=len(d))])
    greater, less = (sums >= ranks @ (d > 0)).mean(), (sums <= ranks @ (d > 0)).mean()
    return {"greater": greater, "less": less, "two-sided": min(1, 2 * min(greater, less))}[alternative]


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("method", ["auto", "asymptotic"])
def test_many_units_equal_the_loop_and_scipy(units, alternative, method):
    x, y = units
    sums = rank_sum(x.T[:, :8], y.T, alternative=alternative, method=method, axis=-1)
    signs = signed_rank(x, y, alternative=alternative, method=method)
    assert sums.p.shape == signs.p.shape == (40,)
    for i in range(40):
        one = rank_sum(x[:8, i], y[:, i], alternative=alternative, method=method)
        assert (one.statistic, one.p, one.effect_size, one.method) == (
            sums.statistic[i],
            sums.p[i],
            sums.effect_size[i],
            sums.method[i],
        )
        two = signed_rank(x[:, i], y[:, i], alternative=alternative, method=method)
        assert (two.statistic, two.p, two.effect_size, two.n, two.method) == (
            signs.statistic[i],
            signs.p[i],
            signs.effect_size[i],
            signs.n[i],
            signs.method[i],
        )
        if not 20 <= i < 25:
            judge = scipy_stats.mannwhitneyu(x[:8, i], y[:, i], alternative=alternative, method=one.method)
            assert (one.statistic, one.p) == (judge.statistic, pytest.approx(judge.pvalue))
            if two.method == "exact":
                expected = by_all_signs(x[:, i] - y[:, i], alternative)
            else:
                expected = scipy_stats.wilcoxon(
                    x[:, i], y[:, i], alternative=alternative, method="asymptotic", correction=False
                ).pvalue
            assert two.p == pytest.approx(expected)
    assert set(signs.method) == ({"exact"} if method == "auto" else {"asymptotic"})
    assert set(sums.method[10:25]) == {"asymptotic"}
    assert set(sums.method[:10]) == ({"exact"} if method == "auto" else {"asymptotic"})


def test_units_keep_their_shape(units):
    x, y = (values.reshape(9, 5, 8) for values in units)
    assert rank_sum(x, y).p.shape == (5, 8)
    assert signed_rank(np.moveaxis(x, 0, 1), np.moveaxis(y, 0, 1), axis=1).n.shape == (5, 8)


values = st.lists(st.integers(-4, 4), min_size=1, max_size=8)


@given(values, values)
def test_exchanging_the_samples_mirrors_the_result(x, y):
    forth, back = rank_sum(x, y, alternative="greater"), rank_sum(y, x, alternative="less")
    assert forth.statistic + back.statistic == len(x) * len(y)
    assert forth.effect_size + back.effect_size == pytest.approx(1)
    assert forth.p == pytest.approx(back.p)
    pairs = np.sign(np.subtract.outer(x, y))
    assert forth.effect_size == pytest.approx(np.mean((pairs + 1) / 2))


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=8), st.sampled_from(["wilcox", "pratt"]))
def test_signed_rank_is_the_share_of_positive_ranks(d, zeros):
    forth = signed_rank(d, zeros=zeros, alternative="greater")
    back = signed_rank(np.negative(d), zeros=zeros, alternative="less")
    assert forth.p == pytest.approx(back.p)
    assert forth.effect_size + back.effect_size == pytest.approx(1)
    assert forth.n == np.count_nonzero(d)
    if forth.n:
        total = forth.statistic + back.statistic
        assert forth.effect_size == pytest.approx(forth.statistic / total)


def test_zeros_are_dropped_or_ranked():
    """Ranks 1 2 3 without the zero; with it 2 3 4, of which the zero's 1 is dropped."""
    d = [0.0, 1.0, -2.0, 3.0]
    dropped, ranked = signed_rank(d), signed_rank(d, zeros="pratt")
    assert (dropped.statistic, dropped.effect_size, dropped.n) == (4, pytest.approx(4 / 6), 3)
    assert (ranked.statistic, ranked.effect_size, ranked.n) == (6, pytest.approx(6 / 9), 3)
    assert dropped.method == ranked.method == "exact"
    # Of the 8 patterns of signs, W+ >= 4 (of 1 2 3) in 3, and W+ >= 6 (of 2 3 4) in 3.
    assert (dropped.p, ranked.p) == (6 / 8, 6 / 8)


def test_against_a_chance_level():
    accuracies = np.array([0.61, 0.55, 0.49, 0.72, 0.58])
    against = signed_rank(accuracies, 0.5, alternative="greater")
    assert against == signed_rank(accuracies - 0.5, alternative="greater")
    assert against.p == 2 / 32  # W+ = 14: two of the 32 patterns of signs reach it


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("continuity", [True, False])
def test_equal_values_show_nothing(alternative, continuity):
    test = rank_sum([0.1] * 4, [0.1] * 9, alternative=alternative, continuity=continuity)
    assert (test.p, test.effect_size, test.statistic) == (1, 0.5, 18)
    test = signed_rank([0.0] * 6, alternative=alternative, continuity=continuity)
    assert (test.p, test.effect_size, test.statistic, test.n) == (1, 0.5, 0, 0)


@pytest.mark.filterwarnings("error")
def test_constant_differences():
    """Five equal positive differences: all ranks are tied, W+ is at its maximum."""
    test = signed_rank([0.5] * 5, alternative="greater")
    assert (test.statistic, test.effect_size, test.method, test.p) == (15, 1, "exact", 1 / 32)
    test = signed_rank([0.5] * 5, alternative="greater", method="asymptotic")
    # Mean 7.5; variance 5 * 6 * 11 / 24 less (5^3 - 5) / 48 for the tie.
    assert test.p == pytest.approx(scipy_stats.norm.sf(7.5 / np.sqrt(13.75 - 2.5)))


@pytest.mark.parametrize(
    ("d", "p"), [([1, 1, 2, 2, 1], 0.0625), ([1, 1, 1, 2, 2, 0, 0, 0], 0.0625), ([-1, 0, -2, 0], 0.5)]
)
def test_ties_and_zeros_of_few_pairs(d, p):
    """No two-sided p of five pairs lies below 1/16, however they are tied."""
    assert signed_rank(d).p == p == by_all_signs(np.array(d, float), "two-sided")


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9), st.sampled_from(["two-sided", "greater", "less"]))
def test_exact_with_ties_is_all_patterns_of_signs(d, alternative):
    if any(d):
        expected = by_all_signs(np.array(d, float), alternative)
        assert signed_rank(d, alternative=alternative).p == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rank_sum([], [1.0]), "x has 0 observations, at least 1 needed"),
        (lambda: rank_sum([1.0, np.nan, np.inf], [1.0]), "2 of 3 values of x are NaN or infinite"),
        (lambda: rank_sum([1.0], [np.nan]), "1 of 1 values of y"),
        (lambda: rank_sum(np.ones((3, 2)), np.ones((3, 4))), "different units"),
        (lambda: rank_sum([1, 2, 2], [3, 4], method="exact"), "found ties in 1 of 1 tests"),
        (lambda: rank_sum(range(101), np.arange(100) + 0.5, method="exact"), "10100 pairs"),
        (lambda: rank_sum([1.0], [2.0], alternative="grater"), "did you mean 'greater'"),
        (lambda: rank_sum([1.0], [2.0], method="normal"), "no method 'normal'"),
        (lambda: rank_sum([1.0], [2.0], axis=1), "no axis 1"),
        (lambda: signed_rank([]), "x has 0 observations"),
        (lambda: signed_rank([1.0, 2.0], [1.0]), "not paired"),
        (lambda: signed_rank([1.0, np.nan]), "1 of 2 values of x"),
        (lambda: signed_rank([1.0], np.nan), "1 of 1 values of y"),
        (lambda: signed_rank(np.arange(1, 1002), method="exact"), "1001 differences"),
        (lambda: p_from_rank_sum(26, 5, 5), "between 0 and 25"),
        (lambda: p_from_rank_sum(0, 0, 5), "0 and 5 observations"),
        (lambda: p_from_rank_sum(2.5, 5, 5, method="exact"), "comes from ties"),
        (lambda: p_from_signed_rank(-1, 5), "between 0 and 15"),
        (lambda: p_from_signed_rank(0, 0), "there are 0 differences"),
    ],
)
def test_bad_input_is_an_error_that_says_so(call, message):
    with pytest.raises(MeasureError, match=message):
        call()


def test_the_import_is_light():
    heavy = "{'scipy', 'statsmodels', 'pandas', 'torch'}"
    code = f"import sys, brainalign.stats; print(*{heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
