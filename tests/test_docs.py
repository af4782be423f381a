"""The code in the documentation runs as it stands, and its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_code_runs_from_top_to_bottom(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    names: dict[str, object] = {"__name__": "documentation"}
    for block in blocks:
        exec(compile(block, document.name, "exec"), names)


def test_every_variant_is_in_the_table() -> None:
    from lstm_zoo.layers import VARIANTS

    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "layers.md").read_text(encoding="utf-8"), re.MULTILINE)
    published = [name for name, gates in VARIANTS.items() if gates.step.__module__ == "lstm_zoo.layers.gates"]
    assert listed == published


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "README.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target
