"""MediaPipe Tasks takes the files of the profiles made for it, with labels and vocabulary from their metadata."""

import ctypes
import itertools
import os
import re
import sys
import tarfile
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mediapipe.tasks.python import BaseOptions, audio, text
from mediapipe.tasks.python.components.containers import AudioData

import lstm_zoo
from lstm_zoo.artifact import shipped_folder
from lstm_zoo.exporters.metadata import TextMetadata
from lstm_zoo.frontends.text import build_vocabulary
from lstm_zoo.models.sentiment import SentimentConfig, build
from lstm_zoo.shipping import SENTENCES

LENGTH = 12
METADATA = TextMetadata(
    labels=("bad", "mixed", "good"),
    vocabulary=("<PAD>", "<START>", "<UNKNOWN>", "a", "film", "not", "good", "bad", "don't", "see", "it", "Good"),
)
TEXTS = [
    "a good film",
    "not a good film",
    "don't see it!",
    "Good, bad ... GOOD",
    "naïve",
    "bad " * 20,
    "",
    "a good film",
]


@pytest.fixture(autouse=True)
def _libraries(missing):
    """MediaPipe's own library loads these two on Linux, whatever it is used for."""
    try:
        for library in ("libEGL.so.1", "libGLESv2.so.2") if sys.platform == "linux" else ():
            ctypes.CDLL(library)
    except OSError as error:
        missing(f"MediaPipe needs {error}; apt-get install libegl1 libgles2")


def by_label(classifications):
    """``{label: score}`` of the one head."""
    return {category.category_name: category.score for category in classifications.categories}


def audio_classifier(file):
    return audio.AudioClassifier.create_from_options(
        audio.AudioClassifierOptions(base_options=BaseOptions(model_asset_path=str(file)))
    )


def text_classifier(file):
    return text.TextClassifier.create_from_options(
        text.TextClassifierOptions(base_options=BaseOptions(model_asset_path=str(file)))
    )


def heard(classifier, samples):
    """``(seconds, {label: score})`` of each window that MediaPipe cuts."""
    results = classifier.classify(AudioData.create_from_array(samples, 16_000))
    return [(result.timestamp_ms / 1000, by_label(result.classifications[0])) for result in results]


def assert_scores(scores, labels, expected):
    assert set(scores) == set(labels)
    np.testing.assert_allclose([scores[label] for label in labels], expected, atol=1e-5, rtol=0)


def test_audio_classifier_answers_as_keras_in_any_order(speech, exported, clips):
    expected = np.asarray(speech(keras.ops.convert_to_tensor(clips)))
    with audio_classifier(exported(speech, "mediapipe")) as classifier:
        for each in (0, 3, 0, 1, 4, 2, 2, 0):
            ((start, scores),) = heard(classifier, clips[each])
            assert start == 0.0
            assert_scores(scores, speech.labels, expected[each])


def test_audio_classifier_cuts_a_recording_into_clips(speech, exported, clips):
    expected = np.asarray(speech(keras.ops.convert_to_tensor(clips)))
    with audio_classifier(exported(speech, "mediapipe")) as classifier:
        windows = heard(classifier, clips.reshape(-1))
    assert [start for start, _ in windows] == [0.0, 1.0, 2.0, 3.0, 4.0]
    for (_, scores), row in zip(windows, expected, strict=True):
        assert_scores(scores, speech.labels, row)


@pytest.mark.parametrize("quantize", ["float16", "dynamic_int8", "int8"])
def test_audio_classifier_takes_quantised_files(speech_tiny, exported, clips, quantize):
    expected = np.asarray(speech_tiny(keras.ops.convert_to_tensor(clips)))
    with audio_classifier(exported(speech_tiny, "mediapipe", quantize)) as classifier:
        answers = [heard(classifier, clips[each])[0][1] for each in (2, 0, 2, 1, 3)]
    assert answers[0] == answers[2]
    words = [max(scores, key=scores.get) for scores in answers]
    assert words == [speech_tiny.labels[expected[each].argmax()] for each in (2, 0, 2, 1, 3)]


def test_audio_classifier_takes_the_universal_profile(speech_tiny, exported, clips):
    expected = np.asarray(speech_tiny(keras.ops.convert_to_tensor(clips)))
    with audio_classifier(exported(speech_tiny, "universal")) as classifier:
        for each in (1, 0, 1):
            assert_scores(heard(classifier, clips[each])[0][1], speech_tiny.labels, expected[each])


