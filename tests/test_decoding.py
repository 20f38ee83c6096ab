"""Decoding: planted signals and none, whole chains by hand, clips and genres that must not leak."""

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.linear_model import Ridge

from brainalign.errors import MeasureError, ResponseError
from brainalign.measures.decoding import decoding
from brainalign.measures.decoding_scores import average_clips, identification_accuracy, rank_candidates
from brainalign.measures.region_decoder import RegionDecoder, clip_folds
from brainalign.measures.region_penalties import choose_penalties
from brainalign.responses import make_responses

QUICK = {"n_permutations": 0, "n_bootstrap": 0, "n_folds": 3}
GENRES = ("blues", "disco", "jazz", "metal", "rock")


def study(
    n_train=30, n_test=15, windows=2, d=(6, 4), sizes=(7, 5, 40, 4), n_subjects=2, signal=1.0, seed=0, spread=0.5
):
    """Return embeddings of two layers, and voxels of which region B follows the first layer, and C a little.

    Embeddings lie around the centre of their genre. Stimuli stand in random order.
    """
    rng = np.random.default_rng(seed)
    n = n_train + n_test
    genre = np.arange(n) % len(GENRES)
    centres = rng.standard_normal((len(GENRES), sum(d)))
    clips = spread * centres[genre] + rng.standard_normal((n, sum(d)))
    embedding = clips.repeat(windows, axis=0) + 0.3 * rng.standard_normal((n * windows, sum(d)))
    blocks, info = [], {"subject": [], "region": []}
    for s in range(n_subjects):
        for name, size, strength in zip("ABCD", sizes, (0, 1, 0.4, 0), strict=True):
            weights = rng.standard_normal((d[0], size))
            noise = rng.standard_normal((len(embedding), size))
            blocks.append(signal * strength * embedding[:, : d[0]] @ weights + noise)
            info["subject"] += [f"sub-{s + 1:02d}"] * size
            info["region"] += [name] * size
    of = {
        "clip": [f"clip-{i:03d}" for i in range(n) for _ in range(windows)],
        "window": [k for _ in range(n) for k in range(windows)],
        "split": ["train" if i < n_train else "test" for i in range(n) for _ in range(windows)],
        "category": [GENRES[g] for g in genre for _ in range(windows)],
    }
    ids = [f"{c}_w{w}" for c, w in zip(of["clip"], of["window"], strict=True)]
    order = rng.permutation(len(ids))
    shuffled = [ids[i] for i in order]
    layers = ["first"] * d[0] + ["second"] * d[1]
    model = make_responses(
        embedding[order],
        shuffled,
        stimulus_info={k: [v[i] for i in order] for k, v in of.items()},
        unit_info={"layer": layers},
        attrs={"source": "net"},
    )
    brain = make_responses(np.hstack(blocks), ids, unit_info=info, attrs={"source": "scanner"})
    return model, brain


def value(
    result, statistic="identification_accuracy", layer="first", target="all subjects", evaluated="test", genre=""
):
    t = result.table
    rows = t[
        (t["statistic"] == statistic)
        & (t["layer"] == layer)
        & (t["target"] == target)
        & (t["evaluated"] == evaluated)
        & (t["category"] == genre)
    ]
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.fixture(scope="module")
def result():
    return decoding(*study(), n_regions=2, n_folds=3, n_permutations=200, n_bootstrap=100)


