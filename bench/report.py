"""Results as tables and plots: reads bench/results/*.json, writes bench/results/README.md and PNG files beside it.

    python -m bench.report

Nothing in those files is written by hand. What no file holds is "not measured".
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.common import FORMATS, digits
from bench.generate import DATASETS
from fdsl_gpu.files import replacing

RESULTS = Path(__file__).resolve().parent / "results"
MISSING = "not measured"

_HEADING = """# Results

Made by `python -m bench.report` from the JSON files in this folder; do not edit. Rates are images per second at 224 px
unless a row says otherwise: the median, and the quartiles of rounds in which all rows of a table took turns.
"""

Rows = dict[str, Any]


def load(folder: Path) -> dict[str, Rows]:
    """Stem -> what a result file holds; rehearsals are left out."""
    reports = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    return {stem: report for stem, report in reports.items() if not report.get("rehearsal")}


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown; a cell may hold an error's text."""
    header = list(header)
    lines = [header, ["---"] * len(header), *([_one_line(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _one_line(text: str) -> str:
    return " ".join(text.splitlines()).replace("|", "\\|")


def rate(row: Rows | None) -> str:
    """Median and quartiles, or "not measured"."""
    if not row:
        return MISSING
    median, low, high = (digits(row[key]) for key in ("images_per_second", "q1", "q3"))
    return f"{median} ({low} .. {high})"


def number(row: Rows | None, key: str, form: str = ",.4g") -> str:
    """One value of a row, or "not measured"."""
    value = (row or {}).get(key)
    return MISSING if value is None else f"{value:{form}}"


def ratio(row: Rows | None, reference: Rows | None) -> str:
    """A rate over another."""
    return f"{row['images_per_second'] / reference['images_per_second']:.1f}" if row and reference else MISSING


def rates_by_format(results: Rows) -> dict[str, dict[str, Rows]]:
    """Rows "NAME DTYPE..." as NAME... -> dtype -> row."""
    pivot: dict[str, dict[str, Rows]] = {}
    for name, row in results.items():
        if match := re.fullmatch(rf"(.+?) ({'|'.join(FORMATS)})(.*)", name):
            pivot.setdefault(match[1] + match[3], {})[match[2]] = row
    return pivot


def generate_table(results: Rows) -> str:
    """Datasets by dtype, and float32 over stored pictures."""
    pivot = rates_by_format(results)
    # Of several sizes or batches, each row is named after its own.
    expected = [name for name in DATASETS if not any(row.startswith(f"{name},") and "px" in row for row in pivot)]
    formats = [name for name in FORMATS if any(name in row for row in pivot.values())]
    stored = pivot.get("stored JPEG", {}).get("float32")
    lines = []
    for name in dict.fromkeys([*expected, *pivot]):
        cells = [rate(pivot.get(name, {}).get(dtype)) for dtype in formats]
        # Stored pictures are read in one format; the others have no row.
        cells = [cell if name != "stored JPEG" or cell != MISSING else "" for cell in cells]
        lines.append([name, *cells, *([ratio(pivot.get(name, {}).get("float32"), stored)] if stored else [])])
    return table(["dataset", *formats, *(["float32 over stored JPEG"] if stored else [])], lines)


def stages_table(results: Rows) -> str:
    """Microseconds an image of each stage."""
    stages = list(dict.fromkeys(stage for result in results.values() for stage in result["stages"]))
    # What is left over comes last, however many stages a dataset has.
    stages = [stage for stage in stages if stage != "other"] + ["other"]
    lines = []
    for name, result in results.items():
        cells = [number(result["stages"].get(stage), "us_per_image") for stage in stages]
        cells = ["" if cell == MISSING else cell for cell in cells]
        lines.append([name, *cells, number(result, "sum_us"), number(result["whole"], "us_per_image")])
    return table(["us an image", *stages, "sum", "without the clock"], lines)


def rows_table(results: Rows) -> str:
    """Plain rows of rates."""
    return table(["", "img/s"], ([name, rate(row)] for name, row in results.items()))


def peers_table(report: Rows) -> str:
    """Ratios required and reached, all rates, and what could not be measured."""
    lines = [
        [
            one["ours"],
            one["peer"],
            *(digits(one[key]) if one.get(key) else "" for key in ("ratio", "required", "aim")),
            one.get("note", ""),
        ]
        for one in report.get("ratios", [])
    ]
    parts = [table(["ours", "peer", "ratio", "required", "aim", "difference in what is made"], lines)] if lines else []
    if results := report.get("results"):
        parts.append(rows_table(results))
    if "ratio" in report:
        parts.append(f"Ours over its fastest: {digits(report['ratio'])}.")
    parts += [f"* {MISSING}: {peer}: {reason}" for peer, reason in report.get("not_measured", {}).items()]
    parts += [
        f"* {peer}: {checkout['repository']}, commit {(checkout['commit'] or 'unknown')[:10]}"
        for peer, checkout in report.get("checkouts", {}).items()
    ]
    if versions := report.get("peer_versions"):
        parts.append(f"* the peers ran with {_listed(versions)}")
    return "\n\n".join(parts)


def scaling_table(results: Rows) -> str:
    """Exponents and fits of every axis, then what threads, classes and long streams cost."""
    lines = []
    for axis, result in results.items():
        if "exponent" in result:
            span = f"{result['values'][0]:,} .. {result['values'][-1]:,}"
            cells = [number(result, key) for key in ("exponent", "fixed_us", "us_per_unit", "r_squared")]
            lines.append([axis, span, *cells])
    parts = [table(["axis", "values", "exponent", "fixed us", "us a unit", "R squared"], lines)]
    parts += [
        f"{axis}:\n\n{nested_table(axis, results[axis]['rows'])}"
        for axis in ("threads", "classes", "stream")
        if axis in results
    ]
    return "\n\n".join(parts)


def nested_table(first: str, rows: Rows) -> str:
    """Rows whose values are numbers, texts or rates of their own; what they hold decides the columns."""
    columns = list(dict.fromkeys(key for row in rows.values() for key in row if key not in ("q1", "q3", "rounds")))
    return table([first, *columns], ([name, *(_cell(row, key) for key in columns)] for name, row in rows.items()))


def _cell(row: Rows, key: str) -> str:
    value = row.get(key)
    if isinstance(value, dict):
        if "images_per_second" in value:
            return rate(value)
        return f"{value['seconds']:.2f} s" if "seconds" in value else ", ".join(f"{k} {v}" for k, v in value.items())
    if value is None or isinstance(value, (str, bool)):
        return MISSING if value is None else str(value)
    return rate(row) if key == "images_per_second" and "q1" in row else f"{value:,.6g}"


def feed_table(results: Rows) -> str:
    """Rates, waiting, efficiency, and memory where it was measured."""
    lines, on_cuda = [], any("extra_mb" in row for row in results.values())
    for name, row in results.items():
        if "failed" in row:
            lines.append([name, f"{MISSING}: {row['failed']}", *[""] * (5 if on_cuda else 3)])
            continue
        cells = [number(row, "waiting_share", ".1%"), number(row, "efficiency", ".1%")]
        cells.append(number(row, "over_stored", ".2f") if "over_stored" in row else "")
        cells += [number(row, key, ",.0f") for key in ("extra_mb", "extra_reserved_mb")] if on_cuda else []
        lines.append([name, rate(row), *cells])
    memory = ["memory over the cached batch's, MB", "reserved, MB"] if on_cuda else []
    return table(["feed", "img/s", "waiting", "efficiency", "over stored JPEG", *memory], lines)


def goals_table(results: Rows) -> str:
    """Goals of the GPU."""
    lines = [
        [name, f"{row['goal']:,.0f}", number(row, "images_per_second", ",.0f"), number(row, "reached", "")]
        for name, row in results.items()
    ]
    return table(["", "goal, img/s", "measured", "reached"], lines)


def plain_table(results: Rows) -> str:
    """Whatever rows there are: texts, or numbers by name."""
    rows = {name: row if isinstance(row, dict) else {"result": row} for name, row in results.items()}
    return nested_table("", rows)


def tests_table(results: Rows) -> str:
    """Outcome, counts and failures, without what was printed."""
    counts = plain_table({name: value for name, value in results.items() if name not in ("output", "failures")})
    return "\n\n".join([counts, *(f"* {test}: {_one_line(why)}" for test, why in results.get("failures", {}).items())])


@dataclass(frozen=True)
class Section:
    """A heading, what it says, and where its tables come from.

    Attributes:
        title: heading.
        text: what is measured.
        make: results -> tables.
        cpu: stem of the file with the CPU's results; None where there are none.
        gpu: key of the results in gpu.json; None where there are none.
        whole: whether ``make`` takes the CPU's whole report, not its results alone.
    """

    title: str
    text: str
    make: Callable[[Rows], str]
    cpu: str | None = None
    gpu: str | None = None
    whole: bool = False


SECTIONS = [
    Section("Generating", "Batches from nothing (`bench.generate`).", generate_table, "generate-cpu", "generate"),
    Section("Goals of the GPU", "An H100, bfloat16, batches of 256.", goals_table, gpu="goals"),
    Section("Stages", "Where the time of a batch goes (`bench.stages`).", stages_table, "stages-cpu", "stages"),
    Section("Peers", "The originals' generators (`bench.peers`).", peers_table, "peers-cpu", whole=True),
    Section("The peer on CUDA", "Its renderer and ours, in turns (`bench.peers.cuda`).", peers_table, gpu="peers"),
    Section("Augmenting", "RandAugment and its company (`bench.augment`).", rows_table, "augment-cpu", "augmented"),
    Section(
        "Scaling",
        "Cost = fixed + units times us a unit, over all values; the exponent is of the upper half (`bench.scaling`).",
        scaling_table,
        "scaling-cpu",
        "scaling",
    ),
    Section("First batch", "From a new process (`bench.first_batch`).", plain_table, "first_batch-cpu", "first_batch"),
    Section(
        "Feeding",
        "A consumer of a set speed; efficiency is its rate over that with a cached batch (`bench.feed`).",
        feed_table,
        "feed-cpu",
        "feed",
    ),
    Section("Training", "The same with vision transformers (`bench.train`).", feed_table, "train-cpu", "train"),
    Section("Memory", "Float32 batches of 256, prefetch 2 (`bench.run_gpu`).", feed_table, gpu="memory"),
    Section(
        "Host time",
        "Of a batch that a GPU draws; on a CPU without the driver's part (`bench.host_time`, `bench.run_gpu`).",
        plain_table,
        "host_time-cpu",
        "host",
    ),
    Section("Waiting for the device", "Under torch's synchronisation check.", plain_table, gpu="sync"),
    Section("Canvases at a time", "The renderer's chunk, swept (`bench.run_gpu`).", plain_table, gpu="chunks"),
    Section(
        "CUDA graphs",
        "Beside plain launches and replays, us a batch (`bench.cuda_graphs`).",
        plain_table,
        gpu="graphs",
    ),
    Section("GPU tests", "`pytest -m gpu`.", tests_table, gpu="tests"),
]


def _listed(versions: Rows) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def command(stem: str, settings: Rows) -> str:
    """The command that measured, as the settings in a result file say it."""
    if stem == "gpu":
        return "python bench/run_gpu.py FOLDER" + (" --peers FOLDER" if settings.get("peers") else "")
    words = ["python", "-m", f"bench.{stem.removesuffix('-cpu')}"]
    for name, value in settings.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None and value != []:
            values = value if isinstance(value, list) else [value]
            words += [f"--{option}", *(shlex.quote(str(one)) for one in values)]
    return " ".join(words)


def source(stem: str, report: Rows) -> str:
    """Which file a table comes from, who measured (machine, commit, versions), and by which command."""
    about = report["metadata"]
    machine = about["gpu"] if stem == "gpu" else f"{about['cpu']}, {about['cores']} cores"
    driver = f", driver {about['driver']}" if stem == "gpu" and about.get("driver") else ""
    changed = ", modified" if about.get("modified") else ""
    commit = (about.get("commit") or "unknown")[:10]
    load = f", load {about['load'][0]}" if "load" in about else ""
    where = f"{machine}{driver}{load}; commit {commit}{changed}; {about['time']}"
    repeat = command(stem, report.get("settings", {}))
    return f"From [{stem}.json]({stem}.json): {where}; {_listed(about['versions'])}; `{repeat}`."


def section_text(section: Section, reports: dict[str, Rows]) -> str:
    """A section: its tables and their sources, or "not measured"."""
    parts = [f"## {section.title}", section.text]
    for place, stem, key in (("CPU", section.cpu, "results"), ("GPU", "gpu" if section.gpu else None, section.gpu)):
        if stem is None or key is None:
            continue
        report = reports.get(stem, {})
        results = report.get(key)
        if not results or results.keys() == {"skipped"}:
            parts.append(f"{place}: {MISSING}{': ' + results['skipped'] if results else ''}.")
        else:
            parts.append(f"{place}. {source(stem, report)}")
            parts.append(section.make(report if place == "CPU" and section.whole else results))
        if cut := report.get("cut", {}).get(key):
            parts.append(f"Cut off {cut}.")
        if error := report.get("errors", {}).get(key):
            parts.append(f"Ended by an error: {error}")
    return "\n\n".join(parts)


def write(folder: Path) -> list[Path]:
    """Rewrite README.md and the plots of a folder of results; returns what was written."""
    # Here, because drawing loads slowly and reading results does not need it.
    from bench import plots

    reports = load(folder)
    pictures = plots.write(reports, folder)
    parts = [_HEADING.rstrip(), *(f"![{title}]({path.name})" for path, title in pictures)]
    parts += [section_text(section, reports) for section in SECTIONS]
    readme = folder / "README.md"
    with replacing(readme) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n")
    return [readme, *(path for path, _ in pictures)]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--folder", type=Path, default=RESULTS, help="of the results (default: beside this file)")
    for path in write(options.parse_args().folder):
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
