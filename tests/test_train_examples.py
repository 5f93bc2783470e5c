"""The training scripts run as a person runs them, and leave behind what they promise."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch

EXAMPLES = Path(__file__).parent.parent / "train_examples"
TINY_MODEL = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
TINY = [
    *("--device", "cpu", "--num-classes", "10", "--image-size", "32", "--batch-size", "8", "--steps", "4"),
    *("--warmup-steps", "1", "--evaluate-every", "2", "--validation-size", "32", "--log-every", "1"),
    *("--model-options", json.dumps(TINY_MODEL), "--dataset-options", '{"canvas_size": 64}'),
]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    environment |= {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("run") / "rcdb"
    result = run(str(EXAMPLES / "pretrain_vit.py"), *TINY, "--output", str(folder))
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def test_run_folder_holds_what_was_promised(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["checkpoint.pth", "contact_sheet.png", "log.csv", "loss_curve.png", "settings.json"]
    with open(folder / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["samples"]) for row in rows] == [8, 16, 24, 32]
    assert [bool(row["accuracy"]) for row in rows] == [False, True, False, True]
    assert all(0 <= float(row["data_share"]) <= 1 for row in rows)


def test_checkpoint_loads_with_the_printed_call(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    assert "chance 10.00%" in printed
    call = printed.strip().splitlines()[-1].removeprefix("load it: ")
    assert str(folder) in call
    model = eval(call, {"timm": timm})
    assert model.head.out_features == 10


def test_what_a_folder_held_before_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from run_folder import RunFolder

    theirs = ["test", ".test.env", ".log.csv.old", ".settings.json.backup", ".checkpoint.pth.swp", ".log.csv.a.csv"]
    for name in [*theirs, ".log.csv.k2_x90ab.csv", ".checkpoint.pth.k2_x90ab.pth"]:
        (tmp_path / name).write_text("precious")
    RunFolder(str(tmp_path))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(theirs, "precious")


@pytest.mark.parametrize(("name", "resume"), [("settings.json", False), ("loss_curve.png", False), ("log.csv", True)])
def test_a_file_of_another_program_is_never_replaced(
    name: str, resume: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from run_folder import RunFolder

    (tmp_path / name).write_text("time,level\n1,2\n")
    with pytest.raises(FileExistsError, match=name):
        RunFolder(str(tmp_path), resume)
    assert (tmp_path / name).read_text() == "time,level\n1,2\n"


def test_a_run_is_never_overwritten(finished: tuple[Path, str]) -> None:
    result = run(str(EXAMPLES / "pretrain_vit.py"), *TINY, "--output", str(finished[0]))
    assert result.returncode == 2
    assert "already holds a run" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "rcdb-1"], "Did you mean 'rcdb-1k'"),
        (["--output", "/proc/run"], "output: cannot write to '/proc/run'"),
        (["--num-classes", "2000"], "num_classes: received 2000"),
        (["--dataset", "segrcdb"], "dataset: received 'segrcdb', whose pictures have no single label"),
        (["--dataset", "anderson-farrell-multi-1k"], "dataset: received 'anderson-farrell-multi-1k', whose"),
        (["--batch-size", "0"], "batch_size: received 0"),
    ],
)
def test_bad_settings_end_in_one_clear_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = run(str(EXAMPLES / "pretrain_vit.py"), *TINY, "--output", str(tmp_path / "run"), *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("run/*"))


def test_a_batch_is_that_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from recipe import PRESETS, check

    for world_size in (1, 2, 4, 8, 64):
        check(PRESETS["gpu"], world_size)
    with pytest.raises(ValueError, match="batch_size: received 256 for 3 processes; allowed: a multiple of 3"):
        check(PRESETS["gpu"], 3)


def test_interrupt_stops_cleanly(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "pretrain_vit.py"), *TINY, "--steps", "100000", "--output", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "checkpoint.pth").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped" in error
    assert "Traceback" not in error
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checkpoint.pth", "contact_sheet.png", "log.csv", "settings.json"]
    torch.load(tmp_path / "checkpoint.pth", weights_only=True)


def test_two_processes_train_together(tmp_path: Path) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = run(*launch, str(EXAMPLES / "pretrain_vit.py"), *TINY, "--output", str(tmp_path / "run"))
    assert result.returncode == 0, result.stderr
    with open(tmp_path / "run" / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["samples"]) for row in rows] == [8, 16, 24, 32]


def test_minimal_example_learns_something() -> None:
    result = run(str(EXAMPLES / "minimal.py"))
    assert result.returncode == 0, result.stderr
    losses = [float(line.split()[-1]) for line in result.stdout.splitlines()]
    assert losses[-1] < losses[0]
