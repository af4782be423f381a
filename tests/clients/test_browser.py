"""The page in examples/web, opened in Chromium: LiteRT.js answers as Keras."""

import json
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

import lstm_zoo
from lstm_zoo.demo import CLIP

PAGE = Path(__file__).parents[2] / "examples" / "web"
MODULES = PAGE / "node_modules"
MINUTE = 60


@pytest.fixture
def chromium(missing) -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        missing("needs a browser: apt-get install chromium, or set CHROMIUM to the path of one")
    if shutil.which("node") is None or not (MODULES / "playwright-core").is_dir():
        missing("needs Node.js 20 and what examples/web uses: cd examples/web && npm ci")
    return str(found)


@pytest.fixture
def site(tmp_path):
    """A folder with the page, and its address; the model goes beside it."""
    folder = tmp_path / "site"
    shutil.copytree(PAGE, folder, ignore=shutil.ignore_patterns("node_modules", "*.tflite*"))
    (folder / "node_modules").symlink_to(MODULES, target_is_directory=True)
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def browse(chromium, address, action, sound=CLIP):
    """What the page shows after ``action``; see browse.mjs. It never asks another host, and nothing is thrown."""
    script = Path(__file__).with_name("browse.mjs")
    command = ["node", str(script), chromium, address, action, str(sound)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=MINUTE, check=False)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["problems"] == []
    assert [url for url in shown["requests"] if not url.startswith((address, "data:", "blob:"))] == []
    return shown


def test_a_sound_file_gets_the_words_and_probabilities_of_keras(chromium, site, speech, exported):
    folder, address = site
    shutil.copy(exported(speech, "default"), folder / "speech.tflite")
    shown = browse(chromium, address, "file")
    samples, rate = lstm_zoo.read_audio(CLIP)
    expected = speech.classify(samples, rate)
    assert [answer["time"] for answer in shown["answers"]] == [f"{e.start:.1f} to {e.end:.1f} s" for e in expected]
    for answer, detection in zip(shown["answers"], expected, strict=True):
        best = sorted(zip(detection.probabilities, speech.labels, strict=True), reverse=True)[:3]
        assert [word["name"] for word in answer["words"]] == [label for _, label in best]
        probabilities = [probability for probability, _ in best]
        assert [word["probability"] for word in answer["words"]] == pytest.approx(probabilities, abs=1e-4)
        assert answer["words"][0]["shown"] == f"{100 * best[0][0]:.1f} %"


def test_sound_of_any_rate_and_channels_is_mixed_and_resampled(chromium, site, speech, exported, tmp_path):
    folder, address = site
    shutil.copy(exported(speech, "default"), folder / "speech.tflite")
    samples, rate = lstm_zoo.read_audio(CLIP, 44_100)[0], 44_100
    noise = np.random.default_rng(0).normal(0.0, 0.1, samples.shape)  # in the mix of the two, it is gone
    soundfile.write(tmp_path / "stereo.flac", np.stack([samples + noise, samples - noise], axis=1), rate)
    shown = browse(chromium, address, "file", tmp_path / "stereo.flac")
    expected = speech.classify(samples, rate)
    for answer, detection in zip(shown["answers"], expected, strict=True):
        word = answer["words"][0]
        assert word["name"] == detection.label
        assert word["probability"] == pytest.approx(detection.probability, abs=0.05)  # two resamplers


def test_the_microphone_hears_the_words(chromium, site, speech, exported):
    """Chromium plays the clip as if it was spoken, over and over; the words come in their order, the latest first."""
    folder, address = site
    shutil.copy(exported(speech, "default"), folder / "speech.tflite")
    shown = browse(chromium, address, "microphone")
    heard = [answer["words"][0]["name"] for answer in shown["answers"]]
    spoken = ["yes", "left", "stop", "go"]
    assert len(heard) >= 3
    assert len(set(heard) & set(spoken)) >= 2
    assert shown["status"] == "The microphone is off."


def test_the_universal_profile_runs_too(chromium, site, speech_tiny, exported):
    folder, address = site
    shutil.copy(exported(speech_tiny, "universal"), folder / "speech.tflite")
    shown = browse(chromium, address, "file")
    samples, rate = lstm_zoo.read_audio(CLIP)
    expected = [detection.probability for detection in speech_tiny.classify(samples, rate)]
    assert [answer["words"][0]["probability"] for answer in shown["answers"]] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("quantize", ["float16", "dynamic_int8"])
def test_a_quantised_file_gets_the_words_of_keras(chromium, site, speech_tiny, exported, quantize):
    folder, address = site
    shutil.copy(exported(speech_tiny, "default", quantize), folder / "speech.tflite")
    shown = browse(chromium, address, "file")
    expected = [detection.label for detection in speech_tiny.classify(*lstm_zoo.read_audio(CLIP))]
    assert [answer["words"][0]["name"] for answer in shown["answers"]] == expected


@pytest.mark.skipif(sys.platform == "win32", reason="links to folders are for administrators there")
def test_the_page_says_what_is_missing(chromium, site, speech, speech_tiny, exported):
    folder, address = site
    script = Path(__file__).with_name("browse.mjs")
    assert "lstm-zoo export speech examples/web/speech.tflite" in browse(chromium, address, "look")["status"]
    shutil.copy(exported(speech_tiny, "mediapipe"), folder / "speech.tflite")
    assert "Export it with the default profile" in browse(chromium, address, "look")["status"]
    shutil.copy(exported(speech, "default"), folder / "speech.tflite")
    assert "cannot decode browse.mjs" in browse(chromium, address, "file", script)["status"]
    (folder / "node_modules").unlink()
    assert "npm ci" in browse(chromium, address, "look")["status"]
