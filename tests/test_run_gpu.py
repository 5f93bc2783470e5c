"""bench/run_gpu.py: what one call keeps when parts, processes or the device fail, and how the GPU tests are run."""

import argparse
import dataclasses
import itertools
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torchvision")

from bench import common, gpu_parts, outcomes, report, run_gpu
from bench.gpu_parts import Place


def tiny_place() -> Place:
    return Place("cpu", ("uint8",), 2, 2, True)


def test_run_gpu_keeps_what_was_measured_before_a_part_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(place: Place, seconds: float) -> Iterator[tuple[str, Any]]:
        yield "first", {"images_per_second": 1.0}
        raise RuntimeError("device lost")

    def slow(place: Place, seconds: float) -> Iterator[tuple[str, Any]]:
        yield "first", 1
        time.sleep(0.1)
        yield "second", 2
        yield "third", 3

    parts = {"failing": (9, failing), "slow": (9, slow), "late": (0, slow)}
    monkeypatch.setattr(run_gpu, "PARTS", parts)
    path = tmp_path / "gpu.json"
    run_gpu.run(list(parts), tiny_place(), path, 60)
    found = json.loads(path.read_text())
    assert found["failing"] == {"first": {"images_per_second": 1.0}}
    assert found["slow"] == {"first": 1, "second": 2, "third": 3}
    assert found["errors"] == {"failing": "RuntimeError: device lost"}
    assert found["cut"] == {"late": "before it began"}
    assert {"gpu", "driver", "versions"} <= found["metadata"].keys()
    assert found["rehearsal"]
    report: dict[str, Any] = {"cut": {}}
    run_gpu.run_part("slow", tiny_place(), 0.05, report, path)
    assert report == {"slow": {"first": 1, "second": 2}, "cut": {"slow": "after 0 s"}}


def test_run_gpu_goes_on_after_its_process_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def process(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        started.append(command[command.index("--parts") + 1 :])
        running = {"running": "augmented"} if len(started) == 1 else {}
        (tmp_path / "gpu.json").write_text(json.dumps({"errors": {}, "generate": {}, **running}))
        return subprocess.CompletedProcess(command, -11)

    monkeypatch.setattr(run_gpu.subprocess, "run", process)
    parts = ["generate", "augmented", "sync"]
    arguments = argparse.Namespace(out=str(tmp_path), parts=parts, seconds=60, peers=None)
    run_gpu.supervise(arguments, tmp_path / "gpu.json")
    assert started == [parts, ["sync"]]


@pytest.mark.parametrize("own", [None, "RuntimeError: illegal access"])
def test_run_gpu_keeps_a_part_s_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None) -> None:
    path = tmp_path / "gpu.json"

    def process(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        errors = {"generate": own} if own else {}
        path.write_text(json.dumps({"errors": errors, "generate": {}, "running": "generate"}))
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(run_gpu.subprocess, "run", process)
    arguments = argparse.Namespace(out=str(tmp_path), parts=["generate"], seconds=60, peers=None)
    run_gpu.supervise(arguments, path)
    written = json.loads(path.read_text())
    assert written["errors"]["generate"] == (
        own or "the process ended with status 1, after what is reported of this part"
    )
    assert written["goals"].keys() == run_gpu.GOALS.keys()


class Ended(BaseException):
    pass


def end(status: int) -> None:
    raise Ended(status)


@pytest.mark.parametrize("raises", [True, False])
def test_run_gpu_ends_a_process_whose_device_is_in_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises: bool
) -> None:
    broken = []

    def synchronise(device: str) -> None:
        if broken:
            raise RuntimeError("found when synchronising")

    def part(place: Place, seconds: float) -> Iterator[tuple[str, Any]]:
        yield "first", 1
        broken.append(True)
        if raises:
            raise RuntimeError("illegal access")

    monkeypatch.setattr(run_gpu, "PARTS", dict.fromkeys(("breaking", "later"), (9, part)))
    monkeypatch.setattr(common, "synchronise", synchronise)
    monkeypatch.setattr(run_gpu.os, "_exit", end)
    path = tmp_path / "gpu.json"
    with pytest.raises(Ended):
        run_gpu.run(["breaking", "later"], tiny_place(), path, 60)
    run_gpu.faulthandler.cancel_dump_traceback_later()
    found = json.loads(path.read_text())
    # So that the supervisor goes on after it.
    assert found["running"] == "breaking"
    assert found["breaking"] == {"first": 1}
    assert found["errors"] == {
        "breaking": f"RuntimeError: {'illegal access' if raises else 'found when synchronising'}"
    }
    assert "later" not in found


