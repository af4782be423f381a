"""Hyper-parameter search in which batch size, epochs and front end are parameters like any other.

Built on KerasTuner: killed and started again, a search goes on; a trial that crashes counts as failed and the
search goes on; a trial whose exported file would be too large is refused before it is trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lstm_zoo.errors import ExportError, LstmZooError, MissingExtraError

if TYPE_CHECKING:
    import keras

SearchSpace = dict[str, tuple[Any, ...]]


class Result(NamedTuple):
    """One trial: the settings drawn, the score (``None`` where it failed) and how it ended."""

    settings: dict[str, Any]
    score: float | None
    status: str


class RefusedTrial(ExportError):
    """A model that is too large for its purpose."""


def refuse_larger(
    model: keras.Model, bytes_allowed: int, quantize: str | None = "dynamic_int8", profile: str = "default"
) -> int:
    """The size in bytes of the TFLite file ``model`` would export to, with labels and vocabulary where it has them.

    Raises:
        RefusedTrial: it is more than ``bytes_allowed``.
    """
    from lstm_zoo.exporters.metadata import default_metadata
    from lstm_zoo.exporters.signatures import input_specs, whole
    from lstm_zoo.exporters.tflite import convert

    faces = (whole(model, input_specs(model)),)
    size = len(convert(model, faces, quantize=quantize, profile=profile, metadata=default_metadata(model)))
    if size > bytes_allowed:
        raise RefusedTrial(f"the exported file would be {size:,} bytes; {bytes_allowed:,} are allowed")
    return size


def search(
    space: SearchSpace,
    objective: Callable[[dict[str, Any], Path], float],
    folder: Path,
    trials: int = 20,
    seed: int = 0,
) -> list[Result]:
    """Draw settings from ``space``, maximise ``objective(settings, trial_folder)``; best result first.

    Args:
        space: names of settings and the values to choose from (text, numbers, booleans or ``None``; anything else,
            such as a tuple of layers, is handed over as it is).
        objective: trains and returns the score on validation data. Whatever it raises fails its trial alone, except
            ``KeyboardInterrupt``.
        folder: the search's record; one that exists already is continued up to ``trials`` in all.

    Raises:
        LstmZooError: no trial gave a score; says how the last one ended.
    """
    try:
        import keras_tuner
    except ImportError:
        raise MissingExtraError("keras-tuner", "tune", "a hyper-parameter search") from None

    def settings_of(trial: Any) -> dict[str, Any]:
        return {name: choices[trial.hyperparameters.get(name)] for name, choices in space.items()}

    class Search(keras_tuner.BayesianOptimization):
        def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> float:
            settings = settings_of(trial)
            try:
                return objective(settings, Path(self.get_trial_dir(trial.trial_id)))
            except RefusedTrial as refusal:
                raise keras_tuner.errors.FailedTrialError(str(refusal)) from None

    hyperparameters = keras_tuner.HyperParameters()
    for name, choices in space.items():
        hyperparameters.Choice(name, list(range(len(choices))))
    tuner = Search(
        objective=keras_tuner.Objective("score", "max"),
        hyperparameters=hyperparameters,
        tune_new_entries=False,
        max_trials=trials,
        max_consecutive_failed_trials=trials + 1,  # that all of them failed is said below
        seed=seed,
        directory=str(folder.parent),
        project_name=folder.name,
        overwrite=False,
    )
    tuner.search()
    results = [Result(settings_of(trial), trial.score, str(trial.status)) for trial in tuner.oracle.trials.values()]
    results.sort(key=lambda result: (result.score is None, -(result.score or 0.0)))
    (folder / "results.json").write_text(json.dumps([result._asdict() for result in results], indent=1, default=str))
    if results and results[0].score is None:
        *_, last = tuner.oracle.trials.values()
        ending = (last.message or "").strip().splitlines()[-1:]
        raise LstmZooError(f"none of {len(results)} trials gave a score; the last one ended with: {' '.join(ending)}")
    return results
