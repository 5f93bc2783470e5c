"""Pre-train a timm ViT on labelled images that are drawn as it trains.

    python train_examples/pretrain_vit.py                          # picks a preset by device
    python train_examples/pretrain_vit.py --dataset rcdb-1k --steps 2000 --output runs/rcdb
    python train_examples/pretrain_vit.py --resume --output runs/rcdb  # continues that run, or starts it
    torchrun --nproc-per-node 8 train_examples/pretrain_vit.py     # the same batches, shared by 8 processes

A run that was killed and resumed ends with the weights of one that was not, bit for bit on a CPU: a step is a function
of weights, optimiser state and step number, since schedule, random numbers and data follow from the number.

The cpu preset learns to name radial contours in a few minutes on two cores. The gpu preset is the pre-training recipe
of the CVPR 2022 paper: AdamW 1e-3, weight decay 0.05, cosine with 5 epochs of warm-up, label smoothing and drop path
0.1, RandomResizedCrop, RandAugment, RandomErasing, Mixup and CutMix, three presentations of each instance.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torch.distributed as dist
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from fdsl_gpu import FDSLDataset, FDSLLoader, Mixup
from fdsl_gpu.augment import recipe as augmentation
from recipe import Recipe, check, learning_rate, parse, step_seed
from run_folder import RunFolder, load_checkpoint


@dataclass(frozen=True)
class Process:
    """This process among those of torchrun, or the only one."""

    rank: int
    world_size: int
    device: torch.device

    @classmethod
    def start(cls, device: str | None) -> Process:
        """Join the group that torchrun describes, if it does."""
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if "RANK" not in os.environ:
            return cls(0, 1, torch.device(device))
        local = torch.device(device, int(os.environ["LOCAL_RANK"])) if device == "cuda" else torch.device(device)
        if local.type == "cuda":
            torch.cuda.set_device(local)
        dist.init_process_group("nccl" if local.type == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size(), local)

    def total(self, values: list[float]) -> list[float]:
        """Sums over all processes."""
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor.tolist()

    def mean(self, losses: list[Tensor]) -> list[float]:
        """Means over all processes."""
        return [total / self.world_size for total in self.total([loss.item() for loss in losses])]


class Clock:
    """Time spent on a whole window of steps, and on data: waiting for it on a CPU, drawing it on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.reset()

    def reset(self) -> None:
        """Start a window."""
        self.start, self.waited, self.batches, self.events = time.perf_counter(), 0.0, 0, []

    def next(self, batches: Iterator[Any]) -> Any:
        """The next batch, timed."""
        start, events = time.perf_counter(), [torch.cuda.Event(enable_timing=True) for _ in range(2 * self.cuda)]
        if self.cuda:
            events[0].record()
        batch = next(batches)
        if self.cuda:
            events[1].record()
            self.events.append(events)
        self.waited += time.perf_counter() - start
        self.batches += 1
        return batch

    def read(self) -> tuple[float, float]:
        """(seconds of the window, share of them spent on data); waits for the device."""
        if self.cuda:
            torch.cuda.synchronize()
            self.waited = sum(first.elapsed_time(last) for first, last in self.events) / 1000
        seconds = time.perf_counter() - self.start
        return seconds, self.waited / seconds


def make_dataset(recipe: Recipe, process: Process, batch_size: int, **keywords: Any) -> FDSLDataset:
    """The stream of a recipe for this process."""
    return FDSLDataset(
        recipe.dataset,
        batch_size,
        recipe.image_size,
        process.device,
        recipe.seed,
        num_classes=recipe.num_classes,
        **recipe.dataset_options,
        **keywords,
    )


@torch.no_grad()
def evaluate(model: nn.Module, recipe: Recipe, process: Process) -> tuple[int, int]:
    """(correct, total) over all processes, on instances that training never shows."""
    batch_size = min(recipe.batch_size, recipe.validation_size) // process.world_size
    settings = {"split": "val", "normalize": augmentation(recipe.augment).normalize}
    dataset = make_dataset(recipe, process, batch_size, epoch_size=recipe.validation_size, **settings)
    model.eval()
    correct = torch.zeros((), dtype=torch.int64, device=process.device)
    count = 0
    for images, labels in FDSLLoader(dataset):
        with autocast(process.device):
            correct += (model(images).argmax(1) == labels).sum()
        count += len(labels)
    model.train()
    total = process.total([correct.item(), count])
    return int(total[0]), int(total[1])


