"""Whether the files of a sentiment model say what the model says in Python: on the whole test split of IMDB.

    python benchmarks/sentiment_files.py --data DIR
    python benchmarks/sentiment_files.py --data DIR --model sentiment_tiny --every 25 --markdown

Two tables. *From token ids*: the files that come with the model, in the LiteRT interpreter, on every test review. A
file of any length reads whole reviews; one of a fixed length reads their beginning, so it is compared with the model on
the same beginning and, beside that, on the whole review. *From text*: MediaPipe's TextClassifier, which cuts the words
itself, on each 25th test review, with the file that comes with the model and with one that is long enough for every
one of these reviews.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from layers import Sheet, verdict  # benchmarks/layers.py
from rich.console import Console

import lstm_zoo
from lstm_zoo import data, registry
from lstm_zoo.data.texts import TextSplit

SAME_LABEL = 99.5  # per cent of the test reviews, from token ids
BATCH = 64

messages = Console(stderr=True)


def litert_answers(file: Path, rows: list[np.ndarray]) -> tuple[np.ndarray, int | None]:
    """What the file at ``file`` says to rows of ids, float32 ``[rows, labels]``; and its length, where it is fixed."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=1)
    (described,) = interpreter.get_input_details()
    is_open = described["shape_signature"][1] == -1
    length = None if is_open else int(described["shape"][1])
    batch = BATCH if is_open else int(described["shape"][0])
    answers = np.empty((len(rows), interpreter.get_output_details()[0]["shape"][-1]), "float32")
    order = np.argsort([len(row) for row in rows], kind="stable")
    for chosen in np.split(order, range(batch, len(order), batch)):
        ids = padded([rows[number] for number in chosen], length)
        if is_open:
            interpreter.resize_tensor_input(described["index"], ids.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(described["index"], ids)
        interpreter.invoke()
        answers[chosen] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return answers, length


def padded(rows: Iterable[np.ndarray], length: int | None = None) -> np.ndarray:
    """int32 ``[rows, length]``, cut or padded with 0; as long as the longest where ``length`` is None."""
    rows = [row[:length] for row in rows]
    width = length or max(map(len, rows))
    return np.stack([np.pad(row, (0, width - len(row))) for row in rows])


def keras_answers(model: Any, rows: list[np.ndarray]) -> np.ndarray:
    """What the model says to rows of ids, float32 ``[rows, labels]``."""
    answers = np.empty((len(rows), len(model.labels)), "float32")
    order = np.argsort([len(row) for row in rows], kind="stable")
    for chosen in np.split(order, range(BATCH, len(order), BATCH)):
        answers[chosen] = model(padded([rows[number] for number in chosen]))
    return answers


def mediapipe_answers(file: Path, labels: tuple[str, ...], texts: Iterable[str]) -> tuple[np.ndarray, float]:
    """What MediaPipe's TextClassifier says, float32 ``[texts, labels]``, and its median milliseconds for a text."""
    from mediapipe.tasks.python import BaseOptions, text

    options = text.TextClassifierOptions(base_options=BaseOptions(model_asset_path=str(file)))
    answers, seconds = [], []
    with text.TextClassifier.create_from_options(options) as classifier:
        for each in texts:
            began = time.perf_counter()
            (head,) = classifier.classify(each).classifications
            seconds.append(time.perf_counter() - began)
            scores = {category.category_name: category.score for category in head.categories}
            answers.append([scores[label] for label in labels])
    return np.array(answers, "float32"), 1000 * float(np.median(seconds))


def same_labels(answers: np.ndarray, expected: np.ndarray) -> float:
    """How often both have the same highest score, in per cent."""
    return 100 * float(np.mean(answers.argmax(axis=1) == expected.argmax(axis=1)))


def shipped_files(name: str) -> list[Path]:
    return sorted(registry.pretrained_folder(name).glob("*.tflite"))


def from_ids(name: str, model: Any, split: TextSplit) -> Sheet:
    """Each file that comes with the model, on every text of the split."""
    columns = ("file", "bytes", "tokens read", "same label, same tokens, %", "largest difference",
               "same label, whole review, %", "accuracy, %")  # fmt: skip
    sheet = Sheet(f"{Path(name).name}, from token ids", columns)
    rows = [row for start in range(0, len(split), 1000) for row in unpadded(model, split.texts[start : start + 1000])]
    whole = keras_answers(model, rows)
    for file in shipped_files(name):
        messages.print(f"LiteRT: {file.name}", style="dim")
        answers, length = litert_answers(file, rows)
        expected = whole if length is None else keras_answers(model, [row[:length] for row in rows])
        accuracy = 100 * float(np.mean(answers.argmax(axis=1) == split.labels))
        same = verdict(same_labels(answers, expected), SAME_LABEL, at_least=True)
        sheet.rows.append((
            file.name, f"{file.stat().st_size:,}", "all" if length is None else str(length), same,
            f"{np.abs(answers - expected).max():.1e}", f"{same_labels(answers, whole):.2f}", f"{accuracy:.2f}",
        ))  # fmt: skip
    own = float(np.mean(whole.argmax(axis=1) == split.labels))
    sheet.notes.append(f"{len(split):,} test reviews; the accuracy in Python is {own:.2%}.")
    return sheet


def from_text(name: str, model: Any, split: TextSplit, every: int) -> Sheet:
    """MediaPipe on some texts of the split, beside ``model(text)``."""
    columns = ("file", "tokens read", "same label as Python, %", "largest difference", "ms a review")
    sheet = Sheet(f"{Path(name).name}, from text, in MediaPipe's TextClassifier", columns)
    texts = list(split.texts[::every])
    expected = model.predict(texts, verbose=0)
    longest = max(len(row) for row in unpadded(model, texts))
    with tempfile.TemporaryDirectory() as folder:
        long_enough = Path(folder) / f"{Path(name).name}_{longest}.tflite"
        lstm_zoo.export(model, long_enough, profile="mediapipe", samples=longest, check_inputs=texts[:200])
        for file in (*filter(fits_mediapipe, shipped_files(name)), long_enough):
            messages.print(f"MediaPipe: {file.name}", style="dim")
            answers, milliseconds = mediapipe_answers(file, model.labels, texts)
            least = 100.0 if file == long_enough else None
            same = verdict(same_labels(answers, expected), least, at_least=True)
            sheet.rows.append((
                file.name, str(longest if file == long_enough else fixed_length(file)), same,
                f"{np.abs(answers - expected).max():.1e}", f"{milliseconds:.1f}",
            ))  # fmt: skip
    sheet.notes.append(f"{len(texts):,} test reviews, of which Python reads every token.")
    return sheet


def unpadded(model: Any, texts: Iterable[str]) -> list[np.ndarray]:
    return [row.numpy() for row in model.tokenizer(list(texts))]


def fixed_length(file: Path) -> int | None:
    """The number of tokens that a file reads, None where it is open."""
    from ai_edge_litert.interpreter import Interpreter

    (described,) = Interpreter(str(file)).get_input_details()
    length = int(described["shape_signature"][1])
    return None if length == -1 else length


def fits_mediapipe(file: Path) -> bool:
    return fixed_length(file) is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="IMDB, as its loader takes it (default: as the loader looks)")
    parser.add_argument(
        "--model", default="sentiment", help="a model of the zoo or an artefact folder (default: sentiment)"
    )
    parser.add_argument("--every", type=int, default=25, help="MediaPipe reads each so many-th review (default: 25)")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    arguments = parser.parse_args()
    model, split = lstm_zoo.get(arguments.model), data.load("imdb", arguments.data).testing
    sheets = [from_ids(arguments.model, model, split)]
    if model.config.tokenizer == "words":  # MediaPipe does not know subwords as tensorflow-text cuts them
        sheets.append(from_text(arguments.model, model, split, arguments.every))
    console = Console(width=None if sys.stdout.isatty() else 220)  # in a file, every row on one line
    for sheet in sheets:
        if arguments.markdown:
            print(sheet.markdown())
        else:
            console.print(sheet.table())


if __name__ == "__main__":
    main()
