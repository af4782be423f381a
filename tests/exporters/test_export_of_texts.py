"""Models of text: the same answers from ids in every form, and from the text itself where a file takes it."""

import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tiny import TEXTS, tiny_model

from lstm_zoo.errors import ExportError, InvalidInputError
from lstm_zoo.exporters import certificate, export, flatbuffer, probes, texts, verify
from lstm_zoo.exporters.signatures import input_specs
from lstm_zoo.models.sentiment import SentimentConfig, build

LENGTH = 20
MANY = [*TEXTS, *(" ".join(["great", "dull", "film", "so", "not"][number % 5 :]) for number in range(56))]


@pytest.fixture(scope="module")
def words():
    return tiny_model("sentiment")


@pytest.fixture(scope="module")
def subwords():
    return tiny_model("sentiment_subword")


@pytest.fixture(scope="module")
def large():
    """With weights enough to be stored in 8 bits, of a size that the answers differ."""
    vocabulary = ("<PAD>", "<START>", "<UNKNOWN>", *(f"word{number}" for number in range(3, 700)))
    model = build(SentimentConfig.create({"vocabulary": vocabulary, "embedding": 16, "units": 32}))
    random = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(random.uniform(-0.4, 0.4, variable.shape))
    return model


def sentences(count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(f"word{word}" for word in random.integers(3, 700, random.integers(1, 40))) for _ in range(count)]


# === Ids ===


def test_texts_are_cut_and_padded_to_the_length_of_the_file(words):
    ids = texts.as_ids(words, list(TEXTS), LENGTH)
    assert (ids.dtype, ids.shape) == (np.int32, (len(TEXTS), LENGTH))
    for row, text in zip(ids, TEXTS, strict=True):
        (whole,) = words.tokenize(text)
        np.testing.assert_array_equal(row, np.pad(whole, (0, LENGTH))[:LENGTH])
    longest = texts.as_ids(words, list(TEXTS), None)
    np.testing.assert_array_equal(longest, words.tokenize(list(TEXTS)))
    assert texts.as_ids(words, ids, 5) is ids
    assert texts.as_ids(tiny_model("speech"), "a text", 5) == "a text"


def test_probes_are_ids_of_every_length_without_padding_in_between(words):
    (one,) = probes.probes_for(words, input_specs(words, LENGTH), None)
    (ids,) = probes.probe_inputs((one,)).values()
    lengths = (ids != 0).sum(axis=1)
    assert lengths.tolist() == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (1, LENGTH)
    assert len(set(lengths)) == probes.PROBES
    assert all((row[:length] > 0).all() for row, length in zip(ids, lengths, strict=True))
    assert ids.max() == len(words.config.vocabulary) - 1


def test_length_is_256_tokens_where_none_is_given(words):
    assert input_specs(words)[0].shape == (1, 256)
    assert input_specs(words, 7)[0].shape == (1, 7)


@pytest.mark.parametrize("profile", ["default", "universal", "mediapipe"])
def test_every_profile_agrees_on_texts(words, tmp_path, profile):
    found = export(words, tmp_path / "a.tflite", profile=profile, samples=LENGTH, check_inputs=MANY)
    assert found.inputs == f"{len(MANY)} given inputs and 8 seeded probes"
    assert found.largest_difference <= 1e-5
    assert found.top1_agreement == 1.0
    assert not [name for name in found.ops if name.startswith("CUSTOM")]
    assert verify(tmp_path / "a.tflite", words).file == "a.tflite"


def test_open_length_and_the_golden_texts(words, tmp_path, monkeypatch):
    monkeypatch.setattr(words, "golden_input", list(TEXTS), raising=False)
    found = export(words, tmp_path / "a.tflite", dynamic=True)
    assert found.inputs == f"{len(TEXTS)} golden inputs and 8 seeded probes"
    assert found.largest_difference <= 1e-5


def test_what_is_no_text_is_refused_by_its_place(words, tmp_path):
    with pytest.raises(InvalidInputError, match="texts: the text at position 1 is None"):
        export(words, tmp_path / "a.tflite", samples=LENGTH, check_inputs=["a", None])


