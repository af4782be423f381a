"""FSDD: the official split, one speaker left out, and copies that are not complete."""

import numpy as np
import pytest
import soundfile

from lstm_zoo.data import fsdd
from lstm_zoo.data.fsdd import LABELS, SPEAKERS, leave_one_speaker_out, load
from lstm_zoo.errors import DataError, InvalidInputError

CLIPS = 12  # of each digit by each speaker in the generated copy


def facts(names):
    """``{(digit, speaker, index), ...}`` of file names, read apart from the loader."""
    parts = [name.removesuffix(".wav").split("_") for name in names]
    return {(int(digit), speaker, int(index)) for digit, speaker, index in parts}


@pytest.fixture(scope="module")
def dataset(generated):
    return load(generated)


def test_official_split(dataset):
    expected = {"training": {10, 11}, "validation": {5, 6, 7, 8, 9}, "testing": {0, 1, 2, 3, 4}}
    for split, part in dataset.splits.items():
        assert {index for _, _, index in facts(part.names)} == expected[split]
        assert len(part) == len(facts(part.names)) == 10 * 6 * len(expected[split])
        assert (part.audio.dtype, part.audio.shape) == (np.int16, (len(part), 8_000))
        assert part.labels.dtype == np.int32
        assert not len(part.noise)
    assert (dataset.label_names, dataset.sample_rate) == (LABELS, 8_000)
    assert (LABELS[0], LABELS[9]) == ("zero", "nine")


def test_labels_and_samples_are_those_of_the_files(dataset, generated):
    part = dataset.testing
    for samples, label, name in zip(part.audio, part.labels, part.names, strict=True):
        expected, _ = soundfile.read(generated / "speech" / "fsdd" / "recordings" / name, dtype="int16")
        start = (8_000 - len(expected)) // 2
        assert label == int(name[0])
        np.testing.assert_array_equal(samples[start : start + len(expected)], expected)
        assert not samples[:start].any()
        assert not samples[start + len(expected) :].any()


def test_long_recording_keeps_its_middle(copied):
    ramp = np.arange(10_001, dtype=np.int16)
    soundfile.write(copied / "speech" / "fsdd" / "recordings" / "0_george_0.wav", ramp, 8_000)
    part = load(copied).testing
    np.testing.assert_array_equal(part.audio[part.names.index("0_george_0.wav")], ramp[1_001:9_001])


def test_archive_gives_the_same(dataset, archives):
    for split, part in load(archives).splits.items():
        assert part.names == dataset.splits[split].names
        np.testing.assert_array_equal(part.audio, dataset.splits[split].audio)


def test_leave_one_speaker_out(generated):
    folds = list(leave_one_speaker_out(generated))
    assert [speaker for speaker, _ in folds] == list(SPEAKERS)
    for speaker, fold in folds:
        training, validation, testing = (facts(part.names) for part in fold.splits.values())
        assert {who for _, who, _ in testing} == {speaker}
        assert len(testing) == 10 * CLIPS
        assert {who for _, who, _ in training} == {who for _, who, _ in validation} == set(SPEAKERS) - {speaker}
        assert {index for _, _, index in validation} == {5, 6, 7, 8, 9}
        assert {index for _, _, index in training} == {0, 1, 2, 3, 4, 10, 11}
        assert len(training | validation | testing) == 10 * 6 * CLIPS == sum(map(len, fold.splits.values()))


def test_unknown_split(generated):
    with pytest.raises(InvalidInputError, match="leave_one_speaker_out"):
        load(generated, split="random")


def test_missing_digit_and_speaker(copied):
    recordings = copied / "speech" / "fsdd" / "recordings"
    for file in recordings.glob("*_theo_*.wav"):
        file.unlink()
    assert len(load(copied).testing) == 10 * 5 * 5
    with pytest.raises(DataError, match="no recordings of: theo"):
        next(leave_one_speaker_out(copied))
    for file in recordings.glob("7_*.wav"):
        file.unlink()
    with pytest.raises(DataError, match="no recordings of: 7"):
        load(copied)


def test_empty_part(copied):
    for index in range(5):
        for file in (copied / "speech" / "fsdd" / "recordings").glob(f"*_{index}.wav"):
            file.unlink()
    with pytest.raises(DataError, match="a part of the split is empty"):
        load(copied)


def test_other_rate(copied):
    soundfile.write(copied / "speech" / "fsdd" / "recordings" / "0_george_0.wav", np.zeros(99), 16_000)
    with pytest.raises(DataError, match=r"0_george_0\.wav has 16,000 Hz; expected 8,000 Hz"):
        load(copied)


# === The real data ===


def test_real_counts(real_data):
    dataset = load(real_data)
    assert [len(part) for part in dataset.splits.values()] == [2400, 300, 300]  # 2,700 are officially for training
    every = [fact for part in dataset.splits.values() for fact in facts(part.names)]
    assert set(every) == {(digit, who, index) for digit in range(10) for who in fsdd.SPEAKERS for index in range(50)}
    assert len(every) == 3000
    assert dataset.counts()["testing"] == dict.fromkeys(LABELS, 30)
    folds = dict(leave_one_speaker_out(real_data))
    assert [[len(part) for part in fold.splits.values()] for fold in folds.values()] == [[2250, 250, 500]] * 6
