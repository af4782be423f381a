"""The family of errors: what they are, and what they say."""

import pytest

from lstm_zoo import errors

FAMILY = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.LstmZooError)]


def test_every_error_is_of_the_family():
    assert len(FAMILY) >= 7
    for each in FAMILY:
        assert each.__doc__


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.InvalidInputError("x"), ValueError),
        (errors.UnknownNameError("model", "x", ["y"]), LookupError),
        (errors.MissingExtraError("p", "e", "this"), ImportError),
    ],
)
def test_errors_are_caught_as_what_python_calls_them(error, builtin):
    assert isinstance(error, builtin)
    assert isinstance(error, errors.LstmZooError)


def test_unknown_name_says_what_is_near_and_what_exists():
    error = errors.UnknownNameError("model", "Speach", ["speech", "digits"])
    assert str(error) == "unknown model 'Speach': did you mean 'speech'? There are: digits, speech."


def test_unknown_name_far_from_all_gets_no_guess():
    error = errors.UnknownNameError("model", "resnet", ["speech", "digits"])
    assert str(error) == "unknown model 'resnet': There are: digits, speech."


def test_missing_extra_says_what_to_type():
    error = errors.MissingExtraError("librosa", "audio", "synthetic speech")
    assert str(error) == "synthetic speech needs librosa: pip install 'lstm-zoo[audio]'"
