"""Records of bytes, each with its own number and a digest that tells whether it is intact.

A piece is cut into parts. The record of one is a mark, the number of the piece, of the part, of all
its parts and of the bytes in this one (integers of 8, 4, 4 and 4 bytes, little-endian), a digest of
these numbers and the bytes, and the bytes. The digest is keyed, so that no piece is taken for
another, nor for one of another computation, wherever a record is found.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable

#: How a record begins.
MARK = b"\xa7spikedrf record\n"

#: The number of the one piece that has no key: what all of them belong to.
SPECIFICATION = -(1 << 63)

_NUMBERS = struct.Struct("<qIII")
_DIGEST = 16
_PART = 30 * 1024

#: Bytes of a record, at most.
LONGEST = len(MARK) + _NUMBERS.size + _DIGEST + _PART


def write(key: bytes, number: int, content: bytes) -> list[bytes]:
    """Write a piece as records."""
    starts = range(0, max(len(content), 1), _PART)
    records = []
    for part, start in enumerate(starts):
        block = content[start : start + _PART]
        numbers = _NUMBERS.pack(number, part, len(starts), len(block))
        records.append(MARK + numbers + _digest(key, number, numbers + block) + block)
    return records


def read(key: bytes, stored: Iterable[object]) -> tuple[dict[int, bytes], bool]:
    """Read records; return the pieces that are whole, by number, and whether all of them were.

    A record may have other bytes behind it.
    """
    parts: dict[int, dict[int, bytes]] = {}
    counts: dict[int, int] = {}
    intact = True
    begin, end = len(MARK), len(MARK) + _NUMBERS.size
    for record in stored:
        if not isinstance(record, bytes) or len(record) < end + _DIGEST:
            intact = False
            continue
        numbers = record[begin:end]
        number, part, count, length = _NUMBERS.unpack(numbers)
        digest, block = record[end : end + _DIGEST], record[end + _DIGEST :][:length]
        if record[:begin] != MARK or digest != _digest(key, number, numbers + block):
            intact = False
            continue
        parts.setdefault(number, {})[part] = block
        counts[number] = count
    pieces = {
        number: b"".join(blocks[part] for part in sorted(blocks))
        for number, blocks in parts.items()
        if len(blocks) == counts[number]
    }
    return pieces, intact and len(pieces) == len(parts)


def _digest(key: bytes, number: int, content: bytes) -> bytes:
    key = b"" if number == SPECIFICATION else key
    return hashlib.blake2b(content, digest_size=_DIGEST, key=key).digest()
