import io
import re
import zipfile

import keras
import numpy as np
import pydantic
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from mediapipe.tasks.metadata import metadata_schema_py_generated as official
from small_models import LABELS, small_model

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.exporters.metadata import AudioMetadata, TextMetadata, attach, default_metadata
from lstm_zoo.frontends.text import DELIMITER
from lstm_zoo.models.sentiment import SentimentConfig
from lstm_zoo.models.sentiment import build as build_sentiment

AUDIO = AudioMetadata(labels=("yes", "grün", "two words"), sample_rate=8_000, name="zoo", description="three words")
VOCABULARY = ("<PAD>", "<START>", "<UNKNOWN>", "good", "don't", "naïve")
TEXT = TextMetadata(labels=("bad", "good", "so-so"), vocabulary=VOCABULARY, delimiter=r"\s+")


def file_of(dtype="float32", labels=3, inputs=1):
    """A TFLite file: ``inputs`` of ``[1, 4]`` to ``[1, labels]``."""
    weights = tf.constant(np.arange(4 * labels).reshape(4, labels) / 10, "float32")
    specs = [tf.TensorSpec((1, 4), dtype, name=f"x{number}") for number in range(inputs)]

    @tf.function(input_signature=specs)
    def serve(*tensors):
        return tf.nn.softmax(tf.cast(tf.add_n(tensors), "float32") @ weights)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()])
    return converter.convert()


@pytest.fixture(scope="module")
def audio_file():
    return file_of()


@pytest.fixture(scope="module")
def text_file():
    return file_of("int32")


def parsed(content):
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))


def metadata_buffers(content):
    model = parsed(content)
    entries = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    return [bytes(bytearray(model.buffers[entry.buffer].data)) for entry in entries]


def archive(content):
    return zipfile.ZipFile(io.BytesIO(content))


def read_officially(content):
    """The metadata as MediaPipe's own schema reads it."""
    (written,) = metadata_buffers(content)
    assert official.ModelMetadata.ModelMetadataBufferHasIdentifier(written, 0)
    return official.ModelMetadataT.InitFromObj(official.ModelMetadata.GetRootAs(written, 0))


def as_dict(value):
    """What is set in an object of the official schema, without what has its default."""
    if isinstance(value, list):
        return [as_dict(item) for item in value]
    if hasattr(value, "__dict__"):
        fields = {name: as_dict(item) for name, item in vars(value).items()}
        return {name: item for name, item in fields.items() if item not in (None, 0)}
    return value.decode() if isinstance(value, bytes) else value


SCORES = {
    "name": "scores",
    "content": {"contentPropertiesType": official.ContentProperties.FeatureProperties, "contentProperties": {}},
    "associatedFiles": [{"name": "labels.txt", "type": official.AssociatedFileType.TENSOR_AXIS_LABELS}],
}


def test_audio_metadata_reads_officially(audio_file):
    sound = {
        "contentPropertiesType": official.ContentProperties.AudioProperties,
        "contentProperties": {"sampleRate": 8_000, "channels": 1},
    }
    audio = {"name": "audio", "description": "Samples in -1..1 at 8000 Hz", "content": sound}
    assert as_dict(read_officially(attach(audio_file, AUDIO))) == {
        "name": "zoo",
        "description": "three words",
        "subgraphMetadata": [{"inputTensorMetadata": [audio], "outputTensorMetadata": [SCORES]}],
        "minParserVersion": "1.3.0",
    }


def test_text_metadata_reads_officially(text_file):
    metadata = read_officially(attach(text_file, TEXT))
    assert as_dict(metadata.subgraphMetadata[0].outputTensorMetadata) == [SCORES]
    (ids,) = metadata.subgraphMetadata[0].inputTensorMetadata
    (unit,) = ids.processUnits
    assert unit.optionsType == official.ProcessUnitOptions.RegexTokenizerOptions
    assert as_dict(unit.options) == {
        "delimRegexPattern": r"\s+",
        "vocabFile": [{"name": "vocab.txt", "type": official.AssociatedFileType.VOCABULARY}],
    }
    assert ids.content.contentPropertiesType == official.ContentProperties.FeatureProperties


def test_files_are_stored_after_the_model_without_a_date(audio_file, text_file):
    labels, words = archive(attach(audio_file, AUDIO)), archive(attach(text_file, TEXT))
    assert labels.namelist() == ["labels.txt"]
    assert labels.read("labels.txt").decode() == "yes\ngrün\ntwo words\n"
    assert words.namelist() == ["labels.txt", "vocab.txt"]
    numbered = "<PAD> 0\n<START> 1\n<UNKNOWN> 2\ngood 3\ndon't 4\nnaïve 5\n"
    assert words.read("vocab.txt").decode() == numbered
    for entry in [*labels.infolist(), *words.infolist()]:
        assert (entry.compress_type, entry.date_time, entry.create_system) == (
            zipfile.ZIP_STORED,
            (1980, 1, 1, 0, 0, 0),
            3,
        )


