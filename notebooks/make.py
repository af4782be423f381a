"""Makes the notebooks from the recipes; they are the same text, cell by cell, and are kept without outputs.

python notebooks/make.py          # write notebooks/<recipe>.ipynb for every recipe
python notebooks/make.py --run    # and run each on the smoke profile, in a folder that is then removed
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
SECONDS_PER_CELL = 900


def recipes() -> list[Path]:
    """All recipes, in the order of their names."""
    return sorted((ROOT / "recipes").glob("*.py"))


def make(recipe: Path) -> nbformat.NotebookNode:
    """The notebook of a recipe. The same recipe gives the same notebook: cells are named by their number."""
    notebook = jupytext.read(recipe, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number:02}"
    nbformat.validate(notebook)
    return notebook


def path_of(recipe: Path) -> Path:
    """Where the notebook of a recipe is."""
    return ROOT / "notebooks" / f"{recipe.stem}.ipynb"


def write(recipe: Path) -> Path:
    """Write the notebook of a recipe and return where it is."""
    path = path_of(recipe)
    new = path.with_suffix(".new")
    nbformat.write(make(recipe), new)
    os.replace(new, path)
    return path


def execute(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Run ``notebook`` in place, on the smoke profile and in ``folder``; it gets its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed; says which, and how.
    """
    client = NotebookClient(
        notebook, timeout=SECONDS_PER_CELL, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return client.execute(env=os.environ | {"LSTM_ZOO_PROFILE": "smoke", "PYTHONPATH": paths})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="run each notebook on the smoke profile")
    arguments = parser.parse_args()
    for recipe in recipes():
        print(f"{write(recipe).relative_to(ROOT)}: made", flush=True)
    for recipe in recipes() if arguments.run else ():
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="lstm_zoo_") as folder:
            execute(make(recipe), Path(folder))
        print(f"{path_of(recipe).relative_to(ROOT)}: runs, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
