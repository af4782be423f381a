"""Scores of words are what happens without the word, and probabilities what the model says to the words so far."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tiny import options, tiny_model

from lstm_zoo import registry
from lstm_zoo.errors import InvalidInputError
from lstm_zoo.frontends.text import UNKNOWN
from lstm_zoo.inspect import WordScores, words
from lstm_zoo.inspect.shades import shade

TEXT = "A great film, so GREAT!<br />It's not plumptious or dull."
WORDS = ("A", "great", "film", "so", "GREAT", "It's", "not", "plumptious", "or", "dull")


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model("sentiment", seed=3)


@pytest.fixture(scope="module")
def found(model: Any) -> WordScores:
    return words(model, TEXT)


def said(model: Any, ids: np.ndarray) -> np.ndarray:
    return np.asarray(model(ids[None].astype("int32")))[0]


def log_odds(probabilities: np.ndarray) -> float:
    return float(np.log(probabilities[1]) - np.log(probabilities[0]))


def test_words_are_shown_as_they_are_written(found: WordScores) -> None:
    assert found.tokens == WORDS
    assert found.text == TEXT


def test_scores_are_the_change_of_the_log_odds_one_word_at_a_time(model: Any, found: WordScores) -> None:
    (ids,) = model.tokenize([TEXT])
    whole = log_odds(said(model, ids))
    for at, score in enumerate(found.scores, start=1):
        without = ids.copy()
        without[at] = UNKNOWN
        assert score == pytest.approx(whole - log_odds(said(model, without)), abs=1e-5)
    assert found.target == "positive"
    assert found.scores.dtype == np.float32
    assert len(set(found.scores.round(6))) > 5


def test_unknown_words_score_nothing(found: WordScores) -> None:
    np.testing.assert_allclose(found.scores[[WORDS.index("plumptious"), WORDS.index("or")]], 0, atol=1e-6)


def test_running_probabilities_are_those_of_the_words_so_far(model: Any, found: WordScores) -> None:
    (ids,) = model.tokenize([TEXT])
    alone = [said(model, ids[: 2 + at]) for at in range(len(WORDS))]
    np.testing.assert_allclose(found.running, alone, atol=1e-6)
    np.testing.assert_array_equal(found.running[-1], found.probabilities)
    assert found.probabilities == pytest.approx(said(model, ids), abs=1e-6)
    assert found.label == model.labels[found.probabilities.argmax()]


def test_batches_of_any_size_say_the_same(model: Any, found: WordScores, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    class Counted:
        labels, tokenizer, tokenize = model.labels, model.tokenizer, staticmethod(model.tokenize)

        def __call__(self, ids: np.ndarray) -> Any:
            sizes.append(ids.size)
            return model(ids)

    monkeypatch.setattr(sys.modules[words.__module__], "TOKENS_AT_ONCE", 3 * (1 + len(WORDS)))
    again = words(Counted(), TEXT)
    np.testing.assert_allclose(again.scores, found.scores, atol=1e-5)
    np.testing.assert_allclose(again.running, found.running, atol=1e-6)
    assert max(sizes) == 3 * (1 + len(WORDS))
    assert len(sizes) == 8


def test_of_several_labels_the_predicted_one_is_explained() -> None:
    given = options("sentiment") | {"labels": ("bad", "so-so", "good")}
    model = registry.get("sentiment", weights=None, **given)
    found = words(model, "a great film")
    assert found.target == found.label
    at = model.labels.index(found.label)
    (ids,) = model.tokenize(["a great film"])
    odds = [p[at] / (1 - p[at]) for p in (said(model, ids), said(model, np.where(np.arange(4) == 2, UNKNOWN, ids)))]
    assert found.scores[1] == pytest.approx(np.log(odds[0] / odds[1]), abs=1e-5)
    assert [line.get_label() for line in found.plot().axes[1].lines] == ["bad", "so-so", "good"]


@pytest.mark.parametrize("text", ["", " \t\n", "\U0001f600 ..."])
def test_texts_without_words_have_no_scores(model: Any, text: str) -> None:
    found = words(model, text)
    assert (found.tokens, found.scores.shape, found.running.shape) == ((), (0,), (0, 2))
    assert found.probabilities.sum() == pytest.approx(1)
    assert found.plot()._repr_png_().startswith(b"\x89PNG")
    assert found.label in found._repr_html_()


def test_text_of_one_word(model: Any) -> None:
    assert words(model, "great").scores.shape == (1,)


def test_wrong_input_is_an_error(model: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"got list, expected one text"):
        words(model, ["a text"])
    with pytest.raises(InvalidInputError, match=r"got 6 tokens, expected up to 5.*longest=6"):
        words(model, "so " * 6, longest=5)
    assert len(words(model, "so " * 6, longest=6).tokens) == 6
    with pytest.raises(InvalidInputError, match=r"model: got KeywordSpotter 'speech'.*lstm_zoo\.inspect\.gates"):
        words(tiny_model("speech"), "a text")


def test_the_picture_has_every_word_in_its_colour(found: WordScores) -> None:
    above, below = found.plot().axes
    assert [text.get_text() for text in above.texts] == list(WORDS)
    largest = np.abs(found.scores).max()
    for text, score in zip(above.texts, found.scores, strict=True):
        red, _, blue, _ = text.get_bbox_patch().get_facecolor()
        assert np.sign(round(blue - red, 2)) == (np.sign(score) if abs(score) > 0.02 * largest else 0)
    np.testing.assert_array_equal(below.lines[0].get_ydata(), found.running[:, 1])
    assert [label.get_text() for label in below.get_xticklabels()] == list(WORDS)
    assert below.get_ylabel() == "probability of positive"


def test_long_texts_are_wrapped(model: Any) -> None:
    found = words(model, "film " * 90)
    above, below = found.plot().axes
    places = [text.get_position() for text in above.texts]
    assert max(x + len("film") for x, _ in places) <= 100
    assert [y for _, y in places] == sorted(y for _, y in places)
    assert places[-1][1] == 4.5, "twenty words of four letters fill a line"
    assert len(below.get_xticks()) <= 60


def test_markup_and_formulas_are_shown_as_they_are() -> None:
    one = np.ones((1,), "float32")
    found = WordScores("", ("a", "b"), "b", ("<b>$x_$[/red]",), one, np.array([[0.2, 0.8]]), np.array([0.2, 0.8]))
    assert "<b>$x_" not in found._repr_html_()
    assert "&lt;b&gt;$x_$[/red]" in found._repr_html_()
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(found)
    assert "<b>$x_$[/red]" in console.export_text()
    assert found.plot()._repr_png_()


def test_a_terminal_gets_words_and_a_table_of_the_strongest(found: WordScores) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(found)
    shown = console.export_text()
    assert found.heading in shown
    assert " ".join(WORDS) in shown
    strongest = found.strongest[0]
    assert np.abs(found.scores).argmax() == strongest
    assert f"{found.scores[strongest]:+.3f}" in shown


def test_colours() -> None:
    assert shade(0) == ("#ffffff", "#000000")
    assert shade(1) == ("#2166ac", "#ffffff")
    assert shade(-2) == ("#b2182b", "#ffffff")


def test_models_of_subwords_show_their_pieces() -> None:
    model = tiny_model("sentiment_subword")
    found = words(model, "a Great film, greatly")
    assert found.tokens == tuple(model.tokenizer.tokens("a Great film, greatly"))[1:]
    assert found.tokens[-2:] == ("great", "##ly")
    assert found.scores.shape == (len(model.tokenize("a Great film, greatly")[0]) - 1,)
