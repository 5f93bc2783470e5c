"""The benchmarks of feeding and training, the GPU run, and the report: what they return on tiny sizes, never a time."""

import argparse
import dataclasses
import importlib
import itertools
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

pytest.importorskip("torchvision")

from bench import augment, common, feed, gpu_parts, outcomes, report, run_gpu, short, train
from bench.feed import CACHED, STORED, Feed, compare, take_turn
from bench.gpu_parts import Place
from bench.stored_images import StoredImages
from fdsl_gpu import FDSLDataset

RATES = {"images_per_second", "q1", "q3", "us_per_image", "rounds"}
FED = RATES | {"waiting_share", "efficiency"}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def images() -> Iterator[StoredImages]:
    with StoredImages(8) as made:
        yield made


@pytest.mark.parametrize("workers", [0, 1])
def test_stored_batches_never_end(images: StoredImages, workers: int) -> None:
    batches = images.batches(3, workers, "cpu")
    for pictures, labels in itertools.islice(batches, 5):
        assert pictures.shape == (3, 3, 224, 224)
        assert pictures.dtype == torch.float32
        assert labels.shape == (3,)
    batches.close()


def test_drawn_feed_delivers_the_dataset() -> None:
    expected = next(iter(FDSLDataset("exfractaldb-1k", 2, device="cpu", dtype=torch.uint8)))
    for prefetch in (0, 2):
        with feed.drawn("exfractaldb-1k", 2, "cpu", "uint8", prefetch).open() as batches:
            assert all(map(torch.equal, next(batches), expected))


def test_a_turn_counts_warm_up_and_bursts() -> None:
    taken, closed = [], []

    @contextmanager
    def open_feed() -> Iterator[Any]:
        yield ((torch.empty(0), torch.tensor(i)) for i in itertools.count())
        closed.append(True)

    turn = take_turn(Feed(open_feed, warm_up=3, burst=4), lambda _, labels: taken.append(int(labels)), 2, 5, "cpu")
    assert taken == list(range(3 + 8))
    assert closed == [True]
    assert turn.rate > 0
    assert 0 <= turn.waiting_share <= 1
    assert (turn.allocated, turn.reserved) == (0, 0)


def test_compare_keeps_a_whole_round_when_time_is_over() -> None:
    feeds = {name: feed.cached("exfractaldb-1k", 1, "cpu") for name in (CACHED, "other")}
    rows = compare(feeds, lambda *_: None, 1, 1, "cpu", rounds=5, seconds=0.0)
    assert {name: row["rounds"] for name, row in rows.items()} == {CACHED: 1, "other": 1}


def test_ratios_are_medians_over_the_same_rounds() -> None:
    ours, theirs = (
        [feed.Turn(rate, 0.0, 0, 0) for rate in rates] for rates in ([30.0, 80.0, 500.0], [10.0, 20.0, 100.0, 1e9])
    )
    assert feed._ratio(ours, theirs) == 4


@contextmanager
def failing_feed() -> Iterator[Any]:
    raise OSError("no shared memory")
    yield


def test_stored_pictures_that_cannot_be_read_are_a_row_and_the_rest_goes_on(
    images: StoredImages, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def batches(*arguments: Any) -> Iterator[Any]:
        yield torch.empty(0), torch.empty(0)
        raise OSError("no shared memory")

    monkeypatch.setattr(images, "batches", batches)
    feeds = {name: feed.cached("exfractaldb-1k", 1, "cpu") for name in (CACHED, "other")}
    feeds = {STORED: feed.stored(images, 1, "cpu", 1), **feeds}
    rows = compare(feeds, lambda *_: None, 1, 1, "cpu", rounds=2)
    assert rows[STORED] == {"failed": "OSError: no shared memory"}
    assert rows[CACHED].keys() == rows["other"].keys() == FED
    assert rows["other"]["rounds"] == 2
    feed.print_rows(rows)
    assert "failed: OSError: no shared memory" in capsys.readouterr().out
    assert f"| {STORED} | not measured: OSError: no shared memory |  |  |  |" in report.feed_table(rows)
    with pytest.raises(OSError, match="shared memory"):
        compare({**feeds, "ours": Feed(failing_feed)}, lambda *_: None, 1, 1, "cpu", rounds=1)


def test_memory_is_counted_over_a_batch_of_the_same_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "compare", lambda feeds, *_: feeds)
    settings: dict[str, Any] = {"batch": 1, "device": "cpu", "step_ms": 1, "steps": 1, "rounds": 1, "workers": 1}
    feeds: Any = feed.measure(["exfractaldb-1k"], ["bfloat16"], [0], with_stored=False, **settings)
    for one in feeds.values():
        with one.open() as batches:
            assert next(batches)[0].dtype == torch.bfloat16


