"""What differs between operating systems, each with a portable branch."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

_XDG = ("XDG_CONFIG_HOME", ".config")
_XDG_STATE = ("XDG_STATE_HOME", ".local/state")


def config_directory() -> Path:
    """Where programs keep the files of this user; it need not exist.

    Examples
    --------
    >>> config_directory().is_absolute()
    True
    """
    variable, folder = ("APPDATA", "AppData/Roaming") if os.name == "nt" else _XDG
    return Path(os.environ.get(variable) or Path.home() / folder).absolute()


def interpreter(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def is_exposed(file: Path) -> bool:
    """Whether anybody but this user, or the group of another owner, can read or change a file.

    Never on Windows, where the folders of a user are closed to other users.

    Examples
    --------
    >>> is_exposed(Path("/"))
    True
    """
    if os.name == "nt":
        return False
    found = file.stat()
    return bool(found.st_mode & (0o077 if found.st_uid == os.geteuid() else 0o027))


def is_changeable(folder: Path) -> bool:
    """Whether other users can put files in a folder; never on Windows, as for `is_exposed`."""
    return os.name != "nt" and bool(folder.stat().st_mode & 0o022)


def is_owned(file: Path) -> bool:
    """Whether a file is this user's and nobody else can change it or put another in its place.

    On Windows, whether it is below the user's home.  False where there is none.

    Examples
    --------
    >>> is_owned(Path("/no such folder/file"))
    False
    """
    try:
        folder, found = file.parent.stat(), file.stat()
    except OSError:
        return False
    if os.name == "nt":
        return Path.home() in file.resolve().parents
    if {folder.st_uid, found.st_uid} != {os.geteuid()} or folder.st_mode & 0o022:
        return False
    closed = not folder.st_mode & 0o011  # whatever the file allows, nobody else gets there
    return closed or not found.st_mode & 0o022


def state_directory() -> Path:
    """Where programs keep what they have to remember for this user; it need not exist.

    Examples
    --------
    >>> state_directory().is_absolute()
    True
    """
    variable, folder = ("LOCALAPPDATA", "AppData/Local") if os.name == "nt" else _XDG_STATE
    return Path(os.environ.get(variable) or Path.home() / folder).absolute()


def lock(file: BinaryIO) -> None:
    """Lock a file for this process alone, until it is closed or the process ends.

    Raises
    ------
    BlockingIOError
        If another process holds it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryFile() as file:
    ...     lock(file)
    """
    if os.name == "nt":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError as error:
            raise BlockingIOError(*error.args) from error
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sync_directory(directory: Path) -> None:
    """Make names that were added to a directory survive a power failure.

    Does nothing on Windows, where a directory cannot be opened and NTFS keeps a journal.

    Examples
    --------
    >>> sync_directory(Path())
    """
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_system(path: Path) -> str:
    """Return the type of the file system that holds a path, as ``mount`` shows it; "" if unknown.

    Examples
    --------
    >>> isinstance(file_system(Path()), str)
    True
    """
    mounts = _mounts()
    where = path.resolve()
    return next((mounts[str(f)] for f in (where, *where.parents) if str(f) in mounts), "")


def _mounts() -> dict[str, str]:
    """Types of the mounted file systems by the folders that they are mounted on."""
    if lines := _lines(Path("/proc/self/mountinfo")):
        # 36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw
        parted = (line.partition(" - ") for line in lines)
        return {_unescaped(left.split(" ")[4]): kind.split(" ")[0] for left, _, kind in parted}
    import psutil

    return {each.mountpoint: each.fstype for each in psutil.disk_partitions(all=True)}


def _unescaped(folder: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), folder)


def file_size_limit() -> int | None:
    """Return the largest size in bytes that this process may give a file, None for any.

    Examples
    --------
    >>> file_size_limit() is None or file_size_limit() >= 0
    True
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if limit == resource.RLIM_INFINITY else limit


def at_fork(**functions: Callable[[], object]) -> None:
    """Register what ``os.fork`` calls, by the names of :func:`os.register_at_fork`.

    Does nothing where processes do not fork.

    Examples
    --------
    >>> at_fork(after_in_child=lambda: None)
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(**functions)


class Lock(Protocol):
    """What a lock needs to be held while the process forks."""

    def acquire(self) -> object:
        """Wait for the lock and take it."""

    def release(self) -> object:
        """Let the next one have it."""


def hold_across_fork(lock: Lock) -> None:
    """Take a lock for the moment of each ``os.fork`` from now on.

    So no other thread is in the middle of what the lock guards when the child's copy is
    made, and the child never inherits a lock that nobody there will release.

    Examples
    --------
    >>> import threading
    >>> hold_across_fork(threading.RLock())
    """
    at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


def usable_cpus() -> int:
    """Return how many processors this process may run on.

    Examples
    --------
    >>> usable_cpus() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    """Return the processor's model name, without any figure that changes while it runs."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def gpu_models(root: Path = Path("/")) -> list[str]:
    """Return the names of NVIDIA's and AMD's graphics processors that Linux shows, sorted.

    Read from the files of their drivers; empty where there are none.

    Parameters
    ----------
    root : Path
        Where the file systems of the kernel are.
    """
    nvidia = root.glob("proc/driver/nvidia/gpus/*/information")
    amd = root.glob("sys/class/kfd/kfd/topology/nodes/*/name")
    models = [line[6:] for path in nvidia for line in _lines(path) if line.startswith("Model:")]
    models += [" ".join(_lines(path)) for path in amd]
    return sorted(filter(None, map(str.strip, models)))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def host_name() -> str:
    """Return the name of this machine, "" where it has none.

    Examples
    --------
    >>> isinstance(host_name(), str)
    True
    """
    return platform.node()


def boot_id() -> str | None:
    """Return an identifier of the machine's present start, or None where there is none.

    Together with a process id and the time the process started it tells whether a process
    seen earlier can still be the same one.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


def since_boot(pid: int) -> float | None:
    """Return the seconds from the machine's start to a process's; None where nothing tells.

    Unlike the time of day at which it started, that does not change when the clock is set.

    Examples
    --------
    >>> since_boot(os.getpid()) == since_boot(os.getpid())
    True
    """
    fields = _status(pid)
    return int(fields[19]) / os.sysconf("SC_CLK_TCK") if fields else None


def _status(pid: int) -> list[str]:
    """Fields of Linux's ``/proc/<pid>/stat`` behind the name, which may hold anything."""
    return "".join(_lines(Path(f"/proc/{pid}/stat"))).rpartition(")")[2].split()


def is_alive(owner: dict[str, Any]) -> bool:
    """Whether the process of a record may still run; unknown counts as yes.

    Parameters
    ----------
    owner : dict
        ``host``, ``pid``, ``boot_id``, ``started`` and, if known, ``since_boot`` of the process.

    Notes
    -----
    Of another host nothing is known.  On this one the process is gone when the machine
    was started anew since, when no process has its number or only one that has ended and was
    not waited for, or when the one that has it was started at another time.
    """
    if owner["host"] != host_name():
        return True
    if owner["boot_id"] != boot_id():
        return False
    if owner["pid"] == os.getpid():
        return True
    import psutil

    try:
        found = psutil.Process(owner["pid"])
        if found.status() == psutil.STATUS_ZOMBIE:
            return False
        before, now = owner.get("since_boot"), since_boot(owner["pid"])
        if before is None or now is None:
            before, now = owner["started"], found.create_time()
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
    return abs(now - float(before)) < 1.0
