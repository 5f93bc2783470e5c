"""torchdata's StatefulDataLoader: workers draw, and the state is exact, since each of them sends its own.

    python train_examples/with_stateful_dataloader.py

Torch's own DataLoader cannot know where its workers stand: count batches there and pass ``start=`` to the dataset.
"""

import itertools

import torch
from torchdata.stateful_dataloader import StatefulDataLoader

from fdsl_gpu import FDSLDataset


def make_loader() -> StatefulDataLoader:
    """Batches come whole from the dataset, in its order, drawn by two workers in turn."""
    dataset = FDSLDataset("exfractaldb-1k", 16, 32, "cpu", canvas_size=32, num_classes=10, return_ids=True)
    return StatefulDataLoader(dataset, batch_size=None, num_workers=2)


if __name__ == "__main__":
    whole = [ids for _, _, ids in itertools.islice(make_loader(), 7)]

    first = make_loader()
    delivered = [ids for _, _, ids in itertools.islice(first, 3)]
    state = first.state_dict()

    second = make_loader()
    second.load_state_dict(state)
    delivered += [ids for _, _, ids in itertools.islice(second, 4)]
    print("resumed exactly:", torch.equal(torch.cat(whole), torch.cat(delivered)))
