"""The models of the zoo: one small table, and everything that is looked up in it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape as escape_markup
from rich.table import Table

from lstm_zoo import artifact
from lstm_zoo.errors import ArtifactError, InvalidInputError, UnknownNameError
from lstm_zoo.models import FAMILIES, family_module

if TYPE_CHECKING:
    import keras

# === The table ===

KEYWORD_LABELS = (
    *("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"),
    *("unknown", "silence"),
)
DIGIT_LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Entry:
    """A model of the zoo: its family, and the options in which it differs from the family's defaults."""

    name: str
    task: str
    family: str
    summary: str
    dataset: str
    sample_rate: int | None = None  # hertz; of models that hear
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def takes(self) -> str:
        """What the model is given, in words."""
        return "texts, or token ids" if self.sample_rate is None else f"PCM at {self.sample_rate:,} Hz"


_ENTRIES = (
    Entry(
        name="speech",
        task="keyword spotting",
        family="speech",
        summary="Ten keywords, other words and silence; causal, the default",
        dataset="speech_commands",
        sample_rate=16_000,
        options={"labels": KEYWORD_LABELS},
    ),
    Entry(
        name="speech_tiny",
        task="keyword spotting",
        family="speech",
        summary="The same words in at most 80 KB, for small devices",
        dataset="speech_commands",
        sample_rate=16_000,
        options={
            "labels": KEYWORD_LABELS,
            "convolutions": (
                {"filters": 16, "kernel": (5, 5), "strides": (2, 2)},
                {"filters": 32, "strides": (2, 2)},
                {"filters": 24},
            ),
            "units": 48,
            "dropout": 0.1,
            "time_mask": 12,
        },
    ),
    Entry(
        name="speech_attention",
        task="keyword spotting",
        family="speech",
        summary="The same words, both directions and attention: the most accurate",
        dataset="speech_commands",
        sample_rate=16_000,
        options={
            "labels": KEYWORD_LABELS,
            "convolutions": (
                {"filters": 24, "kernel": (5, 5), "strides": (2, 2)},
                {"filters": 48, "strides": (2, 2)},
                {"filters": 64},
            ),
            "units": 128,
            "bidirectional": True,
        },
    ),
    Entry(
        name="digits",
        task="keyword spotting",
        family="speech",
        summary="Spoken digits at telephone bandwidth",
        dataset="fsdd",
        sample_rate=8_000,
        options={
            "labels": DIGIT_LABELS,
            "front_end": {
                "sample_rate": 8_000,
                "window_length": 256,
                "hop_length": 80,
                "fft_length": 512,
                "upper_frequency": 3_800.0,
            },
            "convolutions": (
                {"filters": 24, "kernel": (5, 5), "strides": (2, 2)},
                {"filters": 48, "strides": (2, 2)},
                {"filters": 64},
            ),
            "units": 96,
            "bidirectional": True,
            "time_mask": 8,
            "frequency_warp": 0.15,
            "equalizer": 8.0,
        },
    ),
    Entry(
        name="sentiment",
        task="sentiment analysis",
        family="sentiment",
        summary="Whether a text is negative or positive; by words, also in MediaPipe: the default",
        dataset="imdb",
    ),
    Entry(
        name="sentiment_subword",
        task="sentiment analysis",
        family="sentiment",
        summary="The same by pieces of words, so that few are unknown; exports take text, too",
        dataset="imdb",
        options={"tokenizer": "subwords"},
    ),
    Entry(
        name="sentiment_tiny",
        task="sentiment analysis",
        family="sentiment",
        summary="The same by words in at most 300 KB, for small devices",
        dataset="imdb",
        options={"embedding": 32, "units": 48},
    ),
)
ENTRIES: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def entry(name: str) -> Entry:
    """The entry ``name``.

    Raises:
        UnknownNameError: says what is nearest and what exists.
    """
    if name not in ENTRIES:
        raise UnknownNameError("model", name, ENTRIES)
    return ENTRIES[name]


# === A model ===


def get(name_or_folder: str | Path, weights: str | None = "pretrained", **overrides: Any) -> keras.Model:
    """A model that takes raw input, with ``.labels``, ``.config`` and ``.card``.

    Args:
        name_or_folder: a name of :func:`list_models`, or an artefact folder.
        weights: ``"pretrained"``, or None for freshly initialised weights.
        overrides: fields of the configuration to change, such as ``units=64``, or
            ``front_end={"mel_bins": 32}``, which leaves the other fields of ``front_end``; they need ``weights=None``.
            New models of text need ``vocabulary``, which
            :func:`lstm_zoo.frontends.text.build_vocabulary` makes of the training texts.

    Raises:
        UnknownNameError: no such model; says what is nearest and what exists.
        InvalidInputError: an override or ``weights`` is not valid.
        ArtifactError: the pretrained files are missing, changed, or of a newer version.
    """
    if weights not in ("pretrained", None):
        raise InvalidInputError(f"weights={weights!r}: expected 'pretrained' or None")
    if weights == "pretrained" and overrides:
        raise InvalidInputError(
            f"{', '.join(sorted(overrides))} would change the model that the pretrained weights belong to: "
            "pass weights=None as well for a new model to train"
        )
    if weights == "pretrained":
        return artifact.read(pretrained_folder(name_or_folder)).build()
    if _is_folder(name_or_folder):
        stored = artifact.read(name_or_folder)
        return _fresh(stored.manifest.family, stored.config.model_dump(), overrides)
    chosen = entry(str(name_or_folder))
    return _fresh(chosen.family, chosen.options, overrides)


