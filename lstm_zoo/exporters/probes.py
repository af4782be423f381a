"""What an exported file is asked to prove itself: inputs that any machine can make again, and what the model says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pydantic

from lstm_zoo.config import Config
from lstm_zoo.errors import InvalidInputError
from lstm_zoo.exporters.failures import refused_by

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from lstm_zoo.exporters.signatures import Signature
    from lstm_zoo.streaming.steps import StepModel

PROBES, PROBE_SEED = 8, 20_260_101
MOST_ELEMENTS = 1 << 26  # of one input of all probes
LENGTH = 32  # of dimensions of which nothing says how long they are
BATCH = 64

Arrays = dict[str, np.ndarray]


class ProbeInput(Config):
    """One input of the probes.

    Attributes:
        name: in the signature; empty: its only input.
        shape: with a batch of one.
        below: of int32 inputs, the first number that is none of the ids.
        lowest: the smallest of the ids; above 0, zeros are padding, and come after them alone.
        texts: of string inputs, all of the probes.
    """

    name: str
    shape: tuple[pydantic.PositiveInt, ...] = pydantic.Field(min_length=1)
    dtype: Literal["float32", "int32", "bool", "string"] = "float32"
    below: int = pydantic.Field(default=2, ge=1, le=2**31)
    lowest: int = pydantic.Field(default=0, ge=0, le=2**31)
    texts: tuple[str, ...] = pydantic.Field(default=(), max_length=PROBES)

    @pydantic.model_validator(mode="after")
    def _has_texts(self) -> Self:
        if (len(self.texts) == PROBES) != (self.dtype == "string") or self.lowest >= self.below:
            raise ValueError(
                f"expected {PROBES} texts for strings, and for nothing else, and lowest below {self.below}"
            )
        return self


def probe_inputs(inputs: tuple[ProbeInput, ...], seed: int = PROBE_SEED) -> Arrays:
    """Seeded examples, the same on every machine: of each input ``[8, *shape[1:]]``.

    Floats are noise of rising loudness, half of it over a tone; ids are random, with zeros at the end of some rows, as
    padded texts have: of ids without zeros, one row is a single id, and the others are of all lengths up to the whole.

    Raises:
        InvalidInputError: they would not fit into memory.
    """
    return {one.name: _probes(one, seed + place) for place, one in enumerate(inputs)}


def probe_signals(shape: tuple[int, ...], seed: int = PROBE_SEED) -> np.ndarray:
    """The probes of one float32 input: ``[8, *shape[1:]]``."""
    return _probes(ProbeInput(name="", shape=shape), seed)


def _probes(one: ProbeInput, seed: int) -> np.ndarray:
    if one.dtype == "string":
        return np.array([text.encode() for text in one.texts])
    if PROBES * math.prod(one.shape) > MOST_ELEMENTS:
        raise InvalidInputError(f"{one.name or 'input'}: {PROBES} probes of shape {list(one.shape)} are too large")
    shape = (PROBES, *one.shape[1:])
    random = np.random.RandomState(seed % 2**32)  # the one generator whose numbers NumPy promises never to change
    if one.dtype == "bool":
        return random.uniform(size=shape) < 0.5
    if one.dtype == "int32":
        ids = (one.lowest + random.uniform(size=shape) * (one.below - one.lowest)).astype("int32")
        if len(shape) > 1:
            for row, length in enumerate(_lengths(shape[1], padded=one.lowest > 0)):
                ids[row, length:] = 0
        return ids
    return _signals(shape, random)


def _lengths(most: int, padded: bool) -> list[int]:
    if padded:
        return [1, *(max(1, most * row // (PROBES - 1)) for row in range(1, PROBES))]
    return [most - most * row // (2 * PROBES) if row % 2 else most for row in range(PROBES)]


def _signals(shape: tuple[int, ...], random: np.random.RandomState) -> np.ndarray:
    level = np.geomspace(1e-3, 0.5, PROBES).reshape(-1, *[1] * (len(shape) - 1))
    signals = level * random.uniform(-1.0, 1.0, shape)
    if len(shape) > 1:
        steps = np.arange(shape[1]).reshape(-1, *[1] * (len(shape) - 2))
        period = random.uniform(8.0, 160.0, (PROBES // 2, *[1] * (len(shape) - 1)))
        signals[::2] += 0.3 * np.sin(2 * np.pi * steps / period)
    return signals.astype("float32")


def probes_for(
    model: keras.Model, specs: tuple[tf.TensorSpec, ...], given: Arrays | None, stretch: float = 1.0
) -> tuple[ProbeInput, ...]:
    """The probes' inputs for ``specs``; open dimensions as in ``given``, else the model's own, ``stretch`` times.

    Ids are below the smallest vocabulary among the model's embeddings.
    """
    import keras

    from lstm_zoo.exporters.signatures import usual_length
    from lstm_zoo.exporters.texts import probe_texts, takes_texts

    sizes = [layer.input_dim for layer in model._flatten_layers() if isinstance(layer, keras.layers.Embedding)]
    length = usual_length(model) or LENGTH
    below, lowest = min(sizes, default=2), 1 if takes_texts(model) else 0
    made = []
    for spec in specs:
        if spec.dtype.name == "string":
            made.append(
                ProbeInput(name=spec.name, shape=(1,), dtype="string", texts=probe_texts(model.config.vocabulary))
            )
            continue
        known = given[spec.name].shape[1:] if given else [length] * (len(spec.shape) - 1)
        rest = [
            int(other * stretch) if size is None else size for size, other in zip(spec.shape[1:], known, strict=True)
        ]
        made.append(ProbeInput(name=spec.name, shape=(1, *rest), dtype=spec.dtype.name, below=below, lowest=lowest))
    return tuple(made)


# === What the caller gives ===


def check_arrays(model: keras.Model, specs: tuple[tf.TensorSpec, ...], given: Any) -> tuple[Arrays | None, str]:
    """``check_inputs``, or the model's golden input where it has one that fits, by name; and words for what it is.

    Texts become ids where ids are wanted.

    Raises:
        InvalidInputError: they are not inputs of ``specs``.
    """
    from lstm_zoo.exporters.texts import are_texts, as_ids

    if given is None:
        golden = getattr(model, "golden_input", None)
        if golden is None or len(specs) != 1 or not (are_texts(golden) or _fits(np.shape(golden), specs[0])):
            return None, ""
        given, what = golden, "golden inputs" if len(golden) > 1 else "golden input"
    else:
        what = "given inputs"
    if len(specs) == 1 and specs[0].dtype.name != "string":
        given = as_ids(model, given, specs[0].shape[-1])
    arrays = {spec.name: _checked(part, spec) for part, spec in zip(_parts(given, specs), specs, strict=True)}
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise InvalidInputError(f"check_inputs: expected as many examples of each input, got {counts}")
    return arrays, f"{next(iter(counts.values()))} {what}"


def _parts(given: Any, specs: tuple[tf.TensorSpec, ...]) -> list[Any]:
    names = [spec.name for spec in specs]
    if isinstance(given, Mapping):
        if set(given) != set(names):
            raise InvalidInputError(f"check_inputs: has {sorted(map(str, given))}, the model's inputs are {names}")
        return [given[name] for name in names]
    parts = list(given) if len(specs) > 1 and isinstance(given, list | tuple) else [given]
    if len(parts) != len(specs):
        raise InvalidInputError(f"check_inputs: expected an array for each of the inputs {names}, got {len(parts)}")
    return parts


def _checked(part: Any, spec: tf.TensorSpec) -> np.ndarray:
    if spec.dtype.name == "string":
        from lstm_zoo.frontends.text import as_texts

        return np.array([text.encode() for text in as_texts(part)])
    kind = {"float32": ("finite floats", "f"), "int32": ("integers", "iu"), "bool": ("booleans", "b")}[spec.dtype.name]
    sizes = ["any" if size is None else str(size) for size in spec.shape[1:]]
    expected = f"check_inputs: expected {kind[0]} of shape [{', '.join(['count', *sizes])}] for {spec.name}"
    try:
        array = np.asarray(part)
    except ValueError as error:  # examples of different lengths
        raise InvalidInputError(f"{expected}: {error}") from None
    if (
        array.dtype.kind not in kind[1]
        or not array.size
        or not _fits(array.shape, spec)
        or not np.isfinite(array).all()
    ):
        raise InvalidInputError(f"{expected}, got {array.dtype} of shape {list(array.shape)}")
    return array.astype(spec.dtype.as_numpy_dtype)


def _fits(shape: tuple[int, ...], spec: tf.TensorSpec) -> bool:
    return len(shape) == len(spec.shape) and all(
        wanted in (None, size) for wanted, size in zip(spec.shape[1:], shape[1:], strict=True)
    )


# === What the model says ===


def answers(model: keras.Model, signature: Signature, inputs: Arrays) -> Arrays:
    """What ``signature`` of the Keras model says: its outputs by name, ``[count, ...]``, a batch at a time.

    Raises:
        ExportError: the model does not take such inputs.
    """
    import tensorflow as tf

    from lstm_zoo.layers.stand_ins import without_cudnn

    count = len(next(iter(inputs.values())))
    batch = model.inputs[0].shape[0] or BATCH
    parts = []
    with (
        refused_by(model, signature.inputs),
        without_cudnn(model),
        tf.device("CPU:0"),
    ):  # GPUs round products to 10 bits
        for start in range(0, count, batch):
            # As tensors, which models take as they are: raw arrays they may pad.
            tensors = {name: tf.constant(values[start : start + batch]) for name, values in inputs.items()}
            parts.append({name: answer.numpy() for name, answer in signature.call(**tensors).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def stream_blocks(steps: StepModel, multiple: int) -> int:
    """Blocks after which there is an answer and the states went round: so many calls of ``multiple`` steps."""
    return (steps.warm_up // multiple + 2) * multiple


def stream_input(model: keras.Model, steps: StepModel, blocks: int) -> ProbeInput:
    """Of the probes that go through a stream; a few positions longer, as a sliding answer may be about them."""
    spec = steps.block(blocks)
    shape = (1, spec.shape[1] + steps.stride - 1, *spec.shape[2:])
    return probes_for(model, (spec,), None)[0].replace(shape=shape)


def stream_answers(model: keras.Model, steps: StepModel, blocks: int, signals: np.ndarray) -> Arrays:
    """What the model itself says, ``[count, 1, ...]``, to what a stream's answer after so many ``blocks`` is about."""
    import keras
    import tensorflow as tf

    from lstm_zoo.exporters.signatures import output_names
    from lstm_zoo.layers.stand_ins import without_cudnn

    start, end = 0, blocks * steps.stride
    if steps.window is not None and steps.samples is not None:
        start = end - steps.window
        end = start + steps.samples
    heard = [tf.constant(signal[None, start:end]) for signal in signals]
    with refused_by(model, (steps.block(blocks),)), without_cudnn(model), tf.device("CPU:0"):
        said = [keras.tree.flatten(model.call(one, training=False)) for one in heard]
    columns = zip(*said, strict=True)
    arrays = {
        name: np.stack([np.asarray(x) for x in column])
        for name, column in zip(output_names(model), columns, strict=True)
    }
    return last_step(arrays) if steps.window is None else arrays


def last_step(arrays: Arrays) -> Arrays:
    """Of outputs ``[count, 1, steps, ...]`` the last step: blocks of different sizes have that one in common."""
    return {name: array[:, :, -1:] if array.ndim > 3 else array for name, array in arrays.items()}
