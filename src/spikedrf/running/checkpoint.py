"""Finished pieces of a long computation on disk, so that it can be killed and go on.

A checkpoint is one text file of JSON lines. The first line says what is computed::

    {"spikedrf checkpoint": 1, "specification": {...}}

and every further line is one finished piece, in the order in which they were finished::

    {"piece": 12, "crc32": 305419896, "arrays": {"value": {"dtype": "<f8", "shape": [2], ...}}}

with the bytes of every array in base64: what comes back is what went in, bit for bit. A line is
appended and flushed to the disk before `Checkpoint.add` returns. Lines are never rewritten, so
that saving a piece costs the same however many there are. A process killed in the middle of a
line leaves a last line that is incomplete; it counts as not finished and is cut off.
"""

from __future__ import annotations

import base64
import fcntl
import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_FORMAT = 1
_MAGIC = b'{"spikedrf checkpoint": '


class CheckpointMismatch(ValueError):
    """The checkpoint belongs to a computation with another specification.

    Attributes
    ----------
    changed : tuple of str
        Names of the entries that differ.
    """

    def __init__(self, message: str, changed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.changed = changed


class Checkpoint:
    """A file of finished pieces, opened for one computation.

    Parameters
    ----------
    path : str or path
        The file. It is made if there is none.
    specification : mapping
        Everything that the pieces depend on: booleans, numbers, strings, None, arrays, and lists
        or mappings of these. Pieces are only ever added to a file of the same specification.

    Raises
    ------
    CheckpointMismatch
        If the file belongs to another specification; the message says what changed.
    ValueError
        If there is a file that is no checkpoint.
    BlockingIOError
        If another process is using the checkpoint.
    OSError
        If the file cannot be read or written.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "squares.jsonl"
    >>> with Checkpoint(path, {"power": 2}) as checkpoint:
    ...     checkpoint.add(3, {"value": np.array(9.0)})
    >>> with Checkpoint(path, {"power": 2}) as checkpoint:
    ...     [(piece, float(arrays["value"])) for piece, arrays in checkpoint.finished()]
    [(3, 9.0)]
    >>> Checkpoint(path, {"power": 3})
    Traceback (most recent call last):
    ...
    spikedrf.running.checkpoint.CheckpointMismatch: checkpoint=... power was 2, is 3; ...
    """

    def __init__(self, path: str | os.PathLike[str], specification: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._lock = Lock()
        # Append mode: whatever else happens, what is there is not written over.
        self._file = self.path.open("ab", buffering=0)
        try:
            self._reserve()
            self._begin = self._header(_encode(specification))
            self._end = max((end for _, _, end in self._lines()), default=self._begin)
            self._file.truncate(self._end)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, for others to use."""
        self._file.close()

    def finished(self) -> Iterator[tuple[int, dict[str, Array]]]:
        """Yield the number and the arrays of every finished piece."""
        for piece, arrays, _ in self._lines():
            yield piece, arrays

    def add(self, piece: int, arrays: Mapping[str, Array]) -> None:
        """Save a finished piece; it is on the disk when this returns. Safe to call from threads.

        Raises
        ------
        OSError
            If the file cannot be written; the pieces that it held are not touched.
        """
        encoded = {name: _encode_array(np.asarray(array)) for name, array in arrays.items()}
        entry = {"piece": int(piece), "crc32": _checksum(encoded), "arrays": encoded}
        with self._lock:
            self._append(entry)

    def _append(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, allow_nan=False).encode() + b"\n"
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            # Half a line would hide all that follows it. If it cannot be cut off now, the next
            # process does it.
            with suppress(OSError):
                self._file.truncate(self._end)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._end += len(line)

    def _reserve(self) -> None:
        """Keep other processes out; the lock goes with the process, however it ends."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                error.errno, "in use by another process", str(self.path)
            ) from None
        except OSError:
            # A file system without locks: then it is for the user to start one process only.
            return

    def _header(self, specification: dict[str, Any]) -> int:
        """Check the first line, or write it; return where the pieces begin."""
        with self.path.open("rb") as file:
            first = file.readline()
        complete = first.endswith(b"\n")
        if first and not (first.startswith(_MAGIC) if complete else _begins(first)):
            raise ValueError(f"checkpoint={str(self.path)!r} is not a checkpoint of spikedrf")
        if not complete:  # new, or killed before anything was finished
            self._file.truncate(0)
            self._end = 0
            self._append({"spikedrf checkpoint": _FORMAT, "specification": specification})
            _flush_folder(self.path.parent)
            return self._end
        header = json.loads(first)
        if header["spikedrf checkpoint"] != _FORMAT:
            raise ValueError(
                f"checkpoint={str(self.path)!r} has format {header['spikedrf checkpoint']}, this "
                f"version of spikedrf reads {_FORMAT}"
            )
        self._compare(header["specification"], specification)
        return len(first)

    def _compare(self, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
        names = [*ours, *(name for name in theirs if name not in ours)]
        changed = tuple(n for n in names if theirs.get(n, _ABSENT) != ours.get(n, _ABSENT))
        if not changed:
            return
        told = ", ".join(
            f"{name} was {_describe(theirs.get(name, _ABSENT))}, "
            f"is {_describe(ours.get(name, _ABSENT))}"
            for name in changed
        )
        raise CheckpointMismatch(
            f"checkpoint={str(self.path)!r} belongs to another computation: {told}; restore what "
            f"changed, or begin another file",
            changed,
        )

    def _lines(self) -> Iterator[tuple[int, dict[str, Array], int]]:
        """Yield number, arrays and end of the complete pieces; stop at the first that is not."""
        with self.path.open("rb") as file:
            file.seek(self._begin)
            end = self._begin
            for line in file:
                try:
                    entry = json.loads(line)
                    arrays = entry["arrays"]
                    intact = line.endswith(b"\n") and _checksum(arrays) == entry["crc32"]
                except (ValueError, KeyError, TypeError):
                    return
                if not intact:
                    return
                end += len(line)
                yield entry["piece"], {n: _decode_array(a) for n, a in arrays.items()}, end


# What a specification that lacks an entry has there.
_ABSENT = "(absent)"


def _begins(text: bytes) -> bool:
    """Whether the text may be the first line of a checkpoint, cut off anywhere."""
    return _MAGIC.startswith(text) or text.startswith(_MAGIC)


def _encode(value: Any) -> Any:
    """Make a specification JSON that compares equal if and only if it is the same, bit for bit."""
    if isinstance(value, Mapping):
        return {str(name): _encode(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray) and value.ndim:
        return _encode_array(value)
    if isinstance(value, np.ndarray | np.generic):
        return _encode(value.item())
    if isinstance(value, list | tuple):
        return [_encode(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a specification holds numbers, strings and arrays, got {value!r}")


def _encode_array(array: Array) -> dict[str, Any]:
    if array.dtype.kind not in "biufc":
        raise TypeError(f"a checkpoint holds arrays of numbers, got dtype {array.dtype}")
    little = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    return {
        "dtype": little.dtype.str,
        "shape": list(array.shape),
        "base64": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def _decode_array(encoded: dict[str, Any]) -> Array:
    raw = base64.b64decode(encoded["base64"])
    array = np.frombuffer(raw, dtype=np.dtype(encoded["dtype"])).reshape(encoded["shape"])
    return array.astype(array.dtype.newbyteorder("="))


def _checksum(arrays: dict[str, Any]) -> int:
    """Checksum of names, kinds and bytes: a disk may lose what a killed process does not."""
    return zlib.crc32(json.dumps(arrays, sort_keys=True).encode())


def _describe(value: Any) -> str:
    """Say in a few words what an entry of a specification is."""
    if not (isinstance(value, dict) and "base64" in value):
        return str(value)
    array = _decode_array(value)
    if array.size <= 4:
        return str(array.tolist())
    # Two grids may share their ends, so their insides are named too, by a checksum.
    mark = zlib.crc32(array.tobytes())
    return f"{array.size} values from {array.flat[0]:g} to {array.flat[-1]:g} (checksum {mark:08x})"


def _flush_folder(folder: Path) -> None:
    """Make a new file's name as durable as its contents."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
