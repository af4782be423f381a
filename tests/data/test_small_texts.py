"""The generated texts: learnable, repeatable, in the official layouts."""

from collections import Counter

import pytest

from lstm_zoo import data
from lstm_zoo.data import small_texts, sources
from lstm_zoo.errors import DataError, InvalidInputError

WRITERS = (small_texts.write_imdb, small_texts.write_sst, small_texts.write_movie_reviews)


def words(text):
    return text.lower().replace("<br />", " ").replace(".", " ").split()


@pytest.mark.parametrize("name", ["imdb", "sst2", "sst5", "movie_reviews"])
def test_words_of_the_training_texts_tell_the_class(generated, name):
    """Each word votes for the class in which it is more frequent, by how much: a model has something to learn."""
    dataset = data.load(name, generated)
    counts = [Counter() for _ in dataset.label_names]
    for text, label in zip(dataset.training.texts, dataset.training.labels, strict=True):
        counts[label].update(words(text))
    right = 0
    for text, label in zip(dataset.testing.texts, dataset.testing.labels, strict=True):
        votes = [sum(count[word] / sum(each[word] + 1 for each in counts) for word in words(text)) for count in counts]
        right += votes.index(max(votes)) == label
    assert right / len(dataset.testing) > 0.8


@pytest.mark.parametrize("write", WRITERS)
def test_same_seed_same_texts(tmp_path, write):
    copies = [write(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    one, two, other = (dict(files.read(files.names)) for files in map(sources.open_files, copies))
    assert one == two
    assert one != other


@pytest.mark.parametrize("write", WRITERS)
def test_folder_in_use_is_left_alone(tmp_path, write):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is not an empty folder"):
        write(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("write", WRITERS)
def test_too_few_texts(tmp_path, write):
    with pytest.raises(InvalidInputError, match="got 9; expected at least [14]0"):
        write(tmp_path / "a", 9)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("write", WRITERS)
def test_fewest_texts_that_are_allowed_load(tmp_path, write):
    least = 40 if write is small_texts.write_sst else 10
    folder = write(tmp_path / "a", least)
    for name in {"write_sst": ("sst2", "sst5")}.get(write.__name__, (write.__name__.removeprefix("write_"),)):
        assert len(data.load(name, folder).testing)
