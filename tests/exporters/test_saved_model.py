import subprocess
import sys

import numpy as np
import pytest
from small_models import CLIP, answers, clips

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.exporters import export
from lstm_zoo.exporters.saved_model import replace_folder

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


def test_folder_of_something_else_is_left_alone(model, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear all")
    with pytest.raises(InvalidInputError, match="exists and is not a SavedModel"):
        export(model, tmp_path / "letters")
    assert (tmp_path / "letters" / "dear.txt").read_text() == "Dear all"


def test_quantize_is_for_tflite(model, tmp_path):
    with pytest.raises(InvalidInputError, match=r"quantize: 'float16' is for \.tflite files"):
        export(model, tmp_path / "speech", quantize="float16")


def test_replaced_folder_has_the_new_files_alone(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text(name)
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert [path.name for path in tmp_path.rglob("*")] == ["old", "new.txt"]
