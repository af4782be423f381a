"""Speech Commands: the official splits, the 12-class protocol, and copies that are not complete."""

import io
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from lstm_zoo.data import SPLITS, speech_commands
from lstm_zoo.data.speech_commands import KEYWORDS, LABELS, OTHER_WORDS, load, load_extra, official_split
from lstm_zoo.errors import DataError, InvalidInputError

WORDS_FOLDER = "speech/speech_commands"
# From the lists of the official archive, and speakers who are in neither.
OFFICIAL_SPLITS = {
    "validation": ["bed/026290a7_nohash_0.wav", "bed/060cd039_nohash_0.wav", "bed/099d52ad_nohash_0.wav"],
    "testing": ["bed/0c40e715_nohash_0.wav", "bed/0ea0e2f4_nohash_0.wav", "bird/42beb5eb_nohash_0.wav"],
    "training": ["bed/00176480_nohash_0.wav", "yes/004ae714_nohash_0.wav", "bed/00f0204f_nohash_0.wav"],
}


@pytest.fixture(scope="module")
def dataset(generated):
    return load(generated)


def test_vocabulary():
    assert " ".join(LABELS) == "yes no up down left right on off stop go unknown silence"
    assert len(OTHER_WORDS) == 25
    assert not set(OTHER_WORDS) & set(KEYWORDS)


@pytest.mark.parametrize("split", SPLITS)
def test_official_hash(split):
    assert [official_split(name) for name in OFFICIAL_SPLITS[split]] == [split] * 3


def test_hash_is_of_the_speaker_and_splits_in_tenths():
    assert official_split("yes/0c40e715_nohash_3.wav") == official_split("0c40e715_nohash_0.wav") == "testing"
    splits = [official_split(f"{speaker:08x}_nohash_0.wav") for speaker in range(20_000)]
    shares = [splits.count(split) / len(splits) for split in SPLITS]
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.01)


def test_shapes_and_labels(dataset):
    """Five speakers a word: three, one and one; unknown is a tenth of all keyword clips, silence of each split's."""
    counts = dataset.counts()
    assert [counts[split]["yes"] for split in SPLITS] == [3, 1, 1]
    assert [counts[split]["silence"] for split in SPLITS] == [3, 1, 1]
    assert sum(counts[split]["unknown"] for split in SPLITS) == 5
    for part in dataset.splits.values():
        assert (part.audio.dtype, part.labels.dtype, part.noise.dtype) == (np.int16, np.int32, np.int16)
        assert part.audio.shape == (len(part), 16_000)
        assert part.labels.shape == (len(part),)
    assert (dataset.label_names, dataset.sample_rate) == (LABELS, 16_000)


def test_labels_are_those_of_the_folders_and_samples_those_of_the_files(dataset, generated):
    for part in dataset.splits.values():
        for samples, label, name in zip(part.audio, part.labels, part.names, strict=True):
            word = name.split("/")[0]
            assert LABELS[label] == (word if word in (*KEYWORDS, "silence") else "unknown")
            if word != "silence":
                expected, _ = soundfile.read(generated / WORDS_FOLDER / name, dtype="int16")
                np.testing.assert_array_equal(samples, expected)


def test_no_clip_speaker_silence_or_noise_is_in_two_splits(dataset):
    parts = list(dataset.splits.values())
    names = [name for part in parts for name in part.names]
    assert len(set(names)) == len(names)
    speakers = [{name.split("/")[1].split("_")[0] for name in part.names if "_nohash_" in name} for part in parts]
    assert len(set.union(*speakers)) == sum(map(len, speakers)) == 5
    windows = [{part.noise[at : at + 16].tobytes() for at in range(len(part.noise) - 16)} for part in parts]
    assert len(set.union(*windows)) == sum(map(len, windows))


def test_noise_is_cut_in_time(dataset, generated):
    files = sorted((generated / WORDS_FOLDER / "_background_noise_").glob("*.wav"))
    recordings = [soundfile.read(file, dtype="int16")[0] for file in files]
    for split, start, end in (
        ("training", 0, 256_000),
        ("validation", 256_000, 288_000),
        ("testing", 288_000, 320_000),
    ):
        expected = np.concatenate([samples[start:end] for samples in recordings])
        np.testing.assert_array_equal(dataset.splits[split].noise, expected)


