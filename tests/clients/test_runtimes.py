"""The runtimes of LiteRT and TensorFlow run exported files as Keras runs the model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.interpreter import Interpreter

TOLERANCES = {"float16": 1e-3, "dynamic_int8": 0.02, "int8": 0.05}  # of probabilities


def interpreted(interpreter, inputs):
    runner = interpreter.get_signature_runner("serving_default")
    (name,), (output,) = runner.get_input_details(), runner.get_output_details()
    return np.concatenate([runner(**{name: x[None]})[output] for x in inputs])


def litert(file, inputs):
    return interpreted(Interpreter(str(file)), inputs)


def tf_lite(file, inputs):
    with pytest.warns(UserWarning, match="tf.lite.Interpreter is deprecated"):
        return interpreted(tf.lite.Interpreter(str(file)), inputs)


def compiled_model(file, inputs):
    with CompiledModel.from_file(str(file)) as model:
        (read,), (written,) = model.create_input_buffers(0), model.create_output_buffers(0)
        labels = next(iter(model.get_output_tensor_details("serving_default").values()))["shape"][-1]
        rows = []
        for x in inputs:
            read.write(x)
            model.run_by_index(0, [read], [written])
            rows.append(written.read(labels, np.float32))
    return np.stack(rows)


@pytest.mark.parametrize(
    ("run", "profile"),
    [
        *((run, profile) for run in (litert, tf_lite) for profile in ("default", "universal", "mediapipe")),
        *((compiled_model, profile) for profile in ("default", "universal")),
    ],
)
def test_answers_are_those_of_keras(speech_tiny, exported, clips, run, profile):
    expected = np.asarray(speech_tiny(keras.ops.convert_to_tensor(clips)))
    assert len(set(expected.argmax(axis=1))) >= 4  # each clip has another word, or a mix-up would not show
    answers = run(exported(speech_tiny, profile), clips[[0, 1, 2, 3, 4, 0]])
    np.testing.assert_allclose(answers, expected[[0, 1, 2, 3, 4, 0]], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("run", "profile", "quantize"),
    [
        *((run, "default", "float16") for run in (litert, tf_lite, compiled_model)),
        *((run, "default", "dynamic_int8") for run in (litert, tf_lite, compiled_model)),
        *((run, "universal", "dynamic_int8") for run in (litert, tf_lite, compiled_model)),
        *((run, "universal", "int8") for run in (litert, tf_lite)),
    ],
)
def test_quantised_files_give_the_words_of_keras(speech_tiny, exported, clips, run, profile, quantize):
    expected = np.asarray(speech_tiny(keras.ops.convert_to_tensor(clips)))[[2, 0, 1, 3, 4, 0]]
    answers = run(exported(speech_tiny, profile, quantize), clips[[2, 0, 1, 3, 4, 0]])
    assert answers.argmax(axis=1).tolist() == expected.argmax(axis=1).tolist()
    np.testing.assert_array_equal(answers[1], answers[5], "an answer depends on the one before")
    np.testing.assert_allclose(answers, expected, atol=TOLERANCES[quantize], rtol=0)


def test_compiled_model_refuses_the_variables_of_the_fused_operator(speech_tiny, exported, clips, capfd):
    with pytest.raises(RuntimeError, match="Failed to load model"):
        compiled_model(exported(speech_tiny, "mediapipe"), clips)
    assert "Variable tensors not yet supported" in capfd.readouterr().err