def test_augmentation_is_compared_on_one_plane_and_on_three(monkeypatch: pytest.MonkeyPatch) -> None:
    presented = []

    class Noting(augment.Presenter):
        def __call__(self, planes: torch.Tensor, *arguments: Any) -> Any:
            presented.append(planes.shape[1])
            return super().__call__(planes, *arguments)

    monkeypatch.setattr(augment, "Presenter", Noting)
    contenders = augment.contenders_on("exfractaldb-1k", 2)
    names = ["ours", "ours, three planes", "timm on PIL images", "torchvision v2 on tensors"]
    assert list(contenders) == [f"exfractaldb-1k: {name}" for name in names]
    drawn = [call() for _, call in contenders.values()]
    assert presented == [1, 3]
    assert all(batch.shape == (2, 3, 224, 224) and batch.dtype == torch.float32 for batch in drawn[2:])


def test_feed_has_a_row_for_each_dataset_dtype_and_depth() -> None:
    settings: dict[str, Any] = {"batch": 2, "device": "cpu", "step_ms": 1, "steps": 2, "rounds": 2, "workers": 1}
    rows = feed.measure(["exfractaldb-1k"], ["uint8", "float32"], [0, 2], with_stored=False, **settings)
    drawn = {f"exfractaldb-1k {dtype}, prefetch {n}" for dtype in ("uint8", "float32") for n in (0, 2)}
    assert rows.keys() == {CACHED, *drawn}
    assert all(row.keys() == FED for row in rows.values())
    assert rows[CACHED]["efficiency"] == 1


@pytest.mark.parametrize("workers", [1])
def test_feed_compares_with_stored_images(workers: int, images: StoredImages) -> None:
    feeds = {CACHED: feed.cached("exfractaldb-1k", 2, "cpu"), STORED: feed.stored(images, 2, "cpu", workers)}
    rows = compare(feeds, feed.consumer("cpu", 1), 2, 2, "cpu", rounds=1)
    assert all(row.keys() == FED | {"over_stored"} for row in rows.values())
    assert rows[STORED]["over_stored"] == 1


def test_train_has_a_row_for_each_feed() -> None:
    few = {"with_stored": False, "augmented": False}
    rows = train.measure(["test_resnet"], ["exfractaldb-1k"], ["float32"], 2, "cpu", 0, 1, **few)
    assert list(rows) == [f"test_resnet: {name}" for name in (CACHED, "exfractaldb-1k float32")]
    assert all(row.keys() == FED for row in rows.values())


def test_train_feeds_name_stored_pictures(images: StoredImages) -> None:
    feeds = train.make_feeds(["rcdb-1k"], ["uint8"], 2, "cpu", 1, images)
    names = [CACHED, STORED, "stored JPEG, augmented by timm", "rcdb-1k uint8", "rcdb-1k uint8, augmented"]
    assert list(feeds) == names


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


def test_short_set_has_results_threads_and_first_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"seconds": 1.0, "q1": 1.0, "q3": 1.0, "rounds": 1}
    new_process = {"exfractaldb-1k, warm": dict.fromkeys(short.first_batch.PARTS, calls)}
    monkeypatch.setattr(short.first_batch, "measure", lambda *_: new_process)
    monkeypatch.setattr(short.scaling, "measure_threads", lambda *_: {"values": [1], "rows": {"1": {"ratio": 1.0}}})
    path = tmp_path / "short.json"
    found = short.run("cpu", str(path), ["exfractaldb-1k"], batch=2, rounds=1)
    written = json.loads(path.read_text())
    assert {name: written[name] for name in found} == found
    assert found["results"].keys() == {"exfractaldb-1k float32", "stored JPEG float32"}
    assert found["first_batch"] == new_process
    assert {"metadata", "settings"} <= written.keys()


METADATA = {
    "time": "2030-01-01T00:00:00+00:00",
    "commit": "0123456789abcdef",
    "cpu": "A processor",
    "cores": 2,
    "gpu": "A graphics card",
    "driver": "1.2.3",
    "versions": {"python": "3.11.0", "triton": None},
}


def row(rate: float, **more: float) -> dict[str, float]:
    return {
        "images_per_second": rate,
        "q1": rate * 0.9,
        "q3": rate * 1.1,
        "us_per_image": 1e6 / rate,
        "rounds": 3,
        **more,
    }


def made_up() -> dict[str, dict[str, Any]]:
    axis = {"values": [10, 100], "rows": {"10": row(1000), "100": row(100)}, "exponent": 1.0, "fixed_us": 1.0}
    axis |= {"us_per_unit": 2.0, "r_squared": 1.0, "unit": "lines"}
    fed = {
        CACHED: row(10, waiting_share=0, efficiency=1),
        "rcdb-1k float32": row(9, waiting_share=0.01, efficiency=0.9),
    }
    stages = {"stages": {"raster": row(900), "other": row(9e4)}, "sum_us": 1122.2, "whole": row(880)}
    threads = {"values": [1], "rows": {"1": {"threads": row(5), "ratio": 1.0}}}
    ratio = {"ours": "rcdb-1k uint8", "peer": "a peer", "ratio": 200.0, "required": 100, "aim": None}
    on_gpu = {"generate": {"rcdb-1k bfloat16": row(6e5)}, "goals": run_gpu.goals({}), "cut": {"generate": "after 9 s"}}
    return {
        "generate-cpu": {"results": {"rcdb-1k float32": row(2000), "stored JPEG float32": row(250)}},
        "stages-cpu": {"results": {"rcdb-1k": stages}},
        "peers-cpu": {"results": {"rcdb-1k uint8": row(2000), "a peer": row(10)}, "ratios": [ratio]},
        "scaling-cpu": {"results": {"lines": axis, "threads": threads}},
        "train-cpu": {"results": fed},
        "gpu": {"rehearsal": False, **on_gpu},
    }


