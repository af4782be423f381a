"""Synthetic spoken words from the text-to-speech programs installed on this machine.

Extra *training* clips for small data sets, never for validation or testing: ``espeak-ng`` (eight English
accents, about a hundred voice variants), ``flite`` and ``festival`` (recorded-voice synthesis). All are
free software found in most Linux distributions::

    python -m lstm_zoo.data.synthetic_speech OUT_FOLDER --clips-per-word 200

The folder has the layout of Speech Commands, ``<word>/<voice>_nohash_<n>.wav``, 16 kHz mono, one second.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer

from lstm_zoo.data.audio_files import read_audio
from lstm_zoo.errors import DataError, LstmZooError, MissingExtraError

SAMPLE_RATE = 16_000
CLIP_SAMPLES = 16_000
ACCENTS = (
    "en-us",
    "en-us-nyc",
    "en-gb",
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
)
FLITE_VOICES = ("kal16", "awb", "rms", "slt")
FESTIVAL_VOICES = ("kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts")
# Variants that whisper, croak or are not meant to sound human.
UNSUITABLE_VARIANTS = frozenset({"whisper", "whisperf", "croak", "Demonic", "Alien", "Storm", "robosoft"})


@dataclass(frozen=True)
class Utterance:
    """One clip to be spoken: which word, by which program and voice, how fast and how high."""

    word: str
    number: int
    engine: str
    voice: str
    speed: float
    pitch: int

    @property
    def file_name(self) -> str:
        voice = f"{self.engine}-{self.voice}".replace("+", "-").replace(" ", "-").replace("_", "-")
        return f"{self.word}/{voice}_nohash_{self.number}.wav"

    def command(self, wav: Path) -> list[str]:
        """The shell-free command line that speaks this utterance into ``wav``."""
        if self.engine == "espeak":
            rate = str(round(160 * self.speed))
            return ["espeak-ng", "-v", self.voice, "-s", rate, "-p", str(self.pitch), "-w", str(wav), self.word]
        if self.engine == "flite":
            stretch = f"duration_stretch={1 / self.speed:.2f}"
            mean = f"int_f0_target_mean={80 + self.pitch * 1.5:.0f}"
            return ["flite", "-voice", self.voice, "--setf", stretch, "--setf", mean, "-t", self.word, "-o", str(wav)]
        speak = f"(begin (voice_{self.voice}) (Parameter.set 'Duration_Stretch {1 / self.speed:.2f})"
        speak += f' (utt.save.wave (utt.synth (Utterance Text "{self.word}")) "{wav}" \'riff))'
        return ["festival", "--batch", speak]


def _espeak_variants() -> list[str]:
    listing = subprocess.run(["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=True).stdout
    files = [line.split()[4] for line in listing.splitlines()[1:] if len(line.split()) > 4]
    names = {file.removeprefix("!v/") for file in files if file.startswith("!v/")}
    return sorted(names - UNSUITABLE_VARIANTS)


def plan(words: list[str], clips_per_word: int, seed: int = 0) -> list[Utterance]:
    """Draw voices, speeds and pitches for ``clips_per_word`` utterances of each word, repeatable by ``seed``."""
    if not shutil.which("espeak-ng"):
        raise DataError("synthetic speech needs the program espeak-ng (Debian, Ubuntu: apt install espeak-ng flite)")
    generator = np.random.default_rng(seed)
    engines = (
        ["espeak"] * 7 + ["flite"] * 2 * bool(shutil.which("flite")) + ["festival"] * bool(shutil.which("festival"))
    )
    variants = _espeak_variants()
    utterances = []
    for word in words:
        for number in range(clips_per_word):
            engine = str(generator.choice(engines))
            if engine == "espeak":
                voice = f"{generator.choice(ACCENTS)}+{generator.choice(variants)}"
            else:
                voice = str(generator.choice(FLITE_VOICES if engine == "flite" else FESTIVAL_VOICES))
            speed = float(generator.uniform(0.65, 1.25))
            utterances.append(Utterance(word, number, engine, voice, speed, int(generator.integers(15, 85))))
    return utterances


def _speak(utterance: Utterance, folder: Path) -> bool:
    """Speak one utterance into ``folder``; ``False`` where the program has not that voice or says nothing."""
    try:
        import librosa
    except ImportError:
        raise MissingExtraError("librosa", "audio", "synthetic speech") from None

    with tempfile.TemporaryDirectory() as scratch:
        wav = Path(scratch) / "spoken.wav"
        try:
            run = subprocess.run(utterance.command(wav), capture_output=True, timeout=60)
        except subprocess.TimeoutExpired:  # some voices hang on some words
            return False
        if run.returncode or not wav.is_file() or wav.stat().st_size < 1000:
            return False
        samples, _ = read_audio(wav, SAMPLE_RATE)
    samples, _ = librosa.effects.trim(samples, top_db=40)
    if np.abs(samples).max(initial=0.0) < 1e-3:
        return False
    samples = samples[:CLIP_SAMPLES] / np.abs(samples).max() * 0.5
    before = (CLIP_SAMPLES - len(samples)) // 2
    samples = np.pad(samples, (before, CLIP_SAMPLES - len(samples) - before))
    target = folder / utterance.file_name
    target.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(target, samples, SAMPLE_RATE, subtype="PCM_16")
    return True


def generate(folder: Path, words: list[str], clips_per_word: int = 200, seed: int = 0, workers: int = 2) -> int:
    """Speak ``clips_per_word`` clips of each word into ``folder``; returns how many were written.

    Raises:
        DataError: espeak-ng is not installed, or ``folder`` already holds files.
    """
    from rich.progress import track

    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"folder: {folder} is not empty; name a new folder for the synthetic clips")
    utterances = plan(words, clips_per_word, seed)
    with ThreadPoolExecutor(workers) as pool:
        spoken = pool.map(lambda utterance: _speak(utterance, folder), utterances)
        return sum(track(spoken, description="speaking", total=len(utterances)))


def main(
    folder: Annotated[Path, typer.Argument(file_okay=False, help="A new folder for the clips.")],
    clips_per_word: Annotated[int, typer.Option(help="Clips of each word.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the draw of voices.")] = 0,
) -> None:
    """Speak the Speech Commands vocabulary with the text-to-speech programs of this machine."""
    from lstm_zoo.data.speech_commands import KEYWORDS, OTHER_WORDS

    try:
        count = generate(folder, [*KEYWORDS, *OTHER_WORDS], clips_per_word, seed)
    except LstmZooError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    print(f"{count:,} clips in {folder}")


if __name__ == "__main__":
    typer.run(main)
