"""What is kept of the frames of a layer, by brute force in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainalign.errors import ModelError
from brainalign.models.pooling import POOLINGS, parse_pooling, segment_weights

#: (sound, channel, frequency, time)
IMAGE = np.random.default_rng(0).normal(size=(2, 3, 4, 12))


def frames_of(values: np.ndarray, layout: str) -> np.ndarray:
    """Give (sound, channel, time), all axes but time counted channel-major."""
    time = layout.index("T")
    return np.moveaxis(values, time, -1).reshape(len(values), -1, values.shape[time])


CASES = [
    (IMAGE, "BCFT"),
    (IMAGE[:, :, 0], "BCT"),
    (np.swapaxes(IMAGE[:, :, 0], 1, 2), "BTC"),
    (np.moveaxis(IMAGE, -1, 1), "BTCF"),
    (np.swapaxes(IMAGE, 2, 3), "BCTF"),
]


@pytest.mark.parametrize(("values", "layout"), CASES, ids=[c[1] for c in CASES])
class TestAgainstNumpy:
    def pooled(self, name: str, values: np.ndarray, layout: str) -> np.ndarray:
        result = parse_pooling(name)(torch.from_numpy(values), layout)
        assert result.dtype == torch.float32
        return result.numpy()

    def test_all_kinds(self, values: np.ndarray, layout: str) -> None:
        frames = frames_of(values, layout)
        expected = {
            "mean": [frames.mean(-1)],
            "mean-sd": [frames.mean(-1), np.sqrt(((frames - frames.mean(-1, keepdims=True)) ** 2).mean(-1))],
            "max": [frames.max(-1)],
            "last": [frames[..., -1]],
            "segments:3": [frames[..., 4 * k : 4 * k + 4].mean(-1) for k in range(3)],
            "segments:1": [frames.mean(-1)],
            "segments:12": [frames[..., k] for k in range(12)],
            "none": [frames[..., k] for k in range(12)],
        }
        for name, parts in expected.items():
            np.testing.assert_allclose(
                self.pooled(name, values, layout), np.stack(parts, axis=1), rtol=1e-5, atol=1e-6, err_msg=name
            )

    def test_segments_that_share_a_frame(self, values: np.ndarray, layout: str) -> None:
        frames = frames_of(values, layout)
        # Every frame as 5 copies: 60 of them, 12 for each of the 5 segments.
        fine = np.repeat(frames, 5, axis=-1).reshape(*frames.shape[:2], 5, 12).mean(-1)
        np.testing.assert_allclose(
            self.pooled("segments:5", values, layout), np.moveaxis(fine, -1, 1), rtol=1e-5, atol=1e-6
        )

    def test_units_say_what_they_are(self, values: np.ndarray, layout: str) -> None:
        frames = frames_of(values, layout)
        pooling = parse_pooling("none")
        result = self.pooled("none", values, layout)
        units = pooling.units("l", layout, *result.shape[1:])
        for k in range(0, result[0].size, 7):
            assert units["unit"][k] == f"l:{units['channel'][k]}:frame{units['frame'][k]}"
            assert result[1].ravel()[k] == np.float32(frames[1, units["channel"][k], units["frame"][k]])
        pooling = parse_pooling("mean-sd")
        result = self.pooled("mean-sd", values, layout)
        units = pooling.units("l", layout, *result.shape[1:])
        statistics = {"mean": frames.mean(-1), "sd": frames.std(-1)}
        assert units["unit"][0] == "l:0:mean"
        for k in range(result[0].size):
            expected = statistics[units["statistic"][k]][0, units["channel"][k]]
            assert result[0].ravel()[k] == pytest.approx(expected, rel=1e-5, abs=1e-6)


@given(st.integers(1, 40), st.integers(1, 40))
def test_segments_are_equal_and_lose_nothing(n_frames: int, n_segments: int) -> None:
    weights = segment_weights(n_frames, n_segments)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    np.testing.assert_allclose(weights.mean(axis=1), 1 / n_frames)
    # Each segment is one stretch, and the stretches follow one another.
    for column in weights.T:
        heard = np.flatnonzero(column > 1e-12)
        assert np.array_equal(heard, np.arange(heard[0], heard[-1] + 1))
        assert len(heard) <= np.ceil(n_frames / n_segments) + 1


@pytest.mark.parametrize("name", [p.replace("K", "4") for p in POOLINGS])
def test_a_layer_without_time_is_kept(name: str) -> None:
    pooling = parse_pooling(name)
    values = torch.arange(12.0).reshape(2, 6)
    pooled = pooling(values, "BC")
    assert torch.equal(pooled, values[:, None])
    units = pooling.units("fc", "BC", 1, 6)
    assert list(units["unit"]) == [f"fc:{i}" for i in range(6)]
    if pooling.coordinate is not None:
        assert set(units[pooling.coordinate]) == ({"value"} if name == "mean-sd" else {-1})


@pytest.mark.parametrize("name", ["mean", "mean-sd", "max", "last", "none"])
def test_no_frame_is_no_number(name: str) -> None:
    assert parse_pooling(name)(torch.zeros(2, 3, 0), "BCT").isnan().all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("men", "no pooling 'men'; did you mean 'mean'"),
        ("segments", "did you mean 'segments:K'"),
        ("segments:0", "no pooling 'segments:0'"),
        ("segments:K", r"K is a number from 1 on"),
        ("", "no pooling ''"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_pooling(name)


@pytest.mark.parametrize("pooling", ["mean", "mean-sd", "max", "last", "segments:2", "none"])
def test_a_squeezed_channel_is_one_channel(pooling):
    rng = np.random.default_rng(5)
    values = torch.from_numpy(rng.normal(size=(3, 6)))
    pool = parse_pooling(pooling)
    np.testing.assert_array_equal(pool(values, "BT"), pool(values[:, None], "BCT"))
    np.testing.assert_array_equal(pool(values[:, 0], "B"), pool(values[:, :1], "BC"))
