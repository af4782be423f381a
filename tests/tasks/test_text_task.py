"""What runs of text models have of their own: a vocabulary of the training texts alone, and buckets of ids."""

import json

import numpy as np
import pytest

from lstm_zoo import experiment as shared
from lstm_zoo.config import override
from lstm_zoo.data import imdb, small_texts
from lstm_zoo.data.texts import TextDataset, split_of
from lstm_zoo.evaluation import evaluate
from lstm_zoo.frontends.text import SPECIAL_TOKENS
from lstm_zoo.models import keras_lstm, sentiment
from lstm_zoo.tasks.text import NO_VOCABULARY, TextExperiment, baselines, fit_to, run

SMALL = {"embedding": 8, "units": 8, "epochs": 2, "batch_size": 8, "vocabulary_size": 100, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return imdb.load(small_texts.write_imdb(tmp_path_factory.mktemp("imdb")))


@pytest.fixture(scope="module")
def experiment(dataset):
    return fit_to(override(TextExperiment(), SMALL | {"average": 0.5, "word_dropout": 0.0}), dataset)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, dataset, experiment):
    folder = tmp_path_factory.mktemp("run")
    longer = override(experiment, {"epochs": 6})
    return folder, longer, run(lambda: sentiment.build(longer.model), longer, dataset, folder, verbose=0)


def test_vocabulary_is_that_of_the_training_texts():
    training = split_of(["Good film", "A bad film"], [1, 0], "ab")
    others = split_of(["Unseen film", "Never seen"], [1, 0], "cd")
    tiny = TextDataset("tiny", ("bad", "fair", "good"), training, others, others)
    fitted = fit_to(TextExperiment(vocabulary_size=6), tiny)
    assert TextExperiment().model.vocabulary == NO_VOCABULARY
    assert fitted.model.vocabulary == (*SPECIAL_TOKENS, "film", "a", "bad")
    assert fitted.model.labels == ("bad", "fair", "good")
    assert fitted.replace(model=TextExperiment().model) == TextExperiment(vocabulary_size=6)


def test_subwords_have_their_own_vocabulary(dataset):
    pytest.importorskip("tensorflow_text")
    fitted = fit_to(override(TextExperiment(), {"tokenizer": "subwords", "vocabulary_size": 60}), dataset)
    assert fitted.model.vocabulary[:3] == SPECIAL_TOKENS
    assert len(fitted.model.vocabulary) <= 60
    assert any(piece.startswith("##") for piece in fitted.model.vocabulary)


def test_generated_texts_are_learned(dataset, finished):
    _, _, model = finished
    assert evaluate(model, dataset).accuracy >= 0.9  # and 0.5 is the most frequent class


def test_finished_run_is_read_back(dataset, finished, monkeypatch):
    folder, experiment, model = finished
    monkeypatch.setattr(shared, "train", None)
    again = run(lambda: sentiment.build(experiment.model), experiment, dataset, folder, verbose=0)
    np.testing.assert_array_equal(model.predict(["A good film."]), again.predict(["A good film."]))
    stored = json.loads((folder / "experiment.json").read_text())["experiment"]
    assert TextExperiment.create(stored) == experiment


@pytest.mark.parametrize("change", ["vocabulary", "labels", "texts"])
def test_run_with_another_vocabulary_or_other_texts_is_another_run(dataset, experiment, tmp_path, monkeypatch, change):
    fed = []
    monkeypatch.setattr(shared, "train", lambda model, *feed, **_: fed.append(feed))

    def once(experiment, dataset):
        run(lambda: sentiment.build(experiment.model), experiment, dataset, tmp_path, verbose=0)

    once(experiment, dataset)
    once(experiment, dataset)
    assert len(fed) == 1
    training = dataset.training
    if change == "vocabulary":
        words = (*experiment.model.vocabulary[:-1], "another")
        experiment = experiment.replace(model=experiment.model.replace(vocabulary=words))
    texts = ("Another text", *training.texts[1:]) if change == "texts" else training.texts
    labels = 1 - training.labels if change == "labels" else training.labels
    changed = split_of(texts, labels.tolist(), training.names)
    once(experiment, TextDataset("imdb", dataset.label_names, changed, dataset.validation, dataset.testing))
    assert len(fed) == 2


def test_feed_crops_training_and_leaves_validation_whole(dataset, experiment, tmp_path, monkeypatch):
    fed = []
    monkeypatch.setattr(shared, "train", lambda model, *feed, **_: fed.extend(feed))
    short = override(experiment, {"crop": 7, "batch_size": 4})
    run(lambda: sentiment.build(short.model), short, dataset, tmp_path, verbose=0)
    batches, steps, validation, *_ = fed
    lengths = [ids.shape for ids, _ in batches.take(steps).as_numpy_iterator()]
    assert max(time for _, time in lengths) == 7
    assert max(rows for rows, _ in lengths) == 4
    assert sum(rows for rows, _ in lengths) == len(dataset.training)
    model = sentiment.build(short.model)
    whole = max(len(model.tokenize([text])[0]) for text in dataset.validation.texts)
    assert max(ids.shape[1] for ids, _ in validation.as_numpy_iterator()) == whole > 7


def test_compiled_training_has_few_shapes_and_compiles_them(dataset, experiment, tmp_path, monkeypatch):
    fed = []
    monkeypatch.setattr(shared, "train", lambda *given, **_: fed.extend(given))
    short = override(experiment, {"compiled": True, "batch_size": 4})
    run(lambda: sentiment.build(short.model), short, dataset, tmp_path, verbose=0)
    model, batches, steps, *_ = fed
    shapes = {ids.shape for ids, _ in batches.take(steps).as_numpy_iterator()}
    lengths = {time for _, time in shapes}
    assert len(shapes) <= 2 * len(lengths) < len({len(ids) for ids in model.tokenizer(dataset.training.texts).numpy()})
    assert {model.get_layer(name).jit_compile for name in ("forward", "backward")} == {"training"}


def test_baselines_are_named(dataset):
    found = baselines(dataset)
    assert list(found) == [
        "NB-SVM on one to three words", "logistic regression on TF-IDF of one to three words", "most frequent class",
    ]  # fmt: skip
    assert found["most frequent class"] == 0.5
    assert min(list(found.values())[:2]) > 0.9


@pytest.mark.parametrize("bidirectional", [True, False])
def test_yardstick_is_kerass_lstm_behind_a_mask(experiment, bidirectional):
    config = experiment.model.replace(bidirectional=bidirectional)
    model = keras_lstm.build(config)
    kinds = {type(layer).__name__ for layer in model.layers}
    assert {"Embedding", "Bidirectional" if bidirectional else "LSTM", "Dense"} <= kinds
    assert "GatedLSTM" not in kinds
    short, padded = model.predict(np.array([[1, 5, 6]])), model.predict(np.array([[1, 5, 6, 0, 0]]))
    np.testing.assert_allclose(short, padded, atol=1e-6)
    unmasked = keras_lstm.build(config, mask=False)
    unmasked.set_weights(model.get_weights())
    np.testing.assert_allclose(unmasked.predict(np.array([[1, 5, 6]])), short, atol=1e-6)
    assert np.abs(unmasked.predict(np.array([[1, 5, 6, 0, 0]])) - padded).max() > 1e-6
    assert model.predict(["a text", "another"]).shape == (2, 2)
