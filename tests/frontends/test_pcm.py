"""Whatever libraries return as audio becomes float32 ``[batch, samples]``, or is refused by name."""

import librosa
import numpy as np
import pytest

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.frontends.pcm import as_pcm, resample

WAVE = np.sin(np.arange(1_000) / 20.0) * 0.9


@pytest.mark.parametrize(
    ("dtype", "scaled", "resolution"),
    [
        ("float32", WAVE, 1e-7),
        ("float64", WAVE, 1e-7),
        ("float16", WAVE, 1e-3),
        ("int8", WAVE * 2**7, 2**-7),
        ("int16", WAVE * 2**15, 2**-15),
        ("int32", WAVE * 2**31, 1e-7),
        ("uint8", WAVE * 2**7 + 2**7, 2**-7),  # the middle of 8-bit wav files is 128
        ("uint16", WAVE * 2**15 + 2**15, 2**-15),
    ],
)
def test_every_type_is_scaled_to_one(dtype, scaled, resolution):
    pcm = as_pcm(scaled.astype(dtype))
    assert (pcm.shape, pcm.dtype) == ((1, 1_000), np.float32)
    np.testing.assert_allclose(pcm[0], WAVE, atol=resolution, rtol=0)


def test_extremes_of_int16_are_within_one():
    np.testing.assert_array_equal(as_pcm(np.array([-32_768, 0, 32_767], "int16")), [[-1.0, 0.0, 32_767 / 32_768]])
    np.testing.assert_array_equal(as_pcm(np.array([0, 128, 255], "uint8")), [[-1.0, 0.0, 127 / 128]])


@pytest.mark.parametrize(
    ("shape", "result"),
    [
        ((1_000,), (1, 1_000)),
        ((3, 1_000), (3, 1_000)),
        ((1_000, 2), (1, 1_000)),  # stereo, as soundfile returns it
        ((1_000, 1), (1, 1_000)),  # mono, as soundfile returns it with always_2d
        ((8, 8), (8, 8)),  # may be a batch of short clips
        ((3, 1_000, 2), (3, 1_000)),
        ((3, 1_000, 1), (3, 1_000)),
    ],
)
def test_shapes(shape, result):
    assert as_pcm(np.full(shape, 0.25)).shape == result


def test_channels_are_averaged_after_scaling():
    stereo = np.stack([np.full(100, 20_000), np.full(100, 30_000)], axis=1).astype("int16")  # their sum overflows
    np.testing.assert_allclose(as_pcm(stereo), np.full((1, 100), 25_000 / 32_768))
    np.testing.assert_allclose(as_pcm(stereo[None])[0], np.full(100, 25_000 / 32_768))


def test_short_clips_stand_in_the_middle_of_silence():
    pcm = as_pcm(np.full((2, 30), 0.5), shortest=50)
    np.testing.assert_array_equal(pcm, np.repeat([[0.0] * 10 + [0.5] * 30 + [0.0] * 10], 2, axis=0))
    assert as_pcm(WAVE, shortest=50).shape == (1, 1_000)


def test_the_users_array_is_not_changed():
    given = np.array([[0.5, -0.5]], "float32")
    as_pcm(given, shortest=4)[:] = 9.0
    np.testing.assert_array_equal(given, [[0.5, -0.5]])


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros((2, 0)), "no samples in an array of shape \\(2, 0\\)"),
        ([], "no samples"),
        (np.float32(1.0), "expected \\[batch, samples\\], got an array of shape \\(\\)"),
        (np.zeros((1, 2, 3, 4)), "expected \\[batch, samples\\], got an array of shape \\(1, 2, 3, 4\\)"),
        (np.zeros((2, 3, 1_000)), "at most 8 channels"),
        (np.array([0.0, np.nan, np.inf]), "2 samples are NaN or infinite"),
        (np.array([0.0, 1e300]), "1 samples are NaN or infinite"),
        (["yes"], "expected float or integer samples"),
        (None, "expected float or integer samples, got an array of object"),
        (np.array([1 + 1j]), "got an array of complex128"),
        (np.array([True]), "got an array of bool"),
        ([[0.0, 0.1], [0.0]], "pad them to one length"),
        ([1_000, -1_000], "int64 has no agreed scale; pass int16"),
    ],
)
def test_anything_else_is_refused_by_name(audio, message):
    with pytest.raises(InvalidInputError, match=f"^audio: .*{message}"):
        as_pcm(audio)


@pytest.mark.parametrize(("from_rate", "to_rate"), [(8_000, 16_000), (44_100, 16_000), (16_000, 8_000)])
def test_resampling_keeps_the_tone(from_rate, to_rate):
    def tone(rate):
        return np.sin(2 * np.pi * 1_000.0 * np.arange(rate) / rate).astype("float32")

    resampled = resample(tone(from_rate), from_rate, to_rate)
    assert resampled.dtype == np.float32
    assert len(resampled) == to_rate
    inner = slice(500, -500)  # the filter rings at the ends
    np.testing.assert_allclose(resampled[inner], tone(to_rate)[inner], atol=1e-3)


def test_resampling_removes_what_the_lower_rate_cannot_hold():
    high = np.sin(2 * np.pi * 6_000.0 * np.arange(16_000) / 16_000).astype("float32")
    assert np.abs(resample(high, 16_000, 8_000)[500:-500]).max() < 1e-3
    again = librosa.resample(high, orig_sr=16_000, target_sr=8_000)
    assert np.abs(again[500:-500]).max() < 1e-3  # as elsewhere


def test_the_same_rate_is_left_alone():
    samples = WAVE.astype("float32")
    assert resample(samples, 8_000, 8_000) is samples


@pytest.mark.parametrize("rate", [0, -1, 8_000.0, "8000", True, None])
def test_rates_that_are_none_are_refused(rate):
    for rates in ((8_000, rate), (rate, 8_000)):
        with pytest.raises(InvalidInputError, match="sample_rate: got .*; expected whole hertz above 0"):
            resample(np.zeros(10, "float32"), *rates)
