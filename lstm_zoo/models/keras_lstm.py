"""The yardstick for sentiment: what Keras's own examples make of it, ``keras.layers.LSTM`` behind a masking embedding.

It is trained and measured beside our models with the same words and the same batches, and is no entry of the zoo.
"""

from __future__ import annotations

import keras

from lstm_zoo.models.sentiment import SentimentConfig, TextClassifier


def build(config: SentimentConfig, *, mask: bool = True) -> TextClassifier:
    """``[batch, time]`` int32 token ids, padded on the right with 0, to ``[batch, labels]`` probabilities.

    Args:
        config: its vocabulary, labels, sizes and last dropout are used.
        mask: whether the LSTM skips the padding.
    """
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = keras.layers.Embedding(len(config.vocabulary), config.embedding, mask_zero=mask)(ids)
    lstm = keras.layers.LSTM(config.units)
    x = keras.layers.Bidirectional(lstm)(x) if config.bidirectional else lstm(x)
    x = keras.layers.Dropout(config.dropout)(x)
    probabilities = keras.layers.Dense(len(config.labels), activation="softmax", name="probabilities")(x)
    return TextClassifier(ids, probabilities, config, name="keras_lstm")
