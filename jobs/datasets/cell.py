"""The inside of a confined child: lock the doors, then run the one errand and answer.

Started by `jobs.datasets.confine` as a script (`python -I cell.py`), never imported by the
platform. The order, one JSON object on standard input, names a function `module:name`, its
arguments, the limits, and the paths it may touch. The answer is one JSON object on standard
output: `value`, or one of `refused`, `out_of_memory`, `failed`; with it `walls`, the locks that
hold, and `peak_memory_bytes`.

The locks are put on in this order, because each would undo or forbid the one before it:

1. resource limits, so that whatever follows is bounded;
2. a user namespace with an empty network, before any thread exists;
3. death with the parent, which the new credentials of 2 would have cleared;
4. no new privileges;
5. the errand's module is imported, while its files can still be found and its bytecode cached;
6. the file system: from here on only code and the granted paths are within reach.

No untrusted byte is looked at before the last lock is on. Parent packages of the errand's module
are entered without running their `__init__`: the public face of `jobs` is slow to import, and a
child has no business with it.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROJECT_ROOT = Path(__file__).resolve().parents[2]
MESSAGE_CHARACTERS_MAX = 4000


def main() -> None:
    """Read the order, lock the doors, run the errand, write the answer."""
    order = json.load(sys.stdin.buffer)
    answer_to = claim_standard_output()
    walls = {"network": False, "files": False}
    answer = {**attempt(order, walls), "walls": walls, "peak_memory_bytes": peak_memory_bytes()}
    with os.fdopen(answer_to, "wb") as stream:
        stream.write(encode(answer))
    sys.stderr.flush()
    os._exit(0)  # nothing is left to tidy, and an engine may take long to say goodbye


def claim_standard_output() -> int:
    """Keep standard output for the answer alone; whatever the errand prints goes to stderr."""
    answer_to = os.dup(1)
    os.dup2(2, 1)
    return answer_to


def attempt(order: dict[str, Any], walls: dict[str, bool]) -> dict[str, Any]:
    """Confine this process as ordered and run the errand; notes in `walls` which locks hold."""
    enter_packages("jobs.confinement")
    from jobs.confinement import locks

    locks.limit_resources(order["limits"])
    walls["network"] = locks.leave_the_network()
    if walls["network"]:
        locks.limit_processes()
    locks.die_with_parent(order["parent_pid"])
    locks.forbid_new_privileges()
    try:
        errand = find_function(order["function"])
        walls["files"] = locks.restrict_files(order["readable"], order["writable"])
        return {"value": errand(**order["arguments"])}
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent is told
        return describe_failure(error)


def find_function(name: str) -> Callable[..., Any]:
    """Import `module:function`, entering the module's parent packages without running them."""
    module_name, _, function_name = name.partition(":")
    enter_packages(module_name.rpartition(".")[0])
    function: Callable[..., Any] = getattr(importlib.import_module(module_name), function_name)
    return function


def enter_packages(package_name: str) -> None:
    """Register an empty shell for the package and each of its parents."""
    if str(PROJECT_ROOT) not in sys.path:
        sys.path.insert(0, str(PROJECT_ROOT))
    parts = package_name.split(".")
    for depth in range(1, len(parts) + 1):
        shell = types.ModuleType(".".join(parts[:depth]))
        shell.__path__ = [str(PROJECT_ROOT.joinpath(*parts[:depth]))]
        sys.modules.setdefault(shell.__name__, shell)


def describe_failure(error: BaseException) -> dict[str, Any]:
    """Sort an exception into `refused`, `out_of_memory` or `failed`."""
    from jobs.datasets.errors import Refused

    kind, message = type(error).__name__, str(error)[:MESSAGE_CHARACTERS_MAX]
    if isinstance(error, Refused):
        return {"refused": {"kind": kind, "message": message}}
    if isinstance(error, MemoryError) or kind == "OutOfMemoryException":
        return {"out_of_memory": message}
    return {"failed": f"{kind}: {message}"}


def encode(answer: dict[str, Any]) -> bytes:
    """The answer as JSON; a value that is not JSON is the errand's fault and told as one."""
    try:
        return json.dumps(answer, allow_nan=False).encode()
    except (TypeError, ValueError, MemoryError) as error:
        answer.pop("value", None)
        return json.dumps({**answer, **describe_failure(error)}).encode()


def peak_memory_bytes() -> int:
    """The most memory this process had resident.

    On Linux by its own status: the usual counter starts with what the parent had at the fork.
    """
    status = Path("/proc/self/status")
    if status.exists():
        peaks = (line.split()[1] for line in status.open() if line.startswith("VmHWM:"))
        return int(next(peaks, "0")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


if __name__ == "__main__":
    main()
