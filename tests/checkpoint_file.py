"""What lies in the file of a checkpoint, read without the package."""

import contextlib
import json
import sqlite3
import struct

MARK = b"\xa7spikedrf record\n"
NUMBERS = struct.Struct("<qIII")  # piece, part, parts, bytes
HEAD = len(MARK) + NUMBERS.size + 16


def records(path):
    """The records of the database: number of the piece, part, how many, content."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        stored = [record for (record,) in connection.execute("SELECT record FROM records")]
    found = []
    for record in stored:
        assert record.startswith(MARK)
        number, part, parts, length = NUMBERS.unpack_from(record, len(MARK))
        assert len(record) == HEAD + length
        found.append((number, part, parts, record[HEAD:]))
    return found


def specification_of(path):
    """What a checkpoint says of itself."""
    return json.loads(records(path)[0][-1])


def pieces_of(path):
    """Numbers of the pieces, in the order in which they were finished."""
    return [number for number, part, _, _ in records(path)[1:] if part == 0]
