"""Artefact folders: written whole, refused when anything in them is not as the manifest says."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from tiny import entries, options, raw_input, tiny_model

import lstm_zoo
from lstm_zoo import artifact, registry
from lstm_zoo.errors import ArtifactError, InvalidInputError

ENTRIES = tuple(registry.ENTRIES)
SHIPPED = tuple(each.name for each in lstm_zoo.list_models() if each.pretrained)
FILES = (*artifact.REQUIRED, "golden_input.npy")


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / artifact.MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def sign_again(folder: Path) -> None:
    """Make the manifest state the files as they are now, as someone who tampers with a folder would."""

    def change(manifest: dict[str, Any]) -> None:
        for name in manifest["files"]:
            content = (folder / name).read_bytes()
            manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}

    change_manifest(folder, change)


def change_weights(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    path = folder / "weights.safetensors"
    weights = safetensors.numpy.load_file(path)
    change(weights)
    path.write_bytes(safetensors.numpy.save(weights))
    sign_again(folder)


# === Write, reload in a new process ===

RELOAD = """
import sys, keras, numpy as np, lstm_zoo
keras.Sequential([keras.Input((3, 2)), keras.layers.LSTM(2), keras.layers.Dense(1)])  # moves automatic names on
for folder, given, answer in zip(*[iter(sys.argv[1:])] * 3):
    text = given.endswith(".txt")
    given = open(given, encoding="utf-8", newline="\\n").read()[:-1].split("\\n") if text else np.load(given)
    np.save(answer, np.asarray(lstm_zoo.get(folder)(given, training=False)))
"""


@pytest.fixture(scope="session")
def reloaded(tiny_artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers of every tiny artefact to its golden input, from a process that never saw the models."""
    answers = tmp_path_factory.mktemp("answers")
    arguments: list[Path] = []
    for name in ENTRIES:
        (given,) = (tiny_artifacts / name).glob("golden_input.*")
        arguments += [tiny_artifacts / name, given, answers / f"{name}.npy"]
    done = subprocess.run([sys.executable, "-c", RELOAD, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return answers


@pytest.mark.parametrize("name", ENTRIES)
def test_a_new_process_gives_the_golden_output(name: str, tiny_artifacts: Path, reloaded: Path) -> None:
    expected = np.load(tiny_artifacts / name / "golden_output.npy")
    assert expected.shape == (2, len(registry.get(name, weights=None, **options(name)).labels))
    assert np.ptp(expected) > 1e-3, "an answer that is the same for every label would prove nothing"
    np.testing.assert_allclose(np.load(reloaded / f"{name}.npy"), expected, atol=1e-6)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_artifact_gives_its_golden_output(name: str) -> None:
    stored = artifact.read(artifact.shipped_folder(name))
    model = lstm_zoo.get(name)
    assert artifact.golden_difference(model, stored) <= artifact.GOLDEN_TOLERANCE
    assert stored.manifest.name == name
    learnt = {"vocabulary": stored.config.vocabulary} if name in entries("sentiment") else {}
    assert stored.config == type(stored.config).create(registry.ENTRIES[name].options | learnt)
    assert stored.manifest.facts.parameters == model.count_params()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_artifact_verifies(name: str) -> None:
    """Hashes, golden output, and each TFLite file against its certificate and this very model."""
    verified = artifact.verify(artifact.shipped_folder(name))
    assert set(verified.certificates) == {f"{name}.tflite", f"{name}_int8.tflite"}


def test_written_folder_states_what_is_in_it(tiny_artifacts: Path) -> None:
    stored = artifact.read(tiny_artifacts / "speech")
    model = tiny_model("speech")
    assert stored.labels == model.labels == stored.config.labels
    assert stored.card == "# speech\n"
    assert stored.manifest.facts.parameters == model.count_params()
    assert {path.name for path in stored.path.iterdir()} == {*stored.manifest.files, artifact.MANIFEST}
    for name, record in stored.manifest.files.items():
        content = (stored.path / name).read_bytes()
        assert (record.bytes, record.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_the_same_model_gives_the_same_bytes(tiny_artifacts: Path, tmp_path: Path) -> None:
    model = tiny_model("speech")
    facts = artifact.read_manifest(tiny_artifacts / "speech").facts.model_dump()
    artifact.write(
        tmp_path / "again", model, name="speech", facts=facts, card="# speech\n", golden_input=raw_input(model)
    )
    for file in FILES:
        if file != "golden_output.npy":  # computed, so not promised to the last bit
            assert (tmp_path / "again" / file).read_bytes() == (tiny_artifacts / "speech" / file).read_bytes(), file


def test_verify_replays_model_and_tflite(tmp_path: Path) -> None:
    model = tiny_model("digits")
    lstm_zoo.export(model, tmp_path / "digits.tflite")
    files = {name: tmp_path / name for name in ("digits.tflite", "digits.tflite.json")}
    folder = artifact.write(
        tmp_path / "digits", model, name="digits", facts={}, card="", golden_input=raw_input(model), files=files
    )
    found = artifact.verify(folder)
    assert found.largest_difference <= artifact.GOLDEN_TOLERANCE
    assert list(found.certificates) == ["digits.tflite"]
    assert artifact.read_manifest(folder).facts.tflite == {"digits.tflite": files["digits.tflite"].stat().st_size}


def test_verify_finds_another_golden_output(artifact_copy: Path) -> None:
    output = np.load(artifact_copy / "golden_output.npy")
    np.save(artifact_copy / "golden_output.npy", output[:, ::-1].copy())
    sign_again(artifact_copy)
    with pytest.raises(ArtifactError, match="differs from golden_output"):
        artifact.verify(artifact_copy)


def test_verify_wants_a_certificate(tiny_artifacts: Path, tmp_path: Path) -> None:
    model = tiny_model("speech")
    (tmp_path / "x.tflite").write_bytes(b"TFL3")
    folder = artifact.write(
        tmp_path / "a",
        model,
        name="speech",
        facts={},
        card="",
        golden_input=raw_input(model),
        files={"x.tflite": tmp_path / "x.tflite"},
    )
    with pytest.raises(ArtifactError, match="certificate"):
        artifact.verify(folder)


# === Refused ===


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_found(name: str, artifact_copy: Path) -> None:
    path = artifact_copy / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{name}.* has changed"):
        artifact.read(artifact_copy)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_or_missing_file_is_found(name: str, artifact_copy: Path) -> None:
    path = artifact_copy / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=f"{name} has .* bytes, the manifest says"):
        artifact.read(artifact_copy)
    path.unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        artifact.read(artifact_copy)


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors", artifact.MANIFEST])
def test_a_link_is_refused(name: str, artifact_copy: Path, tmp_path: Path) -> None:
    shutil.move(artifact_copy / name, tmp_path / name)
    (artifact_copy / name).symlink_to(tmp_path / name)
    with pytest.raises(ArtifactError, match="is a link"):
        artifact.read(artifact_copy)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "a\\b", "..", "", ".hidden", "manifest.json", "x\n"])
