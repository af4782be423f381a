"""The loop over time of the backend in use, against a plain NumPy loop and finite differences, in float64."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
from backends import BACKEND, double_precision, gradients, kept_numbers, to_numpy

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.layers.runners import BACKENDS, scan
from lstm_zoo.layers.runners.feedback import Feedback

BATCH, FEATURES, WIDTH, HEADS, BLOCKS = 2, 3, 4, 2, 2
COLUMNS = BLOCKS * WIDTH


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with double_precision():
        yield


@dataclass(frozen=True)
class Case:
    time: int = 7  # segments of 3, 3 and 1 when rematerialized
    heads: int = 1
    additive: bool = True
    kernel: bool = True
    bias: bool = True
    mask: bool = True
    constants: bool = True
    feedback: bool = False


CASES = {
    "dense": Case(),
    "dense, plain": Case(kernel=False, bias=False, mask=False, constants=False),
    "dense, not additive": Case(additive=False, bias=False),
    "heads": Case(heads=HEADS, mask=False),
    "heads, not additive": Case(heads=HEADS, additive=False),
    "heads, pre-activations": Case(heads=HEADS, kernel=False, bias=False, constants=False),
    "feedback": Case(feedback=True),
    "feedback, not additive": Case(feedback=True, additive=False, mask=False),
    "one step": Case(time=1),
    "two steps": Case(time=2),
    "whole segments": Case(time=9, constants=False, mask=False),
}


def toy_step(xp: Any, additive: bool) -> Callable[..., Any]:
    """A step for tensors (``xp=keras.ops``) and arrays (``xp=numpy``): two states, two parameters, two constants."""

    def step(z_input: Any, z_recurrent: Any, states: Any, parameters: Any, constants: Any) -> Any:
        h, c = states
        gain, valid = constants or (1.0, True)
        z = z_input + z_recurrent if additive else squash(z_input) * (0.3 + z_recurrent)
        forget, cell = xp.split(z, BLOCKS, axis=-1)
        new = squash(forget + parameters["peephole"] * c) * c + gain * squash(cell)
        c = xp.where(valid, new, c)
        return squash(parameters["scale"] * c) + 0.2 * h, c

    return step


def squash(x: Any) -> Any:
    """To between -1 and 1. Keras's ``tanh`` rounds float64 to float32 under JAX."""
    return x * (1 + x * x) ** -0.5


@functools.cache
def arguments(case: Case) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What has no gradient (None where the case has no such thing), and what has one, by name."""
    draw = np.random.default_rng(case.time).normal
    recurrent = (case.heads, WIDTH // case.heads, BLOCKS, WIDTH // case.heads)
    fixed = {
        "recurrent_mask": draw(size=(BATCH, WIDTH)) if case.mask else None,
        "constants": (
            (draw(size=(case.time, BATCH, WIDTH)), np.arange(case.time * BATCH).reshape(-1, BATCH, 1) % 5 != 3)
            if case.constants
            else ()
        ),
    }
    varied = {
        "inputs": draw(size=(case.time, BATCH, FEATURES if case.kernel else COLUMNS)),
        "recurrent_kernel": draw(size=recurrent if case.heads > 1 else (WIDTH, COLUMNS)),
        "peephole": draw(size=WIDTH),
        "scale": draw(size=WIDTH),
        "h": draw(size=(BATCH, WIDTH)),
        "c": draw(size=(BATCH, WIDTH)),
    }
    if case.kernel:
        varied["kernel"] = draw(size=(FEATURES, COLUMNS))
    if case.bias:
        varied["bias"] = draw(size=COLUMNS)
    if case.feedback:
        varied["feedback_kernel"] = draw(size=(WIDTH, WIDTH))
    return fixed, varied


def numpy_scan(case: Case, varied: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs, the last h and the last c, one equation after the other."""
    fixed, _ = arguments(case)
    step = toy_step(np, case.additive)
    h, c = varied["h"], varied["c"]
    outputs = []
    for t in range(case.time):
        z_input = varied["inputs"][t]
        if case.kernel:
            z_input = z_input @ varied["kernel"] + varied.get("bias", 0.0)
        masked = h if fixed["recurrent_mask"] is None else h * fixed["recurrent_mask"]
        z_recurrent = masked @ dense_kernel(varied["recurrent_kernel"])
        if case.feedback:
            z_recurrent[:, WIDTH:] += c @ varied["feedback_kernel"]
        constants = tuple(constant[t] for constant in fixed["constants"])
        h, c = step(z_input, z_recurrent, (h, c), varied, constants)
        outputs.append(h)
    return [np.stack(outputs), h, c]


def dense_kernel(kernel: np.ndarray) -> np.ndarray:
    """``[width, columns]``, with zeros between the heads: the columns go by block, in each by head."""
    if kernel.ndim == 2:
        return kernel
    heads, rows, blocks, units = kernel.shape
    dense = np.zeros((heads * rows, blocks * heads * units))
    for head in range(heads):
        for block in range(blocks):
            first = (block * heads + head) * units
            dense[head * rows : (head + 1) * rows, first : first + units] = kernel[head, :, block]
    return dense


