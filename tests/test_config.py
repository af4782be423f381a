"""Configurations: refused by name when wrong, changed by name, the same after a trip through JSON."""

import json

import pydantic
import pytest
import tiny

from lstm_zoo import registry
from lstm_zoo.config import SCHEMA_VERSION, Config, ModelConfig, override
from lstm_zoo.errors import InvalidInputError, UnknownNameError
from lstm_zoo.models import family_module
from lstm_zoo.models.speech import SpeechConfig
from lstm_zoo.tasks.audio import AudioExperiment


class Part(Config):
    size: int = pydantic.Field(3, ge=1)
    name: str = "part"


class Whole(Config):
    left: Part = Part()
    right: Part = Part()
    count: int = 1


def test_defaults_and_given_values():
    assert Whole.create({"left": {"size": 5}, "count": 2}) == Whole(left=Part(size=5), count=2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 0}, "^Part: size: Input should be greater than or equal to 1, got 0$"),
        ({"size": "large"}, "size: .*valid integer.*, got 'large'"),
        ({"size": None}, "size: .*, got None"),
        ({"sizes": 1}, "^Part: unknown option 'sizes'; there are: name, size$"),
        ({"size": 0, "name": 3}, "size: .*; name: .*string, got 3"),
    ],
)
def test_wrong_values_are_refused_by_name(values, message):
    with pytest.raises(InvalidInputError, match=message):
        Part.create(values)


def test_long_values_are_cut_in_the_message():
    with pytest.raises(InvalidInputError) as caught:
        Part.create({"size": "x" * 10_000})
    assert len(str(caught.value)) < 300


def test_wrong_values_inside_are_refused_by_path():
    with pytest.raises(InvalidInputError, match=r"left\.size: "):
        Whole.create({"left": {"size": -1}})


def test_configurations_do_not_change():
    part = Part()
    with pytest.raises(pydantic.ValidationError):
        part.size = 4
    assert part.replace(size=4) == Part(size=4)
    assert part == Part()
    with pytest.raises(InvalidInputError, match="size"):
        part.replace(size=0)


@pytest.mark.parametrize("name", registry.ENTRIES)
def test_every_entry_is_the_same_after_a_trip_through_json(name):
    entry = registry.ENTRIES[name]
    kind = family_module(entry.family).CONFIG
    config = kind.create(entry.options | tiny.options(name))
    assert kind.create(json.loads(json.dumps(config.model_dump(mode="json")))) == config
    assert (config.family, config.schema_version) == (entry.family, SCHEMA_VERSION)
    assert isinstance(config, ModelConfig)


# === override ===

EXPERIMENT = AudioExperiment(model=SpeechConfig(labels=("yes", "no")))


def test_settings_are_changed_by_their_short_or_full_name():
    changed = override(EXPERIMENT, {"epochs": 5, "model.units": 64, "mel_bins": 32, "front_end.hop_length": 200})
    assert changed.training.epochs == 5
    assert changed.model.units == 64
    assert (changed.model.front_end.mel_bins, changed.model.front_end.hop_length) == (32, 200)
    assert changed.augmentation == EXPERIMENT.augmentation
    assert EXPERIMENT.training.epochs == 100


def test_nothing_changed_is_the_same():
    assert override(EXPERIMENT, {}) == EXPERIMENT


def test_settings_are_checked_together():
    """Neither change is possible without the other."""
    changed = override(EXPERIMENT, {"sample_rate": 8_000, "upper_frequency": 3_800.0})
    assert changed.model.front_end.sample_rate == 8_000


def test_unknown_setting_says_what_is_near():
    with pytest.raises(UnknownNameError, match="unknown setting 'epoch'"):
        override(EXPERIMENT, {"epoch": 5})


def test_name_of_several_settings_lists_them():
    with pytest.raises(UnknownNameError, match="There are: left.size, right.size"):
        override(Whole(), {"size": 5})
    assert override(Whole(), {"right.size": 5}) == Whole(right=Part(size=5))


@pytest.mark.parametrize("settings", [{"epochs": 0}, {"epochs": "many"}, {"learning_rate": -1.0}])
def test_values_that_make_no_sense_are_refused(settings):
    with pytest.raises(InvalidInputError, match=f"training.{next(iter(settings))}"):
        override(EXPERIMENT, settings)
