"""The keyword spotter: its layers against NumPy, its forgiving input, its causality, its windows."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tones
from tiny import TINY, entries, tiny_model

import lstm_zoo
from lstm_zoo import registry
from lstm_zoo.config import override
from lstm_zoo.errors import InvalidInputError
from lstm_zoo.frontends.pcm import resample
from lstm_zoo.models import speech
from lstm_zoo.tasks.audio import AudioExperiment

RANDOM = np.random.default_rng(2)


@pytest.fixture(scope="module")
def model():
    """An untrained model whose answers nevertheless differ from clip to clip."""
    keras.utils.set_random_seed(3)
    model = registry.get("speech", weights=None, **TINY["speech"])
    kernel, _ = model.get_layer("probabilities").weights
    kernel.assign(RANDOM.normal(0, 3, kernel.shape))
    return model


def clips(count: int, samples: int = 16_000) -> np.ndarray:
    """Clips of different pitch and loudness, so that no two answers are alike."""
    time = np.arange(samples) / 16_000
    audio = [np.sin(2 * np.pi * 200.0 * 2**number * time) * 0.6 / (1 + number) for number in range(count)]
    return (np.array(audio) + RANDOM.normal(0, 0.01, (count, samples))).astype("float32")


def answer(model, audio) -> np.ndarray:
    """What the graph gives for tensors, which nothing is done to."""
    return np.asarray(model(keras.ops.convert_to_tensor(audio), training=False))


# === Layers ===


def test_attention_is_a_weighted_mean():
    x = RANDOM.normal(size=(3, 7, 5)).astype("float32")
    layer = speech.AttentionPooling(4)
    layer(x)
    layer.hidden.bias.assign(RANDOM.normal(size=4))
    layer.score.kernel.assign([[2.0], [-2.0], [2.0], [-2.0]])
    score = np.tanh(x @ np.array(layer.hidden.kernel) + np.array(layer.hidden.bias)) @ np.array(layer.score.kernel)
    weights = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    assert weights.max() > 0.25  # far from a plain mean
    np.testing.assert_allclose(layer(x), (weights * x).sum(axis=1), atol=1e-6)


def test_attention_keeps_its_settings():
    layer = speech.AttentionPooling(4, name="pool")
    layer.build((None, None, 5))
    again = speech.AttentionPooling.from_config(layer.get_config())
    again.build((None, None, 5))
    again.set_weights(layer.get_weights())
    x = RANDOM.normal(size=(2, 3, 5)).astype("float32")
    np.testing.assert_array_equal(again(x), layer(x))


@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (1, 3)])
def test_convolution_keeps_the_bands_and_shortens_time(kernel):
    image = keras.Input((20, 16, 2))
    settings = speech.Convolution(filters=4, kernel=kernel, strides=(1, 2))
    assert speech.convolution(image, settings, "c").shape == (None, 20 - kernel[0] + 1, 8, 4)


# === What users hand over ===


def test_answers_are_probabilities_that_depend_on_the_sound(model):
    probabilities = answer(model, clips(4))
    assert probabilities.shape == (4, 12)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert np.ptp(probabilities, axis=0).max() > 0.01
    assert model.labels == registry.KEYWORD_LABELS
    assert "untrained" in model.card


@pytest.mark.parametrize("call", ["__call__", "predict"])
def test_raw_arrays_are_taken_as_they_come(model, call):
    def given(audio):
        return np.asarray(model(audio) if call == "__call__" else model.predict(audio, verbose=0))

    audio = clips(2)
    expected = answer(model, audio)
    whole = np.round(audio * 32_767).astype("int16")
    np.testing.assert_allclose(given(audio), expected, atol=1e-5)
    np.testing.assert_allclose(given(audio.astype("float64")), expected, atol=1e-5)
    np.testing.assert_allclose(given(whole), answer(model, whole / np.float32(32_768)), atol=1e-5)
    np.testing.assert_allclose(given(audio[0]), expected[:1], atol=1e-5)  # one clip
    stereo = np.stack([audio[0] * 1.5, audio[0] * 0.5], axis=1)
    np.testing.assert_allclose(given(stereo), expected[:1], atol=1e-4)
    np.testing.assert_allclose(given(audio[:1].tolist()), expected[:1], atol=1e-5)


def test_short_clips_are_padded_with_silence(model):
    short = clips(2, 7_000)
    padded = np.pad(short, ((0, 0), (4_500, 4_500)))
    np.testing.assert_allclose(model(short), answer(model, padded), atol=1e-6)
    assert np.abs(model(short) - answer(model, short)).max() > 1e-5  # padding is what made the difference
    assert np.isfinite(model(short[:, :1])).all()


@pytest.mark.parametrize(
    "audio",
    [
        np.full((1, 16_000), np.nan, "float32"),
        np.zeros((1, 0), "float32"),
        [],
        np.zeros((1, 2, 16_000, 2), "float32"),
        np.array(["yes"]),
    ],
)
@pytest.mark.parametrize("call", ["__call__", "predict", "classify"])
def test_what_is_no_audio_is_refused(model, call, audio):
    with pytest.raises(InvalidInputError, match="^audio: "):
        getattr(model, call)(audio)


def test_a_clips_answer_is_its_own(model):
    """A row of a batch does not depend on the other rows."""
    audio = clips(4)
    together = np.asarray(model(audio))
    alone = np.concatenate([model(clip[None]) for clip in audio])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(model(audio[::-1]), together[::-1], atol=1e-6)


# === Recordings ===


def test_windows_of_a_recording(model):
    """2.3 seconds: windows from 0, 0.5, 1 and 1.5 s, the last one padded; each the answer to its cut."""
    recording = np.concatenate([clips(3, 12_000).ravel(), np.zeros(800, "float32")])
    found = model.classify(recording)
    assert [(each.start, each.end) for each in found] == [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0), (1.5, 2.5)]
    padded = np.pad(recording, (0, 3_200))
    expected = answer(model, np.stack([padded[start : start + 16_000] for start in (0, 8_000, 16_000, 24_000)]))
    assert np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose([each.probabilities for each in found], expected, atol=1e-5)
    for each, row in zip(found, expected, strict=True):
        assert each.label == model.labels[row.argmax()]
        assert each.probability == pytest.approx(row.max(), abs=1e-5)


@pytest.mark.parametrize(
    ("seconds", "hop", "starts"),
    [
        (0.2, 0.5, [0.0]),
        (1.0, 0.5, [0.0]),
        (1.01, 0.5, [0.0, 0.5]),
        (3.0, 1.0, [0.0, 1.0, 2.0]),
        (1.5, 2.0, [0.0, 2.0]),
    ],
)
def test_every_sample_is_in_a_window(model, seconds, hop, starts):
    found = model.classify(np.full(round(seconds * 16_000), 0.1), hop=hop)
    assert [each.start for each in found] == starts


def test_recordings_of_other_rates_and_types_are_converted(model):
    recording = clips(1, 12_000)[0]  # 1.5 s at 8 kHz
    found = model.classify(recording, 8_000)
    expected = model.classify(resample(recording, 8_000, 16_000))
    assert [each.end for each in found] == [1.0, 1.5]
    np.testing.assert_allclose(found[1].probabilities, expected[1].probabilities, atol=1e-5)
    stereo = np.round(np.stack([recording, recording], axis=1) * 32_767).astype("int16")
    np.testing.assert_allclose(model.classify(stereo, 8_000)[1].probabilities, expected[1].probabilities, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hop": 0.0}, "hop: got 0.0, expected seconds above 0"),
        ({"hop": -1.0}, "hop: "),
        ({"hop": float("nan")}, "hop: "),
        ({"hop": float("inf")}, "hop: "),
        ({"sample_rate": 0}, "sample_rate: got 0"),
        ({"sample_rate": -8_000}, "sample_rate: "),
        ({"sample_rate": 44_100.0}, "sample_rate: "),
    ],
)
def test_arguments_that_make_no_sense_are_refused(model, arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        model.classify(np.zeros(20_000), **arguments)


def test_several_recordings_are_refused(model):
    with pytest.raises(InvalidInputError, match="audio: expected one recording, got 2"):
        model.classify(np.zeros((2, 20_000)))


# === Causality ===


def last_samples(config: speech.SpeechConfig, steps: int) -> np.ndarray:
    """For each step of the LSTM, how many samples have to be there before it can be taken."""
    last = np.arange(steps)
    for settings in reversed(config.convolutions):
        last = last * settings.strides[0] + settings.kernel[0] - 1
    return last * config.front_end.hop_length + config.front_end.window_length


@pytest.mark.parametrize("name", entries("speech"))
def test_causal_models_do_not_hear_what_is_to_come(name):
    options = registry.ENTRIES[name].options | {"units": 5}
    config = speech.SpeechConfig.create(options)
    keras.utils.set_random_seed(1)
    model = speech.build(config)
    layer = "bidirectional_1" if config.bidirectional else "lstm_1"
    states = keras.Model(model.input, model.get_layer(layer).output)
    rate = config.front_end.sample_rate
    audio = RANDOM.normal(0, 0.1, (1, rate)).astype("float32")
    change = rate * 6 // 10
    changed = np.where(np.arange(rate) < change, audio, RANDOM.normal(0, 0.3, (1, rate))).astype("float32")
    difference = np.abs(np.asarray(states(audio)) - np.asarray(states(changed))).max(axis=(0, 2))  # [steps]
    before = last_samples(config, len(difference)) <= change
    assert 5 < before.sum() < len(before) - 5
    assert difference[~before].min() > 1e-6
    assert (difference[before].max() < 1e-6) == config.streaming == (not config.bidirectional)


# === Saving and configuration ===

RELOAD = """
import sys
import keras, numpy as np
import lstm_zoo.models.speech
for name in sys.argv[1:]:
    model, audio = keras.saving.load_model(f"{name}.keras"), np.load(f"{name}.npy")
    np.save(f"{name}_answer.npy", model(audio))
    print(type(model).__name__, ",".join(model.labels), model.config.units, model.classify(audio[0])[0].label)
