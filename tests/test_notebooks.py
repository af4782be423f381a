"""The notebooks are their recipes, and run from top to bottom with the pictures showing."""

from __future__ import annotations

import base64
import importlib.util
from pathlib import Path
from types import ModuleType

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.py"))
PICTURES = {"speech": 3}  # spectrograms, learning curves, confusion matrix


@pytest.fixture(scope="module")
def notebooks() -> ModuleType:
    """``notebooks/make.py``, which is no part of the package."""
    specification = importlib.util.spec_from_file_location("make_notebooks", ROOT / "notebooks" / "make.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_every_recipe_has_a_notebook_and_every_notebook_a_recipe() -> None:
    assert RECIPES
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == {path.stem for path in RECIPES}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_notebook_is_in_step_with_its_recipe(notebooks: ModuleType, recipe: Path) -> None:
    stored = notebooks.path_of(recipe).read_text(encoding="utf-8")
    assert stored == nbformat.writes(notebooks.make(recipe)) + "\n", "the recipe has changed: run `make notebooks`"
    notebook = nbformat.reads(stored, as_version=4)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells) > 5
    for cell in notebook.cells:
        assert cell.cell_type != "code" or (not cell.outputs and cell.execution_count is None)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_notebook_holds_every_line_of_its_recipe(notebooks: ModuleType, recipe: Path) -> None:
    """Back from the notebook comes the recipe, but for how many blank lines stand between cells."""
    text = jupytext.writes(notebooks.make(recipe), fmt="py:percent")
    code = text.partition("# ---\n\n")[2] if text.startswith("# ---") else text
    assert [line for line in code.splitlines() if line] == [
        line for line in recipe.read_text(encoding="utf-8").splitlines() if line
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq")
def test_notebook_runs_on_the_smoke_profile_and_shows_its_pictures(notebooks: ModuleType, tmp_path: Path) -> None:
    committed = notebooks.path_of(ROOT / "recipes" / "speech.py")
    before = committed.read_bytes()
    notebook = notebooks.execute(nbformat.read(committed, as_version=4), tmp_path)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.output_type == "error"]
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == PICTURES["speech"]
    for picture in map(base64.b64decode, pictures):
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 5_000
    printed = "".join(str(output.get("text", output.get("data", {}).get("text/plain", ""))) for output in outputs)
    assert "files verified in" in printed
    assert (tmp_path / "runs" / "speech-smoke-0" / "artifact" / "speech" / "manifest.json").is_file()
    assert committed.read_bytes() == before