def test_only_plain_file_names(name: str, artifact_copy: Path) -> None:
    change_manifest(artifact_copy, lambda manifest: manifest["files"].update({name: manifest["files"]["card.md"]}))
    with pytest.raises(ArtifactError, match="not a plain file name"):
        artifact.read(artifact_copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema_version=2), "schema version 2, .* upgrade"),
        (lambda m: m.pop("facts"), "facts"),
        (lambda m: m.update(code="import os"), "unknown option 'code'"),
        (lambda m: m["files"].pop("weights.safetensors"), "does not list weights.safetensors"),
        (lambda m: m["files"].pop("golden_input.npy"), "must list one of golden_input.npy and golden_input.txt"),
        (lambda m: m["files"].update({"golden_input.txt": m["files"]["card.md"]}), "must list one of golden_input.npy"),
        (lambda m: m["files"]["card.md"].update(sha256="0"), "sha256"),
        (lambda m: m.update(family="os"), "unknown model family 'os'"),
    ],
)
def test_a_manifest_of_another_form(change: Any, message: str, artifact_copy: Path) -> None:
    change_manifest(artifact_copy, change)
    with pytest.raises(ArtifactError, match=message):
        artifact.read(artifact_copy)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b" " * (artifact.LARGEST_TEXT + 1)])
def test_a_manifest_that_is_not_one(content: bytes, artifact_copy: Path) -> None:
    (artifact_copy / artifact.MANIFEST).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        artifact.read(artifact_copy)


def test_not_an_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"has no manifest\.json"):
        artifact.read(tmp_path)


def test_labels_must_be_those_of_the_configuration(artifact_copy: Path) -> None:
    (artifact_copy / "labels.txt").write_text("no\nyes\n")
    sign_again(artifact_copy)
    with pytest.raises(ArtifactError, match=r"labels\.txt"):
        artifact.read(artifact_copy)


def test_a_configuration_with_an_unknown_option(artifact_copy: Path) -> None:
    config = json.loads((artifact_copy / "config.json").read_text())
    (artifact_copy / "config.json").write_text(json.dumps(config | {"lambda": "x"}))
    sign_again(artifact_copy)
    with pytest.raises(ArtifactError, match=r"config\.json: .*unknown option 'lambda'"):
        artifact.read(artifact_copy)


