"""Every model of the zoo in every form there is, by the command that anyone can run."""

import os
import re

import pytest
from typer.testing import CliRunner

from lstm_zoo import cli, registry
from lstm_zoo.exporters import PROFILES, QUANTIZATIONS, certificate, matrix


def test_forms_are_all_that_can_be_had():
    whole = {(form.profile, form.quantize) for form in matrix.FORMS if form.streaming is None}
    every = {(profile, quantize) for profile in PROFILES for quantize in QUANTIZATIONS}
    assert every - whole == {("default", "int8")}
    assert len({str(form) for form in matrix.FORMS}) == len(matrix.FORMS)


@pytest.mark.slow
@pytest.mark.parametrize("name", [each.name for each in registry.list_models() if each.pretrained])
def test_every_form_is_exported_and_certified(name, tmp_path):
    data = os.environ.get("LSTM_ZOO_DATA") if name == "speech" else None  # where there is real speech, on all of it
    options = ["--data", data] if data else []
    result = CliRunner().invoke(cli.app, ["export-all", str(tmp_path), "--model", name, "--markdown", *options])
    assert result.exit_code == 0, result.output
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in result.stdout.splitlines()]
    assert rows[0] == list(matrix.COLUMNS)
    forms = [form for form in matrix.FORMS if not form.streaming or registry.ENTRIES[name].sample_rate]
    sizes = {}
    for form, row in zip(forms, rows[2:], strict=True):
        file = tmp_path / f"{name}_{form}.tflite"
        found = certificate.read(file.with_name(f"{file.name}.json"))
        assert (found.profile, found.quantize, found.streaming) == (form.profile, form.quantize, form.streaming)
        assert found.bytes == file.stat().st_size == int(row[4].replace(",", ""))
        assert re.fullmatch(r"\d\.\de-\d\d", row[5])
        sizes[form] = found.bytes
        if data:
            least = {None: 1.0, "float16": 1.0, "dynamic_int8": 0.995, "int8": 0.99}[form.quantize]
            assert found.top1_agreement is not None
            assert found.top1_agreement >= least, form
    assert min(sizes, key=lambda form: sizes[form]).profile == "mediapipe"
    fused = {quantize: sizes[matrix.Form("mediapipe", quantize)] for quantize in QUANTIZATIONS}
    assert fused["dynamic_int8"] < 0.4 * fused[None]
    assert fused["dynamic_int8"] < fused["float16"] < fused[None]
    if name == "speech":
        assert fused["dynamic_int8"] <= 0.3 * fused[None]
    if name == "speech_tiny":
        assert sizes[matrix.Form("default", "dynamic_int8")] <= 80_000
    if name == "sentiment_tiny":  # with its vocabulary
        assert fused["dynamic_int8"] <= 300_000


def test_what_cannot_be_exported_is_said_in_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(matrix, "FORMS", (matrix.Form("default", "int8"),))
    result = CliRunner().invoke(cli.app, ["export-all", str(tmp_path), "--model", "speech_tiny", "--markdown"])
    assert result.exit_code == 2
    assert "int8 | whole input | quantize: 'int8' cannot be had in profile='default'" in result.stdout
    assert not list(tmp_path.iterdir())
