"""The front end against librosa, against its own exported file, and its augmentation."""

import os
from pathlib import Path

import keras
import librosa
import numpy as np
import pytest
import soundfile
from ai_edge_litert.interpreter import Interpreter

import lstm_zoo
from lstm_zoo import registry
from lstm_zoo.data import fsdd
from lstm_zoo.errors import InvalidInputError
from lstm_zoo.exporters import tflite
from lstm_zoo.exporters.signatures import input_specs, whole
from lstm_zoo.frontends.audio import LogMelConfig, LogMelSpectrogram, SpecAugment, mel_filter_bank
from lstm_zoo.models import ds_cnn
from lstm_zoo.models.speech import SpeechConfig

FRONT_ENDS = {
    **{
        name: SpeechConfig.create(entry.options).front_end
        for name, entry in registry.ENTRIES.items()
        if entry.family == "speech"
    },
    "ds_cnn": ds_cnn.FRONT_END,
}
DEMO = Path(lstm_zoo.__file__).parent / "assets" / "demo.wav"
# Largest difference of logarithms. Full-scale tones leave bins empty, where float32 has rounding errors of the size
# of the floor; librosa computes in float64 here.
TOLERANCES = {"noise": 5e-6, "silence": 1e-6, "speech": 5e-5, "tone": 5e-4, "glide": 5e-4, "click": 5e-6}


def signal(kind: str, rate: int) -> np.ndarray:
    """One second of float32."""
    time = np.arange(rate) / rate
    return {
        "noise": lambda: np.random.default_rng(0).normal(0.0, 0.1, rate),
        "silence": lambda: np.zeros(rate),
        "speech": lambda: librosa.resample(soundfile.read(DEMO)[0], orig_sr=soundfile.info(DEMO).samplerate,
                                           target_sr=rate)[:rate],
        "tone": lambda: np.sin(2 * np.pi * 440.0 * time),
        "glide": lambda: np.sin(2 * np.pi * (50.0 + rate / 8 * time) * time),
        "click": lambda: np.arange(rate) == rate // 3,
    }[kind]().astype("float32")  # fmt: skip


def reference(samples: np.ndarray, settings: LogMelConfig) -> np.ndarray:
    """librosa puts the window into the middle of the frame that is transformed, TensorFlow at its start."""
    before = (settings.fft_length - settings.window_length) // 2
    mel = librosa.feature.melspectrogram(
        y=np.pad(samples.astype("float64"), (before, settings.fft_length)),
        sr=settings.sample_rate,
        n_fft=settings.fft_length,
        win_length=settings.window_length,
        hop_length=settings.hop_length,
        n_mels=settings.mel_bins,
        fmin=settings.lower_frequency,
        fmax=settings.upper_frequency,
        window="hann",
        center=False,
        htk=True,
        norm=None,
        dtype="float64",
    )
    frames = 1 + (len(samples) - settings.window_length) // settings.hop_length
    return np.log(mel[:, :frames].T + settings.floor)


@pytest.mark.parametrize("kind", TOLERANCES)
@pytest.mark.parametrize("name", FRONT_ENDS)
def test_spectrogram_is_librosas(name, kind):
    settings = FRONT_ENDS[name]
    samples = signal(kind, settings.sample_rate)
    expected = reference(samples, settings)
    assert kind == "silence" or np.ptp(expected) > 2  # there is something to see
    got = np.asarray(LogMelSpectrogram(settings)(samples[None]))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[0], expected, atol=TOLERANCES[kind], rtol=0)


