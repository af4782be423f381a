import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import CLIP, LABELS, answers, clips, scramble

from lstm_zoo.errors import ExportError, InvalidInputError
from lstm_zoo.exporters import signatures
from lstm_zoo.exporters.signatures import input_specs, output_names, streaming_signatures, whole
from lstm_zoo.streaming.steps import StepModel


@pytest.fixture(scope="module")
def nested() -> keras.Model:
    """Inputs of all three types in a dictionary with a list in it, and outputs in a dictionary."""
    keras.utils.set_random_seed(7)
    ids = keras.Input((None,), dtype="int32", name="ids")
    gains = keras.Input((3,), name="gains")
    flags = keras.Input((3,), dtype="bool", name="flags")
    x = keras.layers.LSTM(4, name="last")(keras.layers.Embedding(7, 5)(ids))
    features = keras.layers.Concatenate()([x, gains, keras.ops.cast(flags, "float32")])
    outputs = {"score": keras.layers.Dense(2, name="score")(features), "hidden": x}
    model = keras.Model({"ids": ids, "more": [gains, flags]}, outputs)
    scramble(model)
    return model


def spec_facts(specs) -> dict:
    return {spec.name: (spec.shape.as_list(), spec.dtype.name) for spec in specs}


def test_every_input_has_its_name_type_and_shape(nested):
    assert spec_facts(input_specs(nested, samples=11)) == {
        "ids": ([1, 11], "int32"),
        "gains": ([1, 3], "float32"),
        "flags": ([1, 3], "bool"),
    }
    assert spec_facts(input_specs(nested, dynamic=True)) == {
        "ids": ([None, None], "int32"),
        "gains": ([None, 3], "float32"),
        "flags": ([None, 3], "bool"),
    }


def test_whole_model_gives_its_outputs_by_name(nested):
    specs = input_specs(nested, samples=6)
    random = np.random.default_rng(0)
    ids = random.integers(0, 7, (1, 6)).astype("int32")
    gains, flags = random.standard_normal((1, 3)).astype("float32"), np.array([[True, False, True]])
    signature = whole(nested, specs)
    given = {"flags": flags, "ids": ids, "gains": gains}  # in another order than the model's
    got = signature.trace()(**{name: tf.constant(value) for name, value in given.items()})
    expected = nested({"ids": ids, "more": [gains, flags]}, training=False)
    assert signature.name == "serving_default"
    assert set(got) == {"score", "last"}
    np.testing.assert_allclose(got["score"], expected["score"], atol=1e-6)
    np.testing.assert_allclose(got["last"], expected["hidden"], atol=1e-6)


def test_sequential_model_has_its_last_layers_name():
    model = keras.Sequential([keras.Input((5, 3), name="series"), keras.layers.LSTM(2, name="forecast")])
    (spec,) = input_specs(model)
    assert (spec.name, spec.shape.as_list()) == ("series", [1, 5, 3])
    assert output_names(model) == ["forecast"]
    x = clips(1, 15).reshape(1, 5, 3)
    got = whole(model, (spec,)).call(series=tf.constant(x))
    np.testing.assert_allclose(got["forecast"], answers(model, x), atol=1e-6)


def test_names_are_as_tensorflow_takes_them_and_all_different():
    a, b, c = (keras.Input((3,), name=name) for name in ("sound-1", "sound 1", "_x"))
    total = keras.layers.Add(name="sound.1")([a, b, c])
    model = keras.Model([a, b, c], [total, total, c])
    assert [spec.name for spec in input_specs(model)] == ["sound_1", "sound_1_1", "x"]
    assert output_names(model) == ["sound_1_2", "sound_1_3", "x_1"]
    specs = input_specs(model)
    got = whole(model, specs).trace()(**{spec.name: tf.ones(spec.shape) for spec in specs})
    assert set(got) == set(output_names(model))


def test_length_defaults_to_that_of_the_clips(model):
    assert input_specs(model)[0].shape == (1, model.config.clip_samples)
    assert input_specs(model, 123)[0].shape == (1, 123)


@pytest.mark.parametrize("streaming", ["continuous", "sliding"])
def test_names_of_streams_are_those_of_clips(streaming):
    source = keras.Input((12, 4), name="_x")
    model = keras.Model(source, keras.layers.Dense(2, name="x")(keras.layers.LSTM(3)(source)))
    clip, step, _ = streaming_signatures(model, input_specs(model), streaming)
    assert clip.inputs[0].name == step.inputs[0].name == "x"
    assert output_names(model) == ["x_1"]
    assert "x_1" in step.trace()(**{spec.name: tf.zeros(spec.shape, spec.dtype) for spec in step.inputs})


@pytest.mark.parametrize("name", ["my lstm", "_lstm"])
def test_layer_whose_name_tensorflow_refuses_is_to_be_renamed(name):
    source = keras.Input((5, 3))
    model = keras.Model(source, keras.layers.LSTM(2, name=name)(source))
    with pytest.raises(InvalidInputError, match=f"'{name}/.*; rename the layer"):
        input_specs(model)


