import errno
import io
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console
from small_models import CLIP, answers, clips, small_model

from lstm_zoo.errors import ExportError, InvalidInputError
from lstm_zoo.exporters import certificate, export, tflite, verify
from lstm_zoo.models.speech import SpeechConfig


@pytest.fixture(scope="module")
def original(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "speech.tflite"
    return path, export(model, path, quantize="dynamic_int8", check_inputs=clips(5), samples=CLIP)


@pytest.fixture
def exported(original, tmp_path):
    """A copy that a test may spoil."""
    for path in original[0].parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / "speech.tflite"


def test_export_leaves_the_file_and_its_certificate_alone(original):
    path, _ = original
    assert sorted(file.name for file in path.parent.iterdir()) == ["speech.tflite", "speech.tflite.json"]


def test_certificate_states_what_was_measured(model, original):
    path, facts = original
    assert certificate.read(certificate.certificate_path(path)) == facts
    assert facts.bytes == path.stat().st_size
    assert facts.sha256 == certificate.sha256(path)
    assert facts.quantize == "dynamic_int8"
    assert facts.ops["WHILE"] == 1
    assert 1e-7 < facts.largest_difference < 0.05  # quantised: near, and not the same
    assert facts.two_invokes_equal
    assert 0 < facts.latency_ms < 1000
    assert facts.inputs.startswith("5 given inputs")
    assert {"tensorflow", "keras", "ai-edge-litert", "python"} <= set(facts.versions)
    probes = certificate.probe_signals((1, CLIP))
    np.testing.assert_allclose(facts.probe.expected, answers(model, probes), atol=1e-6)


def test_certificate_prints_as_a_table(original):
    text = io.StringIO()
    Console(file=text, width=160).print(original[1])
    assert f"{original[1].bytes:,} bytes" in text.getvalue()
    assert original[1].sha256 in text.getvalue()


def test_verify_measures_again(model, exported, original):
    measured = verify(exported, model)
    assert measured.sha256 == original[1].sha256
    assert 0 < measured.largest_difference < 0.05
    assert measured.inputs.startswith("8 seeded probe signals")


def test_changed_file_is_found(exported):
    content = bytearray(exported.read_bytes())
    content[len(content) // 2] ^= 1
    exported.write_bytes(content)
    with pytest.raises(ExportError, match="is not the certified file"):
        verify(exported)


def test_changed_answers_are_found(exported):
    note = certificate.certificate_path(exported)
    values = json.loads(note.read_text())
    values["probe"]["expected"][3][0] += 0.5
    note.write_text(json.dumps(values))
    with pytest.raises(ExportError, match=r"differ from the model's by up to 0\.[45]"):
        verify(exported)


def test_another_model_is_found(exported):
    other = small_model()
    other.weights[-1].assign(other.weights[-1] + 1e-3)
    with pytest.raises(ExportError, match="is of another model"):
        verify(exported, other)


class ConfigWithMore(SpeechConfig):
    """The family's configuration as a later version may have it."""

    added: int = 5


def test_hash_of_a_model_is_of_what_differs_from_the_defaults():
    model = small_model()
    expected, config = certificate.model_sha256(model), model.config
    assert expected == certificate.model_sha256(small_model())
    defaults = {"dropout": config.dropout, "family": "speech", "front_end": config.front_end.model_dump()}
    chosen = config.model_dump(exclude_defaults=True)
    same = [SpeechConfig.create(chosen | defaults), config.replace(), ConfigWithMore.create(chosen)]
    others = [config.replace(dropout=0.31), config.replace(family="speech", time_mask=3)]
    others += [ConfigWithMore.create(chosen | {"added": 6}), config.replace(front_end={"floor": 1e-3})]
    for one in same:
        model.config = one
        assert certificate.model_sha256(model) == expected
    for one in others:
        model.config = one
        assert certificate.model_sha256(model) != expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "of a newer version"),
        ({"tolerance": "wide"}, "not a certificate.*tolerance"),
        ({"surprise": 1}, "not a certificate.*unknown option 'surprise'"),
    ],
)
def test_certificate_that_is_none_is_refused(exported, change, message):
    note = certificate.certificate_path(exported)
    note.write_text(json.dumps(json.loads(note.read_text()) | change))
    with pytest.raises(ExportError, match=message):
        verify(exported)


def test_missing_or_unreadable_certificate_is_an_error(exported):
    note = certificate.certificate_path(exported)
    note.write_text("{")
    with pytest.raises(ExportError, match="cannot be read as a certificate"):
        verify(exported)
    note.unlink()
    with pytest.raises(ExportError, match="does not exist"):
        verify(exported)


