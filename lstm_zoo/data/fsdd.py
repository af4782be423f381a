"""Free Spoken Digit Dataset: ten digits by six speakers, 50 recordings each, 8 kHz.

Zohar Jackson and contributors, https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath

import numpy as np

from lstm_zoo.data import AudioDataset, AudioSplit
from lstm_zoo.data.audio_files import decode, fit, to_int16
from lstm_zoo.data.sources import find, open_files
from lstm_zoo.errors import DataError, InvalidInputError
from lstm_zoo.frontends.pcm import resample

SAMPLE_RATE = 8_000
CLIP_SAMPLES = 8_000
LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TESTING_INDICES = range(5)
VALIDATION_INDICES = range(5, 10)
_FILE_NAME = re.compile(r"([0-9])_([a-z]+)_([0-9]{1,4})\.wav")


def load(directory: str | PathLike[str] | None = None, split: str = "official") -> AudioDataset:
    """The official split: recordings 0-4 of each digit and speaker are for testing, the others for training.

    The official split has no validation part; recordings 5-9 are cut from the training part for it. The same
    speakers are in all parts: :func:`leave_one_speaker_out` measures how a model does with a new voice.

    Args:
        directory: see :func:`lstm_zoo.data.sources.find`; ``None`` looks on this machine, then downloads (16 MB).
        split: "official".

    Returns:
        int16 clips ``[clips, 8000]`` at 8 kHz: shorter recordings stand in the middle between zeros, of longer ones
        the middle second is kept. Labels from :data:`LABELS`.

    Raises:
        DataError: the dataset is not there, lacks a digit or a part of the split, is truncated or cannot be read.
        InvalidInputError: an unknown ``split``.
    """
    if split != "official":
        raise InvalidInputError(f"split: got {split!r}; expected 'official' (or call leave_one_speaker_out)")
    recordings = _read(directory)
    testing, validation = np.isin(recordings.index, TESTING_INDICES), np.isin(recordings.index, VALIDATION_INDICES)
    return _dataset("fsdd", recordings, ~testing & ~validation, validation, testing)


def leave_one_speaker_out(directory: str | PathLike[str] | None = None) -> Iterator[tuple[str, AudioDataset]]:
    """Six folds ``(speaker, dataset)``, in the order of :data:`SPEAKERS`.

    All recordings of the speaker are for testing; of the other speakers, recordings 5-9 of each digit are for
    validation and all others for training. Arguments and errors as in :func:`load`; a missing speaker is a DataError.
    """
    recordings = _read(directory)
    if missing := [speaker for speaker in SPEAKERS if speaker not in recordings.speaker]:
        raise DataError(f"fsdd has no recordings of: {', '.join(missing)}; expected six speakers: fetch it again")
    validation = np.isin(recordings.index, VALIDATION_INDICES)
    for speaker in SPEAKERS:
        testing = recordings.speaker == speaker
        fold = _dataset(f"fsdd without {speaker}", recordings, ~testing & ~validation, ~testing & validation, testing)
        yield speaker, fold


def load_extra(folder: str | PathLike[str]) -> AudioSplit:
    """Further training clips, e.g. synthetic: ``<digit word>/<anything>.wav`` of any rate, resampled; other words are
    left out.

    Raises:
        DataError: there is no such clip, or one cannot be read.
    """
    if not Path(folder).exists():
        raise DataError(f"folder: {folder} does not exist; expected a folder with zero/*.wav to nine/*.wav")
    files = open_files(Path(folder))
    words = {name: PurePosixPath(name).parent.name for name in files.names if name.endswith(".wav")}
    labels = {name: LABELS.index(word) for name, word in words.items() if word in LABELS}
    if not labels:
        raise DataError(f"folder: {folder} has no clips of digits; expected zero/*.wav to nine/*.wav")
    audio = {}
    for name, content in files.read(labels):
        samples, rate = decode(content, f"{files.path}: {name}")
        audio[name] = fit(to_int16(resample(samples, rate, SAMPLE_RATE)), CLIP_SAMPLES, centre=True)
    clips = np.stack([audio[name] for name in labels])
    return AudioSplit(clips, np.array(list(labels.values()), np.int32), tuple(labels))


@dataclass(frozen=True, eq=False)
class _Recordings:
    audio: np.ndarray  # int16 [clips, CLIP_SAMPLES]
    digit: np.ndarray  # int32 [clips]
    speaker: np.ndarray  # str [clips]
    index: np.ndarray  # int [clips]
    names: np.ndarray  # str [clips]


def _read(directory: str | PathLike[str] | None) -> _Recordings:
    files = open_files(find("fsdd", directory))
    matches = {name: match for name in files.names if (match := _FILE_NAME.fullmatch(PurePosixPath(name).name))}
    digits = {int(match[1]) for match in matches.values()}
    if missing := [str(digit) for digit in range(10) if digit not in digits]:
        raise DataError(
            f"{files.path} has no recordings of: {', '.join(missing)}; "
            "expected <digit>_<speaker>_<index>.wav for all ten digits: fetch the dataset again"
        )
    audio = {}
    for name, content in files.read(matches):
        samples, rate = decode(content, f"{files.path}: {name}")
        if rate != SAMPLE_RATE:
            raise DataError(f"{files.path}: {name} has {rate:,} Hz; expected {SAMPLE_RATE:,} Hz as in FSDD")
        audio[name] = fit(to_int16(samples), CLIP_SAMPLES, centre=True)
    return _Recordings(
        audio=np.stack([audio[name] for name in matches]),
        digit=np.array([int(match[1]) for match in matches.values()], np.int32),
        speaker=np.array([match[2] for match in matches.values()]),
        index=np.array([int(match[3]) for match in matches.values()]),
        names=np.array([PurePosixPath(name).name for name in matches]),
    )


def _dataset(name: str, recordings: _Recordings, *chosen: np.ndarray) -> AudioDataset:
    """The dataset whose training, validation and testing clips are chosen by three masks."""
    if not all(mask.any() for mask in chosen):
        raise DataError(f"{name}: a part of the split is empty; expected recordings 0-49 of each digit and speaker")
    training, validation, testing = (
        AudioSplit(recordings.audio[mask], recordings.digit[mask], tuple(recordings.names[mask].tolist()))
        for mask in chosen
    )
    return AudioDataset(name, LABELS, SAMPLE_RATE, training, validation, testing)
