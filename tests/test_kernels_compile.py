"""Every Triton kernel compiles, without a GPU, for the promised machines, and spills no register on NVIDIA's."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.compile_kernels import KERNEL_FILES, TARGETS

pytest.importorskip("triton", reason="Triton is not installed")


@pytest.fixture(scope="module")
def compiled() -> dict[str, Any]:
    # A process of its own: in this one kernels may be decorated for the interpreter.
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.compile_kernels"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("file", KERNEL_FILES)
def test_kernels_compile_without_spills(compiled: dict[str, Any], file: str, target: str) -> None:
    reports = {name: report for name, report in compiled[target].items() if name.startswith(f"{file}.")}
    assert reports
    for name, report in reports.items():
        assert report["spills"] in (0, None), f"{name} spills {report['spills']} registers on {target}"
        # An AMD report has no count of spills; NVIDIA's must.
        assert target == "gfx942" or report["spills"] == 0


def test_kernels_never_contract_multiplication_and_addition(compiled: dict[str, Any]) -> None:
    for target in ("sm_80", "sm_90"):
        for name, report in compiled[target].items():
            assert not report["fma"], f"{name} on {target} has fused multiply-add: {report['fma']}"
