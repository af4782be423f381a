"""Sentence polarity: ten folds that cover every snippet once, in ISO-8859-1."""

import numpy as np
import pytest

from lstm_zoo.data.movie_reviews import load
from lstm_zoo.errors import DataError, InvalidInputError


@pytest.fixture
def copy(copied):
    return copied / "sentiment" / "mr"


def test_folds_cover_every_snippet_once(generated):
    folds = [load(generated, fold=fold) for fold in range(10)]
    tested = [name for fold in folds for name in fold.testing.names]
    assert len(set(tested)) == len(tested) == 80
    for number, fold in enumerate(folds):
        names = [set(part.names) for part in fold.splits.values()]
        assert [len(part) for part in names] == [64, 8, 8]
        assert len(set.union(*names)) == 80
        assert fold.counts()["testing"] == {"negative": 4, "positive": 4}
        assert fold.validation.names == folds[(number + 1) % 10].testing.names
    assert load(generated).testing.names == folds[0].testing.names


def test_texts_and_labels_are_those_of_the_files(generated):
    for part in load(generated, fold=1, folds=3).splits.values():
        for text, label, name in zip(part.texts, part.labels, part.names, strict=True):
            file, number = name.split(":")
            content = (generated / "sentiment" / "mr" / file).read_bytes().split(b"\n")[int(number) - 1]
            assert text == content.decode("iso-8859-1").strip()
            assert "cliché" in text
            assert label == file.endswith(".pos")


def test_byte_0x85_ends_no_line(copy):
    """Python's ``splitlines`` would make two snippets of it."""
    with (copy / "rt-polarity.neg").open("ab") as file:
        file.write(b"caf\xe9\x85 not over\n")
    texts = [text for part in load(copy).splits.values() for text in part.texts]
    assert "café\x85 not over" in texts
    assert len(texts) == 81


@pytest.mark.parametrize(("fold", "folds"), [(-1, 10), (10, 10), (0, 2), (0, 0)])
def test_folds_that_are_none(generated, fold, folds):
    with pytest.raises(InvalidInputError, match="fold: got .* expected 0 to folds - 1, and at least 3"):
        load(generated, fold=fold, folds=folds)


def test_missing_class(copy):
    (copy / "rt-polarity.pos").unlink()
    with pytest.raises(DataError, match="has no file rt-polarity.pos; fetch"):
        load(copy)


def test_too_few_snippets_for_the_folds(copy):
    (copy / "rt-polarity.pos").write_text("good\nbetter\n")
    missing = 0
    for fold in range(10):
        try:
            load(copy, fold=fold)
        except DataError as error:
            missing += "that are: positive; fetch" in str(error)
    assert missing == 10  # two folds have a snippet each, never training, validation and testing


def test_empty_file(copy):
    (copy / "rt-polarity.pos").write_text("")
    with pytest.raises(DataError, match="rt-polarity.pos is empty"):
        load(copy)


# === The real data ===


def test_real_counts(real_data):
    folds = [load(real_data, fold=fold) for fold in range(10)]
    for fold in folds:
        assert sum(len(part) for part in fold.splits.values()) == 10_662
        assert {len(part) for part in (fold.validation, fold.testing)} <= {1066, 1068}
    every = [fold.testing for fold in folds]
    assert sum(map(len, every)) == len({text for part in every for text in part.texts}) == 10_662
    assert np.concatenate([part.labels for part in every]).sum() == 5_331
    assert any("\x85" in text for part in every for text in part.texts)
