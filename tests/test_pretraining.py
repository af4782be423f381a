"""Language models in front of a classifier: what they guess, what they leave in it, and that it is made once."""

import csv

import keras
import numpy as np
import pytest
from tiny import WORDS

from lstm_zoo import experiment as shared
from lstm_zoo import pretraining
from lstm_zoo.config import override
from lstm_zoo.data.texts import TextDataset, split_of
from lstm_zoo.models import sentiment
from lstm_zoo.models.sentiment import SentimentConfig
from lstm_zoo.pretraining import LanguageModel, PretrainingConfig, pretrained
from lstm_zoo.tasks.text import TextExperiment, run

SETTINGS = PretrainingConfig(seed=3, epochs=30, batch_size=4, crop=20, learning_rate=2e-2, dropout=0.0, negatives=5)
SENTENCE = "a great film not so dull don't"  # each word has one that follows it and one before it


def classifier(**changes):
    keras.utils.set_random_seed(3)
    return sentiment.build(SentimentConfig(vocabulary=WORDS, embedding=6, units=8, **changes))


@pytest.fixture(scope="module")
def dataset():
    """Training and test texts of the same words, in which a word tells the next one."""
    texts = [" ".join([SENTENCE] * 3)] * 24
    splits = [split_of(texts, [0, 1] * 12, [f"{part}:{number}" for number in range(24)]) for part in "abc"]
    return TextDataset("repeated", ("negative", "positive"), *splits)


def history(folder):
    with folder.open(newline="") as file:
        return [float(row["val_loss"]) for row in csv.DictReader(file)]


def test_forwards_the_next_token_is_right_and_backwards_the_one_before():
    model = LanguageModel(classifier(), SETTINGS)
    ids = np.array([[1, 5, 6, 7, 0, 0], [1, 8, 0, 0, 0, 0]], "int32")
    (guesses, right), (guesses_back, right_back) = model(ids)
    np.testing.assert_array_equal(right, [5, 6, 7, 8])
    np.testing.assert_array_equal(right_back, [6, 5, 1, 1])
    assert guesses.shape == guesses_back.shape == (4, 6)


def test_no_guess_sees_what_it_guesses():
    model = LanguageModel(classifier(), SETTINGS)

    def guesses(*ids):
        (forward, _), (backward, _) = model(np.array([ids], "int32"))
        return np.asarray(forward), np.asarray(backward)

    forward, backward = guesses(1, 5, 6, 7)
    other_end, other_end_back = guesses(1, 5, 6, 4)  # the last token is guessed forwards, and read backwards
    np.testing.assert_array_equal(forward, other_end)
    assert not np.allclose(backward[0], other_end_back[0])
    other_start, other_start_back = guesses(1, 8, 6, 7)  # read forwards; backwards the guess after 7 and 6
    np.testing.assert_array_equal(backward[:2], other_start_back[:2])
    assert not np.allclose(forward[1], other_start[1])


def test_one_direction_has_one_language_model():
    model = LanguageModel(classifier(bidirectional=False), SETTINGS)
    assert len(model(np.array([[1, 5, 6]], "int32"))) == 1


def test_words_that_follow_each_other_are_learnt(dataset, tmp_path):
    """From the loss of a guess among all words to next to none."""
    model = classifier()
    before = {layer.name: layer.get_weights() for layer in model.layers}
    record = pretrained(model, dataset, SETTINGS, tmp_path / "run", verbose=0)
    losses = history(record)
    assert len(losses) == SETTINGS.epochs
    assert losses[-1] < 0.5 < 1.0 < losses[0]
    changed = {
        layer.name
        for layer in model.layers
        if any(not np.array_equal(*pair) for pair in zip(before[layer.name], layer.get_weights(), strict=True))
    }
    assert {"embedding", "forward", "backward"} <= changed
    assert "probabilities" not in changed


def test_runs_of_all_seeds_share_it_and_others_do_not(dataset, tmp_path, monkeypatch):
    short = SETTINGS.replace(epochs=1)
    first, second = classifier(), classifier()
    pretrained(first, dataset, short, tmp_path / "run", verbose=0)
    made = []
    monkeypatch.setattr(pretraining, "pretrain", lambda *given: made.append(given) or 1 / 0)
    keras.utils.set_random_seed(9)
    pretrained(second, dataset, short, tmp_path / "run", verbose=0)
    for name in ("embedding", "forward", "backward"):
        for one, other in zip(first.get_layer(name).weights, second.get_layer(name).weights, strict=True):
            np.testing.assert_array_equal(one, other)
    assert not made
    others = split_of(("another text",) * 24, [0, 1] * 12, map(str, range(24)))
    other_texts = TextDataset("others", dataset.label_names, others, dataset.validation, dataset.testing)
    for settings, texts in ((short.replace(learning_rate=1e-3), dataset), (short, other_texts)):
        with pytest.raises(ZeroDivisionError):
            pretrained(second, texts, settings, tmp_path / "run", verbose=0)


def test_it_is_the_same_whatever_run_comes_first(dataset, tmp_path):
    weights = []
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        model = sentiment.build(classifier().config)
        pretrained(model, dataset, SETTINGS.replace(epochs=1), tmp_path / str(seed) / "run", verbose=0)
        weights.append(model.get_layer("embedding").get_weights()[0])
    np.testing.assert_allclose(*weights, atol=1e-6)


def test_of_two_that_begin_at_once_the_first_to_be_done_is_kept(dataset, tmp_path, monkeypatch):
    short, whole = SETTINGS.replace(epochs=1), pretraining.pretrain
    first, second = classifier(), classifier()

    def meanwhile(*given):
        monkeypatch.setattr(pretraining, "pretrain", whole)
        pretrained(first, dataset, short, tmp_path / "quick", verbose=0)
        whole(*given)

    monkeypatch.setattr(pretraining, "pretrain", meanwhile)
    record = pretrained(second, dataset, short, tmp_path / "slow", verbose=0)
    for one, other in zip(first.get_layer("forward").weights, second.get_layer("forward").weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [file.name for file in tmp_path.glob("*") if list(file.iterdir())] == [record.parent.name]


def test_a_run_begins_with_it_and_counts_its_minutes(dataset, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(shared, "train", lambda model, *_, **__: seen.append(model.get_layer("forward").get_weights()))
    experiment = override(TextExperiment(), {"pretraining_epochs": 1, "batch_size": 4})
    experiment = experiment.replace(model=classifier().config)
    run(classifier, experiment, dataset, tmp_path / "run", verbose=0)
    (folder,) = tmp_path.glob("pretraining-*")
    with np.load(folder / "weights.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(seen[0][0], stored["forward0"])
    assert (tmp_path / "run" / shared.PRETRAINING).read_text() == (folder / shared.HISTORY).read_text()
    assert 0 < shared.minutes(tmp_path / "run") < 5


def test_where_it_cannot_be_shared_it_stays_in_the_run(dataset, tmp_path, monkeypatch):
    def other_disk(*_):
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr("pathlib.Path.rename", other_disk)
    model = classifier()
    record = pretrained(model, dataset, SETTINGS.replace(epochs=1), tmp_path / "run", verbose=0)
    assert record.parent.parent == tmp_path / "run"
    with np.load(record.parent / "weights.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(model.get_layer("forward").get_weights()[0], stored["forward0"])
