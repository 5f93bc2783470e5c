"""The loop of timm's training script: what it asks of a loader, FDSLLoader has.

    python train_examples/with_timm.py

timm sets the epoch on ``loader.dataset``, ``loader.batch_sampler`` or ``loader.sampler``, takes ``len(loader)`` steps
an epoch, and switches Mixup off by ``loader.mixup_enabled``. To pre-train with timm's own script, build this loader
there in place of ``create_loader``, and leave ``--no-prefetcher`` off: batches come normalised and on the device.
"""

import timm
import torch
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2

from fdsl_gpu import FDSLDataset, FDSLLoader

dataset = FDSLDataset("exfractaldb-1k", batch_size=16, image_size=32, canvas_size=32, num_classes=10, epoch_size=80)
loader = FDSLLoader(dataset)
model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=10)
model = model.to(dataset.device)
optimizer = create_optimizer_v2(model, "adamw", lr=1e-3)
scheduler, epochs = create_scheduler_v2(optimizer, "cosine", num_epochs=2, updates_per_epoch=len(loader))
criterion = LabelSmoothingCrossEntropy(0.1)

for epoch in range(epochs):
    for part in (loader.dataset, loader.batch_sampler, loader.sampler):
        if hasattr(part, "set_epoch"):
            part.set_epoch(epoch)
    if epoch == epochs - 1 and loader.mixup_enabled:
        loader.mixup_enabled = False
    for step, (images, targets) in enumerate(loader):
        loss = criterion(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        last = step == len(loader) - 1
    print(f"epoch {epoch}  steps {step + 1}  loss {loss.item():.3f}  last {last}")
    scheduler.step(epoch + 1)
