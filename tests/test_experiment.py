"""A run: trained once, read back afterwards, trained anew when its settings are others."""

import json

import numpy as np
import pytest
import tones

from lstm_zoo import experiment as module
from lstm_zoo import training
from lstm_zoo.config import override
from lstm_zoo.experiment import minutes
from lstm_zoo.tasks.audio import AudioExperiment, run

SETTINGS = tones.experiment(epochs=2)


def once(folder, settings: AudioExperiment = SETTINGS, synthetic=None):
    return run(tones.network, settings, tones.dataset(), folder, synthetic, verbose=0)


def no_training(*_, **__):
    raise AssertionError("trained")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, once(folder)


def test_finished_run_is_read_back(finished, monkeypatch):
    folder, model = finished
    monkeypatch.setattr(module, "train", no_training)
    again = once(folder)
    for left, right in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    with pytest.raises(AssertionError, match="trained"):
        once(folder.parent / "another")


def test_run_leaves_its_record(finished):
    folder, model = finished
    record = json.loads((folder / "experiment.json").read_text())
    assert AudioExperiment.create(record["experiment"]) == SETTINGS
    assert sorted(path.name for path in folder.iterdir()) == ["experiment.json", "history.csv", "model.weights.h5"]
    assert 0 < minutes(folder) < 1
    fresh = tones.network()
    assert any(not np.array_equal(a, b) for a, b in zip(model.get_weights(), fresh.get_weights(), strict=True))


def test_settings_that_an_older_version_did_not_have_get_their_defaults(tmp_path, monkeypatch):
    once(tmp_path, override(SETTINGS, {"epochs": 1}))
    record = json.loads((tmp_path / "experiment.json").read_text())
    del record["experiment"]["training"]["warm_up"]
    (tmp_path / "experiment.json").write_text(json.dumps(record))
    monkeypatch.setattr(module, "train", no_training)
    once(tmp_path, override(SETTINGS, {"epochs": 1}))
    with pytest.raises(AssertionError, match="trained"):
        once(tmp_path, override(SETTINGS, {"epochs": 1, "warm_up": 1.0}))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"experiment": 3, "training_data": ""}'])
def test_record_that_cannot_be_read_is_of_no_run(tmp_path, monkeypatch, content):
    once(tmp_path, override(SETTINGS, {"epochs": 1}))
    (tmp_path / "experiment.json").write_text(content)
    monkeypatch.setattr(module, "train", no_training)
    with pytest.raises(AssertionError, match="trained"):
        once(tmp_path, override(SETTINGS, {"epochs": 1}))


def interrupt(folder, settings: AudioExperiment, monkeypatch) -> None:
    def began(self, epoch, logs=None):
        self.began = 0.0
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.EpochSeconds, "on_epoch_begin", began)
        with pytest.raises(KeyboardInterrupt):
            once(folder, settings)


def epochs_trained(folder) -> list[str]:
    return [line.split(",")[0] for line in (folder / "history.csv").read_text().splitlines()[1:]]


def test_other_settings_are_trained_anew(tmp_path, monkeypatch):
    """Neither the weights nor the checkpoint of a run with other settings is taken for this one's."""
    once(tmp_path, override(SETTINGS, {"epochs": 1}))
    interrupt(tmp_path, override(SETTINGS, {"seed": 1}), monkeypatch)
    assert not (tmp_path / "model.weights.h5").exists()
    assert (tmp_path / "checkpoint").exists()
    model = once(tmp_path)
    assert int(model.optimizer.iterations) == 2 * 3
    assert epochs_trained(tmp_path) == ["0", "1"]


def test_interrupted_run_goes_on(tmp_path, monkeypatch):
    interrupt(tmp_path, SETTINGS, monkeypatch)
    first = (tmp_path / "history.csv").read_text()
    model = once(tmp_path)
    assert (tmp_path / "history.csv").read_text().startswith(first)
    assert epochs_trained(tmp_path) == ["0", "1"]
    assert int(model.optimizer.iterations) == 2 * 3


def test_interruption_while_the_weights_are_written_is_no_finished_run(tmp_path, monkeypatch):
    def half(model, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("keras.Model.save_weights", half)
        patch.setattr(module, "train", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            once(tmp_path)
    assert not (tmp_path / "model.weights.h5").exists()
