"""Sliding windows of clips."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainalign.errors import StimulusError
from brainalign.stimuli.manipulations import manipulate
from brainalign.stimuli.sets import Manifest, StimulusSet
from brainalign.stimuli.windows import window_id, window_starts, windowed

RATE = 1000


def clips(lengths_s=(15.0, 15.5), rate=RATE):
    ids = [f"blues.0000{i}" for i in range(len(lengths_s))]
    table = pd.DataFrame({"file": "-", "category": "blues", "split": "train"}, index=pd.Index(ids, name="stimulus_id"))
    # A sample holds its own number, so that a window shows where it was cut.
    sounds = {i: np.arange(1, round(s * rate) + 1, dtype=np.float32) for i, s in zip(ids, lengths_s, strict=True)}
    manifest = Manifest(name="clips", version="1", citation="who", licence="CC0")
    return StimulusSet(manifest, table, lambda i: (sounds[i], rate))


class TestStarts:
    @pytest.mark.parametrize(("window_s", "n_windows"), [(1.5, 10), (5, 7), (10, 4), (15, 1)])
    def test_table_1_of_brain2music(self, window_s, n_windows):
        assert len(window_starts(15, window_s)) == n_windows

    @given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 20))
    def test_every_window_fits_and_one_more_would_not(self, duration, window, step):
        # In tenths of a second, where integers say exactly what fits.
        if window > duration:
            with pytest.raises(StimulusError, match="does not fit"):
                window_starts(duration / 10, window / 10, step / 10)
            return
        starts = window_starts(duration / 10, window / 10, step / 10)
        assert len(starts) == (duration - window) // step + 1

    @pytest.mark.parametrize("lengths", [(0, 1, 1), (15, -1, 1), (15, 1, 0), (15, float("nan"), 1)])
    def test_lengths_must_be_positive(self, lengths):
        with pytest.raises(StimulusError, match="length in s"):
            window_starts(*lengths)


class TestWindowed:
    def test_windows_are_cut_where_they_say(self):
        windows = manipulate(clips(), "windows", window_s=5.0)
        assert len(windows) == 14
        assert (windows.table["window_s"] == 5.0).all()
        for stimulus_id, row in windows.table.iterrows():
            assert stimulus_id == window_id(row["clip"], row["window"])
            waveform, rate = windows.waveform(stimulus_id)
            first = 1500 * row["window"]
            np.testing.assert_array_equal(waveform, np.arange(first + 1, first + 5001))
            assert rate == RATE
            assert row["window_start_s"] == 1.5 * row["window"]
            assert row["split"] == "train"

    def test_a_clip_is_read_once_when_its_windows_are_played_in_turn(self):
        parent, asked = clips(), []
        counted = StimulusSet(parent.manifest, parent.table, lambda i: (asked.append(i), parent.source(i))[1])
        windows = windowed(counted, 1.5)
        for i in windows.ids:
            windows.waveform(i)
        assert asked == parent.ids

    def test_a_short_clip_is_named(self):
        windows = windowed(clips((15.0, 13.5)), 5.0)
        with pytest.raises(StimulusError, match=r"'blues.00001' lasts 13.5 s; its window ends at 14 s") as caught:
            windows.waveform("blues.00001@06")
        assert "blues.00001@06" in str(caught.value)

    def test_a_length_rounded_by_resampling_is_no_short_clip(self):
        windows = windowed(clips((14.9995,), rate=44_100), 15.0)
        assert len(windows.waveform("blues.00000@00")[0]) == round(14.9995 * 44_100)

    def test_windows_are_not_cut_again(self):
        with pytest.raises(StimulusError, match="are these windows of clips"):
            windowed(windowed(clips(), 5.0), 1.5)

    def test_the_level_is_that_of_the_whole_clip(self):
        parent = clips((15.0,))
        levelled = StimulusSet(parent.manifest.model_copy(update={"target_rms": 0.1}), parent.table, parent.source)
        whole, _ = levelled.waveform("blues.00000")
        window, _ = windowed(levelled, 5.0).waveform("blues.00000@01")
        np.testing.assert_array_equal(window, whole[1500:6500])
