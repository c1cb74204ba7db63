"""TensorBoard's event files: protobuf messages in TFRecord frames, written by hand.

A frame is the length of a message, the length's checksum, the message and its checksum. A reader
stops at the first frame that is cut short, so a file is good up to its last whole message.

References:
    tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto and tensor.proto for
    the numbers of the fields; tensorflow/core/lib/io/record_writer.h for the frames.
    CRC-32C: Castagnoli, Bräuer, Herrmann (1993), IEEE Trans. Communications 41(6).
"""

from __future__ import annotations

import os
import platform
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from traintime.ledger.atomic import refused_writes_explained

FLOAT_MAX = 3.4028234663852886e38
"""Largest single-precision number, in which TensorBoard keeps scalars."""


MOST_WAITING_BYTES = 2**20
"""Twenty minutes of a run's curves; the run folder's records hold them too."""


class EventFile:
    """A new event file, of which each message is handed to the system as soon as it is written.

    A disk that refuses ends nothing: messages wait until it takes them.

    Args:
        folder: Where TensorBoard looks for it; older files stay there and are read before it.
        first_step: See `start`.

    Raises:
        StorageError: The file cannot be opened.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        path = folder / _next_name(folder)
        with refused_writes_explained(path):
            folder.mkdir(exist_ok=True)
            self._file = path.open("xb", buffering=0)
        self._waiting = bytearray()
        self._write(_bytes(3, b"brain.Event:2"))
        # The first start that TensorBoard sees drops nothing, so a run's first file has one too.
        self.start(first_step)

    def start(self, first_step: int) -> None:
        """Let nothing be shown any more that was written of this step and later ones."""
        self._write(_integer(2, first_step) + _bytes(7, _integer(1, 1)))

    def add_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write a value for each tag; the steps of a tag have to increase."""
        values = [_bytes(1, _scalar(tag, value)) for tag, value in scalars.items()]
        self._write(_integer(2, step) + _bytes(5, b"".join(values)))

    def add_text(self, step: int, tag: str, markdown: str) -> None:
        """Write a text; the steps of a tag have to increase."""
        self._write(_integer(2, step) + _bytes(5, _bytes(1, _text(tag, markdown))))

    def close(self) -> None:
        """Write through to the disk, if it lets us."""
        with suppress(OSError), self._file:
            os.fsync(self._file.fileno())

    def _write(self, rest_of_event: bytes) -> None:
        if len(self._waiting) < MOST_WAITING_BYTES:
            self._waiting += _frame(b"\x09" + struct.pack("<d", time.time()) + rest_of_event)
        with suppress(OSError):
            while self._waiting:  # a disk that fills up takes a part
                del self._waiting[: self._file.write(self._waiting)]


def _next_name(folder: Path) -> str:
    """Return a name that sorts after all others, as TensorBoard reads files in that order.

    The time alone would not do: a run may go on within a second, or where the clock is behind.
    """
    names = [path.name.split(".") for path in folder.glob("events.out.tfevents.*")]
    taken = [int(parts[3]) for parts in names if parts[3].isdigit()]
    number = max([int(time.time()), *(number + 1 for number in taken)])
    return f"events.out.tfevents.{number:010d}.{platform.node()}"


# Protobuf: fields are tagged with number * 8 + wire type: 0 a varint, 2 bytes, 5 four bytes.


def _varint(value: int) -> bytes:
    """Return seven bits a byte, the lowest first; all but the last have the high bit set."""
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _scalar(tag: str, value: float) -> bytes:
    """Return a Summary.Value with `tag` (1) and `simple_value` (2)."""
    single = struct.pack("<f", min(max(value, -FLOAT_MAX), FLOAT_MAX))
    return _bytes(1, tag.encode()) + b"\x15" + single


def _text(tag: str, text: str) -> bytes:
    """Return a Summary.Value with `tag` (1), `tensor` (8) and `metadata` (9).

    The tensor is of `dtype` (1) string (7) with one `string_val` (8); the metadata's `plugin_data`
    (1) names (1) the plugin that shows it.
    """
    tensor = _integer(1, 7) + _bytes(8, text.encode())
    return _bytes(1, tag.encode()) + _bytes(8, tensor) + _bytes(9, _bytes(1, _bytes(1, b"text")))


# TFRecord


def _crc_table() -> tuple[int, ...]:
    """Return the checksum of each byte, by the reversed polynomial of CRC-32C."""
    table: list[int] = []
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE = _crc_table()


def crc32c(content: bytes) -> int:
    """Return the CRC-32C of some bytes."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _masked_crc(content: bytes) -> bytes:
    """Return a checksum as TFRecord has it: turned and moved, for content that holds checksums."""
    crc = crc32c(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _frame(message: bytes) -> bytes:
    length = struct.pack("<Q", len(message))
    return length + _masked_crc(length) + message + _masked_crc(message)
