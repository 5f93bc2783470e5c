"""Everything that needs a GPU, in one call: the GPU tests, then the benchmarks, with results as JSON in a folder.

    python bench/run_gpu.py OUT_FOLDER

Runs from a checkout (no installation) and ends inside nine minutes. Without a GPU it is a rehearsal: what needs the
device is reported as skipped, and the rest runs on tiny sizes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from bench import generate, train  # noqa: E402
from bench.common import metadata, print_table, write_json  # noqa: E402

BUDGET = 9 * 60
TRAINED = ["rcdb-1k", "exfractaldb-1k"]


def run_tests(seconds: float) -> dict[str, Any]:
    """The tests marked gpu, in a process of their own, ended if they take longer than ``seconds``."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-rs", "--maxfail=20", str(ROOT / "tests")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        result = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return {"status": "timed out", "seconds": seconds}
    print(result.stdout[-4000:], result.stderr[-2000:], sep="\n")
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", result.stdout)}
    status = "failed" if result.returncode else "passed" if counts.get("passed") else "skipped"
    return {"status": status, **counts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="folder for the JSON results")
    out = Path(parser.parse_args().out)
    has_gpu = torch.cuda.is_available()
    started = time.monotonic()
    report: dict[str, Any] = {"metadata": metadata(), "skipped": [], "tests": run_tests(200 if has_gpu else 120)}
    write_json(out / "gpu.json", report)

    device, dtypes = ("cuda", ["uint8", "bfloat16"]) if has_gpu else ("cpu", ["uint8"])
    batch, rounds = (256, 20) if has_gpu else (8, 2)
    report["generate"] = generate.measure(generate.DATASETS, dtypes, batch, 224, device, rounds)
    print_table(report["generate"])
    report["augmented"] = generate.measure(TRAINED, dtypes[-1:], batch, 224, device, rounds, "fdsl")
    print_table(report["augmented"])
    write_json(out / "gpu.json", report)

    if has_gpu:
        left = BUDGET - (time.monotonic() - started)
        report["feed"] = train.measure(
            ["vit_base_patch16_224", "vit_tiny_patch16_224"], TRAINED, 256, "cuda", left * 0.8
        )
    else:
        report["feed"] = train.measure(["vit_tiny_patch16_224"], TRAINED, 4, "cpu", 20)
        report["skipped"].append("GPU tests, drawing on the device, feed efficiency on it: no CUDA device")
        report["skipped"].append("the figures above are a rehearsal on a CPU with tiny batches and mean nothing")
    report["seconds"] = round(time.monotonic() - started, 1)
    for line in report["skipped"]:
        print(f"skipped: {line}")
    write_json(out / "gpu.json", report)
    print(f"wrote {out / 'gpu.json'} after {report['seconds']} s")
    sys.exit(report["tests"]["status"] in ("failed", "timed out"))


if __name__ == "__main__":
    main()
