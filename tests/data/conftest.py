"""Generated datasets in the official layouts, made once; and the real ones where $LSTM_ZOO_DATA has them."""

import os
import shutil

import pytest

from lstm_zoo.data import small, small_texts, sources

REAL_DATA = os.environ.get(sources.ENVIRONMENT_VARIABLE)


@pytest.fixture(scope="session")
def generated(tmp_path_factory):
    """A folder with a generated copy of each dataset, unpacked, as the real ones stand. Do not change it."""
    root = tmp_path_factory.mktemp("generated")
    small.write_speech_commands(root / "speech" / "speech_commands", clips_per_word=5)
    small.write_fsdd(root / "speech" / "fsdd")
    small_texts.write_imdb(root / "sentiment" / "imdb")
    small_texts.write_sst(root / "sentiment" / "sst")
    small_texts.write_movie_reviews(root / "sentiment" / "mr")
    return root


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    """The same as archives."""
    root = tmp_path_factory.mktemp("archives")
    small.write_speech_commands(root / "speech_commands", clips_per_word=5, archive=True)
    small.write_fsdd(root / "fsdd", archive=True)
    small_texts.write_imdb(root / "imdb", archive=True)
    small_texts.write_sst(root / "sst", archive=True)
    small_texts.write_movie_reviews(root / "movie_reviews", archive=True)
    return root


@pytest.fixture
def copied(generated, tmp_path):
    """A copy of the generated datasets that a test may damage."""
    return shutil.copytree(generated, tmp_path / "copied")


@pytest.fixture(autouse=True)
def nothing_on_this_machine(monkeypatch, tmp_path):
    """No test finds a dataset, or leaves one, outside its own folders."""
    monkeypatch.delenv(sources.ENVIRONMENT_VARIABLE, raising=False)
    cache = tmp_path / "cache"
    monkeypatch.setattr(sources, "cache_folder", lambda dataset: cache / dataset)
    return cache


@pytest.fixture
def real_data():
    """The folder of real datasets that CI names."""
    if not REAL_DATA:
        pytest.skip(f"{sources.ENVIRONMENT_VARIABLE} is not set")
    return REAL_DATA
