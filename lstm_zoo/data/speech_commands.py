"""Speech Commands v0.02 in its 12-class protocol: ten keywords, unknown words, silence.

Pete Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", arXiv:1804.03209, CC BY 4.0.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from os import PathLike
from pathlib import Path, PurePosixPath

import numpy as np

from lstm_zoo.data import SPLITS, AudioDataset, AudioSplit
from lstm_zoo.data.audio_files import decode, fit, to_int16
from lstm_zoo.data.sources import Files, find, open_files, read_text
from lstm_zoo.errors import DataError, InvalidInputError

SAMPLE_RATE = 16_000
KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHER_WORDS = (
    *("backward", "bed", "bird", "cat", "dog", "eight", "five", "follow", "forward", "four", "happy", "house", "learn"),
    *("marvin", "nine", "one", "seven", "sheila", "six", "three", "tree", "two", "visual", "wow", "zero"),
)
WORDS = KEYWORDS + OTHER_WORDS
LABELS = (*KEYWORDS, "unknown", "silence")
UNKNOWN, SILENCE = LABELS.index("unknown"), LABELS.index("silence")
NOISE_FOLDER = "_background_noise_"
LISTS = {"validation": "validation_list.txt", "testing": "testing_list.txt"}
# Each noise recording is cut in time, so that no split hears the noise of another.
NOISE_PARTS = {"training": (0.0, 0.8), "validation": (0.8, 0.9), "testing": (0.9, 1.0)}
SEED = 59185  # the seed of TensorFlow's example; here it draws the unknown words and the silence


def load(
    directory: str | PathLike[str] | None = None,
    *,
    unknown_share: float = 0.1,
    silence_share: float = 0.1,
    clip_samples: int = 16_000,
) -> AudioDataset:
    """The 12-class dataset, its splits by speaker.

    The splits are those of ``validation_list.txt`` and ``testing_list.txt``; a copy without them is split by
    :func:`official_split`, 10 % each. Shorter clips stand in the middle between zeros, of longer
    ones the middle is kept.

    Args:
        directory: see :func:`lstm_zoo.data.sources.find`; ``None`` looks on this machine, then downloads (2.4 GB).
        unknown_share: at most this many clips of other words for each keyword clip of the dataset, drawn with a fixed
            seed; each stays in its speaker's split.
        silence_share: so many silence clips for each keyword clip of a split: cuts of that split's background noise
            at a random loudness, drawn with a fixed seed.
        clip_samples: length of a clip; 16,000 are one second.

    Returns:
        int16 clips ``[clips, clip_samples]`` at 16 kHz with labels from :data:`LABELS`.

    Raises:
        DataError: the dataset is not there, lacks a word or the background noise, is truncated or cannot be read.
        InvalidInputError: a share is negative, or ``clip_samples`` is not a positive whole number.
    """
    _check_arguments(unknown_share, silence_share, clip_samples)
    files = open_files(find("speech_commands", directory))
    clips = _word_clips(files)
    _check_complete(files, clips)
    keywords = [name for name in clips if _word(name) in KEYWORDS]
    others = [name for name in clips if _word(name) in OTHER_WORDS]
    clips = sorted(keywords + _draw(others, round(unknown_share * len(keywords))))
    splits = _split(files, clips)
    noise = _background_noise(files, clip_samples)
    audio = _read_clips(files, clips, clip_samples)
    row = {name: index for index, name in enumerate(clips)}
    first_silence = 0
    parts = {}
    for number, split in enumerate(SPLITS):
        names = [name for name in clips if splits[name] == split]
        count = round(silence_share * sum(_word(name) in KEYWORDS for name in names))
        silence = _cut_silence(noise[split], count, clip_samples, np.random.default_rng([SEED, number]))
        parts[split] = AudioSplit(
            audio=np.concatenate([audio[[row[name] for name in names]], silence]),
            labels=np.array([_label(name) for name in names] + [SILENCE] * count, np.int32),
            names=(*names, *(f"silence/{first_silence + cut}" for cut in range(count))),
            noise=np.concatenate(noise[split]),
        )
        first_silence += count
    return AudioDataset("speech_commands", LABELS, SAMPLE_RATE, **parts)


def load_extra(folder: str | PathLike[str], *, clip_samples: int = 16_000) -> AudioSplit:
    """All word clips of a folder or archive in the same layout, as one split: extra training clips, e.g. synthetic.

    Lists, background noise and a full set of words are not asked for; the noise of the split is empty.

    Raises:
        DataError: there is no word clip, or one cannot be read.
    """
    _check_arguments(0.0, 0.0, clip_samples)
    path = Path(folder)
    if not path.exists():
        raise DataError(f"folder: {path} does not exist; expected a folder with <word>/<speaker>_nohash_<n>.wav")
    files = open_files(path)
    clips = _word_clips(files)
    if not clips:
        raise DataError(f"folder: {path} has no word clips; expected <word>/<speaker>_nohash_<n>.wav, such as yes/..")
    labels = np.array([_label(name) for name in clips], np.int32)
    return AudioSplit(_read_clips(files, clips, clip_samples), labels, tuple(clips))


def official_split(file_name: str, validation_percent: float = 10.0, testing_percent: float = 10.0) -> str:
    """Which split a clip belongs to by the hash of its speaker: "training", "validation" or "testing".

    This is ``which_set`` of TensorFlow's speech_commands example, by which the official lists were made.
    """
    speaker = re.sub(r"_nohash_.*$", "", PurePosixPath(file_name).name)
    largest = 2**27 - 1
    percent = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % (largest + 1) * (100.0 / largest)
    if percent < validation_percent:
        return "validation"
    return "testing" if percent < validation_percent + testing_percent else "training"


def _check_arguments(unknown_share: float, silence_share: float, clip_samples: int) -> None:
    for name, share in (("unknown_share", unknown_share), ("silence_share", silence_share)):
        if not 0.0 <= share < float("inf"):
            raise InvalidInputError(f"{name}: got {share!r}; expected a share of the keyword clips, such as 0.1")
    if not isinstance(clip_samples, int) or clip_samples < 1:
        raise InvalidInputError(f"clip_samples: got {clip_samples!r}; expected a positive whole number, such as 16000")


def _word(name: str) -> str:
    return PurePosixPath(name).parent.name


def _label(name: str) -> int:
    return KEYWORDS.index(_word(name)) if _word(name) in KEYWORDS else UNKNOWN


def _word_clips(files: Files) -> list[str]:
    return [name for name in files.names if name.endswith(".wav") and _word(name) in WORDS]


def _check_complete(files: Files, clips: list[str]) -> None:
    present = {_word(name) for name in clips}
    if missing := [word for word in WORDS if word not in present]:
        raise DataError(
            f"{files.path} has no clips of: {', '.join(missing)}; expected all {len(WORDS)} words of Speech Commands "
            "v0.02, a folder each: fetch the dataset again"
        )


def _draw(names: list[str], count: int) -> list[str]:
    if count >= len(names):
        return names
    chosen = np.random.default_rng(SEED).choice(len(names), count, replace=False)
    return [names[index] for index in sorted(chosen)]


def _split(files: Files, clips: list[str]) -> dict[str, str]:
    """The split of each clip: by the two lists where they are, by the hash where neither is."""
    present = [name for name in LISTS.values() if name in files.names]
    if len(present) == 1:
        raise DataError(f"{files.path} has {present[0]} but not the other of {', '.join(LISTS.values())}; fetch both")
    splits = _listed_split(files, clips) if present else {name: official_split(name) for name in clips}
    for split in SPLITS:
        if not any(splits[name] == split and _word(name) in KEYWORDS for name in clips):
            how = "the two lists" if present else f"the official hash of the speakers (there is no {LISTS['testing']})"
            raise DataError(f"{files.path}: by {how}, no keyword clip is for {split}; this copy is not complete")
    return splits


def _listed_split(files: Files, clips: list[str]) -> dict[str, str]:
    splits = dict.fromkeys(clips, "training")
    known, listed = set(files.names), dict[str, str]()
    for split, file_name in LISTS.items():
        for name in read_text(files, file_name).split():
            if name not in known:
                raise DataError(f"{files.path}: {name} is in {file_name} but not there; fetch the dataset again")
            if listed.setdefault(name, split) != split:
                raise DataError(f"{files.path}: {name} is in both {' and '.join(LISTS.values())}; fetch both again")
    return splits | {name: split for name, split in listed.items() if name in splits}


def _background_noise(files: Files, clip_samples: int) -> dict[str, list[np.ndarray]]:
    """The noise recordings of each split, int16 ``[samples]`` each, all at least one clip long."""
    names = [name for name in files.names if _word(name) == NOISE_FOLDER and name.endswith(".wav")]
    recordings = [_decode(content, name, files) for name, content in sorted(files.read(names))]
    noise = {}
    for split, (start, end) in NOISE_PARTS.items():
        cuts = [samples[int(len(samples) * start) : int(len(samples) * end)] for samples in recordings]
        noise[split] = [cut for cut in cuts if len(cut) >= clip_samples]
        if not noise[split]:
            raise DataError(
                f"{files.path} lacks background noise for {split}; expected {NOISE_FOLDER}/*.wav, "
                f"at least one of them {clip_samples * 10:,} samples long: fetch the dataset again"
            )
    return noise


def _cut_silence(noise: list[np.ndarray], count: int, samples: int, generator: np.random.Generator) -> np.ndarray:
    """``[count, samples]`` int16: random cuts of random recordings, each times a factor between 0 and 1."""
    cuts = np.zeros((count, samples), np.int16)
    for cut in cuts:
        recording = noise[generator.integers(len(noise))]
        start = generator.integers(len(recording) - samples + 1)
        cut[:] = np.round(recording[start : start + samples] * generator.uniform(0.0, 1.0))
    return cuts


def _read_clips(files: Files, names: Iterable[str], samples: int) -> np.ndarray:
    """``[clips, samples]`` int16, in the order of ``names``."""
    rows = {name: row for row, name in enumerate(names)}
    audio = np.zeros((len(rows), samples), np.int16)
    for name, content in files.read(rows):
        audio[rows[name]] = fit(_decode(content, name, files), samples, centre=True)
    return audio


def _decode(content: bytes, name: str, files: Files) -> np.ndarray:
    samples, rate = decode(content, f"{files.path}: {name}")
    if rate != SAMPLE_RATE:
        raise DataError(f"{files.path}: {name} has {rate:,} Hz; expected {SAMPLE_RATE:,} Hz as in Speech Commands")
    return to_int16(samples)
