"""Checks of the memory that is needed, before it is allocated."""

import os
from pathlib import Path

# Below this an allocation is left to the operating system: looking costs more than it saves.
_UNCHECKED = 1 << 26

_MEMINFO = Path("/proc/meminfo")
_CONTROL_GROUP = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Bytes that can be allocated without swapping, or None where the system does not tell.

    On Linux the smaller of MemAvailable and what the control group (a container's limit) leaves,
    not counting file cache that would be given up; elsewhere the physical memory.
    """
    left = [size for size in (_system_memory(), _control_group_memory()) if size is not None]
    return min(left, default=None)


def _system_memory() -> int | None:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _control_group_memory() -> int | None:
    try:
        limit = int((_CONTROL_GROUP / "memory.max").read_text())
        used = int((_CONTROL_GROUP / "memory.current").read_text())
        counts = dict(
            line.split() for line in (_CONTROL_GROUP / "memory.stat").read_text().splitlines()
        )
        return max(0, limit - used + int(counts.get("inactive_file", 0)))
    except (OSError, ValueError):  # no control group, or no limit ("max")
        return None


def require_memory(size: int, what: str, advice: str = "") -> None:
    """Raise MemoryError if ``size`` bytes are not available.

    Parameters
    ----------
    size : int
        Bytes about to be allocated.
    what : str
        What they are for; begins the message.
    advice : str
        What to do instead; ends the message.

    Raises
    ------
    MemoryError
        With the number of bytes that were needed and that there are.
    """
    if size < _UNCHECKED:
        return
    available = available_memory()
    if available is not None and size > available:
        raise MemoryError(
            f"{what} would take {size} bytes ({size / 2**30:.1f} GiB) of which {available} are "
            f"available" + (f"; {advice}" if advice else "")
        )
