"""``lstm-zoo predict`` for models that read: texts, files and pipes of any length."""

from __future__ import annotations

import functools
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import lstm_zoo
from lstm_zoo import cli
from lstm_zoo.cli import predict_text, text_lines
from lstm_zoo.cli.console import console
from lstm_zoo.errors import DataError, InvalidInputError

TEXTS = ["A great film, so GREAT!<br />It's not dull.", "dull", "Été — greatly unknown \U0001f600", "שלום עולם"]

get = functools.cache(lstm_zoo.get)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_width", 160)


@pytest.fixture(autouse=True)
def folder(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands run; the pretrained models are tiny, and loaded once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(predict_text, "pretrained", get)
    return tmp_path


def run(*arguments: Any, status: int = 0, pipe: bytes | None = None) -> tuple[str, str]:
    result = CliRunner().invoke(cli.app, ["predict", "sentiment", *map(str, arguments)], pipe)
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout, result.stderr


def answers(*arguments: Any, status: int = 0, pipe: bytes | None = None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(*arguments, "--json", status=status, pipe=pipe)[0].splitlines()]


def written(path: Path, *lines: str, end: str = "\n") -> Path:
    path.write_bytes("".join(f"{line}{end}" for line in lines).encode())
    return path


def numbers(found: list[dict[str, Any]]) -> list[tuple[str | None, int]]:
    return [(each["source"], each["line"]) for each in found]


# === What is answered ===


def test_every_kind_of_input_gets_the_models_answers(folder: Path) -> None:
    written(folder / "some.txt", *TEXTS[2:])
    found = answers(TEXTS[0], "some.txt", "-", pipe=TEXTS[1].encode())
    assert [each["text"] for each in found] == [TEXTS[0], *TEXTS[2:], TEXTS[1]]
    assert numbers(found) == [(None, 1), ("some.txt", 1), ("some.txt", 2), ("-", 1)]
    for each, said in zip(found, get("sentiment").classify([each["text"] for each in found]), strict=True):
        assert each["label"] == said.label
        assert each["probability"] == pytest.approx(said.probability, abs=1e-5)
        assert list(each["probabilities"].values()) == pytest.approx(said.probabilities.tolist(), abs=1e-5)
        assert list(each["probabilities"]) == list(get("sentiment").labels)


def test_lines_keep_their_numbers(folder: Path) -> None:
    written(folder / "a.txt", "\ufeffgreat", "", "  \t", " dull ", "", "film", end="\r\n")
    found = answers("a.txt")
    assert [(each["line"], each["text"]) for each in found] == [(1, "great"), (4, "dull"), (6, "film")]
    (folder / "b").write_bytes(b"great\n\ndull")
    assert [(each["line"], each["text"]) for each in answers("b")] == [(1, "great"), (3, "dull")]


def test_other_line_separators_stay_in_the_text(folder: Path) -> None:
    text = "great\x0bfilm\u2028so\x85dull\rnot"
    assert [each["text"] for each in answers(written(folder / "a.txt", text))] == [text]


def test_empty_input_has_no_answers_and_an_empty_text_has_one(folder: Path) -> None:
    assert answers(written(folder / "empty.txt")) == []
    assert run(folder / "empty.txt") == ("", "")
    assert answers("-", pipe=b"") == []
    assert [each["text"] for each in answers("")] == [""]


def test_files_larger_than_a_piece_are_cut_between_lines(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [TEXTS[at % 4] + "!" * (at % 7) for at in range(60)]
    file = written(folder / "a.txt", *texts)
    whole = list(text_lines.blocks([str(file)]))
    assert len(whole) == 1 + 1
    for piece in (1, 7, 64):
        monkeypatch.setattr(text_lines, "PIECE", piece)
        read: list[int] = []
        cut = [line for block in text_lines.blocks([str(file)], read.append) for line in block]
        assert [(line.number, line.text) for line in cut] == list(enumerate(texts, start=1))
        assert sum(read) == file.stat().st_size == text_lines.known_bytes([str(file)])


def test_memory_does_not_grow_with_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "PIECE", 1 << 12)
    line = b"a great film, and not dull\n"

    class Endless(io.RawIOBase):
        """A gigabyte that is made while it is read."""

        left = 1 << 30

        def read1(self, size: int) -> bytes:
            self.left -= size
            return (line * (size // len(line) + 1))[:size] if self.left > 0 else b""

    stream = Endless()
    monkeypatch.setattr(text_lines.typer, "get_binary_stream", lambda name: stream)
    blocks = text_lines.blocks(["-"])
    first = [next(blocks) for _ in range(10)]
    assert stream.left == (1 << 30) - 10 * (1 << 12), "no more is read than what is answered"
    assert all(len(block) < 200 for block in first)


# === The table ===


def test_the_table_has_a_row_for_each_text(folder: Path) -> None:
    written(folder / "a.txt", "great film", "dull [/red] \x1b[2Jfilm " + "so " * 100)
    out, _ = run("a.txt")
    heading, first, second = out.splitlines()
    assert heading.split() == ["line", "text", "label", "%"]
    (said,) = get("sentiment").classify("great film")
    assert first.split()[:4] == ["1", "great", "film", said.label]
    assert f"{said.probability:.1%}" in first
    assert "dull [/red] \N{REPLACEMENT CHARACTER}[2Jfilm so" in second
    assert "…" in second
    assert len(second) <= 160


def test_several_sources_are_named_and_all_labels_shown_if_wanted(folder: Path) -> None:
    written(folder / "a.txt", "great")
    written(folder / "b.txt", "dull")
    out, _ = run("a.txt", "b.txt", "--top", 2)
    assert out.index("a.txt") < out.index("great") < out.index("b.txt") < out.index("dull")
    assert out.count("negative") == out.count("positive") == 2


# === Bad input ===


def test_bytes_that_are_not_utf8_are_named_and_the_others_answered(folder: Path) -> None:
    (folder / "a.txt").write_bytes(b"great\n\xe9t\xe9\n\ndull\n")
    found = answers("a.txt", status=2)
    assert [(each["line"], each.get("text")) for each in found] == [(1, "great"), (2, None), (4, "dull")]
    assert found[1]["error"].startswith("a.txt, line 2 is not UTF-8 (byte 0xe9 at 0)")
    out, err = run("a.txt", status=2)
    assert err.startswith("error: a.txt, line 2 is not UTF-8")
    assert "dull" in out
    found = answers(os.fsdecode(b"gre\xe9t"), "dull", status=2)
    assert found[0]["error"].startswith("text 1 is not UTF-8 (byte 0xe9 at 3)")
    assert found[1]["text"] == "dull"


def test_a_line_without_an_end_is_refused_and_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "LONGEST", 50)
    for piece in (8, 1000):
        monkeypatch.setattr(text_lines, "PIECE", piece)
        found = answers(written(folder / "a.txt", "great", "so " * 100, "dull", "film " * 11), status=2)
        assert [(each["line"], each.get("text")) for each in found] == [(1, "great"), (2, None), (3, "dull"), (4, None)]
        assert found[1]["error"].endswith("a.txt, line 2 has over 50 bytes; expected one text a line")


def test_a_text_that_the_model_refuses_does_not_take_others_along(monkeypatch: pytest.MonkeyPatch) -> None:
    model = get("sentiment")

    class Refusing:
        labels = model.labels

        def classify(self, texts: list[str]) -> Any:
            if any("long" in text for text in texts):
                raise InvalidInputError("too long")
            return model.classify(texts)

    monkeypatch.setattr(predict_text, "pretrained", lambda name: Refusing())
    found = answers("-", pipe=b"great\nlong\ndull\n", status=2)
    assert [each.get("label") is None for each in found] == [False, True, False]
    assert found[1] == {"source": "-", "line": 2, "error": "too long"}


@pytest.mark.parametrize("given", ["missing.txt", "./missing", "my reviews.TXT", "sub/folder/file", "."])
def test_what_looks_like_a_file_is_not_taken_as_a_text(folder: Path, given: str) -> None:
    out, err = run("great", given, status=2)
    assert out == "", "nothing is answered"
    assert err.startswith(f"error: {given} ")


def test_texts_with_slashes_are_texts() -> None:
    given = ["I give it 10/10", "either/or, who cares", "x" * 5000, "nul\0 byte great", "great.txt is dull"]
    text_lines.check(given)
    assert [line.text for block in text_lines.blocks(given) for line in block] == given
    assert [len(each["text"]) for each in answers(*given)] == list(map(len, given))
    with pytest.raises(DataError, match="does not exist; if it is a text, pipe it in and give -"):
        text_lines.check(["10/10"])


def test_a_file_that_cannot_be_read_does_not_stop_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str) -> Any:
        if source == "a.txt":
            raise PermissionError(13, "Permission denied")
        return open(source, "rb")

    monkeypatch.setattr(text_lines, "_opened", refuse)
    written(folder / "a.txt", "great")
    written(folder / "b.txt", "dull")
    found = answers("a.txt", "b.txt", status=2)
    assert found[0]["error"] == "a.txt cannot be read: Permission denied"
    assert found[1]["text"] == "dull"


@pytest.mark.parametrize("option", [("--hop", 0.5), ("--threshold", 0.6), ("--all",)])
def test_options_for_sound_are_refused(option: tuple[Any, ...]) -> None:
    _, err = run("great", *option, status=2)
    assert err.startswith(f"error: {option[0]}: sentiment takes texts")


# === Progress ===


def bar_of(monkeypatch: pytest.MonkeyPatch, total: int | None, terminal: bool = True) -> str:
    screen = io.StringIO()
    monkeypatch.setattr(predict_text, "messages", Console(file=screen, force_terminal=terminal, width=100))
    with predict_text._progress(total) as advance:
        advance(600_000)
        print("an answer")
    return screen.getvalue()


def test_a_bar_shows_the_bytes_of_large_inputs(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert "0.6/1.2 MB" in bar_of(monkeypatch, 1_200_000)
    assert "600.0/? kB" in bar_of(monkeypatch, None)
    assert capsys.readouterr().out == "an answer\nan answer\n", "answers stay on standard output"
    assert bar_of(monkeypatch, 999_999) == ""
    assert bar_of(monkeypatch, 1_200_000, terminal=False) == ""
    monkeypatch.setattr(predict_text, "console", Console(force_terminal=True))
    assert bar_of(monkeypatch, 1_200_000) == "", "not among answers on the same terminal"


def test_pipes_have_no_known_size(folder: Path) -> None:
    file = str(written(folder / "a.txt", "great"))
    assert text_lines.known_bytes([file, "a text", file]) == 12
    assert text_lines.known_bytes([file, "-"]) is None


# === Real processes ===


def start(model: Path, *arguments: str, **settings: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "lstm_zoo.cli", "predict", str(model), *arguments]
    root = str(Path(lstm_zoo.__file__).parents[1])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONPATH": root, **settings}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # which some packages set where they are imported
    return subprocess.Popen(command, **pipes, env=environment)


def test_a_pipe_is_answered_line_by_line_and_ends_with_ctrl_c(shipped: Path) -> None:
    with start(shipped / "sentiment", "-", "--json") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for text in TEXTS[:2]:
            process.stdin.write(f"{text}\n".encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"] == text
        process.send_signal(signal.SIGINT)
        error = process.stderr.read().decode()
    assert "Traceback" not in error
    assert process.returncode not in (0, None)


def test_a_reader_that_stops_early_is_no_failure(shipped: Path, folder: Path) -> None:
    file = written(folder / "many.txt", *["a great film and so long a line that pipes fill up " * 4] * 5000)
    for arguments in ([str(file), "--json"], [str(file)]):
        with start(shipped / "sentiment", *arguments) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            error = process.stderr.read().decode()
        assert error.strip() == ""


def test_any_encoding_of_standard_output_will_do(shipped: Path) -> None:
    with start(shipped / "sentiment", TEXTS[2], "--json", PYTHONIOENCODING="ascii") as process:
        out, error = process.communicate()
    assert error == b""
    assert json.loads(out)["text"] == TEXTS[2]
    assert np.isfinite(json.loads(out)["probability"])