def test_mediapipe_refuses_loops(speech_tiny, exported):
    with pytest.raises(ValueError, match="single subgraph"):
        audio_classifier(exported(speech_tiny, "default"))


def tokens(sentence):
    """What MediaPipe documents of its tokenizer, in Python: int32 ``[LENGTH]``."""
    words = [word for word in re.split(METADATA.delimiter, sentence, flags=re.ASCII) if word]
    known = {token: number for number, token in enumerate(METADATA.vocabulary)}
    ids = [known["<START>"], *(known.get(word, known["<UNKNOWN>"]) for word in words)][:LENGTH]
    return np.array(ids + [known["<PAD>"]] * (LENGTH - len(ids)), "int32")


@pytest.fixture(scope="module")
def text_model() -> keras.Model:
    keras.utils.set_random_seed(5)
    ids = keras.Input((LENGTH,), dtype="int32", name="ids")
    x = keras.layers.Embedding(len(METADATA.vocabulary), 8, embeddings_initializer="random_normal")(ids)
    x = keras.layers.LSTM(8, kernel_initializer="random_normal", recurrent_initializer="random_normal")(x)
    model = keras.Model(ids, keras.layers.Dense(3, activation="softmax", name="scores")(x), name="text")
    for variable in model.weights:
        variable.assign(20 * variable)  # small initial weights make all answers alike
    return model


@pytest.mark.parametrize("profile", ["mediapipe", "universal"])
def test_text_classifier_tokenizes_and_answers_as_keras(text_model, profile, tmp_path):
    ids = np.stack([tokens(sentence) for sentence in TEXTS])
    expected = np.asarray(text_model(ids))
    assert len(set(expected.argmax(axis=1))) > 1
    file = tmp_path / "text.tflite"
    lstm_zoo.export(text_model, file, profile=profile, metadata=METADATA, check_inputs=ids)
    with text_classifier(file) as classifier:
        for sentence, row in zip(TEXTS, expected, strict=True):
            (classifications,) = classifier.classify(sentence).classifications
            assert_scores(by_label(classifications), METADATA.labels, row)
            assert classifications.categories[0].category_name == METADATA.labels[row.argmax()]


# === Texts that a model of the zoo cuts itself ===

REVIEWS = [
    "This is a great movie, one of the best I've seen!<br /><br />GREAT acting; don't miss it.",
    "This isn't a good movie. It's dull, and I don't know what they've done to the book...",
    "Great fun! It's the best film of the year, and the children's favourite.",
    "What a waste of time: not one good scene in it, the acting is bad and the end is worse.",
    "I've seen it 3 times. Don't miss this one: the end isn't what you'd think. It's naïve, but good.",
]
IMDB = Path(os.environ.get("LSTM_ZOO_DATA", "")) / "sentiment" / "imdb" / "aclImdb.tar.xz"
TOKENS = 64  # that the exported file reads
PARTS = [
    *"'’<>/ab 3_.\n\té😀❤\ufe0f",
    "<br />",
    "</b>",
    "great ",
    "GREAT",
    "don't",
    "it's ",
    " the ",
    "naïve",
    "e\u0301",
]
# Characters that this Python knows; no half surrogates, which are no text, and no NUL, at which MediaPipe stops.
ANYTHING = st.characters(min_codepoint=1, exclude_categories=["Cs", "Cn"])
NASTY = [
    "",
    " \t\r\n ",
    "'",
    "'''great'''",
    "'tis the children's' end' 'it's' don''t ’it’s’ it’s don’t'",
    "great'<br />'end <b>'it's'</b>' <i>great</i>end",
    "<br/>great</br><BR CLASS='x y'>end <unclosed great",
    "3 < 4 > 2, great<end, <3 great, <>end</>",
    "GREAT Great great gREAT",
    "great\tend\r\ngreat\x0b\x0cend\x01great\x7fend\x85great\u2028end\u200bgreat\ufeffend",
    "snake_case _great_ great-end 9/10 3times ١٢٣ ½ x² Ⅷ",
    "great😀end ❤️great👍🏽 👩‍👩‍👧 🇩🇪 1️⃣ great",
    "𝐠𝐫𝐞𝐚𝐭 great 𠀀 end",
    "שלום great עולם، مرحبا؟ \u202egreat\u202c end",
    "不错。很好great!\u3000end こんにちは हिन्दी ไทย",
    "naïve nai\u0308ve NAÏVE ﬁlm ß İ",
    "<PAD> <START> <UNKNOWN> great",
    "great " * 200,
    "'" * 1000 + "great",
    "x" * 5000 + " end",
    "don't" * 1000,
    "<br />" * 1000 + "great",
]


