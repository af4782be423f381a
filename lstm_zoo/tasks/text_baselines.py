"""Linear models of words and phrases, which a text classifier has to beat; they read a text as the word models do."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstm_zoo.data.texts import TextDataset, TextSplit
from lstm_zoo.errors import MissingExtraError
from lstm_zoo.evaluation import Evaluation, score
from lstm_zoo.frontends.text import split_words

LENGTHS = (1, 3)  # words of a phrase
MIN_TEXTS = 2  # phrases of fewer training texts are left out
TEXTS_AT_ONCE = 1_000
TFIDF_PENALTIES = (1.0, 5.0, 20.0, 100.0, 400.0)  # scikit-learn's C: the larger, the weaker the penalty
SVM_PENALTIES = (0.01, 0.1, 1.0)
LIBLINEAR_TOLERANCE = 0.1  # its own default; with scikit-learn's, which is far lower, it takes long and does not end
INTERPOLATION = 0.25  # beta of Wang and Manning

Answer = Callable[[Any], np.ndarray]  # features [texts, phrases] to class numbers [texts]


@dataclass(frozen=True)
class Phrases:
    """How often each text has each phrase of the training texts; made by :func:`count_phrases`.

    Attributes:
        split: name of the split that baselines are asked about.
        counts: sparse float32 ``[texts, phrases]`` by name of split: "training", "validation" and ``split``.
    """

    dataset: TextDataset
    split: str
    counts: Mapping[str, Any]


def count_phrases(dataset: TextDataset, split: str = "testing") -> Phrases:
    """Count the phrases of one to three words, without regard to case.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    vectorizer = _sklearn("feature_extraction.text").CountVectorizer(
        token_pattern=r"\S+", ngram_range=LENGTHS, min_df=MIN_TEXTS, dtype=np.float32
    )
    counts = {"training": vectorizer.fit_transform(_words(dataset.training))}
    counts |= {part: vectorizer.transform(_words(dataset.splits[part])) for part in {"validation", split}}
    return Phrases(dataset, split, counts)


def tfidf_baseline(phrases: Phrases) -> Evaluation:
    """Logistic regression on the TF-IDF of phrases, with the penalty that is best on validation."""
    text, linear_model = _sklearn("feature_extraction.text"), _sklearn("linear_model")
    weighing = text.TfidfTransformer(sublinear_tf=True).fit(phrases.counts["training"])
    features = {part: weighing.transform(counts) for part, counts in phrases.counts.items()}

    def fit(penalty: float) -> Answer:
        regression = linear_model.LogisticRegression(C=penalty, solver="liblinear")
        classifier = _sklearn("multiclass").OneVsRestClassifier(regression)
        return classifier.fit(features["training"], phrases.dataset.training.labels).predict

    return _best(phrases, features, fit, TFIDF_PENALTIES)


def naive_bayes_svm_baseline(phrases: Phrases) -> Evaluation:
    r"""NB-SVM of Wang and Manning 2012 (https://aclanthology.org/P12-2018), with the penalty best on validation.

    A linear support vector machine on which phrases a text has, each scaled by its log-count ratio

    .. math:: r = \log\frac{p / \lVert p \rVert_1}{q / \lVert q \rVert_1}

    where :math:`p` and :math:`q` are one more than the number of texts that have the phrase, of the class and of the
    others. The weights are drawn towards their mean size: :math:`w' = (1 - \beta) \bar w + \beta w`.
    """
    features = {part: (counts > 0).astype(np.float64) for part, counts in phrases.counts.items()}
    labels = phrases.dataset.training.labels

    def fit(penalty: float) -> Answer:
        machines = [
            _machine(features["training"], labels == label, penalty)
            for label in range(len(phrases.dataset.label_names))
        ]
        return lambda present: np.stack([present @ weights + bias for weights, bias in machines], 1).argmax(axis=1)

    return _best(phrases, features, fit, SVM_PENALTIES)


def _machine(present: Any, in_class: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Weights ``[phrases]`` and bias of one class against the others; ``present`` is 0 or 1, ``[texts, phrases]``."""
    inside, outside = (np.asarray(present[rows].sum(axis=0)).ravel() + 1.0 for rows in (in_class, ~in_class))
    ratio = np.log(inside / inside.sum()) - np.log(outside / outside.sum())
    machine = _sklearn("svm").LinearSVC(C=penalty, tol=LIBLINEAR_TOLERANCE, random_state=0)
    (weights,) = machine.fit(present.multiply(ratio).tocsr(), in_class).coef_
    drawn = (1.0 - INTERPOLATION) * np.abs(weights).mean() + INTERPOLATION * weights
    return ratio * drawn, float(machine.intercept_[0])


def _best(
    phrases: Phrases, features: Mapping[str, Any], fit: Callable[[float], Answer], penalties: Iterable[float]
) -> Evaluation:
    """The answers on the split that was asked about, of the penalty that is best on validation."""
    dataset = phrases.dataset

    def accuracy(answer: Answer) -> float:
        return float(np.mean(answer(features["validation"]) == dataset.validation.labels))

    best = max(map(fit, penalties), key=accuracy)
    return score(dataset.label_names, dataset.splits[phrases.split].labels, best(features[phrases.split]))


def _words(split: TextSplit) -> Iterable[str]:
    """Each text as its words with spaces between them."""
    for start in range(0, len(split), TEXTS_AT_ONCE):
        for words in split_words(list(split.texts[start : start + TEXTS_AT_ONCE])).to_list():
            yield b" ".join(words).decode()


def _sklearn(module: str) -> Any:
    try:
        return importlib.import_module(f"sklearn.{module}")
    except ImportError:
        raise MissingExtraError("scikit-learn", "notebooks", "the linear baselines") from None
