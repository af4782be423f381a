import errno
import pathlib
import subprocess
import sys

import keras
import pytest
from small_models import CLIP

from lstm_zoo.errors import ExportError, InvalidInputError
from lstm_zoo.exporters import export, tflite
from lstm_zoo.exporters.signatures import input_specs, whole


@pytest.fixture(scope="module")
def content(model) -> bytes:
    return tflite.convert(model, (whole(model, input_specs(model, CLIP)),))


@pytest.fixture
def exported(model, content, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        _no_conversion(patch, content)
        export(model, tmp_path / "speech.tflite", samples=CLIP)
    return tmp_path / "speech.tflite"


def _no_conversion(monkeypatch, content):
    """Convert to ``content``, in no time."""
    monkeypatch.setattr("lstm_zoo.exporters.tflite.convert", lambda *_, **__: content)


def test_failed_export_keeps_what_was_there(model, exported, monkeypatch):
    before = {path.name: path.read_bytes() for path in exported.parent.iterdir()}
    _no_conversion(monkeypatch, b"0000TFL3 and then rubbish")
    with pytest.raises(ExportError):
        export(model, exported, samples=CLIP)
    assert {path.name: path.read_bytes() for path in exported.parent.iterdir()} == before


def test_full_disk_is_an_export_error(model, exported, monkeypatch):
    before = sorted(exported.parent.iterdir())
    _no_conversion(monkeypatch, exported.read_bytes())

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(ExportError, match=r"speech\.tflite could not be written.*No space left"):
        export(model, exported, samples=CLIP)
    assert sorted(exported.parent.iterdir()) == before


# TensorFlow's own writes fail in ways that no monkeypatch shows; a process that may write small files alone does.
LIMITED = """
import pathlib, resource, sys, tempfile
sys.path.insert(0, sys.argv[1])
from small_models import CLIP, small_model
from lstm_zoo.errors import ExportError
from lstm_zoo.exporters import export
model, target = small_model(), pathlib.Path(sys.argv[2])
tempfile.tempdir = str(target / "temporary")
for limit in (200, 4_000, 12_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for name in ("speech.tflite", "speech"):
        try:
            export(model, target / "to" / name, samples=CLIP)
        except ExportError as error:
            print(limit, name, repr(str(error)))
"""


def test_full_disk_under_tensorflow_is_an_export_error_that_names_the_folder(tmp_path):
    pytest.importorskip("resource", reason="file size limits are a Unix feature")
    (tmp_path / "temporary").mkdir()
    arguments = [sys.executable, "-c", LIMITED, pathlib.Path(__file__).parent, tmp_path]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 6, done.stdout
    for line in lines:
        assert "could not be" in line
        assert str(tmp_path) in line
        assert "Traceback" not in line
    assert not (tmp_path / "to").exists()
    assert list((tmp_path / "temporary").glob("lstm_zoo_*")) == []  # TensorFlow has files of its own there


@pytest.mark.parametrize("name", ["x.tflite", "x"])
def test_input_too_short_for_the_model_is_an_error_of_one_line(model, tmp_path, name):
    with pytest.raises(ExportError, match=r"inputs of shape \(1, 100\): .*; give at least 480 samples$") as caught:
        export(model, tmp_path / name, samples=100)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [".", "", "inner/..", ".."])
def test_folder_one_is_in_is_not_replaced(model, tmp_path, monkeypatch, path):
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    with pytest.raises(InvalidInputError, match="is the current folder or one above it"):
        export(model, path, samples=CLIP)
    assert [found.name for found in tmp_path.rglob("*")] == ["current"]


def test_certificate_that_cannot_be_written_is_found_before_the_work(model, tmp_path):
    (tmp_path / "x.tflite.json").mkdir()
    with pytest.raises(InvalidInputError, match=r"x\.tflite\.json, which is a folder"):
        export(model, tmp_path / "x.tflite", samples=CLIP)
    assert [path.name for path in tmp_path.iterdir()] == ["x.tflite.json"]


@pytest.mark.parametrize("failing", ["speech.tflite", "speech.tflite.json"])
def test_certificate_is_never_beside_another_file(model, exported, monkeypatch, failing):
    """Whichever of the last two steps fails: both old, or the new file with no certificate yet."""
    before = {path.name: path.read_bytes() for path in exported.parent.iterdir()}
    content = exported.read_bytes() + b"\0" * 16
    _no_conversion(monkeypatch, content)
    replace = pathlib.Path.replace

    def refuse(self, target):
        if target == exported.with_name(failing):
            raise OSError(errno.EACCES, "Permission denied")
        return replace(self, target)

    monkeypatch.setattr(pathlib.Path, "replace", refuse)
    with pytest.raises(ExportError, match="Permission denied"):
        export(model, exported, quantize="dynamic_int8", samples=CLIP)
    after = {path.name: path.read_bytes() for path in exported.parent.iterdir()}
    assert after == (before if failing == "speech.tflite" else {"speech.tflite": content})


def test_layers_reason_is_said_and_not_where_keras_noticed_it(tmp_path):
    source = keras.Input((7,))
    model = keras.Model(source, keras.layers.Activation("tanh", name="my layer")(source))
    with pytest.raises(ExportError, match=r"\(1, 7\): 'my layer' is not a valid .*; rename the layer or input$"):
        export(model, tmp_path / "x.tflite")
    assert list(tmp_path.iterdir()) == []
    afterwards = keras.layers.Dense(1, name="answer")
    afterwards.build((None, 7))
    assert afterwards.kernel.path == "answer/kernel"  # no scope of the refused model is left open


def test_path_that_the_system_refuses_is_refused_before_the_work(model, tmp_path):
    with pytest.raises(InvalidInputError, match="path: .*File name too long"):
        export(model, tmp_path / ("a" * 300) / "x.tflite", samples=CLIP)


def test_folders_made_for_a_failed_export_go_and_others_stay(model, content, tmp_path, monkeypatch):
    _no_conversion(monkeypatch, b"0000TFL3 and then rubbish")
    (tmp_path / "here").mkdir()
    with pytest.raises(ExportError):
        export(model, tmp_path / "here" / "new" / "newer" / "x.tflite", samples=CLIP)
    assert list(tmp_path.rglob("*")) == [tmp_path / "here"]
    _no_conversion(monkeypatch, content)
    export(model, tmp_path / "here" / "new" / "x.tflite", samples=CLIP)
    assert (tmp_path / "here" / "new" / "x.tflite").exists()


@pytest.mark.parametrize("name", ["model.pt", "model.keras", "model.h5", "model.H5"])
def test_formats_that_are_not_written_are_refused(model, tmp_path, name):
    with pytest.raises(InvalidInputError, match="is not written here"):
        export(model, tmp_path / name)


def test_unknown_profile_lists_those_there_are(model, tmp_path):
    with pytest.raises(InvalidInputError, match="profile: got 'phone', there are: 'default', 'universal', 'mediapipe'"):
        export(model, tmp_path / "x.tflite", profile="phone")
