"""The README's table of models is what the command line prints, and the command that writes it works."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

import lstm_zoo
from lstm_zoo import cli, registry

ROOT = Path(__file__).parent.parent
START, END = "<!-- models:start -->\n", "<!-- models:end -->\n"


def block(readme: str) -> str:
    """What stands between the two markers, each of which occurs once."""
    assert readme.count(START) == readme.count(END) == 1
    return readme.partition(START)[2].partition(END)[0]


def printed() -> str:
    result = CliRunner().invoke(cli.app, ["list", "--markdown"])
    assert result.exit_code == 0, result.output
    return result.stdout


def cells(markdown: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()]


def test_readme_shows_the_models_as_they_are() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert block(readme) == printed(), "the models have changed: run `make readme`"


def test_table_has_every_entry_and_its_measured_facts(shipped: Path) -> None:
    head, rule, *rows = cells(printed())
    assert head[:2] == ["name", "what it does"]
    assert all(re.fullmatch("---:?", cell) for cell in rule)
    assert [row[0] for row in rows] == list(registry.ENTRIES)
    assert {len(row) for row in (head, rule, *rows)} == {8}
    for row, model in zip(rows, lstm_zoo.list_models(), strict=True):
        found = dict(zip(head, row, strict=True))
        assert model.metric is not None
        assert found["parameters"] == f"{model.parameters:,}"
        assert found["on the test split"] == f"{100 * model.metric.value:.2f}% accuracy"
        assert found["best baseline"] == "10.00%, majority"
        assert found["streaming"] == ("yes" if model.name == "speech" else "no")


def test_files_are_told_apart_and_the_model_is_no_baseline_of_itself(shipped: Path) -> None:
    model = lstm_zoo.info("speech")
    assert model.manifest is not None
    facts = model.manifest.facts
    assert facts.metric is not None
    baselines = {"majority": 0.1, "linear": 0.4, "speech": 0.9, "speech, without the silence clips": 0.95}
    changed = facts.replace(
        metric=facts.metric.replace(baselines=baselines),
        tflite={"speech_int8.tflite": 312_032, "speech.tflite": 1_118_464, "other.tflite": 7},
    )
    row = registry.ModelInfo(
        model.entry, model.folder, model.manifest.model_copy(update={"facts": changed})
    ).markdown_row()
    assert (row["float file"], row["int8 file"]) == ("1,118 KB", "312 KB")
    assert row["best baseline"] == "40.00%, linear"


def test_untrained_models_have_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lstm_zoo.artifact.shipped_folder", lambda name: tmp_path / name)
    for row in cells(printed())[2:]:
        assert row[2:] == ["?", "?", "?", "not trained", "?", "?"]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_readme_replaces_the_block_and_nothing_else(tmp_path: Path) -> None:
    """With a stand-in for the command line, in a copy: the table is put between the markers, twice over."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    table = "| a | b & c |\n| --- | --- |\n| \\1 | x |\n"
    (tmp_path / "table").write_text(table)
    (tmp_path / "README.md").write_text(f"# Head\n\n{START}old\nlines\n{END}\ntail\n")
    command = tmp_path / "lstm-zoo"
    command.write_text('#!/bin/sh\n[ "$*" = "list --markdown" ] && cat table\n')
    command.chmod(0o755)
    for _ in range(2):
        options = ["--old-file=.venv/user.stamp", f"BIN={tmp_path}", "readme"]
        done = subprocess.run(["make", "--silent", *options], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "README.md").read_text() == f"# Head\n\n{START}{table}{END}\ntail\n"
    assert {path.name for path in tmp_path.iterdir()} == {"Makefile", "table", "README.md", "lstm-zoo"}
