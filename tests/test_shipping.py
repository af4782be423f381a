"""The card says what is true of the run; shipping writes all of an artefact or nothing of it."""

import dataclasses

import numpy as np
import pytest
import tiny
import tones

from lstm_zoo import artifact, shipping
from lstm_zoo.data.texts import TextDataset, split_of
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
    options = {"generated": False, **changes}
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
    assert "licence: CC BY 4.0." in card()
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

    def export(model, path, **options):
        asked[path.name] = options
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
    assert {name: options.get("quantize") for name, options in exported.items()} == {
        "tones.tflite": None,
        "tones_int8.tflite": "dynamic_int8",
        "saved_model": None,
    }
    for clips in (options["check_inputs"] for options in exported.values()):
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


# === Texts ===


def texts(count: int = 3, shared: int = 0) -> TextDataset:
    """``count`` test texts, of which the first ``shared`` are training texts, too."""
    training = split_of(["Great film 0", "Dull film 1", "Dull film 2"], [1, 0, 0], "abc")
    testing = [f"Dull film {number}" if number else "Great film 0" for number in range(3 - shared, 3 - shared + count)]
    names = [f"test/{number}" for number in range(count)]
    validation = split_of(["Great", "Dull"], [1, 0], "de")
    return TextDataset("imdb", ("negative", "positive"), training, validation, split_of(testing, [0] * count, names))


def test_card_of_texts_speaks_of_texts():
    entry = ENTRIES["sentiment"]
    text = card(entry=entry, dataset=texts())
    for part in (
        "**Input:** texts; or token ids, int32 `[batch, time]`",
        "`[batch, 2]`: negative, positive",
        "Maas et al., ACL 2011); licence: none stated.",
        "3 training, 2 validation and 3 test texts",
        "`sentiment_int8.tflite` reads the first 256 tokens",
        "| on the test texts | accuracy |",
    ):
        assert part in text
    assert "clip" not in text
    assert "also training texts" not in text
    assert "2 test texts are **also training texts**" in card(entry=entry, dataset=texts(shared=2))
    assert "no reviews" in card(entry=entry, dataset=texts(), generated=True)


def test_artefact_of_texts_holds_sentences_of_our_own(exported, tmp_path):
    model, dataset = tiny.tiny_model("sentiment"), texts(count=2_500)
    model.card = card(entry=ENTRIES["sentiment"], dataset=dataset)
    figures = FIGURES | {"accuracies": {"sentiment": 0.91, "NB-SVM": 0.9}}
    folder = ship(tmp_path, model, ENTRIES["sentiment"], dataset, figures)
    checked = [options.pop("check_inputs") for options in exported.values()]
    assert exported == {
        "sentiment.tflite": {"dynamic": True},
        "sentiment_int8.tflite": {"profile": "mediapipe", "quantize": "dynamic_int8"},
        "saved_model": {},
    }
    assert [len(texts) for texts in checked] == [1_250, 1_250, 64]
    assert all(set(texts) < set(dataset.testing.texts) for texts in checked)
    stored = artifact.read(folder)
    assert (folder / "golden_input.txt").read_text().splitlines() == list(shipping.SENTENCES)
    assert stored.manifest.facts.metric.baselines == {"NB-SVM": 0.9}
    assert artifact.golden_difference(stored.build(), stored) < 1e-6
