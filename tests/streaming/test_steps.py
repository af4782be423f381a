import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import lstm_zoo
from lstm_zoo.demo import CLIP
from lstm_zoo.errors import ExportError, InvalidInputError
from lstm_zoo.exporters.hoisted_loop import hoisted_lstm
from lstm_zoo.layers import SLSTM, GatedLSTM
from lstm_zoo.models import speech
from lstm_zoo.streaming.steps import StepModel

FEATURES = 6
CONVOLUTIONS = [{"filters": 4, "kernel": [5, 5], "strides": [2, 2]}, {"filters": 5}]
SAMPLES = 4_000  # of a clip that a sliding answer is about


def scrambled(model: keras.Model) -> keras.Model:
    """The model with values for every weight that are anything but special."""
    random = np.random.default_rng(7)
    for variable in model.weights:
        low, high = (0.5, 1.5) if "variance" in variable.path or "gamma" in variable.path else (-0.6, 0.6)
        if variable.dtype == "float32":
            variable.assign(random.uniform(low, high, variable.shape))
    return model


def spotter(**options) -> keras.Model:
    config = {"labels": ["yes", "no", "up"], "convolutions": CONVOLUTIONS, "units": 7, **options}
    return scrambled(speech.build(speech.SpeechConfig.create(config)))


def sequential(*layers, length=None) -> keras.Model:
    return scrambled(keras.Sequential([keras.Input((length, FEATURES), name="features"), *layers]))


def convolved(*layers) -> keras.Model:
    """Windows of 7 positions, 4 apart: every call needs positions of the one before."""
    return sequential(
        keras.layers.Conv1D(5, 3, strides=2, activation="relu"), keras.layers.Conv1D(4, 3, strides=2), *layers
    )


def signal(model: keras.Model, length: int) -> np.ndarray:
    shape = (1, length, *model.inputs[0].shape[2:])
    return (0.5 * np.random.default_rng(3).standard_normal(shape)).astype("float32")


def offline(model: keras.Model, x: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(part) for part in keras.tree.flatten(model(tf.constant(x), training=False))]


def fresh(steps: StepModel) -> dict[str, tf.Tensor]:
    return {name: tf.zeros(spec.shape, spec.dtype) for name, spec in steps.states.items()}


def listen(steps: StepModel, x: np.ndarray, sizes):
    """For each block of so many steps: positions heard, steps, the outputs."""
    states, heard = fresh(steps), 0
    for size in sizes:
        block = x[:, heard : heard + size * steps.stride]
        outputs, states = steps(block, states)
        heard += size * steps.stride
        yield heard, size, [np.asarray(output) for output in outputs.values()]


# What Keras says of the reference, a softmax over the single step heard so far.
pytestmark = pytest.mark.filterwarnings("ignore:(?s).*softmax over axis 1:UserWarning")

LSTM = keras.layers.LSTM
CAUSAL = {
    "last": lambda: spotter(pooling="last"),
    "mean of two layers": lambda: spotter(pooling="mean", layers=2),
    "attention": lambda: spotter(pooling="attention"),
    "maximum": lambda: convolved(
        LSTM(7, return_sequences=True), keras.layers.GlobalMaxPooling1D(), keras.layers.Dense(3)
    ),
    "pooling with its axis kept": lambda: convolved(
        LSTM(7, return_sequences=True), keras.layers.GlobalAveragePooling1D(keepdims=True)
    ),
    "every step": lambda: convolved(LSTM(7, return_sequences=True), keras.layers.Dense(3)),
    "features": lambda: sequential(LSTM(7, return_sequences=True), LSTM(5), keras.layers.Dense(3)),
    "features, every step": lambda: sequential(LSTM(7, return_sequences=True, unroll=False)),
    "unrolled": lambda: convolved(LSTM(7, unroll=True)),
    "peephole": lambda: convolved(GatedLSTM(7, "peephole")),
    "gates that are fed back": lambda: convolved(GatedLSTM(7, "full_gate_recurrence")),
    "slstm": lambda: convolved(SLSTM(6, heads=2, return_sequences=True), SLSTM(4)),
    "windows apart": lambda: sequential(keras.layers.Conv1D(4, 2, strides=3), LSTM(5)),
    "nested": lambda: convolved(
        keras.Sequential([LSTM(7, return_sequences=True, name="lstm"), keras.layers.GlobalAveragePooling1D()])
    ),
    "beside": lambda: residual(),
}