def test_spellings_of_a_token_share_its_id(text_file):
    metadata = TEXT.replace(vocabulary=(*VOCABULARY, "see See SEE", "it"))
    numbered = "<PAD> 0\n<START> 1\n<UNKNOWN> 2\ngood 3\ndon't 4\nnaïve 5\nsee 6\nSee 6\nSEE 6\nit 7\n"
    assert archive(attach(text_file, metadata)).read("vocab.txt").decode() == numbered


def test_file_runs_as_before(audio_file):
    def run(content):
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.array([[1, 2, -3, 4]], "float32"))
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    np.testing.assert_array_equal(run(attach(audio_file, AUDIO)), run(audio_file))
    others = [entry.name for entry in parsed(audio_file).metadata]
    assert others  # what the converter notes, such as the oldest runtime that fits
    assert [entry.name for entry in parsed(attach(audio_file, AUDIO)).metadata] == [*others, b"TFLITE_METADATA"]


def test_equal_metadata_give_equal_bytes_and_other_metadata_replace_them(audio_file):
    once = attach(audio_file, AUDIO)
    assert attach(audio_file, AUDIO) == once
    assert attach(once, AUDIO) == once
    other = AUDIO.replace(labels=("a", "b", "c"))
    assert attach(once, other) == attach(audio_file, other)
    assert len(metadata_buffers(attach(once, other))) == 1


@pytest.mark.parametrize(
    ("metadata", "file", "message"),
    [
        (AUDIO.replace(labels=("yes", "no")), {}, "metadata: got 2 labels, the model's output is [1, 3]"),
        (AUDIO, {"dtype": "int32"}, "AudioMetadata is for float32 input, the model takes int32"),
        (TEXT, {}, "TextMetadata is for int32 input, the model takes float32"),
        (AUDIO, {"inputs": 2}, "one input and one output, the model has 2 inputs and 1 outputs"),
    ],
)
def test_metadata_that_do_not_fit_the_file_are_refused(metadata, file, message):
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        attach(file_of(**file), metadata)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocabulary": ("good", "bad")}, "expected <PAD>, <START>, <UNKNOWN> as the first three tokens"),
        ({"vocabulary": ("<START>", "<PAD>", "<UNKNOWN>")}, "expected <PAD>, <START>, <UNKNOWN>"),
        ({"vocabulary": ()}, "as the first three tokens (ids 0, 1, 2), got none"),
        ({"vocabulary": (*VOCABULARY, "good")}, "'good' is there more than once (ids 3 and 6)"),
        ({"vocabulary": (*VOCABULARY, "Good good")}, "'good' is there more than once (ids 3 and 6)"),
        ({"vocabulary": (*VOCABULARY, "see see")}, "'see' is there more than once (ids 6 and 6)"),
        ({"vocabulary": (*VOCABULARY, "see  See")}, "token 6 is 'see  See', expected one spelling or several with"),
        ({"vocabulary": (*VOCABULARY, "see\tSee")}, "token 6 is 'see\\tSee', expected one spelling or several with"),
        ({"vocabulary": (*VOCABULARY, "see ")}, "token 6 is 'see ', expected one spelling or several with single"),
        ({"vocabulary": (*VOCABULARY, "")}, "token 6 is '', expected one spelling or several with single spaces"),
        ({"delimiter": ""}, "delimiter: String should have at least 1 character"),
        ({"labels": ()}, "labels: Tuple should have at least 1 item"),
        ({"labels": ("yes", "no\n")}, "labels.1: Value error, each label is a line of labels.txt"),
        ({"labels": ("", "no")}, "labels.0: Value error, each label is a line of labels.txt"),
        ({"sample_rate": 8_000}, "unknown option 'sample_rate'; there are: delimiter, description, labels, name"),
    ],
)
def test_what_cannot_be_written_is_refused_by_name(change, message):
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        TEXT.replace(**change)


@pytest.mark.parametrize("change", [{"sample_rate": 0}, {"channels": -1}])
def test_sound_has_a_rate_and_channels(change):
    (field,) = change
    with pytest.raises(InvalidInputError, match=f"{field}: Input should be greater than 0"):
        AUDIO.replace(**change)
    with pytest.raises(pydantic.ValidationError, match=field):
        AudioMetadata(labels=("a", "b"), **({"sample_rate": 8_000} | change))


def test_default_metadata_are_a_zoo_models_own():
    model = small_model(front_end={"sample_rate": 22_050})
    metadata = default_metadata(model)
    assert (metadata.labels, metadata.sample_rate, metadata.channels) == (tuple(LABELS), 22_050, 1)
    assert default_metadata(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])) is None


def test_default_metadata_of_words_are_those_that_the_model_reads():
    vocabulary = ("<PAD>", "<START>", "<UNKNOWN>", "good Good", "bad")
    config = SentimentConfig(labels=("no", "so-so", "yes"), vocabulary=vocabulary, embedding=2, units=2)
    metadata = default_metadata(build_sentiment(config))
    assert (metadata.labels, metadata.vocabulary, metadata.delimiter) == (config.labels, vocabulary, DELIMITER)
    subwords = config.replace(tokenizer="subwords", vocabulary=(*vocabulary[:3], "good", "##s"))
    assert default_metadata(build_sentiment(subwords)) is None
