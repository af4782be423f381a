import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from small_models import CLIP, LABELS, answers, clips, scramble, small_model

from lstm_zoo.errors import ExportError, InvalidInputError
from lstm_zoo.exporters import tflite
from lstm_zoo.exporters.processes import run_python
from lstm_zoo.frontends.audio import LogMelSpectrogram

# The newest versions of operators that tflite-runtime 2.14, of 2023, runs.
VERSIONS_OF_2023 = {"FULLY_CONNECTED": 11, "CONV_2D": 8, "DYNAMIC_UPDATE_SLICE": 1, "WHILE": 1}
NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
TYPES = {code: name for name, code in vars(schema.TensorType).items() if not name.startswith("_")}


def run(content: bytes, inputs: np.ndarray) -> np.ndarray:
    runner = Interpreter(model_content=content, num_threads=1).get_signature_runner("serving_default")
    (name,) = runner.get_input_details()
    return np.concatenate([next(iter(runner(**{name: x[None]}).values())) for x in inputs])


def parse(content: bytes) -> schema.ModelT:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))


def operators(content: bytes) -> list[str]:
    model = parse(content)
    kinds = [NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in model.operatorCodes]
    return [kinds[operator.opcodeIndex] for graph in model.subgraphs for operator in graph.operators]


@pytest.fixture(scope="module")
def converted(model):
    return {quantize: tflite.convert(model, quantize, CLIP) for quantize in tflite.QUANTIZATIONS}


def test_file_gives_the_models_answers(model, converted):
    inputs = clips()
    expected = answers(model, inputs)
    assert np.ptp(expected, axis=0).max() > 1e-3  # the clips are told apart, or equality would mean nothing
    np.testing.assert_allclose(run(converted[None], inputs), expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(run(converted["float16"], inputs), expected, atol=5e-3, rtol=0)
    np.testing.assert_allclose(run(converted["dynamic_int8"], inputs), expected, atol=5e-2, rtol=0)


def test_file_keeps_no_state(converted):
    first, other = clips(2)
    for content in converted.values():
        outputs = run(content, np.stack([first, other, first, first]))
        np.testing.assert_array_equal(outputs[[2, 3]], outputs[[0, 0]])
        assert not np.array_equal(outputs[0], outputs[1])


def test_signature_has_the_models_names_and_shapes(converted):
    interpreter = Interpreter(model_content=converted[None])
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["audio"], "outputs": ["probabilities"]}}
    runner = interpreter.get_signature_runner("serving_default")
    audio = runner.get_input_details()["audio"]
    probabilities = runner.get_output_details()["probabilities"]
    assert (audio["shape"].tolist(), audio["dtype"]) == ([1, CLIP], np.float32)
    assert (probabilities["shape"].tolist(), probabilities["dtype"]) == ([1, len(LABELS)], np.float32)


@pytest.mark.parametrize(
    ("options", "loops"),
    [
        ({"layers": 2}, 2),
        ({"bidirectional": True, "pooling": "attention", "layers": 2}, 4),
    ],
)
def test_every_form_of_the_model_converts(options, loops):
    model, inputs = small_model(**options), clips()
    content = tflite.convert(model, samples=CLIP)
    np.testing.assert_allclose(run(content, inputs), answers(model, inputs), atol=1e-5, rtol=0)
    used = operators(content)
    assert used.count("WHILE") == loops
    assert "CUSTOM" not in used
    # The product with the kernel is outside: a loop's body has one matrix product for each step in it.
    model = parse(content)
    bodies = [g for g in model.subgraphs[1:] if "TANH" in [_kind(model, operator) for operator in g.operators]]
    assert len(bodies) == loops
    for body in bodies:
        kinds = [_kind(model, operator) for operator in body.operators]
        assert kinds.count("FULLY_CONNECTED") * 2 == kinds.count("TANH")


