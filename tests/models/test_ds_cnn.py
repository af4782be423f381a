"""The yardstick is the published network: its size, its cepstral coefficients, its output."""

import numpy as np
import pytest
import scipy.fft

from lstm_zoo.models import ds_cnn


@pytest.mark.parametrize(("mel_bins", "coefficients"), [(40, 10), (40, 40), (13, 5)])
def test_cosine_transform_is_scipys(mel_bins, coefficients):
    log_mel = np.random.default_rng(0).normal(size=(7, mel_bins)).astype("float32")
    expected = scipy.fft.dct(log_mel, type=2, norm="ortho", axis=1)[:, :coefficients]
    np.testing.assert_allclose(log_mel @ ds_cnn.cosine_transform(mel_bins, coefficients), expected, atol=1e-5)


@pytest.fixture(scope="module")
def model():
    return ds_cnn.build(12)


def test_size_is_the_published_one(model):
    """38.6 KB in table 4 of the paper: a byte for each weight, batch normalisation folded into a bias for each filter,
    and a byte for each number of the largest two neighbouring feature maps, 25 x 5 x 64 both."""
    kernels = 10 * 4 * 64 + 4 * (3 * 3 * 64 + 64 * 64) + 64 * 12
    biases = 9 * 64 + 12
    feature_maps = 2 * 25 * 5 * 64
    assert round((kernels + biases + feature_maps) / 1000, 1) == 38.6
    scales = 9 * 64  # batch normalisation has one beside each bias
    of_the_input = 2 * ds_cnn.COEFFICIENTS  # the coefficients are normalised, too
    trained = sum(variable.value.shape.num_elements() for variable in model.trainable_weights)
    assert trained == kernels + biases + scales + of_the_input


def test_feature_maps_are_the_published_ones(model):
    x = np.zeros((1, 16_000), "float32")
    shapes = []
    for layer in model.layers[1:]:
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert (49, 10) in shapes  # 40 ms frames every 20 ms, ten coefficients
    assert shapes.count((25, 5, 64)) >= 9  # one convolution and four pairs
    assert shapes[-1] == (12,)


def test_coefficients_of_the_built_model_are_not_trained(model):
    (dense,) = (layer for layer in model.layers if layer.name.startswith("dense") and not layer.trainable)
    expected = scipy.fft.dct(np.eye(40), type=2, norm="ortho", axis=1)[:, :10]
    np.testing.assert_allclose(dense.kernel, expected, atol=1e-6)


def test_output_is_probabilities(model):
    audio = np.random.default_rng(0).normal(0, 0.1, (3, 16_000)).astype("float32")
    probabilities = np.asarray(model(audio))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert probabilities.min() > 0
