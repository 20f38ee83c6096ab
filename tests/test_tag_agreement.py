"""Agreement of tags."""

import csv
import json

import numpy as np
import pytest
from scipy.stats import binomtest

from brainalign.errors import MeasureError, ResponseError
from brainalign.measures.tag_agreement import TAG_GROUPS, tag_agreement
from brainalign.responses import make_responses

LABELS = [label for group in TAG_GROUPS.values() for label in group.labels]


def scores(n=30, seed=0, source="tagger", shift=None):
    rng = np.random.default_rng(seed)
    values = rng.random((n, len(LABELS)))
    if shift is not None:
        values = values + shift
    genres = ["jazz" if i % 3 else "blues" for i in range(n)]
    return make_responses(
        values, [f"clip{i}" for i in range(n)], LABELS, stimulus_info={"category": genres}, attrs={"source": source}
    )


def brute_overlap(a, b, group):
    """By sets of names, as the sentence in the paper reads."""
    tops = []
    for responses in (a, b):
        tops.append([])
        for i in range(responses.sizes["stimulus"]):
            ranked = sorted(group.labels, key=lambda label: -float(responses[i].sel(unit=label)))
            tops[-1].append(set(ranked[: group.n_top]))
    return [len(x & y) / group.n_top for x, y in zip(*tops, strict=True)]


class TestGroups:
    def test_the_printed_values_for_random_tags(self):
        chance = {name: round(group.chance, 3) for name, group in TAG_GROUPS.items()}
        assert chance == {"genre": 0.08, "instrument": 0.111, "mood": 0.167}
        assert [len(g.labels) for g in TAG_GROUPS.values()] == [25, 18, 6]

    @pytest.mark.realdata
    def test_they_are_the_children_in_the_ontology_that_are_classes(self, shared_data):
        ontology = json.loads((shared_data / "audioset/ontology.json").read_text(encoding="utf-8"))
        by_id = {c["id"]: c for c in ontology}
        by_name = {c["name"]: c for c in ontology}
        with (shared_data / "audioset/class_labels_indices.csv").open(encoding="utf-8") as stream:
            classes = {row["display_name"] for row in csv.DictReader(stream)}
        for name, parent in (("genre", "Music genre"), ("instrument", "Musical instrument"), ("mood", "Music mood")):
            children = {by_id[i]["name"] for i in by_name[parent]["child_ids"]} & classes
            assert set(TAG_GROUPS[name].labels) == children - {"Funny music"}

    @pytest.mark.realdata
    def test_yamnet_knows_them_all(self, shared_data):
        with (shared_data / "weights/yamnet/yamnet_class_map.csv").open(encoding="utf-8") as stream:
            assert set(LABELS) <= {row["display_name"] for row in csv.DictReader(stream)}


class TestAgreement:
    def test_overlap_is_that_of_sets_of_names(self):
        a, b = scores(seed=1), scores(seed=2)
        subjects = {"sub-01": b, "sub-02": scores(seed=3)}
        result = tag_agreement(a, subjects, by="category", n_bootstrap=0, n_permutations=0)
        jazz = (a["category"] == "jazz").values
        for name, group in TAG_GROUPS.items():
            expected = np.array([brute_overlap(a, other, group) for other in subjects.values()])
            np.testing.assert_allclose(result.arrays["overlap"].sel(group=name), expected)
            table = result.table[result.table["tags"] == name].set_index(["target", "category"])
            assert table.at[("sub-02", ""), "value"] == pytest.approx(expected[1].mean())
            assert table.at[("all subjects", ""), "value"] == pytest.approx(expected.mean())
            assert table.at[("all subjects", ""), "sd"] == pytest.approx(expected.mean(axis=1).std(ddof=1))
            assert table.at[("all subjects", "jazz"), "value"] == pytest.approx(expected[:, jazz].mean())
            assert table.at[("all subjects", "jazz"), "n"] == jazz.sum()

    def test_clips_are_matched_by_id(self):
        a, b = scores(seed=1), scores(seed=2)
        once, again = (tag_agreement(a, {"sub": x}, n_permutations=50, n_bootstrap=50).table for x in (b, b[::-1]))
        assert once.equals(again)

    def test_the_same_sounds_agree_wholly(self):
        table = tag_agreement(scores(), {"oracle": scores()}, n_permutations=200).table
        assert (table["value"] == 1).all()
        assert (table["p"] == 1 / 201).all()
        assert set(table["target"]) == {"oracle", "all subjects"}

    def test_random_tags_agree_by_chance(self):
        # 4,000 clips: the mean of hits out of n_top is known to about 0.006.
        table = tag_agreement(scores(4000, 1), {"sub": scores(4000, 2)}, n_permutations=100, n_bootstrap=100).table
        for _, row in table.iterrows():
            sd = np.sqrt(row["chance"] / 4000)
            assert abs(row["value"] - row["chance"]) < 4 * sd
            assert abs(row["chance_of_pairing"] - row["chance"]) < 4 * sd / 10 + 2 * sd
            assert row["ci_low"] < row["value"] < row["ci_high"]

    def test_a_favourite_tag_of_the_tagger_is_not_agreement(self):
        # Every sound gets the same genre: overlap is far above uniform chance, and no pairing is better than another.
        favourite = np.array([5.0 if label in ("Rock music", "Pop music") else 0.0 for label in LABELS])
        a, b = scores(seed=1, shift=favourite), scores(seed=2, shift=favourite)
        row = tag_agreement(a, {"sub": b}, groups=["genre"], n_permutations=100).table.iloc[0]
        assert row["value"] == row["chance_of_pairing"] == 1
        assert row["p"] == 1

    @pytest.mark.slow
    def test_p_rejects_as_often_as_it_says(self):
        rejected = 0
        for seed in range(400):
            table = tag_agreement(
                scores(60, 2 * seed),
                {"sub": scores(60, 2 * seed + 1)},
                groups=["genre"],
                n_bootstrap=0,
                n_permutations=199,
                seed=seed,
            ).table
            rejected += table["p"].iloc[0] <= 0.05
        # Overlaps are coarse, so that the test may reject less often than it says.
        assert binomtest(rejected, 400, 0.05, alternative="greater").pvalue > 0.001
        assert rejected >= 5


class TestBadInput:
    def test_other_classes(self):
        other = make_responses(np.random.default_rng(0).random((3, 2)), ["a", "b", "c"], ["Dog", "Cat"])
        with pytest.raises(MeasureError, match="has no score for 'Pop music'"):
            tag_agreement(other, {"sub": other})

    def test_other_clips(self):
        with pytest.raises(ResponseError):
            tag_agreement(scores(30), {"sub": scores(20)})

    def test_unknown_names(self):
        with pytest.raises(MeasureError, match="did you mean 'mood'"):
            tag_agreement(scores(), {"sub": scores()}, groups=["moods"])
        with pytest.raises(MeasureError, match="no coordinate 'genre'"):
            tag_agreement(scores(), {"sub": scores()}, by="genre")
        with pytest.raises(MeasureError, match="no reconstructions"):
            tag_agreement(scores(), {})
