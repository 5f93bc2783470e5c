"""Everything that needs a GPU, in one call: the GPU tests, then the benchmarks, with results as JSON in a folder.

    python bench/run_gpu.py OUT_FOLDER
    python bench/run_gpu.py OUT_FOLDER --parts generate train --seconds 200

Runs from a checkout (no installation) and ends inside nine minutes. Every part has a bound of its own, after which it
ends with its next result. The file is written after every result, and the parts run in a process of their own: where
that dies, hangs, or has an error of the device, another goes on with the parts that are left. Without a GPU it is a
rehearsal: tiny sizes on the CPU, and two pictures by the Triton kernels in Triton's interpreter; its figures mean
nothing.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from bench import gpu_parts
from bench.common import device_error, error_text, metadata, write_json
from bench.gpu_parts import Place, Results


def graphs(place: Place, seconds: float) -> Results:
    """Plain launches beside replays and CUDA graphs."""
    if place.rehearsal:
        yield "skipped", "no CUDA device"
        return
    from bench import cuda_graphs

    for name in gpu_parts.SWEPT:
        yield name, cuda_graphs.measure(name, place.batch, place.dtypes[0])


SECONDS = 490.0
"""Of the whole; with the grace below and Python's starts, nine minutes."""

# Seconds at most. What matters most comes first, and has its time whatever happens: as far as the chunks, the bounds
# add up to less than the whole's. What is least sure to leave the device usable comes last.
PARTS: dict[str, tuple[float, Callable[[Place, float], Results]]] = {
    "tests": (200, gpu_parts.gpu_tests),
    "interpreter": (60, gpu_parts.interpreted),
    "generate": (70, gpu_parts.drawing),
    "augmented": (25, gpu_parts.augmented),
    "host": (15, gpu_parts.host_time),
    "memory": (20, gpu_parts.memory),
    "train": (120, gpu_parts.training),
    "chunks": (30, gpu_parts.by_chunk),
    "sync": (15, gpu_parts.never_waits),
    "feed": (45, gpu_parts.feeding),
    "stages": (30, gpu_parts.by_stage),
    "scaling": (40, gpu_parts.by_size),
    "first_batch": (45, gpu_parts.first_batch),
    "peers": (30, gpu_parts.peers),
    "graphs": (20, graphs),
}

_GRACE = 25
"""Seconds over its bound after which a part's process is ended."""

GOALS = {"rcdb-1k bfloat16": 500e3, "exfractaldb-1k bfloat16": 1e6, "fractaldb-1k bfloat16, 100k points": 400e3}
"""Images per second that an H100 should reach."""


def run(parts: list[str], place: Place, path: Path, seconds: float) -> dict[str, Any]:
    """Run parts one after another for at most ``seconds``, going on with the report in the file, if there is one."""
    deadline = time.monotonic() + seconds
    # Names only: a report does not tell how folders of a machine are called.
    settings = {**vars(place), "peers": place.peers and Path(place.peers).name}
    report: dict[str, Any] = {"metadata": metadata(), "settings": settings, "rehearsal": place.rehearsal}
    report |= {"errors": {}, "cut": {}, "seconds": {}}
    if path.exists():
        report |= json.loads(path.read_text())
    if report["rehearsal"] != place.rehearsal:
        raise RuntimeError("the CUDA device is gone: what is left cannot be measured")
    for name in parts:
        started = time.monotonic()
        bound = min(PARTS[name][0], deadline - started)
        if bound < 3:
            report["cut"][name] = "before it began"
            continue
        print(f"== {name}, at most {bound:.0f} s", flush=True)
        report["running"] = name
        write_json(path, report)
        # What is stuck in a kernel can only be ended with the process.
        faulthandler.dump_traceback_later(bound + _GRACE, exit=True)
        try:
            run_part(name, place, bound, report, path)
        except Exception as error:
            # Whatever it is, the other parts can still be measured.
            report["errors"][name] = error_text(error)
            traceback.print_exc()
        report["seconds"][name] = round(time.monotonic() - started, 1)
        if broken := device_error(place.device):
            report["errors"].setdefault(name, broken)
            write_json(path, report)
            # At once: what would be cleaned up is on the device.
            os._exit(1)
        faulthandler.cancel_dump_traceback_later()
    report.pop("running", None)
    report["goals"] = goals(report.get("generate", {}))
    write_json(path, report)
    return report


