from rich.console import Console

from traintime.api.known_names import list_data, list_models
from traintime.report.known_names import data_table, model_table


def shown(table) -> list[str]:
    console = Console(width=100, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


def test_models_stand_below_their_kin_with_parameters_and_input():
    lines = shown(model_table(list_models()))
    place = lines.index("ResNet and its kin")
    row = next(line for line in lines[place:] if line.startswith("  resnet50 "))
    assert row.split()[:5] == ["resnet50", "25.6", "M", "parameters", "3x224x224"]
    assert any(line.split()[-2:] == ["bert,", "bert-base-uncased"] for line in lines)
    assert any("model=timm:NAME" in line for line in lines)


def test_data_sets_have_their_sizes_and_shapes():
    lines = shown(data_table(list_data()))
    row = next(line for line in lines if line.startswith("cifar10 "))
    assert row.split()[-7:] == ["50", "k", "+", "10", "k", "images", "3x32x32"]
    assert any("samples=50000" in line for line in lines)
