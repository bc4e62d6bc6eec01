"""Finished pieces of a long computation on disk, so that it can be killed and go on.

A checkpoint is one SQLite database: locks, durability and recovery from a kill are SQLite's. It
has one table of one column, ``records (record BLOB)``: see `spikedrf.running.records`.

SQLite gives up a whole file whose structure is damaged. Every record is shorter than a page of the
database and therefore lies in one stretch of the file: if the database cannot be read, or a digest
is wrong, the file is searched for marks, and a new database is made of what is intact.
"""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import json
import mmap
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.running import records
from spikedrf.running.specification import differences, encode

if TYPE_CHECKING:  # imported when there is a checkpoint: some Pythons are built without it
    import sqlite3

Array = NDArray[Any]

#: Bytes of a page of the database; two of the longest records fit into one.
_PAGE = 1 << 16

#: In the header of the database: whose it is, and how it is laid out.
_APPLICATION, _FORMAT = 0x73704446, 2

#: How checkpoints began that were text.
_LINES = b'{"spikedrf checkpoint": '


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


class CheckpointDamaged(UserWarning):
    """Something in a checkpoint is not what was written; it counts as not computed."""


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
        If there is a file that is no checkpoint, or nothing in it is intact. It is left as it is.
    BlockingIOError
        If another process is using the checkpoint.
    OSError
        If the file cannot be read or written.

    Warns
    -----
    CheckpointDamaged
        If something in the file is not what was written. Pieces that are intact are kept, and the
        damaged file stays beside the mended one under another name.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "squares.sqlite"
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
        self._specification = json.dumps(encode(specification)).encode()
        self._key = hashlib.sha256(self._specification).digest()
        try:
            self._connection = self._open()
        except _Damage:
            self._mend()
            self._connection = self._open()

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
        self._connection.close()

    def finished(self) -> Iterator[tuple[int, dict[str, Array]]]:
        """Yield the number and the arrays of every finished piece, in the order of `add`."""
        with self._lock:
            pieces, _ = records.read(self._key, _stored(self._connection))
        for number, content in pieces.items():
            if number != records.SPECIFICATION:
                yield number, _arrays(content)

    def add(self, piece: int, arrays: Mapping[str, Array]) -> None:
        """Save a finished piece; it is on the disk when this returns. Safe to call from threads.

        Raises
        ------
        OSError
            If the file cannot be written; the pieces that it held are not touched.
        """
        content = _bytes(arrays)
        with self._lock, _errors_of(self.path):
            _insert(self._connection, records.write(self._key, int(piece), content))

    # ---------------------------------------------------------------------------------------------
    # The file

    def _open(self) -> sqlite3.Connection:
        """Open the database for this process alone, made if need be, and check all that is in it.

        Raises
        ------
        _Damage
            If anything is not as it was written.
        """
        with _errors_of(self.path):
            connection = _reserved(self.path)
            try:
                (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                if (tables, *_header(connection)) == (0, 0, 0):  # nothing has been written
                    self._begin(connection)
                (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if (sound, *_header(connection)) != ("ok", _APPLICATION, _FORMAT):
                    raise _Damage
                pieces, whole = records.read(self._key, _stored(connection))
                if records.SPECIFICATION not in pieces:
                    raise _Damage
                self._compare(pieces[records.SPECIFICATION])
                if not whole:
                    raise _Damage
                # To be told now, not after the first piece, if it is read-only.
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(f"PRAGMA user_version = {_FORMAT}")
                connection.rollback()
            except BaseException:
                connection.close()
                raise
            return connection

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Lay out an empty database and say in it what is computed."""
        connection.execute("BEGIN")
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
        connection.execute("CREATE TABLE records (record BLOB)")
        _insert(connection, records.write(self._key, records.SPECIFICATION, self._specification))

    def _mend(self) -> None:
        """Put a new database with all intact pieces in the place of a damaged one."""
        with (
            self.path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw,
        ):
            marks = [match.start() for match in re.finditer(re.escape(records.MARK), raw)]
            found = (raw[mark : mark + records.LONGEST] for mark in marks)
            pieces, _ = records.read(self._key, found)
            start = raw[: len(_LINES)]
        specification = pieces.pop(records.SPECIFICATION, None)
        if specification is not None:
            self._compare(specification)
        elif not pieces:
            raise ValueError(f"checkpoint={str(self.path)!r} {_not_ours(start, bool(marks))}")
        copy = self._free_name("damaged")
        copy.write_bytes(self.path.read_bytes())
        mended = self._free_name("mended")
        with _errors_of(mended):
            connection = _reserved(mended)
            try:
                self._begin(connection)
                kept = [records.write(self._key, *piece) for piece in pieces.items()]
                _insert(connection, [record for piece in kept for record in piece])
            finally:
                connection.close()
        # It would be played back into the new database.
        self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)
        mended.replace(self.path)
        warnings.warn(
            f"checkpoint={str(self.path)!r} is damaged: {len(pieces)} finished pieces in it are "
            f"intact and are kept, whatever else it held is computed again; the damaged file is "
            f"now {str(copy)!r}",
            CheckpointDamaged,
            stacklevel=4,
        )

    def _free_name(self, word: str) -> Path:
        names = (f".{word}" if i == 1 else f".{word}-{i}" for i in itertools.count(1))
        paths = (self.path.with_name(self.path.name + name) for name in names)
        return next(path for path in paths if not path.exists())

    def _compare(self, specification: bytes) -> None:
        changed = differences(json.loads(specification), json.loads(self._specification))
        if changed:
            raise CheckpointMismatch(
                f"checkpoint={str(self.path)!r} belongs to another computation: "
                f"{', '.join(changed.values())}; restore what changed, or begin another file",
                tuple(changed),
            )


class _Damage(Exception):
    """The file is not a database as `Checkpoint` leaves it."""


def _not_ours(start: bytes, marked: bool) -> str:
    if marked:
        return (
            "is damaged: neither what it is of, nor any piece of this computation, is intact; "
            "begin another file"
        )
    if start.startswith(_LINES) or (start and _LINES.startswith(start)):
        return (
            "was written by an earlier version of spikedrf, as text, which this version does not "
            "read: begin another file"
        )
    return "is not a checkpoint of spikedrf"


# --------------------------------------------------------------------------------------------------
# Arrays


def _bytes(arrays: Mapping[str, Array]) -> bytes:
    for array in map(np.asarray, arrays.values()):
        if array.dtype.kind not in "biufc":
            raise TypeError(f"a checkpoint holds arrays of numbers, got dtype {array.dtype}")
    file = io.BytesIO()
    numbers: dict[str, Any] = dict(arrays)  # allow_pickle would be an array's name in NumPy 1.26
    np.savez(file, **numbers)
    return file.getvalue()


def _arrays(content: bytes) -> dict[str, Array]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: array.astype(array.dtype.newbyteorder("=")) for name, array in file.items()}


# --------------------------------------------------------------------------------------------------
# SQLite


def _reserved(path: Path) -> sqlite3.Connection:
    """Open a database and keep other processes out; the lock goes with the process."""
    import sqlite3

    try:
        return _locked(sqlite3.connect(path, timeout=0.0, check_same_thread=False))
    except sqlite3.OperationalError as error:
        # SQLITE_IOERR_LOCK, _RDLOCK, ...: a file system without locks. Then it is for the user to
        # start one process only.
        if not re.fullmatch(r"SQLITE_IOERR_\w*LOCK", error.sqlite_errorname):
            raise
    unlocked = f"{path.absolute().as_uri()}?nolock=1"
    return _locked(sqlite3.connect(unlocked, timeout=0.0, check_same_thread=False, uri=True))


def _locked(connection: sqlite3.Connection) -> sqlite3.Connection:
    try:
        for pragma in ("locking_mode = EXCLUSIVE", f"page_size = {_PAGE}", "synchronous = EXTRA"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN EXCLUSIVE")
        connection.commit()
        connection.execute("PRAGMA journal_mode = DELETE")
    except BaseException:
        connection.close()
        raise
    return connection


def _header(connection: sqlite3.Connection) -> tuple[int, int]:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    return application, layout


def _stored(connection: sqlite3.Connection) -> Iterator[object]:
    for (record,) in connection.execute("SELECT record FROM records ORDER BY rowid"):
        yield record


def _insert(connection: sqlite3.Connection, records: list[bytes]) -> None:
    with connection:  # all of them, or none
        connection.executemany("INSERT INTO records VALUES (?)", [(record,) for record in records])


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Raise what SQLite says of a file as OSError, or _Damage."""
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        kind = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise BlockingIOError(errno.EAGAIN, "in use by another process", str(path)) from None
        if kind == sqlite3.SQLITE_CANTOPEN and not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path)) from None
        # A header may say read-only of a file that is not.
        said_read_only = kind == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK)
        damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
        if kind in damage or said_read_only:
            raise _Damage from error
        number = {
            sqlite3.SQLITE_FULL: errno.ENOSPC,
            sqlite3.SQLITE_READONLY: errno.EACCES,
            sqlite3.SQLITE_CANTOPEN: errno.EACCES,
            sqlite3.SQLITE_PERM: errno.EACCES,
        }.get(kind, errno.EIO)
        raise OSError(number, str(error), str(path)) from error
