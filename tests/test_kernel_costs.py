"""What kernels and batches cost is what was accepted: instructions, registers, launches and bytes, and no time."""

import warnings

import pytest

from tests import kernel_costs, sass
from tests.compile_kernels import launch_of
from tests.recorded_launches import BATCH

pytest.importorskip("triton", reason="Triton is not installed")

# A loop of 8 instructions round one of 3, whose head is its own end, and the padding that assemblers append.
CODE = """
        /*0000*/                   MOV R1, c[0x0][0x28] ;
        /*0010*/                   IADD3 R2, R2, 0x1, RZ ;
        /*0020*/              @!P0 BRA 0x50 ;
        /*0030*/                   LDG.E R3, desc[UR4][R4.64] ;
        /*0040*/                   FADD R5, R3, R5 ;
        /*0050*/                   ATOMG.E.MAX.STRONG.GPU PT, R9, desc[UR4][R2.64], R9 ;
        /*0060*/                   ISETP.GE.AND P1, PT, R2, 0xa, PT ;
        /*0070*/              @!P1 BRA `(0x50) ;
        /*0080*/               @P0 BRA 0x10 ;
        /*0090*/                   EXIT ;
        /*00a0*/                   BRA 0xa0;
        /*00b0*/                   NOP;
"""


def test_instructions_are_counted_by_loop_and_kind() -> None:
    report = sass.count(CODE)
    assert report["instructions"] == 10
    assert (report["memory"], report["float"], report["control"]) == (2, 1, 4)
    outer, inner = report["loops"]
    assert outer == {"depth": 1, "instructions": 5, "control": 2, "float": 1, "integer": 1, "memory": 1}
    assert inner == {"depth": 2, "instructions": 3, "control": 1, "integer": 1, "memory": 1}


def test_differences_say_whose_what_was_and_is() -> None:
    was = {"kernels": {"a": {"registers": 30, "loops": [{"instructions": 5}]}}, "batches": {"b": {"launches": {}}}}
    now = {"kernels": {"a": {"registers": 32, "loops": []}}, "batches": {"b": {"launches": {"torch.zero_": 1}}}}
    assert kernel_costs.compare(was, was) == []
    assert kernel_costs.compare(was, now) == [
        "a: loops 1 instructions: was 5, is None",
        "a: registers: was 30, is 32",
        "b: launches torch.zero_: was None, is 1",
    ]


def test_costs_are_the_accepted_ones() -> None:
    path, costs = kernel_costs.accepted_file(), kernel_costs.measure()
    if not path.exists():
        warnings.warn(f"no costs are accepted for this Triton:\n{kernel_costs.table(costs)}", stacklevel=1)
        pytest.skip(f"{path.name} does not exist")
    differences = kernel_costs.compare(kernel_costs.load(path), costs)
    assert not differences, "\n".join([*differences, kernel_costs.HOW_TO_ACCEPT])


def test_kernels_are_compiled_as_they_are_launched() -> None:
    for name, launches in kernel_costs.launches()["kernels"].items():
        warps, integers = launch_of(name)
        assert {launch["num_warps"] for launch in launches} == {warps}, name
        # One of the ways: the last chunk of a batch, for one, may have any number of pixels.
        assert any(
            all(_known(value) == _known(integers.get(key, -1)) for key, value in launch["integers"].items())
            for launch in launches
        ), f"{name} is launched with {[launch['integers'] for launch in launches]}, compiled for {integers}"


def _known(value: int) -> str:
    """What Triton compiles a kernel for."""
    return "1" if value == 1 else "divisible by 16" if value % 16 == 0 else "any"


def test_every_image_and_mask_of_a_batch_is_written_once() -> None:
    for name, batch in kernel_costs.launches()["batches"].items():
        expected = 2 * BATCH if name.startswith("segrcdb") else BATCH
        writes = {kernel: n for kernel, n in batch["launches"].items() if ".write[" in kernel}
        assert sum(int(kernel.partition("[")[2].split(",")[0]) * n for kernel, n in writes.items()) == expected, name