def test_file_that_is_not_tflite_is_an_error(tmp_path):
    (tmp_path / "x.tflite").write_bytes(b"not a model, not at all")
    with pytest.raises(ExportError, match=r"x\.tflite is not a TFLite file"):
        certificate.builtin_ops(tmp_path / "x.tflite")
    with pytest.raises(ExportError, match=r"replaying x\.tflite failed"):
        certificate.replay(tmp_path / "x.tflite", np.zeros((1, 4), "float32"))


def _no_conversion(monkeypatch, content):
    """Convert to ``content``, in no time."""
    monkeypatch.setattr("lstm_zoo.exporters.tflite.convert", lambda *_: content)


def test_file_outside_its_tolerance_is_not_left_behind(exported, tmp_path, monkeypatch):
    _no_conversion(monkeypatch, exported.read_bytes())
    other = small_model()
    other.weights[-1].assign(other.weights[-1] + [2.0, -2.0, 0.0, 0.0])
    target = tmp_path / "new" / "other.tflite"
    with pytest.raises(ExportError, match=r"differ from the model's by up to .* the 0\.3 allowed for dynamic_int8"):
        export(other, target, quantize="dynamic_int8", samples=CLIP)
    assert list(target.parent.iterdir()) == []


def undecided(label: int):
    """A model that finds all labels about equally likely, ``label`` a little more so."""
    model = small_model()
    kernel, bias = model.weights[-2:]
    kernel.assign(kernel * 0)
    bias.assign(np.eye(4)[label] * 1e-3)
    return model


def test_many_other_top_answers_are_refused_however_near_the_outputs(tmp_path, monkeypatch):
    _no_conversion(monkeypatch, tflite.convert(undecided(0), samples=CLIP))
    options = {"quantize": "dynamic_int8", "samples": CLIP}
    with pytest.raises(ExportError, match=r"model's for 0\.0% of 100 inputs, less than the 97\.0% required for dy"):
        export(undecided(1), tmp_path / "x.tflite", check_inputs=clips(100), **options)
    assert list(tmp_path.iterdir()) == []
    facts = export(undecided(1), tmp_path / "x.tflite", check_inputs=clips(99), **options)
    assert facts.top1_agreement == 0
    assert facts.largest_difference < 1e-3


@pytest.mark.parametrize(
    ("quantize", "enough", "too_few"),
    [(None, 0.999, 0.9989), ("float16", 0.99, 0.9899), ("dynamic_int8", 0.97, 0.9699)],
)
def test_each_form_has_its_own_least_agreement(original, quantize, enough, too_few):
    facts = original[1].replace(quantize=quantize)
    certificate._require(facts.replace(top1_agreement=enough), 100)
    certificate._require(facts.replace(top1_agreement=too_few), 99)
    with pytest.raises(ExportError, match=f"required for {quantize or 'float32'}$"):
        certificate._require(facts.replace(top1_agreement=too_few), 100)


def test_largest_difference_is_bounded_by_the_forms_tolerance(original):
    assert original[1].tolerance == 0.3
    certificate._require(original[1].replace(largest_difference=0.3), 8)
    for difference in (0.301, float("inf"), float("nan")):
        with pytest.raises(ExportError, match=r"more than the 0\.3 allowed for dynamic_int8"):
            certificate._require(original[1].replace(largest_difference=difference), 8)


def test_failed_export_keeps_what_was_there(model, exported, monkeypatch):
    before = {path.name: path.read_bytes() for path in exported.parent.iterdir()}
    _no_conversion(monkeypatch, b"0000TFL3 and then rubbish")
    with pytest.raises(ExportError):
        export(model, exported, samples=CLIP)
    assert {path.name: path.read_bytes() for path in exported.parent.iterdir()} == before


def test_full_disk_is_an_export_error(model, exported, monkeypatch):
    before = sorted(exported.parent.iterdir())
    _no_conversion(monkeypatch, exported.read_bytes())

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(ExportError, match=r"speech\.tflite could not be written.*No space left"):
        export(model, exported, samples=CLIP)
    assert sorted(exported.parent.iterdir()) == before


# TensorFlow's own writes fail in ways that no monkeypatch shows; a process that may write small files alone does.
LIMITED = """
import pathlib, resource, sys, tempfile
sys.path.insert(0, sys.argv[1])
from small_models import CLIP, small_model
from lstm_zoo.errors import ExportError
from lstm_zoo.exporters import export
model, target = small_model(), pathlib.Path(sys.argv[2])
tempfile.tempdir = str(target / "temporary")
for limit in (200, 4_000, 12_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for name in ("speech.tflite", "speech"):
        try:
            export(model, target / "to" / name, samples=CLIP)
        except ExportError as error:
            print(limit, name, repr(str(error)))
"""


