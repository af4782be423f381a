"""Artefact folders of models of text: vocabulary and golden texts in files of their own, a line each."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import TEXTS, WORDS, tiny_model

import lstm_zoo
from lstm_zoo import artifact
from lstm_zoo.errors import ArtifactError, InvalidInputError


@pytest.fixture
def folder(tiny_artifacts: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_artifacts / "sentiment", tmp_path / "sentiment"))


def put(folder: Path, **contents: bytes) -> None:
    """Write files, by name without ending, and make the manifest state them as someone who tampers would."""
    manifest = json.loads((folder / artifact.MANIFEST).read_text())
    for name in list(manifest["files"]):
        if (stem := name.split(".")[0]) in contents:
            (folder / name).write_bytes(contents[stem])
            sha256 = hashlib.sha256(contents[stem]).hexdigest()
            manifest["files"][name] = {"sha256": sha256, "bytes": len(contents[stem])}
    (folder / artifact.MANIFEST).write_text(json.dumps(manifest))


def write(model, folder: Path, texts) -> Path:
    return artifact.write(folder, model, name="sentiment", facts={}, card="", golden_input=texts)


def test_vocabulary_has_a_file_of_its_own(folder: Path) -> None:
    assert (folder / "vocabulary.txt").read_bytes().decode() == "".join(f"{line}\n" for line in WORDS)
    assert "vocabulary" not in json.loads((folder / "config.json").read_text())
    assert artifact.read(folder).config.vocabulary == WORDS
    assert lstm_zoo.get(folder, weights=None, units=3).config.vocabulary == WORDS


def test_golden_texts_go_through_the_tokenizer(folder: Path) -> None:
    assert (folder / "golden_input.txt").read_bytes().decode() == "".join(f"{text}\n" for text in TEXTS[:2])
    assert not (folder / "golden_input.npy").exists()
    model = lstm_zoo.get(folder)
    assert model.golden_input == list(TEXTS[:2])
    assert artifact.verify(folder).largest_difference <= 1e-6
    changed = [*WORDS[:3], *(f"word{number}" for number in range(3, len(WORDS)))]
    put(folder, vocabulary="".join(f"{line}\n" for line in changed).encode())
    with pytest.raises(ArtifactError, match="answer to its golden input differs from golden_output"):
        artifact.verify(folder)


def test_lines_break_nowhere_but_at_their_end(tmp_path: Path) -> None:
    """Python knows a dozen characters that end a line; a file of texts has one."""
    model = tiny_model("sentiment")
    texts = ["great\x0bfilm\x85\u2028film", "\r", ""]
    stored = artifact.read(write(model, tmp_path / "a", texts))
    given, expected = stored.golden()
    assert given == texts
    np.testing.assert_allclose(model(given), expected, atol=1e-6)


def test_a_golden_text_of_two_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"golden_input.txt: item 1 has a line break.*'great\\nfilm'"):
        write(tiny_model("sentiment"), tmp_path / "a", ["film", "great\nfilm"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<PAD>\n<START>\n<UNKNOWN>", "vocabulary.txt does not end with a line break"),
        (b"\xff\n", "vocabulary.txt cannot be read"),
        (b"a\n", "vocabulary: .*at least 4 items"),
    ],
)
def test_a_vocabulary_that_is_none(folder: Path, content: bytes, message: str) -> None:
    put(folder, vocabulary=content)
    with pytest.raises(ArtifactError, match=message):
        artifact.read(folder)


def test_a_vocabulary_larger_than_any(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lstm_zoo.artifact.files.LARGEST_VOCABULARY", 20)
    with pytest.raises(ArtifactError, match="vocabulary.txt is a link or larger than 20 bytes"):
        artifact.read(folder)


def test_a_vocabulary_without_a_file_is_missed(folder: Path) -> None:
    manifest = json.loads((folder / artifact.MANIFEST).read_text())
    del manifest["files"]["vocabulary.txt"]
    (folder / artifact.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="config.json: .*vocabulary: Field required"):
        artifact.read(folder)


def test_two_vocabularies_are_one_too_many(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"vocabulary": list(WORDS)}
    put(folder, config=json.dumps(config).encode())
    with pytest.raises(ArtifactError, match="config.json has a vocabulary, and vocabulary.txt another"):
        artifact.read(folder)


def test_a_model_of_sound_has_no_vocabulary(artifact_copy: Path) -> None:
    (artifact_copy / "vocabulary.txt").write_text("a\n")
    manifest = json.loads((artifact_copy / artifact.MANIFEST).read_text())
    manifest["files"]["vocabulary.txt"] = {"sha256": hashlib.sha256(b"a\n").hexdigest(), "bytes": 2}
    (artifact_copy / artifact.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="unknown option 'vocabulary'"):
        artifact.read(artifact_copy)
