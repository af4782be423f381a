"""Every recipe's documented command runs on its smoke profile, and what it makes can be verified."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lstm_zoo
from lstm_zoo import artifact

ROOT = Path(lstm_zoo.__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.py"))
SMALL = ["epochs=1", "units=8"]
# What each recipe shows, what it compares with, and what its card says of generated data.
PICTURES = {"sentiment": {"lengths.png", "words.png"}}
BASELINES = {
    "sentiment": {"logistic regression on TF-IDF of one to three words", "NB-SVM on one to three words"},
}
GENERATED = {"sentiment": "no reviews"}


def run(recipe: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    environment.pop("LSTM_ZOO_PROFILE", None)
    command = [sys.executable, str(recipe), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_there_are_recipes():
    assert {recipe.stem for recipe in RECIPES} >= {"speech", "digits", "sentiment"}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_recipe_makes_an_artefact(recipe, tmp_path):
    name = recipe.stem
    done = run(recipe, "--out", str(tmp_path), *SMALL)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    verified = artifact.verify(tmp_path / "artifact" / name)
    assert verified.name == name
    assert set(verified.certificates) == {f"{name}.tflite", f"{name}_int8.tflite"}
    assert re.search(rf"{verified.files} files\s+verified", done.stdout)
    stored = artifact.read(verified.path)
    assert stored.config.units == 8
    assert GENERATED.get(name, "not speech") in stored.card
    assert str(tmp_path) not in stored.card  # the documented command, without the folders of this machine
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    metric = stored.manifest.facts.metric
    assert figures["accuracies"][name] == metric.value
    baselines = BASELINES.get(name, {"logistic regression on log-mel means"})
    assert {"most frequent class"} | baselines <= set(metric.baselines)
    assert sum(map(sum, figures["confusion"])) > 10
    made = {path.name for path in tmp_path.iterdir()}
    assert PICTURES.get(name, {"spectrograms.png"}) <= made
    assert {"history.png", "confusion.png", "history.csv", "saved_model"} <= made


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_recipe_can_be_read_as_a_notebook(recipe):
    jupytext = pytest.importorskip("jupytext")
    notebook = jupytext.read(recipe)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown"
    assert kinds.count("markdown") >= 5
    assert kinds.count("code") >= 5
    titles = re.findall(r"^## (\w+)", "\n".join(cell.source for cell in notebook.cells), re.MULTILINE)
    assert {"Load", "Look", "Train", "Export"} <= set(titles)
