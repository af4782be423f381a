"""The sequence runner under TensorFlow: a loop forwards, a loop backwards, and few large matrix products after it.

TensorFlow's own gradient of a loop adds to the weights' gradients in every step, and under XLA it takes time that
grows with the square of the length. Here the loop forwards stores pre-activations and states; the loop backwards takes
the vector-Jacobian product of the step function, whatever that is, and stores the gradients of the pre-activations;
the gradients of both kernels are one product each over all steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NoReturn

import tensorflow as tf

from lstm_zoo.errors import InvalidInputError
from lstm_zoo.layers.runners.feedback import Feedback

SMALL_BATCH = 4  # up to here a product for each step is slower than one for all steps, which then has to be read again

Step = Callable[..., tuple[tf.Tensor, ...]]
States = tuple[tf.Tensor, ...]


def scan(
    step: Step,
    inputs: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    parameters: dict[str, tf.Tensor],
    states: States,
    constants: tuple[tf.Tensor, ...],
    *,
    kernel: tf.Tensor | None = None,
    bias: tf.Tensor | None = None,
    feedback: Feedback[tf.Tensor] | None = None,
    recurrent_mask: tf.Tensor | None = None,
    additive: bool = True,
    rematerialize: bool = False,
    compiled: bool = False,
    prepare: Callable[[tf.Tensor, Mapping[str, tf.Tensor]], tf.Tensor] | None = None,
    prepare_parameters: Mapping[str, tf.Tensor] | None = None,
) -> tuple[tf.Tensor, States]:
    """Run ``step`` over time. See :mod:`lstm_zoo.layers.runners` for the arguments.

    With ``compiled`` the loops are compiled by XLA, whatever surrounds them. The function that does so is kept with
    ``step``: pass the same one again for the same work.
    """
    given = {"inputs": inputs, "kernel": kernel, "bias": bias, "recurrent_kernel": recurrent_kernel}
    if feedback is not None:
        given["feedback_kernel"] = feedback.kernel
        feedback = replace(feedback, kernel=None)  # what is compiled outlives the tensor
    given = {name: tensor for name, tensor in given.items() if tensor is not None}
    given |= {"parameters": dict(parameters), "states": tuple(states)}
    given = tf.nest.map_structure(tf.convert_to_tensor, given)  # variables are read outside of what is compiled

    def run(given: dict[str, Any], constants: States, recurrent_mask: tf.Tensor | None, own: dict[str, Any]) -> Any:
        if prepare is not None:
            given = given | {"inputs": prepare(given["inputs"], own)}
        return _differentiable(_Segment(step, additive, recurrent_mask, feedback), given, constants, rematerialize)

    if compiled:
        functions = vars(step).setdefault("compiled", {})
        if (additive, rematerialize) not in functions:
            functions[additive, rematerialize] = tf.function(run, jit_compile=True, autograph=False)
        run = functions[additive, rematerialize]
    outputs, *final = run(given, tuple(constants), recurrent_mask, dict(prepare_parameters or {}))
    return outputs, tuple(final)


def _differentiable(segment: _Segment, given: dict[str, Any], constants: States, rematerialize: bool) -> Any:
    """Outputs and last states, with the gradient of this module in place of TensorFlow's."""
    if "kernel" in given and (given["inputs"].shape[1] or SMALL_BATCH + 1) <= SMALL_BATCH:
        others = {name: tensors for name, tensors in given.items() if name not in ("kernel", "bias")}
        given = others | {"inputs": segment.project(given["inputs"], given)}
    whole = _Segments(segment) if rematerialize else segment

    @tf.custom_gradient
    def run(*flat: tf.Tensor) -> Any:
        given_here = tf.nest.pack_sequence_as(given, flat)
        outputs, final, saved = whole.forward(given_here, constants)

        def gradient(*upstream: tf.Tensor) -> Any:
            @tf.custom_gradient
            def first_order(*tensors: tf.Tensor) -> Any:
                d_outputs, *d_final = tensors[len(flat) :]
                d_given = whole.backward(given_here, constants, saved, outputs, d_outputs, tuple(d_final))
                return tf.nest.flatten(d_given), _refuse_second_order

            return first_order(*flat, *upstream)

        return (outputs, *final), gradient

    return run(*tf.nest.flatten(given))


def _refuse_second_order(*_: tf.Tensor) -> NoReturn:
    raise InvalidInputError("the scan has no second derivative: pass implementation='reference' to the layer for one")