def pretrained_folder(name_or_folder: str | Path) -> Path:
    """The artefact folder of a model, by its name or as it is given.

    Raises:
        UnknownNameError: no such model.
        ArtifactError: this installation has no weights for it.
    """
    if _is_folder(name_or_folder):
        return Path(name_or_folder)
    folder = artifact.shipped_folder(entry(str(name_or_folder)).name)
    if not folder.is_dir():
        raise ArtifactError(
            f"this installation has no pretrained weights for {name_or_folder!r} (looked in {folder}): install "
            "lstm-zoo from its wheel or a full checkout, or pass weights=None for a new model"
        )
    return folder


def _fresh(family: str, options: dict[str, Any], overrides: dict[str, Any]) -> keras.Model:
    module, fields = family_module(family), _merged(options, overrides)
    if "vocabulary" in module.CONFIG.model_fields and fields.get("vocabulary") is None:
        maker = "build_subword_vocabulary" if fields.get("tokenizer") == "subwords" else "build_vocabulary"
        raise InvalidInputError(
            f"vocabulary: got none; a new model of text needs one: vocabulary={maker}(texts, size), with the training "
            "texts, from lstm_zoo.frontends.text"
        )
    model: keras.Model = module.build(module.CONFIG.create(fields))
    return model


def _merged(options: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """``options`` with ``overrides``, of which nested ones change single fields too."""
    nested = {
        name: _merged(options[name], value)
        for name, value in overrides.items()
        if isinstance(value, dict) and isinstance(options.get(name), dict)
    }
    return options | overrides | nested


def _is_folder(name_or_folder: str | Path) -> bool:
    """Registry names win over folders of the same name; a path with a separator is always meant as a folder."""
    if isinstance(name_or_folder, Path):
        return True
    if name_or_folder in ENTRIES:
        return False
    separators = [os.sep, "/"] if os.altsep is None else [os.sep, os.altsep]
    return any(each in name_or_folder for each in separators) or (Path(name_or_folder) / artifact.MANIFEST).is_file()


# === What is known about the models ===


@dataclass(frozen=True)
class ModelInfo:
    """An entry and, where it has pretrained weights, what was measured of them."""

    entry: Entry
    folder: Path | None = None
    manifest: artifact.Manifest | None = None

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def pretrained(self) -> bool:
        return self.manifest is not None

    @property
    def facts(self) -> artifact.Facts | None:
        return self.manifest.facts if self.manifest else None

    @property
    def parameters(self) -> int | None:
        return self.facts.parameters if self.facts else None

    @property
    def streaming(self) -> bool | None:
        return self.facts.streaming if self.facts else None

    @property
    def metric(self) -> artifact.Metric | None:
        return self.facts.metric if self.facts else None

    @property
    def smallest_bytes(self) -> int | None:
        """Bytes of the smallest TFLite file."""
        return min(self.facts.tflite.values(), default=None) if self.facts else None

    @property
    def best_baseline(self) -> tuple[str, float] | None:
        """Name and value of the highest of the metric's baselines; figures of the model itself are none."""
        others = self.metric.baselines.items() if self.metric else ()
        own = (self.name, f"{self.name},")  # "speech, without the silence clips" is the model on other clips
        found = [(name, value) for name, value in others if name != own[0] and not name.startswith(own[1])]
        return max(found, key=lambda pair: pair[1], default=None)

    @property
    def files(self) -> dict[str, int]:
        """Bytes of each file of the artefact."""
        return {name: record.bytes for name, record in self.manifest.files.items()} if self.manifest else {}

    @property
    def card(self) -> str:
        """The model card, Markdown; empty for a model without pretrained weights."""
        return (self.folder / "card.md").read_text(encoding="utf-8") if self.folder else ""

    def row(self) -> dict[str, str]:
        """The cells of the table, as text; ``file`` is the smallest TFLite file, ``?`` what is not known."""
        metric = self.metric
        return {
            "name": self.name,
            "parameters": "?" if self.parameters is None else f"{self.parameters:,}",
            "file": "?" if self.smallest_bytes is None else kilobytes(self.smallest_bytes),
            "streaming": "?" if self.streaming is None else ("yes" if self.streaming else "no"),
            "metric": f"{metric.value:.2%} {metric.name}" if metric else "?" if self.pretrained else "not trained",
            "summary": self.entry.summary,
        }

    def markdown_row(self) -> dict[str, str]:
        """The cells of the README's table, as Markdown."""
        sizes = self.facts.tflite if self.facts else {}
        cells = self.row()
        files = [f"{self.name}.tflite", f"{self.name}_int8.tflite"]
        float_size, int8_size = (kilobytes(sizes[file]) if file in sizes else "?" for file in files)
        baseline = self.best_baseline
        return {
            "name": self.name,
            "what it does": cells["summary"],
            "parameters": cells["parameters"],
            "float file": float_size,
            "int8 file": int8_size,
            "on the test split": cells["metric"],
            "best baseline": f"{baseline[1]:.2%}, {baseline[0]}" if baseline else "?",
            "streaming": cells["streaming"],
        }

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "name": self.name,
            "task": self.entry.task,
            "family": self.entry.family,
            "summary": self.entry.summary,
            "dataset": self.entry.dataset,
            "sample_rate": self.entry.sample_rate,
            "pretrained": self.pretrained,
            "facts": self.facts.model_dump(mode="json") if self.facts else None,
            "files": self.files,
        }


