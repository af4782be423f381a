"""How far an exported file's answers are from the model's, now and again later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from lstm_zoo.config import Config
from lstm_zoo.errors import ExportError, InvalidInputError
from lstm_zoo.exporters import probes
from lstm_zoo.exporters.files import form_of
from lstm_zoo.exporters.probes import PROBE_SEED, PROBES, Arrays, ProbeInput
from lstm_zoo.exporters.replay import Replayed, Session, replay

if TYPE_CHECKING:
    import keras

    from lstm_zoo.exporters.signatures import Signature

MOST_VALUES = 1_000  # of one output of one probe are kept, evenly spaced
STRETCH = 1.5  # of files of open length a longer input is tried, too


class ProbeOutput(Config):
    """What the model answers to the probes; of int8 files, which they take out of the learnt ranges, the file itself.

    Attributes:
        shape: of one answer, with a batch of one; None: not known.
        values: for each probe, of the flattened answer at most 1,000, evenly spaced.
    """

    name: str
    shape: tuple[pydantic.PositiveInt, ...] | None = None
    values: tuple[tuple[float, ...], ...] = pydantic.Field(min_length=PROBES, max_length=PROBES)

    @pydantic.field_validator("values")
    @classmethod
    def _are_as_many(cls, values: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
        if len({len(row) for row in values}) != 1:
            raise ValueError("expected as many values for each probe")
        return values

    @classmethod
    def of(cls, name: str, answers: np.ndarray) -> ProbeOutput:
        """From ``[8, 1, ...]``."""
        rows = answers.reshape(PROBES, -1).astype("float64")
        return cls(name=name, shape=answers.shape[1:], values=tuple(map(tuple, rows[:, _places(rows)].tolist())))

    def compared(self, answers: np.ndarray, file: str) -> tuple[np.ndarray, np.ndarray]:
        """The file's ``[8, 1, ...]`` and the model's, what is kept of them, in one shape."""
        expected = np.asarray(self.values, "float64")
        rows = answers.reshape(PROBES, -1)
        kept = rows[:, _places(rows)]
        if kept.shape != expected.shape or self.shape not in (None, answers.shape[1:]):
            raise ExportError(
                f"{file}: output {self.name} is of shape {answers.shape[1:]}, its certificate has {self.shape}"
            )
        whole = answers.shape if kept.size == answers.size else kept.shape
        return kept.reshape(whole), expected.reshape(whole)


class Probe(Config):
    """Inputs that any machine can make again (see :func:`probe_inputs`) and what is to be answered to them.

    Attributes:
        signatures: all of which give these answers.
        streams: the inputs are handed over block by block, and the answer is the last one.
    """

    seed: int = pydantic.Field(ge=0, lt=2**32)
    signatures: tuple[str, ...] = pydantic.Field(min_length=1, max_length=4)
    inputs: tuple[ProbeInput, ...] = pydantic.Field(min_length=1)
    outputs: tuple[ProbeOutput, ...] = pydantic.Field(min_length=1)
    streams: bool = False

    def runtime(self, kind: str) -> str:
        """What replays a file of that kind: for TFLite files that take texts, one with tensorflow-text's operators."""
        return "tflite_text" if kind == "tflite" and any(one.dtype == "string" for one in self.inputs) else kind

    def sessions(self) -> list[Session]:
        """Raises InvalidInputError: the inputs would not fit into memory."""
        inputs = one_by_one(probes.probe_inputs(self.inputs, self.seed))
        return [Session(signature, inputs, self.streams) for signature in self.signatures]

    def compared(self, answers: Arrays, file: str) -> tuple[Arrays, Arrays]:
        """The answers of the file called ``file`` and the model's, by name."""
        if len(self.outputs) == 1 and len(answers) == 1 and not self.outputs[0].name:
            answers = {"": next(iter(answers.values()))}
        if set(answers) != (names := {output.name for output in self.outputs}):
            raise ExportError(f"{file} has the outputs {sorted(answers)}, its certificate {sorted(names)}")
        pairs = {output.name: output.compared(answers[output.name], file) for output in self.outputs}
        return {name: pair[0] for name, pair in pairs.items()}, {name: pair[1] for name, pair in pairs.items()}


