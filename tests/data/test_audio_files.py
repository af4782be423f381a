"""Audio files: what is read, what is refused, and that no error is a traceback of a library."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lstm_zoo.data.audio_files import decode, fit, read_audio, resample, to_int16
from lstm_zoo.errors import DataError, InvalidInputError

RATE = 16_000


def tone(hertz=440.0, seconds=0.5, rate=RATE, amplitude=0.5):
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def write(path: Path, samples, rate=RATE, **options) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.mark.parametrize(("name", "tolerance"), [("a.wav", 2**-15), ("a.flac", 2**-15), ("a.ogg", 0.03)])
def test_formats(tmp_path, name, tolerance):
    samples, rate = read_audio(write(tmp_path / name, tone()))
    assert (samples.dtype, samples.shape, rate) == (np.float32, (8000,), RATE)
    np.testing.assert_allclose(samples, tone(), atol=tolerance)


def test_stereo_is_mixed_down_to_the_mean(tmp_path):
    left, right = tone(300.0), tone(700.0)
    samples, _ = read_audio(write(tmp_path / "a.wav", np.stack([left, right], 1), subtype="FLOAT"))
    np.testing.assert_allclose(samples, (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_resampled_tone_is_the_tone_at_the_new_rate(tmp_path, rate):
    samples, original = read_audio(write(tmp_path / "a.wav", tone(440.0, 1.0, rate), rate, subtype="FLOAT"), RATE)
    assert original == rate
    assert samples.shape == (RATE,)
    inside = slice(1000, -1000)  # the filter has no samples beyond the ends
    np.testing.assert_allclose(samples[inside], tone(440.0, 1.0)[inside], atol=2e-3)


def test_resampling_leaves_no_alias():
    """7 kHz cannot be said at 8,000 Hz; taking every second sample would give a loud 1 kHz."""
    assert np.abs(resample(tone(7000.0, 1.0), RATE, 8_000)[200:-200]).max() < 1e-3


def test_one_sample_stays_one_sample():
    assert resample(np.ones(1, np.float32), 48_000, 8_000).shape == (1,)


@pytest.mark.parametrize("rate", [0, -1, 16_000.0, "16000", True])
def test_wrong_sample_rate(tmp_path, rate):
    with pytest.raises(InvalidInputError, match="sample_rate: got"):
        read_audio(write(tmp_path / "a.wav", tone()), rate)


def wav_bytes(**options) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, tone(), RATE, format=options.pop("format", "WAV"), **options)
    return stream.getvalue()


BAD_FILES = {
    "empty": (b"", "is empty"),
    "text": (b"this is not audio, however long it may be" * 100, "not audio"),
    "header only": (wav_bytes()[:30], "truncated"),
    "truncated wav": (wav_bytes()[:-5000], "truncated: 5,000 of 16,044 bytes"),
    "truncated flac": (wav_bytes(format="FLAC")[:3000], "not audio that can be read"),
    "truncated ogg": (wav_bytes(format="OGG")[:3500], "truncated"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_content(tmp_path, kind):
    content, message = BAD_FILES[kind]
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_audio(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "BytesIO" not in str(caught.value)


def test_no_samples(tmp_path):
    with pytest.raises(DataError, match="0 samples"):
        read_audio(write(tmp_path / "a.wav", np.zeros(0, np.float32)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(tmp_path, value):
    samples = tone()
    samples[100] = value
    with pytest.raises(DataError, match="NaN or infinite"):
        read_audio(write(tmp_path / "a.wav", samples, subtype="FLOAT"))


def test_no_such_file_and_folder(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_audio(tmp_path / "absent.wav")
    with pytest.raises(DataError, match="is a folder"):
        read_audio(tmp_path)


def test_wav_of_unknown_length_is_read():
    """ffmpeg writing into a pipe leaves 0xFFFFFFFF for the lengths that it does not know."""
    content = bytearray(wav_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    samples, _ = decode(bytes(content), "piped.wav")
    np.testing.assert_allclose(samples, tone(), atol=2**-15)


def test_to_int16_undoes_the_scaling_exactly():
    every = np.arange(-32768, 32768, dtype=np.int16)
    stream = io.BytesIO()
    soundfile.write(stream, every, RATE, format="WAV", subtype="PCM_16")
    samples, _ = decode(stream.getvalue(), "every.wav")
    np.testing.assert_array_equal(to_int16(samples), every)
    np.testing.assert_array_equal(to_int16(np.array([-3.0, 3.0], np.float32)), [-32768, 32767])


@pytest.mark.parametrize(
    ("length", "centre", "expected"),
    [
        (5, False, [1, 2, 3, 0, 0]),
        (5, True, [0, 1, 2, 3, 0]),
        (6, True, [0, 1, 2, 3, 0, 0]),
        (3, True, [1, 2, 3]),
        (2, False, [1, 2]),
        (1, True, [2]),
    ],
)
def test_fit(length, centre, expected):
    assert fit(np.array([1, 2, 3], np.int16), length, centre).tolist() == expected