@pytest.mark.parametrize("split", SPLITS)
def test_silence_is_a_cut_of_the_splits_own_noise_at_some_loudness(dataset, split):
    part = dataset.splits[split]
    noise = part.noise.astype(np.float64)
    for cut in part.audio[part.labels == LABELS.index("silence")].astype(np.float64):
        product = np.fft.irfft(np.fft.rfft(noise) * np.conj(np.fft.rfft(cut, len(noise))), len(noise))
        start = int(product.argmax())
        found = noise[start : start + 16_000]
        factor = found @ cut / (found @ found)
        assert 0.0 < factor < 1.0
        np.testing.assert_allclose(cut, factor * found, atol=1.0)  # rounded to whole numbers


def test_same_data_every_time_from_folder_archive_with_and_without_lists(dataset, archives, copied):
    for name in speech_commands.LISTS.values():
        (copied / WORDS_FOLDER / name).unlink()
    for other in (load(archives), load(copied)):  # the generated lists say what the official hash says
        for split in SPLITS:
            one, two = dataset.splits[split], other.splits[split]
            assert one.names == two.names
            for what in ("audio", "labels", "noise"):
                np.testing.assert_array_equal(getattr(one, what), getattr(two, what))


def test_lists_come_before_the_hash(dataset, copied):
    moved = next(name for name in dataset.training.names if name.startswith("yes/"))
    listing = copied / WORDS_FOLDER / "testing_list.txt"
    listing.write_text(listing.read_text() + f"{moved}\n")
    changed = load(copied)
    assert official_split(moved) == "training"
    assert moved in changed.testing.names
    assert moved not in changed.training.names


@pytest.mark.parametrize(("unknown", "silence"), [(0.0, 0.0), (0.5, 0.2), (100.0, 1.0)])
def test_shares(generated, unknown, silence):
    counts = load(generated, unknown_share=unknown, silence_share=silence).counts()
    assert sum(counts[split]["unknown"] for split in SPLITS) == min(25 * 5, round(50 * unknown))
    assert [counts[split]["silence"] for split in SPLITS] == [round(30 * silence), *[round(10 * silence)] * 2]


@pytest.mark.parametrize("samples", [8_000, 20_000])
def test_clips_are_cropped_or_padded_on_both_sides(generated, dataset, samples):
    other = load(generated, clip_samples=samples).training
    spare = abs(16_000 - samples) // 2
    assert other.audio.shape[1] == samples
    words = other.labels != LABELS.index("silence")
    longer, shorter = (other, dataset.training) if samples > 16_000 else (dataset.training, other)
    np.testing.assert_array_equal(longer.audio[words, spare:-spare], shorter.audio[words])
    if samples > 16_000:
        assert not other.audio[words, :spare].any()
        assert not other.audio[words, -spare:].any()


def test_as_float(dataset):
    values = dataset.testing.as_float()
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values * 32768, dataset.testing.audio)


def test_summary_has_every_count(dataset):
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=100).print(dataset.summary())
    rows = [line.replace("│", " ").split() for line in stream.getvalue().splitlines()]
    for label in LABELS:
        assert [label, *(str(dataset.counts()[split][label]) for split in SPLITS)] in rows
    assert ["all", *(str(len(part)) for part in dataset.splits.values())] in rows


@pytest.mark.parametrize("bad", [{"unknown_share": -0.1}, {"silence_share": float("nan")}, {"clip_samples": 0}])
def test_bad_arguments(generated, bad):
    with pytest.raises(InvalidInputError, match=next(iter(bad))):
        load(generated, **bad)


# === Copies that are not complete ===


def remove(folder):
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


@pytest.mark.parametrize("word", ["stop", "zero"])
def test_missing_class(copied, word):
    remove(copied / WORDS_FOLDER / word)
    with pytest.raises(DataError, match=f"has no clips of: {word};"):
        load(copied)


def test_missing_noise(copied):
    remove(copied / WORDS_FOLDER / "_background_noise_")
    with pytest.raises(DataError, match="lacks background noise"):
        load(copied)


def test_one_list_is_missing(copied):
    (copied / WORDS_FOLDER / "validation_list.txt").unlink()
    with pytest.raises(DataError, match=r"has testing_list\.txt but not the other"):
        load(copied)


def test_listed_clip_is_missing(copied, dataset):
    name = next(name for name in dataset.testing.names if name.startswith("go/"))
    (copied / WORDS_FOLDER / name).unlink()
    (copied / WORDS_FOLDER / "go" / "00176480_nohash_0.wav").write_bytes(b"")  # the folder is not empty
    with pytest.raises(DataError, match=f"{name} is in testing_list.txt but not there"):
        load(copied)


