import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import CLIP, answers, clips, scramble

from lstm_zoo.errors import ExportError, InvalidInputError
from lstm_zoo.exporters import export, saved_model
from lstm_zoo.exporters.signatures import input_specs, whole

# A program of somebody who has TensorFlow and does not have this package (nor Keras).
STRANGER = """
import sys
sys.modules["lstm_zoo"] = sys.modules["keras"] = None
try:
    import lstm_zoo
except ImportError:
    pass
else:
    raise AssertionError("lstm_zoo can be imported")
import numpy as np, tensorflow as tf
folder, out = sys.argv[1:]
signature = tf.saved_model.load(folder).signatures["serving_default"]
assert list(signature.structured_input_signature[1]) == ["audio"], signature.structured_input_signature
spec = signature.structured_input_signature[1]["audio"]
assert spec.shape.as_list() == [None, None] and spec.dtype == tf.float32, spec
with np.load(f"{folder}/../inputs.npz") as inputs:
    answers = {name: signature(audio=tf.constant(inputs[name])) for name in inputs}
assert all(list(answer) == ["probabilities"] for answer in answers.values())
np.savez(out, **{name: answer["probabilities"].numpy() for name, answer in answers.items()})
assert not [name for name, module in sys.modules.items() if module and name.split(".")[0] == "lstm_zoo"]
"""


def test_stranger_gets_the_models_answers_for_any_batch_and_length(model, tmp_path):
    certificate = export(model, tmp_path / "speech", samples=CLIP)
    assert certificate.kind == "saved_model"
    assert certificate.largest_difference <= 1e-5
    assert [layer.use_cudnn for layer in model.layers if hasattr(layer, "use_cudnn")] == ["auto"]
    inputs = {"three": clips(3), "one": clips(1), "longer": clips(2, 2 * CLIP + 77)}
    np.savez(tmp_path / "inputs.npz", **inputs)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    arguments = [sys.executable, "-I", "-c", STRANGER, tmp_path / "speech", tmp_path / "outputs.npz"]
    done = subprocess.run(arguments, cwd=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "outputs.npz") as outputs:
        for name, x in inputs.items():
            np.testing.assert_allclose(outputs[name], answers(model, x), atol=1e-5, rtol=0)


def test_streaming_folder_has_the_explicit_states_and_the_whole_model(model, tmp_path):
    certificate = export(model, tmp_path / "speech", samples=CLIP, streaming="continuous")
    assert certificate.streaming_difference <= 1e-5
    loaded = tf.saved_model.load(str(tmp_path / "speech")).signatures
    assert set(loaded) == {"serving_default", "clip", "step", "chunk"}
    x = tf.constant(clips(1))
    np.testing.assert_array_equal(
        loaded["clip"](audio=x)["probabilities"], loaded["serving_default"](audio=x)["probabilities"]
    )
    states = set(loaded["step"].structured_input_signature[1]) - {"audio"}
    assert states
    assert states == set(loaded["chunk"].structured_outputs) - {"probabilities"}


def test_weights_are_written_once(model, tmp_path):
    export(model, tmp_path / "one", samples=CLIP)
    export(model, tmp_path / "four", samples=CLIP, streaming="sliding")
    sizes = [
        (tmp_path / name / "variables" / "variables.data-00000-of-00001").stat().st_size for name in ("one", "four")
    ]
    weights = sum(4 * np.prod(weight.shape) for weight in model.weights)
    assert weights <= sizes[0] <= sizes[1] < sizes[0] + weights / 4  # what differs is names


def test_ids_and_flags_keep_their_types(tmp_path):
    ids, flag = keras.Input((None,), dtype="int32", name="ids"), keras.Input((1,), dtype="bool", name="flag")
    x = keras.layers.LSTM(3)(keras.layers.Embedding(9, 4)(ids))
    model = keras.Model([ids, flag], keras.layers.Concatenate(name="both")([x, keras.ops.cast(flag, "float32")]))
    scramble(model)
    saved_model.save(model, tmp_path / "text", (whole(model, input_specs(model, 5)),))
    signature = tf.saved_model.load(str(tmp_path / "text")).signatures["serving_default"]
    given = [np.array([[1, 2, 3, 8], [0, 0, 7, 1]], "int32"), np.array([[True], [False]])]
    got = signature(ids=tf.constant(given[0]), flag=tf.constant(given[1]))["both"]
    np.testing.assert_allclose(got, model(given, training=False), atol=1e-6)


def test_folder_that_cannot_be_written_is_an_export_error(model, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ExportError, match=r"taken/traced could not be written"):
        saved_model.trace(model, (whole(model, input_specs(model, CLIP)),), tmp_path / "taken" / "traced")


def test_folder_of_something_else_is_left_alone(model, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear all")
    with pytest.raises(InvalidInputError, match="exists and is not a SavedModel"):
        export(model, tmp_path / "letters")
    assert (tmp_path / "letters" / "dear.txt").read_text() == "Dear all"


def test_quantize_is_for_tflite(model, tmp_path):
    with pytest.raises(InvalidInputError, match=r"quantize: is for \.tflite files"):
        export(model, tmp_path / "speech", quantize="float16")


def test_replaced_folder_has_the_new_files_alone(model, tmp_path):
    export(model, tmp_path / "speech", samples=CLIP)
    (tmp_path / "speech" / "assets" / "old.txt").write_text("of an earlier export")
    export(model, tmp_path / "speech", samples=CLIP)
    assert list((tmp_path / "speech").rglob("old.txt")) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["speech", "speech.json"]
