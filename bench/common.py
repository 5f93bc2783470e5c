"""What every benchmark shares: who measured (metadata), how (rounds of contenders side by side), and strict JSON."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numba
import numpy as np
import PIL
import torch

from fdsl_gpu import __version__
from fdsl_gpu.files import replacing
from fdsl_gpu.version import PIXEL_CONTRACT


def parser(documentation: str | None) -> argparse.ArgumentParser:
    """A parser with the option every benchmark has, ``--json``."""
    made = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", help="file to write the results to")
    return made


def save(arguments: argparse.Namespace, results: dict[str, Any], **more: Any) -> None:
    """Write metadata, settings (the arguments) and results to ``arguments.json``, if that was given."""
    if arguments.json:
        settings = {name: value for name, value in vars(arguments).items() if name != "json"}
        write_json(arguments.json, {"metadata": metadata(), "settings": settings, "results": results, **more})


def synchronise(device: str | torch.device) -> None:
    """Wait until everything queued on a device is done."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def metadata() -> dict[str, Any]:
    """Machine, load, commit and versions."""
    versions = {"fdsl_gpu": __version__, "pixel_contract": PIXEL_CONTRACT, "python": platform.python_version()}
    versions |= {"torch": torch.__version__, "numpy": np.__version__, "numba": numba.__version__}
    versions |= {"pillow": PIL.__version__, "triton": _triton_version()}
    versions |= {name: importlib.metadata.version(name) for name in ("timm", "torchvision")}
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _output("git", "rev-parse", "HEAD"),
        "modified": bool(_output("git", "status", "--porcelain", "--untracked-files=no")),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "versions": versions,
    }


def side_by_side(contenders: dict[str, tuple[int, Callable[[], Any]]], rounds: int) -> dict[str, dict[str, float]]:
    """Images per second of contenders, measured in turns so that a drift of the machine meets all of them.

    Args:
        contenders: name -> (images a call, call). The call must have finished its work when it returns.
        rounds: timed calls of each, after one that is not counted.

    Returns:
        name -> median and quartiles of images per second, microseconds an image at the median, and rounds.
    """
    for _, call in contenders.values():
        call()
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (images, call) in contenders.items():
            start = time.perf_counter()
            call()
            rates[name].append(images / (time.perf_counter() - start))
    return {name: summary(values) for name, values in rates.items()}


def summary(rates: list[float]) -> dict[str, float]:
    """Median and quartiles of images per second, and microseconds an image at the median."""
    low, median, high = statistics.quantiles(rates, n=4) if len(rates) > 1 else rates * 3
    return {
        "images_per_second": round(median, 1),
        "q1": round(low, 1),
        "q3": round(high, 1),
        "us_per_image": round(1e6 / median, 3),
        "rounds": len(rates),
    }


def write_json(path: str | os.PathLike[str], report: dict[str, Any]) -> None:
    """Write a report as strict JSON, whole or not at all; the folder is made if need be."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")


def print_table(results: dict[str, dict[str, float]], reference: str | None = None) -> None:
    """Print rates, and the ratio to ``reference``."""
    width = max(len(name) for name in results)
    for name, row in results.items():
        line = f"{name:{width}}  {row['images_per_second']:>10,.0f} img/s  [{row['q1']:,.0f}, {row['q3']:,.0f}]"
        if reference:
            line += f"  {row['images_per_second'] / results[reference]['images_per_second']:6.2f} x"
        print(line)


def _output(*command: str) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def _triton_version() -> str | None:
    try:
        import triton
    except ImportError:
        return None
    return triton.__version__