def residual() -> keras.Model:
    """Two layers of the same name, two outputs, and a path beside the recurrent layer."""
    source = keras.Input((None, FEATURES), name="features")
    x = keras.layers.Conv1D(4, 3)(source)
    inner = keras.Sequential([keras.Input((None, 4)), LSTM(4, return_sequences=True, name="same")])
    y = keras.layers.Add(name="sum")([x, inner(x)])
    return scrambled(keras.Model(source, [y, LSTM(3, name="same")(y)]))


@pytest.mark.parametrize("kind", CAUSAL)
def test_continuous_answers_are_those_to_everything_heard(kind):
    model = CAUSAL[kind]()
    steps = StepModel(model, "continuous")
    compared = 0
    for sizes in ([1] * (steps.warm_up + 3), [steps.warm_up + 1, 1, 3, 2]):
        x = signal(model, sum(sizes) * steps.stride)
        for heard, size, outputs in listen(steps, x, sizes):
            if heard < steps.warm_up * steps.stride:
                continue
            for output, expected in zip(outputs, offline(model, x[:, :heard]), strict=True):
                if output.ndim > 2 and output.shape != expected.shape:  # the new ones of all steps
                    expected = expected[:, -size:]
                    output = output[:, -expected.shape[1] :]
                np.testing.assert_allclose(output, expected, atol=1e-5)
                compared += 1
    assert compared >= 7


SLIDING = {name: make for name, make in CAUSAL.items() if name != "beside"} | {
    "bidirectional": lambda: spotter(bidirectional=True, layers=2, pooling="mean"),
    "backwards": lambda: convolved(LSTM(7, go_backwards=True)),
    "convolution after": lambda: convolved(LSTM(7, return_sequences=True), keras.layers.Conv1D(3, 3, padding="same")),
    "fixed length": lambda: sequential(
        LSTM(7, return_sequences=True), keras.layers.Flatten(), keras.layers.Dense(3), length=11
    ),
}


@pytest.mark.parametrize("kind", SLIDING)
def test_sliding_answers_are_those_to_the_last_clip(kind):
    model = SLIDING[kind]()
    samples = SAMPLES if len(model.inputs[0].shape) == 2 else 11
    steps = StepModel(model, "sliding", samples)
    compared = 0
    for sizes in ([1] * (steps.warm_up + 2), [steps.warm_up - 1, 2, 1, steps.warm_up + 4, 1]):
        x = signal(model, (sum(sizes) + 1) * steps.stride)
        for heard, _, outputs in listen(steps, x, sizes):
            if heard < steps.warm_up * steps.stride:
                continue
            start = heard - steps.window
            for output, expected in zip(outputs, offline(model, x[:, start : start + samples]), strict=True):
                np.testing.assert_allclose(output, expected, atol=1e-5)
                compared += 1
    assert compared == 7


def test_pretrained_model_on_real_speech():
    model = lstm_zoo.get("speech")
    x = soundfile.read(CLIP, dtype="float32")[0][None, : 2 * 16_000]
    for streaming, warm_up, window in (("sliding", 25, 16_000), ("continuous", 5, None)):
        steps = StepModel(model, streaming)
        assert (steps.receptive_field, steps.stride) == (3_040, 640)
        assert (steps.warm_up, steps.window) == (warm_up, window)
        sizes = [25] + [1] * 5 + [2] * 10
        for heard, _, (probabilities,) in listen(steps, x, sizes):
            expected = offline(model, x[:, heard - (window or heard) : heard])
            np.testing.assert_allclose(probabilities, expected[0], atol=1e-5)