def test_full_disk_under_tensorflow_is_an_export_error_that_names_the_folder(tmp_path):
    pytest.importorskip("resource", reason="file size limits are a Unix feature")
    (tmp_path / "temporary").mkdir()
    arguments = [sys.executable, "-c", LIMITED, pathlib.Path(__file__).parent, tmp_path]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 6, done.stdout
    for line in lines:
        assert "could not be" in line
        assert str(tmp_path) in line
        assert "Traceback" not in line
    assert list((tmp_path / "to").iterdir()) == []
    assert list((tmp_path / "temporary").glob("lstm_zoo_*")) == []  # TensorFlow has files of its own there


@pytest.mark.parametrize("name", ["x.tflite", "x"])
def test_input_too_short_for_the_model_is_an_error_of_one_line(model, tmp_path, name):
    with pytest.raises(ExportError, match=r"an input of shape \(1, 100\): .*; give at least 480 samples$") as caught:
        export(model, tmp_path / name, samples=100)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [".", "", "inner/..", ".."])
def test_folder_one_is_in_is_not_replaced(model, tmp_path, monkeypatch, path):
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    with pytest.raises(InvalidInputError, match="is the current folder or one above it"):
        export(model, path, samples=CLIP)
    assert [found.name for found in tmp_path.rglob("*")] == ["current"]


def test_certificate_that_cannot_be_written_is_found_before_the_work(model, tmp_path):
    (tmp_path / "x.tflite.json").mkdir()
    with pytest.raises(InvalidInputError, match=r"x\.tflite\.json, which is a folder"):
        export(model, tmp_path / "x.tflite", samples=CLIP)
    assert [path.name for path in tmp_path.iterdir()] == ["x.tflite.json"]


@pytest.mark.parametrize("failing", ["speech.tflite", "speech.tflite.json"])
def test_certificate_is_never_beside_another_file(model, exported, monkeypatch, failing):
    """Whichever of the last two steps fails: both old, or the new file with no certificate yet."""
    before = {path.name: path.read_bytes() for path in exported.parent.iterdir()}
    content = exported.read_bytes() + b"\0" * 16
    _no_conversion(monkeypatch, content)
    replace = pathlib.Path.replace

    def refuse(self, target):
        if target == exported.with_name(failing):
            raise OSError(errno.EACCES, "Permission denied")
        return replace(self, target)

    monkeypatch.setattr(pathlib.Path, "replace", refuse)
    with pytest.raises(ExportError, match="Permission denied"):
        export(model, exported, quantize="dynamic_int8", samples=CLIP)
    after = {path.name: path.read_bytes() for path in exported.parent.iterdir()}
    assert after == (before if failing == "speech.tflite" else {"speech.tflite": content})


@pytest.mark.parametrize(
    "inputs",
    [
        np.zeros((2, CLIP), "int16"),
        np.zeros((2, CLIP - 1), "float32"),
        np.zeros((0, CLIP), "float32"),
        np.full((1, CLIP), np.nan, "float32"),
    ],
)
def test_bad_check_inputs_are_refused(model, exported, monkeypatch, inputs):
    _no_conversion(monkeypatch, exported.read_bytes())
    with pytest.raises(InvalidInputError, match=r"check_inputs: expected finite floats of shape \[count, 4000\]"):
        export(model, exported, samples=CLIP, check_inputs=inputs)


@pytest.mark.parametrize("name", ["model.onnx", "model.keras", "model.h5"])
def test_formats_that_are_not_written_are_refused(model, tmp_path, name):
    with pytest.raises(InvalidInputError, match="is not written here"):
        export(model, tmp_path / name)


def test_unknown_profile_lists_those_there_are(model, tmp_path):
    with pytest.raises(InvalidInputError, match="profile: got 'mediapipe', there are: 'default'"):
        export(model, tmp_path / "x.tflite", profile="mediapipe")


def test_state_that_leaks_is_seen(tmp_path):
    """A model that counts its calls, replayed as one of ours would be."""
    module = tf.Module()
    module.calls = tf.Variable(0.0)
    spec = tf.TensorSpec((None, 4), tf.float32, name="x")
    count = tf.function(lambda x: {"y": x + module.calls.assign_add(1.0)}, input_signature=[spec], autograph=False)
    tf.saved_model.save(module, str(tmp_path / "counter"), signatures={"serving_default": count})
    replayed = certificate.replay(tmp_path / "counter", np.zeros((2, 4), "float32"))
    assert not replayed.two_invokes_equal


def test_probe_signals_are_the_same_everywhere():
    signals = certificate.probe_signals((1, 100))
    assert signals.shape == (8, 100)
    assert signals.dtype == np.float32
    assert np.abs(signals).max() <= 1
    np.testing.assert_allclose(signals[1, :3], SECOND_PROBE, rtol=1e-6)
    np.testing.assert_array_equal(signals, certificate.probe_signals((1, 100)))


SECOND_PROBE = [-0.00173582241, 0.00209554029, 0.00200694939]