class TestPlanted:
    def test_what_is_there_is_decoded(self, result):
        accuracy = value(result)
        assert accuracy["value"] > 0.85
        assert accuracy["p"] == pytest.approx(1 / 201)
        assert 0.5 < accuracy["ci_low"] < accuracy["value"] < accuracy["ci_high"] <= 1
        assert (accuracy["n"], accuracy["n_of"], accuracy["n_clips"]) == (2, "subjects", 15)
        assert value(result, "correlation")["value"] > 0.5
        assert value(result, "top_1_of_15")["value"] > 0.3
        assert value(result, "top_1_of_15")["chance"] == pytest.approx(1 / 15)
        assert result.arrays["chosen_regions"].sel(layer="first", region="B").all()

    def test_means_over_subjects_and_their_spread(self, result):
        for statistic in ("identification_accuracy", "correlation", "cosine", "top_5_of_15"):
            each = [value(result, statistic, target=f"sub-0{s}")["value"] for s in (1, 2)]
            mean = value(result, statistic)
            assert mean["value"] == pytest.approx(np.mean(each))
            assert mean["sd"] == pytest.approx(np.std(each, ddof=1))

    def test_genres_average_to_the_whole(self, result):
        # Three test clips of each of five genres.
        genres = [value(result, genre=g) for g in GENRES]
        assert np.mean([g["value"] for g in genres]) == pytest.approx(value(result)["value"])
        assert [g["n_clips"] for g in genres] == [3] * 5
        assert all(np.isnan(g["ci_low"]) and np.isnan(g["ci_high"]) for g in genres)
        assert all("fewer than 5 clips: no interval" in g["note"] for g in genres)
        assert "fewer" not in value(result)["note"]

    def test_fitted_clips_are_told_from_left_out_ones(self, result):
        fitted, left_out = (value(result, evaluated=f"training, {e}") for e in ("fitted", "left out"))
        assert fitted["value"] >= left_out["value"] > 0.8
        # Regions were chosen by this correlation.
        assert "correlation" not in set(result.table[result.table["evaluated"] == "training, left out"]["statistic"])
        assert "says nothing about others" in fitted["note"]
        assert np.isnan(fitted["p"])

    def test_arrays(self, result):
        arrays = result.arrays
        assert arrays["predictions"].dims == ("subject", "stimulus", "unit")
        assert arrays["predictions"].shape == (2, 30, 10)
        assert set(arrays["predictions"]["clip"].values) == {f"clip-{i:03d}" for i in range(30, 45)}
        mean = arrays["identification"].sel(layer="first").mean("clip")
        assert mean.sel(subject="sub-02").item() == pytest.approx(value(result, target="sub-02")["value"])
        assert (arrays["chosen_regions"].sum("region") == 2).all()
        roles = arrays["roles"].isel(part=0)
        assert (roles == "train").sum() == 60
        assert set(roles["stimulus"].values[roles == "test"]) == set(arrays["predictions"]["stimulus"].values)


def test_the_whole_chain_by_hand():
    model, brain = study(seed=3)
    result = decoding(model, brain, n_regions=2, **QUICK)
    model = model.sel(stimulus=brain["stimulus"])
    x, y, clips = brain.values[:, brain["subject"] == "sub-02"], model.values[:, :6], model["clip"].values
    region = brain["region"].values[brain["subject"] == "sub-02"]
    train, test = (model["split"].values == part for part in ("train", "test"))
    folds = clip_folds(clips[train].tolist(), 3)
    choices = {r: choose_penalties(x[train][:, region == r], y[train], folds) for r in "ABCD"}
    best = sorted("ABCD", key=lambda r: -choices[r].correlation.mean())[:2]
    predicted = np.mean(
        [
            np.stack(
                [
                    Ridge(a).fit(x[train][:, region == r], y[train, j]).predict(x[test][:, region == r])
                    for j, a in enumerate(choices[r].alphas)
                ],
                axis=1,
            )
            for r in best
        ],
        axis=0,
    )
    ours = result.arrays["predictions"].sel(subject="sub-02", stimulus=brain["stimulus"].values[test])[:, :6]
    np.testing.assert_allclose(ours, predicted, rtol=1e-8, atol=1e-8)
    p, t = (average_clips(v, clips[test])[1] for v in (predicted, y[test]))
    accuracy = identification_accuracy(rank_candidates(p, t))
    np.testing.assert_allclose(result.arrays["identification"].sel(subject="sub-02", layer="first"), accuracy)
    assert value(result, target="sub-02")["value"] == pytest.approx(accuracy.mean())