def test_states_have_names_and_shapes_and_nothing_that_is_not_needed():
    states = StepModel(spotter(layers=2), "continuous").states
    assert {name: (spec.shape.as_list(), spec.dtype) for name, spec in states.items()} == {
        "audio_tail": ([1, 5 * 320], tf.float32),
        "count": ([1], tf.int32),
        **{f"lstm_{layer}_{state}": ([1, 7], tf.float32) for layer in (1, 2) for state in "hc"},
        "attention_mean": ([1, 8], tf.float32),
        "attention_mean_rest": ([1, 8], tf.float32),
        "attention_maximum": ([1, 1], tf.float32),
    }
    assert all(spec.name == name for name, spec in states.items())
    assert list(StepModel(sequential(LSTM(4, name="a-b")), "continuous").states) == ["a_b_h", "a_b_c"]
    peephole = StepModel(sequential(GatedLSTM(4, "full_gate_recurrence", name="full")), "continuous")
    assert list(peephole.states) == ["full_h", "full_c", "full_feedback"]
    assert set(StepModel(sequential(SLSTM(4, name="s")), "continuous").states) == {
        "s_h", "s_c", "s_normalizer", "s_stabilizer"
    }  # fmt: skip
    assert len(StepModel(residual(), "continuous").states) == 6


def test_both_directions_share_what_they_hear():
    states = StepModel(spotter(bidirectional=True), "sliding", SAMPLES).states
    assert [name for name in states if name.endswith("_inputs")] == ["forward_lstm_1_inputs"]


def test_ids_are_heard_as_ids():
    model = scrambled(keras.Sequential([keras.Input((None,), dtype="int32"), keras.layers.Embedding(9, 4), LSTM(5)]))
    steps = StepModel(model, "continuous")
    assert steps.block(3).dtype == tf.int32
    ids = np.array([[4, 0, 8, 2, 7]], "int32")
    for heard, _, (output,) in listen(steps, ids, [2, 1, 2]):
        np.testing.assert_allclose(output, offline(model, ids[:, :heard])[0], atol=1e-6)


def test_nothing_drifts_over_many_blocks():
    blocks, layers = 20_000, keras.layers
    poolings = [layers.GlobalAveragePooling1D(), layers.GlobalMaxPooling1D(), speech.AttentionPooling(3)]
    source = keras.Input((None, FEATURES), name="features")
    lstm = LSTM(2, return_sequences=True, unroll=True)  # which makes the loop over the blocks fast
    sequences = lstm(source)
    model = scrambled(keras.Model(source, [pooling(sequences) for pooling in poolings]))
    steps = StepModel(model, "continuous")
    x = signal(model, blocks) * np.linspace(0.1, 2.0, blocks, dtype="float32")[:, None] + 1.0

    @tf.function(autograph=False, jit_compile=True)
    def run(x):
        first = [tf.zeros([1, 2])] * 3, fresh(steps)
        return tf.scan(lambda carried, block: _listed(steps(block, carried[1])), x, first)[0]

    answers = run(tf.constant(np.swapaxes(x, 0, 1)[:, None]))
    lstm.unroll = False
    wide = keras.Model(source, sequences).predict(x, verbose=0).astype("float64")
    for pooling, answer in zip(poolings, answers, strict=True):
        for heard in (1, 7, 10_000, blocks):
            np.testing.assert_allclose(answer[heard - 1], pooled(pooling, wide[:, :heard]), atol=1e-6)


def _listed(result):
    outputs, states = result
    return list(outputs.values()), states


def pooled(layer: keras.layers.Layer, x: np.ndarray) -> np.ndarray:
    """The pooling's equation in float64."""
    if isinstance(layer, keras.layers.GlobalAveragePooling1D):
        return x.mean(axis=1)
    if isinstance(layer, keras.layers.GlobalMaxPooling1D):
        return x.max(axis=1)
    kernel, bias, score = (np.asarray(weight, "float64") for weight in layer.get_weights())
    weights = np.exp(np.tanh(x @ kernel + bias) @ score)
    return (weights * x).sum(axis=1) / weights.sum(axis=1)


def test_count_does_not_overflow_after_years():
    steps = StepModel(convolved(LSTM(3, return_sequences=True), keras.layers.GlobalMaxPooling1D()))
    most = 2**30
    for count in (most - 1, most, most + 3):
        states = fresh(steps) | {"count": tf.constant([count])}
        outputs, after = steps(signal(steps.model, 3 * steps.stride), states)
        assert most <= after["count"][0] <= most + 3
        assert all(np.isfinite(output).all() for output in outputs.values())


