"""``lstm-zoo stream``: words of a recording as they are heard, from files, pipes and a microphone."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

import lstm_zoo
from lstm_zoo import artifact, registry
from lstm_zoo.cli import stream as command
from lstm_zoo.cli.stream import stream
from lstm_zoo.errors import DataError, InvalidInputError, MissingExtraError

DEMO = Path(lstm_zoo.__file__).parent / "assets" / "demo.wav"
WORDS = ["yes", "left", "stop", "go"]

app = typer.Typer()
app.command()(stream)


pretrained = functools.cache(lstm_zoo.get)


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "pretrained", pretrained)


@pytest.fixture(scope="module")
def pcm() -> bytes:
    """The demonstration's recording as it comes out of arecord."""
    samples, rate = soundfile.read(DEMO, dtype="int16")
    assert rate == 16_000
    return samples.astype("<i2").tobytes()


def run(*arguments: Any, standard_input: bytes | None = None) -> tuple[str, str]:
    result = CliRunner().invoke(app, [str(each) for each in arguments], standard_input, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def words(out: str) -> list[str]:
    return [json.loads(line)["label"] for line in out.splitlines()]


def in_process(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """The command in a process of its own, as a shell would start it."""
    code = "import typer; from lstm_zoo.cli.stream import stream; app = typer.Typer(); app.command()(stream); app()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], **pipes | options)


def standard_input(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None
    return process.stdin


# === Files ===


def test_each_word_of_a_file_with_its_time() -> None:
    out, err = run("speech", DEMO, "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["label"] for event in events] == WORDS
    model = lstm_zoo.get("speech")
    samples, _ = lstm_zoo.read_audio(DEMO)
    stream = model.stream()
    expected = stream.feed(samples) + stream.flush()
    assert [event["time_seconds"] for event in events] == [round(event.time, 3) for event in expected]
    assert [event["probability"] for event in events] == pytest.approx([each.probability for each in expected])
    assert "5.0 s heard, 4 words" in err


def test_words_for_people() -> None:
    out, _ = run("speech", DEMO)
    rows = [line.split() for line in out.splitlines()]
    assert [row[2] for row in rows] == WORDS
    assert all(row[1] == "s" and row[3].endswith("%") for row in rows)


@pytest.mark.parametrize(
    ("name", "rate", "channels"), [("a.flac", 16_000, 2), ("b.wav", 44_100, 1), ("c.ogg", 8_000, 2)]
)
def test_formats_rates_and_channels(tmp_path: Path, name: str, rate: int, channels: int) -> None:
    samples, _ = lstm_zoo.read_audio(DEMO, rate)
    soundfile.write(tmp_path / name, np.stack([samples] * channels, axis=1), rate)
    found = words(run("speech", tmp_path / name, "--json")[0])
    assert found == WORDS if rate >= 16_000 else set(found) <= set(WORDS), "half of the band is not in 8 kHz"


def test_options_reach_the_detector() -> None:
    assert words(run("speech", DEMO, "--json", "--threshold", 1)[0]) == []
    assert len(words(run("speech", DEMO, "--json", "--refractory", 0)[0])) > len(WORDS)
    out, err = run("speech", DEMO, "--json", "--smoothing", 60, "--threshold", 0.9)
    assert (out, "0 words" in err) == ("", True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"", "not audio"),
        (b"this is not audio at all", "not audio"),
        (DEMO.read_bytes()[:50_000], "truncated"),
        (DEMO.read_bytes()[:44], "truncated"),
    ],
)
def test_a_file_that_cannot_be_heard(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "sound.wav"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        run("speech", file)


def test_damage_in_the_middle_is_an_error_after_what_was_heard(tmp_path: Path) -> None:
    file = tmp_path / "sound.flac"
    samples, rate = lstm_zoo.read_audio(DEMO)
    soundfile.write(file, samples, rate)
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = b"\0" * (len(content) - len(content) // 2)
    file.write_bytes(content)
    result = CliRunner().invoke(app, ["speech", str(file), "--json"])
    assert words(result.stdout) == ["yes", "left"]
    assert isinstance(result.exception, DataError)
    assert "damaged after 2.3 s" in str(result.exception)


def test_a_folder_and_a_rate_of_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        run("speech", tmp_path)
    with pytest.raises(InvalidInputError, match="--rate"):
        run("speech", DEMO, "--rate", 8000)


def test_a_model_of_texts_hears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "family", lambda name: registry.ENTRIES[name].family)
    with pytest.raises(InvalidInputError, match="sentiment takes no sound; models that do: speech,"):
        run("sentiment", "-", standard_input=b"text")


# === Pipes ===


def test_raw_samples_on_standard_input(pcm: bytes) -> None:
    out, err = run("speech", "-", "--json", standard_input=pcm)
    assert words(out) == WORDS
    assert "5.0 s heard, 4 words" in err


def test_half_a_sample_at_the_end_is_dropped(pcm: bytes) -> None:
    out, err = run("speech", "-", "--json", standard_input=pcm[: 2 * 32_000 + 1])
    assert words(out) == ["yes", "left"]
    assert "2.0 s heard" in err


@pytest.mark.parametrize("content", [b"", b"\1"])
def test_an_empty_pipe_is_an_error(content: bytes) -> None:
    with pytest.raises(DataError, match="standard input holds 0 samples"):
        run("speech", "-", standard_input=content)


@pytest.mark.parametrize(("rate", "bound"), [(1, "1000"), (999, "1000"), (384_001, "384000"), (10**9, "384000")])
def test_rates_out_of_range_are_refused(pcm: bytes, rate: int, bound: str) -> None:
    result = CliRunner().invoke(app, ["speech", "-", "--rate", str(rate)], pcm)
    assert result.exit_code == 2
    assert bound in result.stderr


def test_another_rate_of_the_pipe(pcm: bytes) -> None:
    samples, _ = lstm_zoo.read_audio(DEMO, 44_100)
    content = np.round(samples * 32767).astype("<i2").tobytes()
    out, err = run("speech", "-", "--json", "--rate", 44100, standard_input=content)
    assert words(out) == WORDS
    assert "5.0 s heard" in err


def test_a_file_in_the_pipe_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="give the file's name instead"):
        run("speech", "-", standard_input=DEMO.read_bytes())


def test_a_word_is_printed_before_the_pipe_ends(pcm: bytes) -> None:
    """The process is still listening when its first line arrives; Ctrl-C then ends it with a summary."""
    with in_process("speech", "-", "--json") as process:
        standard_input(process).write(pcm[: 2 * 16_000])
        standard_input(process).flush()
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["label"] == "yes"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        summary = process.stderr.read().decode()
    assert re.fullmatch(r"[01]\.\d s heard, 1 word", summary.splitlines()[-1])
    assert "Traceback" not in summary


@pytest.mark.parametrize("form", [["--json"], []])
def test_a_reader_that_leaves_early(pcm: bytes, form: list[str]) -> None:
    """``lstm-zoo stream ... | head -1`` ends without a traceback."""
    read, write = os.pipe()
    with in_process("speech", "-", *form, stdout=write) as process:
        os.close(write)
        os.close(read)
        _, err = process.communicate(pcm, timeout=120)
    assert b"Traceback" not in err
    assert b"Exception" not in err
    assert b"BrokenPipe" not in err


# === Microphone ===


class Microphone:
    """Gives the recording in pieces, then is interrupted as by Ctrl-C."""

    asked: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, **options: Any):
        Microphone.asked = options
        samples, _ = soundfile.read(DEMO, dtype="int16", always_2d=True)
        self.samples = samples

    def __enter__(self) -> Microphone:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, frames: int) -> tuple[np.ndarray, bool]:
        if not len(self.samples):
            raise KeyboardInterrupt
        piece, self.samples = self.samples[:frames], self.samples[frames:]
        return piece, False