"""


def test_keras_files_are_read_in_a_new_process(tmp_path):
    models = {name: tiny_model(name, seed=5) for name in ("speech", "digits")}
    audio = {name: clips(2, model.config.clip_samples) for name, model in models.items()}
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", audio[name])
    done = subprocess.run(
        [sys.executable, "-c", RELOAD, *models],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(lstm_zoo.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for (name, model), line in zip(models.items(), done.stdout.splitlines(), strict=True):
        np.testing.assert_allclose(np.load(tmp_path / f"{name}_answer.npy"), model(audio[name]), atol=1e-6)
        label = model.classify(audio[name][0])[0].label
        assert line.split() == ["KeywordSpotter", ",".join(model.labels), "4", label]


def test_every_pooling_and_depth_builds():
    for pooling in ("last", "mean", "attention"):
        model = tones.model(pooling=pooling, layers=2)
        assert model(np.zeros((2, tones.RATE), "float32")).shape == (2, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": 0}, "units: .*greater than or equal to 1, got 0"),
        ({"pooling": "max"}, "pooling: .*'last', 'mean' or 'attention', got 'max'"),
        ({"labels": ["yes"]}, "labels: "),
        ({"unit": 3}, "unknown option 'unit'; there are: .*units"),
        ({"front_end": {"mel_bins": 4}}, "front_end.mel_bins: .*got 4"),
        ({"convolutions": [{"filters": 0}]}, "convolutions.0.filters: "),
    ],
)
def test_configurations_that_make_no_sense_are_refused(options, message):
    with pytest.raises(InvalidInputError, match=message):
        speech.SpeechConfig.create({"labels": ["yes", "no"]} | options)


def test_every_setting_that_is_tuned_exists():
    start = AudioExperiment(model=speech.SpeechConfig(labels=("yes", "no")))
    for name, values in speech.SEARCH_SPACE.items():
        for value in values:
            group, *fields = name.split(".")
            changed = override(start, {name: value}).model_dump()[group]
            for field in fields:
                changed = changed[field]
            assert changed == value
    assert {"training.batch_size", "training.epochs", "model.front_end.mel_bins"} <= set(speech.SEARCH_SPACE)


def test_recordings_of_digits_are_heard_as_the_loader_cuts_them():
    """What the figures are measured on is what users get: short clips are padded alike on both ways."""
    from lstm_zoo.data.audio_files import fit

    digits = speech.build(speech.SpeechConfig.create(registry.ENTRIES["digits"].options))
    recording = (clips(1, 3_301)[0] * 32_767).astype("int16")
    cut = fit(recording, 8_000, centre=True)[None].astype("float32") / 32_768.0
    np.testing.assert_allclose(digits(recording), answer(digits, cut), atol=1e-6)
    np.testing.assert_allclose(digits.classify(recording)[0].probabilities, answer(digits, cut)[0], atol=1e-6)
