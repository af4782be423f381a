"""The public call: which forms it writes, and which combinations it refuses with the one that can be had."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from small_models import CLIP, answers, clips, scramble, small_model

import lstm_zoo
from lstm_zoo.errors import InvalidInputError, LstmZooError
from lstm_zoo.exporters import PROFILES, certificate, export, verify
from lstm_zoo.layers import GatedLSTM

EXAMPLES = np.zeros((2, CLIP), "float32")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.tflite", {"profile": "phone"}, r"profile: got 'phone', there are: 'default', 'universal', 'mediapipe'"),
        ("a.tflite", {"quantize": "int4"}, r"quantize: got 'int4', there are: None, 'float16', 'dynamic_int8', 'int8'"),
        ("a.tflite", {"quantize": "int16x8"}, r"quantize: TFLite cannot quantise an LSTM to int16x8; 'int8'"),
        ("a.tflite", {"streaming": True}, r"streaming: got True, there are: None, 'continuous', 'sliding'"),
        ("a.tflite", {"quantize": "int8"}, r"representative_data: quantize='int8'.*needs examples"),
        ("a.tflite", {"representative_data": EXAMPLES}, r"representative_data: quantize=None has no use for it"),
        ("a.tflite", {"quantize": "int8", "representative_data": EXAMPLES}, "'universal' or 'mediapipe', or .*dynamic"),
        ("a.tflite", {"dynamic": True, "samples": 9}, "samples: got 9 with dynamic=True"),
        ("a.tflite", {"dynamic": True, "profile": "universal"}, "dynamic: only files of profile='default'"),
        ("a.tflite", {"dynamic": True, "streaming": "sliding"}, "dynamic: only files of profile='default' without str"),
        (
            "a.tflite",
            {"streaming": "sliding", "profile": "mediapipe"},
            "streaming: MediaPipe .*'default' or 'universal'",
        ),
        (
            "a.tflite",
            {"streaming": "sliding", "profile": "universal", "quantize": "int8", "representative_data": EXAMPLES},
            "'int8' cannot be had with streaming; 'dynamic_int8' can",
        ),
        ("folder", {"quantize": "float16"}, "quantize: is for .tflite files"),
        ("folder", {"profile": "mediapipe"}, "profile: is for .tflite files"),
        ("a.onnx", {"dynamic": True}, "dynamic: is for .tflite files"),
        ("a.onnx", {"streaming": "sliding"}, "streaming: an ONNX file has one entry"),
    ],
)
def test_what_cannot_be_had_together_is_refused_with_what_can(model, tmp_path, name, options, message):
    with pytest.raises(InvalidInputError, match=message):
        export(model, tmp_path / name, **{"samples": CLIP, **options} if "dynamic" not in options else options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, folder: export("speech", folder / "a.tflite"), r"model: got 'speech', expected a Keras model"),
        (lambda model, folder: export(model, 5), "path: got 5"),
        (lambda model, folder: export(model, folder / "a\0b.tflite"), "path: .*null byte"),
        (lambda model, folder: export(model, folder / f"{'a' * 250}.tflite"), "path: .*name of over 200 bytes"),
        (lambda model, folder: export(model, folder / "a.tflite", metadata="labels"), "metadata: got 'labels'"),
        (lambda model, folder: verify(5), "path: got 5"),
        (lambda model, folder: verify(folder / "a.tflite", "x"), "model: got 'x'"),
        (lambda model, folder: verify("/"), "is no exported file"),
        (lambda model, folder: verify(folder), "export the model again"),
    ],
)
def test_arguments_of_another_kind_are_refused(model, tmp_path, call, message):
    with pytest.raises(LstmZooError, match=message):
        call(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_endings_in_capitals_mean_the_same(model, tmp_path):
    assert export(model, tmp_path / "A.TFLITE", samples=CLIP).kind == "tflite"
    assert (tmp_path / "A.TFLITE").is_file()


def test_int8_file_is_judged_within_the_ranges_it_has_learnt(tmp_path):
    inputs = keras.Input((7,), name="x")
    model = keras.Model(inputs, keras.layers.Dense(3, name="y")(inputs))
    scramble(model)
    data = np.random.default_rng(0).random((50, 7))  # above zero, which the seeded noise is not
    facts = export(model, tmp_path / "a.tflite", quantize="int8", representative_data=data)
    assert facts.largest_difference < 0.05
    assert facts.inputs.startswith("50 given inputs")
    assert verify(tmp_path / "a.tflite").largest_difference < 1e-3  # from what the file itself said


@pytest.mark.parametrize("profile", PROFILES)
def test_any_keras_model(tmp_path, profile):
    """Two inputs, two outputs, layers of Keras and of this package, in both directions."""
    ids, series = keras.Input((7,), dtype="int32", name="ids"), keras.Input((7, 3), name="series")
    embedded = keras.layers.Embedding(11, 4)(ids)
    x = keras.layers.Concatenate()([embedded, series])
    x = keras.layers.Bidirectional(keras.layers.LSTM(6, return_sequences=True))(x)
    x = GatedLSTM(5, gates="peephole")(x)
    outputs = [keras.layers.Dense(3, activation="softmax", name="label")(x), keras.layers.Dense(1, name="value")(x)]
    model = keras.Model([ids, series], outputs)
    scramble(model)
    facts = export(model, tmp_path / "mine.tflite", profile=profile)
    assert facts.largest_difference < 1e-5
    assert facts.two_invokes_equal
    runner = Interpreter(str(tmp_path / "mine.tflite")).get_signature_runner("serving_default")
    random = np.random.default_rng(0)
    given = {"ids": random.integers(0, 11, (1, 7), "int32"), "series": random.standard_normal((1, 7, 3), "float32")}
    label, value = model([given["ids"], given["series"]])
    found = runner(**given)
    np.testing.assert_allclose(found["label"], label, atol=1e-5)
    np.testing.assert_allclose(found["value"], value, atol=1e-5)


def test_open_file_takes_every_batch_and_length(model, tmp_path):
    export(model, tmp_path / "open.tflite", dynamic=True)
    runner = Interpreter(str(tmp_path / "open.tflite")).get_signature_runner("serving_default")
    for batch, samples in ((1, CLIP), (3, 5_000), (2, 20_000)):
        inputs = clips(batch, samples)
        np.testing.assert_allclose(runner(audio=inputs)["probabilities"], answers(model, inputs), atol=1e-5)


def test_onnx_runs_in_onnxruntime(tmp_path):
    model, inputs = small_model(pooling="last"), clips()
    facts = export(model, tmp_path / "speech.onnx", samples=CLIP)
    assert (facts.kind, certificate.verify(tmp_path / "speech.onnx").two_invokes_equal) == ("onnx", True)
    session = onnxruntime.InferenceSession(tmp_path / "speech.onnx")
    given = np.concatenate([session.run(["probabilities"], {"audio": x[None]})[0] for x in inputs])
    np.testing.assert_allclose(given, answers(model, inputs), atol=1e-5)


def test_vanilla_layer_is_onnxs_own_operator(tmp_path):
    inputs = keras.Input((6, 3), name="series")
    export(keras.Model(inputs, keras.layers.LSTM(4, name="last")(inputs)), tmp_path / "lstm.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "lstm.onnx").graph.node]
    assert kinds.count("LSTM") == 1
    assert "Loop" not in kinds


@pytest.mark.skipif(os.name == "nt", reason="sends the signal that Ctrl-C is on POSIX systems")
def test_ctrl_c_leaves_nothing_behind(tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    code = (
        "import lstm_zoo; from small_models import small_model; model = small_model(); print('ready', flush=True); "
        f"lstm_zoo.export(model, {str(tmp_path / 'a.tflite')!r}, samples=16_000)"
    )
    paths = os.pathsep.join([str(Path(lstm_zoo.__file__).parents[1]), str(Path(__file__).parent)])
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(600):  # until the converter's own process is at work
            if list(temporary.glob("lstm_zoo_*/settings.json")):
                break
            time.sleep(0.1)
        else:
            pytest.fail("no conversion was begun")
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) != 0
    assert list(tmp_path.iterdir()) == [temporary]
    assert not list(temporary.glob("lstm_zoo_*"))
