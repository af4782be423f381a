"""From a trained model to its artefact folder: exported files, certificates, and a card generated from the figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lstm_zoo import artifact
from lstm_zoo.data import AudioDataset
from lstm_zoo.data.catalogue import SOURCES
from lstm_zoo.data.texts import TextDataset
from lstm_zoo.evaluation import inputs_of
from lstm_zoo.exporters import export
from lstm_zoo.models.sentiment import CLIP_TOKENS

if TYPE_CHECKING:
    import keras

    from lstm_zoo.registry import Entry

PICTURE = "confusion.png"
PART_OF_SPEECH_COMMANDS = 10_000  # training clips; the full official set has 36,923 in this protocol
# Ours, and none of a dataset's, whose texts are their authors'.
SENTENCES = (
    "A slow start, but the last hour is wonderful.",
    "The actors do what they can; the plot is dull, and the ending worse.",
)
CHECKED_TEXTS = 1_000  # test texts, about, that exported files are compared on

Dataset = AudioDataset | TextDataset


class Wording(NamedTuple):
    """What a card says of a kind of input."""

    examples: str
    takes: str
    golden: str
    generated: str


def _wording(dataset: Dataset) -> Wording:
    if isinstance(dataset, TextDataset):
        return Wording(
            "texts",
            "texts; or token ids, int32 `[batch, time]`, padded on the right with 0, of which `vocabulary.txt` has one "
            "on each line, from 0 on.",
            "The sentences in `golden_input.txt` are none of them.",
            "Generated texts (lstm_zoo.data.small_texts): **no reviews**, the figures mean nothing",
        )
    return Wording(
        "clips",
        f"PCM, float32 in -1..1 at {dataset.sample_rate:,} Hz, `[batch, samples]`; trained on one-second clips.",
        "`golden_input.npy` is its first test clip, under the same licence.",
        "Generated sounds (lstm_zoo.data.small): **not speech**, the figures mean nothing",
    )


def write_card(
    entry: Entry,
    dataset: Dataset,
    figures: Mapping[str, Any],
    command: str,
    *,
    synthetic: float = 0.0,
    generated: bool,
) -> str:
    """Markdown: what the model takes and gives, what it was trained and tested on, how good it is.

    Args:
        entry: its ``dataset`` names the licence.
        figures: ``accuracies`` by name, ``parameters``, ``seed`` and ``minutes``, as the recipe measured them.
        command: that trained the model and printed the figures.
        synthetic: share of each training epoch that was synthetic speech.
        generated: the data are the generated sounds or texts of the smoke profile.
    """
    said, source = _wording(dataset), SOURCES[entry.dataset]
    sizes = {split: len(part) for split, part in dataset.splits.items()}
    rows = [f"| {name} | {value:.2%} |" for name, value in figures["accuracies"].items()]
    paragraphs = [
        f"# {entry.name}",
        f"{entry.summary}.",
        f"**Input:** {said.takes} **Output:** probabilities, `[batch, {len(dataset.label_names)}]`: "
        f"{', '.join(dataset.label_names)}.",
        "## Data",
        said.generated if generated else f"{source.title}; licence: {source.licence}. {said.golden}",
        f"{sizes['training']:,} training, {sizes['validation']:,} validation and {sizes['testing']:,} test "
        f"{said.examples}; none of the test {said.examples} was used for training or for the choice of weights.",
        *_caveats(entry, dataset, synthetic),
        "## Figures",
        "\n".join([f"| on the test {said.examples} | accuracy |", "|---|---|", *rows]),
        f"{figures['parameters']:,} parameters; seed {figures['seed']}; trained in {figures['minutes']:.0f} minutes by",
        f"```\n{command}\n```",
        f"![True and predicted labels of the test {said.examples}]({PICTURE})",
    ]
    return "\n\n".join(paragraphs) + "\n"


def _caveats(entry: Entry, dataset: Dataset, synthetic: float) -> list[str]:
    caveats = []
    if entry.dataset == "speech_commands" and len(dataset.training) < PART_OF_SPEECH_COMMANDS:
        caveats.append(
            "This is a **part** of the official test set, split anew by speaker, so the figures do not compare with "
            "published ones, which train on some 37,000 clips. Silence clips are cuts of the background noise files, "
            "a part in time of its own for each split."
        )
    if isinstance(dataset, TextDataset):
        caveats.append(
            f"`{entry.name}_int8.tflite` reads the first {CLIP_TOKENS} tokens of a text and no more; "
            f"`lstm-zoo export {entry.name} FILE --profile mediapipe --samples 1000` makes one that reads 1,000."
        )
        known = len(dataset.testing) - len(dataset.testing.without(dataset.training))
        if known:
            caveats.append(f"{known:,} test texts are **also training texts**: the split is used as it was published.")
    if synthetic:
        caveats.append(
            f"{synthetic:.0%} of each training epoch was **synthetic speech** (espeak-ng, flite and festival, by "
            "`python -m lstm_zoo.data.synthetic_speech`). None of it is in the validation or test clips."
        )
    return caveats


def ship(folder: Path, model: keras.Model, entry: Entry, dataset: Dataset, figures: Mapping[str, Any]) -> Path:
    """Export ``model`` into ``folder``, each file replayed on test examples, and write the artefact folder there.

    TFLite files and the picture ``folder / "confusion.png"`` go into the artefact; a SavedModel lies beside it.
    ``model.card`` becomes the card.

    - Of clips: ``<name>.tflite`` and, with 8-bit weights, ``<name>_int8.tflite``, replayed on every test clip.
    - Of texts: from token ids, ``<name>.tflite`` for any number of texts and tokens, and ``<name>_int8.tflite`` with
      8-bit weights and a fixed number of tokens, which MediaPipe's TextClassifier takes; replayed on some of the test
      texts.

    Returns:
        The artefact folder, ``folder / "artifact" / <name>``.
    """
    inputs: Any = inputs_of(dataset.testing)
    forms: dict[str, dict[str, Any]] = {"": {}, "_int8": {"quantize": "dynamic_int8"}}
    golden_input = inputs[:1]
    if isinstance(dataset, TextDataset):
        forms[""] = {"dynamic": True}
        forms["_int8"] |= {"profile": "mediapipe"}
        inputs, golden_input = inputs[:: max(1, len(inputs) // CHECKED_TEXTS)], SENTENCES
    names = {f"{entry.name}{suffix}.tflite": options for suffix, options in forms.items()}
    for name, options in names.items():
        export(model, folder / name, **options, check_inputs=inputs)
    export(model, folder / "saved_model", check_inputs=inputs[:64])
    return artifact.write(
        folder / "artifact" / entry.name,
        model,
        name=entry.name,
        facts={"streaming": model.config.streaming} | _measured(entry, figures),
        card=model.card,
        golden_input=golden_input,
        files={file: folder / file for name in names for file in (name, f"{name}.json")} | {PICTURE: folder / PICTURE},
    )


def _measured(entry: Entry, figures: Mapping[str, Any]) -> dict[str, Any]:
    accuracies = dict(figures["accuracies"])
    metric = {"name": "accuracy", "value": accuracies.pop(entry.name), "split": "testing"}
    own = {name: f"{value:.2%}" for name, value in accuracies.items() if name.startswith(entry.name)}
    metric["baselines"] = {name: value for name, value in accuracies.items() if name not in own}
    return {"metric": metric, "notes": own}
