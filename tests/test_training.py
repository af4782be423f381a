"""Training learns, and goes on after being killed as if it had not been."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tones

import lstm_zoo
from lstm_zoo import training
from lstm_zoo.data.batches import one_hot, training_batches
from lstm_zoo.errors import InvalidInputError
from lstm_zoo.evaluation import evaluate
from lstm_zoo.training import TrainingConfig, compile_model, train

SETTINGS = tones.experiment(epochs=4, learning_rate=1e-3).training


def start(folder: Path, settings: TrainingConfig = SETTINGS) -> keras.Model:
    """Train a small network on the tones."""
    dataset, model = tones.dataset(), tones.network()
    clips = (dataset.training.as_float(), one_hot(dataset.training, 3))
    batches = tf.data.Dataset.from_tensor_slices(clips).shuffle(48, seed=settings.seed).repeat().batch(16)
    validation = (dataset.validation.as_float(), one_hot(dataset.validation, 3))
    train(model, batches, 3, validation, settings, folder, verbose=0)
    return model


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def stop_in_epoch(monkeypatch, epoch: int) -> None:
    """Interrupt the next run as Ctrl-C would, in the middle of ``epoch``."""

    def began(self, number, logs=None):
        self.began = 0.0
        if number == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.EpochSeconds, "on_epoch_begin", began)


def check_complete(folder: Path, model: keras.Model, settings: TrainingConfig = SETTINGS) -> None:
    rows = history(folder)
    assert [int(row["epoch"]) for row in rows] == list(range(settings.epochs))
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "seconds"} <= set(rows[0])
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())
    assert not (folder / "checkpoint").exists()
    assert int(model.optimizer.iterations) == 3 * settings.epochs  # so the schedule went on, too


def test_interrupted_training_goes_on(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_in_epoch(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path)
    before = history(tmp_path)
    assert len(before) == 2
    check_complete(tmp_path, start(tmp_path))
    assert history(tmp_path)[:2] == before


KILL = """
import os, signal, sys
from pathlib import Path
import test_training
from lstm_zoo import training

def began(self, epoch, logs=None):
    self.began = 0.0
    if epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)

