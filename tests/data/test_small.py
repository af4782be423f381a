"""The generated data: learnable, repeatable, labelled as generated, all or nothing."""

import re

import numpy as np
import pytest

from lstm_zoo.data import fsdd, small, sources, speech_commands
from lstm_zoo.errors import DataError, InvalidInputError


def spectra(audio):
    """Mean magnitude spectra in 64 bands: what a linear model needs to tell chords apart."""
    bands = np.abs(np.fft.rfft(audio.astype(np.float64)))[:, 1:].reshape(len(audio), 125, -1).mean(axis=2)
    return bands / bands.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("module", [speech_commands, fsdd])
def test_words_can_be_told_apart_across_splits(generated, module):
    """The nearest training clip names nearly every test clip, far above chance: a model has something to learn."""
    data = module.load(generated)
    held_out = np.concatenate([data.validation.audio, data.testing.audio])
    labels = np.concatenate([data.validation.labels, data.testing.labels])
    distances = np.linalg.norm(spectra(held_out)[:, None] - spectra(data.training.audio)[None], axis=2)
    right = data.training.labels[distances.argmin(axis=1)] == labels
    assert right[labels < 10].mean() > 0.8  # ten words; unknown and silence have no sound of their own


def test_same_seed_same_samples(tmp_path, generated):
    again = small.write_speech_commands(tmp_path / "again", clips_per_word=5)
    other = small.write_speech_commands(tmp_path / "other", clips_per_word=5, seed=1)
    one, two, three = (sources.open_files(path) for path in (generated / "speech" / "speech_commands", again, other))
    assert dict(one.read(one.names)) == dict(two.read(two.names))
    assert set(one.names) != set(three.names)


def test_it_says_that_it_is_generated(generated, archives):
    for dataset in sources.SOURCES:
        for files in map(sources.open_files, (sources.find(dataset, generated), sources.find(dataset, archives))):
            assert re.search("were generated.*no (speech|reviews)", sources.read_text(files, "GENERATED.txt"))


def test_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is not an empty folder"):
        small.write_fsdd(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(small, "_write_archive", full)
    with pytest.raises(DataError, match="No space left"):
        small.write_fsdd(tmp_path / "digits", archive=True)
    assert not list(tmp_path.iterdir())


def test_too_few_clips(tmp_path):
    with pytest.raises(InvalidInputError, match="clips_per_word"):
        small.write_speech_commands(tmp_path / "a", clips_per_word=2)
    with pytest.raises(InvalidInputError, match="clips_per_speaker"):
        small.write_fsdd(tmp_path / "b", clips_per_speaker=10)
