"""Splits of stimuli."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainalign.errors import MeasureError
from brainalign.measures.splits import LABELLED, SPLITS, Split, make_splits, split_responses
from brainalign.responses import make_responses

IDS = [f"s{i}" for i in range(165)]
#: As many sounds of each category as the 165 natural sounds have.
SIZES = {"Mechanical": 39, "EnvSound": 27, "Music": 24, "HumNonVoc": 15, "HumVoc": 13, "Song": 11, "EngSpeech": 10,
         "AniVoc": 10, "ForSpeech": 7, "AniNonVoc": 5, "Nature": 4}  # fmt: skip
LABELS = dict(zip(IDS, np.random.default_rng(0).permutation(np.repeat(list(SIZES), list(SIZES.values()))), strict=True))


@pytest.mark.realdata
def test_published_splits_of_the_165_sounds(shared_data):
    with np.load(shared_data / "oracles" / "tuckute_oracle.npz", allow_pickle=False) as oracle:
        ids, is_train, is_test = oracle["stim_names"].tolist(), oracle["is_train"], oracle["is_test"]
    rng = np.random.default_rng(0)
    for order in (ids, rng.permutation(ids).tolist()):
        for s, split in enumerate(make_splits(order, "tuckute2023", n_splits=10, seed=0)):
            assert set(split.train) == {i for i, t in zip(ids, is_train[:, s], strict=True) if t}
            assert set(split.test) == {i for i, t in zip(ids, is_test[:, s], strict=True) if t}


def test_published_splits_are_the_first_half_of_legacy_permutations():
    """The legacy generator draws without replacement by permuting; the draw of the test half moves it on."""
    ids, rng = sorted(IDS), np.random.RandomState(4)
    for split in make_splits(IDS, "tuckute2023", n_splits=3, seed=4):
        assert split.train == [ids[i] for i in sorted(rng.permutation(165)[:83])]
        assert sorted([*split.train, *split.test]) == ids
        rng.permutation(82)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(SPLITS),
    n_labels=st.integers(4, 12),
    seed=st.integers(0, 99),
    n_splits=st.integers(2, 4),
    n=st.integers(60, 90),
)
def test_every_way_is_disjoint_complete_and_blind_to_the_order_of_the_table(name, n_labels, seed, n_splits, n):
    rng = np.random.default_rng(seed)
    ids = IDS[:n]
    labels = {i: f"g{k % n_labels}" for k, i in enumerate(ids)}
    splits = make_splits(ids, name, n_splits=n_splits, seed=seed, labels=labels)
    shuffled = rng.permutation(ids).tolist()
    assert splits == make_splits(shuffled, name, n_splits=n_splits, seed=seed, labels=[labels[i] for i in shuffled])
    assert len(splits) == (n_labels if name == "leave-one-category-out" else n_splits)
    for train, test in splits:
        assert sorted(train + test) == sorted(ids)
        assert len(test) >= 3
        if name in ("grouped-kfold", "leave-one-category-out"):
            assert not {labels[i] for i in train} & {labels[i] for i in test}
    if not name.endswith("halves") and name != "tuckute2023":
        assert sorted(i for s in splits for i in s.test) == sorted(ids)
    if name not in ("grouped-kfold", "leave-one-category-out"):
        assert splits != make_splits(ids, name, n_splits=n_splits, seed=seed + 1, labels=labels)


@pytest.mark.parametrize("n", [8, 9, 66, 165])
def test_halves_are_halves(n):
    for split in make_splits(IDS[:n], "tuckute2023"):
        assert len(split.train) == (n + 1) // 2
    for train, test in make_splits(IDS, "stratified-halves", labels=LABELS):
        assert (len(train), len(test)) == (83, 82)


def test_folds_are_shuffled_before_they_are_cut():
    first = make_splits(IDS, "kfold", n_splits=7, seed=3)[0].test
    assert first != sorted(IDS)[: len(first)]


def test_folds_of_a_table_sorted_by_category_do_not_leave_whole_categories_out():
    ids = [f"{label}-{k:02d}" for label, size in SIZES.items() for k in range(size)]
    for train, _ in make_splits(ids, "kfold", n_splits=5):
        assert {i.split("-")[0] for i in train} == set(SIZES)


def test_strata_are_on_both_sides_in_their_proportions():
    for train, test in make_splits(IDS, "stratified-halves", n_splits=20, labels=LABELS):
        counts = Counter(LABELS[i] for i in train), Counter(LABELS[i] for i in test)
        assert all(abs(counts[0][label] - counts[1][label]) == size % 2 for label, size in SIZES.items())
    for _, test in make_splits(IDS, "stratified-kfold", n_splits=4, labels=LABELS):
        assert len(test) in (41, 42)
        counts = Counter(LABELS[i] for i in test)
        assert all(size // 4 <= counts[label] <= -(-size // 4) for label, size in SIZES.items())


def test_either_half_may_get_the_odd_sound():
    trained = Counter(i for s in make_splits(IDS, "stratified-halves", n_splits=400, labels=LABELS) for i in s.train)
    of_five = [trained[i] / 400 for i in IDS if LABELS[i] == "AniNonVoc"]
    np.testing.assert_allclose(of_five, 0.5, atol=0.12)


def test_groups_of_unequal_size_give_folds_of_like_size():
    sizes = [len(s.test) for s in make_splits(IDS, "grouped-kfold", n_splits=4, labels=LABELS)]
    assert max(sizes) - min(sizes) <= min(SIZES.values())
    equal = [f"g{k % 20}" for k in range(160)]
    drawn = [make_splits(IDS[:160], "grouped-kfold", n_splits=4, seed=seed, labels=equal) for seed in range(2)]
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize(
    ("name", "n", "n_splits", "message"),
    [
        ("kfold", 20, 0, "n_splits is 0"),
        ("halves", 20, 5, "no way to split"),
        ("tuckute2023", 7, 10, "at least 8"),
        ("kfold", 20, 7, "that is 21 stimuli; choose 2 to 6 folds"),
        ("grouped-kfold", 165, 12, "12 folds need at least 12 groups, found 11"),
        ("stratified-kfold", 165, 6, r"'AniNonVoc' \(5\), 'Nature' \(4\); choose at most 4 folds"),
        ("stratified-halves", 12, 2, "there is 1 of category"),
        ("leave-one-category-out", 40, 2, "at least 3 test stimuli; too few are of category"),
    ],
)
def test_impossible_splits(name, n, n_splits, message):
    with pytest.raises(MeasureError, match=message):
        make_splits(IDS[:n], name, n_splits=n_splits, labels=LABELS)


@pytest.mark.parametrize("name", LABELLED)
def test_ways_that_go_by_labels_need_them(name):
    with pytest.raises(MeasureError, match="give labels"):
        make_splits(IDS, name)
    with pytest.raises(MeasureError, match="none for s7"):
        make_splits(IDS, name, n_splits=2, labels=LABELS | {"s7": ""})
    with pytest.raises(MeasureError, match="3 labels for 165 stimuli"):
        make_splits(IDS, name, labels=["a", "b", "c"])


def test_more_that_cannot_be_split():
    with pytest.raises(MeasureError, match="one category, 'x'"):
        make_splits(IDS, "leave-one-category-out", labels=["x"] * 165)
    with pytest.raises(MeasureError, match="leave 1 test stimuli in one fold"):
        make_splits(IDS[:9], "grouped-kfold", n_splits=3, labels=list("aaaaaaabc"))
    with pytest.raises(MeasureError, match="s1 stands twice"):
        make_splits(["s1", *IDS], "kfold")


class TestSplitResponses:
    def responses(self, n=12):
        return make_responses(
            np.random.default_rng(0).normal(size=(n, 2)),
            [f"s{i:02d}" for i in range(n)],
            ["a", "b"],
            stimulus_info={"category": ["x", "y"] * (n // 2)},
        )

    def test_a_name_gives_what_make_splits_gives(self):
        r = self.responses()
        ids = [str(s) for s in r["stimulus"].values]
        assert split_responses("kfold", [r], n_splits=3, seed=2) == make_splits(ids, "kfold", n_splits=3, seed=2)
        by_category = split_responses("leave-one-category-out", [r.drop_vars("category"), r])
        assert [set(p.test) for p in by_category] == [set(ids[::2]), set(ids[1::2])]

    @pytest.mark.parametrize(
        ("train", "test", "message"),
        [
            (range(6), [6, 7, 99], "no responses to: s99"),
            (range(6), [5, 6, 7], "s05 on both sides"),
            ([0, 1, 1, 2], [3, 4, 5], "s01 twice on one side"),
            ([0, 1], [3, 4, 5], "fits 2 and tests 3 stimuli; at least 3 and 3"),
            (range(6), [6, 7], "fits 6 and tests 2"),
        ],
    )
    def test_bad_splits(self, train, test, message):
        split = Split([f"s{i:02d}" for i in train], [f"s{i:02d}" for i in test])
        with pytest.raises(MeasureError, match=message):
            split_responses([split], [self.responses()])

    def test_no_splits_and_torn_groups(self):
        r = self.responses()
        with pytest.raises(MeasureError, match="no splits"):
            split_responses([], [r])
        pairs = {f"s{i:02d}": f"g{i // 2}" for i in range(12)}
        with pytest.raises(MeasureError, match="groups apart"):
            split_responses("kfold", [r], n_splits=3, groups=pairs)
        ids = [str(s) for s in r["stimulus"].values]
        whole = split_responses("grouped-kfold", [r], n_splits=3, seed=2, groups=pairs)
        assert whole == make_splits(ids, "grouped-kfold", n_splits=3, seed=2, labels=pairs)

    def test_three_stimuli_a_side_are_enough(self):
        split = Split(["s00", "s04", "s02"], ["s01", "s03", "s05"])
        assert split_responses([split], [self.responses()]) == [split]
