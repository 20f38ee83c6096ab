"""Sound quilts: against brute force, and what holds for any of them."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import chirp, resample_poly
from scipy.stats import ks_2samp

from brainalign.auditory.cochlea import analytic_subbands, erb_filters, erb_number
from brainalign.errors import StimulusError
from brainalign.stimuli import load_stimuli, read_stimulus_set
from brainalign.stimuli._quilt_borders import N_BANDS, CochleagramBorders, band_envelopes, filter_bank
from brainalign.stimuli.audio import rms
from brainalign.stimuli.manipulations import ManipulatedSet
from brainalign.stimuli.quilting import SEGMENTS_MS, fitting_segments, quilt, quilted, quilts
from brainalign.stimuli.sets import Manifest, StimulusSet

RATE = 8000


def noise(seed=0, seconds=1.0, rate=RATE):
    """Noise whose spectrum and level wander, so that borders differ."""
    rng = np.random.default_rng(seed)
    n = round(seconds * rate)
    parts = [np.convolve(rng.standard_normal(n + 63), rng.standard_normal(64), "valid") for _ in range(4)]
    gains = [np.interp(np.arange(n), np.linspace(0, n, 9), rng.uniform(0, 1, 9) ** 3) for _ in parts]
    sound = sum(g * p for g, p in zip(gains, parts, strict=True))
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def brute_joins(waveform, order, length, ramp, max_shift, normalised):
    """Write segment after segment into the quilt: every shift is tried, every weight is added."""
    pad = 2 * (ramp + max_shift)
    x = np.pad(waveform.astype(float), pad, mode="symmetric")
    rise = np.sin(np.pi / 2 * (np.arange(ramp) + 0.5) / ramp) ** 2
    joined, shifts = np.zeros(len(order) * length + ramp), [0]
    at = pad + order[0] * length
    joined[: length - ramp // 2] = x[at : at + length - ramp // 2]
    for place in range(1, len(order)):
        tail = x[at + length - ramp // 2 :][:ramp]
        start, scores = pad + order[place] * length - ramp // 2, {}
        for shift in sorted(range(-max_shift, max_shift + 1), key=abs):
            block = x[start + shift : start + shift + ramp]
            if normalised:
                scores[shift] = tail @ block / max(np.linalg.norm(block), 1e-9)
            else:
                scores[shift] = (tail * rise[::-1] ** 2) @ block
        best = max(scores.values())
        shifts.append(next(s for s, score in scores.items() if score >= best - 1e-9 * abs(best)))
        block = x[start + shifts[-1] :]
        here = place * length - ramp // 2
        joined[here : here + ramp] = tail * rise[::-1] + block[:ramp] * rise
        joined[here + ramp : here + length] = block[ramp:length]
        at = start + shifts[-1] + ramp // 2
    last = len(order) * length - ramp // 2
    joined[last : last + ramp // 2] = x[at + length - ramp // 2 : at + length]
    return joined[: len(order) * length], shifts


@pytest.mark.parametrize("segment_ms", [15, 30, 47.3, 110])
def test_shifts_and_cross_fades_are_those_of_brute_force(segment_ms):
    sound = noise(1)
    made = quilt(sound, RATE, segment_ms, seed=3)
    length = made.segment_samples
    ramp, most = min(240, length), min(120, length // 2)
    expected, shifts = brute_joins(sound, made.order, length, ramp, most, normalised=True)
    assert made.shifts.tolist() == shifts
    assert len(set(shifts)) > 2
    np.testing.assert_allclose(made.waveform, expected, atol=1e-6)


def test_the_next_segment_makes_the_change_that_the_source_has():
    sound = noise(2)
    made = quilt(sound, RATE, 50, seed=1)
    borders = CochleagramBorders(sound, RATE, 30).borders(400, 20)
    order = [made.order[0]]
    while len(order) < 20:
        now = order[-1]
        unused = [j for j in range(20) if j not in order]
        if now == 19:  # without a successor: drawn
            order.append(made.order[len(order)])
            continue
        change = np.linalg.norm(borders.right[now] - borders.left[now + 1])
        others = [j for j in unused if j != now + 1] or unused
        order.append(min(others, key=lambda j: abs(np.linalg.norm(borders.right[now] - borders.left[j]) - change)))
    assert made.order.tolist() == order
    changes = [np.linalg.norm(borders.right[a] - borders.left[b]) for a, b in itertools.pairwise(order)]
    np.testing.assert_allclose(made.quilt_changes, changes, rtol=1e-9)
    np.testing.assert_allclose(
        made.source_changes, np.linalg.norm(borders.right[:-1] - borders.left[1:], axis=1), rtol=1e-9
    )


def test_kim2024_chains_segments_by_their_own_changes():
    """The released rule and joins, written out; mel frames from torchaudio, as there."""
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

    rate, window = 22050, 551
    sound = resample_poly(noise(4, 4.0), 441, 160)[: 4 * rate].astype(np.float32)
    made = quilt(sound, rate, 200, protocol="kim2024", seed=5)
    length, n = 8 * window, 4 * rate // (8 * window)
    mel = MelSpectrogram(rate, n_fft=window, win_length=window, hop_length=window, f_max=8000, n_mels=64)
    frames = AmplitudeToDB()(mel(torch.tensor(sound))).double().numpy()
    own = [((frames[:, 8 * j + 6 : 8 * j + 8] - frames[:, 8 * j + 8 : 8 * j + 10]) ** 2).sum() for j in range(n - 1)]
    order = [made.order[0]]
    while len(order) < n - 1:
        unused = [j for j in range(n - 1) if j not in order]
        order.append(min(unused, key=lambda j: abs(own[j] - own[order[-1]])))
    assert made.order.tolist() == order
    np.testing.assert_allclose(made.source_changes, own, rtol=1e-9)
    expected, shifts = brute_joins(sound, order, length, window, 275, normalised=False)
    assert made.shifts.tolist() == shifts
    np.testing.assert_allclose(made.waveform, expected, atol=1e-6)


def test_kim2024_segments_of_ten_seconds_are_those_of_the_release():
    sound = np.random.default_rng(0).standard_normal(220_500).astype(np.float32)
    made = quilts(sound, 22050, SEGMENTS_MS["kim2024"], protocol="kim2024")
    assert [len(q.order) for q in made] == [199, 99, 49, 24, 11, 5]
    milliseconds = [1000 * q.segment_samples / 22050 for q in made]
    np.testing.assert_allclose(milliseconds, [49.98, 99.95, 199.91, 399.82, 799.64, 1599.27], atol=0.005)
    assert all(q.order.max() == len(q.order) - 1 for q in made)


@given(
    seed=st.integers(0, 2**32),
    segment_ms=st.sampled_from([15, 20, 30, 33.3, 60, 125, 400]),
    order=st.sampled_from(["matched", "random"]),
    rate=st.sampled_from([8000, 11025, 16000]),
)
def test_what_holds_for_every_quilt(seed, segment_ms, order, rate):
    sound = np.random.default_rng(seed).laplace(size=rate).astype(np.float32)
    made = quilt(sound, rate, segment_ms, order=order, seed=seed)
    length = round(segment_ms * rate / 1000)
    n = rate // length
    assert (made.segment_samples, len(made.waveform), made.waveform.dtype) == (length, n * length, np.float32)
    assert sorted(made.order) == list(range(n))
    assert np.abs(made.shifts).max() <= min(round(0.015 * rate), length // 2)
    assert np.isfinite(made.waveform).all()
    assert np.abs(made.waveform).max() <= np.abs(sound).max() * (1 + 1e-6)
    again = quilt(sound, rate, segment_ms, order=order, seed=seed)
    np.testing.assert_array_equal(made.waveform, again.waveform)
    np.testing.assert_array_equal(made.order, again.order)


@given(seed=st.integers(0, 1000), units=st.integers(2, 9), order=st.sampled_from(["matched", "random"]))
def test_what_holds_for_every_quilt_of_kim2024(seed, units, order):
    sound = np.random.default_rng(seed).laplace(size=RATE).astype(np.float32)
    made = quilt(sound, RATE, 25 * units, protocol="kim2024", order=order, seed=seed)
    n = 40 // units
    assert sorted(made.order) == list(range(n - 1))
    assert len(made.waveform) == (n - 1) * 200 * units
    assert np.abs(made.shifts).max() <= 100
    assert np.abs(made.waveform).max() <= np.abs(sound).max() * (1 + 1e-6)


@pytest.mark.parametrize("order", ["matched", "random"])
def test_a_quilt_is_never_the_source_again(order):
    for ms in (250, 333, 499):
        n = 1000 // ms
        orders = {tuple(quilt(noise(1), RATE, ms, order=order, seed=s).order) for s in range(20)}
        assert tuple(range(n)) not in orders
        assert (1, 0) in orders or n > 2


@given(
    kind=st.sampled_from(["noise", "tone", "rising"]),
    segment_ms=st.sampled_from([15, 30, 50, 200]),
    first=st.integers(0, 2),
)
def test_the_true_order_gives_the_source_back(kind, segment_ms, first):
    time = np.arange(RATE) / RATE
    sound = {
        "noise": noise(5),
        "tone": 0.5 * np.sin(2 * np.pi * 300 * time),
        "rising": chirp(time, 100, 1, 2000) * np.exp(3 * (time - 1)),
    }[kind].astype(np.float32)
    length = round(segment_ms * RATE / 1000)
    n = RATE // length
    made = quilt(sound, RATE, segment_ms, order=range(first, n))
    assert not made.shifts.any()
    np.testing.assert_allclose(made.waveform, sound[first * length : n * length], atol=1e-7)
    np.testing.assert_allclose(made.quilt_changes, made.source_changes[first:])


@pytest.mark.parametrize("protocol", ["overath2015", "kim2024"])
@pytest.mark.parametrize("value", [0.25, -1.0])
def test_a_constant_stays_constant(protocol, value):
    """Weights of cross-fades add up to 1, at the ends of the source too."""
    made = quilt(np.full(RATE, value, np.float32), RATE, 50, protocol=protocol, order="random")
    np.testing.assert_allclose(made.waveform, value, rtol=1e-6)


@pytest.mark.parametrize("protocol", ["overath2015", "kim2024"])
def test_a_pure_tone_stays_one(protocol):
    time = np.arange(2 * RATE) / RATE
    tone = (0.5 * np.sin(2 * np.pi * 437 * time)).astype(np.float32)
    # Next to its ends the source is mirrored, which breaks the phase of a tone: segments from within.
    order = 1 + np.random.default_rng(2).permutation(24)
    made = quilt(tone, RATE, 75, protocol=protocol, order=order).waveform
    plain = np.concatenate([tone[600 * j :][:600] for j in order])

    def outside(x):
        power = np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2
        away = np.abs(np.fft.rfftfreq(len(x), 1 / RATE) - 437) > 30
        return 10 * np.log10(power[away].sum() / power.sum())

    assert outside(made) < -35
    assert outside(plain) > -25


def test_joins_of_a_periodic_sound_keep_its_phase():
    """A buzz of 110 Hz: the jumps at joins are those of the sound itself, unlike after plain concatenation."""
    time = np.arange(2 * RATE) / RATE
    buzz = (0.1 * sum(np.sin(2 * np.pi * 110 * k * time) for k in range(1, 12))).astype(np.float32)
    made = quilt(buzz, RATE, 61, order="random", seed=1)
    length = made.segment_samples
    plain = np.concatenate([buzz[length * j :][:length] for j in made.order])

    def energy_at_joins(x):
        high = np.diff(x, 4)
        joins = np.arange(1, len(made.order)) * length
        return np.mean([np.sum(high[j - 10 : j + 10] ** 2) for j in joins]) / np.mean(np.square(high))

    assert energy_at_joins(made.waveform) < 0.6 * energy_at_joins(plain)


def spectrum_db(x, rate):
    """Level in bands of one ERB, from 100 Hz."""
    power = np.abs(np.fft.rfft(x)) ** 2 / len(x)
    bands = np.floor(erb_number(np.fft.rfftfreq(len(x), 1 / rate))).astype(int)
    levels = np.bincount(bands, power)[4:]
    return 10 * np.log10(levels[levels > 1e-6 * levels.max()] / levels.max()), levels > 1e-6 * levels.max()


def test_level_and_spectrum_are_kept():
    """Of a stationary source: over 8 s within 2 dB in each ERB band.

    Cross-fades of independent noise lose a quarter of its power on average, those of matched phase less.
    """
    rng = np.random.default_rng(3)
    source = np.convolve(rng.standard_normal(8 * RATE + 99), rng.standard_normal(100), "valid")
    source = (0.1 * source / np.abs(source).max()).astype(np.float32)
    for ms, made in zip((30, 60, 120, 240, 480, 960), quilts(source, RATE, [30, 60, 120, 240, 480, 960]), strict=True):
        (was, there), (became, _) = spectrum_db(source, RATE), spectrum_db(made.waveform, RATE)
        assert there.sum() > 20
        assert np.abs(became - was).max() < 2
        change = 20 * np.log10(rms(made.waveform) / rms(source))
        assert 10 * np.log10(1 - 0.25 * 30 / ms) - 0.05 < change < 0.05


def test_changes_are_distributed_as_in_the_source():
    """Closer than in random orders (Overath et al. compare the distributions); many segments leave more choice."""
    sound = np.concatenate([noise(s, 2.0) for s in range(4)])
    for segment_ms, most in ((30, 0.2), (60, 0.35), (120, 0.5)):
        made = quilt(sound, RATE, segment_ms)
        distance = ks_2samp(made.quilt_changes, made.source_changes).statistic
        shuffled = [quilt(sound, RATE, segment_ms, order="random", seed=s) for s in range(5)]
        assert distance < most
        assert distance < 0.75 * min(ks_2samp(q.quilt_changes, q.source_changes).statistic for q in shuffled)


def test_seeds_choose_the_first_segment():
    firsts = [quilt(noise(), RATE, 30, seed=s).order[0] for s in range(8)]
    assert len(set(firsts)) > 4
    orders = [quilt(noise(), RATE, 30, order="random", seed=s).order.tolist() for s in range(3)]
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize("protocol", ["overath2015", "kim2024"])
def test_several_lengths_at_once_are_the_same(protocol):
    sound, lengths = noise(6, 2.0), [50, 100, 25 * 21, 200]
    if protocol == "overath2015":
        lengths += [15, 22, 960, 50]
    for one, ms in zip(quilts(sound, RATE, lengths, protocol=protocol, seed=9), lengths, strict=True):
        alone = quilt(sound, RATE, ms, protocol=protocol, seed=9)
        np.testing.assert_array_equal(one.order, alone.order)
        np.testing.assert_array_equal(one.shifts, alone.shifts)
        np.testing.assert_array_equal(one.waveform, alone.waveform)


@pytest.mark.parametrize(("rate", "n_samples"), [(16000, 16000), (22050, 30000), (44100, 45000)])
def test_filters_and_envelopes_are_those_of_the_cochlea(rate, n_samples):
    high = min(10_000, rate / 2)
    filters = erb_filters(rate, n_samples, n_bands=N_BANDS, low_hz=20, high_hz=high, n_edges=0, dtype=torch.float64)
    dense = np.zeros((N_BANDS, n_samples // 2 + 1))
    for row, (first, gains, _) in zip(dense, filter_bank(rate, n_samples).bands, strict=True):
        row[first : first + len(gains)] = np.abs(gains)
    np.testing.assert_allclose(dense, filters.transfer.numpy(), atol=1e-6)
    sound = resample_poly(noise(7, 2.0), rate, RATE)[:n_samples]
    expected = analytic_subbands(torch.tensor(sound, dtype=torch.float64), filters).abs().numpy()
    envelopes, frame = band_envelopes(sound.astype(np.float32), rate)
    edges = np.round(np.arange(envelopes.shape[1]) * frame).astype(int)
    expected = np.add.reduceat(expected, edges, axis=1) / np.diff(edges, append=n_samples)
    # Low bands have less than a cycle in a frame, and the rates of the bands differ: the same to a few per cent.
    error = np.abs(envelopes - expected).mean(axis=1) / expected.mean(axis=1)
    assert error.max() < 0.05
    assert np.median(error) < 0.02


def test_borders_are_means_over_30_ms():
    """Of a tone that is soft in its first half, loud in its second: the power of the ratio, at any segment length."""
    time = np.arange(RATE) / RATE
    tone = (np.where(time < 0.5, 0.01, 0.1) * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)
    band = int(np.argmax(band_envelopes(tone, RATE)[0].mean(axis=1)))
    for ms in (50, 62.5, 100):
        length = round(ms * RATE / 1000)
        borders = CochleagramBorders(tone, RATE, 30).borders(length, RATE // length)
        half = RATE // 2 // length
        ratio = borders.left[half + 1, band] / borders.right[half - 2, band]
        assert ratio == pytest.approx(10**0.3, rel=0.02)


def sounds(n=3, seconds=2.0):
    ids = [f"s{i}" for i in range(n)]
    table = pd.DataFrame({"file": "-", "category": "Noise"}, index=pd.Index(ids, name="stimulus_id"))
    manifest = Manifest(name="noise", version="1", citation="", licence="", target_rms=0.05)
    return StimulusSet(manifest, table, lambda i: (noise(int(i[1:]), seconds), RATE))


def test_a_set_of_quilts():
    parent = sounds()
    made = quilted(parent, 60, seed=7)
    assert isinstance(made, ManipulatedSet)
    assert made.ids == parent.ids
    assert made.history[-1][0] == "quilt"
    assert made.history[-1][1]["segment_ms"] == 60
    assert made.history[-1][1]["seed"] == 7
    assert set(made.table["segment_ms"]) == {60.0}
    one = made.waveform("s2")[0]
    assert len(one) == 33 * 480
    np.testing.assert_array_equal(made.select(["s2"]).waveform("s2")[0], one)
    assert made.digest("s0") != quilted(parent, 60, seed=8).digest("s0")
    original = quilted(parent, 60, order="original")
    np.testing.assert_array_equal(original.waveform("s1")[0], parent.waveform("s1")[0][: 33 * 480])
    orders = {tuple(quilt(parent.waveform("s1")[0], RATE, 60, seed=[7, k]).order[:1]) for k in range(9)}
    assert len(orders) > 1


def test_quilts_of_a_sweep_last_equally_long():
    lengths = SEGMENTS_MS["overath2015"]
    for ms in (15, 120, 960):
        made = quilted(sounds(), ms, same_length_as=lengths)
        assert len(made.waveform("s0")[0]) == 1.92 * RATE


def test_kim2024_fills_up_with_silence():
    made = quilted(sounds(seconds=10.0), 50, protocol="kim2024", same_length_as=SEGMENTS_MS["kim2024"])
    sound = made.waveform("s0")[0]
    assert len(sound) == 10 * RATE
    assert not sound[8 * RATE :].any()
    assert sound[8 * RATE - 100 : 8 * RATE].any()


def test_lengths_that_fit():
    assert fitting_segments(2.0) == [15, 30, 60, 120, 240, 480, 960]
    assert fitting_segments(1.0) == [15, 30, 60, 120, 240, 480]
    assert fitting_segments(10.0, "kim2024") == [50, 100, 200, 400, 800, 1600]
    assert fitting_segments(2.0, "kim2024") == [50, 100, 200, 400]
    assert fitting_segments(0.02) == []


def test_192_khz_and_double_precision():
    sound = resample_poly(noise(8).astype(float), 24, 1)
    made = quilt(sound, 192_000, 120)
    assert made.waveform.dtype == np.float32
    assert len(made.waveform) == 8 * 23_040


@pytest.mark.parametrize(
    ("sound", "options", "message"),
    [
        (noise()[:959], {}, "too short for a quilt of 60-ms segments: 1 fit into it, expected 2"),
        (noise()[:1199], {"segment_ms": 50, "protocol": "kim2024"}, "2 fit into it, expected 3"),
        (np.zeros(RATE, np.float32), {}, "is silent"),
        (np.full(RATE, np.nan, np.float32), {}, "NaN or infinite"),
        (np.ones((RATE, 2), np.float32), {}, r"found shape \(8000, 2\)"),
        (np.ones(RATE, np.int16), {}, "type int16; average the channels, and divide integers by full scale"),
        (noise(), {"segment_ms": 0}, "expected a positive one"),
        (noise(), {"segment_ms": np.nan}, "expected a positive one"),
        (noise(), {"segment_ms": np.inf}, "the segment length is inf ms, expected a positive one"),
        (noise(), {"segment_ms": np.inf, "protocol": "kim2024"}, "the segment length is inf ms"),
        (noise(), {"seed": -1}, "the seed is -1, expected an integer that is not negative"),
        (noise(), {"seed": [3, -2]}, "the seed is -2"),
        (noise(), {"segment_ms": 0.1}, "have 1 samples at 8000 Hz"),
        (noise(), {"segment_ms": 60, "protocol": "kim2024"}, "a multiple of 25 ms from 50 ms on"),
        (noise(), {"segment_ms": 25, "protocol": "kim2024"}, "a multiple of 25 ms from 50 ms on"),
        (noise(), {"protocol": "overath"}, "no protocol 'overath' of quilts; did you mean 'overath2015'"),
        (noise(), {"order": "matchd"}, "did you mean 'matched'"),
        (noise(), {"order": [0, 1, 1]}, "names one twice"),
        (noise(), {"order": [0, 99]}, "names segments 0 to 99 of 16"),
        (noise(0, 90), {"segment_ms": 10}, "at most 8192 can be compared"),
    ],
)
def test_what_cannot_be_quilted(sound, options, message):
    with pytest.raises(StimulusError, match=message):
        quilt(sound, RATE, **{"segment_ms": 60, **options})


def test_an_error_names_the_sound():
    with pytest.raises(StimulusError, match=r"stimulus 's1' of noise > quilt.*too short"):
        quilted(sounds(seconds=0.1), 60).waveform("s1")
    with pytest.raises(StimulusError, match="did you mean 'random'"):
        quilted(sounds(), 60, order="randon")
    with pytest.raises(StimulusError, match="the seed is -1"):
        quilted(sounds(), 60, seed=-1)


@pytest.mark.parametrize(
    "options", [{"segment_ms": np.inf}, {"segment_ms": 60, "protocol": "kim2024"},
                {"segment_ms": 60, "same_length_as": [30, -1]}]
)  # fmt: skip
def test_impossible_segments_of_a_set_are_found_before_a_sound_is_played(options):
    with pytest.raises(StimulusError, match=r"the segment length is (inf|-1)|a multiple of 25 ms"):
        quilted(sounds(), **options)


@pytest.mark.realdata
def test_natural_sounds_of_two_seconds():
    every, changes = load_stimuli("natsound165"), []
    for stimulus_id in every.ids[::12]:
        waveform, rate = every.waveform(stimulus_id)
        made = quilts(waveform, rate, SEGMENTS_MS["overath2015"])
        assert [len(q.order) for q in made] == [len(waveform) // q.segment_samples for q in made]
        changes.append([20 * np.log10(rms(q.waveform) / rms(waveform)) for q in made])
    # Joins of rumble and clicks may lose more, but most sounds keep their level.
    assert np.abs(np.median(changes, axis=0)).max() < 1
    assert np.abs(changes).max() < 4


@pytest.mark.realdata
def test_written_sounds_of_five_seconds(shared_data, tmp_path):
    """Quilts of files that a lab keeps as a folder."""
    folder = shared_data / "minisounds"
    table = pd.read_csv(folder / "metadata.csv").head(3)
    rows = {"stimulus_id": table["id"].astype(str), "file": "audio/" + table["file"], "category": "any"}
    pd.DataFrame(rows).to_csv(tmp_path / "stimuli.csv", index=False)
    (tmp_path / "stimulus_set.toml").write_text('name = "mini"\nversion = "1"\ncitation = ""\nlicence = ""\n')
    parent = read_stimulus_set(tmp_path, audio_folder=folder)
    for stimulus_id in parent.ids:
        made, rate = quilted(parent, 960).waveform(stimulus_id)
        assert len(made) == 5 * round(0.96 * rate)
