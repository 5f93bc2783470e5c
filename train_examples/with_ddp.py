"""DistributedDataParallel under torchrun: each process draws its own share of every global batch.

    torchrun --nproc-per-node 2 train_examples/with_ddp.py

Nothing needs to be said about ranks: the dataset finds them, and the loader checks that all ranks stream the same.
"""

import timm
import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from fdsl_gpu import FDSLDataset, FDSLLoader

dist.init_process_group()
if torch.cuda.is_available():
    torch.cuda.set_device(dist.get_rank() % torch.cuda.device_count())
dataset = FDSLDataset("exfractaldb-1k", batch_size=16, image_size=32, canvas_size=32, num_classes=10)
model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=10)
model = DistributedDataParallel(model.to(dataset.device))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

for step, (images, labels) in zip(range(5), FDSLLoader(dataset), strict=False):
    loss = cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"rank {dist.get_rank()}  step {step}  loss {loss.item():.3f}")
dist.destroy_process_group()