class ModelTable(list[ModelInfo]):
    """A list of :class:`ModelInfo` that shows itself as a table in a terminal and in a notebook."""

    @property
    def names(self) -> list[str]:
        return [each.name for each in self]

    def __rich__(self) -> Table | str:
        if not self:
            return "no model matches"
        table = Table(show_lines=True)
        rows = [{column: escape_markup(cell) for column, cell in each.row().items()} for each in self]
        for column in rows[0]:
            right = column in ("parameters", "file", "metric")
            if column != "summary":  # which stands below the name: a terminal of 80 columns has no room beside it
                table.add_column(column, justify="right" if right else "left", no_wrap=column != "name")
        for row in rows:
            name, summary = row.pop("name"), row.pop("summary")
            table.add_row(f"[bold]{name}[/]\n[dim]{summary}[/]", *row.values())
        return table

    def __repr__(self) -> str:
        out = StringIO()
        Console(file=out, width=140).print(self)
        return out.getvalue().rstrip()

    def markdown(self) -> str:
        """The table as Markdown, as it stands in the README."""
        if not self:
            return "no model matches"
        rows = [each.markdown_row() for each in self]
        right = ("parameters", "float file", "int8 file")
        rule = ["---:" if column in right else "---" for column in rows[0]]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (rows[0], rule, *(row.values() for row in rows)))

    def _repr_html_(self) -> str:
        if not self:
            return "<p>no model matches</p>"
        rows = [each.row() for each in self]
        head = "".join(f"<th>{escape(column)}</th>" for column in rows[0])
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row.values()) + "</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def list_models(
    task: str | None = None,
    *,
    max_parameters: int | None = None,
    max_bytes: int | None = None,
    streaming: bool | None = None,
    min_metric: float | None = None,
) -> ModelTable:
    """The models that match, by facts that were measured when they were trained; no TensorFlow is needed.

    A filter on a measured fact leaves out the models of which it is not known.

    Args:
        task: a task ("keyword spotting", "sentiment analysis") or a family ("speech", "sentiment").
        max_parameters: at most so many weights.
        max_bytes: its smallest TFLite file has at most so many bytes.
        streaming: whether the model is causal: needs nothing that is still to come.
        min_metric: at least this value of the model's metric, such as 0.92 for 92 % accuracy.

    Raises:
        UnknownNameError: no such task; says which exist.
    """
    tasks = {each.task for each in ENTRIES.values()} | set(FAMILIES)
    if task is not None and task not in tasks:
        raise UnknownNameError("task", task, tasks)

    def matches(each: ModelInfo) -> bool:
        return (
            (task is None or task in (each.entry.task, each.entry.family))
            and _at_most(each.parameters, max_parameters)
            and _at_most(each.smallest_bytes, max_bytes)
            and (streaming is None or each.streaming is streaming)
            and (min_metric is None or (each.metric is not None and each.metric.value >= min_metric))
        )

    return ModelTable(each for each in _all() if matches(each))


def info(name: str) -> ModelInfo:
    """Facts, files and card of the model ``name``.

    Raises:
        UnknownNameError: no such model; says what is nearest and what exists.
        ArtifactError: its manifest cannot be read.
    """
    chosen = entry(name)
    folder = artifact.shipped_folder(name)
    if not folder.is_dir():
        return ModelInfo(chosen)
    return ModelInfo(chosen, folder, artifact.read_manifest(folder))


def kilobytes(number: int) -> str:
    """``number`` bytes for people: in units of 1,000 bytes."""
    return f"{number / 1000:,.0f} KB" if number >= 1000 else f"{number} B"


def _all() -> Iterable[ModelInfo]:
    return (info(name) for name in ENTRIES)


def _at_most(value: int | None, limit: int | None) -> bool:
    return limit is None or (value is not None and value <= limit)
