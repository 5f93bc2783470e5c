"""pretrain_vit.py killed at any moment and resumed: the same weights, bit for bit, and no unreadable file.

``FDSL_GPU_KILLS=20`` kills twenty times in place of five. Runs are forked from one process that has already imported
everything, which is what takes the time otherwise.
"""

import csv
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "train_examples"
KILLS = int(os.environ.get("FDSL_GPU_KILLS", "5"))
TINY_MODEL = {"img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 2, "num_heads": 2}
TINY = [
    *("--device", "cpu", "--num-classes", "10", "--image-size", "32", "--batch-size", "8", "--steps", "24"),
    *("--warmup-steps", "3", "--evaluate-every", "8", "--validation-size", "32", "--log-every", "3"),
    *("--drop-path", "0.3", "--save-every", "1", "--dataset-options", '{"canvas_size": 32}'),
    *("--model-options", json.dumps(TINY_MODEL)),
]

# Reads one request a line: {"ranks", "port", "arguments", "kill_after", "die_in_save"}; answers with exit codes.
SERVER = """
import json, os, signal, sys, time
import matplotlib.pyplot, torch
import pretrain_vit, run_folder
from fdsl_gpu import FDSLDataset

for split in ("train", "val"):
    next(iter(FDSLDataset("rcdb-1k", 8, 32, "cpu", num_classes=10, canvas_size=32, split=split)))

def run(request, rank):
    output = os.open(request["printed"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1), os.dup2(output, 2)
    if request["ranks"] > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(request["ranks"])}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(request["port"])}
    save, left = torch.save, [request["die_in_save"]]
    def dying_save(content, path):
        left[0] -= 1
        save(content, path)
        if left[0] == 0:
            os.truncate(path, os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
    if request["die_in_save"]:
        run_folder.torch.save = dying_save
    sys.argv = ["pretrain_vit.py", *request["arguments"]]
    code = 1
    try:
        code = pretrain_vit.main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)

print("ready", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    children = []
    for rank in range(request["ranks"]):
        children.append(os.fork())
        if not children[-1]:
            run(request, rank)
    if request["kill_after"] is not None:
        time.sleep(request["kill_after"])
        for child in children:
            os.kill(child, signal.SIGKILL)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)
"""


class Trainer:
    """Runs pretrain_vit.py in forks of one warm process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(EXAMPLES), *sys.path])}
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.server.stdout is not None
        assert self.server.stdout.readline() == "ready\n"

    def __call__(
        self,
        name: str,
        *more: str,
        ranks: int = 1,
        port: int = 0,
        kill_after: float | None = None,
        die_in_save: int = 0,
    ) -> tuple[list[int], str]:
        """(exit code of each rank, what was printed) of a run in the folder ``name``."""
        printed = self.folder / f"{name}.txt"
        printed.unlink(missing_ok=True)
        arguments = [*TINY, "--output", str(self.folder / name), *more]
        request = {"ranks": ranks, "port": port, "arguments": arguments, "printed": str(printed)}
        request |= {"kill_after": kill_after, "die_in_save": die_in_save}
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline()), printed.read_text()


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    trainer = Trainer(tmp_path_factory.mktemp("runs"))
    yield trainer
    trainer.server.kill()
    trainer.server.wait()


@pytest.fixture(scope="module")
def uninterrupted(trainer: Trainer) -> tuple[Path, float]:
    """The folder of a run that nobody killed, and how long it took."""
    start = time.monotonic()
    codes, printed = trainer("uninterrupted")
    assert codes == [0], printed
    return trainer.folder / "uninterrupted", time.monotonic() - start


def check_readable(folder: Path) -> None:
    for path in folder.glob("[!.]*"):
        if path.suffix == ".pth":
            torch.load(path, weights_only=True)
            timm.create_model("vit_tiny_patch16_224", num_classes=10, checkpoint_path=str(path), **TINY_MODEL)
        elif path.suffix == ".png":
            Image.open(path).load()
        elif path.suffix == ".json":
            json.loads(path.read_text())
        else:
            assert [int(row["step"]) for row in read_log(folder)] == sorted({int(r["step"]) for r in read_log(folder)})


def read_log(folder: Path) -> list[dict[str, Any]]:
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def check_same(folder: Path, expected: Path) -> None:
    """Weights, optimiser, stream and what was logged of a run are those of another."""
    files = [torch.load(path / "checkpoint.pth", weights_only=True) for path in (folder, expected)]
    for name in ("state_dict", "optimizer"):
        torch.testing.assert_close(files[0][name], files[1][name], rtol=0, atol=0)
    for name in ("stream", "step", "recipe", "losses"):
        assert files[0][name] == files[1][name]
    logs = [
        [(row["step"], row["samples"], row["loss"], row["learning_rate"], row["accuracy"]) for row in read_log(path)]
        for path in (folder, expected)
    ]
    assert logs[0] == logs[1]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in expected.iterdir())


def test_kills_at_random_moments_change_nothing(trainer: Trainer, uninterrupted: tuple[Path, float]) -> None:
    expected, seconds = uninterrupted
    chance, steps = random.Random(0), [0]
    for _ in range(KILLS):
        trainer("killed", "--resume", kill_after=chance.uniform(0.1, 0.9) * seconds)
        folder = trainer.folder / "killed"
        check_readable(folder)
        if (folder / "checkpoint.pth").exists():
            steps.append(torch.load(folder / "checkpoint.pth", weights_only=True)["step"])
    assert steps == sorted(steps)
    codes, printed = trainer("killed", "--resume")
    assert codes == [0], printed
    check_same(trainer.folder / "killed", expected)


@pytest.mark.parametrize("save_every", [1, 5], ids=["each_step", "between_logs"])
def test_kill_while_a_checkpoint_is_written_keeps_the_one_before(
    trainer: Trainer, uninterrupted: tuple[Path, float], save_every: int
) -> None:
    name, save = f"torn-{save_every}", ("--save-every", str(save_every))
    assert trainer(name, *save, die_in_save=3)[0] == [-9]
    folder = trainer.folder / name
    assert list(folder.glob(".checkpoint.pth.*"))
    check_readable(folder)
    assert torch.load(folder / "checkpoint.pth", weights_only=True)["step"] == 2 * save_every
    assert trainer(name, *save, "--resume")[0] == [0]
    check_same(folder, uninterrupted[0])


def test_resuming_a_finished_run_says_its_result_again(trainer: Trainer, uninterrupted: tuple[Path, float]) -> None:
    first = (trainer.folder / "uninterrupted.txt").read_text().splitlines()[-3:]
    codes, printed = trainer("uninterrupted", "--resume")
    assert codes == [0]
    assert printed.splitlines()[-3:] == first


def test_another_number_of_ranks_continues_the_stream(trainer: Trainer) -> None:
    assert trainer("elastic", "--log-every", "1", die_in_save=9)[0] == [-9]
    codes, printed = trainer("elastic", "--log-every", "1", "--steps", "24", "--resume", ranks=2, port=free_port())
    assert codes == [0, 0], printed
    samples = [int(row["samples"]) for row in read_log(trainer.folder / "elastic")]
    assert samples == [8 * step for step in range(1, 25)]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "Continue it by --resume"),
        (("--resume", "--seed", "7"), "seed: saved 0, here 7"),
        (("--resume", "--steps", "48"), "steps: saved 24, here 48"),
    ],
)
def test_a_run_of_another_recipe_is_not_continued(
    trainer: Trainer, uninterrupted: tuple[Path, float], more: tuple[str, ...], message: str
) -> None:
    settings = (uninterrupted[0] / "settings.json").read_text()
    codes, printed = trainer("uninterrupted", *more)
    assert codes == [2]
    assert message in printed
    assert (uninterrupted[0] / "settings.json").read_text() == settings
    check_readable(uninterrupted[0])


def test_resume_needs_to_know_which_run(trainer: Trainer) -> None:
    codes, printed = trainer("nowhere", "--resume", "--output", "")
    assert codes == [2]
    assert "--resume: say by --output" in printed
