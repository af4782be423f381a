"""What runs of audio models have of their own: synthetic clips, and a baseline."""

import dataclasses

import numpy as np
import tones

from lstm_zoo import experiment as shared
from lstm_zoo.config import override
from lstm_zoo.frontends.audio import LogMelSpectrogram
from lstm_zoo.tasks.audio import linear_baseline, measure, run

SETTINGS = tones.experiment(epochs=2)


def test_synthetic_clips_are_trained_on_in_their_share(tmp_path, monkeypatch):
    seen = {}

    def spy(model, batches, steps, *_):
        seen["steps"] = steps

    monkeypatch.setattr(shared, "train", spy)
    settings = override(SETTINGS, {"synthetic_share": 0.5})
    run(tones.network, settings, tones.dataset(), tmp_path / "without")
    assert seen.pop("steps") == 3
    run(tones.network, settings, tones.dataset(), tmp_path / "with", tones.split(16, 9))
    assert seen.pop("steps") == 6


def test_other_clips_are_another_run(tmp_path):
    """The record tells by the samples and the labels, not by names."""
    records = {
        run_folder.joinpath("experiment.json").read_text()
        for run_folder, dataset, synthetic in (
            (tmp_path / "a", tones.dataset(), None),
            (tmp_path / "b", tones.dataset(32), None),
            (tmp_path / "c", tones.dataset(), tones.split(16, 9)),
        )
        if run(tones.network, override(SETTINGS, {"epochs": 1}), dataset, run_folder, synthetic, verbose=0)
    }
    assert len(records) == 3


def test_measure_names_the_baselines():
    accuracies = measure(tones.network(), tones.dataset(), LogMelSpectrogram(SETTINGS.model.front_end), "tones")
    assert list(accuracies) == ["tones", "logistic regression on log-mel means", "most frequent class"]
    assert accuracies["most frequent class"] == 0.5
    assert accuracies["logistic regression on log-mel means"] > 0.9


def test_linear_baseline_learns_from_training_and_is_asked_about_testing():
    front_end = LogMelSpectrogram(tones.experiment().model.front_end)
    dataset = tones.dataset()
    assert linear_baseline(dataset, front_end).accuracy > 0.9
    shuffled = np.random.default_rng(1).permutation(dataset.training.labels)
    confused = dataclasses.replace(dataset, training=dataclasses.replace(dataset.training, labels=shuffled))
    assert linear_baseline(confused, front_end).accuracy < 0.8
