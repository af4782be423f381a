"""Every gated LSTM in NumPy and float64, written from the papers; it shares no code with the package.

Variants: Greff et al. 2017, table 1. Peepholes: Gers and Schmidhuber 2000. Projection: Sak et al. 2014. Layer
normalisation: Ba et al. 2016. Zoneout, as at inference: Krueger et al. 2017. Which of peepholes, projection and
normalisation take part is seen from the weights that are there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

BLOCKS = {  # columns of the kernels: input gate, forget gate, cell input (g), output gate
    "coupled_input_forget": "fgo",
    "no_input_gate": "fgo",
    "no_forget_gate": "igo",
    "no_output_gate": "ifg",
}
VARIANTS = (
    *("vanilla", "peephole", "coupled_input_forget", "no_input_gate", "no_forget_gate", "no_output_gate"),
    *("no_input_activation", "no_output_activation", "full_gate_recurrence"),
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normalized(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def step(variant, w, x, h, c, last_gates, cell_activation, cell_clip, projection_clip):
    """One step without masks and zoneout: the new output, cell state and gate activations (i, f, o)."""
    blocks = BLOCKS.get(variant, "ifgo")
    from_input, from_state = x @ w["kernel"], h @ w["recurrent_kernel"]
    if variant == "full_gate_recurrence":
        i, f, o = np.split(last_gates @ w["feedback_kernel"], 3, axis=-1)
        from_state = from_state + np.concatenate([i, f, 0 * i, o], axis=-1)

    if "input_norm_scale" in w:
        z = normalized(from_input) * w["input_norm_scale"] + normalized(from_state) * w["recurrent_norm_scale"]
    elif "gate_norm_scale" in w:
        gates = np.split(from_input + from_state, len(blocks), axis=-1)
        z = np.concatenate([normalized(gate) for gate in gates], axis=-1) * w["gate_norm_scale"]
    else:
        z = from_input + from_state
    z = dict(zip(blocks, np.split(z + w.get("bias", 0), len(blocks), axis=-1), strict=True))

    f = sigmoid(z["f"] + w.get("forget_peephole", 0) * c) if "f" in z else np.ones_like(c)
    i = sigmoid(z["i"] + w.get("input_peephole", 0) * c) if "i" in z else np.ones_like(c)
    if variant == "coupled_input_forget":
        i = 1 - f
    g = z["g"] if variant == "no_input_activation" else np.tanh(z["g"])
    c = cell_activation(f * c + i * g)
    if cell_clip is not None:
        c = np.clip(c, -cell_clip, cell_clip)
    o = sigmoid(z["o"] + w.get("output_peephole", 0) * c) if "o" in z else np.ones_like(c)
    let_out = normalized(c) * w["cell_norm_scale"] + w["cell_norm_offset"] if "cell_norm_scale" in w else c
    h = o * (let_out if variant == "no_output_activation" else np.tanh(let_out))
    if "projection_kernel" in w:
        h = h @ w["projection_kernel"]
        if projection_clip is not None:
            h = np.clip(h, -projection_clip, projection_clip)
    return h, c, np.concatenate([i, f, o], axis=-1)


def run(
    variant: str,
    weights: dict[str, np.ndarray],
    x: np.ndarray,
    *,
    state: list[np.ndarray] | None = None,
    mask: np.ndarray | None = None,
    cell_activation: Callable[[np.ndarray], np.ndarray] = lambda c: c,
    cell_clip: float | None = None,
    projection_clip: float | None = None,
    zoneout_cell: float = 0.0,
    zoneout_hidden: float = 0.0,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The whole sequence.

    Args:
        variant: one of ``VARIANTS``.
        weights: by the names of the layer's weights; those that are absent take no part.
        x: ``[batch, time, features]``.
        state: ``[h, c]``, and ``gates`` for full gate recurrence; zeros without.
        mask: ``[batch, time]`` bool, False where the states are kept and the last output is repeated.
        cell_activation, cell_clip, projection_clip, zoneout_cell, zoneout_hidden: as in the layer.

    Returns:
        Outputs ``[batch, time, units]`` and the final state, a list like ``state``.
    """
    w = {name: np.asarray(value, "float64") for name, value in weights.items()}
    batch, time, _ = x.shape
    units = w["kernel"].shape[1] // len(BLOCKS.get(variant, "ifgo"))
    with_gates = variant == "full_gate_recurrence"
    if state is None:
        state = [np.zeros((batch, width)) for width in (len(w["recurrent_kernel"]), units, 3 * units)[: 2 + with_gates]]
    h, c, gates = [np.asarray(value, "float64") for value in [*state, np.zeros((batch, 3 * units))][:3]]
    output, outputs = np.zeros_like(h), []
    for t in range(time):
        new_h, new_c, new_gates = step(variant, w, x[:, t], h, c, gates, cell_activation, cell_clip, projection_clip)
        new_h = zoneout_hidden * h + (1 - zoneout_hidden) * new_h
        new_c = zoneout_cell * c + (1 - zoneout_cell) * new_c
        valid = np.ones((batch, 1), bool) if mask is None else mask[:, t, None]
        output = np.where(valid, new_h, output)
        h, c, gates = np.where(valid, new_h, h), np.where(valid, new_c, c), np.where(valid, new_gates, gates)
        outputs.append(output)
    return np.stack(outputs, axis=1), [h, c, gates][: 2 + with_gates]
