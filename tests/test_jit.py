"""Compilation: garbage collection rests and comes back, and machine code of older sources is forgotten."""

import gc
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

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
