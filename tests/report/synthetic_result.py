"""A made-up result of LeNet on MNIST: metrics, confusions, and pictures of mistakes."""

from __future__ import annotations

import base64
import math
import random
import struct
import zlib
from typing import Any

STEPS, EPOCHS = 892, 4
STEP_S, TOTAL_S = 0.019, 19.6

# Digits of 4 x 6 dots, one bit each.
GLYPHS = {
    "0": 0x699996, "1": 0x262227, "2": 0x69124F, "3": 0x691696, "4": 0x99F111,
    "5": 0xF8E196, "6": 0x68E996, "7": 0xF12244, "8": 0x696996, "9": 0x697116,
}  # fmt: skip


def result() -> dict[str, Any]:
    confusion = _confusion()
    return {
        "status": "target reached",
        "total_s": TOTAL_S,
        "time_to_target_s": 18.4,
        "seconds": {
            "prepare": 0.44,
            "train": 17.9,
            "validate": 0.5,
            "evaluate": 0.4,
            "checkpoint": 0.1,
        },
        "peak_memory_bytes": 655 * 2**20,
        "epochs": EPOCHS,
        "steps": STEPS,
        "step_time_s": {"median": STEP_S, "low": 0.0184, "high": 0.0203, "level": 0.8},
        "test": {
            "accuracy": 0.9897,
            "loss": 0.0312,
            "precision": 0.9896,
            "recall": 0.9896,
            "f1": 0.9896,
            "samples": 10000,
            "per_class": [_class_metrics(confusion, index) for index in range(10)],
            "confusion": confusion,
        },
        "wrong": [_mistake(index) for index in range(14)],
    }


def _confusion() -> list[list[int]]:
    """Return made-up counts in which 4 and 9, 7 and 2, 3 and 5 are mixed up most."""
    support = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    mixed_up = {
        (4, 9): 9,
        (9, 4): 11,
        (7, 2): 8,
        (3, 5): 6,
        (5, 3): 4,
        (8, 9): 3,
        (2, 7): 5,
        (7, 1): 4,
    }
    chance = random.Random(3)
    rows: list[list[int]] = []
    for truth in range(10):
        row = [mixed_up.get((truth, j), int(chance.random() < 0.4)) for j in range(10)]
        row[truth] = support[truth] - (sum(row) - row[truth])
        rows.append(row)
    return rows


def _class_metrics(confusion: list[list[int]], index: int) -> dict[str, Any]:
    right, support = confusion[index][index], sum(confusion[index])
    precision, recall = right / sum(row[index] for row in confusion), right / support
    f1 = 2 * precision * recall / (precision + recall)
    scores = {"precision": precision, "recall": recall, "f1": f1}
    return {"class": str(index), **scores, "support": support}


def _mistake(index: int) -> dict[str, Any]:
    truth, predicted = [("4", "9"), ("7", "2"), ("9", "4"), ("3", "5"), ("7", "1")][index % 5]
    picture = base64.b64encode(picture_of(truth, seed=index)).decode()
    confidence = 0.97 - 0.033 * index
    return {"png": picture, "truth": truth, "predicted": predicted, "confidence": confidence}


def picture_of(digit: str, seed: int) -> bytes:
    """Return a PNG of 28 x 28 grey pixels with a slanted, blurred digit."""
    chance = random.Random(seed)
    slant, shift = chance.uniform(-0.35, 0.2), chance.uniform(-2, 2)
    rows = [
        bytes([0, *(_ink(digit, x - 14 - shift + slant * (y - 14), y - 14) for x in range(28))])
        for y in range(28)
    ]
    header = struct.pack(">IIBBBBB", 28, 28, 8, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _ink(digit: str, x: float, y: float) -> int:
    bits = GLYPHS[digit]
    dots = ((bit % 4, bit // 4) for bit in range(24) if bits >> (23 - bit) & 1)
    nearest = min(math.hypot(x - 4 * (i - 1.5), y - 3.4 * (j - 2.5)) for i, j in dots)
    return round(255 / (1 + math.exp(2.2 * (nearest - 2.1))))


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)