class PortAudioError(Exception):
    pass


@pytest.fixture
def sounddevice(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    module = SimpleNamespace(InputStream=Microphone, PortAudioError=PortAudioError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


def test_without_a_file_the_microphone_is_heard(sounddevice: SimpleNamespace) -> None:
    out, err = run("speech", "--json")
    assert words(out) == WORDS
    assert Microphone.asked["samplerate"] == 16_000
    assert "listening to the microphone" in err
    assert "5.0 s heard, 4 words" in err


def test_the_microphone_is_opened_at_the_rate_of_a_folders_model(sounddevice: SimpleNamespace) -> None:
    run(artifact.shipped_folder("digits"), "--json")
    assert Microphone.asked["samplerate"] == 8_000


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "pretrained", lambda _: pytest.fail("the model was loaded before the microphone"))


@pytest.mark.usefixtures("no_model")
def test_a_microphone_that_cannot_be_opened(sounddevice: SimpleNamespace) -> None:
    def refuse(**_: Any) -> None:
        raise PortAudioError("Error querying device -1")

    sounddevice.InputStream = refuse
    result = CliRunner().invoke(app, ["speech"])
    assert isinstance(result.exception, DataError)
    assert "microphone cannot be used: Error querying device" in str(result.exception)
    assert "listening" not in result.output


def test_a_microphone_that_is_pulled_out(sounddevice: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise PortAudioError("Device unavailable")

    monkeypatch.setattr(Microphone, "read", fail)
    with pytest.raises(DataError, match="microphone cannot be used: Device unavailable"):
        run("speech")


@pytest.mark.usefixtures("no_model")
def test_the_extra_is_named_where_sounddevice_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingExtraError, match=r"lstm-zoo\[microphone\]"):
        run("speech")


# === Help ===


def test_help_is_there_without_tensorflow() -> None:
    code = (
        "import sys, typer; from lstm_zoo.cli.stream import stream; app = typer.Typer(); app.command()(stream)\n"
        "app(['--help'], standalone_mode=False); assert not {'tensorflow', 'keras', 'soundfile'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--refractory" in done.stdout