def write_made_up(folder: Path, reports: dict[str, dict[str, Any]]) -> str:
    folder.mkdir(exist_ok=True)
    for stem, content in reports.items():
        (folder / f"{stem}.json").write_text(json.dumps({"metadata": METADATA, **content}))
    report.write(folder)
    return (folder / "README.md").read_text()


def test_report_shows_results_and_what_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    text = write_made_up(tmp_path, made_up())
    for section in report.SECTIONS:
        assert f"## {section.title}\n" in text
    assert "| rcdb-1k | 2,000 (1,800 .. 2,200) | 8.0 |" in text
    assert "| visualatom-1k | not measured | not measured |" in text
    assert "| rcdb-1k uint8 | a peer | 200 | 100 |  |  |" in text
    assert "| rcdb-1k bfloat16 | 500,000 | not measured | not measured |" in text
    assert "From [gpu.json](gpu.json): A graphics card, driver 1.2.3; commit 0123456789;" in text
    assert "Cut off after 9 s." in text
    assert "90.0%" in text
    for name in ("peers", "generate", "generate-gpu", "scaling"):
        assert min(Image.open(tmp_path / f"{name}.png").size) > 100
        assert (tmp_path / f"{name}.png").stat().st_size < 80_000


def test_report_says_why_a_part_has_no_results(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    whole = {name: row(5) for name in ("ours", "theirs")}
    parts = {
        "peers": {"skipped": "no --peers FOLDER"},
        "train": {},
        "stages": {},
        "sync": {"rcdb-1k": "failed:\na | b"},
    }
    errors = {"train": "RuntimeError: device lost", "peers": "RuntimeError: no nvcc"}
    settings = {"device": "cuda", "peers": "peers"}
    gpu = {"rehearsal": False, "settings": settings, **parts, "errors": errors, "cut": {"stages": "before it began"}}
    text = write_made_up(tmp_path, {"gpu": gpu, "augment-cpu": {"results": whole}})
    sections = {part.partition("\n")[0]: part for part in text.split("## ")}
    assert (
        "GPU: not measured: no --peers FOLDER.\n\nEnded by an error: RuntimeError: no nvcc"
        in sections["The peer on CUDA"]
    )
    assert "GPU: not measured.\n\nEnded by an error: RuntimeError: device lost" in sections["Training"]
    assert "GPU: not measured.\n\nCut off before it began." in sections["Stages"]
    assert "| rcdb-1k | failed: a \\| b |" in sections["Waiting for the device"]
    assert "`python bench/run_gpu.py FOLDER --peers FOLDER`." in sections["Waiting for the device"]
    assert "Ended by an error" not in sections["Augmenting"]


@pytest.mark.parametrize("name", ["generate", "scaling", "first_batch", "train"])
def test_a_report_s_command_has_the_settings_of_the_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "generate": ["--image-sizes", "16", "32", "--dtypes", "uint8"],
        "scaling": ["--axes", "points, fractaldb", "lines"],
        "first_batch": ["--no-augment"],
        "train": ["--compile", "--seconds", "0.5"],
    }
    module = importlib.import_module(f"bench.{name}")
    settings: list[dict[str, Any]] = []

    def save(arguments: argparse.Namespace, *_: Any, **__: Any) -> None:
        settings.append({key: value for key, value in vars(arguments).items() if key != "json"})

    for function in ("measure", "measure_threads", "measure_stream", "print_table", "print_axis", "print_parts"):
        monkeypatch.setattr(module, function, lambda *_: {}, raising=False)
    monkeypatch.setattr(module, "save", save)
    monkeypatch.setattr(sys, "argv", [name, "--device", "cpu", *given[name]])
    module.main()
    words = shlex.split(report.command(f"{name}-cpu", json.loads(json.dumps(settings[0]))))
    assert words[:3] == ["python", "-m", f"bench.{name}"]
    monkeypatch.setattr(sys, "argv", [name, *words[3:]])
    module.main()
    assert settings[0] == settings[1]


def test_report_is_the_same_when_written_again(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_made_up(tmp_path, made_up())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    report.write(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_report_of_a_rehearsal_or_of_nothing_claims_nothing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rehearsal = {"gpu": {**made_up()["gpu"], "rehearsal": True}}
    text = write_made_up(tmp_path, rehearsal)
    assert "600,000" not in text
    assert "GPU: not measured." in text
    assert not list(tmp_path.glob("*.png"))
