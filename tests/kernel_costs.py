"""What kernels and batches cost, counted and not timed: ``python -m tests.kernel_costs [--accept]``.

Registers, spills, shared memory and instructions of every kernel follow from its source and Triton's version, which
brings its own assembler. Launches and bytes of a batch follow from the launchers. Both are kept in a file a version of
Triton, ``tests/kernel_costs/triton-<version>.json``, so that whoever makes them grow has to say so.
"""

import argparse
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests import compile_kernels

_FOLDER = Path(__file__).parent / "kernel_costs"

HOW_TO_ACCEPT = "If that is meant, accept it with `python -m tests.kernel_costs --accept` and commit the file."


def accepted_file() -> Path:
    """Where the accepted costs of this version of Triton are kept."""
    import triton

    return _FOLDER / f"triton-{'.'.join(triton.__version__.split('.')[:2])}.json"


def load(path: Path) -> dict[str, Any]:
    """Accepted costs."""
    return json.loads(path.read_text())


@lru_cache(maxsize=1)
def launches() -> dict[str, Any]:
    """What ``tests.recorded_launches`` prints."""
    return compile_kernels.run_alone("tests.recorded_launches")


def measure() -> dict[str, Any]:
    """Costs now: "kernels" by target and kernel, "batches" by workload."""
    kernels = {
        f"{name} {target}": {what: value for what, value in costs.items() if what != "fma"}
        for target, found in compile_kernels.report().items()
        for name, costs in found.items()
        if costs["spills"] is not None
    }
    return {"kernels": dict(sorted(kernels.items())), "batches": launches()["batches"]}


def compare(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """One line a difference: whose, what, was, is."""
    return [
        f"{owner}: {what}: was {before}, is {after}"
        for part in ("kernels", "batches")
        for owner in sorted(was[part].keys() | now[part].keys())
        for what, before, after in _changes(was[part].get(owner, {}), now[part].get(owner, {}))
    ]


def _changes(was: Any, now: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """(path, before, after) of every leaf that differs; None where there was or is none."""
    if isinstance(was, list) or isinstance(now, list):
        was, now = ({f"{i + 1}": item for i, item in enumerate(items or [])} for items in (was, now))
    if not isinstance(was, dict) and not isinstance(now, dict):
        return [(path, was, now)] if was != now else []
    was, now = was or {}, now or {}
    changes = []
    for key in sorted(was.keys() | now.keys()):
        changes += _changes(was.get(key), now.get(key), f"{path} {key}".strip())
    return changes


def table(costs: dict[str, Any]) -> str:
    """The costs as text, for whoever has to judge them."""
    lines = [f"{'kernel':44} registers spills shared instructions, in loops"]
    for name, cost in costs["kernels"].items():
        loops = ", ".join(str(loop["instructions"]) for loop in cost.get("loops", []))
        numbers = f"{cost['registers']:9} {cost['spills']:6} {cost['shared']:6}"
        lines.append(f"{name:44} {numbers} {cost.get('instructions', ''):>12}  {loops}".rstrip())
    lines.append(f"{'batch of 256':44}  launches   kept MB  taken MB")
    for name, cost in costs["batches"].items():
        megabytes = f"{cost['kept_bytes'] / 1e6:9.1f} {cost['batch_bytes'] / 1e6:9.1f}"
        lines.append(f"{name:44} {sum(cost['launches'].values()):9} {megabytes}")
    return "\n".join(lines)


def save(costs: dict[str, Any], path: Path) -> None:
    """Write costs, one line an owner, so that a change reads well."""
    parts = []
    for part in ("kernels", "batches"):
        rows = ",\n".join(f"    {json.dumps(owner)}: {json.dumps(cost)}" for owner, cost in costs[part].items())
        parts.append(f'  "{part}": {{\n{rows}\n  }}')
    path.parent.mkdir(exist_ok=True)
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def main() -> None:
    """Print the costs and what changed; ``--accept`` keeps them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accept", action="store_true", help="keep the costs as they are now")
    accept = parser.parse_args().accept
    path, costs = accepted_file(), measure()
    changes = compare(load(path), costs) if path.exists() else [f"{path.name} does not exist"]
    print(table(costs), *(changes or ["nothing changed"]), sep="\n")
    if accept:
        save(costs, path)


if __name__ == "__main__":
    main()
