"""TFLite metadata: what a file's tensors mean, in the public format that MediaPipe Tasks and Android Studio read.

It is a flatbuffer in the model's buffer named ``TFLITE_METADATA``, and text files in an uncompressed zip archive after
the model's last byte. It is written with our own few lines, because the packages that write it are large or do not
know sound.
"""

from __future__ import annotations

import abc
import io
import zipfile
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from pydantic import AfterValidator, Field, PositiveInt, field_validator

from lstm_zoo.config import Config
from lstm_zoo.errors import InvalidInputError
from lstm_zoo.exporters import flatbuffer
from lstm_zoo.frontends.text import DELIMITER, spellings

if TYPE_CHECKING:
    import keras

LABELS_FILE, VOCABULARY_FILE = "labels.txt", "vocab.txt"
OLDEST_DATE = (1980, 1, 1, 0, 0, 0)  # of a zip archive; today's would make every export another file
UNIX = 3  # the system an archive says it was written on, also on Windows

# The tables of metadata_schema.fbs (in the repositories of MediaPipe and TFLite Support) that are written here, each
# with its fields up to the last one used, in the order that numbers them. A union has two: its type and its value.
FIELDS = {
    "ModelMetadata": (
        *("name", "description", "version", "subgraph_metadata"),
        *("author", "license", "associated_files", "min_parser_version"),
    ),
    "SubGraphMetadata": ("name", "description", "input_tensor_metadata", "output_tensor_metadata"),
    "TensorMetadata": (
        *("name", "description", "dimension_names", "content"),
        *("process_units", "stats", "associated_files"),
    ),
    "Content": ("content_properties_type", "content_properties"),
    "FeatureProperties": (),
    "AudioProperties": ("sample_rate", "channels"),
    "ProcessUnit": ("options_type", "options"),
    "RegexTokenizerOptions": ("delim_regex_pattern", "vocab_file"),
    "AssociatedFile": ("name", "description", "type"),
}
FEATURE_PROPERTIES, AUDIO_PROPERTIES = np.uint8(1), np.uint8(4)  # of the union ContentProperties
REGEX_TOKENIZER_OPTIONS = np.uint8(6)  # of the union ProcessUnitOptions
TENSOR_AXIS_LABELS, VOCABULARY = np.uint8(2), np.uint8(5)  # AssociatedFileType
PARSER_VERSION = "1.3.0"  # the first that knows sound and regular expressions

TYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if not name.startswith("_")}


def _one_line(label: str) -> str:
    if not label or label.splitlines() != [label]:
        raise ValueError(f"each label is a line of {LABELS_FILE}: not empty and without line breaks")
    return label


class ClassifierMetadata(Config):
    """What :class:`AudioMetadata` and :class:`TextMetadata` share; ``input_type`` is the dtype of their one input."""

    input_type: ClassVar[str]

    labels: tuple[Annotated[str, AfterValidator(_one_line)], ...] = Field(min_length=1)
    name: str = ""
    description: str = ""

    def files(self) -> dict[str, str]:
        """The associated files: text by name."""
        return {LABELS_FILE: "".join(f"{label}\n" for label in self.labels)}

    @abc.abstractmethod
    def input_table(self) -> Table:
        """The ``TensorMetadata`` of the one input."""


class AudioMetadata(ClassifierMetadata):
    """What a classifier of raw sound, float32 ``[1, samples]``, takes and answers.

    Attributes:
        labels: names of the outputs, in order.
        sample_rate: hertz; clients resample to it.
        channels: of the input; more than one are interleaved.
        name, description: for people.
    """

    input_type: ClassVar[str] = "float32"

    sample_rate: PositiveInt
    channels: PositiveInt = 1

    def input_table(self) -> Table:
        properties = Table("AudioProperties", sample_rate=self.sample_rate, channels=self.channels)
        return Table(
            "TensorMetadata",
            name="audio",
            description=f"Samples in -1..1 at {self.sample_rate} Hz",
            content=Table("Content", content_properties_type=AUDIO_PROPERTIES, content_properties=properties),
        )


class TextMetadata(ClassifierMetadata):
    """What a classifier of token ids, int32 ``[1, length]``, takes and answers.

    MediaPipe cuts a text at whatever matches ``delimiter``, puts ``<START>`` in front, takes ``<UNKNOWN>`` for tokens
    that are not in the vocabulary, and cuts or fills with ``<PAD>`` to the input's length. It does not change case, and
    its regular expressions are RE2's, in which ``\\w`` is ASCII.

    Attributes:
        labels: names of the outputs, in order.
        vocabulary: the tokens; a token's id is its position. Spellings that share an id are one token, with single
            spaces between: ``"good Good"``. The first three are ``<PAD>``, ``<START>``, ``<UNKNOWN>``.
        delimiter: regular expression of what stands between tokens.
        name, description: for people.
    """

    input_type: ClassVar[str] = "int32"

    vocabulary: tuple[str, ...]
    delimiter: str = Field(r"[^\w\']+", min_length=1)

    @field_validator("vocabulary")
    @classmethod
    def _check_vocabulary(cls, tokens: tuple[str, ...]) -> tuple[str, ...]:
        spellings(tokens)
        return tokens

    def files(self) -> dict[str, str]:
        numbered = (f"{spelling} {number}\n" for spelling, number in spellings(self.vocabulary).items())
        return super().files() | {VOCABULARY_FILE: "".join(numbered)}

    def input_table(self) -> Table:
        vocabulary = Table("AssociatedFile", name=VOCABULARY_FILE, type=VOCABULARY)
        tokenizer = Table("RegexTokenizerOptions", delim_regex_pattern=self.delimiter, vocab_file=[vocabulary])
        return Table(
            "TensorMetadata",
            name="ids",
            description="Token ids",
            content=FEATURES,
            process_units=[Table("ProcessUnit", options_type=REGEX_TOKENIZER_OPTIONS, options=tokenizer)],
        )