class TestNoLeak:
    def test_the_order_of_stimuli_does_not_matter(self):
        model, brain = study()
        options = {"n_regions": 2, "n_folds": 3, "n_permutations": 50, "n_bootstrap": 50}
        one = decoding(model, brain, **options)
        order = np.random.default_rng(5).permutation(brain.sizes["stimulus"])
        two = decoding(model[::-1], brain[order], **options)
        for column in ("value", "p", "ci_low", "ci_high"):
            np.testing.assert_allclose(two.table[column], one.table[column], atol=1e-9)

    def test_test_rows_do_not_touch_the_fit(self):
        model, brain = study()
        one = decoding(model, brain, n_regions=2, **QUICK)
        test = (model["split"] == "test").values
        rng = np.random.default_rng(6)
        changed = model.copy(data=np.where(test[:, None], rng.standard_normal(model.shape), model.values))
        two = decoding(changed, brain, n_regions=2, **QUICK)
        np.testing.assert_allclose(two.arrays["predictions"], one.arrays["predictions"])
        np.testing.assert_allclose(two.arrays["region_correlation"], one.arrays["region_correlation"])
        assert abs(value(two)["value"] - 0.5) < 0.25 < value(one)["value"] - 0.5

    def test_a_clip_is_not_torn_apart_by_the_split(self):
        model, brain = study()
        split = model["split"].values.copy()
        split[np.flatnonzero(split == "test")[0]] = "train"
        with pytest.raises(
            MeasureError, match=r"windows of the clip 'clip-0\d\d' are both trained and tested; 'split' must"
        ):
            decoding(model.assign_coords(split=("stimulus", split)), brain, **QUICK)

    def test_windows_of_a_clip_that_only_noise_tells_apart(self):
        """Every clip has its own pattern in brain and embedding, which have nothing to do with each other."""
        rng = np.random.default_rng(7)
        n, windows = 60, 4
        ids = [f"{i}_{w}" for i in range(n) for w in range(windows)]
        clips = {"clip": [f"c{i:02d}" for i in range(n) for _ in range(windows)]}
        embedding, pattern = rng.standard_normal((n, 8)), rng.standard_normal((n, 80))
        model = make_responses(embedding.repeat(windows, axis=0), ids, stimulus_info=clips)
        values = pattern.repeat(windows, axis=0) + 0.1 * rng.standard_normal((n * windows, 80))
        brain = make_responses(values, ids)
        whole = decoding(model, brain, split="kfold", **QUICK)
        assert abs(value(whole, layer="")["value"] - 0.5) < 0.15
        alone = decoding(model.drop_vars("clip"), brain, split="kfold", **QUICK)
        assert value(alone, layer="")["value"] > 0.8


class TestUnseen:
    def test_each_genre_is_decoded_without_it(self):
        model, brain = study(n_train=60, spread=1.0)
        brain = brain[:, brain["region"] == "B"]
        result = decoding(model, brain, unseen="category", n_regions=1, **QUICK)
        roles, genre = result.arrays["roles"], model["category"].sel(stimulus=result.arrays["roles"]["stimulus"]).values
        assert roles.sizes["part"] == 5
        for part in roles:
            tested = set(genre[part == "test"])
            assert len(tested) == 1
            assert tested.isdisjoint(genre[part == "train"])
        assert (
            (roles == "test").sum("part").values == (model["split"] == "test").sel(stimulus=roles["stimulus"])
        ).all()
        # Predictions of the first genre are those of a fit to all others.
        own = brain.values[:, brain["subject"] == "sub-01"]
        embedding = model.sel(stimulus=brain["stimulus"])
        blues, trained = (embedding["category"] == "blues").values, (embedding["split"] == "train").values
        decoder = RegionDecoder(1, n_folds=3).fit(
            own,
            embedding.values[:, :6],
            {"B": np.arange(own.shape[1])},
            clips=embedding["clip"].values.tolist(),
            rows=np.flatnonzero(trained & ~blues),
        )
        tested = np.flatnonzero(~trained & blues)
        ours = result.arrays["predictions"].sel(subject="sub-01", stimulus=brain["stimulus"].values[tested])
        means = [
            embedding.values[trained & (embedding["category"] != genre).values, :6].mean(axis=0) for genre in GENRES
        ]
        shift = np.mean(means, axis=0) - means[0]
        np.testing.assert_allclose(ours[:, :6], decoder.predict(own, tested) + shift, atol=1e-9)
        plain = decoding(model, brain, unseen="category", one_mean=False, n_regions=1, **QUICK)
        ours = plain.arrays["predictions"].sel(subject="sub-01", stimulus=brain["stimulus"].values[tested])
        np.testing.assert_allclose(ours[:, :6], decoder.predict(own, tested), atol=1e-9)
        assert value(result)["value"] > 0.7

    def test_all_clips_without_a_split(self):
        model, brain = study(spread=1.0)
        result = decoding(model, brain, split="kfold", unseen="category", n_regions=1, **QUICK)
        assert value(result)["n_clips"] == 45
        assert value(result)["n_candidates"] == 45


