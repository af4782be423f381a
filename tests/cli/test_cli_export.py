"""``lstm-zoo export``: models of the zoo, models of others, and what the options name."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from mediapipe.tasks.python import text
from typer.testing import CliRunner

from lstm_zoo import cli, demo
from lstm_zoo.exporters import certificate
from lstm_zoo.exporters.flatbuffer import parse
from lstm_zoo.layers import GatedLSTM


def run(*arguments: Any, status: int = 0) -> str:
    result = CliRunner().invoke(cli.app, ["export", *map(str, arguments)])
    assert result.exit_code == status, (result.output, result.exception)
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the user's own, with a layer of this package, as Keras saves it."""
    file = tmp_path_factory.mktemp("mine") / "mine.keras"
    inputs = keras.Input((8, 3), name="series")
    x = GatedLSTM(16, gates="coupled_input_forget")(inputs)
    keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="label")(x)).save(file)
    return file


def test_users_own_model(mine: Path, tmp_path: Path) -> None:
    out = run(mine, tmp_path / "mine.tflite", "--profile", "mediapipe")
    assert "largest difference" in out
    found = certificate.read(tmp_path / "mine.tflite.json")
    assert (found.profile, found.quantize, found.ops["UNIDIRECTIONAL_SEQUENCE_LSTM"]) == ("mediapipe", None, 2)


def test_8_bit_activations_from_an_array_file(mine: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "examples.npy", np.random.default_rng(0).standard_normal((40, 8, 3)).astype("float32"))
    run(
        *(mine, tmp_path / "mine.tflite", "--profile", "universal", "--quantize", "int8"),
        *("--representative-data", tmp_path / "examples.npy"),
    )
    assert certificate.read(tmp_path / "mine.tflite.json").quantize == "int8"


def test_8_bit_activations_from_a_recording(shipped: Path, tmp_path: Path) -> None:
    run(
        *("speech", tmp_path / "speech.tflite", "--profile", "mediapipe", "--quantize", "int8"),
        *("--representative-data", demo.CLIP),
    )
    assert certificate.read(tmp_path / "speech.tflite.json").quantize == "int8"


def test_streaming_and_labels(shipped: Path, tmp_path: Path) -> None:
    run("speech", tmp_path / "stream.tflite", "--streaming", "sliding")
    signatures = parse((tmp_path / "stream.tflite").read_bytes()).signatureDefs
    assert {each.signatureKey for each in signatures} == {b"clip", b"step", b"chunk"}
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    out = run(
        *("speech", tmp_path / "named.tflite", "--labels", tmp_path / "labels.txt", "--sample-rate", 8000), status=2
    )
    assert "metadata: got 2 labels" in out


def test_labels_and_vocabulary_of_a_users_own_model_of_text(tmp_path: Path) -> None:
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = keras.layers.LSTM(4)(keras.layers.Embedding(5, 4)(ids))
    keras.Model(ids, keras.layers.Dense(2, activation="softmax", name="label")(x)).save(tmp_path / "mine.keras")
    (tmp_path / "labels.txt").write_text("bad\ngood\n")
    (tmp_path / "vocabulary.txt").write_text("<PAD>\n<START>\n<UNKNOWN>\nfilm\ngreat\n")
    run(
        *(tmp_path / "mine.keras", tmp_path / "mine.tflite", "--profile", "mediapipe"),
        *("--labels", tmp_path / "labels.txt", "--vocabulary", tmp_path / "vocabulary.txt"),
    )
    with text.TextClassifier.create_from_model_path(str(tmp_path / "mine.tflite")) as classifier:
        (head,) = classifier.classify("great film").classifications
    assert {each.category_name for each in head.categories} == {"bad", "good"}


def test_what_to_compare_on_can_be_said(mine: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "test.npy", np.random.default_rng(1).standard_normal((250, 8, 3)).astype("float32"))
    run(mine, tmp_path / "mine.tflite", "--check-inputs", tmp_path / "test.npy")
    found = certificate.read(tmp_path / "mine.tflite.json")
    assert (found.compared, found.top1_agreement) == (250, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.keras", "a.tflite"], "NAME_OR_FILE: there is no file none.keras"),
        (["broken.keras", "a.tflite"], "NAME_OR_FILE: Keras cannot load broken.keras"),
        (["speech", "a.tflite", "--profile", "phone"], "profile: got 'phone', there are"),
        (["speech", "a.tflite", "--quantize", "int8"], "representative_data: quantize='int8'"),
        (["speech", "a.tflite", "--representative-data", "empty"], "no .wav, .flac or .ogg files in empty"),
        (["speech", "a.tflite", "--representative-data", "broken.npy"], "broken.npy cannot be read"),
        (["speech", "a.tflite", "--labels", "broken.keras"], "labels: --labels goes with --sample-rate"),
        (["speech", "a.tflite", "--check-inputs", "broken.npy"], "check_inputs: broken.npy cannot be read"),
        (["speech", "a.h5"], "path: .h5 is not written here"),
        (["spech", "a.tflite"], "did you mean 'speech'"),
    ],
)
def test_bad_input_is_one_line(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("broken.keras", "broken.npy"):
        (tmp_path / name).write_bytes(b"PK not really")
    assert message in run(*arguments, status=2)
    assert {each.name for each in tmp_path.iterdir()} == {"empty", "broken.keras", "broken.npy"}