def backend_scan(case: Case, tensors: dict[str, Any], **options: bool) -> list[Any]:
    """The same of the runner."""
    fixed, _ = arguments(case)
    mask = fixed["recurrent_mask"]
    outputs, states = scan(
        toy_step(keras.ops, case.additive),
        tensors["inputs"],
        tensors["recurrent_kernel"],
        {name: tensors[name] for name in ("peephole", "scale")},
        (tensors["h"], tensors["c"]),
        tuple(keras.ops.convert_to_tensor(constant) for constant in fixed["constants"]),
        kernel=tensors.get("kernel"),
        bias=tensors.get("bias"),
        feedback=Feedback(tensors["feedback_kernel"], fed=(1,), blocks=BLOCKS) if case.feedback else None,
        recurrent_mask=None if mask is None else keras.ops.convert_to_tensor(mask),
        additive=case.additive,
        **options,
    )
    assert isinstance(states, tuple)
    return [outputs, *states]


def objective(results: list[Any]) -> Any:
    """A scalar in which every number of the outputs and of the last states has another weight."""
    draw = np.random.default_rng(99).normal
    return sum((result * draw(size=tuple(result.shape))).sum() for result in results)


def backend_objective(case: Case, **options: bool) -> Callable[[list[Any]], Any]:
    names = list(arguments(case)[1])

    def function(tensors: list[Any]) -> Any:
        results = backend_scan(case, dict(zip(names, tensors, strict=True)), **options)
        draw = np.random.default_rng(99).normal
        weights = [keras.ops.convert_to_tensor(draw(size=tuple(result.shape))) for result in results]
        return sum(keras.ops.sum(result * weight) for result, weight in zip(results, weights, strict=True))

    return function


@functools.cache
def finite_differences(case: Case) -> dict[str, np.ndarray]:
    """Gradients of the objective of the NumPy loop, by central differences."""
    _, varied = arguments(case)
    found = {name: np.zeros_like(value) for name, value in varied.items()}
    for name, value in varied.items():
        for index in np.ndindex(value.shape):
            sides = []
            for change in (1e-6, -1e-6):
                moved = value.copy()
                moved[index] += change
                sides.append(objective(numpy_scan(case, varied | {name: moved})))
            found[name][index] = (sides[0] - sides[1]) / 2e-6
    return found


@pytest.mark.parametrize("rematerialize", [False, True])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_values(case: Case, rematerialize: bool) -> None:
    _, varied = arguments(case)
    tensors = {name: keras.ops.convert_to_tensor(value) for name, value in varied.items()}
    found = backend_scan(case, tensors, rematerialize=rematerialize)
    for actual, expected in zip(found, numpy_scan(case, varied), strict=True):
        assert to_numpy(actual).dtype == np.float64
        np.testing.assert_allclose(to_numpy(actual), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_gradients(case: Case) -> None:
    tensors = list(arguments(case)[1].values())
    plain, again = (gradients(backend_objective(case, rematerialize=choice), tensors) for choice in (False, True))
    assert_true_gradients(case, plain)
    for name, one, other in zip(finite_differences(case), plain, again, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX always compiles, PyTorch never does")
@pytest.mark.parametrize(
    ("name", "rematerialize"), [("dense", True), ("heads, not additive", False), ("feedback", True)]
)
@pytest.mark.parametrize("everything", [False, True])
def test_compiled_gradients(name: str, rematerialize: bool, everything: bool) -> None:
    case = CASES[name]
    tensors = list(arguments(case)[1].values())
    function = backend_objective(case, rematerialize=rematerialize, compiled=not everything)
    assert_true_gradients(case, gradients(function, tensors, compiled=everything))


def assert_true_gradients(case: Case, found: list[np.ndarray]) -> None:
    for (name, expected), actual in zip(finite_differences(case).items(), found, strict=True):
        assert np.abs(expected).max() > 1e-3, name  # else nothing would be compared
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow does not tell what it keeps")
def test_rematerialize_keeps_less() -> None:
    case = Case(time=100)
    tensors = list(arguments(case)[1].values())
    plain, again = (kept_numbers(backend_objective(case, rematerialize=choice), tensors) for choice in (False, True))
    steps = case.time * BATCH * (FEATURES + 3 * WIDTH)  # inputs, the constants, the outputs' weights and one thing more
    assert again < steps < plain / 2


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow traces without knowing the number of steps")
@pytest.mark.parametrize("options", [{}, {"rematerialize": True}, {"compiled": True}], ids=str)
def test_unknown_number_of_steps(options: dict[str, bool]) -> None:
    import tensorflow as tf

    case = Case(kernel=False, bias=False, constants=False)
    _, varied = arguments(case)
    tensors = {name: tf.convert_to_tensor(value) for name, value in varied.items()}

    @tf.function(input_signature=[tf.TensorSpec([None, None, COLUMNS], tf.float64)])
    def run(inputs: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            results = backend_scan(case, tensors | {"inputs": inputs}, **options)
            value = tf.reduce_sum(results[0])
        return results[0], tape.gradient(value, inputs)

    for steps in (1, 7):
        outputs, gradient = run(varied["inputs"][:steps])
        np.testing.assert_allclose(outputs, numpy_scan(case, varied)[0][:steps], rtol=1e-12, atol=1e-13)
        whole = gradients(
            lambda inputs: keras.ops.sum(backend_scan(case, tensors | {"inputs": inputs[0]})[0]),
            [varied["inputs"][:steps]],
        )
        np.testing.assert_allclose(gradient, whole[0], rtol=1e-10, atol=1e-12)


def test_backend_without_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    with pytest.raises(InvalidInputError, match="'numpy'.*" + ".*".join(BACKENDS)):
        backend_scan(Case(), arguments(Case())[1])
