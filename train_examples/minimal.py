"""The smallest training loop: a ViT learns to name fractals that are drawn as it trains. Runs on a CPU or a GPU."""

import timm
import torch
from torch.nn.functional import cross_entropy

from fdsl_gpu import FDSLDataset, FDSLLoader

device = "cuda" if torch.cuda.is_available() else "cpu"
dataset = FDSLDataset("exfractaldb-1k", batch_size=64, image_size=64, canvas_size=64, num_classes=100, device=device)
model = timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=8, depth=4, num_classes=100).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)

for step, (images, labels) in enumerate(FDSLLoader(dataset)):  # endless: stop when you like
    loss = cross_entropy(model(images), labels, label_smoothing=0.1)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if step % 10 == 0:
        print(f"step {step:4d}  loss {loss.item():.3f}")
    if step == 50:
        break
