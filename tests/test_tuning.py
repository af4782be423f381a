"""The search finds the best, survives crashes, refuses what is too large, and goes on where it was."""

import json
import subprocess
import sys

import pytest
import tones

from lstm_zoo.errors import ExportError, LstmZooError
from lstm_zoo.exporters import tflite
from lstm_zoo.tuning import RefusedTrial, refuse_larger, search

pytest.importorskip("keras_tuner")

SPACE = {"batch_size": (16, 32, 64), "shape": ((1, 2), (3, 4)), "pooling": ("last", None)}


def quality(settings, folder):
    return settings["batch_size"] / 64 + (settings["shape"] == (3, 4))


def test_best_comes_first_and_settings_come_as_they_are(tmp_path):
    seen = []

    def objective(settings, folder):
        seen.append(settings)
        assert folder.parent == tmp_path / "search"
        return quality(settings, folder)

    results = search(SPACE, objective, tmp_path / "search", trials=8)
    assert len(results) == len(seen) == 8
    assert [result.score for result in results] == sorted((result.score for result in results), reverse=True)
    for settings in seen:
        assert set(settings) == set(SPACE)
        assert all(settings[name] in SPACE[name] for name in SPACE)
    best = results[0]
    assert best.score == max(quality(settings, None) for settings in seen)
    assert {result.status for result in results} == {"COMPLETED"}
    written = json.loads((tmp_path / "search" / "results.json").read_text())
    assert [each["score"] for each in written] == [result.score for result in results]


def test_crashed_and_refused_trials_do_not_end_the_search(tmp_path):
    def objective(settings, folder):
        if settings["batch_size"] == 16:
            raise MemoryError("no more")
        if settings["batch_size"] == 32:
            raise RefusedTrial("too large")
        return quality(settings, folder)

    results = search(SPACE, objective, tmp_path / "search", trials=10)
    assert len(results) == 10
    status = {result.settings["batch_size"]: result.status for result in results}
    assert status == {16: "FAILED", 32: "FAILED", 64: "COMPLETED"}
    for result in results:
        assert (result.score is None) == (result.settings["batch_size"] != 64)
    assert results[0].settings["batch_size"] == 64


def test_search_in_which_every_trial_fails_says_so(tmp_path):
    def objective(settings, folder):
        raise RefusedTrial("the exported file would be 9 bytes")

    with pytest.raises(LstmZooError, match="none of 3 trials .*the exported file would be 9 bytes"):
        search(SPACE, objective, tmp_path / "search", trials=3)


def test_finished_search_is_continued_with_more_trials(tmp_path):
    first = search(SPACE, quality, tmp_path / "search", trials=3)
    calls = []

    def objective(settings, folder):
        calls.append(settings)
        return quality(settings, folder)

    assert search(SPACE, objective, tmp_path / "search", trials=3) == first
    assert not calls
    more = search(SPACE, objective, tmp_path / "search", trials=5)
    assert (len(more), len(calls)) == (5, 2)
    assert all(result in more for result in first)


def test_interrupted_search_goes_on(tmp_path):
    finished = []

    def interrupted(settings, folder):
        if len(finished) == 2:
            raise KeyboardInterrupt
        finished.append(settings)
        return quality(settings, folder)

    with pytest.raises(KeyboardInterrupt):
        search(SPACE, interrupted, tmp_path / "search", trials=4)
    calls = []

    def objective(settings, folder):
        calls.append(settings)
        return quality(settings, folder)

    results = search(SPACE, objective, tmp_path / "search", trials=4)
    assert len(results) == 4
    assert len(calls) == 2
    assert all(settings in [result.settings for result in results] for settings in finished)
    assert {result.status for result in results} == {"COMPLETED"}


def test_size_is_that_of_the_exported_file(monkeypatch):
    files, convert = [], tflite.convert

    def spy(model, signatures, quantize, **options):
        files.append((convert(model, signatures, quantize=quantize, **options), quantize))
        return files[0][0]

    monkeypatch.setattr(tflite, "convert", spy)
    size = refuse_larger(tones.model(), 1_000_000)
    ((content, quantize),) = files
    assert (size, quantize, content[4:8]) == (len(content), "dynamic_int8", b"TFL3")
    assert 5_000 < size < 100_000


def test_larger_models_are_refused_before_they_are_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(tflite, "convert", lambda model, *_, **__: bytes(model.count_params()))
    trained = []

    def objective(settings, folder):
        model = tones.model(units=settings["units"])
        refuse_larger(model, 2_000)
        trained.append(settings["units"])
        return float(settings["units"])

    results = search({"units": (2, 100)}, objective, tmp_path / "search", trials=2)
    assert trained == [2]
    assert [(result.settings["units"], result.status) for result in results] == [(2, "COMPLETED"), (100, "FAILED")]
    with pytest.raises(RefusedTrial, match=r"would be [\d,]+ bytes; 10 are allowed") as caught:
        refuse_larger(tones.model(), 10)
    assert isinstance(caught.value, ExportError)


def test_missing_tuner_says_what_to_install():
    code = (
        "import sys, pathlib; sys.modules['keras_tuner'] = None\n"
        "from lstm_zoo import tuning, errors\n"
        "try: tuning.search({}, None, pathlib.Path('x'))\n"
        "except errors.MissingExtraError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'lstm-zoo[tune]'" in done.stdout, done.stderr
