import json
import os
import shutil
import signal
import subprocess
import sys
import time

import flatbuffers
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from small_models import CLIP, answers, clips

from lstm_zoo.errors import ExportError
from lstm_zoo.exporters import certificate, export, measuring, processes, verify
from lstm_zoo.exporters.files import certificate_path
from lstm_zoo.exporters.probes import probe_signals
from lstm_zoo.exporters.replay import Replayed, Session, answers_of, replay

ONE_CALL = [Session("serving_default", {"": np.zeros((1, 1, CLIP), "float32")})]


@pytest.fixture(scope="module")
def original(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "speech.tflite"
    export(model, path, samples=CLIP)
    return path


@pytest.fixture
def exported(original, tmp_path):
    """A copy that a test may spoil."""
    for path in original.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / original.name


def test_replay_gives_the_answers_and_the_operators(model, original):
    replayed = replay(original, [Session("serving_default", {"audio": clips(3)[:, None]})])
    (outputs,) = replayed.outputs
    np.testing.assert_allclose(outputs["probabilities"][:, 0], answers(model, clips(3)), atol=1e-5)
    assert replayed.operators["WHILE"] == 1
    assert replayed.two_invokes_equal
    assert 0 < replayed.latency_ms < 1000
    np.testing.assert_array_equal(answers_of(original, clips(3)), outputs["probabilities"][:, 0])


def test_state_that_leaks_is_seen(tmp_path):
    """A model that counts its calls, replayed as one of ours would be."""
    module = tf.Module()
    module.calls = tf.Variable(0.0)
    spec = tf.TensorSpec((None, 4), tf.float32, name="x")
    count = tf.function(lambda x: {"y": x + module.calls.assign_add(1.0)}, input_signature=[spec], autograph=False)
    tf.saved_model.save(module, str(tmp_path / "counter"), signatures={"serving_default": count})
    replayed = replay(tmp_path / "counter", [Session("serving_default", {"x": np.zeros((2, 1, 4), "float32")})])
    assert not replayed.two_invokes_equal


def test_stream_hands_on_what_has_an_inputs_name(tmp_path):
    """A running sum over blocks of two, which starts at zero and keeps its state outside."""
    specs = [tf.TensorSpec((1, 2), tf.float32, name="x"), tf.TensorSpec((1, 1), tf.float32, name="sum")]

    def step(x, total):
        total += tf.reduce_sum(x, axis=1, keepdims=True)
        return {"answer": -total, "sum": total}

    signatures = {"step": tf.function(step, input_signature=specs, autograph=False)}
    tf.saved_model.save(tf.Module(), str(tmp_path / "sum"), signatures=signatures)
    sound = np.arange(14, dtype="float32").reshape(2, 1, 7)  # the last position of each is in no whole block
    (outputs,) = replay(tmp_path / "sum", [Session("step", {"x": sound}, streams=True)]).outputs
    assert set(outputs) == {"answer"}
    np.testing.assert_array_equal(outputs["answer"].ravel(), [-15.0, -(7 + 8 + 9 + 10 + 11 + 12)])


# === What is no exported file, or a damaged one ===


def test_custom_operators_are_refused(exported):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(exported.read_bytes()), 0))
    model.operatorCodes.append(schema.OperatorCodeT())
    model.operatorCodes[-1].builtinCode = schema.BuiltinOperator.CUSTOM
    model.operatorCodes[-1].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    model.operatorCodes[-1].customCode = "FlexTensorListReserve"
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    exported.write_bytes(bytes(builder.Output()))
    with pytest.raises(ExportError, match=r"operators that runtimes lack: FlexTensorListReserve"):
        replay(exported, ONE_CALL)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"x\.tflite is not a TFLite file"),
        (b"not a model, not at all", r"x\.tflite is not a TFLite file"),
        (b"0000TFL3", "replaying x.tflite failed"),
        (b"0000TFL3 and then rubbish" * 9, "replaying x.tflite failed"),
    ],
)
def test_file_that_is_not_tflite_is_an_error(tmp_path, content, message):
    (tmp_path / "x.tflite").write_bytes(content)
    with pytest.raises(ExportError, match=message) as caught:
        replay(tmp_path / "x.tflite", ONE_CALL)
    assert "Traceback" not in str(caught.value)


def test_wrong_identifier_is_an_error_though_all_else_is_right(exported):
    content = bytearray(exported.read_bytes())
    content[4:8] = b"TFL2"
    exported.write_bytes(content)
    with pytest.raises(ExportError, match="is not a TFLite file"):
        replay(exported, ONE_CALL)


def test_folder_where_a_file_should_be_is_an_error(exported, tmp_path):
    exported.unlink()
    with pytest.raises(ExportError, match="does not exist, though its certificate does"):
        verify(exported)
    exported.mkdir()
    with pytest.raises(ExportError, match="is not the certified file"):
        verify(exported)
    _certify_anew(exported)
    with pytest.raises(ExportError, match="is not there as a file"):
        verify(exported)


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """A copy with bits flipped, its end cut off, or bytes put in."""
    kind, at = random.integers(3), int(random.integers(len(content)))
    if kind == 0:
        changed = bytearray(content)
        for place in (at, *random.integers(len(content), size=random.integers(3))):
            changed[place] ^= 1 << random.integers(8)
        return bytes(changed)
    return content[:at] if kind == 1 else content[:at] + random.bytes(int(random.integers(1, 9))) + content[at:]


