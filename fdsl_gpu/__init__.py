"""fdsl-gpu: labelled images made by formulas, drawn inside the training loop."""

from fdsl_gpu.api import geometry, render
from fdsl_gpu.dataset import FDSLDataset
from fdsl_gpu.loader import FDSLLoader
from fdsl_gpu.map_dataset import FDSLMapDataset
from fdsl_gpu.mixing import Mixup
from fdsl_gpu.registry import list_datasets
from fdsl_gpu.version import __version__

__all__ = [
    "FDSLDataset",
    "FDSLLoader",
    "FDSLMapDataset",
    "Mixup",
    "__version__",
    "geometry",
    "list_datasets",
    "render",
]
