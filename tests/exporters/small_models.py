"""Small models whose weights are anything but special, so that a wrong one shows."""

import keras
import numpy as np

from lstm_zoo.models import speech

LABELS = ["yes", "no", "up", "down"]
CLIP = 4_000
CONVOLUTIONS = [{"filters": 6, "kernel": [5, 5], "strides": [2, 2]}, {"filters": 8}]


def small_model(**options) -> keras.Model:
    keras.utils.set_random_seed(7)
    config = {"labels": LABELS, "convolutions": CONVOLUTIONS, "units": 9, **options}
    model = speech.build(speech.SpeechConfig.create(config))
    scramble(model)
    return model


def scramble(model: keras.Model) -> None:
    """Random values for every weight, those that start as zeros and ones and the running statistics included."""
    random = np.random.default_rng(7)
    for variable in model.weights:
        low, high = (0.5, 1.5) if "variance" in variable.path or "gamma" in variable.path else (-0.4, 0.4)
        if variable.dtype == "float32":
            variable.assign(random.uniform(low, high, variable.shape))


def clips(count: int = 3, samples: int = CLIP) -> np.ndarray:
    """Float32 ``[count, samples]``: noise that swells, so that every frame is another."""
    random = np.random.default_rng(3)
    return (random.standard_normal((count, samples)) * np.linspace(0.01, 0.3, samples)).astype("float32")


def answers(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    return np.asarray(model(keras.ops.convert_to_tensor(inputs), training=False))


class LeakyCell(keras.layers.LSTMCell):
    """A user's own, of other equations than those of the class that it is derived from."""

    def call(self, inputs, states, training=False):
        h, (_, c) = super().call(inputs, states, training)
        return 0.5 * h, [0.5 * h, c]


def own_cell(**options):
    """``keras.layers.LSTM`` with such a cell."""
    layer = keras.layers.LSTM(3, **options)
    layer.cell = LeakyCell(3)
    return layer
