import json

import pytest
from typer.testing import CliRunner

from traintime.cli.main import app
from traintime.workload.shipped import shipped_names


def type_in(*words: str) -> str:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("words", [["models"], ["models", "list"]])
def test_models_are_listed(words: list[str]) -> None:
    text = type_in(*words)
    assert all(f"  {name} " in text for name in shipped_names())
    assert "model=timm:NAME" in text


def test_data_sets_are_listed() -> None:
    text = type_in("data")
    assert "imagenet " in text
    assert "1.28 M" in text


def test_lists_are_one_json_document() -> None:
    models, data = (json.loads(type_in(verb, "--json")) for verb in ("models", "data"))
    (resnet,) = [one for one in models if one["name"] == "resnet50"]
    assert (resnet["parameters"], resnet["input"]) == (25_557_032, "3x224x224")
    (imagenet,) = [one for one in data if one["name"] == "imagenet"]
    assert imagenet["train"] == 1_281_167
