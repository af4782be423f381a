"""Stanford Sentiment Treebank: official splits, phrases, the treebank's escapes, and files that are not complete."""

import gzip

import pytest

from lstm_zoo.data.sst import load
from lstm_zoo.errors import DataError, InvalidInputError


@pytest.fixture
def copy(copied):
    return copied / "sentiment" / "sst"


def essences(*parts):
    return ["".join(text.lower().split()) for part in parts for text in part.texts]


def lines(path):
    """``[(label, text), ...]`` of a file of sentences, read apart from the loader."""
    pairs = [line.split(" ", 1) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return [(int(label), text.replace("-lrb-", "(").replace("-rrb-", ")")) for label, text in pairs]


@pytest.mark.parametrize(("classes", "kind"), [(2, "binary"), (5, "fine")])
def test_sentences_are_those_of_the_files(generated, classes, kind):
    dataset = load(generated, classes=classes, phrases=False)
    assert len(dataset.label_names) == classes
    assert (dataset.label_names[0], dataset.label_names[-1]) in {
        ("negative", "positive"),
        ("very negative", "very positive"),
    }
    for part, ending in zip(dataset.splits.values(), ("train", "dev", "test"), strict=True):
        file = generated / "sentiment" / "sst" / f"stsa.{kind}.{ending}"
        assert list(zip(part.labels, part.texts, strict=True)) == lines(file)
        assert part.names == tuple(f"{file.name}:{number}" for number in range(1, len(part) + 1))


def test_training_is_on_phrases(generated):
    whole, phrases = load(generated, phrases=False), load(generated)
    assert phrases.validation.texts == whole.validation.texts
    assert phrases.testing.texts == whole.testing.texts
    pairs = zip(whole.training.texts, whole.training.labels, strict=True)
    sentences = {" ".join(text.split()[:8]): label for text, label in pairs}
    assert len(phrases.training) == 2 * len(whole.training)  # four words and eight of each sentence
    assert set(phrases.training.texts[1::2]) == set(sentences)
    assert [sentences[text] for text in phrases.training.texts[1::2]] == phrases.training.labels[1::2].tolist()
    assert phrases.training.names[0] == "train.tsv.gz:2"  # line 1 is the header


def test_phrases_may_be_unpacked(copy, generated):
    packed = copy / "SST-2" / "train.tsv.gz"
    (copy / "SST-2" / "train.tsv").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert load(copy).training.texts == load(generated).training.texts


def test_training_has_no_text_of_another_split(copy):
    tested, validated = (lines(copy / f"stsa.binary.{part}")[0][1] for part in ("test", "dev"))
    packed = copy / "SST-2" / "train.tsv.gz"
    more = f"{tested.upper().replace(' ', '  ')}\t1\n{validated}\t0\nsomething new\t0\n"
    packed.write_bytes(gzip.compress(gzip.decompress(packed.read_bytes()) + more.encode()))
    assert load(copy).training.texts[-1] == "something new"
    assert len(load(copy).training) == 161


def test_escapes_of_the_treebank_are_undone(copy):
    with (copy / "stsa.binary.test").open("a") as file:
        file.write("1 writer\\/director -lrb- an a\\* -rrb- of clichés\n")
    assert load(copy).testing.texts[-1] == "writer/director ( an a* ) of clichés"


@pytest.mark.parametrize("classes", [0, 3, "2", None])
def test_other_numbers_of_classes(generated, classes):
    with pytest.raises(InvalidInputError, match="classes: got .* expected 2 .* or 5"):
        load(generated, classes=classes)


@pytest.mark.parametrize("part", ["train", "dev", "test"])
def test_missing_file(copy, part):
    (copy / f"stsa.fine.{part}").unlink()
    with pytest.raises(DataError, match=f"has no file stsa.fine.{part}; fetch"):
        load(copy, classes=5)


def test_missing_phrases(copy):
    (copy / "SST-2" / "train.tsv.gz").unlink()
    with pytest.raises(DataError, match="has no phrases .*SST-2.zip beside .* phrases=False"):
        load(copy)
    assert load(copy, classes=5).training.texts  # has none anyway


@pytest.mark.parametrize("line", ["no label at all", "2 neutral", "1", "1 ", "", "-1 text", "10 text"])
def test_line_without_its_label(copy, line):
    with (copy / "stsa.binary.dev").open("a") as file:
        file.write(f"{line}\n1 good\n")
    with pytest.raises(DataError, match=r"stsa.binary.dev:21 is '.*'; expected \(\?P<label>\[0-1\]\)"):
        load(copy)


@pytest.mark.parametrize("line", ["text without label", "text\t2", "text\t", "\t1", "a\tb\t1"])
def test_phrase_without_its_label(copy, line):
    (copy / "SST-2" / "train.tsv.gz").write_bytes(gzip.compress(f"sentence\tlabel\n{line}\n".encode()))
    with pytest.raises(DataError, match=r"train.tsv.gz:2 is '.*'; expected"):
        load(copy)


def test_empty_phrases_and_truncated_ones(copy):
    packed = copy / "SST-2" / "train.tsv.gz"
    packed.write_bytes(gzip.compress(b"sentence\tlabel\n"))
    with pytest.raises(DataError, match="has no texts for training that are: negative, positive"):
        load(copy)
    packed.write_bytes(packed.read_bytes()[:20])
    with pytest.raises(DataError, match="SST-2/train.tsv.gz is not a text file"):
        load(copy)


# === The real data ===


def test_real_sst2(real_data):
    dataset = load(real_data)
    counts = dataset.counts()
    assert counts["testing"] == {"negative": 912, "positive": 909}
    assert counts["validation"] == {"negative": 428, "positive": 444}
    assert len(dataset.training) == 67_349 - 2  # two are sentences of the test split
    assert not set(essences(dataset.training)) & set(essences(dataset.validation, dataset.testing))
    sentences = load(real_data, phrases=False)
    assert len(sentences.training) == 6_920 - 3
    assert sentences.testing.texts == dataset.testing.texts


def test_real_sst5(real_data):
    dataset = load(real_data, classes=5)
    assert list(dataset.counts()["testing"].values()) == [279, 633, 389, 510, 399]
    assert [len(part) for part in dataset.splits.values()] == [8_544 - 4, 1_101, 2_210]


def test_real_sentences_are_written_as_glue_writes_them(real_data):
    """GLUE's validation sentences are the treebank's: with the escapes undone, every one is found, in its spelling."""
    from lstm_zoo.data import sources

    packed = sources.find("sst2", real_data) / "SST-2" / "dev.tsv.gz"
    rows = gzip.decompress(packed.read_bytes()).decode().splitlines()[1:]
    glue = {("".join(text.split()), int(label)) for text, label in (row.split("\t") for row in rows)}
    validation = load(real_data).validation
    assert glue == set(zip(essences(validation), validation.labels.tolist(), strict=True))
    assert len(glue) == 872
