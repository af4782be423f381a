"""Synthetic words: the plan and the commands with stand-ins, the sound with the programs themselves."""

import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lstm_zoo.data import speech_commands, synthetic_speech
from lstm_zoo.data.synthetic_speech import Utterance, generate, plan
from lstm_zoo.errors import DataError

HERE = os.environ["PATH"]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are scripts")

# A program that writes down how it was called and speaks 0.3 s of a tone into the file it was told.
STAND_IN = """#!{python}
import json, re, sys
with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv) + "\\n")
if "--voices=variant" in sys.argv:
    print("Pty Language       Age/Gender VoiceName          File                 Other Languages")
    for name in ("adam", "Alex", "whisper", "Demonic", "female 1"):
        print(f" 5  variant         --/M      {{name.split()[0]:<18}} !v/{{name.split()[0]:<17}}")
    print(" 2  en              --/M      English            gmw/en")
    sys.exit()
if "silent" in sys.argv:
    sys.exit(1)
target = re.search(r'[^ "]+spoken.wav', " ".join(sys.argv))[0]
with open({tone!r}, "rb") as tone, open(target, "wb") as file:
    file.write(tone.read())
"""


def install(folder: Path, *programs: str) -> None:
    folder.mkdir(exist_ok=True)
    tone = folder / "tone.wav"
    time = np.arange(8_000) / 8_000
    soundfile.write(tone, np.where((time > 0.4) & (time < 0.7), np.sin(2 * np.pi * 440 * time), 0.0) * 0.1, 8_000)
    for program in programs:
        text = STAND_IN.format(python=sys.executable, log=str(folder / "log"), tone=str(tone))
        (folder / program).write_text(text)
        (folder / program).chmod(0o755)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A machine whose only programs are stand-ins."""
    folder = tmp_path / "bin"
    install(folder, "espeak-ng", "flite", "festival")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_plan_draws_voices_for_every_word(programs):
    utterances = plan(["yes", "no"], 100)
    assert Counter(each.word for each in utterances) == {"yes": 100, "no": 100}
    assert [each.number for each in utterances[:100]] == list(range(100))
    engines = Counter(each.engine for each in utterances)
    assert engines["espeak"] > engines["flite"] > engines["festival"] > 5
    voices = {each.voice for each in utterances if each.engine == "espeak"}
    assert {voice.split("+")[0] for voice in voices} == set(synthetic_speech.ACCENTS)
    assert {voice.split("+")[1] for voice in voices} == {"adam", "Alex", "female"}  # none that whispers
    assert 0.65 <= min(each.speed for each in utterances) < 0.7
    assert 1.2 < max(each.speed for each in utterances) <= 1.25
    assert len({each.file_name for each in utterances}) == 200


def test_plan_is_repeated_by_its_seed(programs):
    assert plan(["yes"], 20, seed=4) == plan(["yes"], 20, seed=4)
    assert plan(["yes"], 20, seed=4) != plan(["yes"], 20, seed=5)


def test_programs_that_are_missing_are_left_out(programs):
    (programs / "flite").unlink()
    (programs / "festival").unlink()
    assert {each.engine for each in plan(["yes"], 50)} == {"espeak"}
    (programs / "espeak-ng").unlink()
    with pytest.raises(DataError, match=r"needs the program espeak-ng .*apt install espeak-ng"):
        plan(["yes"], 1)


def test_commands():
    wav = Path("out.wav")
    assert Utterance("yes", 0, "espeak", "en-gb+adam", 0.5, 40).command(wav) == (
        ["espeak-ng", "-v", "en-gb+adam", "-s", "80", "-p", "40", "-w", "out.wav", "yes"]
    )
    assert Utterance("yes", 0, "flite", "slt", 0.5, 40).command(wav) == [
        *("flite", "-voice", "slt", "--setf", "duration_stretch=2.00", "--setf", "int_f0_target_mean=140"),
        *("-t", "yes", "-o", "out.wav"),
    ]
    program, option, scheme = Utterance("yes", 0, "festival", "kal_diphone", 0.5, 40).command(wav)
    assert (program, option) == ("festival", "--batch")
    assert scheme.count("(") == scheme.count(")")
    for part in ("(voice_kal_diphone)", "'Duration_Stretch 2.00", '(Utterance Text "yes")', '"out.wav"'):
        assert part in scheme


def test_file_names_are_read_as_speakers_by_the_loader():
    """The voice is the speaker: what comes before ``_nohash_``, in which no underscore is left."""
    name = Utterance("yes", 7, "festival", "cmu_us_slt_arctic_hts", 1.0, 40).file_name
    assert name == "yes/festival-cmu-us-slt-arctic-hts_nohash_7.wav"
    assert Utterance("yes", 7, "espeak", "en-us+Mr serious", 1.0, 40).file_name == (
        "yes/espeak-en-us-Mr-serious_nohash_7.wav"
    )


def test_clips_are_trimmed_centred_and_of_one_length(programs, tmp_path):
    pytest.importorskip("librosa")
    folder = tmp_path / "clips"
    assert generate(folder, ["yes", "no"], 4, workers=2) == 8
    extra = speech_commands.load_extra(folder)
    assert extra.audio.shape == (8, 16_000)
    assert sorted(extra.labels) == [0] * 4 + [1] * 4
    loud = np.abs(extra.as_float()) > 0.1
    for clip in loud:
        first, last = np.flatnonzero(clip)[[0, -1]]
        assert 0.25 < (last - first) / 16_000 < 0.4  # the tone, resampled from 8 kHz, without the silence around it
        assert abs((first + last) / 2 - 8_000) < 1_000
    np.testing.assert_allclose(np.abs(extra.as_float()).max(axis=1), 0.5, atol=0.01)
    info = soundfile.info(next(folder.glob("yes/*.wav")))
    assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")


def test_voices_that_say_nothing_are_left_out(programs, tmp_path):
    pytest.importorskip("librosa")
    folder = tmp_path / "clips"
    (programs / "festival").unlink()  # its word is inside an expression, which the stand-in does not read
    assert generate(folder, ["yes", "silent"], 2) == 2
    assert sorted(path.name for path in folder.iterdir()) == ["yes"]


def test_folder_in_use_is_left_alone(programs, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty; name a new folder"):
        generate(tmp_path / "mine", ["yes"], 1)
    assert not (programs / "log").exists()


@pytest.mark.skipif(not shutil.which("espeak-ng", path=HERE), reason="espeak-ng is not installed")
def test_real_programs_speak_different_words(tmp_path):
    pytest.importorskip("librosa")
    count = generate(tmp_path / "clips", ["yes", "stop"], 4)
    assert count >= 6  # a voice may be missing in a version of the program
    extra = speech_commands.load_extra(tmp_path / "clips")
    assert extra.audio.shape == (count, 16_000)
    seconds = (np.abs(extra.as_float()) > 0.02).sum(axis=1) / 16_000
    assert seconds.min() > 0.05
    assert len({clip.tobytes() for clip in extra.audio}) == count