class _Segment:
    """A number of steps forwards and backwards, everything in between stored."""

    def __init__(self, step: Step, additive: bool, recurrent_mask: tf.Tensor | None, feedback: Feedback[Any] | None):
        self.step, self.additive, self.recurrent_mask, self.feedback = step, additive, recurrent_mask, feedback

    def forward(self, given: dict[str, Any], constants: States) -> tuple[tf.Tensor, States, Any]:
        """Outputs ``[time, batch, ...]``, the last states, and what :meth:`backward` needs."""

        def body(states: States, slices: States) -> tuple[States, States]:
            x, *now = slices
            z_input, z_recurrent = self.project(x, given), self._recur(states, given)
            saved = z_recurrent
            if self.additive:
                saved = z_input = z_input + z_recurrent
                z_recurrent = 0.0
            new = self.step(z_input, z_recurrent, states, given["parameters"], tuple(now))
            return new, (new[0], saved, *states[1:])

        states = given["states"]
        like = (states[0], self._recur(states, given), *states[1:])
        final, (outputs, *saved) = _loop(body, states, (given["inputs"], *constants), like)
        return outputs, final, saved

    def backward(
        self,
        given: dict[str, Any],
        constants: States,
        saved: Any,
        outputs: tf.Tensor,
        d_outputs: tf.Tensor,
        d_final: States,
    ) -> dict[str, Any]:
        """The gradients of everything in ``given``."""
        parameters, first = given["parameters"], given["states"][0]
        before = tf.concat([first[None], outputs[:-1]], axis=0)  # h of the step before
        stored, *others = saved
        z = (stored,) if self.additive else (self.project(given["inputs"], given), stored)

        turned = self._turned(given["recurrent_kernel"])
        fed_back = tf.transpose(given["feedback_kernel"]) if self.feedback else None

        def body(carried: Any, slices: States) -> tuple[Any, States]:
            d_states, d_parameters = carried
            d_output, z, states, now = tf.nest.pack_sequence_as(sequences, slices)
            with tf.GradientTape() as tape:
                tape.watch([z, states, parameters])
                new = self.step(*z, *([0.0] if self.additive else []), states, parameters, now)
            d_z, d_before, d_here = tape.gradient(
                new,
                (z, states, parameters),
                output_gradients=(d_states[0] + d_output, *d_states[1:]),
                unconnected_gradients="zero",
            )
            d_before = [*d_before]
            d_before[0] += self._recur_back(d_z[-1], turned)
            if self.feedback:
                d_before[-1] += tf.matmul(self.feedback.gathered(d_z[-1]), fed_back)
            return (tuple(d_before), tf.nest.map_structure(tf.add, d_parameters, d_here)), d_z

        sequences = (d_outputs, z, (before, *others), constants)
        carried = (d_final, tf.nest.map_structure(tf.zeros_like, parameters))
        like = tuple(_slice_of(stored) for _ in z)
        (d_states, d_parameters), d_z = _loop(body, carried, tuple(tf.nest.flatten(sequences)), like, reverse=True)
        d_given = self._of_inputs(d_z[0], given) | {"recurrent_kernel": self._of_kernel(before, d_z[-1], given)}
        if self.feedback:
            d_fed = self.feedback.gathered(_flat(d_z[-1]))
            d_given["feedback_kernel"] = tf.matmul(_flat(others[-1]), d_fed, transpose_a=True)
        return {name: d_given[name] for name in given if name in d_given} | {
            "parameters": d_parameters,
            "states": d_states,
        }

    def project(self, x: tf.Tensor, given: dict[str, Any]) -> tf.Tensor:
        if "kernel" not in given:
            return x
        z = tf.matmul(x, given["kernel"])
        return z + given["bias"] if "bias" in given else z

    def _of_inputs(self, d_z: tf.Tensor, given: dict[str, Any]) -> dict[str, tf.Tensor]:
        """Gradients of the inputs, the kernel and the bias."""
        if "kernel" not in given:
            return {"inputs": d_z}
        inputs, kernel = given["inputs"], given["kernel"]
        flat = _flat(d_z)
        d_given = {"inputs": tf.reshape(tf.matmul(flat, kernel, transpose_b=True), tf.shape(inputs))}
        d_given["kernel"] = tf.matmul(_flat(inputs), flat, transpose_a=True)
        if "bias" in given:
            d_given["bias"] = tf.reduce_sum(flat, axis=0)
        return d_given

    # The recurrent product, with a dense kernel [rows, columns] or one for each head [heads, rows, blocks, columns].

    def _recur(self, states: States, given: dict[str, Any]) -> tf.Tensor:
        z = self._product(states[0], given["recurrent_kernel"])
        return z + self.feedback.spread(tf.matmul(states[-1], given["feedback_kernel"])) if self.feedback else z

    def _product(self, h: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if self.recurrent_mask is not None:
            h *= self.recurrent_mask
        if kernel.shape.rank == 2:
            return tf.matmul(h, kernel)
        heads, rows, blocks, columns = kernel.shape
        z = tf.einsum("bnd,ndge->bgne", tf.reshape(h, [-1, heads, rows]), kernel)
        return tf.reshape(z, [-1, blocks * heads * columns])

    def _turned(self, kernel: tf.Tensor) -> tf.Tensor:
        """The recurrent kernel as the way back takes it; done once, it makes the product of each step faster."""
        return tf.transpose(kernel) if kernel.shape.rank == 2 else kernel

    def _recur_back(self, d_z: tf.Tensor, turned: tf.Tensor) -> tf.Tensor:
        if turned.shape.rank == 2:
            d_h = tf.matmul(d_z, turned)
        else:
            heads, rows, blocks, columns = turned.shape
            d_h = tf.einsum("bgne,ndge->bnd", tf.reshape(d_z, [-1, blocks, heads, columns]), turned)
            d_h = tf.reshape(d_h, [-1, heads * rows])
        return d_h if self.recurrent_mask is None else d_h * self.recurrent_mask

    def _of_kernel(self, before: tf.Tensor, d_z: tf.Tensor, given: dict[str, Any]) -> tf.Tensor:
        kernel = given["recurrent_kernel"]
        if self.recurrent_mask is not None:
            before *= self.recurrent_mask
        if kernel.shape.rank == 2:
            return tf.matmul(_flat(before), _flat(d_z), transpose_a=True)
        heads, rows, blocks, columns = kernel.shape
        before, d_z = tf.reshape(before, [-1, heads, rows]), tf.reshape(d_z, [-1, blocks, heads, columns])
        return tf.einsum("xnd,xgne->ndge", before, d_z)


class _Segments:
    """Segments of about the square root of all steps: only the states between them are stored.

    Backwards, each segment is run once more. The last segment is what the others leave over: at least one step.
    """

    def __init__(self, segment: _Segment):
        self.segment = segment

    def forward(self, given: dict[str, Any], constants: States) -> tuple[tf.Tensor, States, Any]:
        count, length = _segments(given["inputs"])

        def body(states: States, slices: States) -> tuple[States, States]:
            outputs, final, _ = self.segment.forward(given | {"inputs": slices[0], "states": states}, slices[1:])
            return final, (outputs, *states)

        first = given["states"][0]
        of_segment = tf.TensorSpec([length if isinstance(length, int) else None, *first.shape], first.dtype)
        cut, rest = zip(*(_cut(x, count, length) for x in (given["inputs"], *constants)), strict=True)
        states, (outputs, *starts) = _loop(
            body, given["states"], cut, (of_segment, *given["states"]), can_be_empty=True
        )
        last, final, _ = self.segment.forward(given | {"inputs": rest[0], "states": states}, rest[1:])
        return _followed(outputs, last), final, (starts, states)

    def backward(
        self,
        given: dict[str, Any],
        constants: States,
        saved: Any,
        outputs: tf.Tensor,
        d_outputs: tf.Tensor,
        d_final: States,
    ) -> dict[str, Any]:
        starts, last_states = saved
        count, length = _segments(given["inputs"])
        cut, rest = zip(*(_cut(x, count, length) for x in (d_outputs, given["inputs"], *constants)), strict=True)

        def again(states: States, slices: States, d_states: States) -> dict[str, Any]:
            d_outputs, inputs, *now = slices
            here = given | {"inputs": inputs, "states": states}
            outputs, _, saved = self.segment.forward(here, tuple(now))
            return self.segment.backward(here, tuple(now), saved, outputs, d_outputs, d_states)

        def body(carried: dict[str, Any], slices: States) -> tuple[dict[str, Any], States]:
            here = again(slices[: len(starts)], slices[len(starts) :], carried["states"])
            d_inputs, d_states = here.pop("inputs"), here.pop("states")
            sums = {name: tf.nest.map_structure(tf.add, carried[name], here[name]) for name in here}
            return sums | {"states": d_states}, (d_inputs,)

        carried = again(last_states, rest, d_final)
        d_rest = carried.pop("inputs")
        like = (_slice_of(cut[1]),)
        carried, (d_inputs,) = _loop(body, carried, (*starts, *cut), like, reverse=True, can_be_empty=True)
        d_given = carried | {"inputs": _followed(d_inputs, d_rest)}
        return {name: d_given[name] for name in given}


def _loop(
    body: Callable[[Any, States], tuple[Any, States]],
    carried: Any,
    sequences: States,
    like: States,
    reverse: bool = False,
    can_be_empty: bool = False,
) -> tuple[Any, States]:
    """``carried, outputs = body(carried, slices)`` for every slice of ``sequences`` along their first axis.

    ``like`` has the shapes and types of the outputs, as tensors or specifications; they come back stacked, in the
    order of the sequences. Of those there is one slice at least, unless ``can_be_empty``.
    """
    length = sequences[0].shape[0]
    length = tf.shape(sequences[0])[0] if length is None else length
    given = [_array(x.dtype, x.shape[1:], length).unstack(x) for x in sequences]
    collected = tuple(_array(x.dtype, x.shape, length) for x in like)

    def advance(t: tf.Tensor, carried: Any, collected: tuple[tf.TensorArray, ...]) -> Any:
        at = length - 1 - t if reverse else t
        carried, outputs = body(carried, tuple(array.read(at) for array in given))
        return t + 1, carried, tuple(array.write(at, x) for array, x in zip(collected, outputs, strict=True))

    _, carried, collected = tf.while_loop(
        lambda t, *_: t < length, advance, (tf.constant(0), carried, collected), maximum_iterations=length
    )
    if not can_be_empty:
        return carried, tuple(array.stack() for array in collected)
    return carried, tuple(_stack_or_nothing(array, x, length) for array, x in zip(collected, like, strict=True))


def _stack_or_nothing(array: tf.TensorArray, like: Any, length: Any) -> tf.Tensor:
    """``array.stack()``, which fails where there is nothing to stack and a size is not known.

    XLA has no gradient for it where the length is not known while tracing.
    """

    def nothing() -> tf.Tensor:
        return tf.zeros([0, *(size or 0 for size in like.shape)], like.dtype)

    if isinstance(length, int):
        return array.stack() if length else nothing()
    return tf.cond(length > 0, array.stack, nothing)


def _flat(x: tf.Tensor) -> tf.Tensor:
    """``[time, batch, columns]`` as ``[time * batch, columns]``."""
    return tf.reshape(x, [-1, x.shape[-1]])


def _slice_of(x: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec(x.shape[1:], x.dtype)


def _array(dtype: tf.DType, shape: tf.TensorShape, length: Any) -> tf.TensorArray:
    return tf.TensorArray(dtype, length, element_shape=shape)


def _segments(x: tf.Tensor) -> tuple[Any, Any]:
    """How many segments there are before the last one, and the steps in each."""
    time = x.shape[0]
    if time is not None:
        length = math.isqrt(time)
    else:
        time = tf.shape(x)[0]
        length = tf.cast(tf.sqrt(tf.cast(time, tf.float32)), tf.int32)
    return (time - 1) // length, length


def _cut(x: tf.Tensor, count: Any, length: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """``[time, ...]`` as ``[count, length, ...]`` and what is left over."""
    shape = tf.concat([[count, length], tf.shape(x)[1:]], axis=0)
    cut = tf.reshape(x[: count * length], shape)
    static = [n if isinstance(n, int) else None for n in (count, length)]
    return tf.ensure_shape(cut, [*static, *x.shape[1:]]), x[count * length :]


def _followed(x: tf.Tensor, rest: tf.Tensor) -> tf.Tensor:
    """``[count, length, ...]`` as ``[count * length, ...]``, and ``rest`` after it.

    The sizes are those of ``rest``: where the count is 0, ``x`` has zeros for sizes that nobody knew while tracing.
    """
    return tf.concat([tf.reshape(x, tf.concat([[-1], tf.shape(rest)[1:]], axis=0)), rest], axis=0)
