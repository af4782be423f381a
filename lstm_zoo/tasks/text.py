"""Runs of models that read: a vocabulary made from the training texts, and batches of token ids."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import keras
from pydantic import Field

from lstm_zoo import experiment as shared
from lstm_zoo.data.text_batches import training_batches, validation_batches
from lstm_zoo.data.texts import TextDataset
from lstm_zoo.evaluation import majority_baseline
from lstm_zoo.frontends.text import SPECIAL_TOKENS, build_subword_vocabulary, build_vocabulary, tokenizer
from lstm_zoo.layers import GatedLSTM
from lstm_zoo.models.sentiment import SentimentConfig, TextClassifier
from lstm_zoo.pretraining import PretrainingConfig, pretrained
from lstm_zoo.tasks.text_baselines import count_phrases, naive_bayes_svm_baseline, tfidf_baseline
from lstm_zoo.training import TrainingConfig

NO_VOCABULARY = (*SPECIAL_TOKENS, "not made yet")
VALIDATION_BATCH = 64  # texts, which are whole and may have thousands of tokens


class TextExperiment(shared.Experiment):
    """All that decides what a training run of a text model makes."""

    model: SentimentConfig = SentimentConfig(vocabulary=NO_VOCABULARY)
    vocabulary_size: int = Field(20_000, ge=4, le=1_000_000, description="ids, with those of the special tokens")
    crop: int = Field(400, ge=2, description="tokens of a text that an epoch trains on; longer ones are cut at random")
    pretraining_epochs: int = Field(0, ge=0, description="of language models on the training texts, before training")
    training: TrainingConfig = TrainingConfig(
        epochs=6, batch_size=64, warm_up=0.3, learning_rate=1.5e-3, weight_decay=0.01, average=0.99
    )


def fit_to(experiment: TextExperiment, dataset: TextDataset) -> TextExperiment:
    """``experiment`` with the labels of ``dataset`` and a vocabulary of its training texts, and of no other ones."""
    build = build_subword_vocabulary if experiment.model.tokenizer == "subwords" else build_vocabulary
    vocabulary = build(dataset.training.texts, experiment.vocabulary_size)
    model = experiment.model.replace(labels=dataset.label_names, vocabulary=vocabulary)
    return experiment.replace(model=model)


def run(
    build: Callable[[], keras.Model],
    experiment: TextExperiment,
    dataset: TextDataset,
    folder: Path,
    verbose: str | int = "auto",
) -> keras.Model:
    """Build a model and train it on ``dataset``; see :func:`lstm_zoo.experiment.run`.

    Args:
        experiment: as :func:`fit_to` returns it.
    """

    def feed() -> shared.Feed:
        tokenize = tokenizer(experiment.model.tokenizer, experiment.model.vocabulary)
        classes, training = len(dataset.label_names), experiment.training
        batches, steps = training_batches(
            dataset.training,
            tokenize,
            training.batch_size,
            training.seed,
            crop=experiment.crop,
            classes=classes,
            few_shapes=training.compiled,
        )
        return shared.Feed(batches, steps, validation_batches(dataset.validation, tokenize, VALIDATION_BATCH, classes))

    def prepare(model: keras.Model) -> None:
        if experiment.training.compiled:
            compile_in_training(model)
        if experiment.pretraining_epochs and isinstance(model, TextClassifier):
            settings = PretrainingConfig(epochs=experiment.pretraining_epochs)
            history = pretrained(model, dataset, settings, folder, verbose)
            shutil.copyfile(history, folder / shared.PRETRAINING)
            keras.utils.set_random_seed(experiment.training.seed)

    texts = [text.encode() for text in dataset.training.texts]
    data = shared.fingerprint([*texts, dataset.training.labels.tobytes()])
    return shared.run(build, feed, experiment, data, folder, verbose, prepare)


def compile_in_training(model: keras.Model) -> None:
    """Have XLA compile the LSTMs of ``model`` for each shape of a batch that they are trained on."""
    for layer in model.layers:
        if isinstance(layer, GatedLSTM):
            layer.jit_compile = "training"


def baselines(dataset: TextDataset) -> dict[str, float]:
    """Accuracy on the test texts of what needs no LSTM, by name."""
    phrases = count_phrases(dataset)
    return {
        "NB-SVM on one to three words": naive_bayes_svm_baseline(phrases).accuracy,
        "logistic regression on TF-IDF of one to three words": tfidf_baseline(phrases).accuracy,
        "most frequent class": majority_baseline(dataset).accuracy,
    }