def _kind(model: schema.ModelT, operator: schema.OperatorT) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    return NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def test_only_builtin_operators_of_versions_in_the_field(converted):
    for content in converted.values():
        for code in parse(content).operatorCodes:
            name = NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]
            assert name != "CUSTOM"
            assert code.version <= VERSIONS_OF_2023.get(name, code.version), name


def test_large_weights_are_small_in_the_quantised_files():
    # Small enough to be quick, with a kernel above and others below the converter's limit of 1,024 elements.
    model = small_model(units=24)
    kernel = next(weight for weight in model.weights if weight.path.endswith("lstm_cell/kernel"))
    assert kernel.value.shape[0] * kernel.value.shape[1] >= 1024
    size = {quantize: len(tflite.convert(model, quantize, CLIP)) for quantize in (None, "dynamic_int8")}
    quantised = sum(np.prod(w.shape) for w in model.weights if np.prod(w.shape) >= 1024)
    assert size[None] - size["dynamic_int8"] > 0.9 * 3 * quantised


def test_logarithm_of_mel_keeps_its_precision_in_an_int8_file():
    audio = keras.Input((None,), name="audio")
    model = keras.Model(audio, LogMelSpectrogram(name="log_mel")(audio))
    content = tflite.convert(model, "dynamic_int8", CLIP)
    inputs = clips()
    np.testing.assert_allclose(run(content, inputs), answers(model, inputs), atol=1e-3, rtol=0)
    assert not [
        tensor for graph in parse(content).subgraphs for tensor in graph.tensors if TYPES[tensor.type] == "INT8"
    ]


def test_model_without_audio_converts_with_its_own_names():
    inputs = keras.Input((11, 3), name="series")
    x = keras.layers.LSTM(8, return_sequences=True, go_backwards=True)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="forecast")(x))
    scramble(model)
    x = np.random.default_rng(0).standard_normal((3, 11, 3)).astype("float32")
    content = tflite.convert(model)
    np.testing.assert_allclose(run(content, x), answers(model, x), atol=1e-5, rtol=0)
    assert Interpreter(model_content=content).get_signature_list() == {
        "serving_default": {"inputs": ["series"], "outputs": ["forecast"]}
    }


def test_length_defaults_to_that_of_the_clips(model):
    from lstm_zoo.exporters.saved_model import input_shape

    assert input_shape(model) == (1, model.config.clip_samples)
    assert input_shape(model, 123) == (1, 123)


@pytest.mark.parametrize("samples", [0, -1, 1.5, "1", True])
def test_bad_length_is_refused(model, samples):
    with pytest.raises(InvalidInputError, match="samples: .*expected"):
        tflite.convert(model, samples=samples)


def test_length_is_asked_for_where_the_model_has_none():
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(2)])
    with pytest.raises(InvalidInputError, match=r"samples: the model's input is \[None, 3\]"):
        tflite.convert(model)


def test_unknown_quantization_lists_those_there_are(model):
    with pytest.raises(InvalidInputError, match=r"quantize: got 'int4', there are: None, 'float16', 'dynamic_int8'"):
        tflite.convert(model, "int4")


def test_two_inputs_are_refused():
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    with pytest.raises(InvalidInputError, match=r"one float32 input and one output.*'a'.*'b'"):
        tflite.convert(keras.Model([a, b], keras.layers.add([a, b])))


def test_what_builtin_operators_cannot_do_is_an_export_error():
    inputs = keras.Input((4, 4), name="matrix")
    model = keras.Model(inputs, keras.ops.det(inputs))
    with pytest.raises(ExportError, match="converting to TFLite failed: the process ended with status 1"):
        tflite.convert(model)


def test_crash_of_a_process_is_an_export_error():
    with pytest.raises(ExportError, match=r"replaying failed: the process was killed by SIGABRT"):
        run_python(["-c", "import os; os.abort()"], "replaying")


def test_failure_of_a_process_shows_its_last_words():
    with pytest.raises(ExportError, match=r"(?s)it failed: the process ended with status 3.*last words"):
        run_python(["-c", "import sys; print('last words', file=sys.stderr); sys.exit(3)"], "it")