training.EpochSeconds.on_epoch_begin = began
test_training.start(Path(sys.argv[1]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_training_goes_on_even_from_a_half_written_checkpoint(tmp_path):
    paths = [str(Path(lstm_zoo.__file__).parents[1]), str(Path(__file__).parent)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-c", KILL, str(tmp_path)], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(history(tmp_path)) == 2
    checkpoint = tmp_path / "checkpoint" / "latest.weights.h5"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2])  # killed a moment earlier, while it was written
    model = start(tmp_path)
    assert int(model.optimizer.iterations) == 3 * SETTINGS.epochs
    epochs = [int(row["epoch"]) for row in history(tmp_path)]
    assert epochs == [0, 1, 1, 2, 3]  # the epoch whose checkpoint was lost is trained, and told of, again


def test_interruption_before_the_first_epoch_ended_is_a_new_start(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_in_epoch(patch, 0)
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path)
    check_complete(tmp_path, start(tmp_path))


def test_same_seed_same_model(tmp_path):
    one, two = (start(tmp_path / name, SETTINGS.replace(epochs=1)) for name in ("one", "two"))
    for left, right in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_tones_are_learned(tmp_path):
    """Far above the half that the most frequent class makes, on clips that were never trained on."""
    experiment, dataset, model = tones.experiment(epochs=12), tones.dataset(), tones.model()
    settings = experiment.training
    batches, steps = training_batches(dataset, experiment.augmentation, settings.batch_size, settings.seed)
    validation = (dataset.validation.as_float(), one_hot(dataset.validation, 3))
    train(model, batches, steps, validation, settings, tmp_path, verbose=0)
    assert evaluate(model, dataset).accuracy >= 0.9
    check_complete(tmp_path, model, settings)
    rows = history(tmp_path)
    assert float(rows[-1]["val_loss"]) < 0.7 * float(rows[0]["val_loss"])
    assert all(float(row["seconds"]) > 0 for row in rows)


@pytest.mark.parametrize("epochs", [1, 2, 10])
def test_schedule_warms_up_and_then_falls(epochs):
    model = tones.model()
    compile_model(model, TrainingConfig(epochs=epochs, learning_rate=0.01), steps_per_epoch=10)
    schedule = model.optimizer._learning_rate
    rates = np.array([float(schedule(step)) for step in range(10 * epochs + 1)])
    warm_up = 10 * min(3, epochs - 1)
    assert rates.max() == pytest.approx(0.01, rel=1e-3)
    assert rates.argmax() == warm_up
    assert (np.diff(rates[: warm_up + 1]) > 0).all()
    assert (np.diff(rates[warm_up:]) < 0).all()
    assert rates[-1] == pytest.approx(1e-4, rel=1e-3)


def test_warm_up_can_be_a_part_of_an_epoch():
    model = tones.network()
    compile_model(model, TrainingConfig(epochs=3, learning_rate=0.01, warm_up=0.2), steps_per_epoch=100)
    rates = np.array([float(model.optimizer._learning_rate(step)) for step in range(301)])
    assert rates.argmax() == 20
    assert rates.max() == pytest.approx(0.01, rel=1e-3)
    compile_model(model, TrainingConfig(warm_up=0.0, learning_rate=0.01), steps_per_epoch=100)
    assert float(model.optimizer._learning_rate(0)) == pytest.approx(0.01)


def test_validation_may_come_in_batches(tmp_path):
    """The figures are those of the same examples in one array."""
    for name in ("arrays", "batches"):
        dataset, model = tones.dataset(), tones.network()
        clips = (dataset.training.as_float(), one_hot(dataset.training, 3))
        batches = tf.data.Dataset.from_tensor_slices(clips).repeat().batch(16)
        validation = (dataset.validation.as_float(), one_hot(dataset.validation, 3))
        if name == "batches":
            validation = tf.data.Dataset.from_tensor_slices(validation).batch(5)
        train(model, batches, 3, validation, SETTINGS.replace(epochs=2), tmp_path / name, verbose=0)
    arrays, in_batches = history(tmp_path / "arrays"), history(tmp_path / "batches")
    for left, right in zip(arrays, in_batches, strict=True):
        assert float(left["val_loss"]) == pytest.approx(float(right["val_loss"]), rel=1e-4)
        assert float(left["val_accuracy"]) == pytest.approx(float(right["val_accuracy"]))


def test_averaging_and_smoothing_are_as_set():
    model = tones.model()
    compile_model(model, TrainingConfig(average=0.9, weight_decay=0.02, label_smoothing=0.1), 5)
    assert (model.optimizer.use_ema, model.optimizer.ema_momentum) == (True, 0.9)
    assert model.optimizer.weight_decay == 0.02
    certain = float(model.loss(np.eye(3)[:1], np.array([[1.0, 1e-7, 1e-7]])))
    assert certain == pytest.approx(-(0.1 / 3) * 2 * np.log(1e-7), rel=0.01)
    compile_model(model, TrainingConfig(average=0.0), 5)
    assert not model.optimizer.use_ema


@pytest.mark.parametrize("setting", [{"epochs": 0}, {"batch_size": 1}, {"learning_rate": 0.0}, {"average": 1.0}])
def test_settings_that_make_no_sense_are_refused(setting):
    with pytest.raises(InvalidInputError, match=f"TrainingConfig: {next(iter(setting))}: "):
        TrainingConfig.create(setting)


def test_compiled_updates_are_those_of_the_optimizer():
    """With every option on; an embedding of which a batch uses some rows, and some of them twice."""
    generator = np.random.default_rng(0)
    ids, targets = generator.integers(0, 30, (64, 8)), np.eye(2)[generator.integers(0, 2, 64)]
    settings = TrainingConfig(epochs=2, warm_up=0.5, weight_decay=0.1, average=0.9)

    def trained(compiled):
        keras.utils.set_random_seed(0)
        layers = [
            keras.layers.Embedding(40, 3),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2, "softmax"),
        ]
        model = keras.Sequential([keras.Input((8,), dtype="int32"), *layers])
        compile_model(model, settings.replace(compiled=compiled), 8)
        if not compiled:
            own = model.optimizer.apply
            # What Keras itself does with rows that come twice is not Adam's; see compile_updates.
            model.optimizer.apply = lambda grads, variables=None: own(
                [tf.convert_to_tensor(g) for g in grads], variables
            )
        model.fit(ids, targets, batch_size=8, epochs=2, shuffle=False, verbose=0)
        assert int(model.optimizer.iterations) == 16
        return model.get_weights()

    for one, other in zip(trained(True), trained(False), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
