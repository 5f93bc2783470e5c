"""Compilation: no kernel twice, garbage collection rests and comes back, machine code of older sources is forgotten."""

import gc
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from fdsl_gpu import FDSLDataset
from fdsl_gpu.cpu_kernels import jit
from fdsl_gpu.cpu_kernels.permutation import permute


def compiling(function):
    return SimpleNamespace(data={"dispatcher": SimpleNamespace(py_func=function)})


@pytest.fixture(autouse=True)
def collecting():
    gc.enable()
    yield
    gc.enable()


OURS, THEIRS = compiling(permute.py_func), compiling(compiling)


def test_collection_rests_while_the_outermost_kernel_compiles() -> None:
    rests = jit._CollectionRests()
    states = []
    for step in (rests.on_start, rests.on_start, rests.on_end, rests.on_end):
        step(OURS)
        states.append(gc.isenabled())
    assert states == [False, False, False, True]


def test_collection_stays_off_if_it_was() -> None:
    rests = jit._CollectionRests()
    gc.disable()
    rests.on_start(OURS)
    rests.on_end(OURS)
    assert not gc.isenabled()


def test_others_kernels_change_nothing() -> None:
    jit._CollectionRests().on_start(THEIRS)
    assert gc.isenabled()


def test_a_process_forked_meanwhile_collects() -> None:
    rests = jit._CollectionRests()
    rests.on_start(OURS)
    child = os.fork()
    if child == 0:
        os._exit(0 if gc.isenabled() else 1)
    _, status = os.waitpid(child, 0)
    rests.on_end(OURS)
    assert os.waitstatus_to_exitcode(status) == 0


def test_machine_code_older_than_the_sources_is_forgotten(tmp_path: Path) -> None:
    old, new, other = (tmp_path / name for name in ("old.nbi", "new.nbc", "old.txt"))
    for file in (old, new, other):
        file.touch()
    for file in (old, other):
        os.utime(file, (0, 0))
    jit._forget_stale_kernels.__wrapped__(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([new, other])


@pytest.mark.parametrize("augment", [None, "fdsl"])
@pytest.mark.parametrize("name", ["rcdb-1k", "exfractaldb-1k", "fractaldb-1k", "anderson-farrell-1k", "segrcdb"])
def test_batches_of_all_sizes_are_drawn_by_the_same_kernels(name: str, augment: str | None) -> None:
    """An array of one element may be contiguous where longer ones are not: numba would compile for it once more."""
    options = {"return_masks": False} if name == "segrcdb" and augment else {}
    dataset = FDSLDataset(name, 9, 32, "cpu", augment=augment, **options)
    counts = []
    for size in (9, 1, 2):
        dataset.draw(np.arange(size))
        counts.append({kernel: len(kernel.signatures) for kernel in kernels_of_the_package()})
    assert counts[0] == counts[1] == counts[2]


def kernels_of_the_package() -> list[Dispatcher]:
    modules = [module for name, module in sys.modules.items() if name.startswith("fdsl_gpu.cpu_kernels.")]
    return [value for module in modules for value in vars(module).values() if isinstance(value, Dispatcher)]