@dataclass(frozen=True)
class Measured:
    """Differences are as :func:`difference` has them.

    Attributes:
        inputs: words for what was compared on.
        count: of inputs, the probes left out.
        largest_difference: of single calls; ``streaming_difference``: of streams, where the file has them.
        agreement: share of the inputs with the same top answer; None where no output has scores.
    """

    replayed: Replayed
    inputs: str
    count: int
    largest_difference: float
    streaming_difference: float | None
    agreement: float | None
    probe: Probe
    stream: Probe | None


def measure(
    path: Path,
    model: keras.Model,
    signatures: tuple[Signature, ...],
    *,
    streaming: str | None,
    check_inputs: Any,
    eight_bits: bool = False,
    learnt_ranges: bool = False,
) -> Measured:
    """Replay the file or folder at ``path`` and compare it with ``model``.

    Args:
        eight_bits: the file has 8-bit weights, see :func:`difference`.
        learnt_ranges: its activations are held to ranges that the probes may leave: where there are inputs to compare
            on, the probes keep the file's own answers, so that it is seen later whether it still gives them.

    Raises:
        InvalidInputError: ``check_inputs`` do not fit.
        ExportError: the file does not run, or has outputs of other names or shapes; the model's are not finite.
    """
    whole = signatures[0]
    given, described = probes.check_arrays(model, whole.inputs, check_inputs)
    probe, expected = _whole_probe(model, whole, given)
    plan = [(session, expected) for session in probe.sessions()]
    if given is not None:
        answers = probes.answers(model, whole, given)
        plan.insert(0, (Session(whole.name, one_by_one(given)), one_by_one(answers)))
    if any(None in spec.shape for spec in whole.inputs):
        plan.append(_longer_batch(model, whole, given))
    singles = len(plan)
    stream = None
    if streaming:
        stream, expected = _stream_probe(model, signatures, streaming)
        plan += [(session, expected) for session in stream.sessions()]
    for number, (_, wanted) in enumerate(plan):
        _require_finite(wanted, described if number == 0 and given is not None else _described(probe))
    replayed = replay(path, [session for session, _ in plan], probe.runtime(form_of(path)))
    own_answers = learnt_ranges and given is not None
    if own_answers:
        probe = _probe(probe.signatures, probe.inputs, replayed.outputs[1])
        plan[1] = (plan[1][0], replayed.outputs[1])
    outputs = replayed.outputs[:singles] + [_comparable(answers, streaming) for answers in replayed.outputs[singles:]]
    found = [difference(output, wanted, eight_bits) for output, (_, wanted) in zip(outputs, plan, strict=True)]
    return Measured(
        replayed=replayed,
        inputs=described if own_answers else " and ".join(filter(None, [described, _described(probe)])),
        count=PROBES if given is None else len(next(iter(given.values()))),
        largest_difference=max(found[:singles]),
        streaming_difference=max(found[singles:], default=None),
        agreement=top1_agreement(outputs[0], plan[0][1]),
        probe=probe,
        stream=stream,
    )


def measure_again(
    path: Path, kind: str, probe: Probe, stream: Probe | None, *, streaming: str | None, eight_bits: bool = False
) -> Measured:
    """Replay the file or folder at ``path`` and compare it with what the probes say.

    Raises:
        ExportError: the file does not run, or has outputs of other names or shapes.
    """
    parts = [part for part in (probe, stream) if part is not None]
    try:
        plan = [(part, session) for part in parts for session in part.sessions()]
    except InvalidInputError as error:
        raise ExportError(f"{path}: its certificate asks for what cannot be made: {error}") from None
    replayed = replay(path, [session for _, session in plan], probe.runtime(kind))
    found, agreement = {False: 0.0, True: 0.0}, None
    for (part, session), answers in zip(plan, replayed.outputs, strict=True):
        pair = part.compared(_comparable(answers, streaming) if session.streams else answers, path.name)
        found[session.streams] = max(found[session.streams], difference(*pair, eight_bits))
        agreement = agreement if session.streams else top1_agreement(*pair)
    return Measured(
        replayed=replayed,
        inputs=_described(probe),
        count=PROBES,
        largest_difference=found[False],
        streaming_difference=found[True] if stream is not None else None,
        agreement=agreement,
        probe=probe,
        stream=stream,
    )


def one_by_one(arrays: Arrays) -> Arrays:
    """``[count, ...]`` as ``[count, 1, ...]``."""
    return {name: array[:, None] for name, array in arrays.items()}


