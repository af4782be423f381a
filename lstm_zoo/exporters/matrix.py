"""Every model in every form that there is of it, as one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lstm_zoo.errors import LstmZooError
from lstm_zoo.exporters import QUANTIZATIONS, export

if TYPE_CHECKING:
    import keras

    from lstm_zoo.exporters.certificate import Certificate

Inputs = np.ndarray | Sequence[str]
LOOPED = ("default",)  # profiles whose loop cannot have 8-bit activations


@dataclass(frozen=True)
class Form:
    """One way to export a model; ``str`` of it is the end of the file's name."""

    profile: str
    quantize: str | None = None
    streaming: str | None = None

    def __str__(self) -> str:
        return "_".join(filter(None, [self.profile, self.streaming, self.quantize or "float32"]))


FORMS = (
    *(
        Form(profile, quantize)
        for profile in ("default", "universal", "mediapipe")
        for quantize in QUANTIZATIONS
        if not (profile in LOOPED and quantize == "int8")
    ),
    *(Form("default", quantize, "sliding") for quantize in (None, "dynamic_int8")),
)


def forms_of(model: keras.Model) -> tuple[Form, ...]:
    """Those of :data:`FORMS` that there are of ``model``: a text has no clip that slides."""
    from lstm_zoo.exporters.texts import takes_texts

    return tuple(form for form in FORMS if not (form.streaming and takes_texts(model)))


@dataclass(frozen=True)
class Exported:
    """What became of one form of one model: its certificate, or why there is none."""

    model: str
    form: Form
    certificate: Certificate | None = None
    error: str = ""

    def row(self) -> list[str]:
        """The cells below :data:`COLUMNS`."""
        named = [self.model, self.form.profile, self.form.quantize or "float32", self.form.streaming or "whole input"]
        if self.certificate is None:
            return [*named, self.error, "", "", ""]
        facts = self.certificate
        return [
            *named,
            f"{facts.bytes:,}",
            f"{facts.largest_difference:.1e}",
            "" if facts.top1_agreement is None else f"{facts.top1_agreement:.2%}",
            f"{facts.latency_ms:.2f}",
        ]


COLUMNS = ("model", "profile", "weights", "answers about", "bytes", "largest difference", "same top answer", "ms")


def export_all(
    name: str, model: keras.Model, folder: Path, check_inputs: Inputs | None, representative: Inputs
) -> Iterator[Exported]:
    """Export ``model`` into ``folder`` in each of :func:`forms_of` it, one after the other.

    Args:
        name: the start of each file's name.
        check_inputs: what to compare on, see :func:`lstm_zoo.export`.
        representative: examples for 8-bit activations, from training data.
    """
    for form in forms_of(model):
        try:
            certificate = export(
                model,
                folder / f"{name}_{form}.tflite",
                profile=form.profile,
                quantize=form.quantize,
                streaming=form.streaming,
                representative_data=representative if form.quantize == "int8" else None,
                check_inputs=check_inputs,
            )
            yield Exported(name, form, certificate)
        except LstmZooError as error:
            yield Exported(name, form, error=str(error))
