"""Compilation: no kernel twice, garbage collection rests and comes back, machine code of older sources is forgotten."""

import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numba.core.compiler_lock import global_compiler_lock
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


def test_machine_code_of_other_sources_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    code = [folder / "kernel.nbi", folder / "kernel.nbc"]

    def look() -> list[str]:
        for file in code:
            file.touch()
        jit._forget_stale_kernels.__wrapped__(folder)
        return sorted(file.name for file in folder.iterdir())

    jit._forget_stale_kernels.__wrapped__(folder)
    assert look() == ["fdsl_gpu.sources", "kernel.nbc", "kernel.nbi"]
    package = tmp_path / "package"
    package.mkdir()
    (package / "a.py").write_text("1")
    monkeypatch.setattr(jit, "_PACKAGE", package)
    monkeypatch.setattr(jit, "_digest_of_sources", jit._digest_of_sources.__wrapped__)
    assert look() == ["fdsl_gpu.sources"]
    # Older than the code, and as long as before: only what is in it counts.
    (package / "a.py").write_text("2")
    os.utime(package / "a.py", (0, 0))
    assert look() == ["fdsl_gpu.sources"]
    assert look() == ["fdsl_gpu.sources", "kernel.nbc", "kernel.nbi"]


def test_kernels_are_compiled_where_nothing_can_be_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without a file has no folder for its code, just as one in a folder that cannot be written."""
    jit._warn_once.cache_clear()
    scope: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x", scope)
    with pytest.warns(UserWarning, match="NUMBA_CACHE_DIR"):
        assert jit.kernel(scope["twice"])(21) == 42


def test_a_process_forked_while_another_thread_compiles_can_compile() -> None:
    held, let_go = threading.Event(), threading.Event()

    def compile_for_a_while() -> None:
        with global_compiler_lock:
            held.set()
            let_go.wait(0.2)

    thread = threading.Thread(target=compile_for_a_while)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        # Not with a time limit: an alarm ends what waits for ever.
        signal.alarm(20)
        with global_compiler_lock:
            os._exit(0)
    let_go.set()
    thread.join()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert not global_compiler_lock.is_locked()


def test_kernels_without_a_compiler_say_so() -> None:
    code = "import fdsl_gpu; fdsl_gpu.render('rcdb-1k', 0, 0, device='cpu')"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "NUMBA_DISABLE_JIT: received 1" in result.stderr


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