@pytest.mark.parametrize(
    ("profile", "quantize"), [("default", "dynamic_int8"), ("mediapipe", "dynamic_int8"), ("mediapipe", "int8")]
)
def test_embeddings_are_stored_and_looked_up_in_8_bits(large, tmp_path, profile, quantize):
    representative = sentences(100, seed=1) if quantize == "int8" else None
    found = export(
        large,
        tmp_path / "a.tflite",
        profile=profile,
        quantize=quantize,
        samples=LENGTH,
        representative_data=representative,
        check_inputs=sentences(200, seed=2),
    )
    assert found.top1_agreement > 0.97
    model = flatbuffer.parse((tmp_path / "a.tflite").read_bytes())
    graph = model.subgraphs[0]
    (lookup,) = [each for each in graph.operators if flatbuffer.kind(model, each) == "GATHER"]
    table, rows = graph.tensors[lookup.inputs[0]], graph.tensors[lookup.outputs[0]]
    assert flatbuffer.constant(model, graph, lookup.inputs[0]).shape == (700, 16)
    assert table.type == rows.type == schema.TensorType.INT8, "what is looked up is 8 bits too, not a whole table"


# === Text ===

# A program of somebody who has TensorFlow, and tensorflow-text for subwords, and does not have this package.
STRANGER = """
import sys
sys.modules["lstm_zoo"] = None
folder, answers, *modules = sys.argv[1:]
import numpy as np, tensorflow as tf
for module in modules:
    __import__(module)
loaded = tf.saved_model.load(folder)
assert not modules or "tensorflow_text" in sys.modules
texts = open(f"{folder}.txt", encoding="utf-8").read().split("|")
np.save(answers, loaded.signatures["text"](texts=tf.constant(texts))["probabilities"].numpy())
"""


@pytest.mark.parametrize(("name", "modules"), [("words", []), ("subwords", ["tensorflow_text"])])
def test_stranger_gets_the_models_answers_to_texts(name, modules, request, tmp_path):
    model = request.getfixturevalue(name)
    found = export(model, tmp_path / "saved", check_inputs=list(TEXTS))
    assert found.largest_difference <= 1e-5
    (tmp_path / "saved.txt").write_text("|".join(TEXTS), encoding="utf-8")
    arguments = [sys.executable, "-I", "-c", STRANGER, tmp_path / "saved", tmp_path / "answers.npy", *modules]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), model(list(TEXTS)), atol=1e-5)


@pytest.mark.parametrize("quantize", [None, "dynamic_int8"])
def test_tflite_takes_text(subwords, tmp_path, quantize):
    file = tmp_path / "a.tflite"
    found = export(subwords, file, text=True, samples=LENGTH, quantize=quantize, check_inputs=MANY)
    assert found.inputs == f"{len(MANY)} given inputs and 8 seeded probes"
    assert (found.top1_agreement, found.compared) == (1.0, len(MANY))
    assert {"CUSTOM FastBertNormalize", "CUSTOM FastWordpieceTokenizeWithOffsets"} < set(found.ops)
    assert "tensorflow-text" in found.versions
    assert len(set(found.probe.inputs[0].texts)) == probes.PROBES
    assert verify(file, subwords).largest_difference <= 1e-5
    stored = certificate.read(certificate.certificate_path(file))
    changed = stored.probe.inputs[0].replace(texts=("", *stored.probe.inputs[0].texts[:-1]))
    forged = stored.replace(probe=stored.probe.replace(inputs=(changed,)).model_dump(), tolerance=0.0)
    certificate.certificate_path(file).write_text(forged.model_dump_json())
    with pytest.raises(ExportError, match="differ from the model's"):
        verify(file)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.tflite", {"profile": "mediapipe"}, "text: MediaPipe does not carry .*'default' or 'universal'"),
        ("a.tflite", {"dynamic": True}, "text: cannot be had with dynamic"),
        (
            "a.tflite",
            {"quantize": "int8", "representative_data": ["a"], "profile": "universal"},
            "with quantize='int8'",
        ),
        ("a.onnx", {}, "text: is for .tflite files; a SavedModel has a signature 'text'"),
        ("folder", {}, "text: is for .tflite files"),
    ],
)
def test_what_text_cannot_be_had_with(subwords, tmp_path, name, options, message):
    with pytest.raises(InvalidInputError, match=message):
        export(subwords, tmp_path / name, text=True, **options)
    assert not list(tmp_path.iterdir())


def test_words_need_mediapipe_and_sound_has_no_text(words, tmp_path):
    with pytest.raises(InvalidInputError, match="regular expression.*profile='mediapipe'.*model of subwords"):
        export(words, tmp_path / "a.tflite", text=True)
    with pytest.raises(InvalidInputError, match="takes no text; leave text=True out"):
        export(tiny_model("speech"), tmp_path / "a.tflite", text=True)
    assert not list(tmp_path.iterdir())
