"""The linear baselines against formulas and scikit-learn's own pipeline, and what they may know."""

import dataclasses
import sys

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from lstm_zoo.data import imdb, small_texts, sst
from lstm_zoo.data.texts import TextDataset, split_of
from lstm_zoo.errors import MissingExtraError
from lstm_zoo.tasks import text_baselines
from lstm_zoo.tasks.text_baselines import count_phrases, naive_bayes_svm_baseline, tfidf_baseline

BASELINES = (tfidf_baseline, naive_bayes_svm_baseline)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return imdb.load(small_texts.write_imdb(tmp_path_factory.mktemp("imdb")))


def tiny(training: list[str], labels: list[int], testing: list[str], expected: list[int]) -> TextDataset:
    split = split_of(training, labels, map(str, range(len(training))))
    asked = split_of(testing, expected, [f"test/{number}" for number in range(len(testing))])
    return TextDataset("tiny", ("negative", "positive"), split, split, asked)


def test_phrases_have_one_to_three_words_and_are_in_two_training_texts():
    dataset = tiny(["It's <b>so</b> good!", "IT'S so Good", "never"], [1, 1, 0], ["so good, so good never"], [1])
    counts = count_phrases(dataset).counts
    assert counts["training"].shape == (3, 6)  # it's, so, good, it's so, so good, it's so good
    assert sorted(counts["testing"].toarray()[0]) == [0, 0, 0, 2, 2, 2]  # so, good, so good
    assert set(counts) == {"training", "validation", "testing"}


def test_tfidf_is_scikit_learns(dataset, monkeypatch):
    monkeypatch.setattr(text_baselines, "TFIDF_PENALTIES", (5.0,))
    words = [[b" ".join(row).decode() for row in text_baselines.split_words(list(split.texts)).to_list()]
             for split in (dataset.training, dataset.testing)]  # fmt: skip
    vectorizer = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 3), min_df=2, sublinear_tf=True)
    regression = LogisticRegression(C=5.0, solver="liblinear")
    regression.fit(vectorizer.fit_transform(words[0]), dataset.training.labels)
    answers = regression.predict(vectorizer.transform(words[1]))
    expected = float(np.mean(answers == dataset.testing.labels))
    found = tfidf_baseline(count_phrases(dataset))
    assert found.accuracy == pytest.approx(expected)
    assert found.examples == len(dataset.testing)


def test_machine_is_wang_and_mannings():
    """Weights by the paper's formulas, with scikit-learn's support vector machine in between."""
    generator = np.random.default_rng(0)
    present = (generator.random((40, 6)) < np.linspace(0.2, 0.8, 6)).astype(float)
    labels = present[:, 0] + present[:, 5] + generator.random(40) > 1.2
    import scipy.sparse

    weights, bias = text_baselines._machine(scipy.sparse.csr_matrix(present), labels, 0.3)
    p, q = 1 + present[labels].sum(axis=0), 1 + present[~labels].sum(axis=0)
    ratio = np.log((p / p.sum()) / (q / q.sum()))
    machine = LinearSVC(C=0.3, tol=0.1, random_state=0).fit(present * ratio, labels)
    mean = np.abs(machine.coef_[0]).sum() / 6
    expected = 0.75 * mean + 0.25 * machine.coef_[0]
    np.testing.assert_allclose(weights, ratio * expected, rtol=1e-6)
    assert bias == pytest.approx(machine.intercept_[0])


@pytest.mark.parametrize("baseline", BASELINES)
def test_baselines_learn_from_training_alone(dataset, baseline):
    assert baseline(count_phrases(dataset)).accuracy > 0.9
    assert baseline(count_phrases(dataset, "validation")).examples == len(dataset.validation)
    turned = dataclasses.replace(dataset.training, labels=1 - dataset.training.labels)
    assert baseline(count_phrases(dataclasses.replace(dataset, training=turned))).accuracy < 0.1


@pytest.mark.parametrize("baseline", BASELINES)
def test_five_classes_can_be_told_apart(tmp_path, baseline):
    dataset = sst.load(small_texts.write_sst(tmp_path), classes=5)
    found = baseline(count_phrases(dataset))
    assert found.labels == dataset.label_names
    assert found.accuracy > 0.6  # chance is 0.2


@pytest.mark.parametrize(
    ("baseline", "penalties"), [(tfidf_baseline, "TFIDF_PENALTIES"), (naive_bayes_svm_baseline, "SVM_PENALTIES")]
)
def test_penalty_is_chosen_on_validation(dataset, baseline, penalties, monkeypatch):
    """Of a penalty that leaves nothing to be learned and one that does, the second is taken, whatever the order."""
    for order in ((1e-9, 1.0), (1.0, 1e-9)):
        monkeypatch.setattr(text_baselines, penalties, order)
        assert baseline(count_phrases(dataset)).accuracy > 0.9


def test_missing_scikit_learn_says_what_to_install(dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lstm-zoo\[notebooks\]'"):
        count_phrases(dataset)