def test_run_gpu_does_not_tell_where_peers_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_gpu, "PARTS", {"nothing": (9, lambda *_: iter([]))})
    place = dataclasses.replace(tiny_place(), peers="/home/somebody/peers")
    assert run_gpu.run(["nothing"], place, tmp_path / "gpu.json", 60)["settings"]["peers"] == "peers"


def test_what_matters_most_has_its_time() -> None:
    bounds = {name: bound for name, (bound, _) in run_gpu.PARTS.items() if name != "interpreter"}
    first = list(itertools.takewhile(lambda name: name != "sync", bounds))
    assert first == ["tests", "generate", "augmented", "host", "memory", "train", "chunks"]
    assert sum(bounds[name] for name in first) <= run_gpu.SECONDS
    assert run_gpu.SECONDS + run_gpu._GRACE <= 9 * 60 - 20, "Python starts twice"


def test_a_process_out_of_time_ends_with_all_that_it_started() -> None:
    child = "import time; time.sleep(5); print('late')"
    program = f"import subprocess, sys; print('begun', flush=True); subprocess.run([sys.executable, '-c', {child!r}])"
    done = gpu_parts._python(["-c", program], 2, {})
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "begun\n")


def test_python_keeps_the_path_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    done = gpu_parts._python(["-c", "import os, sys; print(*sys.path, os.environ['VALUE'])"], 60, {"VALUE": "given"})
    assert f"{common.ROOT} /elsewhere " in done.stdout
    assert done.stdout.endswith("given\n")


def test_gpu_tests_out_of_time_keep_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = [["a", "passed", ""], ["b", "failed", "illegal access"], ["b", "failed", "worker crashed"]]

    def python(arguments: list[str], seconds: float, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        Path(variables[outcomes.FILE]).write_text("".join(json.dumps(line) + "\n" for line in ended))
        return subprocess.CompletedProcess(arguments, -signal.SIGKILL, "printed", "")

    monkeypatch.setattr(gpu_parts, "_python", python)
    found = dict(gpu_parts.gpu_tests(tiny_place(), 1))
    found.pop("processes")
    counts = {"passed": 1, "failed": 1}
    assert found == {"status": "timed out", **counts, "failures": {"b": "illegal access"}, "output": "printed"}
    assert "* b: illegal access" in report.tests_table(found)


TESTS = """
import sys
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.gpu

class Broken:
    def is_initialized(self):
        return True

    def synchronize(self):
        raise RuntimeError("illegal access")

@pytest.mark.parametrize("number", range(6))
def test_device(number):
    if number == 2:
        sys.modules["torch"] = SimpleNamespace(cuda=Broken())
    assert "torch" not in sys.modules, "on a broken device"

def test_skipped():
    pytest.skip("not here")
"""


def test_gpu_tests_go_on_after_an_error_of_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xdist")
    monkeypatch.setattr(gpu_parts.os, "cpu_count", lambda: 2)
    (tmp_path / "test_made_up.py").write_text(TESTS)
    found = dict(gpu_parts.gpu_tests(tiny_place(), 300, str(tmp_path)))
    assert (found["status"], found["processes"]) == ("failed", 2)
    assert {word: found[word] for word in ("passed", "failed", "skipped")} == {"passed": 5, "failed": 1, "skipped": 1}
    [(test, message)] = found["failures"].items()
    assert test.endswith("test_device[2]")
    assert "on a broken device" in message


@pytest.mark.parametrize("part", [gpu_parts.never_waits, gpu_parts.by_chunk], ids=["sync", "chunks"])
def test_gpu_parts_rehearse_on_a_cpu(part: Any) -> None:
    rows = dict(part(tiny_place(), 10))
    assert rows
    assert all(name.startswith("rcdb-1k") for name in rows)


def test_goals_say_what_was_not_measured() -> None:
    rows = run_gpu.goals({"rcdb-1k bfloat16": {"images_per_second": 6e5}})
    assert rows["rcdb-1k bfloat16"]["reached"] is True
    assert rows["exfractaldb-1k bfloat16"]["reached"] is None
