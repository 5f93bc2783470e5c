"""Do the ranks of a process group stream the same dataset? One collective answers, when a loader starts."""

from __future__ import annotations

import json
from typing import Any

import torch.distributed as dist

from fdsl_gpu.dataset import FDSLDataset


def check_ranks_agree(dataset: FDSLDataset) -> None:
    """Compare what decides the stream with the other ranks; all of them must call this.

    Nothing is compared, and nobody waits, without a process group, or if the dataset was given ``rank`` and
    ``world_size``, which says that its ranks are not those of the group.

    Raises:
        ValueError: on every rank, if two differ; the message shows both sides.
    """
    if dataset.rank_given or not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return
    state = dataset.state_dict()
    mine = {"batch_size": dataset.batch_size, "epoch_size": dataset.epoch_size, "position": state["position"]}
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, json.dumps({**mine, **state["fingerprint"]}))
    for rank, theirs in enumerate(everyone):
        if theirs != everyone[0]:
            raise ValueError(_difference(json.loads(everyone[0]), json.loads(theirs), rank))


def _difference(first: dict[str, Any], other: dict[str, Any], rank: int) -> str:
    names = [name for name in {**first, **other} if first.get(name) != other.get(name)]
    shown = "; ".join(f"{name}: {first.get(name)!r} on rank 0, {other.get(name)!r} on rank {rank}" for name in names)
    return (
        f"dataset: ranks received different ones: {shown}; allowed: the same on every rank. "
        "Build the dataset from the same settings and the same state everywhere, or pass rank= and world_size= "
        "if these processes do not share one stream."
    )
