"""The card says what is true of the run; shipping writes all of an artefact or nothing of it."""

import dataclasses

import numpy as np
import pytest
import tones

from lstm_zoo import artifact, shipping
from lstm_zoo.errors import ExportError
from lstm_zoo.registry import ENTRIES, Entry
from lstm_zoo.shipping import ship, write_card

ENTRY = Entry("tones", "keyword spotting", "speech", "Three tones", "speech_commands", tones.RATE)
FIGURES = {
    "accuracies": {"tones": 0.9312, "most frequent class": 0.5},
    "parameters": 12_345,
    "seed": 7,
    "minutes": 3.4,
}


def card(**changes) -> str:
    options = {"synthetic": 0.0, "generated": False, **changes}
    return write_card(
        options.pop("entry", ENTRY), options.pop("dataset", tones.dataset()), FIGURES, "python x", **options
    )


def test_card_states_the_run():
    text = card()
    for part in (
        "# tones\n",
        "float32 in -1..1 at 4,000 Hz",
        "`[batch, 3]`: low, middle, high",
        "48 training, 16 validation and 32 test clips",
        "| on the test clips | accuracy |\n|---|---|\n| tones | 93.12% |\n| most frequent class | 50.00% |\n",
        "12,345 parameters; seed 7; trained in 3 minutes",
        "```\npython x\n```",
    ):
        assert part in text
    assert text.endswith("\n")


def test_card_owns_up_to_what_the_figures_are_worth():
    assert "CC BY 4.0" in card()
    assert "do not compare with published ones" in card()  # 48 training clips are a part
    assert "CC BY-SA 4.0" in card(entry=ENTRIES["digits"])
    assert "do not compare" not in card(entry=ENTRIES["digits"])
    assert "synthetic" not in card()
    assert "30% of each training epoch was **synthetic speech**" in card(synthetic=0.3)
    assert "not speech" in card(generated=True)
    assert "CC BY" not in card(generated=True)


def test_card_of_the_full_set_makes_no_excuse():
    dataset = tones.dataset()
    names = tuple(map(str, range(shipping.PART_OF_SPEECH_COMMANDS)))
    many = dataclasses.replace(dataset.training, names=names)
    assert "do not compare" not in card(dataset=dataclasses.replace(dataset, training=many))


@pytest.fixture
def exported(monkeypatch, tmp_path):
    """No conversion, no picture: what :func:`ship` asks to be exported, and small files in its place."""
    asked = {}
    (tmp_path / "confusion.png").write_bytes(b"picture")

    def export(model, path, *, quantize=None, check_inputs):
        asked[path.name] = (quantize, check_inputs)
        if path.suffix:
            path.write_bytes(path.name.encode() * 10)
            path.with_name(f"{path.name}.json").write_text("{}")

    monkeypatch.setattr(shipping, "export", export)
    return asked


@pytest.fixture(scope="module")
def model():
    model = tones.model()
    model.card = card()
    return model


def test_artefact_holds_files_facts_and_card(exported, model, tmp_path):
    dataset = tones.dataset()
    folder = ship(tmp_path, model, ENTRY, dataset, FIGURES)
    assert folder == tmp_path / "artifact" / "tones"
    assert {name: quantize for name, (quantize, _) in exported.items()} == {
        "tones.tflite": None,
        "tones_int8.tflite": "dynamic_int8",
        "saved_model": None,
    }
    for _, clips in exported.values():
        np.testing.assert_array_equal(clips, dataset.testing.as_float()[: len(clips)])  # replayed on the test clips
        assert len(clips) == 32
    stored = artifact.read(folder)
    facts = stored.manifest.facts
    assert facts.tflite == {"tones.tflite": 120, "tones_int8.tflite": 170}
    assert {"tones.tflite.json", "tones_int8.tflite.json", "confusion.png"} <= set(stored.manifest.files)
    assert (facts.metric.name, facts.metric.value, facts.metric.split) == ("accuracy", 0.9312, "testing")
    assert facts.metric.baselines == {"most frequent class": 0.5}
    assert facts.streaming
    assert facts.parameters == model.count_params()
    assert stored.card == model.card
    assert artifact.golden_difference(stored.build(), stored) < 1e-6
    assert FIGURES["accuracies"]["tones"] == 0.9312  # what was handed over stays as it was


def test_file_that_does_not_agree_is_not_shipped(exported, model, tmp_path, monkeypatch):
    def export(model, path, **_):
        raise ExportError("differs")

    monkeypatch.setattr(shipping, "export", export)
    with pytest.raises(ExportError, match="differs"):
        ship(tmp_path, model, ENTRY, tones.dataset(), FIGURES)
    assert not (tmp_path / "artifact").exists()
