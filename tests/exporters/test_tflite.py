import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from converted import convert, operators, run
from small_models import CLIP, LABELS, answers, clips, own_cell, scramble, small_model

from lstm_zoo.errors import ExportError
from lstm_zoo.exporters import flatbuffer, tflite
from lstm_zoo.exporters.processes import run_python
from lstm_zoo.exporters.signatures import input_specs, streaming_signatures, whole
from lstm_zoo.frontends.audio import LogMelSpectrogram

QUANTIZATIONS = (None, "float16", "dynamic_int8")

# The newest versions of operators that tflite-runtime 2.14, of 2023, runs.
VERSIONS_OF_2023 = {"FULLY_CONNECTED": 11, "CONV_2D": 8, "DYNAMIC_UPDATE_SLICE": 1, "WHILE": 1}
TYPES = {code: name for name, code in vars(schema.TensorType).items() if not name.startswith("_")}


@pytest.fixture(scope="module")
def converted(model):
    return {quantize: convert(model, quantize, CLIP) for quantize in QUANTIZATIONS}


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
    content = convert(model, samples=CLIP)
    np.testing.assert_allclose(run(content, inputs), answers(model, inputs), atol=1e-5, rtol=0)
    used = operators(content)
    assert used.count("WHILE") == loops
    assert "CUSTOM" not in used
    # The product with the kernel is outside: a loop's body has one matrix product for each step in it.
    model = flatbuffer.parse(content)
    bodies = [
        g for g in model.subgraphs[1:] if "TANH" in [flatbuffer.kind(model, operator) for operator in g.operators]
    ]
    assert len(bodies) == loops
    for body in bodies:
        kinds = [flatbuffer.kind(model, operator) for operator in body.operators]
        assert kinds.count("FULLY_CONNECTED") * 2 == kinds.count("TANH")


def test_only_builtin_operators_of_versions_in_the_field(converted):
    for content in converted.values():
        for code in flatbuffer.parse(content).operatorCodes:
            name = flatbuffer.OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
            assert name != "CUSTOM"
            assert code.version <= VERSIONS_OF_2023.get(name, code.version), name


def test_large_weights_are_small_in_the_quantised_files():
    # Small enough to be quick, with a kernel above and others below the converter's limit of 1,024 elements.
    model = small_model(units=24)
    kernel = next(weight for weight in model.weights if weight.path.endswith("lstm_cell/kernel"))
    assert kernel.value.shape[0] * kernel.value.shape[1] >= 1024
    size = {quantize: len(convert(model, quantize, CLIP)) for quantize in (None, "dynamic_int8")}
    quantised = sum(np.prod(w.shape) for w in model.weights if np.prod(w.shape) >= 1024)
    assert size[None] - size["dynamic_int8"] > 0.9 * 3 * quantised


def test_logarithm_of_mel_keeps_its_precision_in_an_int8_file():
    audio = keras.Input((None,), name="audio")
    model = keras.Model(audio, LogMelSpectrogram(name="log_mel")(audio))
    content = convert(model, "dynamic_int8", CLIP)
    inputs = clips()
    np.testing.assert_allclose(run(content, inputs), answers(model, inputs), atol=1e-3, rtol=0)
    assert not [
        tensor
        for graph in flatbuffer.parse(content).subgraphs
        for tensor in graph.tensors
        if TYPES[tensor.type] == "INT8"
    ]


def test_model_without_audio_converts_with_its_own_names():
    inputs = keras.Input((11, 3), name="series")
    x = keras.layers.LSTM(8, return_sequences=True, go_backwards=True)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="forecast")(x))
    scramble(model)
    x = np.random.default_rng(0).standard_normal((3, 11, 3)).astype("float32")
    content = convert(model)
    np.testing.assert_allclose(run(content, x), answers(model, x), atol=1e-5, rtol=0)
    assert Interpreter(model_content=content).get_signature_list() == {
        "serving_default": {"inputs": ["series"], "outputs": ["forecast"]}
    }


def test_what_builtin_operators_cannot_do_is_an_export_error():
    inputs = keras.Input((4, 4), name="matrix")
    model = keras.Model(inputs, keras.ops.det(inputs))
    expected = r"converting to TFLite \(profile default, float32\) failed: the process ended with status 1"
    with pytest.raises(ExportError, match=expected):
        convert(model)