def test_attention_bears_scores_of_any_size():
    model = sequential(LSTM(4, return_sequences=True), speech.AttentionPooling(3))
    score = model.layers[-1].score
    score.kernel.assign(score.kernel * 1e3)
    steps = StepModel(model, "continuous")
    x = signal(model, 30)
    for heard, _, (output,) in listen(steps, x, [1, 4] * 6):
        np.testing.assert_allclose(output, offline(model, x[:, :heard])[0], atol=1e-5)


@pytest.mark.parametrize("streaming", ["continuous", "sliding"])
@pytest.mark.parametrize("blocks", [1, 3])
def test_tflite_file_answers_as_the_model(streaming, blocks, tmp_path):
    model = spotter(layers=2)
    steps = StepModel(model, streaming, SAMPLES)

    def call(**tensors):
        block = tensors.pop(steps.block(blocks).name)
        outputs, states = steps(block, tensors)
        return outputs | states

    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    function = tf.function(call, autograph=False)
    with hoisted_lstm(model):
        concrete = function.get_concrete_function(
            **{spec.name: spec for spec in (steps.block(blocks), *steps.states.values())}
        )
        tf.saved_model.save(module, str(tmp_path), {"step": concrete})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    runner = Interpreter(model_content=converter.convert()).get_signature_runner()
    states = {name: np.zeros(spec.shape, spec.dtype.as_numpy_dtype) for name, spec in steps.states.items()}
    x = signal(model, (steps.warm_up + 7) * steps.stride)
    compared = 0
    for start in range(0, x.shape[1] - blocks * steps.stride, blocks * steps.stride):
        heard = start + blocks * steps.stride
        outputs = runner(audio=x[:, start:heard], **states)
        states = {name: outputs[name] for name in states}
        if heard >= steps.warm_up * steps.stride:
            first = heard - (steps.window or heard)
            end = first + SAMPLES if steps.window else heard
            np.testing.assert_allclose(outputs["probabilities"], offline(model, x[:, first:end])[0], atol=1e-5)
            compared += 1
    assert compared >= 2


def test_model_is_as_it_was():
    model = spotter()
    x = signal(model, SAMPLES)
    before = offline(model, x)
    steps = StepModel(model, "continuous")
    list(listen(steps, x, [1, 2]))
    with pytest.raises(InvalidInputError):
        steps(x[:, : steps.stride], {})
    assert not any({"inner_loop", "call"} & vars(layer).keys() for layer in model._flatten_layers())
    np.testing.assert_array_equal(offline(model, x), before)


def test_training_only_layers_are_off():
    model = sequential(keras.layers.Dropout(0.5), LSTM(4, dropout=0.5, recurrent_dropout=0.5))
    x = signal(model, 5)
    first, second = ([outputs for *_, outputs in listen(StepModel(model), x, [2, 3])] for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("make", "streaming", "words"),
    [
        (lambda: sequential(keras.layers.Conv1D(4, 3, padding="same"), LSTM(3, name="ear")), "sliding", "ear pads"),
        (lambda: sequential(keras.layers.Conv1D(4, 3, padding="causal"), LSTM(3)), "continuous", 'padding="valid"'),
        (lambda: sequential(keras.layers.ZeroPadding1D(4), LSTM(3, name="ear")), "continuous", "ear pads"),
        (lambda: sequential(centred(), LSTM(3, name="ear")), "continuous", "the whole recording"),
        (lambda: sequential(keras.layers.GlobalAveragePooling1D(keepdims=True), LSTM(3)), "sliding", "one more step"),
        (lambda: sequential(LSTM(3, stateful=False), keras.layers.Dense(2)), "backwards", None),
        (lambda: spotter(bidirectional=True), "continuous", "bidirectional_1 runs backwards.*streaming='sliding'"),
        (lambda: sequential(LSTM(3, go_backwards=True, name="ear")), "continuous", "ear runs backwards"),
        (lambda: sequential(keras.layers.Masking(), LSTM(3, name="ear")), "continuous", "ear receives a mask"),
        (lambda: sequential(keras.layers.Dense(3)), "continuous", "LSTM"),
        (lambda: branches(), "sliding", "fast takes other steps than slow"),
        (lambda: twice(), "continuous", "ear is called on several inputs"),
        (lambda: twice(), "sliding", "ear is called on several inputs"),
        (lambda: sequential(LSTM(3, name="count"), keras.layers.Dense(2, name="count_h")), "continuous", "count_h"),
    ],
)
def test_what_cannot_be_streamed_is_refused(make, streaming, words):
    if words is None:
        with pytest.raises(InvalidInputError, match="streaming='backwards': expected one of 'continuous', 'sliding'"):
            StepModel(make(), streaming)
        return
    with pytest.raises(ExportError, match=words) as caught:
        steps = StepModel(make(), streaming, 8)
        steps(signal(steps.model, steps.stride), fresh(steps))
    assert "Exception encountered" not in str(caught.value)


