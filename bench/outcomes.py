"""A plugin of pytest for ``bench.run_gpu``: outcomes that a time-out leaves, and no tests on a device that is in error.

``pytest -p bench.outcomes`` appends a line of JSON, [test, outcome, message], to a file whenever a test ends. An error
of the device, an illegal access for one, would fail every later test of its process; so a worker of pytest-xdist
ends after it, and another one takes the tests that are left.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

FILE = "FDSL_GPU_OUTCOMES"
"""Environment variable with the file's name."""

_workers: list[pytest.Config] = []


def pytest_configure(config: pytest.Config) -> None:
    """Find out whether this process is a worker; variables would tell of one that started this process, too."""
    if hasattr(config, "workerinput"):
        _workers.append(config)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how a test ended; workers report to the process that started them, which notes it."""
    if _workers or (report.when != "call" and report.passed):
        return
    crash = getattr(report.longrepr, "reprcrash", None)
    message = crash.message if crash else str(report.longrepr or "")
    with open(os.environ[FILE], "a") as file:
        file.write(json.dumps([report.nodeid, report.outcome, message[:500]]) + "\n")


def pytest_runtest_logfinish() -> None:
    """End this worker if the device is in error."""
    if _workers and _in_error():
        os._exit(1)


def _in_error() -> bool:
    # Whoever uses the device has torch; it is not imported for this.
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return False
    try:
        cuda.synchronize()
    except RuntimeError:
        return True
    return False
