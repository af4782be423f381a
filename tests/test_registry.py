"""The registry: every entry builds, names resolve, and filters work on measured facts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY, entries, options, raw_input, tiny_model

import lstm_zoo
from lstm_zoo import artifact, registry
from lstm_zoo.data import fsdd, sources, speech_commands
from lstm_zoo.errors import ArtifactError, InvalidInputError, UnknownNameError

ENTRIES = tuple(registry.ENTRIES)
LABELS = {"speech_commands": speech_commands.LABELS, "fsdd": fsdd.LABELS, "imdb": ("negative", "positive")}


@pytest.mark.parametrize("name", ENTRIES)
def test_entry_agrees_with_its_dataset(name: str) -> None:
    entry = registry.ENTRIES[name]
    assert entry.dataset in sources.SOURCES
    model = lstm_zoo.get(name, weights=None, **options(name))
    assert tuple(model.labels) == tuple(LABELS[entry.dataset])
    assert model.config.family == entry.family
    front_end = getattr(model.config, "front_end", None)
    assert entry.sample_rate == (front_end.sample_rate if front_end else None)


@pytest.mark.parametrize("name", ENTRIES)
def test_entry_gives_probabilities(name: str) -> None:
    model = tiny_model(name)
    answers = np.asarray(model(raw_input(model), training=False))
    assert answers.shape == (2, len(model.labels))
    np.testing.assert_allclose(answers.sum(axis=1), 1.0, atol=1e-5)


def test_fresh_weights_are_of_the_model_asked_for() -> None:
    assert lstm_zoo.get("speech", weights=None, units=7, convolutions=TINY["speech"]["convolutions"]).config.units == 7


def test_nested_overrides_change_single_fields(shipped: Path) -> None:
    expected = lstm_zoo.get("digits", weights=None).config.front_end
    for source in ("digits", shipped / "digits"):
        found = lstm_zoo.get(source, weights=None, front_end={"mel_bins": 32}).config.front_end
        assert found == expected.replace(mel_bins=32)
        assert found.sample_rate == 8_000
    assert "mel_bins" not in registry.ENTRIES["digits"].options["front_end"], "the entry is left as it is"


def test_pretrained_by_name_and_by_folder(shipped: Path) -> None:
    expected = np.load(shipped / "digits" / "golden_output.npy")
    for source in ("digits", shipped / "digits", str(shipped / "digits")):
        model = lstm_zoo.get(source)
        np.testing.assert_allclose(model(np.load(shipped / "digits" / "golden_input.npy")), expected, atol=1e-6)
        assert model.card == "# digits\n"


def test_fresh_model_from_a_folder(shipped: Path) -> None:
    model = lstm_zoo.get(shipped / "digits", weights=None, units=5)
    assert model.config.units == 5
    assert model.config.labels == fsdd.LABELS


def test_unknown_name_says_what_is_nearest_and_what_exists() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'speech'") as caught:
        lstm_zoo.get("spech")
    assert all(name in str(caught.value) for name in ENTRIES)
    for look_up in (lstm_zoo.info, registry.entry, registry.pretrained_folder):
        with pytest.raises(UnknownNameError):
            look_up("spech")


def test_pretrained_weights_take_no_overrides() -> None:
    with pytest.raises(InvalidInputError, match=r"units would change .* weights=None"):
        lstm_zoo.get("speech", units=3)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InvalidInputError, match="weights='imagenet'"):
        lstm_zoo.get("speech", weights="imagenet")
    with pytest.raises(InvalidInputError, match="unknown option 'unit'; there are: .*units"):
        lstm_zoo.get("speech", weights=None, unit=3)
    with pytest.raises(InvalidInputError, match="units: .*got -1"):
        lstm_zoo.get("speech", weights=None, units=-1)


@pytest.mark.parametrize(
    ("name", "maker"), [("sentiment", "build_vocabulary"), ("sentiment_subword", "build_subword_vocabulary")]
)
def test_a_new_model_of_text_needs_a_vocabulary(name: str, maker: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"vocabulary: got none; .*vocabulary={maker}\(texts, size\)"):
        lstm_zoo.get(name, weights=None)


def test_missing_weights_and_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(artifact, "shipped_folder", lambda name: tmp_path / name)
    with pytest.raises(ArtifactError, match="no pretrained weights for 'speech'"):
        lstm_zoo.get("speech")
    with pytest.raises(ArtifactError, match=r"not an artefact folder"):
        lstm_zoo.get(tmp_path / "nothing")
    with pytest.raises(ArtifactError, match=r"not an artefact folder"):
        lstm_zoo.get("./nothing")


# === Facts ===


def test_list_shows_every_entry() -> None:
    assert lstm_zoo.list_models().names == list(ENTRIES)


def test_filters_agree_with_the_facts(shipped: Path) -> None:
    parameters = {name: lstm_zoo.get(name).count_params() for name in ENTRIES}
    limit = sorted(parameters.values())[1]
    few = [name for name in ENTRIES if parameters[name] <= limit]
    assert 0 < len(few) < len(ENTRIES)
    assert lstm_zoo.list_models(max_parameters=limit).names == few
    assert lstm_zoo.list_models(streaming=True).names == ["speech"]
    assert lstm_zoo.list_models(streaming=False).names == [name for name in ENTRIES if name != "speech"]
    assert lstm_zoo.list_models(min_metric=0.915).names == list(ENTRIES[2:])  # the tiny ones state 0.90, 0.91, ...
    assert lstm_zoo.list_models(task="keyword spotting").names == list(entries("speech"))
    assert lstm_zoo.list_models(task="sentiment").names == list(entries("sentiment"))
    assert lstm_zoo.list_models(max_bytes=10**9).names == [], "no file has been measured"
    with pytest.raises(UnknownNameError, match="keyword spotting"):
        lstm_zoo.list_models(task="keyword spoting")


def test_filters_leave_out_what_is_not_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(artifact, "shipped_folder", lambda name: tmp_path / name)
    assert lstm_zoo.list_models(max_parameters=10**12).names == []
    assert lstm_zoo.list_models().names == list(ENTRIES)
    assert not lstm_zoo.info("speech").pretrained
    assert lstm_zoo.info("speech").card == ""


def test_smallest_file_is_the_one_that_counts(tiny_artifacts: Path, artifact_copy: Path, tmp_path: Path) -> None:
    model = tiny_model("speech")
    for name, size in (("float.tflite", 500), ("int8.tflite", 200)):
        (tmp_path / name).write_bytes(b"0" * size)
    files = {name: tmp_path / name for name in ("float.tflite", "int8.tflite")}
    artifact.write(artifact_copy, model, name="speech", facts={}, card="", golden_input=raw_input(model), files=files)
    known = registry.ModelInfo(registry.ENTRIES["speech"], artifact_copy, artifact.read_manifest(artifact_copy))
    assert known.smallest_bytes == 200
    assert known.files["float.tflite"] == 500


def test_table_shows_itself(shipped: Path) -> None:
    models = lstm_zoo.list_models()
    for text in (repr(models), models._repr_html_()):
        for each in models:
            assert each.name in text
            assert f"{each.parameters:,}" in text
        assert "90.00% accuracy" in text
    assert models._repr_html_().count("<tr>") == 1 + len(ENTRIES)
    assert repr(lstm_zoo.list_models(max_parameters=0)) == "no model matches"


def test_table_shows_markup_as_text() -> None:
    chosen = dataclasses.replace(registry.ENTRIES["speech"], name="[/x]", summary="from [bold] to [/y]")
    text = repr(registry.ModelTable([registry.ModelInfo(chosen)]))
    assert "[/x]" in text
    assert "from [bold] to [/y]" in text


def test_info(shipped: Path) -> None:
    known = lstm_zoo.info("speech")
    assert known.pretrained
    assert known.card == "# speech\n"
    assert known.metric is not None
    assert known.metric.baselines == {"majority": 0.1}
    sizes = {path.name: path.stat().st_size for path in (shipped / "speech").iterdir()}
    assert sizes.pop(artifact.MANIFEST)
    assert known.files == sizes
