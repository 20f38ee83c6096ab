"""Splits of stimuli."""

import numpy as np
import pytest

from brainalign.errors import MeasureError
from brainalign.measures.splits import make_splits

IDS = [f"s{i}" for i in range(165)]


@pytest.mark.realdata
def test_published_splits_of_the_165_sounds(shared_data):
    with np.load(shared_data / "oracles" / "tuckute_oracle.npz", allow_pickle=False) as oracle:
        ids, is_train, is_test = oracle["stim_names"].tolist(), oracle["is_train"], oracle["is_test"]
    rng = np.random.default_rng(0)
    for order in (ids, rng.permutation(ids).tolist()):
        for s, split in enumerate(make_splits(order, "tuckute2023", n_splits=10, seed=0)):
            assert set(split.train) == {i for i, t in zip(ids, is_train[:, s], strict=True) if t}
            assert set(split.test) == {i for i, t in zip(ids, is_test[:, s], strict=True) if t}


@pytest.mark.parametrize("n", [8, 9, 66, 165])
def test_halves_are_disjoint_and_cover_all(n):
    for split in make_splits(IDS[:n], "tuckute2023"):
        assert len(split.train) == (n + 1) // 2
        assert sorted(split.train + split.test) == sorted(IDS[:n])


def test_folds_test_every_stimulus_once():
    splits = make_splits(IDS, "kfold", n_splits=7, seed=3)
    assert sorted(i for s in splits for i in s.test) == sorted(IDS)
    assert all(not set(s.train) & set(s.test) for s in splits)
    # Shuffled: neighbours in the table do not stay together.
    assert splits[0].test != sorted(IDS)[: len(splits[0].test)]


def test_order_of_the_table_and_seed():
    assert make_splits(IDS[::-1], "kfold", n_splits=5) == make_splits(IDS, "kfold", n_splits=5)
    assert make_splits(IDS, "kfold", n_splits=5, seed=1) != make_splits(IDS, "kfold", n_splits=5, seed=0)


@pytest.mark.parametrize(
    ("name", "n", "n_splits", "message"),
    [
        ("kfold", 20, 0, "n_splits is 0"),
        ("halves", 20, 5, "no way to split"),
        ("tuckute2023", 7, 10, "at least 8"),
        ("kfold", 20, 7, "2 to 6 folds"),
    ],
)
def test_impossible_splits(name, n, n_splits, message):
    with pytest.raises(MeasureError, match=message):
        make_splits(IDS[:n], name, n_splits=n_splits)
