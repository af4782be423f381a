"""From a trained model to its artefact folder: exported files, certificates, and a card generated from the figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstm_zoo import artifact
from lstm_zoo.exporters import export

if TYPE_CHECKING:
    import keras

    from lstm_zoo.data import AudioDataset
    from lstm_zoo.registry import Entry

LICENCES = {
    "speech_commands": "Speech Commands v0.02 (Pete Warden, arXiv:1804.03209), CC BY 4.0",
    "fsdd": "Free Spoken Digit Dataset (Zohar Jackson and contributors), CC BY-SA 4.0",
}
PICTURE = "confusion.png"
GENERATED = "Generated sounds (lstm_zoo.data.small): **not speech**, the figures mean nothing"
PART_OF_SPEECH_COMMANDS = 10_000  # training clips; the full official set has 36,923 in this protocol


def write_card(
    entry: Entry, dataset: AudioDataset, figures: Mapping[str, Any], command: str, *, synthetic: float, generated: bool
) -> str:
    """Markdown: what the model takes and gives, what it was trained and tested on, how good it is.

    Args:
        figures: ``accuracies`` by name, ``parameters``, ``seed`` and ``minutes``, as the recipe measured them.
        command: that trained the model and printed the figures.
        synthetic: share of each training epoch that was synthetic speech.
        generated: the data are the generated sounds of the smoke profile.
    """
    sizes = {split: len(part) for split, part in dataset.splits.items()}
    rows = [f"| {name} | {value:.2%} |" for name, value in figures["accuracies"].items()]
    paragraphs = [
        f"# {entry.name}",
        f"{entry.summary}.",
        f"**Input:** PCM, float32 in -1..1 at {dataset.sample_rate:,} Hz, `[batch, samples]`; trained on one-second "
        f"clips. **Output:** probabilities, `[batch, {len(dataset.label_names)}]`: {', '.join(dataset.label_names)}.",
        "## Data",
        GENERATED
        if generated
        else f"{LICENCES[entry.dataset]}. `golden_input.npy` is its first test clip, under the same licence.",
        f"{sizes['training']:,} training, {sizes['validation']:,} validation and {sizes['testing']:,} test clips; no "
        "test clip was used for training or for the choice of weights.",
        *_caveats(entry, sizes["training"], synthetic),
        "## Figures",
        "\n".join(["| on the test clips | accuracy |", "|---|---|", *rows]),
        f"{figures['parameters']:,} parameters; seed {figures['seed']}; trained in {figures['minutes']:.0f} minutes by",
        f"```\n{command}\n```",
        f"![What was said, and what was heard, on the test clips]({PICTURE})",
    ]
    return "\n\n".join(paragraphs) + "\n"


def _caveats(entry: Entry, training_clips: int, synthetic: float) -> list[str]:
    caveats = []
    if entry.dataset == "speech_commands" and training_clips < PART_OF_SPEECH_COMMANDS:
        caveats.append(
            "This is a **part** of the official test set, split anew by speaker, so the figures do not compare with "
            "published ones, which train on some 37,000 clips. Silence clips are cuts of the background noise files, "
            "a part in time of its own for each split."
        )
    if synthetic:
        caveats.append(
            f"{synthetic:.0%} of each training epoch was **synthetic speech** (espeak-ng, flite and festival, by "
            "`python -m lstm_zoo.data.synthetic_speech`). None of it is in the validation or test clips."
        )
    return caveats


def ship(folder: Path, model: keras.Model, entry: Entry, dataset: AudioDataset, figures: Mapping[str, Any]) -> Path:
    """Export ``model`` into ``folder``, each file replayed on the test clips, and write the artefact folder there.

    TFLite in float and with 8-bit weights and the picture ``folder / "confusion.png"`` go into the artefact; a
    SavedModel lies beside it. ``model.card`` becomes the card. Returns the artefact folder,
    ``folder / "artifact" / <name>``.
    """
    clips = dataset.testing.as_float()
    names = {f"{entry.name}.tflite": None, f"{entry.name}_int8.tflite": "dynamic_int8"}
    for name, quantize in names.items():
        export(model, folder / name, quantize=quantize, check_inputs=clips)
    export(model, folder / "saved_model", check_inputs=clips[:64])
    accuracies = dict(figures["accuracies"])
    metric = {"name": "accuracy", "value": accuracies.pop(entry.name), "split": "testing"}
    own = {name: f"{value:.2%}" for name, value in accuracies.items() if name.startswith(entry.name)}
    metric["baselines"] = {name: value for name, value in accuracies.items() if name not in own}
    return artifact.write(
        folder / "artifact" / entry.name,
        model,
        name=entry.name,
        facts={"streaming": model.config.streaming, "metric": metric, "notes": own},
        card=model.card,
        golden_input=clips[:1],
        files={file: folder / file for name in names for file in (name, f"{name}.json")} | {PICTURE: folder / PICTURE},
    )
