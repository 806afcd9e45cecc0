"""The locks a process puts on itself before it looks at untrusted data: limits, network, files.

Used by child processes only. Each lock works on the calling process, for good, and answers
whether it holds; a lock the system lacks or forbids is skipped, never an error. Limits are POSIX
and hold everywhere they exist; namespaces and Landlock are Linux.

The numbers are from the Linux headers linux/sched.h, prctl.h, capability.h and landlock.h; the
three Landlock system calls have the same numbers on every architecture.
"""

from __future__ import annotations

import ctypes
import mimetypes
import os
import resource
import signal
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x1000_0000, 0x4000_0000
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
CAPABILITY_VERSION_3 = 0x2008_0522

LANDLOCK_CREATE, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_VERSION_FLAG, LANDLOCK_PATH_RULE = 1, 1
WRITE_FILE, READ_FILE, READ_DIR = 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
TRUNCATE = 1 << 14
READING = READ_FILE | READ_DIR
WRITING = READING | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | TRUNCATE
ON_A_FILE = READ_FILE | WRITE_FILE | TRUNCATE
FILE_RIGHTS_OF_ABI = {1: 13, 2: 14, 3: 15, 4: 15}
FILE_RIGHTS_OF_LATER_ABIS = 16
ALL_TCP, ALL_SCOPES = 0b11, 0b11

# How many processors and how much memory there are: an engine that finds these files but may not
# open them aborts. Of /proc only the process itself.
MACHINE_FACTS = (
    "/proc/self",
    "/proc/meminfo",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
)

PROCESSES_MAX = 64


def limit_resources(limits: dict[str, int]) -> None:
    """Bound memory, processor time, file size and open files; no core dumps."""
    lower_limit("RLIMIT_CORE", 0)
    lower_limit("RLIMIT_AS", limits["memory_bytes"])
    lower_limit("RLIMIT_CPU", limits["cpu_s"], slack=1)  # first a signal that says why, then death
    lower_limit("RLIMIT_FSIZE", limits["file_bytes"])
    lower_limit("RLIMIT_NOFILE", limits["open_files"])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a full file is an error to report, not a death


def limit_processes() -> None:
    """Bound threads and processes; only for a process in a user namespace of its own.

    Elsewhere the kernel counts every process of the user, and a small limit would stop the child
    for what others do.
    """
    lower_limit("RLIMIT_NPROC", PROCESSES_MAX)


def lower_limit(name: str, value: int, slack: int = 0) -> None:
    """Lower one limit, never raising it; systems that lack or refuse it go without.

    The hard limit is `slack` above the soft one.
    """
    kind = getattr(resource, name, None)
    if kind is None:
        return
    _, hard = resource.getrlimit(kind)
    ceiling = value + slack if hard == resource.RLIM_INFINITY else min(value + slack, hard)
    try:
        resource.setrlimit(kind, (min(value, ceiling), ceiling))
    except (ValueError, OSError):
        return


def leave_the_network() -> bool:
    """Move into an empty network namespace and drop the capabilities that came with it.

    Must be called before the process has a second thread.
    """
    libc = linux_library()
    if libc is None or libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return False
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    no_capabilities = (ctypes.c_uint32 * 6)()
    libc.capset(header, no_capabilities)
    return True


def die_with_parent(parent_pid: int) -> None:
    """Be killed when the parent goes; elsewhere than on Linux the clock limits must do.

    Must come after `leave_the_network`: new credentials clear this setting.
    """
    libc = linux_library()
    if libc is None:
        return
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it went before we asked
        os._exit(1)


def forbid_new_privileges() -> None:
    """No program started from here can gain privileges; Landlock asks for this first."""
    libc = linux_library()
    if libc is not None:
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def restrict_files(readable: Iterable[str], writable: Iterable[str]) -> bool:
    """Leave only code and the given paths within reach; no programs, TCP or outward signals."""
    libc = linux_library()
    abi = libc.syscall(LANDLOCK_CREATE, None, 0, LANDLOCK_VERSION_FLAG) if libc else -1
    if libc is None or abi < 1:
        return False
    rights = (1 << FILE_RIGHTS_OF_ABI.get(abi, FILE_RIGHTS_OF_LATER_ABIS)) - 1
    handled = (ctypes.c_uint64 * 3)(
        rights, ALL_TCP if abi >= 4 else 0, ALL_SCOPES if abi >= 6 else 0
    )
    ruleset = libc.syscall(LANDLOCK_CREATE, handled, ctypes.sizeof(handled), 0)
    if ruleset < 0:
        return False
    for path in (*code_paths(), *MACHINE_FACTS, *readable):
        grant(libc, ruleset, path, READING & rights)
    for path in writable:
        grant(libc, ruleset, path, WRITING & rights)
    refused = libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return bool(refused == 0)


def grant(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    """Allow `rights` beneath one path; a path that is not there needs no permission."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not os.path.isdir(path):
        rights &= ON_A_FILE
    rule = rights.to_bytes(8, sys.byteorder) + descriptor.to_bytes(4, sys.byteorder)
    libc.syscall(LANDLOCK_ADD_RULE, ruleset, LANDLOCK_PATH_RULE, rule, 0)
    os.close(descriptor)


def code_paths() -> list[str]:
    """Where Python finds what it imports late: encodings, extension modules, our own package.

    A library that sees a file and may not open it fails, so what is merely looked up is granted.
    """
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    shared_libraries = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"]
    our_package = str(Path(__file__).resolve().parents[1])
    tables = map(str, mimetypes.knownfiles)  # openpyxl reads those it finds
    return [*map(sysconfig.get_path, names), *shared_libraries, *tables, our_package]


def linux_library() -> ctypes.CDLL | None:
    """The C library of this process, or None where the Linux calls do not exist."""
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
