"""Random changes to PCM that keep the word: speed, shift, loudness, background noise.

Each function maps a batch ``[batch, samples]`` of float32 in -1..1 to a batch of the same shape, as TensorFlow
operations for ``tf.data.Dataset.map``. ``seed`` is a pair of integers; the same seed makes the same changes. Pitch
is changed together with speed, as by a tape recorder, and on its own by :class:`lstm_zoo.frontends.audio.SpecAugment`.
"""

from __future__ import annotations

import math

import tensorflow as tf
from pydantic import Field

from lstm_zoo.config import Config


class AugmentConfig(Config):
    """How strongly training clips are changed; zero switches a change off."""

    speed: float = Field(0.1, ge=0.0, lt=1.0, description="largest relative change of speed (and pitch)")
    shift: float = Field(0.1, ge=0.0, description="largest shift, in seconds")
    gain: float = Field(6.0, ge=0.0, description="largest change of loudness, in decibels")
    noise_share: float = Field(0.5, ge=0.0, le=1.0, description="share of clips that get background noise")
    mixup: float = Field(0.0, ge=0.0, le=1.0, description="largest share of another clip mixed in, label and all")
    noise_ratio: tuple[float, float] = Field((0.0, 30.0), description="signal-to-noise ratio, in decibels")


def _draw(audio: tf.Tensor, seed: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """One number for each clip, ``[batch, 1]``."""
    return tf.random.stateless_uniform((tf.shape(audio)[0], 1), seed, low, high)


def speed_and_shift(audio: tf.Tensor, speed: float, shift: int, seed: tf.Tensor) -> tf.Tensor:
    """Read each clip at its own speed and offset (``shift`` in samples), between samples by linear interpolation."""
    samples = tf.shape(audio)[1]
    rate = tf.exp(_draw(audio, seed, -1.0, 1.0) * math.log1p(speed))
    offset = _draw(audio, seed + 1, -1.0, 1.0) * float(shift)
    middle = tf.cast(samples, tf.float32) / 2.0
    position = (tf.range(samples, dtype=tf.float32)[None, :] - middle) * rate + middle + offset
    inside = (position >= 0.0) & (position <= tf.cast(samples - 1, tf.float32))
    position = tf.where(inside, position, 0.0)
    before = tf.minimum(tf.cast(position, tf.int32), samples - 2)
    fraction = position - tf.cast(before, tf.float32)
    left = tf.gather(audio, before, batch_dims=1)
    right = tf.gather(audio, before + 1, batch_dims=1)
    return tf.where(inside, left + fraction * (right - left), 0.0)


def add_noise(
    audio: tf.Tensor, noise: tf.Tensor, share: float, ratio: tuple[float, float], seed: tf.Tensor
) -> tf.Tensor:
    """Mix random cuts of ``noise`` (``[samples]``) into a ``share`` of the clips, at ``ratio`` decibels.

    Silent clips (digital zeros) stay as they are: they have no signal for the ratio to refer to.
    """
    samples = tf.shape(audio)[1]
    start = tf.cast(_draw(audio, seed, 0.0, 1.0) * tf.cast(tf.shape(noise)[0] - samples, tf.float32), tf.int32)
    cut = tf.gather(noise, start + tf.range(samples)[None, :])
    decibels = _draw(audio, seed + 1, *ratio)
    mixed = _draw(audio, seed + 2, 0.0, 1.0) < share
    loudness = tf.sqrt(tf.reduce_mean(tf.square(audio), axis=1, keepdims=True))
    noise_loudness = tf.sqrt(tf.reduce_mean(tf.square(cut), axis=1, keepdims=True)) + 1e-6
    factor = loudness / noise_loudness * 10.0 ** (-decibels / 20.0)
    return audio + tf.where(mixed, factor, 0.0) * cut


def change_gain(audio: tf.Tensor, decibels: float, seed: tf.Tensor) -> tf.Tensor:
    """Make each clip louder or softer by up to ``decibels``, clipped to -1..1 as a recorder would."""
    change = _draw(audio, seed, -decibels, decibels)
    return tf.clip_by_value(audio * 10.0 ** (change / 20.0), -1.0, 1.0)


@tf.function(jit_compile=True)  # fused: a sixth of the time of the operations one by one
def augment(audio: tf.Tensor, noise: tf.Tensor, config: AugmentConfig, sample_rate: int, seed: tf.Tensor) -> tf.Tensor:
    """All of the above, in the order in which a microphone meets them."""
    audio = speed_and_shift(audio, config.speed, round(config.shift * sample_rate), seed)
    audio = add_noise(audio, noise, config.noise_share, config.noise_ratio, seed + 10)
    return change_gain(audio, config.gain, seed + 20)


def mix_up(audio: tf.Tensor, labels: tf.Tensor, largest: float, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mix each clip and its label with the next one of the batch, up to the share ``largest`` (below a half the clip
    stays the louder one). Zhang et al. 2018, "mixup" (arXiv:1710.09412). ``labels``: ``[batch, classes]``."""
    share = _draw(audio, seed, 0.0, largest)
    return (
        audio + share * (tf.roll(audio, 1, axis=0) - audio),
        labels + share * (tf.roll(labels, 1, axis=0) - labels),
    )
