"""Compiles every kernel of ``triton_kernels`` offline, reports as JSON: ``python -m tests.compile_kernels``."""

import importlib
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

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


def compile_kernel(kernel: Any, signature: dict[str, str], constants: dict[str, Any], target: str) -> dict[str, Any]:
    """Registers spilled (None where the backend does not say) and fused float instructions of one kernel."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    nvidia = target.startswith("sm_")
    gpu = GPUTarget("cuda", int(target[3:]), 32) if nvidia else GPUTarget("hip", target, 64)
    everything = {**signature, **dict.fromkeys(constants, "constexpr")}
    ordered = {name: everything[name] for name in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=ordered, constexprs=constants)
    compiled = triton.compile(source, target=gpu, options={"enable_fp_fusion": False, "num_warps": 4})
    if not nvidia:
        return {"spills": None, "fma": []}
    return {
        "spills": _spills(compiled.asm["cubin"]),
        "fma": re.findall(r"^\s*fma\.\S*f(?:32|64).*$", compiled.asm["ptx"], re.M),
    }


def _spills(cubin: bytes) -> int:
    """Bytes of local memory that ptxas spilled to, from the binary's own resource table."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = subprocess.run(
            [str(tool), "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        )
    found = re.search(r"LOCAL:(\d+)", usage.stdout)
    if not found:
        raise RuntimeError(f"no resource usage in: {usage.stdout!r}")
    return int(found.group(1))


def main() -> None:
    """Compile all kernels for all targets."""
    report: dict[str, dict[str, Any]] = {target: {} for target in TARGETS}
    for file in KERNEL_FILES:
        module = importlib.import_module(f"triton_kernels.{file}")
        for name, (signature, constants) in module.SIGNATURES.items():
            for target in TARGETS:
                kernel = getattr(module, name.split("/")[0])
                report[target][f"{file}.{name}"] = compile_kernel(kernel, signature, constants, target)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