class TestForms:
    def test_without_subjects_regions_and_clips(self):
        model, brain = study(windows=1, n_subjects=1)
        bare = brain.drop_vars(["subject", "region"])
        result = decoding(model.drop_vars(["clip", "window"]), bare, n_regions=6, **QUICK)
        assert value(result, target="all")["value"] > 0.7
        assert "one subject: the interval is over clips alone" in value(result)["note"]
        assert any("no coordinate 'subject'" in w for w in result.warnings)
        assert any("no coordinate 'region'" in w for w in result.warnings)
        assert result.arrays["chosen_regions"]["region"].values.tolist() == ["all units"]
        one_region = decoding(model, bare, regions=None, **QUICK)
        assert value(one_region, target="all")["value"] == value(result, target="all")["value"]

    def test_repetitions_are_averaged(self):
        model, brain = study(n_subjects=1)
        noise = np.random.default_rng(8).standard_normal(brain.shape)
        runs = make_responses(
            np.stack([brain.values + noise, brain.values - noise]),
            brain["stimulus"].values.tolist(),
            unit_info={c: brain[c].values for c in ("subject", "region")},
        )
        one, two = (decoding(model, b, n_regions=2, **QUICK) for b in (brain, runs))
        np.testing.assert_allclose(two.table["value"], one.table["value"])

    def test_folds_of_clips(self):
        result = decoding(*study(), split="kfold", n_splits=5, n_regions=1, top_k=[1, 20], **QUICK)
        assert value(result)["n_clips"] == 45
        assert value(result)["n_candidates"] == 9
        assert value(result)["value"] > 0.8
        # 20 of 9 leave nothing to miss.
        assert not any(s.startswith("top_20") for s in result.table["statistic"])
        assert result.settings["candidates"] == "the clips of the same fold"

    def test_units_without_a_region_are_left_out_and_counted(self):
        model, brain = study()
        region = brain["region"].values.copy()
        region[region == "C"] = ""
        result = decoding(model, brain.assign_coords(region=("unit", region)), n_regions=2, **QUICK)
        assert "C" not in result.arrays["chosen_regions"]["region"].values
        assert any("80 of 112 units are in no region" in w for w in result.warnings)

    def test_a_subject_that_lacks_a_region(self):
        model, brain = study()
        keep = ~((brain["subject"] == "sub-02") & (brain["region"] == "A")).values
        result = decoding(model, brain[:, keep], n_regions=4, **QUICK)
        assert any("a subject has 3 regions only" in w for w in result.warnings)
        r = result.arrays["region_correlation"].isel(part=0).sel(layer="first", region="A")
        assert np.isnan(r).values.tolist() == [False, True]

    def test_dimensions_that_are_constant(self):
        """Left out of the mean where the test clips are alike in them, and counted."""
        model, brain = study(d=(6, 4))
        model.values[:, 0] = 0.1
        result = decoding(model, brain, n_regions=1, **QUICK)
        assert any("1 of 10 dimensions are constant over the test clips" in w for w in result.warnings)
        predicted, tested = result.arrays["predictions"][0], result.arrays["predictions"]["clip"].values
        truth = model.sel(stimulus=predicted["stimulus"]).values
        p, t = (average_clips(x[:, 1:6], tested)[1] for x in (predicted.values, truth))
        r = np.mean([np.corrcoef(p[:, k], t[:, k])[0, 1] for k in range(5)])
        assert value(result, "correlation", target="sub-01")["value"] == pytest.approx(r)

    def test_penalties_of_regions_that_are_not_chosen_do_not_count(self):
        model, brain = study(sizes=(7, 5, 4, 4))
        alphas = [1e-3, 10.0, 1e9]
        result = decoding(model, brain, n_regions=1, alphas=alphas, **QUICK)
        own = model.sel(stimulus=brain["stimulus"].values)
        rows = np.flatnonzero(own["split"].values == "train")
        at_edge = []
        for subject in ("sub-01", "sub-02"):
            members = {
                r: np.flatnonzero((brain["subject"].values == subject) & (brain["region"].values == r)) for r in "ABCD"
            }
            layer = (own["layer"].values == "second").astype(int)
            decoder = RegionDecoder(1, alphas=alphas, n_folds=3).fit(
                brain.values, own.values, members, clips=own["clip"].values.tolist(), groups=layer, rows=rows
            )
            for k in range(10):
                at_edge.append(decoder.at_edge_[decoder.chosen_[:, layer[k]], k].mean())
        share = [w for w in result.warnings if "of the fits of chosen regions" in w]
        assert 0 < np.mean(at_edge) < 1
        assert share[0].startswith(f"in {np.mean(at_edge):.0%} of")

    def test_windows_without_a_clip(self):
        model, brain = study()
        names = [f"{i.partition('_')[0]}@0{i[-1]}" for i in model["stimulus"].values]
        bare = model.assign_coords(stimulus=names).drop_vars(["clip", "window"])
        voxels = brain.assign_coords(stimulus=[f"{i.partition('_')[0]}@0{i[-1]}" for i in brain["stimulus"].values])
        result = decoding(bare, voxels, n_regions=1, **QUICK)
        assert any("90 stimuli are called as windows of clips are" in w for w in result.warnings)
        whole = decoding(
            bare.sel(stimulus=[n for n in names if n.endswith("@00")]),
            voxels.sel(stimulus=[n for n in names if n.endswith("@00")]),
            n_regions=1,
            **QUICK,
        )
        assert not any("called as windows" in w for w in whole.warnings)

    def test_twice_the_same(self):
        one, two = (decoding(*study(), n_regions=2, n_folds=3, n_permutations=50, n_bootstrap=50) for _ in range(2))
        assert one.table.equals(two.table)