def test_no_changed_file_is_even_opened(exported, monkeypatch):
    monkeypatch.setattr(measuring, "replay", lambda *_: pytest.fail("a changed file was opened"))
    content, random = exported.read_bytes(), np.random.default_rng(0)
    for _ in range(1_000):
        changed = mutated(content, random)
        assert changed != content
        exported.write_bytes(changed)
        with pytest.raises(ExportError, match="is not the certified file"):
            verify(exported)


def _certify_anew(path):
    """As somebody does who changed the file on purpose."""
    note = certificate_path(path)
    note.write_text(json.dumps(json.loads(note.read_text()) | {"sha256": certificate.sha256(path)}))


def test_changed_files_with_a_matching_hash_end_in_an_export_error_or_answer_right(exported):
    content, random, refused = exported.read_bytes(), np.random.default_rng(1), []
    for _ in range(40):
        exported.write_bytes(mutated(content, random))
        _certify_anew(exported)
        try:
            assert verify(exported).largest_difference <= 1e-5
        except ExportError as error:
            refused.append(str(error))
    assert len(refused) >= 15
    assert not [message for message in refused if "Traceback" in message]


def test_lengths_that_a_file_makes_up_do_not_keep_anybody_busy(exported):
    """The number of operator codes, subgraphs, operators and buffers, each set to almost 2**32."""
    content = exported.read_bytes()
    table = schema.Model.GetRootAs(bytearray(content), 0)
    places = [table._tab.Vector(table._tab.Offset(offset)) - 4 for offset in (6, 8, 12)]
    graph = table.Subgraphs(0)
    places.append(graph._tab.Vector(graph._tab.Offset(10)) - 4)
    for place in places:
        exported.write_bytes(content[:place] + b"\xf0\xff\xff\xff" + content[place + 4 :])
        _certify_anew(exported)
        start = time.monotonic()
        with pytest.raises(ExportError):
            verify(exported)
        assert time.monotonic() - start < 60


def test_changed_certificates_are_refused_or_harmless(exported, monkeypatch):
    (recorded,) = replay(exported, [Session("serving_default", {"": probe_signals((1, CLIP))[:, None]})]).outputs
    monkeypatch.setattr(
        measuring, "replay", lambda _, sessions, *__: Replayed([recorded] * len(sessions), {}, True, 1.0)
    )
    note, random = certificate_path(exported), np.random.default_rng(2)
    content = note.read_bytes()
    verify(exported)
    refused = []
    for _ in range(300):
        note.write_bytes(mutated(content, random))
        try:
            verify(exported)
        except ExportError as error:
            refused.append(str(error))
    assert len(refused) > 200
    assert not [message for message in refused if exported.name not in message]


def test_certificate_that_asks_for_more_than_fits_into_memory_is_refused(exported):
    note = certificate_path(exported)
    values = json.loads(note.read_text())
    values["probe"]["inputs"][0]["shape"] = [1, 10**12]
    note.write_text(json.dumps(values))
    with pytest.raises(ExportError, match=r"probes of shape \[1, 1000000000000\] are too large"):
        verify(exported)


# === The process ===


def test_process_that_does_not_end_is_ended():
    start = time.monotonic()
    with pytest.raises(ExportError, match="replaying failed: the process did not end within 1 seconds"):
        processes.run_python(["-c", "import time; time.sleep(600)"], "replaying", seconds=1)
    assert time.monotonic() - start < 60


INTERRUPTED = """
import sys
from lstm_zoo.exporters.failures import scratch_folder
from lstm_zoo.exporters.processes import run_python
with scratch_folder() as folder:
    code = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"
    run_python(["-c", code, sys.argv[1]], "waiting")
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups that take SIGINT")
@pytest.mark.parametrize("whole_group", [True, False])
def test_interrupt_ends_the_process_and_leaves_no_folder(tmp_path, whole_group):
    """Ctrl-C goes to the group of the terminal; a notebook's interrupt to the one process."""
    note, scratch = tmp_path / "pid", tmp_path / "scratch"
    scratch.mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, note],
        env=os.environ | {"TMPDIR": str(scratch)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        child = int(_wait_for(lambda: note.exists() and note.read_text()))
        assert len(list(scratch.iterdir())) == 1
        (os.killpg if whole_group else os.kill)(parent.pid, signal.SIGINT)
        _, errors = parent.communicate(timeout=60)
    finally:
        parent.kill()
    assert parent.returncode != 0
    assert b"KeyboardInterrupt" in errors
    assert list(scratch.iterdir()) == []
    _wait_for(lambda: not _runs(child))


def _wait_for(condition):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen within a minute")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
