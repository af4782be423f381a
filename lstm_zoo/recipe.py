"""The command line that recipes share."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from lstm_zoo.errors import InvalidInputError, LstmZooError

PROFILES = {
    "smoke": "a minute, on generated data",
    "quick": "minutes, on a laptop",
    "full": "what made the shipped weights",
}


@dataclass(frozen=True)
class Arguments:
    """What a recipe was asked to do."""

    name: str
    profile: str
    data: Path | None
    synthetic: Path | None
    dataset: str | None
    tune: int
    size_limit: int
    out: Path
    settings: dict[str, Any]
    command: str

    @property
    def smoke(self) -> bool:
        return self.profile == "smoke"


def recipe_arguments(
    names: list[str],
    description: str,
    *,
    tunable: bool = True,
    synthetic: bool = True,
    datasets: Sequence[str] = (),
    size_limit: int = 2_000_000,
) -> Arguments:
    """Read a recipe's command line; in a notebook, which has none, ``$LSTM_ZOO_PROFILE`` chooses the profile.

    From then on a :class:`LstmZooError` ends the script with one line and exit status 1 (``$LSTM_ZOO_DEBUG`` shows the
    traceback); arguments that are not valid end it with exit status 2, before any folder is made.

    Args:
        names: the models that the recipe trains, the default first.
        tunable: whether the recipe can search hyper-parameters, and has the options for it.
        synthetic: whether it can train on synthetic speech.
        datasets: those that it can train on, the default first, where there is a choice.
        size_limit: bytes that the exported file of a trial may have unless the command line says otherwise.
    """
    parser = argparse.ArgumentParser(description=description)
    profile = os.environ.get("LSTM_ZOO_PROFILE", "smoke")
    explained = "; ".join(f"{name}: {meaning}" for name, meaning in PROFILES.items())
    parser.add_argument("--name", choices=names, default=names[0], help=f"the model to train (default: {names[0]})")
    parser.add_argument("--profile", choices=PROFILES, default=profile, help=f"{explained} (default: {profile})")
    parser.add_argument("--data", type=_existing, help="the dataset: a folder or an archive")
    parser.set_defaults(tune=0, size_limit=size_limit, synthetic=None, dataset=None)
    if synthetic:
        parser.add_argument("--synthetic", type=Path, help="folder of synthetic clips; made where there is none")
    if datasets:
        help_text = f"what to train and test on (default: {datasets[0]})"
        parser.add_argument("--dataset", choices=datasets, default=datasets[0], help=help_text)
    if tunable:
        parser.add_argument("--tune", type=int, metavar="TRIALS", help="search hyper-parameters first")
        parser.add_argument(
            "--size-limit", type=int, help=f"largest TFLite file of a trial (default: {size_limit:,} bytes)"
        )
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/NAME-PROFILE-SEED)")
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="such as epochs=5")
    in_notebook = "ipykernel" in sys.modules
    given = vars(parser.parse_args([] if in_notebook else None))
    try:
        given["settings"] = dict(map(_setting, given["settings"]))
    except InvalidInputError as error:
        parser.error(str(error))
    seed = next((value for name, value in given["settings"].items() if name.endswith("seed")), 0)
    of_dataset = f"-{given['dataset']}" if given["dataset"] not in (None, *datasets[:1]) else ""
    given["out"] = given["out"] or Path("runs", f"{given['name']}{of_dataset}-{given['profile']}-{seed}")
    given["out"].mkdir(parents=True, exist_ok=True)
    if not in_notebook:
        sys.excepthook = _show_error
    return Arguments(**given, command="the notebook of this recipe" if in_notebook else _command(given))


def _command(given: dict[str, Any]) -> str:
    """The command that repeats this run elsewhere: without the folders of this machine."""
    words = ["python", f"recipes/{Path(sys.argv[0]).name}", "--name", given["name"], "--profile", given["profile"]]
    words += ["--dataset", given["dataset"]] if given["dataset"] else []
    words += [word for option in ("data", "synthetic") if given[option] for word in (f"--{option}", option.upper())]
    words += ["--tune", str(given["tune"])] if given["tune"] else []
    return shlex.join([*words, *(f"{name}={json.dumps(value)}" for name, value in given["settings"].items())])


def _setting(text: str) -> tuple[str, Any]:
    """``"epochs=5"`` to ``("epochs", 5)``; a value that is not JSON is text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidInputError(f"{text!r}: expected NAME=VALUE, such as epochs=5")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _existing(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{text} does not exist")
    return path


def _show_error(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """What ``sys.excepthook`` does, but one line for an error that says all there is to say."""
    if issubclass(kind, LstmZooError) and not os.environ.get("LSTM_ZOO_DEBUG"):
        print(f"error: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)