@pytest.fixture(scope="module")
def sentiment() -> keras.Model:
    """Untrained, with weights so large that each word and its place change the answer."""
    vocabulary = build_vocabulary(REVIEWS, 100, spelling=1)
    model = build(SentimentConfig(labels=("bad", "mixed", "good"), vocabulary=vocabulary, embedding=8, units=8))
    generator = np.random.default_rng(5)
    for variable in model.weights:
        variable.assign(generator.normal(0.0, 0.7, variable.shape))
    return model


@pytest.fixture(scope="module")
def sentiment_classifier(sentiment, tmp_path_factory):
    file = tmp_path_factory.mktemp("sentiment") / "sentiment.tflite"
    lstm_zoo.export(sentiment, file, profile="mediapipe", samples=TOKENS)
    with text_classifier(file) as classifier:
        yield classifier


def assert_answers_as_python(classifier, model, sentences):
    """Python reads as many tokens as the file does."""
    ids = [model.tokenize(sentence)[0, :TOKENS] for sentence in sentences]
    expected = np.asarray(model(np.stack([np.pad(row, (0, TOKENS - len(row))) for row in ids])))
    for sentence, row in zip(sentences, expected, strict=True):
        (classifications,) = classifier.classify(sentence).classifications
        assert_scores(by_label(classifications), model.labels, row)


def test_each_word_and_its_place_change_the_answer(sentiment):
    """Or the tests below would not see a text that is cut in another way."""
    words = [line.split()[0] for line in sentiment.config.vocabulary[3:]]
    orders = map(" ".join, itertools.permutations(words[:5]))
    answers = sentiment.predict(["", "unknown", *words, *orders, "great unknown", "unknown great"])
    apart = np.abs(answers[:, None] - answers[None]).max(axis=-1) + np.eye(len(answers))
    assert apart.min() > 2e-5


def test_text_classifier_reads_nasty_texts_as_python(sentiment, sentiment_classifier):
    assert_answers_as_python(sentiment_classifier, sentiment, [*NASTY, *REVIEWS, *NASTY[::-1]])


@settings(max_examples=200, deadline=None)
@given(sentence=st.lists(st.sampled_from(PARTS) | ANYTHING, max_size=40).map("".join))
def test_text_classifier_reads_any_text_as_python(sentiment, sentiment_classifier, sentence):
    assert_answers_as_python(sentiment_classifier, sentiment, [sentence])


@pytest.mark.skipif(not IMDB.exists(), reason="LSTM_ZOO_DATA has no IMDB reviews")
def test_text_classifier_reads_reviews_as_python(sentiment, sentiment_classifier):
    with tarfile.open(IMDB) as members:
        files = (member for member in members if re.fullmatch(r"aclImdb/.*/\d+_\d+\.txt", member.name))
        reviews = [members.extractfile(file).read().decode() for file in itertools.islice(files, 0, 500, 10)]
    assert len(set(reviews)) == 50
    assert_answers_as_python(sentiment_classifier, sentiment, reviews)


def test_mediapipe_ends_a_text_at_nul(sentiment, sentiment_classifier):
    (classifications,) = sentiment_classifier.classify("great\0 end").classifications
    assert_scores(by_label(classifications), sentiment.labels, sentiment.predict("great")[0])
    assert np.abs(sentiment.predict("great\0 end") - sentiment.predict("great end")).max() < 1e-6


@pytest.mark.parametrize("name", ["sentiment", "sentiment_tiny"])
def test_the_files_that_come_with_the_models_say_what_python_says(name):
    """Those with 8-bit weights, as an app would bundle them."""
    model = lstm_zoo.get(name)
    sentences = [*model.golden_input, *REVIEWS[:4], *SENTENCES]
    expected = model.predict(sentences, verbose=0)
    assert len(set(expected.argmax(axis=1))) == 2
    with text_classifier(shipped_folder(name) / f"{name}_int8.tflite") as classifier:
        for sentence, row in zip(sentences, expected, strict=True):
            (classifications,) = classifier.classify(sentence).classifications
            scores = by_label(classifications)
            assert max(scores, key=scores.get) == model.labels[row.argmax()]
            assert scores["positive"] == pytest.approx(row[1], abs=0.1)
