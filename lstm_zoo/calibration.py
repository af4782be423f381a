r"""Probabilities that mean what they say: the scale and the bias of the last layer, fitted on validation examples.

.. math:: p' = \operatorname{softmax}(a \log p + b), \quad a > 0,\; b_1 = 0

Temperature scaling (Guo et al. 2017, arXiv:1706.04599) with a bias for each class (Alexandari et al. 2020,
arXiv:1901.06852). Where a network takes too many examples for one class, the bias puts that right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lstm_zoo.errors import InvalidInputError, MissingExtraError
from lstm_zoo.evaluation import inputs_of

if TYPE_CHECKING:
    import keras

    from lstm_zoo.data import AudioSplit
    from lstm_zoo.data.texts import TextSplit

SMALLEST = 1e-30  # of a probability, whose logarithm has to be finite


class Calibration(NamedTuple):
    """What was found: ``scale`` :math:`a`, and ``bias`` :math:`b`, ``[labels]``, of which the first is 0."""

    scale: float
    bias: np.ndarray


def fit_calibration(probabilities: np.ndarray, labels: np.ndarray) -> Calibration:
    """The scale and the bias with which ``probabilities`` make ``labels`` most likely.

    Args:
        probabilities: float ``[examples, labels]``, rows that sum to 1.
        labels: integers ``[examples]``; each label is there at least once.

    Raises:
        InvalidInputError: there are no examples of a label, for which no bias would be found.
        MissingExtraError: SciPy, which comes with scikit-learn, is not installed.
    """
    classes = probabilities.shape[1]
    if missing := sorted(set(range(classes)) - set(np.asarray(labels).tolist())):
        raise InvalidInputError(f"labels: none is {missing[0]}; expected examples of each of the {classes} labels")
    try:
        from scipy.optimize import minimize
        from scipy.special import log_softmax
    except ImportError:
        raise MissingExtraError("scipy", "notebooks", "calibration") from None
    logarithms = np.log(np.maximum(probabilities.astype("float64"), SMALLEST))

    def loss(parameters: np.ndarray) -> float:
        logits = np.exp(parameters[0]) * logarithms + np.concatenate([[0.0], parameters[1:]])
        return -float(np.mean(log_softmax(logits, axis=1)[np.arange(len(labels)), labels]))

    found = minimize(loss, np.zeros(classes), method="BFGS").x
    return Calibration(float(np.exp(found[0])), np.concatenate([[0.0], found[1:]]))


def calibrate(model: keras.Model, split: AudioSplit | TextSplit) -> Calibration:
    """Fit scale and bias on ``split``, from validation, and write them into the last layer of ``model``.

    Args:
        model: its last layer is dense, with a softmax, and called "probabilities".
    """
    answers = np.asarray(model.predict(inputs_of(split), verbose=0))
    found = fit_calibration(answers, split.labels)
    kernel, bias = model.get_layer("probabilities").get_weights()
    model.get_layer("probabilities").set_weights([found.scale * kernel, found.scale * bias + found.bias])
    return found