class TestBadInput:
    @pytest.fixture
    def sides(self):
        return study()

    def test_messages(self, sides):
        model, brain = sides
        with pytest.raises(MeasureError, match=r"no coordinate 'part' .*; add one, or use split='kfold'"):
            decoding(model, brain, split="part")
        with pytest.raises(MeasureError, match=r"coordinate 'category' says 'blues', .*; expected 'train' or 'test'"):
            decoding(model, brain, split="category")
        with pytest.raises(MeasureError, match="units have no coordinate 'regions'; did you mean 'region'"):
            decoding(model, brain, regions="regions")
        with pytest.raises(MeasureError, match="neither side has a stimulus coordinate 'genre'"):
            decoding(model, brain, unseen="genre")
        with pytest.raises(MeasureError, match="no score 'mse'"):
            decoding(model, brain, score="mse")
        with pytest.raises(MeasureError, match="20-way identification: there are 15 candidates"):
            decoding(model, brain, n_way=20, n_regions=1, **QUICK)
        with pytest.raises(MeasureError, match="'third' has only one"):
            decoding(model.assign_coords(layer=("unit", ["first"] * 9 + ["third"])), brain)
        with pytest.raises(MeasureError, match="windows of one clip differ in 'window'"):
            decoding(model, brain, unseen="window")

    def test_windows_of_other_stretches(self, sides):
        model, brain = sides
        start = model["window"].values.astype(float)
        begins = model.assign_coords(window_start_s=("stimulus", 7.5 * start), window_s=("stimulus", 0 * start + 7.5))
        theirs = np.array([float(i[-1]) for i in brain["stimulus"].values])
        late = brain.assign_coords(window_start_s=("stimulus", 1.0 * theirs), window_s=("stimulus", 0 * theirs + 7.5))
        long = brain.assign_coords(window_s=("stimulus", 0 * theirs + 10))
        with pytest.raises(MeasureError, match=r"begins at 7\.5 s in net .*, and 1 s in scanner"):
            decoding(begins, late)
        with pytest.raises(MeasureError, match=r"lasts 7\.5 s in net .*, and 10 s in scanner"):
            decoding(begins, long)
        alike = late.assign_coords(window_start_s=("stimulus", 7.5 * theirs))
        assert decoding(begins, alike, n_regions=1, **QUICK).table["value"].notna().all()

    def test_stimuli_of_one_side_only(self, sides):
        model, brain = sides
        with pytest.raises(ResponseError, match="the stimuli differ"):
            decoding(model[1:], brain)
        with pytest.raises(ResponseError, match="NaN or infinite"):
            decoding(model, brain.where(brain["stimulus"] != "clip-003_w0"))

    def test_sides_that_contradict_each_other(self, sides):
        model, brain = sides
        other = ["train"] * 80 + ["test"] * 10
        with pytest.raises(MeasureError, match="the two sides differ in 'split'"):
            decoding(model, brain.assign_coords(split=("stimulus", other)))

    def test_too_few_clips(self, sides):
        model, brain = sides
        for role, message in (("train", "0 test clips"), ("test", "as few as 0 training clips")):
            with pytest.raises(MeasureError, match=message):
                decoding(model.assign_coords(split=("stimulus", [role] * 90)), brain)
        with pytest.raises(MeasureError, match="12 folds of 30 stimuli"):
            decoding(model, brain, n_folds=12)

    def test_a_region_that_is_constant(self, sides):
        model, brain = sides
        flat = brain.where(brain["region"] != "A", 1.0)
        with pytest.raises(MeasureError, match="region 'A': the voxels are constant"):
            decoding(model, flat, **QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"split": "kfold"}, {"unseen": "category"}], ids=str)