@pytest.mark.skipif("LSTM_ZOO_DATA" not in os.environ, reason="LSTM_ZOO_DATA is not set")
def test_spectrogram_of_real_speech_is_librosas():
    clips = fsdd.load(os.environ["LSTM_ZOO_DATA"]).testing.as_float()[::30]
    settings = FRONT_ENDS["digits"]
    expected = np.stack([reference(clip, settings) for clip in clips])
    assert np.ptp(expected) > 10
    # 6e-5 was measured, in a bin that is nearly empty beside a loud one.
    np.testing.assert_allclose(LogMelSpectrogram(settings)(clips), expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_filters_are_librosas(name):
    settings = FRONT_ENDS[name]
    expected = librosa.filters.mel(
        sr=settings.sample_rate,
        n_fft=settings.fft_length,
        n_mels=settings.mel_bins,
        fmin=settings.lower_frequency,
        fmax=settings.upper_frequency,
        htk=True,
        norm=None,
    )
    np.testing.assert_allclose(mel_filter_bank(settings), expected.T, atol=1e-6)


@pytest.mark.parametrize("name", ["speech", "digits"])
def test_exported_file_hears_the_same(name):
    settings = FRONT_ENDS[name]
    audio = keras.Input((None,), name="audio")
    front_end = LogMelSpectrogram(settings)
    model = keras.Model(audio, front_end(audio))
    content = tflite.convert(model, (whole(model, input_specs(model, settings.sample_rate)),))
    runner = Interpreter(model_content=content, num_threads=1).get_signature_runner("serving_default")
    for kind in ("speech", "noise", "glide"):
        samples = signal(kind, settings.sample_rate)[None]
        (got,) = runner(audio=samples).values()
        np.testing.assert_allclose(got, front_end(samples), atol=TOLERANCES["glide"] if kind == "glide" else 2e-5)


def test_frames_know_nothing_of_later_samples():
    layer = LogMelSpectrogram(FRONT_ENDS["speech"])
    samples = signal("noise", 16_000)
    changed = np.where(np.arange(16_000) < 8_000, samples, 0.5).astype("float32")
    one, two = np.asarray(layer(np.stack([samples, changed])))
    complete = 1 + (8_000 - 480) // 160  # frames that end before the change
    np.testing.assert_array_equal(one[:complete], two[:complete])
    assert np.abs(one[complete:] - two[complete:]).max(axis=1).min() > 0


@pytest.mark.parametrize("samples", [100, 479, 480, 481, 639, 640, 16_000])
def test_shape_is_as_announced(samples):
    layer = LogMelSpectrogram()
    announced = layer.compute_output_shape((2, samples))
    assert announced == (2, max(0, 1 + (samples - 480) // 160), 40)
    if announced[1]:
        assert layer(np.zeros((2, samples), "float32")).shape == announced


def test_spectrogram_has_no_weights_and_keeps_its_settings():
    layer = LogMelSpectrogram({"mel_bins": 20, "upper_frequency": 4_000.0}, name="mel")
    again = LogMelSpectrogram.from_config(layer.get_config())
    assert again.settings == layer.settings == LogMelConfig(mel_bins=20, upper_frequency=4_000.0)
    samples = signal("noise", 16_000)[None]
    np.testing.assert_array_equal(again(samples), layer(samples))
    assert not layer.weights


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window_length": 600}, "window_length 600 is more than fft_length 512"),
        ({"sample_rate": 8_000}, "upper_frequency 7600 <= half the sample_rate, 4000"),
        ({"lower_frequency": 7_600.0}, "lower_frequency 7600 < upper_frequency 7600"),
        ({"mel_bins": 4}, "mel_bins: .*greater than or equal to 8, got 4"),
        ({"bins": 40}, "unknown option 'bins'"),
        ({"mel_bins": 256, "fft_length": 32, "window_length": 32}, "mel_bins: 256 are too many"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        LogMelSpectrogram(settings)


# === SpecAugment ===

EXAMPLES = np.random.default_rng(4).normal(size=(6, 50, 16)).astype("float32")


def test_spectrogram_is_augmented_in_training_alone():
    layer = SpecAugment(seed=1)
    np.testing.assert_array_equal(layer(EXAMPLES), EXAMPLES)
    np.testing.assert_array_equal(layer(EXAMPLES, training=False), EXAMPLES)
    assert np.abs(layer(EXAMPLES, training=True) - EXAMPLES).max() > 0.1


def test_augmentation_of_zero_changes_nothing():
    layer = SpecAugment(time_mask=0, frequency_mask=0, frequency_warp=0.0)
    np.testing.assert_allclose(layer(EXAMPLES, training=True), EXAMPLES, atol=1e-6)


def test_same_seed_same_augmentation():
    one, two, other = (np.asarray(SpecAugment(seed=seed)(EXAMPLES, training=True)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("settings", "axis"), [({"frequency_mask": 0}, 1), ({"time_mask": 0}, 2)])
def test_masks_are_whole_runs_of_the_examples_mean(settings, axis):
    layer = SpecAugment(**{"time_mask": 12, "frequency_mask": 5, "masks": 1, "frequency_warp": 0.0, **settings}, seed=2)
    masked = []
    for _ in range(20):
        changed = np.asarray(layer(EXAMPLES, training=True))
        for before, after in zip(EXAMPLES, changed, strict=True):
            hidden = (np.abs(after - before.mean()) < 1e-5).all(axis=2 - axis)  # of the frames, or of the mel bins
            np.testing.assert_allclose(after.compress(~hidden, axis - 1), before.compress(~hidden, axis - 1), atol=1e-5)
            assert (np.diff(np.concatenate([[0], hidden, [0]])) > 0).sum() <= 1  # one run
            masked.append(hidden.sum())
    assert max(masked) == (12 if axis == 1 else 5)  # the longest that was asked for, and no longer
    assert min(masked) == 0


def test_warp_moves_the_pitch_by_its_factor():
    """A ridge at bin 20 is moved to 20 / factor, the factor within 1 +- warp, and no other way."""
    ridge = np.exp(-0.5 * ((np.arange(40) - 20.0) / 2.0) ** 2)
    examples = np.broadcast_to(ridge, (200, 3, 40)).astype("float32")
    moved = np.asarray(SpecAugment(0, 0, frequency_warp=0.2, seed=3)(examples, training=True))
    np.testing.assert_allclose(moved, moved[:, :1].repeat(3, axis=1), atol=1e-6)  # all frames alike
    centres = (moved[:, 0] * np.arange(40)).sum(axis=1) / moved[:, 0].sum(axis=1)
    assert 20 / 1.2 - 0.3 < centres.min() < 17.5
    assert 23.5 < centres.max() < 20 / 0.8 + 0.3


def test_augmentation_keeps_its_settings():
    layer = SpecAugment(3, 4, 1, 0.05, seed=9)
    again = SpecAugment.from_config(layer.get_config())
    np.testing.assert_array_equal(again(EXAMPLES, training=True), layer(EXAMPLES, training=True))