def test_clip_in_both_lists(copied):
    folder = copied / WORDS_FOLDER
    (folder / "testing_list.txt").write_text((folder / "validation_list.txt").read_text())
    with pytest.raises(DataError, match="is in both"):
        load(copied)


def test_split_without_clips(copied):
    """A part of the data that the hash puts into one split alone is refused, not trained on nothing."""
    for name in speech_commands.LISTS.values():
        (copied / WORDS_FOLDER / name).unlink()
    for file in (copied / WORDS_FOLDER).glob("*/*_nohash_*.wav"):
        if official_split(file.name) == "training":
            file.unlink()
    with pytest.raises(DataError, match="no keyword clip is for training"):
        load(copied)


BAD_CLIPS = {
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "not audio": (lambda path: path.write_bytes(b"x" * 9000), "not audio"),
    "no samples": (lambda path: soundfile.write(path, np.zeros(0), 16_000), "0 samples"),
    "not finite": (lambda path: soundfile.write(path, np.full(9, np.nan), 16_000, subtype="FLOAT"), "NaN"),
    "other rate": (lambda path: soundfile.write(path, np.zeros(9), 8_000), "8,000 Hz; expected 16,000"),
}


@pytest.mark.parametrize("kind", BAD_CLIPS)
def test_bad_clip_is_named(copied, dataset, kind):
    damage, message = BAD_CLIPS[kind]
    name = dataset.training.names[0]
    damage(copied / WORDS_FOLDER / name)
    with pytest.raises(DataError, match=message) as caught:
        load(copied)
    assert name in str(caught.value)


def test_stereo_and_short_clips_are_taken(copied, dataset):
    name = dataset.training.names[0]
    soundfile.write(copied / WORDS_FOLDER / name, np.tile([[0.5, 0.25]], (4_000, 1)), 16_000)
    clip = load(copied).training.audio[0]
    np.testing.assert_array_equal(clip, np.repeat([0, 12_288, 0], [6_000, 4_000, 6_000]))


# === Extra training clips ===


def test_extra_clips(copied, dataset):
    remove(copied / WORDS_FOLDER / "_background_noise_")
    remove(copied / WORDS_FOLDER / "stop")
    extra = load_extra(copied / WORDS_FOLDER)
    assert len(extra) == 34 * 5
    assert np.bincount(extra.labels, minlength=12).tolist() == [5] * 8 + [0, 5, 125, 0]
    assert not len(extra.noise)
    np.testing.assert_array_equal(extra.audio[extra.names.index(dataset.training.names[0])], dataset.training.audio[0])


def test_extra_clips_from_nowhere(tmp_path):
    with pytest.raises(DataError, match="has no word clips"):
        load_extra(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        load_extra(tmp_path / "absent")


def test_tensorflow_is_not_imported(generated):
    code = f"import sys; from lstm_zoo.data.speech_commands import load; load({str(generated)!r})"
    code += "; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# === The real data ===


@pytest.fixture(scope="module")
def _real():
    return {}


@pytest.fixture
def real(real_data, _real):
    if not _real:
        _real["dataset"] = load(real_data)
    return _real["dataset"]


def test_real_counts(real):
    """2,273, 336 and 691 clips of words, 300 of each keyword, and 300 of other words."""
    counts = real.counts()
    words = [sum(counts[split].values()) - counts[split]["silence"] for split in SPLITS]
    assert words == [2273, 336, 691]
    for label in (*KEYWORDS, "unknown"):
        assert sum(counts[split][label] for split in SPLITS) == 300
    assert [counts[split]["silence"] for split in SPLITS] == [206, 31, 63]


def test_real_speakers(real):
    speakers = [
        {name.split("/")[1].split("_")[0] for name in part.names if "_nohash_" in name} for part in real.splits.values()
    ]
    assert [len(each) for each in speakers] == [145, 22, 37]
    assert len(set.union(*speakers)) == 204


def test_real_clips_are_official_test_clips(real):
    """They come from the official test set, so the official hash puts every one into testing."""
    names = [name for part in real.splits.values() for name in part.names if "_nohash_" in name]
    assert len(names) == 3300
    assert {official_split(name) for name in names} == {"testing"}