def test_no_signal_gives_chance_and_a_uniform_p(options):
    """Embeddings with genres, so that clips are alike; voxels that are noise."""
    found = []
    for seed in range(120):
        model, brain = study(
            n_train=25, n_test=15, windows=1, sizes=(4, 4, 20, 4), n_subjects=1, signal=0, seed=seed, spread=1.0
        )
        result = decoding(model, brain, n_regions=2, n_folds=3, n_permutations=199, n_bootstrap=0, top_k=[1], **options)
        row, r = value(result), value(result, "correlation")
        left_out = value(result, evaluated="training, left out")["value"]
        found.append((row["value"], row["p"], r["value"], r["p"], left_out))
    accuracy, p, correlation, p_correlation, left_out = np.array(found).T
    for values, chance in ((accuracy, 0.5), (correlation, 0.0)):
        assert abs(values.mean() - chance) < 4 * values.std() / np.sqrt(len(values))
    # Chosen by the same clips: too high, but little.
    assert 0.45 < left_out.mean() < 0.6
    for values in (p, p_correlation):
        assert kstest(values, "uniform").pvalue > 0.001


def test_unseen_genres_without_one_mean_fall_below_chance():
    """Why predictions are moved to one mean: a fit without a genre predicts what is far from it."""
    accuracy = [
        value(decoding(*study(signal=0, spread=2.0, seed=s), unseen="category", one_mean=m, **QUICK))["value"]
        for m in (False, True)
        for s in range(4)
    ]
    assert np.mean(accuracy[:4]) < 0.4 < np.mean(accuracy[4:])