def centred() -> keras.layers.Layer:
    return keras.layers.Lambda(lambda x: x - keras.ops.mean(x, axis=1, keepdims=True), output_shape=lambda shape: shape)


def branches() -> keras.Model:
    source = keras.Input((None, FEATURES))
    slow = keras.layers.Conv1D(3, 2, strides=2)(source)
    return keras.Model(source, [LSTM(3, name="fast")(source), LSTM(3, name="slow")(slow)])


def twice() -> keras.Model:
    source = keras.Input((None, FEATURES))
    layer = LSTM(3, name="ear")
    return keras.Model(source, layer(source) + layer(keras.layers.Dense(FEATURES)(source)))


@pytest.mark.parametrize(
    ("make", "streaming"),
    [
        (lambda: spotter(layers=2), "continuous"),
        (lambda: spotter(layers=2, bidirectional=True), "sliding"),
        (lambda: residual(), "continuous"),
        (lambda: SLIDING["fixed length"](), "sliding"),
    ],
)
def test_check_passes_what_is_right(make, streaming):
    StepModel(make(), streaming).check()


@pytest.mark.parametrize(
    ("make", "streaming", "words"),
    [
        (lambda: SLIDING["convolution after"](), "continuous", "conv1d.* differs .*streaming='sliding' may do"),
        (lambda: sequential(LSTM(3, return_sequences=True), centred(), LSTM(4, name="end")), "continuous", "end of a"),
        (lambda: SLIDING["fixed length"](), "continuous", "block by block"),
        (lambda: residual(), "sliding", "block by block"),
        (lambda: sequential(LSTM(3, return_sequences=True), keras.layers.AveragePooling1D(2), LSTM(4, name="end")),
         "continuous", "end receives 1 steps where the first recurrent layer takes 2"),
    ],
)  # fmt: skip
def test_check_finds_what_mixes_steps(make, streaming, words):
    steps = StepModel(make(), streaming, 9)
    with pytest.raises(ExportError, match=words):
        steps.check()


@pytest.mark.parametrize(
    ("shape", "samples", "words"),
    [((1, 100), 4_000, r"got shape \(1, 100\), expected \[1, a multiple of 320\]"), ((2, 320), 4_000, "block"),
     ((1, 0), 4_000, "block"), ((1, 320, 1), 4_000, "block"), ((320,), 4_000, "block"),
     (None, 1_000, "samples=1000: a recurrent step alone takes 1760"), (None, 0, "samples=0"), (None, 1.5, "samples")],
)  # fmt: skip
def test_wrong_arguments_are_named(shape, samples, words):
    with pytest.raises(InvalidInputError, match=words):
        steps = StepModel(spotter(), "sliding", samples)
        steps(np.zeros(shape, "float32"), fresh(steps))


def test_length_of_the_clip_has_to_be_known():
    with pytest.raises(InvalidInputError, match="samples=None"):
        StepModel(sequential(LSTM(3)), "sliding")


def test_several_inputs_are_refused():
    sources = [keras.Input((None, 2)), keras.Input((None, 2))]
    with pytest.raises(InvalidInputError, match="one input"):
        StepModel(keras.Model(sources, LSTM(3)(keras.layers.Concatenate()(sources))))
