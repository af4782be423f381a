import io
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console
from small_models import CLIP, answers, clips, small_model

from lstm_zoo.errors import ExportError, InvalidInputError
from lstm_zoo.exporters import certificate, export, files, tflite, verify
from lstm_zoo.exporters.probes import probe_signals
from lstm_zoo.exporters.signatures import input_specs, whole
from lstm_zoo.models.speech import SpeechConfig

SHIPPED = pathlib.Path(__file__).parents[2] / "saved_models"


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
    assert certificate.read(files.certificate_path(path)) == facts
    assert facts.bytes == path.stat().st_size
    assert facts.sha256 == files.sha256(path)
    assert facts.quantize == "dynamic_int8"
    assert facts.ops["WHILE"] == 1
    assert 1e-7 < facts.largest_difference < 0.05  # quantised: near, and not the same
    assert facts.two_invokes_equal
    assert 0 < facts.latency_ms < 1000
    assert facts.inputs.startswith("5 given inputs")
    assert {"tensorflow", "keras", "ai-edge-litert", "python"} <= set(facts.versions)
    assert facts.probe.outputs[0].name == "probabilities"
    np.testing.assert_allclose(facts.probe.outputs[0].values, answers(model, probe_signals((1, CLIP))), atol=1e-6)
    assert facts.streaming_difference is None


def test_certificate_prints_as_a_table(original):
    text = io.StringIO()
    Console(file=text, width=80).print(original[1])
    assert f"{original[1].bytes:,} bytes" in text.getvalue()
    assert max(map(len, text.getvalue().splitlines())) <= 80
    cells = "".join(line.split("│")[2].strip() for line in text.getvalue().splitlines() if "│" in line)
    assert original[1].sha256 in cells


def test_table_says_where_an_agreement_is_of_too_few_inputs(original):
    def facts(compared):
        return dict(original[1].replace(compared=compared)._facts())["same top answer"]

    assert original[1].compared == 5
    assert facts(199) == "100.0% (of 199 inputs: too few to judge by)"
    assert facts(200) == facts(None) == "100.0%"


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
    note = files.certificate_path(exported)
    values = json.loads(note.read_text())
    values["probe"]["outputs"][0]["values"][3][0] += 0.5
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
        ({"schema_version": 3}, "of a newer version"),
        ({"tolerance": "wide"}, "not a certificate.*tolerance"),
        ({"tolerance": 0.5}, "a tolerance of 0.5 is none of ours"),
        ({"probe": {}}, "not a certificate.*probe.signatures"),
        ({"schema_version": 1}, "of an older version.*export the model again"),
        ({"probe": []}, "not a certificate"),
        ({"surprise": 1}, "not a certificate.*unknown option 'surprise'"),
    ],
)
def test_certificate_that_is_none_is_refused(exported, change, message):
    note = files.certificate_path(exported)
    note.write_text(json.dumps(json.loads(note.read_text()) | change))
    with pytest.raises(ExportError, match=message):
        verify(exported)


def test_missing_or_unreadable_certificate_is_an_error(exported):
    note = files.certificate_path(exported)
    note.write_text("{")
    with pytest.raises(ExportError, match="cannot be read as a certificate"):
        verify(exported)
    note.unlink()
    with pytest.raises(ExportError, match="does not exist"):
        verify(exported)


def _no_conversion(monkeypatch, content):
    """Convert to ``content``, in no time."""
    monkeypatch.setattr("lstm_zoo.exporters.tflite.convert", lambda *_, **__: content)


def test_file_outside_its_tolerance_is_not_left_behind(exported, tmp_path, monkeypatch):
    _no_conversion(monkeypatch, exported.read_bytes())
    other = small_model()
    other.weights[-1].assign(other.weights[-1] + [2.0, -2.0, 0.0, 0.0])
    target = tmp_path / "new" / "other.tflite"
    with pytest.raises(ExportError, match=r"differ from the model's by up to .* the 0\.3 allowed for dynamic_int8"):
        export(other, target, quantize="dynamic_int8", samples=CLIP)
    assert not target.parent.exists()


def undecided(label: int):
    """A model that finds all labels about equally likely, ``label`` a little more so."""
    model = small_model()
    kernel, bias = model.weights[-2:]
    kernel.assign(kernel * 0)
    bias.assign(np.eye(4)[label] * 1e-3)
    return model


def test_many_other_top_answers_are_refused_however_near_the_outputs(tmp_path, monkeypatch):
    model = undecided(0)
    _no_conversion(monkeypatch, tflite.convert(model, (whole(model, input_specs(model, CLIP)),)))
    options = {"quantize": "dynamic_int8", "samples": CLIP}
    with pytest.raises(ExportError, match=r"model's for 0\.0% of 200 inputs, less than the 95\.0% required for dy"):
        export(undecided(1), tmp_path / "x.tflite", check_inputs=clips(200), **options)
    assert list(tmp_path.iterdir()) == []
    facts = export(undecided(1), tmp_path / "x.tflite", check_inputs=clips(199), **options)
    assert facts.top1_agreement == 0
    assert facts.largest_difference < 1e-3


@pytest.mark.parametrize(
    ("quantize", "enough", "too_few"),
    [
        (None, 0.999, 0.9989),
        ("float16", 0.995, 0.9949),
        ("dynamic_int8", 0.95, 0.9499),
        ("int8", 0.95, 0.9499),
    ],
)
def test_each_form_has_its_own_least_agreement(original, quantize, enough, too_few):
    facts = original[1].replace(quantize=quantize)
    certificate._require(facts.replace(top1_agreement=enough), 200)
    certificate._require(facts.replace(top1_agreement=too_few), 199)
    with pytest.raises(ExportError, match=f"required for {quantize or 'float32'}$"):
        certificate._require(facts.replace(top1_agreement=too_few), 200)


def test_largest_difference_is_bounded_by_the_forms_tolerance(original):
    assert original[1].tolerance == 0.3
    certificate._require(original[1].replace(largest_difference=0.3), 8)
    for found in (0.301, float("inf"), float("nan")):
        with pytest.raises(ExportError, match=r"more than the 0\.3 allowed for dynamic_int8"):
            certificate._require(original[1].replace(largest_difference=found), 8)


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
    with pytest.raises(
        InvalidInputError, match=r"check_inputs: expected finite floats of shape \[count, 4000\] for audio"
    ):
        export(model, exported, samples=CLIP, check_inputs=inputs)


# === Files that come with the package ===


WITHOUT_TENSORFLOW = """
import sys
from lstm_zoo.exporters import verify
verify(sys.argv[1])
assert not {"tensorflow", "keras"} & sys.modules.keys()
"""


def test_verifying_a_file_does_not_wait_for_tensorflow():
    arguments = [sys.executable, "-c", WITHOUT_TENSORFLOW, SHIPPED / "speech_tiny" / "speech_tiny.tflite"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
