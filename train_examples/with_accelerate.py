"""Accelerate: ``prepare`` is for model and optimiser; the loader needs none, and registers for checkpoints.

    accelerate launch train_examples/with_accelerate.py

Each process draws its own share of every batch.
"""

import sys

import timm
import torch
from accelerate import Accelerator
from torch.nn.functional import cross_entropy

from fdsl_gpu import FDSLDataset, FDSLLoader

folder = sys.argv[1] if len(sys.argv) > 1 else "runs/accelerate"
accelerator = Accelerator()
device = accelerator.device if accelerator.device.type == "cuda" else "cpu"
dataset = FDSLDataset("exfractaldb-1k", 16, 32, device, canvas_size=32, num_classes=10)
loader = FDSLLoader(dataset, device=accelerator.device)
model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=10)
model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-3))
accelerator.register_for_checkpointing(loader)

for step, (images, labels) in zip(range(5), loader, strict=False):
    loss = cross_entropy(model(images), labels)
    optimizer.zero_grad()
    accelerator.backward(loss)
    optimizer.step()
    accelerator.print(f"step {step}  loss {loss.item():.3f}")
accelerator.save_state(folder)
accelerator.load_state(folder)
accelerator.print(f"position {loader.state_dict()['position']}")
