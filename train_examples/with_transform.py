"""A transform of your own on finished batches, here torchvision's v2, after the published crops of the library.

    python train_examples/with_transform.py

``transform`` is called with images [B, C, H, W] on their device and returns what is delivered; kornia's augmentations
fit as they are. One draw for a whole batch is v2's habit: for draws per sample use kornia, or the library's recipes.
"""

from torchvision.transforms import v2

from fdsl_gpu import FDSLDataset, FDSLLoader
from fdsl_gpu.augment import RandomResizedCrop, Recipe

dataset = FDSLDataset(
    "anderson-farrell-1k",
    batch_size=16,
    image_size=64,
    augment=Recipe(crop=RandomResizedCrop(scale=(0.3, 1.0)), horizontal_flip=0.5),
    transform=v2.Compose([v2.ColorJitter(brightness=0.4, contrast=0.4), v2.GaussianBlur(5)]),
    normalize=None,
)
for step, (images, labels) in enumerate(FDSLLoader(dataset)):
    print(f"step {step}  images {tuple(images.shape)}, mean {images.mean():.3f}, labels {labels[:4].tolist()}")
    if step == 2:
        break
print(f"delivered on {images.device}: {tuple(images.shape)}")
