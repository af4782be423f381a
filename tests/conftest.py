"""Artefacts of tiny models, shared by the tests of the zoo."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from tiny import raw_input, tiny_model

from lstm_zoo import artifact, registry

# A shell has its background jobs ignore Ctrl-C, and so would the processes that tests start and then interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def repeatable_weights() -> None:
    """Each file of tests makes the same models in every run, whichever worker runs it."""
    import keras

    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def tiny_artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny artefact for every entry of the registry. Not to be changed."""
    root = tmp_path_factory.mktemp("saved_models")
    for seed, name in enumerate(registry.ENTRIES):
        model = tiny_model(name, seed)
        metric = {"name": "accuracy", "value": 0.9 + seed / 100, "split": "made up", "baselines": {"majority": 0.1}}
        facts = {"streaming": name == "speech", "metric": metric}
        artifact.write(root / name, model, name=name, facts=facts, card=f"# {name}\n", golden_input=raw_input(model))
    return root


@pytest.fixture
def artifact_copy(tiny_artifacts: Path, tmp_path: Path) -> Path:
    """An artefact that a test may damage."""
    return Path(shutil.copytree(tiny_artifacts / "speech", tmp_path / "speech"))


@pytest.fixture
def shipped(tiny_artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation whose pretrained models are the tiny ones."""
    monkeypatch.setattr(artifact, "shipped_folder", lambda name: tiny_artifacts / name)
    return tiny_artifacts
