import io
import json
import pathlib

import keras
import numpy as np
import pytest
from rich.console import Console
from small_models import CLIP, clips, scramble

from lstm_zoo.errors import ExportError, InvalidInputError
from lstm_zoo.exporters import certificate, export, files, measuring, saved_model, verify
from lstm_zoo.exporters.measuring import difference, top1_agreement
from lstm_zoo.exporters.probes import ProbeInput, probe_inputs, probe_signals
from lstm_zoo.exporters.signatures import Signature, input_specs, streaming_signatures, whole


def ids_and_gain() -> keras.Model:
    """Ids of two vocabularies of 11 and 6 words and a factor, to a score and a sequence."""
    keras.utils.set_random_seed(1)
    words, tags = (keras.Input((7,), dtype="int32", name=name) for name in ("words", "tags"))
    gain, flag = keras.Input((1,), name="gain"), keras.Input((1,), dtype="bool", name="flag")
    x = [keras.layers.Embedding(11, 3)(words), keras.layers.Embedding(6, 3)(tags)]
    x = keras.layers.LSTM(5, return_sequences=True, name="steps")(keras.layers.Concatenate()(x))
    score = keras.layers.Dense(1, name="score")(x[:, -1]) * gain + keras.ops.cast(flag, "float32")
    model = keras.Model([words, tags, gain, flag], [keras.layers.Identity(name="scaled")(score), x])
    scramble(model)
    return model


def save_whole(model: keras.Model, path: pathlib.Path) -> tuple[Signature, ...]:
    faces = (whole(model, input_specs(model)),)
    saved_model.save(model, path, faces)
    return faces


def test_ids_are_below_the_smallest_vocabulary(tmp_path):
    model = ids_and_gain()
    faces = save_whole(model, tmp_path / "text")
    facts = certificate.certify(tmp_path / "text", model, faces, name="text")
    kinds = {one.name: (one.shape, one.dtype, one.below) for one in facts.probe.inputs}
    assert kinds == {
        "words": ((1, 7), "int32", 6),
        "tags": ((1, 7), "int32", 6),
        "gain": ((1, 1), "float32", 6),
        "flag": ((1, 1), "bool", 6),
    }
    probes = probe_inputs(facts.probe.inputs)
    assert {int(x) for x in np.unique(probes["words"])} == set(range(6))
    assert not np.array_equal(probes["words"], probes["tags"])
    assert set(np.unique(probes["flag"])) == {False, True}
    assert facts.largest_difference <= 1e-6
    assert [output.name for output in facts.probe.outputs] == ["scaled", "steps"]


@pytest.mark.parametrize("as_dictionary", [True, False])
def test_check_inputs_are_as_keras_takes_several(tmp_path, as_dictionary):
    model = ids_and_gain()
    faces = save_whole(model, tmp_path / "text")
    random = np.random.default_rng(2)
    given = {
        "words": random.integers(0, 11, (3, 7)),
        "tags": random.integers(0, 6, (3, 7)),
        "gain": random.standard_normal((3, 1)),
        "flag": np.array([[True], [False], [True]]),
    }
    check_inputs = given if as_dictionary else list(given.values())
    facts = certificate.certify(tmp_path / "text", model, faces, name="text", check_inputs=check_inputs)
    assert facts.inputs == "3 given inputs and 8 seeded probes"
    for spoilt in (given | {"gain": given["gain"][:2]}, given | {"words": given["gain"]}, {"words": given["words"]}):
        with pytest.raises(InvalidInputError, match="check_inputs: "):
            certificate.certify(tmp_path / "text", model, faces, name="text", check_inputs=spoilt)


def test_every_output_is_compared(tmp_path):
    model = ids_and_gain()
    faces = save_whole(model, tmp_path / "text")
    lstm = next(layer for layer in model.layers if layer.name == "steps")
    lstm.set_weights([weight * 1.01 for weight in lstm.get_weights()])
    dense = next(layer for layer in model.layers if layer.name == "score")
    dense.set_weights([weight * 0 for weight in dense.get_weights()])
    save_whole(model, tmp_path / "changed")
    lstm.set_weights([weight / 1.01 for weight in lstm.get_weights()])
    with pytest.raises(ExportError, match="outputs differ from the model's"):
        certificate.certify(tmp_path / "changed", model, faces, name="changed")


