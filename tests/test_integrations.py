"""FDSLLoader and FDSLDataset inside other libraries: each example runs, and states resume exactly."""

import importlib.util
import itertools
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fdsl_gpu import FDSLDataset, FDSLLoader

EXAMPLES = Path(__file__).parent.parent / "train_examples"
SMALL: dict[str, Any] = {"image_size": 16, "device": "cpu", "dtype": torch.uint8, "num_classes": 10, "canvas_size": 16}


def needs(library: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(library) is None
    return pytest.mark.skipif(missing, reason=f"{library} is not installed; it is in the extra 'integrations'")


def make(batch_size: int | None = 2, **keywords: Any) -> FDSLDataset:
    return FDSLDataset("exfractaldb-1k", batch_size, **{**SMALL, **keywords})


@pytest.mark.parametrize(
    ("name", "last_line"),
    [
        pytest.param("with_timm", "epoch 1  steps 5", id="timm"),
        pytest.param("with_transform", "delivered on ", id="torchvision"),
        pytest.param("with_lightning", "10 steps, position 160", id="lightning", marks=needs("lightning")),
        pytest.param("with_accelerate", "position 80", id="accelerate", marks=needs("accelerate")),
        pytest.param("with_stateful_dataloader", "resumed exactly: True", id="torchdata", marks=needs("torchdata")),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_example_runs(
    name: str, last_line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, str(tmp_path)])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert capsys.readouterr().out.strip().splitlines()[-1].startswith(last_line)


def test_example_of_two_ranks_runs() -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(EXAMPLES / "with_ddp.py")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, *launch], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    for rank in range(2):
        assert re.findall(rf"rank {rank}  step (\d)", result.stdout) == [*"01234"]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@needs("torchdata")
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch_size", [2, None], ids=["batches", "samples"])
def test_stateful_dataloader_resumes_exactly_and_again(num_workers: int, batch_size: int | None) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader() -> Any:
        return StatefulDataLoader(
            make(batch_size, return_ids=True), batch_size=None if batch_size else 2, num_workers=num_workers
        )

    whole = [ids for _, _, ids in itertools.islice(loader(), 7)]
    parts, state = [], {}
    for count in (3, 1, 3):
        part = loader()
        part.load_state_dict(state)
        parts += [ids for _, _, ids in itertools.islice(part, count)]
        state = part.state_dict()
    assert torch.equal(torch.stack(parts), torch.stack(whole))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@needs("torchdata")
@pytest.mark.parametrize(
    ("num_workers", "persistent"), [(0, False), (2, False), (2, True)], ids=["alone", "workers", "persistent"]
)
def test_stateful_dataloader_finishes_its_epoch(num_workers: int, persistent: bool) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader() -> Any:
        dataset = make(epoch_size=11, return_ids=True)
        return StatefulDataLoader(dataset, batch_size=None, num_workers=num_workers, persistent_workers=persistent)

    first = loader()
    first.dataset.set_epoch(2)
    head = [ids for _, _, ids in itertools.islice(first, 3)]
    state = first.state_dict()
    second = loader()
    second.load_state_dict(state)
    second.dataset.set_epoch(2)
    tail = [ids for _, _, ids in second]
    expected = [ids for _, _, ids in itertools.islice(make(start=22, return_ids=True), 5)]
    assert torch.equal(torch.stack(head + tail), torch.stack(expected))
    second.dataset.set_epoch(3)
    assert len(list(second)) == 5


@needs("lightning")
@pytest.mark.filterwarnings("ignore")
def test_lightning_saves_and_restores_the_place_in_the_stream(tmp_path: Path) -> None:
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint

    seen: list[list[int]] = []

    class Seeing(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3 * 16 * 16, 10)

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            images, labels, ids = batch
            seen.append(ids.tolist())
            return torch.nn.functional.cross_entropy(self.layer(images.flatten(1)), labels)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def fit(steps: int, checkpoint: str | None) -> None:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        saving = ModelCheckpoint(tmp_path, filename="seventh", every_n_train_steps=7, save_on_train_epoch_end=False)
        trainer = lightning.Trainer(max_steps=steps, accelerator="cpu", callbacks=[saving], **quiet)
        dataset = make(dtype=torch.float32, epoch_size=10, return_ids=True)
        trainer.fit(Seeing(), FDSLLoader(dataset), ckpt_path=checkpoint)

    fit(9, None)
    del seen[7:]
    fit(13, str(tmp_path / "seventh.ckpt"))
    expected = [ids.tolist() for _, _, ids in itertools.islice(make(return_ids=True), 13)]
    assert seen == expected


def test_state_is_plain_json() -> None:
    loader = FDSLLoader(make(epoch_size=10))
    next(iter(loader))
    assert json.loads(json.dumps(loader.state_dict())) == loader.state_dict()
