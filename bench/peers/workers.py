"""Contenders in processes of their own, one thread each, that make pictures on request and say how long it took."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from typing import Any, Literal

from bench.common import summary

Clock = Literal["wall", "cpu"]

_THREADS = ("OMP", "MKL", "OPENBLAS", "NUMBA")
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in _THREADS}

LIMIT = 900
"""Seconds after which a process that has not answered is ended. Compilation is part of its first answer."""


class NotMeasured(Exception):
    """A contender cannot run; the message says why."""


class Worker:
    """A process that serves makers of pictures (see ``bench.peers.drivers.serve``); ended by :meth:`close`.

    Args:
        command: the process.
        environment: variables to set for it.

    Raises:
        NotMeasured: it ended before it could serve.
    """

    def __init__(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        variables = {**os.environ, **ONE_THREAD, **(environment or {})}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                bufsize=1,
                env=variables,
            )
        except OSError as error:
            raise NotMeasured(f"cannot start {command[0]}: {error.strerror}") from None
        try:
            self.makers: list[str] = self._answer()["makers"]
        except NotMeasured:
            self.close()
            raise

    def make(self, name: str, images: int) -> dict[Clock, float]:
        """Have so many pictures made; seconds on the clock, and seconds of the CPU.

        Raises:
            NotMeasured: it failed.
        """
        # A process that has ended is told by its missing answer.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([name, images]) + "\n")
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        timer = threading.Timer(LIMIT, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        answer = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            raise NotMeasured(answer["error"])
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1] if lines else f"ended with status {self._process.returncode}"


@dataclass(frozen=True)
class Contender:
    """A maker of a worker, and how many pictures it makes a round."""

    worker: Worker
    images: int


def side_by_side(
    contenders: dict[str, Contender], rounds: int, clock: Clock
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Images per second of contenders in turns, as ``bench.common.side_by_side``, and why others were not measured.

    The first round, in which they compile, does not count.
    """
    failed: dict[str, str] = {}
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for counted in [False] + [True] * rounds:
        for name, contender in contenders.items():
            if name in failed:
                continue
            try:
                seconds = contender.worker.make(name, contender.images)
            except NotMeasured as error:
                failed[name] = str(error)
                continue
            if counted:
                rates[name].append(contender.images / seconds[clock])
    return {name: summary(values) for name, values in rates.items() if name not in failed}, failed
