"""Compiles every kernel of ``triton_kernels`` offline, reports as JSON: ``python -m tests.compile_kernels``."""

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests import sass

KERNEL_FILES = [
    "augment",
    "background",
    "contour",
    "crop",
    "density",
    "erase",
    "fractal_scene",
    "ifs",
    "ifs_2d",
    "polygon",
    "search",
    "write_out",
]
TARGETS = ["sm_80", "sm_90", "gfx942"]

# Disassembling takes half a second, so it is done for one machine.
SASS_TARGET = "sm_90"

# Warps of a program as the launchers choose them, by kernel or file; Triton's own choice is 4.
WARPS = {
    "background": 16,
    "contour.raster": 1,
    "contour.vertices": 1,
    "ifs.draw_3d": 2,
    "ifs_2d.plot_2d": 2,
    "polygon.outline": 1,
    "search": 1,
}

# Triton compiles an integer that is 1 as a constant, and knows of one if 16 divides it: those of contours at 224 px.
INTEGERS = {
    "background": 0,
    "max_lines": 200,
    "max_vertices": 208,
    "pitch": 257,
    "pixels": 32 * 512 * 512,
    "size": 512,
    "stride_b": 3 * 224 * 224,
    "stride_c": 224 * 224,
    "stride_h": 224,
    "stride_w": 1,
}
_CHANNELS_LAST = {"stride_c": 1, "stride_h": 3 * 224, "stride_w": 3}


def launch_of(name: str) -> tuple[int, dict[str, int]]:
    """Warps and integers with which a kernel, "file.kernel" or "file.kernel/variant", is launched."""
    kernel, _, variant = name.partition("/")
    warps = WARPS.get(kernel, WARPS.get(kernel.partition(".")[0], 4))
    return warps, {**INTEGERS, **(_CHANNELS_LAST if variant.endswith("channels_last") else {})}


def compile_kernel(
    name: str, kernel: Any, signature: dict[str, str], constants: dict[str, Any], target: str
) -> tuple[bytes, list[str]]:
    """The binary of a kernel, specialised as at its launch, and its fused float instructions; none for AMD."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    nvidia = target.startswith("sm_")
    gpu = GPUTarget("cuda", int(target[3:]), 32) if nvidia else GPUTarget("hip", target, 64)
    warps, integers = launch_of(name)
    fixed = {parameter.name for parameter in kernel.params if parameter.do_not_specialize}
    known = {argument: integers[argument] for argument in signature if argument in integers.keys() - fixed}
    constants = {**constants, **{argument: 1 for argument, value in known.items() if value == 1}}
    everything = {**signature, **dict.fromkeys(constants, "constexpr")}
    # Memory of torch starts at multiples of 16 bytes.
    divisible = {argument for argument, value in known.items() if value % 16 == 0}
    divisible |= {argument for argument, kind in signature.items() if kind.startswith("*")}
    source = ASTSource(
        fn=kernel,
        signature={argument: everything[argument] for argument in kernel.arg_names},
        constexprs=constants,
        attrs={(kernel.arg_names.index(argument),): [["tt.divisibility", 16]] for argument in sorted(divisible)},
    )
    compiled = triton.compile(source, target=gpu, options={"enable_fp_fusion": False, "num_warps": warps})
    if not nvidia:
        return b"", []
    return compiled.asm["cubin"], re.findall(r"^\s*fma\.\S*f(?:32|64).*$", compiled.asm["ptx"], re.M)


def describe(cubin: bytes, disassemble: bool) -> dict[str, Any]:
    """Registers, bytes spilled and of shared memory of a binary, and its instructions if it is disassembled."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        options = ["--dump-resource-usage"] + ["--dump-sass"] * disassemble
        text = subprocess.run([str(tool), *options, file.name], capture_output=True, text=True, check=True).stdout
    usage = dict(re.findall(r"(REG|LOCAL|SHARED):(\d+)", text))
    if len(usage) != 3:
        raise RuntimeError(f"no resource usage in: {text!r}")
    resources = {"registers": int(usage["REG"]), "spills": int(usage["LOCAL"]), "shared": int(usage["SHARED"])}
    return {**resources, **sass.count(text)} if disassemble else resources


@lru_cache(maxsize=1)
def report() -> dict[str, dict[str, Any]]:
    """Target -> kernel -> what ``main`` prints, from a process of its own: here kernels may be the interpreter's."""
    return run_alone("tests.compile_kernels")


def run_alone(module: str) -> Any:
    """The JSON that a module prints when it is run with Triton's compiler."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    result = subprocess.run([sys.executable, "-m", module], env=environment, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{module} failed: {result.stderr[-3000:]}")
    return json.loads(result.stdout)


def main() -> None:
    """Compile all kernels for all targets; one thread describes the binaries meanwhile."""
    found: dict[str, dict[str, dict[str, Any]]] = {target: {} for target in TARGETS}
    with ThreadPoolExecutor(1) as helper:
        pending: list[tuple[dict[str, Any], Future]] = []
        for file in KERNEL_FILES:
            module = importlib.import_module(f"triton_kernels.{file}")
            for name, (signature, constants) in module.SIGNATURES.items():
                kernel, full_name = getattr(module, name.split("/")[0]), f"{file}.{name}"
                for target in TARGETS:
                    cubin, fused = compile_kernel(full_name, kernel, signature, constants, target)
                    entry = found[target][full_name] = {"spills": None, "fma": fused}
                    if cubin:
                        pending.append((entry, helper.submit(describe, cubin, target == SASS_TARGET)))
        for entry, description in pending:
            entry.update(description.result())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