def luck(correct: int, total: int, chance: float) -> float:
    """Probability that guessing gets at least ``correct`` of ``total`` right: the binomial tail, as log10."""
    logs = [
        math.lgamma(total + 1)
        - math.lgamma(k + 1)
        - math.lgamma(total - k + 1)
        + k * math.log(chance)
        + (total - k) * math.log1p(-chance)
        for k in range(correct, total + 1)
    ]
    top = max(logs)
    return (top + math.log(sum(math.exp(value - top) for value in logs))) / math.log(10)


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 on a GPU; on a CPU float32, which is faster there."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def train(recipe: Recipe, process: Process, folder: RunFolder | None, arguments: argparse.Namespace) -> None:
    """Run a recipe; only the first process has a folder."""
    torch.manual_seed(recipe.seed)
    options = {"num_classes": recipe.num_classes, "drop_path_rate": recipe.drop_path, **recipe.model_options}
    model: nn.Module = timm.create_model(recipe.model, **options).to(process.device)
    optimizer = create_optimizer_v2(model, "adamw", lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    batch_size = recipe.batch_size // process.world_size
    loader = FDSLLoader(make_dataset(recipe, process, batch_size, augment=recipe.augment))
    mixes = augmentation(recipe.augment).mixing is not None
    mixup = Mixup(recipe.num_classes, recipe.augment, recipe.seed, process.rank) if mixes else None
    done, losses, correct, total = 0, [], 0, 0
    if arguments.resume and (saved := load_checkpoint(arguments.output, dataclasses.asdict(recipe))):
        model.load_state_dict(saved["state_dict"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["stream"])
        done, losses = saved["step"], [torch.tensor(loss, device=process.device) for loss in saved["losses"]]
    wrapped = DistributedDataParallel(model) if process.world_size > 1 else model
    batches, clock = iter(loader), Clock(process.device)
    bar = tqdm(total=recipe.steps, initial=done, disable=folder is None, unit="step", dynamic_ncols=True)
    for step in range(done + 1, recipe.steps + 1):
        torch.manual_seed(step_seed(recipe, step, process.rank))
        rate = learning_rate(recipe, step - 1)
        for group in optimizer.param_groups:
            group["lr"] = rate
        images, targets = clock.next(batches)
        if mixup:
            images, targets = mixup(images, targets, step)
        losses.append(train_step(wrapped, optimizer, images, targets, recipe))
        bar.update()
        last = step == recipe.steps
        evaluates = step % recipe.evaluate_every == 0 or last
        if step % arguments.log_every == 0 or evaluates:
            seconds, data_share = clock.read()
            loss = sum(process.mean(losses)) / len(losses)
            speed = clock.batches * recipe.batch_size / seconds
            row = {"step": step, "samples": loader.state_dict()["position"], "loss": loss, "learning_rate": rate}
            row |= {"images_per_second": speed, "data_share": data_share}
            if evaluates:
                correct, total = evaluate(model, recipe, process)
                row["accuracy"] = correct / total
            report(folder, recipe, row, bar)
            losses.clear()
            clock.reset()
        if step % arguments.save_every == 0 or last:
            state = {"optimizer": optimizer.state_dict(), "stream": loader.state_dict(), "step": step}
            state |= {"recipe": dataclasses.asdict(recipe), "losses": process.mean(losses)}
            if folder:
                folder.write_checkpoint(model, **state)
    bar.close()
    if not total:
        correct, total = evaluate(model, recipe, process)
    if folder:
        summarise(folder, recipe, correct, total)


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, targets: Tensor, recipe: Recipe
) -> Tensor:
    """Forward, backward, update; returns the loss without waiting for it."""
    # Mixed targets are smoothed already.
    smoothing = 0.0 if targets.is_floating_point() else recipe.label_smoothing
    with autocast(images.device):
        loss = cross_entropy(model(images), targets, label_smoothing=smoothing)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if recipe.clip:
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    optimizer.step()
    return loss.detach()


def report(folder: RunFolder | None, recipe: Recipe, row: dict[str, Any], bar: tqdm[Any]) -> None:
    """Log a row and show it; one with an accuracy on a line of its own."""
    if folder:
        folder.log(**row)
        speed, share = row["images_per_second"], row["data_share"]
        bar.set_postfix_str(f"loss {row['loss']:.3f}, {speed:,.0f} img/s, data {share:.1%} of time")
        if "accuracy" in row:
            chance = 1 / recipe.num_classes
            bar.write(f"step {row['step']}: accuracy on unseen instances {row['accuracy']:.1%} (chance {chance:.1%})")


def summarise(folder: RunFolder, recipe: Recipe, correct: int, total: int) -> None:
    """Write the curve and say what was reached and how to load the model."""
    chance = 1 / recipe.num_classes
    folder.write_curve(chance)
    options = {"num_classes": recipe.num_classes, **recipe.model_options}
    arguments = ", ".join(f"{name}={value!r}" for name, value in options.items())
    print(
        f"accuracy on instances never trained on: {correct}/{total} = {correct / total:.2%}; chance {chance:.2%}; "
        f"by luck with probability 1e{luck(correct, total, chance):.0f}\n"
        f"files in {folder.path}: {', '.join(sorted(path.name for path in folder.path.iterdir()))}\n"
        f"load it: timm.create_model({recipe.model!r}, checkpoint_path='{folder.path}/checkpoint.pth', {arguments})"
    )


def main() -> int:
    recipe, arguments = parse(__doc__)
    process = Process.start(arguments.device)
    folder = None
    try:
        check(recipe, process.world_size)
        if process.rank == 0:
            path = arguments.output or f"runs/{recipe.dataset}-{time.strftime('%Y%m%d-%H%M%S')}"
            if arguments.resume:
                # A run of another recipe is refused before anything of it is overwritten.
                load_checkpoint(path, dataclasses.asdict(recipe))
            folder = RunFolder(path, arguments.resume)
            size = min(recipe.image_size, 128)
            folder.write_contact_sheet(recipe.dataset, recipe.num_classes, image_size=size, **recipe.dataset_options)
            folder.write_settings(dataclasses.asdict(recipe))
        train(recipe, process, folder, arguments)
    except KeyboardInterrupt:
        print("\nstopped; --resume continues from the last checkpoint", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError) as error:
        print(f"pretrain_vit: {error}", file=sys.stderr)
        return 2
    finally:
        if process.world_size > 1:
            dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
