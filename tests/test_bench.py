"""Every benchmark of drawing runs, on tiny sizes, and writes what its readers expect; how fast is never asked here."""

import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import common
from bench.scaling import AXES, fit
from fdsl_gpu import philox
from tests.conftest import HAS_TRITON

TINY = ["--device", "cpu", "--rounds", "2"]


def report(name: str, *arguments: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the benchmark wrote, after checks of what all of them share."""
    path = folder / "report.json"
    monkeypatch.setattr(sys, "argv", [name, *TINY, *arguments, "--json", str(path)])
    importlib.import_module(f"bench.{name}").main()
    # Strict JSON: NaN and Infinity raise.
    written = json.loads(path.read_text(), parse_constant=lambda constant: pytest.fail(f"{constant} in JSON"))
    assert {"commit", "cpu", "cores", "gpu", "driver", "load", "time", "versions"} <= written["metadata"].keys()
    assert written["settings"]["device"] == "cpu"
    assert "json" not in written["settings"]
    return written["results"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda name, *arguments: report(name, *arguments, folder=tmp_path, monkeypatch=monkeypatch)


def check_rates(row: dict[str, float]) -> None:
    assert 0 < row["q1"] <= row["images_per_second"] <= row["q3"]
    assert row["us_per_image"] == pytest.approx(1e6 / row["images_per_second"], rel=0.01)
    assert row["rounds"] == 2


def test_generate(run: Any) -> None:
    sets = ["--datasets", "rcdb-1k", "anderson-farrell-1k", "--dtypes", "uint8"]
    results = run("generate", *sets, "--image-sizes", "16", "32", "--batches", "2", "--modes", "canvas", "vector")
    for size in (16, 32):
        for name in ("rcdb-1k uint8", "rcdb-1k uint8, vector", "anderson-farrell-1k uint8", "stored JPEG float32"):
            row = results.pop(f"{name}, {size} px, batch 2")
            check_rates(row)
            assert (row["image_size"], row["batch"]) == (size, 2)
    assert not results, "a background has no vectors"


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("rcdb-1k", ["locate", "records", "geometry", "raster", "write-out", "other"]),
        ("segrcdb", ["locate", "records", "geometry", "raster", "masks", "write-out", "other"]),
        ("anderson-farrell-multi-1k", ["locate", "records", "raster", "write-out", "targets", "other"]),
    ],
)
def test_stages(run: Any, name: str, stages: list[str]) -> None:
    result = run("stages", "--datasets", name, "--batch", "3", "--image-size", "32")[name]
    assert list(result["stages"]) == stages
    for row in [*result["stages"].values(), result["whole"]]:
        check_rates(row)
    assert result["sum_us"] == pytest.approx(sum(row["us_per_image"] for row in result["stages"].values()), abs=0.01)


def test_stages_of_augmented_pictures(run: Any) -> None:
    sizes = ["--batch", "3", "--image-size", "32"]
    result = run("stages", "--datasets", "exfractaldb-1k", "--augment", "fdsl", *sizes)["exfractaldb-1k"]
    assert list(result["stages"]) == ["locate", "records", "presentations", "raster", "present", "other"]


@pytest.mark.parametrize("axis", AXES)
def test_scaling(run: Any, axis: str) -> None:
    values = [16, 32] if axis in ("image_size", "canvas_size") else [100, 200]
    batch = ["--batch", "2", "--image-size", "16", "--values", *map(str, values)]
    result = run("scaling", "--axes", axis, *batch)[axis]
    assert result["values"] == values
    assert list(result["rows"]) == list(map(str, values))
    for row in result["rows"].values():
        check_rates(row)
    assert all(math.isfinite(result[name]) for name in ("exponent", "fixed_us", "us_per_unit", "r_squared"))


def test_scaling_of_processes(run: Any) -> None:
    sizes = ["--batch", "2", "--image-size", "16", "--values", "1", "2", "--seconds", "0.01"]
    results = run("scaling", "--axes", "threads", "stream", *sizes)
    for row in results["threads"]["rows"].values():
        check_rates(row["threads"])
        check_rates(row["processes"])
        assert row["ratio"] > 0
    assert [row["memory_mb"] > 0 for row in results["stream"]["rows"].values()] == [True, True]
    assert math.isfinite(results["stream"]["mb_per_batch"])


def test_fit_finds_a_line_and_an_exponent() -> None:
    line = fit([1, 2, 4, 8], [13, 16, 22, 34])
    assert (line["fixed_us"], line["us_per_unit"], line["r_squared"]) == (10, 3, 1)
    assert fit([1, 2, 4, 8], [5, 20, 80, 320])["exponent"] == 2
    assert fit([1, 2, 4, 8], [7, 7, 7, 7])["exponent"] == 0


@pytest.mark.parametrize("n", [16, 4096])
def test_classes_differ_in_number_alone(n: int) -> None:
    formula = AXES["classes"].stream(n)[0]
    records = formula.draw(philox.dataset_key(0, formula.NUMBER), np.arange(n), np.ones(n, np.int64))
    for field, value in {"lines": 100, "vertices": 100, "step": 2, "noise": 4}.items():
        assert set(records[field].tolist()) == {value}
    assert formula.num_classes == n


def test_turns_are_taken_after_a_call_that_does_not_count() -> None:
    called = []
    seconds = common.in_turns({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, rounds=3)
    assert called == ["a", "b"] * (1 + 3)
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}


def test_a_call_is_timed_until_it_returns_and_until_the_device_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    happened = []
    monkeypatch.setattr(common, "synchronise", lambda device: happened.append("done"))
    monkeypatch.setattr(common.time, "perf_counter", lambda: 2.0 ** len(happened))
    returned, done = common.until_returned_and_done(lambda: happened.append("called"), "cpu", rounds=2)
    assert happened == ["done", "called", "done"] * (2 + 2)
    # From one event before each call; the first two calls do not count.
    assert returned == [2.0**n for n in (7, 10)]
    assert done == [3 * seconds for seconds in returned]


def test_the_commit_is_that_of_the_folder_itself(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    for command in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=b", "commit", "-q", "--allow-empty", "-mc"],
    ):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    assert len(common.commit(tmp_path) or "") == 40
    assert common.commit(inside) is None


@pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed")
def test_host_time(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    command = [sys.executable, "-m", "bench.host_time", "--datasets", "rcdb-1k", "--rounds", "2", "--json", str(path)]
    # Not in the interpreter, which looks no compiled kernel up.
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    subprocess.run(command, env=environment, check=True)
    results = json.loads(path.read_text())["results"]
    assert results["rcdb-1k"]["launches"] < results["rcdb-1k, augmented"]["launches"]
    for row in results.values():
        assert 0 < row["draws_us"] < row["host_us"]


def test_first_batch(run: Any) -> None:
    # Warm only: to compile takes minutes.
    sizes = ["--batch", "2", "--image-size", "16", "--states", "warm", "--no-augment", "--rounds", "1"]
    row = run("first_batch", "--datasets", "exfractaldb-1k", *sizes)["exfractaldb-1k, warm"]
    for part in ("import", "device", "first_batch", "second_batch"):
        assert 0 <= row[part]["q1"] <= row[part]["seconds"] <= row[part]["q3"]
        assert row[part]["rounds"] == 1
