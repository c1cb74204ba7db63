import math

import pytest
import torch
from torch import Tensor, nn

from traintime.evaluate.metrics import classify
from traintime.evaluate.predict import predict
from traintime.hardware.execution import Execution

# Scores are the logarithms of these probabilities, so the softmax gives them back.
PROBABILITIES = torch.tensor(
    [
        [0.7, 0.2, 0.1],
        [0.1, 0.8, 0.1],
        [0.3, 0.6, 0.1],  # wrong, quite sure
        [0.5, 0.1, 0.4],  # wrong, less sure
        [0.0001, 0.0002, 0.9997],  # wrong, surest
    ]
)
LABELS = torch.tensor([0, 1, 0, 2, 1])
LOSS = -math.log(0.7 * 0.8 * 0.3 * 0.4 * 0.0002) / 5


@pytest.fixture
def linear() -> nn.Module:
    """Takes the images as scores, but for a constant that the softmax does not see."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 3))
    with torch.no_grad():
        model[1].weight.copy_(torch.eye(3))
        model[1].bias.fill_(2.5)
    return model


def batches(size: int) -> list[tuple[Tensor, Tensor]]:
    images = PROBABILITIES.log().view(-1, 1, 1, 3)
    return list(zip(images.split(size), LABELS.split(size), strict=True))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_predictions_are_those_worked_by_hand_whatever_the_batches(linear, size):
    found = predict(linear, batches(size), Execution())
    assert found.labels.tolist() == LABELS.tolist()
    assert found.predicted.tolist() == [0, 1, 1, 0, 2]
    assert found.confidence.tolist() == pytest.approx([0.7, 0.8, 0.6, 0.5, 0.9997], abs=1e-5)
    assert found.accuracy == pytest.approx(2 / 5)
    assert found.loss == pytest.approx(LOSS, rel=1e-5)
    assert found.num_classes == 3


def test_the_confusion_has_the_truth_in_rows(linear):
    found = predict(linear, batches(2), Execution())
    assert found.confusion() == [[1, 1, 0], [0, 1, 1], [1, 0, 0]]
    scores = classify(found.confusion(), found.loss, ["a", "b", "c"])
    assert scores.accuracy == pytest.approx(found.accuracy)


def test_the_worst_are_wrong_and_the_surest_come_first(linear):
    found = predict(linear, batches(2), Execution())
    assert found.worst(2) == [4, 2]
    assert found.worst(10) == [4, 2, 3]
    assert found.worst(0) == []


def test_a_model_without_mistakes_has_no_worst(linear):
    found = predict(linear, [(images, images.argmax(3).flatten()) for images, _ in batches(2)],
                    Execution())  # fmt: skip
    assert found.accuracy == 1
    assert found.worst(3) == []
    assert found.confusion() == [[2, 0, 0], [0, 2, 0], [0, 0, 1]]


def test_dropout_and_gradients_are_off(linear):
    model = nn.Sequential(nn.Dropout(0.9), linear).train()
    found = predict(model, batches(5), Execution())
    assert found.predicted.tolist() == [0, 1, 1, 0, 2]
    assert not model.training
    assert not found.confidence.requires_grad


def test_bf16_scores_are_judged_in_fp32(linear):
    found = predict(linear, batches(5), Execution(precision="bf16"))
    assert found.confidence.dtype == torch.float32
    assert found.predicted.tolist() == [0, 1, 1, 0, 2]
    assert found.loss == pytest.approx(LOSS, rel=0.01)
