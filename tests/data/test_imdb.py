"""IMDB: the official split, validation by film or by id, and copies that are not complete."""

import re
from collections import Counter

import numpy as np
import pytest

from lstm_zoo.data import small_texts, sources
from lstm_zoo.data.imdb import load
from lstm_zoo.errors import DataError, InvalidInputError

NAME = re.compile(r"(train|test)/(neg|pos)/([0-9]+)_([0-9]+)\.txt")


def facts(part):
    """``(folder, class, id, stars)`` of each name, read apart from the loader."""
    matches = [NAME.fullmatch(name) for name in part.names]
    return [(match[1], match[2], int(match[3]), int(match[4])) for match in matches]


def essences(part):
    return ["".join(text.lower().split()) for text in part.texts]


@pytest.fixture(scope="module")
def dataset(generated):
    return load(generated)


@pytest.fixture
def copy(copied):
    return copied / "sentiment" / "imdb"


def test_texts_and_labels_are_those_of_the_files(dataset, generated):
    for part in dataset.splits.values():
        for text, label, name in zip(part.texts, part.labels, part.names, strict=True):
            assert text == (generated / "sentiment" / "imdb" / name).read_text(encoding="utf-8")
            assert label == ("/pos/" in name)
    assert "<br />" in dataset.training.texts[0]


def test_official_split(dataset):
    """A tenth of the training reviews of each class, those with the last ids, is for validation."""
    for part, folder, ids in (
        (dataset.training, "train", range(36)),
        (dataset.validation, "train", range(36, 40)),
        (dataset.testing, "test", range(40)),
    ):
        expected = [(folder, kind, number) for kind in ("neg", "pos") for number in ids]
        assert [fact[:3] for fact in facts(part)] == expected


@pytest.mark.parametrize("share", [0.01, 0.25, 0.9])
def test_share(generated, share):
    parts = load(generated, validation=share).splits
    assert len(parts["validation"]) == pytest.approx(80 * share, abs=2)
    assert len(parts["training"]) + len(parts["validation"]) == 80


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_impossible_share(generated, share):
    with pytest.raises(InvalidInputError, match="validation: got .* expected a share between 0 and 1"):
        load(generated, validation=share)


def test_validation_by_film(tmp_path):
    """The generated lists give each film five reviews of each class."""
    folder = small_texts.write_imdb(tmp_path / "films", urls=True)
    dataset = load(folder, validation=0.3)
    training, validation = (
        {number // 5 for _, _, number, _ in facts(part)} for part in (dataset.training, dataset.validation)
    )
    assert training | validation == set(range(8))
    assert not training & validation
    assert len(dataset.validation) == 30  # three films: the first two have a quarter of the reviews
    assert load(folder, validation=0.3).validation.names == dataset.validation.names


def test_validation_has_no_text_of_training(copy):
    text, twin = next(copy.glob("train/neg/0_*")), next(copy.glob("train/neg/39_*"))
    twin.write_text("  " + text.read_text().upper())
    assert [number for _, _, number, _ in facts(load(copy).validation)] == [36, 37, 38, 36, 37, 38, 39]


def test_texts_of_both_training_and_testing_stay(copy):
    """The official split has such texts, and published figures are measured with them."""
    next(copy.glob("test/neg/3_*")).write_text(next(copy.glob("train/neg/3_*")).read_text())
    dataset = load(copy)
    assert len(set(essences(dataset.training)) & set(essences(dataset.testing))) == 1
    assert len(dataset.testing) == 80


# === Copies that are not complete ===


@pytest.mark.parametrize("folder", ["train/neg", "test/pos"])
def test_missing_class(copy, folder):
    for file in (copy / folder).iterdir():
        file.unlink()
    with pytest.raises(DataError, match=f"has no reviews in {folder}/; .*fetch it again"):
        load(copy)


@pytest.mark.parametrize("name", ["notes.txt", "41.txt", "41_5.txt", "41_1.txt", "41_11.txt", "a_9.txt"])
def test_name_that_is_none_of_a_review(copy, name):
    (copy / "train" / "pos" / name).write_text("text")
    with pytest.raises(DataError, match=re.escape(f"train/pos/{name} is not named <id>_<stars>.txt")):
        load(copy)


def test_review_that_is_not_utf8(copy):
    file = next(copy.glob("train/pos/7_*"))
    file.write_bytes("café".encode("iso-8859-1"))
    with pytest.raises(DataError, match=f"train/pos/{file.name} is not a text file in UTF-8"):
        load(copy)


def test_list_of_films_that_is_too_short(tmp_path):
    folder = small_texts.write_imdb(tmp_path / "films", urls=True)
    listed = folder / "train" / "urls_pos.txt"
    listed.write_text("\n".join(listed.read_text().split()[:-1]))
    with pytest.raises(DataError, match=r"train/urls_pos.txt names no film for train/pos/39_"):
        load(folder)


def test_all_reviews_of_one_film(tmp_path):
    folder = small_texts.write_imdb(tmp_path / "films", urls=True)
    for listed in folder.glob("train/urls_*.txt"):
        listed.write_text("http://www.imdb.com/title/tt0000001/usercomments\n" * 40)
    with pytest.raises(DataError, match="has no texts for training that are: negative, positive"):
        load(folder)


# === The real data ===


@pytest.fixture(scope="module")
def _real():
    return {}


@pytest.fixture
def real(real_data, _real):
    if not _real:
        _real["dataset"] = load(real_data)
    return _real["dataset"]


def test_real_counts(real):
    """All 25,000 test reviews by their stars; of the 25,000 for training, none is in two splits."""
    stars = Counter(fact[3] for fact in facts(real.testing))
    assert stars == {1: 5022, 2: 2302, 3: 2541, 4: 2635, 7: 2307, 8: 2850, 9: 2344, 10: 4999}
    assert real.counts()["testing"] == {"negative": 12_500, "positive": 12_500}
    assert real.counts()["training"] == {"negative": 11_250, "positive": 11_250}
    assert real.counts()["validation"] == {"negative": 1_238, "positive": 1_249}
    assert len(set(real.testing.texts)) == 24_801


def test_real_texts_of_two_splits(real):
    every = set(real.training.texts) | set(real.validation.texts)
    assert len(every & set(real.testing.texts)) == 123
    assert not set(essences(real.training)) & set(essences(real.validation))
    left_out = 25_000 - len(real.training) - len(real.validation)
    assert left_out == 13
    assert np.mean([len(text.encode()) for text in real.testing.texts]) == pytest.approx(32.4e6 / 25_000, rel=0.01)


def test_real_archive_is_known_by_its_checksum(real_data):
    assert sources.find("imdb", real_data).name in sources.KNOWN_SHA256