def _cast(weights: dict[str, np.ndarray]) -> None:
    weights["probabilities/bias"] = weights["probabilities/bias"].astype("float64")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("probabilities/bias"), "probabilities/bias is missing"),
        (lambda w: w.update({"more": np.zeros(2, "float32")}), "more is not in the model"),
        (lambda w: w.update({"probabilities/bias": np.zeros(3, "float32")}), r"float32 \(3,\), the model has"),
        (_cast, "is float64"),
    ],
)
def test_weights_that_do_not_fit_leave_the_model_alone(change: Any, message: str, artifact_copy: Path) -> None:
    change_weights(artifact_copy, change)
    model = tiny_model("speech", seed=99)
    before = [variable.numpy().copy() for variable in model.weights]
    with pytest.raises(ArtifactError, match=message):
        artifact.read(artifact_copy).load_weights(model)
    for old, variable in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)


def test_weights_that_are_no_safetensors(artifact_copy: Path) -> None:
    (artifact_copy / "weights.safetensors").write_bytes(b"\xff" * 100)
    sign_again(artifact_copy)
    with pytest.raises(ArtifactError, match="cannot be read"):
        artifact.read(artifact_copy).build()


def _npy(header: str, content: bytes = b"") -> bytes:
    padded = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode() + content


@pytest.mark.parametrize(
    "content",
    [
        b"no array",
        _npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }", b"cos\nsystem\n."),
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }", b"\0" * 64),
        _npy("{'descr': '<i4', 'fortran_order': False, 'shape': (1, 1), }", b"\0" * 4),
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", b"\0" * 4),
    ],
)
def test_golden_arrays_are_plain_floats(content: bytes, artifact_copy: Path) -> None:
    (artifact_copy / "golden_input.npy").write_bytes(content)
    sign_again(artifact_copy)
    with pytest.raises(ArtifactError, match=r"golden_input\.npy"):
        artifact.read(artifact_copy).golden()


# === Writing fails ===


def test_a_full_disk_leaves_the_old_artifact(artifact_copy: Path) -> None:
    resource = pytest.importorskip("resource", reason="file size limits are a Unix feature")
    before = {path.name: path.read_bytes() for path in artifact_copy.iterdir()}
    model = tiny_model("speech", seed=5)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))  # golden_input.npy is larger
    try:
        with pytest.raises(ArtifactError, match="nothing was changed"):
            artifact.write(artifact_copy, model, name="speech", facts={}, card="", golden_input=raw_input(model))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in artifact_copy.iterdir()} == before
    assert [path.name for path in artifact_copy.parent.iterdir()] == ["speech"]


def test_a_failing_rename_puts_the_old_artifact_back(artifact_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = artifact.read(artifact_copy).manifest
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if target == artifact_copy and not self.name.endswith(".old"):
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    model = tiny_model("speech", seed=5)
    with pytest.raises(ArtifactError, match="nothing was changed"):
        artifact.write(artifact_copy, model, name="speech", facts={}, card="", golden_input=raw_input(model))
    assert artifact.read(artifact_copy).manifest == before
    assert [path.name for path in artifact_copy.parent.iterdir()] == ["speech"]


def test_replaces_an_artifact(artifact_copy: Path) -> None:
    (artifact_copy / "leftover.txt").write_text("of the old one")
    model = tiny_model("speech", seed=5)
    artifact.write(artifact_copy, model, name="speech", facts={}, card="new", golden_input=raw_input(model))
    assert artifact.read(artifact_copy).card == "new"
    assert not (artifact_copy / "leftover.txt").exists()
    assert [path.name for path in artifact_copy.parent.iterdir()] == ["speech"]


def test_does_not_replace_other_things(tmp_path: Path) -> None:
    model = tiny_model("speech")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("cat")
    (tmp_path / "file").write_text("text")
    for name in ("photos", "file"):
        with pytest.raises(ArtifactError, match="choose another place"):
            artifact.write(tmp_path / name, model, name="speech", facts={}, card="", golden_input=raw_input(model))
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "cat"


def test_a_model_without_finite_answers_is_not_written(tmp_path: Path) -> None:
    model = tiny_model("speech")
    model.weights[-1].assign(np.full(model.weights[-1].shape, np.nan))
    with pytest.raises(ArtifactError, match="not finite"):
        artifact.write(tmp_path / "a", model, name="speech", facts={}, card="", golden_input=raw_input(model))
    assert not list(tmp_path.iterdir())


def test_unknown_facts_and_file_names_are_refused(tmp_path: Path) -> None:
    model = tiny_model("speech")
    given: dict[str, Any] = {"name": "speech", "card": "", "golden_input": raw_input(model)}
    with pytest.raises(InvalidInputError, match="unknown option 'metrics'"):
        artifact.write(tmp_path / "a", model, facts={"metrics": 1}, **given)
    with pytest.raises(ArtifactError, match="not a plain file name"):
        artifact.write(tmp_path / "a", model, facts={}, files={"../b": tmp_path / "b"}, **given)
    assert not list(tmp_path.iterdir())
