"""Every Triton kernel compiles, without a GPU, for the promised machines, and spills no register on NVIDIA's."""

from typing import Any

import pytest

from tests.compile_kernels import KERNEL_FILES, TARGETS, report

pytest.importorskip("triton", reason="Triton is not installed")


@pytest.fixture(scope="module")
def compiled() -> dict[str, Any]:
    return report()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("file", KERNEL_FILES)
def test_kernels_compile_without_spills(compiled: dict[str, Any], file: str, target: str) -> None:
    reports = {name: cost for name, cost in compiled[target].items() if name.startswith(f"{file}.")}
    assert reports
    for name, cost in reports.items():
        assert cost["spills"] in (0, None), f"{name} spills {cost['spills']} bytes of registers on {target}"
        # An AMD report has no count of spills; NVIDIA's must.
        assert target == "gfx942" or cost["spills"] == 0


def test_kernels_never_contract_multiplication_and_addition(compiled: dict[str, Any]) -> None:
    for target in ("sm_80", "sm_90"):
        for name, cost in compiled[target].items():
            assert not cost["fma"], f"{name} on {target} has fused multiply-add: {cost['fma']}"
