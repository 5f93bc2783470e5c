"""What a batch asks of a GPU, found without one: ``python -m tests.recorded_launches`` prints JSON.

The stream draws on fake tensors of a device "cuda": nothing is computed, and what would wait for the device raises.
Kernels are recorded where they are launched, operations of torch where they are dispatched.
"""

import contextlib
import json
import types
from collections import Counter
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fdsl_gpu import FDSLDataset

BATCH = 256

# One dataset of each way to draw; others of the formula differ in the number of classes only.
DATASETS: list[tuple[str, dict[str, Any]]] = [
    ("1p-frac", {}),
    ("2d-ofdb-1k", {}),
    ("3d-ofdb-1k", {}),
    ("anderson-farrell-1k", {}),
    ("anderson-farrell-multi-1k", {}),
    ("exfractaldb-1k", {}),
    ("fractaldb-1k", {}),
    ("fractaldb-1k", {"color": True}),
    ("mv-fractaldb-1k", {}),
    ("rcdb-1k", {}),
    ("segrcdb", {}),
    ("segrcdb", {"masks": "M2"}),
    ("visualatom-1k", {}),
]
WORKLOADS = [
    *DATASETS,
    *((name, {**options, "augment": "fdsl"}) for name, options in DATASETS if name != "segrcdb"),
    ("rcdb-1k", {"augment": "fdsl", "mode": "vector"}),
]

_HOST = ("prim.device.default", "aten.lift_fresh.default", "aten.detach.default")


class Recorder(TorchDispatchMode):
    """Collects launches of kernels and of torch's operations, copies to the device, and memory taken there."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: dict[str, list[dict[str, Any]]] = {}
        self.clear()

    def clear(self) -> None:
        """Forget what a batch did, not which kernels there are."""
        self.launches: Counter[str] = Counter()
        self.bytes = 0

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        result = operation(*arguments, **(keywords or {}))
        if str(operation) in _HOST or not isinstance(result, torch.Tensor):
            return result
        inputs = [value for value in arguments if isinstance(value, torch.Tensor)]
        if result.device.type != "cuda":
            if any(value.device.type == "cuda" for value in inputs):
                raise RuntimeError(f"{operation} brings {tuple(result.shape)} to the host, which waits for the GPU")
            return result
        shares = any(value.untyped_storage()._cdata == result.untyped_storage()._cdata for value in inputs)
        if not shares:
            self.bytes += result.untyped_storage().nbytes()
        name = operation.overloadpacket.__name__
        if any(value.device.type == "cpu" for value in inputs):
            self.launches["copy to the device"] += 1
        elif not (name.startswith(("empty", "new_empty")) or (shares and not name.endswith("_"))):
            self.launches[f"torch.{name}"] += 1
        return result

    def run(self, kernel: Any, *arguments: Any, grid: tuple[int, ...], warmup: bool, **options: Any) -> None:
        """In the place of ``Kernel.run``."""
        constexprs = {parameter.name for parameter in kernel.params if parameter.is_constexpr}
        fixed = {parameter.name for parameter in kernel.params if parameter.do_not_specialize}
        names = [parameter.name for parameter in kernel.params]
        values = dict(zip(names, arguments, strict=False)) | {n: v for n, v in options.items() if n in names}
        name = f"{kernel.__module__.rpartition('.')[2]}.{kernel.__name__}"
        self.launches[f"{name}{list(grid)}"] += 1
        launch = {
            "num_warps": options.get("num_warps", 4),
            "constants": {n: v for n, v in values.items() if n in constexprs},
            "integers": {n: v for n, v in values.items() if isinstance(v, int) and n not in constexprs | fixed},
        }
        if launch not in self.kernels.setdefault(name, []):
            self.kernels[name].append(launch)


@contextlib.contextmanager
def no_device() -> Any:
    """A device "cuda" of fake tensors, for what the hot path asks of ``torch.cuda``."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    stream = types.SimpleNamespace(wait_event=lambda event: None, record_event=lambda: None)
    guard = contextlib.nullcontext()
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with (
        mock.patch("fdsl_gpu.arguments.resolve_device", return_value=torch.device("cuda", 0)),
        mock.patch.object(torch.cuda, "current_stream", return_value=stream),
        mock.patch.object(torch.cuda, "device", return_value=guard),
        mock.patch.object(torch.cuda, "device_of", return_value=guard),
        mock.patch.object(torch.Tensor, "pin_memory", lambda tensor: tensor),
        mode,
    ):
        yield


def record() -> dict[str, Any]:
    """Launches, copies and bytes of one batch of every workload, and how each kernel was launched."""
    from fdsl_gpu.render import points_2d
    from triton_kernels.launch import Kernel

    recorder, batches = Recorder(), {}
    run = lambda kernel, *arguments, **options: recorder.run(kernel, *arguments, **options)  # noqa: E731
    with no_device(), mock.patch.object(Kernel, "run", run), recorder:
        for name, options in WORKLOADS:
            points_2d._shared_halves.cache_clear()
            recorder.clear()
            stream = iter(FDSLDataset(name, BATCH, device="cuda", **options))
            next(stream)
            first = recorder.bytes
            recorder.clear()
            next(stream)
            batches["-".join([name, *(f"{key}={value}" for key, value in options.items())])] = {
                "kept_bytes": first - recorder.bytes,
                "batch_bytes": recorder.bytes,
                "launches": dict(sorted(recorder.launches.items())),
            }
    return {"batches": batches, "kernels": recorder.kernels}


if __name__ == "__main__":
    print(json.dumps(record()))