def _described(probe: Probe) -> str:
    signals = all(one.dtype == "float32" for one in probe.inputs)
    return f"{PROBES} seeded " + ("probe signals (noise and tones)" if signals else "probes")


def _whole_probe(model: keras.Model, whole: Signature, given: Arrays | None) -> tuple[Probe, Arrays]:
    inputs = probes.probes_for(model, whole.inputs, given)
    expected = one_by_one(probes.answers(model, whole, probes.probe_inputs(inputs)))
    return _probe((whole.name,), inputs, expected), expected


def _stream_probe(model: keras.Model, signatures: tuple[Signature, ...], streaming: str) -> tuple[Probe, Arrays]:
    from lstm_zoo.streaming.steps import StepModel

    clip, *blockwise = signatures
    steps = StepModel(model, streaming, samples=clip.inputs[0].shape[1] if streaming == "sliding" else None)
    most = max(one.inputs[0].shape[1] for one in blockwise) // steps.stride
    blocks = probes.stream_blocks(steps, most)
    source = probes.stream_input(model, steps, blocks)
    signals = probes.probe_inputs((source,))[source.name]
    expected = probes.stream_answers(model, steps, blocks, signals)
    return _probe(tuple(one.name for one in blockwise), (source,), expected, streams=True), expected


def _probe(
    signatures: tuple[str, ...], inputs: tuple[ProbeInput, ...], expected: Arrays, streams: bool = False
) -> Probe:
    outputs = tuple(ProbeOutput.of(name, answers) for name, answers in expected.items())
    return Probe(seed=PROBE_SEED, signatures=signatures, inputs=inputs, outputs=outputs, streams=streams)


def _longer_batch(model: keras.Model, whole: Signature, given: Arrays | None) -> tuple[Session, Arrays]:
    """All probes in one call, of another length than the others, for files that leave both open."""
    longer = probes.probe_inputs(probes.probes_for(model, whole.inputs, given, STRETCH))
    expected = probes.answers(model, whole, longer)
    call = {name: array[None] for name, array in longer.items()}
    return Session(whole.name, call), {name: array[None] for name, array in expected.items()}


def _comparable(answers: Arrays, streaming: str | None) -> Arrays:
    return probes.last_step(answers) if streaming == "continuous" else answers


def _require_finite(expected: Arrays, inputs: str) -> None:
    """A model that has no answers itself would leave the blame to its file."""
    for name, values in expected.items():
        if not np.isfinite(values).all():
            raise ExportError(f"the model answers NaN or infinite values to {inputs}, in {name}: check its weights")


def _places(rows: np.ndarray) -> np.ndarray:
    return np.linspace(0, rows.shape[1] - 1, min(rows.shape[1], MOST_VALUES)).astype(int)


def difference(outputs: Arrays, expected: Arrays, eight_bits: bool = False) -> float:
    """The largest in any output: in the output's own units, or, where it has values above 1, as a share of the largest.

    The errors of 8-bit weights grow and shrink with the output, so that of such a file it is that share, too, where all
    values are below 1, unless they are probabilities.

    Raises:
        ExportError: there are other outputs, or one has another shape.
    """
    if set(outputs) != set(expected):
        raise ExportError(f"the exported file has the outputs {sorted(outputs)}, the model {sorted(expected)}")
    return max(_difference(name, outputs[name], expected[name], eight_bits) for name in expected)


def _difference(name: str, output: np.ndarray, expected: np.ndarray, eight_bits: bool) -> float:
    if output.shape != expected.shape:
        raise ExportError(
            f"{name}: the exported file gives an array of shape {output.shape}, the model {expected.shape}"
        )
    wanted = expected.astype("float64")
    largest, has_negatives = np.abs(wanted).max(), wanted.min() < 0  # which probabilities have not
    relative = largest > 1 or (eight_bits and has_negatives)
    found = np.abs(output.astype("float64") - wanted).max() / (largest if relative else 1.0)
    return float(found) if np.isfinite(found) else float("inf")


def top1_agreement(outputs: Arrays, expected: Arrays) -> float | None:
    """The share of answers whose highest score is the same; of several outputs, the lowest. None without scores."""
    scores = [name for name, values in expected.items() if values.dtype.kind == "f" and values.shape[-1] > 1]
    shares = [np.mean(outputs[name].argmax(axis=-1) == expected[name].argmax(axis=-1)) for name in scores]
    return float(min(shares)) if shares else None
