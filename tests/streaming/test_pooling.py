import keras
import numpy as np
import pytest
import tensorflow as tf

from lstm_zoo.models.speech import AttentionPooling
from lstm_zoo.streaming.pooling import Steps, running_form

EARLIER = 2**22  # steps: two days of 40 ms


def run(layer, x, states, before):
    """One step per call."""
    for i in range(x.shape[1]):
        steps = Steps(tf.constant(float(before + i)), tf.ones([1, 1, 1]))
        result, states = running_form(layer).run(layer, tf.constant(x[:, i : i + 1]), states, steps)
    return np.asarray(result), states


def test_mean_of_days_still_moves_though_each_step_is_less_than_float32_can_say():
    x = np.full((1, 300, 2), 1.5, "float32")
    states = {"mean": tf.ones([1, 2]), "mean_rest": tf.zeros([1, 2])}
    mean, states = run(keras.layers.GlobalAveragePooling1D(), x, states, EARLIER)
    expected = 1 + 0.5 * 300 / (EARLIER + 300)
    assert expected - 1 > 3e-5
    np.testing.assert_allclose(mean, expected, atol=1.3e-7)


def test_attention_of_days_still_moves():
    layer = AttentionPooling(3)
    layer.build((None, None, 2))
    x = np.full((1, 300, 2), 1.5, "float32")
    weight = np.exp(float(layer.score(layer.hidden(x[:, :1]))[0, 0, 0]))
    # Earlier inputs of 1, of weight 1 each, which is exp of the largest score so far, 0.
    largest = max(1.0, weight)
    states = {
        "mean": tf.ones([1, 3]) / largest,
        "mean_rest": tf.zeros([1, 3]),
        "maximum": tf.fill([1, 1], np.float32(np.log(largest))),
    }
    result, _ = run(layer, x, states, EARLIER)
    np.testing.assert_allclose(result, 1 + 0.5 * 300 * weight / (EARLIER + 300 * weight), atol=3e-7)


@pytest.mark.parametrize("layer", [keras.layers.GlobalAveragePooling1D(), keras.layers.GlobalMaxPooling1D()])
def test_steps_that_were_not_heard_count_for_nothing(layer):
    x = np.array([[[9.0], [9.0], [-2.0], [-4.0]]], "float32")
    sizes = running_form(layer).sizes(1)
    states = {name: tf.zeros([1, size]) for name, size in sizes.items()}
    heard = tf.constant([[[0.0], [0.0], [1.0], [1.0]]])
    nothing, states = running_form(layer).run(layer, tf.constant(x), states, Steps(tf.constant(0.0), 0.0 * heard))
    result, _ = running_form(layer).run(layer, tf.constant(x), states, Steps(tf.constant(0.0), heard))
    assert np.asarray(nothing).item() == 0.0
    assert np.asarray(result).item() == (-2.0 if "max" in layer.name else -3.0)


def test_what_does_not_pool_over_axis_1_has_no_running_form():
    assert running_form(keras.layers.GlobalAveragePooling1D(data_format="channels_first")) is None
    assert running_form(keras.layers.Dense(1)) is None