def test_files_of_open_batch_and_length_are_tried_with_others(model, tmp_path, monkeypatch):
    faces = (whole(model, input_specs(model, dynamic=True)),)
    saved_model.save(model, tmp_path / "speech", faces)
    shapes, replay = [], measuring.replay

    def spy(path, sessions, *arguments):
        shapes.extend(values.shape for session in sessions for values in session.inputs.values())
        return replay(path, sessions, *arguments)

    monkeypatch.setattr(measuring, "replay", spy)
    facts = certificate.certify(tmp_path / "speech", model, faces, name="speech", check_inputs=clips(2))
    assert shapes == [(2, 1, CLIP), (8, 1, CLIP), (1, 8, CLIP * 3 // 2)]
    assert facts.largest_difference <= 1e-5


# === Streams ===


@pytest.mark.parametrize("streaming", ["continuous", "sliding"])
def test_streams_are_measured_and_verified(model, tmp_path, streaming):
    path = tmp_path / "speech.tflite"
    facts = export(model, path, samples=CLIP, streaming=streaming)
    assert facts.streaming == streaming
    assert facts.streaming_difference <= facts.tolerance == 1e-5
    assert facts.stream_probe.signatures == ("step", "chunk")
    text = io.StringIO()
    Console(file=text, width=100).print(facts)
    assert f"{streaming} streaming" in text.getvalue()
    assert f"of streams          │ {facts.streaming_difference:.1e}" in text.getvalue()
    assert verify(path, model).streaming_difference <= 1e-5
    note = files.certificate_path(path)
    values = json.loads(note.read_text())
    values["stream_probe"]["outputs"][0]["values"][2][1] += 0.25
    note.write_text(json.dumps(values))
    with pytest.raises(ExportError, match=r"a stream's answers differ from the model's by up to 0\.25"):
        verify(path)


@pytest.mark.parametrize("spoilt", ["step", "chunk"])
@pytest.mark.parametrize("streaming", ["continuous", "sliding"])
def test_streams_that_forget_are_refused(model, tmp_path, streaming, spoilt):
    """The whole clip is right, and one of the two ways to stream loses a state."""
    faces = streaming_signatures(model, input_specs(model, CLIP), streaming)
    lost = next(spec.name for spec in faces[1].inputs if "lstm" in spec.name)

    def forgetful(call):
        def forget(**inputs):
            outputs = call(**inputs)
            return outputs | {lost: outputs[lost] * 0.5}

        return forget

    broken = tuple(Signature(one.name, one.inputs, forgetful(one.call)) if one.name == spoilt else one for one in faces)
    saved_model.save(model, tmp_path / "speech", broken)
    with pytest.raises(ExportError, match="a stream's answers differ from the model's by up to"):
        certificate.certify(tmp_path / "speech", model, faces, name="speech", streaming=streaming)


# === What differences are ===


def test_model_without_finite_answers_is_named_not_its_file(tmp_path):
    model = keras.Sequential([keras.Input((7,)), keras.layers.Dense(3, name="score")])
    model.weights[0].assign(model.weights[0] * np.nan)
    faces = save_whole(model, tmp_path / "x")
    with pytest.raises(ExportError, match="the model answers NaN or infinite values to 8 seeded .*, in score"):
        certificate.certify(tmp_path / "x", model, faces, name="x")


def test_differences_are_in_units_that_make_sense():
    def of(expected, error, eight_bits=False):
        expected = np.array([expected])
        return difference({"y": expected + error}, {"y": expected}, eight_bits)

    assert of([0.1, 0.9], 0.01) == of([0.1, 0.9], 0.01, eight_bits=True) == pytest.approx(0.01)  # probabilities
    assert of([-20.0, 50.0], 0.5) == pytest.approx(0.01)
    assert of([-0.01, 0.02], 0.01) == pytest.approx(0.01)  # float arithmetic has errors of its own size
    assert of([-0.01, 0.02], 0.01, eight_bits=True) == pytest.approx(0.5)
    assert of([0.0, 0.0], 0.25, eight_bits=True) == 0.25
    for bad in (np.nan, np.inf):
        assert of([0.1, 0.9], bad) == np.inf
    with pytest.raises(ExportError, match="outputs \\['y'\\], the model \\['z'\\]"):
        difference({"y": np.ones(2)}, {"z": np.ones(2)})
    with pytest.raises(ExportError, match=r"y: .* shape \(2,\), the model \(3,\)"):
        difference({"y": np.ones(2)}, {"y": np.ones(3)})


def test_agreement_is_of_scores_alone():
    numbers, scores = np.ones((4, 1, 1)), np.eye(4)[:, None]
    assert top1_agreement({"n": numbers}, {"n": numbers}) is None
    assert top1_agreement({"n": -numbers, "s": scores}, {"n": numbers, "s": scores[[0, 1, 3, 2]]}) == 0.5


def test_probes_of_ids_end_in_padding():
    ids = probe_inputs((ProbeInput(name="ids", shape=(1, 40), dtype="int32", below=5),))["ids"]
    assert ids.dtype == np.int32
    assert ids.min() == 0
    assert ids.max() == 4
    assert [int((row != 0).any()) and int(np.flatnonzero(row)[-1]) < 38 for row in ids[3::2]] == [True] * 3


def test_probe_signals_are_the_same_everywhere():
    signals = probe_signals((1, 100))
    assert signals.shape == (8, 100)
    assert signals.dtype == np.float32
    assert np.abs(signals).max() <= 1
    np.testing.assert_allclose(signals[1, :3], SECOND_PROBE, rtol=1e-6)
    np.testing.assert_array_equal(signals, probe_signals((1, 100)))


SECOND_PROBE = [-0.00173582241, 0.00209554029, 0.00200694939]
