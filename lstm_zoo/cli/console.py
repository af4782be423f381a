"""What the commands share: where they print, arguments of the same meaning, and how a model is loaded."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

import lstm_zoo
from lstm_zoo.errors import LstmZooError

FAILED = 2  # the exit status of every command that could not do what it was asked

console = Console()
messages = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Name = Annotated[str, typer.Argument(help="A model's name, as `lstm-zoo list` shows it.", show_default=False)]
Model = Annotated[str, typer.Argument(help="A model's name, or an artefact folder.", show_default=False)]


def family(name: str) -> str:
    """The family of a model, which is known before TensorFlow has started."""
    from lstm_zoo import artifact, registry

    folder = registry.pretrained_folder(name)
    return registry.ENTRIES[name].family if name in registry.ENTRIES else artifact.read_manifest(folder).family


def pretrained(name: str) -> Any:
    from lstm_zoo import registry

    registry.pretrained_folder(name)  # a wrong name is an error at once, not after TensorFlow has started
    start_tensorflow()
    return lstm_zoo.get(name)


def start_tensorflow() -> None:
    """Import TensorFlow without its notes on processors and CUDA libraries, which none of its settings silences."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # of notes that come later; errors are raised as well
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere, _interrupt_kept():
            os.dup2(nowhere.fileno(), 2)
            import tensorflow as tf

            tf.config.list_physical_devices()
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def _interrupt_kept() -> Iterator[None]:
    """Ctrl-C in this context ends the program after it: what TensorFlow imports has places where it would be lost."""
    if threading.current_thread() is not threading.main_thread():  # where no handler can be set
        yield
        return
    received: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if received:
        raise KeyboardInterrupt


def complain(error: LstmZooError) -> None:
    messages.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