def test_crash_of_a_process_is_an_export_error():
    with pytest.raises(ExportError, match=r"replaying failed: the process was killed by SIGABRT"):
        run_python(["-c", "import os; os.abort()"], "replaying")


def test_failure_of_a_process_shows_its_last_words():
    with pytest.raises(ExportError, match=r"(?s)it failed: the process ended with status 3.*last words"):
        run_python(["-c", "import sys; print('last words', file=sys.stderr); sys.exit(3)"], "it")


def test_what_the_converter_says_twice_in_two_forms_is_said_once():
    place = 'loc(callsite(fused["Op:", "model/noisy_1/Op@__inference_<lambda>_7"] at fused["Call:", "Call@fn"]))'
    lines = [f"<unknown>:0: error: {place}: 'tf.Op' op is neither", f"{place}: error: 'tf.Op' op is neither"]
    lines += ["error: failed while converting: 'main': ", "<unknown>:0: error: failed while converting: 'main': "]
    with pytest.raises(ExportError) as caught:
        run_python(["-c", f"import sys; print(*{lines}, sep='\\n', file=sys.stderr); sys.exit(1)"], "it")
    assert str(caught.value).splitlines()[1:] == ["error: model/noisy_1/Op: 'tf.Op' op is neither"]


@pytest.mark.parametrize("profile", ["default", "universal", "mediapipe"])
def test_model_without_a_recurrent_layer_is_plain_tflite(profile):
    inputs = keras.Input((4, 3), name="x")
    model = keras.Model(inputs, keras.layers.Conv1D(2, 3, name="y")(inputs))
    x = np.random.default_rng(0).standard_normal((2, 4, 3)).astype("float32")
    np.testing.assert_allclose(run(convert(model, profile=profile), x), answers(model, x), atol=1e-6)


def test_layers_of_others_are_traced_as_they_are():
    class Doubled(keras.layers.Layer):
        def call(self, x):
            return 2.0 * x

    inputs = keras.Input((4, 3), name="x")
    model = keras.Model(inputs, keras.layers.LSTM(5)(Doubled()(inputs)))
    x = np.random.default_rng(0).standard_normal((2, 4, 3)).astype("float32")
    np.testing.assert_allclose(run(convert(model), x), answers(model, x), atol=1e-6)


@pytest.mark.parametrize("profile", ["default", "universal"])
def test_signatures_of_one_file_share_their_weights(profile):
    model = small_model(units=32)
    specs = input_specs(model, 16_000)
    alone = tflite.convert(model, (whole(model, specs),), profile=profile)
    faces = streaming_signatures(model, specs, "sliding")
    together = tflite.convert(model, faces, profile=profile)
    constants = [
        sum(len(buffer.data) for buffer in flatbuffer.parse(content).buffers if buffer.data is not None)
        for content in (alone, together)
    ]
    assert constants[1] < 1.1 * constants[0]  # operators thrice, weights once
    signatures = Interpreter(model_content=together).get_signature_list()
    assert set(signatures) == {"clip", "step", "chunk"}
    assert signatures["step"] == signatures["chunk"]
    assert set(signatures["step"]["outputs"]) - set(signatures["step"]["inputs"]) == {"probabilities"}


def test_profiles_have_their_form():
    model = small_model()
    used = {profile: operators(convert(model, samples=CLIP, profile=profile)) for profile in ("default", "universal")}
    assert used["default"].count("WHILE") == 1
    assert "WHILE" not in used["universal"]
    steps = used["universal"].count("TANH") // 2
    assert steps > 3
    assert used["universal"].count("FULLY_CONNECTED") >= steps


def test_a_cell_of_its_own_kind_keeps_its_equations():
    model = keras.Sequential([keras.Input((5, 3)), own_cell(name="lstm")])
    scramble(model)
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype("float32")
    np.testing.assert_allclose(run(convert(model), x), answers(model, x), atol=1e-6)


def test_what_cannot_be_converted_is_named_with_its_layer():
    inputs = keras.Input((5, 3))
    noisy = keras.layers.Lambda(lambda x: x + keras.random.normal(keras.ops.shape(x), seed=1), name="noisy")(inputs)
    with pytest.raises(ExportError, match=r"error: .*noisy\w*/\S*: '\S*Random\S*' op is neither") as caught:
        convert(keras.Model(inputs, noisy))
    assert "loc(" not in str(caught.value)
    assert "failed while converting" not in str(caught.value)
