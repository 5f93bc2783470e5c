"""What decides a pre-training run: the recipe, its presets, its schedule, and how the command line changes it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
from dataclasses import dataclass, field
from typing import Any

import torch

from fdsl_gpu import registry


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run. A batch is that of a step, over all processes, which share it evenly."""

    dataset: str
    num_classes: int
    image_size: int
    batch_size: int
    steps: int
    warmup_steps: int
    evaluate_every: int
    validation_size: int
    model: str
    model_options: dict[str, Any] = field(default_factory=dict)
    dataset_options: dict[str, Any] = field(default_factory=dict)
    learning_rate: float = 1e-3
    warmup_learning_rate: float = 1e-4
    final_learning_rate: float = 1e-5
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    augment: str = "none"
    drop_path: float = 0.1
    clip: float = 0.0
    seed: int = 0


PRESETS = {
    "cpu": Recipe(
        dataset="rcdb-1k",
        num_classes=100,
        image_size=64,
        batch_size=128,
        steps=400,
        warmup_steps=50,
        evaluate_every=100,
        validation_size=2048,
        model="vit_tiny_patch16_224",
        model_options={"img_size": 64, "patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4},
        dataset_options={"canvas_size": 128},
        drop_path=0.0,
        clip=1.0,
    ),
    "gpu": Recipe(
        dataset="exfractaldb-1k",
        num_classes=1000,
        image_size=224,
        batch_size=256,
        steps=300 * 1_000_000 // 256,
        warmup_steps=5 * 1_000_000 // 256,
        evaluate_every=1_000_000 // 256,
        validation_size=10_000,
        model="vit_tiny_patch16_224",
        augment="fdsl",
    ),
}


def check(recipe: Recipe, world_size: int) -> None:
    """Refuse what cannot be trained, before anything is written or drawn.

    Raises:
        ValueError: pictures without a label; a batch that the processes cannot share evenly.
    """
    if registry.formula(recipe.dataset).TARGET != "label":
        raise ValueError(
            f"dataset: received {recipe.dataset!r}, whose pictures have no single label to learn; allowed: datasets of "
            "labelled pictures. Choose one, such as 'rcdb-1k', or write a loop with a loss for its targets."
        )
    if recipe.batch_size < 1 or recipe.batch_size % world_size:
        raise ValueError(
            f"batch_size: received {recipe.batch_size} for {world_size} processes; allowed: a multiple of "
            f"{world_size}. Choose another --batch-size or --nproc-per-node."
        )


def step_seed(recipe: Recipe, step: int, rank: int) -> int:
    """Seed of torch's random numbers (drop path) in a step, so that resuming needs no random state, on any ranks."""
    return random.Random(f"{recipe.seed} {step} {rank}").getrandbits(63)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Cosine over the whole run; the warm-up is a linear ramp that replaces its first part."""
    if step < recipe.warmup_steps:
        progress = step / recipe.warmup_steps
        return recipe.warmup_learning_rate + progress * (recipe.learning_rate - recipe.warmup_learning_rate)
    cosine = 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
    return recipe.final_learning_rate + cosine * (recipe.learning_rate - recipe.final_learning_rate)


def parse(description: str | None) -> tuple[Recipe, argparse.Namespace]:
    """The recipe of a preset with the command line's changes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=["auto", *PRESETS], default="auto")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda if there is one")
    parser.add_argument("--output", help="folder for the run; default runs/DATASET-TIME")
    parser.add_argument("--resume", action="store_true", help="continue the run in --output, or start it there")
    parser.add_argument("--log-every", type=int, default=20, metavar="STEPS")
    parser.add_argument("--save-every", type=int, metavar="STEPS", help="default: when evaluating")
    for item in dataclasses.fields(Recipe):
        kind = json.loads if item.name.endswith("_options") else {"int": int, "float": float}.get(str(item.type), str)
        parser.add_argument(f"--{item.name.replace('_', '-')}", type=kind, help="default: the preset's")
    arguments = parser.parse_args()
    if arguments.resume and not arguments.output:
        parser.error("--resume: say by --output which run to continue")
    on_gpu = (arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")) == "cuda"
    recipe = PRESETS[("gpu" if on_gpu else "cpu") if arguments.preset == "auto" else arguments.preset]
    names = [item.name for item in dataclasses.fields(Recipe)]
    changes = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    recipe = dataclasses.replace(recipe, **changes)
    arguments.save_every = arguments.save_every or recipe.evaluate_every
    return recipe, arguments