def run_part(name: str, place: Place, bound: float, report: dict[str, Any], path: Path) -> None:
    """Results of a part, until there are no more or its time is over."""
    deadline = time.monotonic() + bound
    rows = report[name] = {}
    for key, value in PARTS[name][1](place, bound):
        rows[key] = value
        print(f"{key}: {value}", flush=True)
        write_json(path, report)
        if time.monotonic() > deadline:
            # Between results: an exception at any moment could leave a compiler or the device in an unknown state.
            report["cut"][name] = f"after {bound:.0f} s"
            return


def supervise(arguments: argparse.Namespace, path: Path) -> dict[str, Any]:
    """Run the parts in a process, and those that are left in another one if it ends before its work."""
    deadline = time.monotonic() + arguments.seconds
    path.unlink(missing_ok=True)
    parts = arguments.parts
    while parts:
        left = f"{deadline - time.monotonic():.1f}"
        command = [sys.executable, __file__, arguments.out, "--in-process", "--seconds", left]
        command += ["--peers", arguments.peers] if arguments.peers else []
        status = subprocess.run([*command, "--parts", *parts], check=False).returncode
        report = json.loads(path.read_text()) if path.exists() else {"errors": {"start": f"status {status}"}}
        running = report.pop("running", None)
        if running is None:
            if status:
                report["errors"]["start"] = f"status {status} before any of: {', '.join(parts)}"
                write_json(path, report)
            break
        ended = f"the process ended with status {status}, after what is reported of this part"
        report["errors"].setdefault(running, ended)
        report["goals"] = goals(report.get("generate", {}))
        write_json(path, report)
        parts = parts[parts.index(running) + 1 :]
    return report


def goals(rates: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The goals, what was measured, and whether that reaches them; None for what was not measured."""
    rows: dict[str, dict[str, Any]] = {}
    for name, goal in GOALS.items():
        rate = rates[name]["images_per_second"] if name in rates else None
        rows[name] = {"goal": goal, "images_per_second": rate, "reached": None if rate is None else rate >= goal}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="folder for the JSON results")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS), help="default: all")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="bound on the whole (default: %(default)s)")
    parser.add_argument("--peers", metavar="FOLDER", help="checkouts of the peers, to measure their CUDA renderer")
    parser.add_argument("--in-process", action="store_true", help="go on with the results in the folder, unsupervised")
    arguments = parser.parse_args()
    path = Path(arguments.out) / "gpu.json"
    if arguments.in_process:
        run(arguments.parts, here(arguments.peers), path, arguments.seconds)
        return
    started = time.monotonic()
    report = supervise(arguments, path)
    for name, text in [*report["errors"].items(), *report.get("cut", {}).items()]:
        print(f"{name}: {text}")
    if report.get("rehearsal"):
        print("no CUDA device: this was a rehearsal on a CPU with tiny sizes, whose figures mean nothing")
    print(f"wrote {path} after {time.monotonic() - started:.0f} s")
    sys.exit(bool(report["errors"]) or report.get("tests", {}).get("status") in ("failed", "timed out"))


def here(peers: str | None) -> Place:
    """Sizes for this machine."""
    if torch.cuda.is_available():
        return Place("cuda", ("bfloat16", "uint8"), 256, 20, False, peers)
    torch.set_num_threads(1)
    return Place("cpu", ("uint8",), 4, 2, True)


if __name__ == "__main__":
    main()
