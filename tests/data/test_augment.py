"""Augmentation: repeatable, off at zero, and as strong as it was asked to be."""

import numpy as np
import pytest
import tensorflow as tf

from lstm_zoo.data.augment import AugmentConfig, add_noise, augment, change_gain, mix_up, speed_and_shift
from lstm_zoo.errors import InvalidInputError

RATE = 4_000
SEED = (3, 14)
NOTHING = AugmentConfig(speed=0.0, shift=0.0, gain=0.0, noise_share=0.0, mixup=0.0)
RANDOM = np.random.default_rng(0)
NOISE = RANDOM.normal(0, 0.1, 5 * RATE).astype("float32")
CLIPS = (np.sin(2 * np.pi * 50 * np.arange(RATE) / RATE + RANDOM.uniform(0, 6, (64, 1))) * 0.3).astype("float32")


def seed(*numbers: int) -> tf.Tensor:
    return tf.constant(numbers or SEED)


def augmented(config: AugmentConfig, *numbers: int) -> np.ndarray:
    return np.asarray(augment(tf.constant(CLIPS), tf.constant(NOISE), config, RATE, seed(*numbers)))


def test_zero_settings_change_nothing():
    np.testing.assert_allclose(augmented(NOTHING), CLIPS, atol=1e-6)
    labels = np.eye(64, dtype="float32")
    for before, after in zip((CLIPS, labels), mix_up(CLIPS, labels, 0.0, seed()), strict=True):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("change", [{"speed": 0.1}, {"shift": 0.1}, {"gain": 6.0}, {"noise_share": 0.5}])
def test_each_setting_changes_something_and_the_same_seed_the_same(change):
    config = NOTHING.replace(**change)
    once, again, other = augmented(config), augmented(config), augmented(config, 3, 15)
    assert once.shape == CLIPS.shape
    assert np.isfinite(once).all()
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - CLIPS).max() > 0.05
    assert np.abs(once - other).max() > 0.05


def test_clips_of_a_batch_are_changed_each_in_its_own_way():
    same = np.repeat(CLIPS[:1], 8, axis=0)
    changed = np.asarray(augment(tf.constant(same), tf.constant(NOISE), AugmentConfig(), RATE, seed()))
    assert min(np.abs(changed[i] - changed[j]).max() for i in range(8) for j in range(i)) > 0.01


def test_shift_is_a_shift():
    """Noise, of which only the right offset fits: found by correlation, within bounds, with zeros where it came in."""
    clips = RANDOM.normal(0, 0.1, (64, 1_000)).astype("float32")
    shifted = np.asarray(speed_and_shift(clips, 0.0, 100, seed()))
    offsets = []
    for before, after in zip(clips, shifted, strict=True):
        offset = int(np.correlate(np.pad(before, 101), after).argmax()) - 101  # read from here on
        left, right = max(0, -offset), 1_000 - max(0, offset)
        assert not after[: max(0, left - 1)].any()
        assert not after[right + 1 :].any()
        inner = slice(left + 1, right - 1)
        near = np.stack([np.roll(before, -offset + step)[inner] for step in (-1, 0, 1)])
        assert (after[inner] >= near.min(axis=0) - 1e-6).all()  # between neighbouring samples
        assert (after[inner] <= near.max(axis=0) + 1e-6).all()
        offsets.append(offset)
    assert -101 <= min(offsets) < -50
    assert 50 < max(offsets) <= 101


def test_speed_moves_the_pitch_both_ways_and_no_further():
    clips = np.repeat(np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)[None], 64, axis=0).astype("float32")
    faster = np.asarray(speed_and_shift(clips, 0.25, 0, seed()))
    middle = faster[:, RATE // 4 : -RATE // 4] * np.hanning(RATE // 2)
    hertz = np.abs(np.fft.rfft(middle, 4 * RATE)).argmax(axis=1) / 4
    assert 200 / 1.25 - 2 <= hertz.min() < 180
    assert 225 < hertz.max() <= 200 * 1.25 + 2


@pytest.mark.parametrize("decibels", [-5.0, 0.0, 20.0])
def test_noise_is_mixed_in_at_the_ratio_asked_for(decibels):
    noise = np.asarray(add_noise(CLIPS, NOISE, 1.0, (decibels, decibels), seed())) - CLIPS
    ratio = 10 * np.log10((CLIPS**2).sum(axis=1) / (noise**2).sum(axis=1))
    np.testing.assert_allclose(ratio, decibels, atol=0.01)


def test_noise_is_cut_from_anywhere_and_ratios_spread():
    noise = np.asarray(add_noise(CLIPS, NOISE, 1.0, (0.0, 30.0), seed())) - CLIPS
    ratio = 10 * np.log10((CLIPS**2).sum(axis=1) / (noise**2).sum(axis=1))
    assert 0.0 <= ratio.min() < 5.0
    assert 25.0 < ratio.max() <= 30.01
    starts = [np.correlate(NOISE, cut).argmax() for cut in noise[:16]]
    assert len(set(starts)) > 12
    for start, cut in zip(starts, noise, strict=False):
        assert np.corrcoef(cut, NOISE[start : start + RATE])[0, 1] > 0.99


def test_noise_goes_into_the_share_asked_for():
    clips = np.repeat(CLIPS, 16, axis=0)
    noisy = np.abs(np.asarray(add_noise(clips, NOISE, 0.3, (10.0, 10.0), seed())) - clips).max(axis=1) > 0
    assert 0.24 < noisy.mean() < 0.36


def test_silence_stays_silent():
    silent = np.zeros((4, RATE), "float32")
    assert not np.asarray(add_noise(silent, NOISE, 1.0, (0.0, 30.0), seed())).any()


def test_gain_is_in_decibels_and_clips_as_a_recorder_does():
    changed = np.asarray(change_gain(CLIPS, 6.0, seed()))
    decibels = 20 * np.log10(np.abs(changed).max(axis=1) / np.abs(CLIPS).max(axis=1))
    assert -6.0 <= decibels.min() < -4.0
    assert 4.0 < decibels.max() <= 6.0
    assert np.abs(change_gain(CLIPS, 60.0, seed())).max() == 1.0


def test_mix_up_mixes_labels_as_it_mixes_clips():
    audio = np.eye(6, dtype="float32") * 10  # what is in a clip is seen by where it is
    labels = np.eye(6, dtype="float32")
    mixed, mixed_labels = (np.asarray(each) for each in mix_up(audio, labels, 0.4, seed()))
    np.testing.assert_allclose(mixed, mixed_labels * 10, atol=1e-5)
    np.testing.assert_allclose(mixed_labels.sum(axis=1), 1.0, atol=1e-6)
    own = np.diag(mixed_labels)
    assert 0.6 <= own.min() < 0.9
    np.testing.assert_allclose(own + np.diag(np.roll(mixed_labels, 1, axis=1)), 1.0, atol=1e-6)


@pytest.mark.parametrize("setting", [{"speed": -0.1}, {"noise_share": 1.5}, {"gain": -1.0}, {"mixup": 2.0}])
def test_settings_that_make_no_sense_are_refused(setting):
    with pytest.raises(InvalidInputError, match=f"AugmentConfig: {next(iter(setting))}: "):
        AugmentConfig.create(setting)
