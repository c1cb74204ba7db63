import json

import pytest
from typer.testing import CliRunner

import traintime
from tests.api.known_machine import QUICK
from traintime.cli.main import app
from traintime.train import op_profile


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(op_profile, "MOST_STEPS", 3)


def test_profile_draws_a_step_and_names_what_limits_it():
    traintime.train(**QUICK)
    answer = CliRunner().invoke(app, ["runs", "profile", "latest", "--steps", "10"])
    assert answer.exit_code == 0, answer.output
    for shown in ("A step", "■ forward", "Limit", "By kind of operation", "dispatch"):
        assert shown in answer.stdout


def test_profile_in_json_is_one_document():
    traintime.train(**QUICK)
    answer = CliRunner().invoke(app, ["runs", "profile", "latest", "--steps", "10", "--json"])
    found = json.loads(answer.stdout)
    assert found["steps_measured"] == 10
    assert {part["name"] for part in found["parts"]} >= {"data", "forward", "backward"}


def test_an_unknown_run_is_a_message_and_not_a_traceback():
    answer = CliRunner().invoke(app, ["runs", "profile", "nothing"])
    assert answer.exit_code == 2
    assert "There is no run named 'nothing'" in answer.stderr
