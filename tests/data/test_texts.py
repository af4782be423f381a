"""Labelled texts: splits that share no text, tables of what is there, datasets by their names."""

import io
import subprocess
import sys

import numpy as np
import pytest

from lstm_zoo import data
from lstm_zoo.data import SPLITS
from lstm_zoo.data.texts import TextDataset, TextSplit, dataset_of, split_of
from lstm_zoo.errors import DataError, UnknownNameError

NAMES = ("imdb", "sst2", "sst5", "movie_reviews")


def split(*texts: str) -> TextSplit:
    return split_of(texts, [number % 2 for number in range(len(texts))], [f"{id(texts)}:{text}" for text in texts])


@pytest.mark.parametrize("name", NAMES)
def test_every_dataset_is_loaded_by_its_name(generated, archives, name):
    dataset, again = data.load(name, generated), data.load(name, archives)
    assert dataset.name == name
    names = [each for part in dataset.splits.values() for each in part.names]
    assert len(set(names)) == len(names)
    for chosen, part in dataset.splits.items():
        assert part.labels.dtype == np.int32
        assert len(part) == len(part.labels) == len(part.names)
        assert min(dataset.counts()[chosen].values()) > 0
        assert (part.texts, part.names) == (again.splits[chosen].texts, again.splits[chosen].names)
        np.testing.assert_array_equal(part.labels, again.splits[chosen].labels)


def test_other_names_are_refused(generated):
    with pytest.raises(UnknownNameError, match="unknown dataset 'sst': did you mean 'sst"):
        data.load("sst", generated)
    assert data.load("fsdd", generated).name == "fsdd"


def test_where_keeps_order_labels_and_names():
    chosen = split("a", "b", "c", "d").where([False, True, False, True])
    assert chosen.texts == ("b", "d")
    assert chosen.labels.tolist() == [1, 1]
    assert [name.split(":")[1] for name in chosen.names] == ["b", "d"]
    assert len(split("a").where([False])) == 0


def test_without_compares_without_case_and_spaces():
    left = split("A good  film .", "a good film", "Bad", "worse").without(split("a good film."), split("BAD "))
    assert left.texts == ("a good film", "worse")


def test_summary_has_every_count(generated):
    from rich.console import Console

    dataset = data.load("sst5", generated)
    stream = io.StringIO()
    Console(file=stream, width=100).print(dataset.summary())
    rows = [line.replace("│", " ").split() for line in stream.getvalue().splitlines()]
    for label in dataset.label_names:
        assert [*label.split(), *(str(dataset.counts()[part][label]) for part in SPLITS)] in rows
    assert ["all", *(str(len(part)) for part in dataset.splits.values())] in rows
    assert "sst5, texts of" in stream.getvalue()


def test_class_without_texts_is_named(tmp_path):
    parts = split("a", "b"), split("a"), split("a", "b")
    with pytest.raises(DataError, match="has no texts for validation that are: positive; fetch"):
        dataset_of(tmp_path, "imdb", ("negative", "positive"), *parts)
    whole = TextDataset("imdb", ("negative", "positive"), *parts)
    assert whole.counts()["validation"] == {"negative": 1, "positive": 0}


def test_tensorflow_is_not_imported(generated):
    code = f"import sys; from lstm_zoo.data import load; [load(name, {str(generated)!r}) for name in {NAMES}]"
    code += "; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
