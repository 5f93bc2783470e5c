"""Reads machine code that ``cuobjdump -sass`` has printed: how many instructions, of what kind, in which loops."""

import re
from collections import Counter
from typing import Any

_LINE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:@(!?)U?P(\w+)\s+)?([A-Z0-9_.]+)([^;]*);", re.M)
_CONTROL = ("BAR", "BMOV", "BRA", "BREAK", "BSSY", "BSYNC", "CALL", "EXIT", "NOP", "RET", "WARPSYNC", "YIELD")
_MEMORY = ("LDG", "STG", "LDS", "STS", "LDL", "STL", "LDSM", "ATOM", "ATOMG", "ATOMS", "RED", "REDG")


def kind(opcode: str) -> str:
    """The unit that an instruction is for: memory, float, control or integer."""
    first = opcode.partition(".")[0]
    if first in _MEMORY:
        return "memory"
    if first in _CONTROL:
        return "control"
    return "float" if (first[0] in "DFH" and first != "FLO") or first in ("MUFU", "I2F", "I2FP") else "integer"


def count(text: str) -> dict[str, Any]:
    """Instructions in all, by kind, and those of each loop (without the loops inside of it) with its depth."""
    code = _instructions(text)
    blocks, successors = _blocks(code)
    loops = _loops(successors)
    report = {"instructions": len(code), **_kinds(code), "loops": []}
    for header in sorted(loops):
        inner = set().union(*(body for other, body in loops.items() if other != header and body < loops[header]))
        own = [line for block in sorted(loops[header] - inner) for line in blocks[block]]
        depth = sum(loops[header] <= body for body in loops.values())
        report["loops"].append({"depth": depth, "instructions": len(own), **_kinds(own)})
    return report


def _kinds(code: list[tuple[int, bool, str, str]]) -> dict[str, int]:
    return dict(sorted(Counter(kind(opcode) for _, _, opcode, _ in code).items()))


def _instructions(text: str) -> list[tuple[int, bool, str, str]]:
    """(address, whether it always runs, opcode, operands), without the padding after the code."""
    code = []
    for address, _, predicate, opcode, operands in _LINE.findall(text):
        place = int(address, 16)
        if opcode.startswith("BRA") and _target(operands) == place:
            break
        code.append((place, not predicate, opcode, operands))
    return code


def _target(operands: str) -> int | None:
    found = re.search(r"0x([0-9a-f]+)\s*$", operands.replace("`(", "").replace(")", ""))
    return int(found.group(1), 16) if found else None


def _blocks(code: list[tuple[int, bool, str, str]]) -> tuple[list[list], list[list[int]]]:
    """Basic blocks and their successors; a call comes back, so it is no branch."""
    ends = [opcode.partition(".")[0] in ("BRA", "EXIT", "RET") for _, _, opcode, _ in code]
    targets = {_target(operands) for _, _, opcode, operands in code if opcode.startswith(("BRA", "CALL"))}
    blocks: list[list] = []
    for i, line in enumerate(code):
        if i == 0 or ends[i - 1] or line[0] in targets:
            blocks.append([])
        blocks[-1].append(line)
    at = {block[0][0]: i for i, block in enumerate(blocks)}
    successors = []
    for i, block in enumerate(blocks):
        _, always, opcode, operands = block[-1]
        name = opcode.partition(".")[0]
        # ``BRA P0, 0x10`` and ``BRA.DIV`` may fall through too.
        leaves = always and (name in ("EXIT", "RET") or (name == "BRA" and "," not in operands and "DIV" not in opcode))
        following = [] if leaves or i + 1 == len(blocks) else [i + 1]
        if name == "BRA" and _target(operands) in at:
            following.append(at[_target(operands)])
        successors.append(following)
    return blocks, successors


def _loops(successors: list[list[int]]) -> dict[int, set[int]]:
    """Header -> blocks of its natural loop: all from which a branch back to it is reached without passing it."""
    everything = set(range(len(successors)))
    predecessors = [[u for u in everything if v in successors[u]] for v in everything]
    dominators = [{0}] + [everything] * (len(successors) - 1)
    changed = True
    while changed:
        changed = False
        for v in range(1, len(successors)):
            before = [dominators[u] for u in predecessors[v]]
            found = {v} | (set.intersection(*before) if before else set())
            changed, dominators[v] = changed or found != dominators[v], found
    loops: dict[int, set[int]] = {}
    for u in everything:
        for header in set(successors[u]) & dominators[u]:
            body, reached = loops.setdefault(header, {header}), [u]
            while reached:
                block = reached.pop()
                if block not in body:
                    body.add(block)
                    reached += predecessors[block]
    return loops
