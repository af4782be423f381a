"""Training batches: every clip once an epoch, with its own label, in another order each time."""

import dataclasses

import numpy as np
import pytest

from lstm_zoo.data import AudioDataset, AudioSplit
from lstm_zoo.data.augment import AugmentConfig
from lstm_zoo.data.batches import one_hot, training_batches
from lstm_zoo.errors import InvalidInputError

NOTHING = AugmentConfig(speed=0.0, shift=0.0, gain=0.0, noise_share=0.0, mixup=0.0)
LABELS = ("a", "b", "c")


def numbered(first: int, clips: int, noise: int = 0) -> AudioSplit:
    """Clips that are told apart by their samples: clip ``n`` is ``n`` throughout."""
    numbers = np.arange(first, first + clips)
    audio = np.repeat(numbers[:, None], 50, axis=1).astype(np.int16)
    names = tuple(map(str, numbers))
    return AudioSplit(audio, (numbers % 3).astype(np.int32), names, np.full(noise, 3_000, np.int16))


DATASET = AudioDataset("numbers", LABELS, 50, numbered(1, 24), numbered(101, 6), numbered(201, 6))


def drawn(steps: int, *arguments, **options) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the clips and of their labels, ``[steps, batch]``."""
    batches, _ = training_batches(*arguments, **options)
    numbers, labels = [], []
    for audio, label in batches.take(steps):
        assert (audio.dtype, label.dtype) == ("float32", "float32")
        assert np.ptp(audio, axis=1).max() == 0
        numbers.append(np.round(audio[:, 0].numpy() * 32_768).astype(int))
        labels.append(label.numpy())
    return np.array(numbers), np.array(labels)


def test_every_clip_once_an_epoch_with_its_label():
    _, steps = training_batches(DATASET, NOTHING, 8)
    assert steps == 3
    numbers, labels = drawn(2 * steps, DATASET, NOTHING, 8)
    first, second = numbers.reshape(2, -1)
    assert sorted(first) == sorted(second) == list(range(1, 25))  # of the training split alone
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, np.sort(first))
    np.testing.assert_array_equal(labels, np.eye(3)[numbers % 3])


def test_same_seed_same_batches():
    config = NOTHING.replace(gain=6.0)
    one, two, other = (
        np.concatenate([audio for audio, _ in training_batches(DATASET, config, 8, seed)[0].take(4)])
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_clips_are_changed_differently_each_time():
    dataset = dataclasses.replace(DATASET, training=numbered(1_000, 8))
    batches, _ = training_batches(dataset, NOTHING.replace(gain=6.0), 8)
    one, two = (np.sort(audio[:, 0]) for audio, _ in batches.take(2))
    assert np.abs(one - two).max() > 1e-3


def test_extra_clips_make_the_share_asked_for():
    extra = numbered(301, 100)
    _, steps = training_batches(DATASET, NOTHING, 8, 0, extra, 0.5)
    assert steps == 6
    numbers, labels = drawn(4 * steps, DATASET, NOTHING, 8, 0, extra, 0.5)
    np.testing.assert_array_equal(labels, np.eye(3)[numbers % 3])
    epochs = numbers.reshape(4, -1)
    for epoch in epochs:
        assert sorted(epoch[epoch < 100]) == list(range(1, 25))  # its own clips still once each
        assert (epoch > 300).sum() == 24
    assert len(set(epochs[epochs > 300])) > 48  # drawn anew each epoch


def test_extra_clips_with_a_share_of_zero_are_left_out():
    numbers, _ = drawn(6, DATASET, NOTHING, 8, 0, numbered(301, 100), 0.0)
    assert numbers.max() < 100


def test_noise_is_that_of_the_training_split():
    silent_noise = dataclasses.replace(numbered(1, 24), noise=np.zeros(500, np.int16))
    config = NOTHING.replace(noise_share=1.0)
    numbers, _ = drawn(3, dataclasses.replace(DATASET, training=silent_noise), config, 8)
    assert sorted(numbers.ravel()) == list(range(1, 25))  # noise of zeros adds nothing
    for training in (numbered(1, 24, noise=500), numbered(1, 24)):  # its own, or white noise where it has none
        batches, _ = training_batches(dataclasses.replace(DATASET, training=training), config, 24)
        (audio, _), *_ = batches.take(1)
        assert set(np.round(audio[:, 0] * 32_768)) != set(range(1, 25))


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(InvalidInputError, match="batch_size: 25 is more than the 24 training clips"):
        training_batches(DATASET, NOTHING, 25)


def test_one_hot():
    labels = one_hot(numbered(0, 4), 3)
    np.testing.assert_array_equal(labels, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert labels.dtype == np.float32
