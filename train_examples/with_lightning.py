"""Lightning: ``Trainer.fit`` takes the loader as it is; a run goes on in the stream from a checkpoint within an epoch.

    python train_examples/with_lightning.py

Such are those of ``ModelCheckpoint(every_n_train_steps=..., save_on_train_epoch_end=False)``. From a checkpoint of the
end of an epoch Lightning restores no loader: give the dataset ``start=``, the number of samples trained on so far.

Lightning sets the epoch by ``loader.sampler``. Give the dataset an ``epoch_size``: from loaders without a length,
Lightning takes one batch more than it trains on, and a resumed run would miss that one.
"""

import sys
from typing import Any

import lightning
import timm
import torch
from torch.nn.functional import cross_entropy

from fdsl_gpu import FDSLDataset, FDSLLoader


class Classifier(lightning.LightningModule):
    """A small ViT."""

    def __init__(self) -> None:
        super().__init__()
        self.model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=10)

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """The loss of a batch."""
        images, labels = batch
        return cross_entropy(self.model(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else "runs/lightning"
    dataset = FDSLDataset("exfractaldb-1k", 16, 32, canvas_size=32, num_classes=10, epoch_size=80)
    trainer = lightning.Trainer(max_epochs=2, default_root_dir=folder, logger=False, enable_progress_bar=False)
    trainer.fit(Classifier(), FDSLLoader(dataset))
    print(f"{trainer.global_step} steps, position {dataset.state_dict()['position']}")