def default_metadata(model: keras.Model) -> AudioMetadata | TextMetadata | None:
    """The metadata of a model of the zoo that hears or reads words, from its own configuration.

    None for any other model; the format has no place for subwords as the zoo cuts them.
    """
    config = getattr(model, "config", None)
    rate = getattr(getattr(config, "front_end", None), "sample_rate", None)
    if config is not None and rate is not None:
        return AudioMetadata(labels=config.labels, sample_rate=rate, name=model.name)
    if config is not None and getattr(config, "tokenizer", None) == "words":
        words = config.vocabulary
        return TextMetadata(labels=config.labels, vocabulary=words, delimiter=DELIMITER, name=model.name)
    return None


def attach(content: bytes, metadata: ClassifierMetadata) -> bytes:
    """The TFLite file ``content`` with ``metadata`` in place of any it had; equal arguments give equal bytes.

    Args:
        content: a file of one input and one output ``[1, labels]``: float32 for sound, int32 for text.

    Raises:
        InvalidInputError: the metadata does not fit the file's input or output.
    """
    model = flatbuffer.parse(content)
    _check_fits(model.subgraphs[0], metadata)
    others = [entry for entry in model.metadata or [] if entry.name != b"TFLITE_METADATA"]
    replaced = [entry for entry in model.metadata or [] if entry.name == b"TFLITE_METADATA"]
    ours = replaced[0] if replaced else schema.MetadataT("TFLITE_METADATA", len(model.buffers))
    if not replaced:
        model.buffers.append(schema.BufferT())
    model.buffers[ours.buffer].data = np.frombuffer(_flatbuffer(metadata), "uint8")
    model.metadata = [*others, ours]
    return _with_files(flatbuffer.pack(model), metadata.files())


def _check_fits(graph: schema.SubGraphT, metadata: ClassifierMetadata) -> None:
    kind = type(metadata).__name__
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise InvalidInputError(
            f"metadata: {kind} describes one input and one output, the model has {len(graph.inputs)} inputs "
            f"and {len(graph.outputs)} outputs; leave metadata out"
        )
    taken, given = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    if TYPES[taken.type] != metadata.input_type:
        raise InvalidInputError(
            f"metadata: {kind} is for {metadata.input_type} input, the model takes {TYPES[taken.type]}"
        )
    if list(given.shape[-1:]) != [len(metadata.labels)]:
        raise InvalidInputError(
            f"metadata: got {len(metadata.labels)} labels, the model's output is {list(map(int, given.shape))}; "
            "name each value of its last dimension"
        )


def _with_files(content: bytes, files: dict[str, str]) -> bytes:
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, OLDEST_DATE)
            entry.create_system = UNIX
            archive.writestr(entry, text.encode())
    return stream.getvalue()


# === The flatbuffer ===


class Table:
    """A flatbuffer table of the kind ``kind``, with some of its fields by name.

    Values are strings, integers (``uint``), ``np.uint8`` (enumerations), tables and lists of tables.
    """

    def __init__(self, kind: str, **values: Any):
        self.size = len(FIELDS[kind])
        self.values = {FIELDS[kind].index(name): value for name, value in values.items()}


FEATURES = Table("Content", content_properties_type=FEATURE_PROPERTIES, content_properties=Table("FeatureProperties"))


def _flatbuffer(metadata: ClassifierMetadata) -> bytes:
    labels = Table("AssociatedFile", name=LABELS_FILE, type=TENSOR_AXIS_LABELS)
    output = Table("TensorMetadata", name="scores", content=FEATURES, associated_files=[labels])
    graph = Table("SubGraphMetadata", input_tensor_metadata=[metadata.input_table()], output_tensor_metadata=[output])
    root = Table(
        "ModelMetadata",
        name=metadata.name,
        description=metadata.description,
        subgraph_metadata=[graph],
        min_parser_version=PARSER_VERSION,
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, root), b"M001")
    return bytes(builder.Output())


def _write(builder: flatbuffers.Builder, value: Any) -> int:
    """Where ``value`` was written. What is in a table or list goes before it: the format allows no other order."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, list):
        offsets = [_write(builder, item) for item in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()
    written = {
        slot: item if isinstance(item, (int, np.uint8)) else _write(builder, item)
        for slot, item in value.values.items()
    }
    builder.StartObject(value.size)
    for slot, item in value.values.items():
        if isinstance(item, np.uint8):
            builder.PrependUint8Slot(slot, int(item), 0)
        elif isinstance(item, int):
            builder.PrependUint32Slot(slot, item, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, written[slot], 0)
    return builder.EndObject()