@pytest.mark.parametrize("samples", [0, -1, 1.5, "1", True])
def test_bad_length_is_refused(model, samples):
    with pytest.raises(InvalidInputError, match=r"samples: got .*, expected the length of the input"):
        input_specs(model, samples)


def test_open_dimension_without_a_length_names_the_input(nested):
    with pytest.raises(
        InvalidInputError, match=r"samples: the input ids is \[None\], expected the length.*pass samples="
    ):
        input_specs(nested)


def test_length_for_an_input_of_another_fixed_one_is_refused():
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(2)])
    assert input_specs(model, samples=5)[0].shape == (1, 5, 3)
    with pytest.raises(InvalidInputError, match=r"samples: got 6, but .* fixed sizes \[\[5, 3\]\]; omit it"):
        input_specs(model, samples=6)


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize("model", [Subclassed(), keras.Sequential([keras.layers.LSTM(2)])])
def test_model_without_symbolic_inputs_says_how_to_build_one(model):
    with pytest.raises(InvalidInputError, match=r"has no symbolic inputs.*functional or Sequential.*keras\.Input"):
        input_specs(model)


@pytest.mark.parametrize(
    ("dtype", "advice"), [("string", "take ids for text"), ("int64", r"keras\.Input\(\.\.\., dtype='int32'\)")]
)
def test_type_that_cannot_be_exported_is_refused(dtype, advice):
    inputs = keras.Input((3,), dtype=dtype, name="words")
    with pytest.raises(InvalidInputError, match=rf"its input words is {dtype}; .*{advice}"):
        input_specs(keras.Model(inputs, keras.layers.Identity(dtype=dtype)(inputs)))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_other_precisions_are_refused_by_the_layers_name(policy):
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, keras.layers.LSTM(2, name="half", dtype=policy)(inputs))
    with pytest.raises(InvalidInputError, match=r"half computes in .*float.*dtype='float32'.*set_weights"):
        input_specs(model)


# === Streaming ===


@pytest.mark.parametrize("streaming", ["continuous", "sliding"])
def test_outputs_with_an_inputs_name_are_its_next_value(model, streaming):
    clip, step, chunk = streaming_signatures(model, input_specs(model, CLIP), streaming)
    assert [one.name for one in (clip, step, chunk)] == ["clip", "step", "chunk"]
    assert spec_facts(clip.inputs) == {"audio": ([1, CLIP], "float32")}
    stride = step.inputs[0].shape[1]
    assert chunk.inputs[0].shape[1] == signatures.CHUNK_STEPS * stride
    assert step.inputs[1:] == chunk.inputs[1:]
    for signature in (step, chunk):
        names = [spec.name for spec in signature.inputs]
        assert names[0] == "audio"
        outputs = signature.trace().structured_outputs
        assert set(outputs) == {"probabilities", *names[1:]}
        assert outputs["probabilities"].shape == (1, len(LABELS))
        for state in signature.inputs[1:]:
            assert (outputs[state.name].shape, outputs[state.name].dtype) == (state.shape, state.dtype)


def test_sliding_steps_end_at_what_the_model_says_to_the_last_clip(model):
    clip, step, _ = streaming_signatures(model, input_specs(model, CLIP), "sliding")
    stride = step.inputs[0].shape[1]
    sound = clips(1, CLIP // stride * stride + 3 * stride)
    states = {spec.name: tf.zeros(spec.shape, spec.dtype) for spec in step.inputs[1:]}
    function, found = step.trace(), []
    for start in range(0, sound.shape[1], stride):
        outputs = function(audio=tf.constant(sound[:, start : start + stride]), **states)
        states = {name: outputs[name] for name in states}
        found.append(outputs["probabilities"].numpy())
    start = sound.shape[1] - StepModel(model, "sliding", CLIP).window
    heard = np.pad(sound, ((0, 0), (0, CLIP)))[:, start : start + CLIP]  # no step of the clip reaches the zeros
    np.testing.assert_allclose(found[-1], clip.call(audio=tf.constant(heard))["probabilities"], atol=1e-6)
    assert np.abs(found[-1] - found[-2]).max() > 1e-4


def test_several_inputs_cannot_be_streamed(nested):
    with pytest.raises(InvalidInputError, match="streaming: needs a model with one input, got .*ids"):
        streaming_signatures(nested, input_specs(nested, 5), "sliding")


def test_what_cannot_be_streamed_says_what_can():
    inputs = keras.Input((100, 3))
    model = keras.Model(inputs, keras.layers.Bidirectional(keras.layers.LSTM(2))(inputs))
    with pytest.raises(ExportError, match="sliding"):
        streaming_signatures(model, input_specs(model), "continuous")
