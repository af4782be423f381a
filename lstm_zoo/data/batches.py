"""Endless, shuffled, augmented training batches of audio."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from lstm_zoo.data import AudioDataset, AudioSplit
from lstm_zoo.data.augment import AugmentConfig, augment, mix_up
from lstm_zoo.errors import InvalidInputError


def one_hot(split: AudioSplit, classes: int) -> np.ndarray:
    """Labels as ``[clips, classes]`` float32."""
    return np.eye(classes, dtype="float32")[split.labels]


def _order(clips: int, extra: int, extra_share: float, seed: int) -> Iterator[np.int64]:
    """Each own clip once a round, in random order, with draws from the extra clips between them."""
    generator = np.random.default_rng(seed)
    drawn = round(clips * extra_share / (1.0 - extra_share)) if extra else 0
    while True:
        picks = np.concatenate([np.arange(clips), clips + generator.integers(max(extra, 1), size=drawn)])
        yield from generator.permutation(picks)


def training_batches(
    dataset: AudioDataset,
    augmentation: AugmentConfig,
    batch_size: int,
    seed: int = 0,
    extra: AudioSplit | None = None,
    extra_share: float = 0.0,
) -> tuple[tf.data.Dataset, int]:
    """Batches of ``([batch, samples] float32, [batch, classes] float32)`` for ever, and how many make an epoch.

    Args:
        dataset: its training clips are used, each once an epoch, with its training noise mixed in.
        augmentation: how the clips are changed.
        extra: further training clips (synthetic speech), of which ``extra_share`` of every epoch is drawn.

    Raises:
        InvalidInputError: fewer training clips than one batch.
    """
    parts = [dataset.training] + ([extra] if extra is not None and extra_share else [])
    clips = len(dataset.training)
    steps = round(clips / (1.0 - extra_share * (len(parts) - 1))) // batch_size
    if not steps:
        raise InvalidInputError(f"batch_size: {batch_size} is more than the {clips} training clips")
    audio = np.concatenate([part.audio for part in parts])
    labels = np.concatenate([one_hot(part, len(dataset.label_names)) for part in parts])
    noise = tf.constant(_noise(dataset))

    def load(picks: tf.Tensor, draw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        clips = tf.ensure_shape(tf.gather(all_audio, picks), [batch_size, audio.shape[1]])
        clips = tf.cast(clips, tf.float32) / 32768.0
        draws = tf.stack([seed, 1_000 * draw])
        changed = augment(clips, noise, augmentation, dataset.sample_rate, draws)
        return mix_up(changed, tf.gather(all_labels, picks), augmentation.mixup, draws + 30)

    with tf.device("CPU"):
        all_audio, all_labels = tf.constant(audio), tf.constant(labels)
    order = tf.data.Dataset.from_generator(
        lambda: _order(clips, len(audio) - clips, extra_share, seed),
        output_signature=tf.TensorSpec((), tf.int64),
    )
    numbered = tf.data.Dataset.zip(order.batch(batch_size, drop_remainder=True), tf.data.Dataset.counter(dtype="int32"))
    return numbered.map(load).prefetch(4), steps


def _noise(dataset: AudioDataset) -> np.ndarray:
    """The training split's background noise; a dataset that has none gets ten seconds of white noise."""
    if len(dataset.training.noise):
        return dataset.training.noise.astype("float32") / 32768.0
    return np.random.default_rng(0).normal(scale=0.1, size=10 * dataset.sample_rate).astype("float32")
