"""The short set of benchmarks, and the report: tables of what was measured, and why the rest was not."""

import argparse
import importlib
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("torchvision")

from bench import report, run_gpu, short
from bench.feed import CACHED


def test_short_set_has_results_threads_and_first_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"seconds": 1.0, "q1": 1.0, "q3": 1.0, "rounds": 1}
    new_process = {"exfractaldb-1k, warm": dict.fromkeys(short.first_batch.PARTS, calls)}
    monkeypatch.setattr(short.first_batch, "measure", lambda *_: new_process)
    monkeypatch.setattr(short.scaling, "measure_threads", lambda *_: {"values": [1], "rows": {"1": {"ratio": 1.0}}})
    path = tmp_path / "short.json"
    found = short.run("cpu", str(path), ["exfractaldb-1k"], batch=2, rounds=1)
    written = json.loads(path.read_text())
    assert {name: written[name] for name in found} == found
    assert found["results"].keys() == {"exfractaldb-1k float32", "stored JPEG float32"}
    assert found["first_batch"] == new_process
    assert {"metadata", "settings"} <= written.keys()


METADATA = {
    "time": "2030-01-01T00:00:00+00:00",
    "commit": "0123456789abcdef",
    "cpu": "A processor",
    "cores": 2,
    "gpu": "A graphics card",
    "driver": "1.2.3",
    "versions": {"python": "3.11.0", "triton": None},
}


def row(rate: float, **more: float) -> dict[str, float]:
    return {
        "images_per_second": rate,
        "q1": rate * 0.9,
        "q3": rate * 1.1,
        "us_per_image": 1e6 / rate,
        "rounds": 3,
        **more,
    }


def made_up() -> dict[str, dict[str, Any]]:
    axis = {"values": [10, 100], "rows": {"10": row(1000), "100": row(100)}, "exponent": 1.0, "fixed_us": 1.0}
    axis |= {"us_per_unit": 2.0, "r_squared": 1.0, "unit": "lines"}
    fed = {
        CACHED: row(10, waiting_share=0, efficiency=1),
        "rcdb-1k float32": row(9, waiting_share=0.01, efficiency=0.9),
    }
    stages = {"stages": {"raster": row(900), "other": row(9e4)}, "sum_us": 1122.2, "whole": row(880)}
    threads = {"values": [1], "rows": {"1": {"threads": row(5), "ratio": 1.0}}}
    ratio = {"ours": "rcdb-1k uint8", "peer": "a peer", "ratio": 200.0, "required": 100, "aim": None}
    on_gpu = {"generate": {"rcdb-1k bfloat16": row(6e5)}, "goals": run_gpu.goals({}), "cut": {"generate": "after 9 s"}}
    return {
        "generate-cpu": {"results": {"rcdb-1k float32": row(2000), "stored JPEG float32": row(250)}},
        "stages-cpu": {"results": {"rcdb-1k": stages}},
        "peers-cpu": {"results": {"rcdb-1k uint8": row(2000), "a peer": row(10)}, "ratios": [ratio]},
        "scaling-cpu": {"results": {"lines": axis, "threads": threads}},
        "train-cpu": {"results": fed},
        "gpu": {"rehearsal": False, **on_gpu},
    }


def write_made_up(folder: Path, reports: dict[str, dict[str, Any]]) -> str:
    folder.mkdir(exist_ok=True)
    for stem, content in reports.items():
        (folder / f"{stem}.json").write_text(json.dumps({"metadata": METADATA, **content}))
    report.write(folder)
    return (folder / "README.md").read_text()


def test_report_shows_results_and_what_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    text = write_made_up(tmp_path, made_up())
    for section in report.SECTIONS:
        assert f"## {section.title}\n" in text
    assert "| rcdb-1k | 2,000 (1,800 .. 2,200) | 8.0 |" in text
    assert "| visualatom-1k | not measured | not measured |" in text
    assert "| rcdb-1k uint8 | a peer | 200 | 100 |  |  |" in text
    assert "| rcdb-1k bfloat16 | 500,000 | not measured | not measured |" in text
    assert "From [gpu.json](gpu.json): A graphics card, driver 1.2.3; commit 0123456789;" in text
    assert "Cut off after 9 s." in text
    assert "90.0%" in text
    for name in ("peers", "generate", "generate-gpu", "scaling"):
        assert min(Image.open(tmp_path / f"{name}.png").size) > 100
        assert (tmp_path / f"{name}.png").stat().st_size < 80_000


def test_report_says_why_a_part_has_no_results(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    whole = {name: row(5) for name in ("ours", "theirs")}
    parts = {
        "peers": {"skipped": "no --peers FOLDER"},
        "train": {},
        "stages": {},
        "sync": {"rcdb-1k": "failed:\na | b"},
    }
    errors = {"train": "RuntimeError: device lost", "peers": "RuntimeError: no nvcc"}
    settings = {"device": "cuda", "peers": "peers"}
    gpu = {"rehearsal": False, "settings": settings, **parts, "errors": errors, "cut": {"stages": "before it began"}}
    text = write_made_up(tmp_path, {"gpu": gpu, "augment-cpu": {"results": whole}})
    sections = {part.partition("\n")[0]: part for part in text.split("## ")}
    assert (
        "GPU: not measured: no --peers FOLDER.\n\nEnded by an error: RuntimeError: no nvcc"
        in sections["The peer on CUDA"]
    )
    assert "GPU: not measured.\n\nEnded by an error: RuntimeError: device lost" in sections["Training"]
    assert "GPU: not measured.\n\nCut off before it began." in sections["Stages"]
    assert "| rcdb-1k | failed: a \\| b |" in sections["Waiting for the device"]
    assert "`python bench/run_gpu.py FOLDER --peers FOLDER`." in sections["Waiting for the device"]
    assert "Ended by an error" not in sections["Augmenting"]


@pytest.mark.parametrize("name", ["generate", "scaling", "first_batch", "train"])
def test_a_report_s_command_has_the_settings_of_the_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "generate": ["--image-sizes", "16", "32", "--dtypes", "uint8"],
        "scaling": ["--axes", "points, fractaldb", "lines"],
        "first_batch": ["--no-augment"],
        "train": ["--compile", "--seconds", "0.5"],
    }
    module = importlib.import_module(f"bench.{name}")
    settings: list[dict[str, Any]] = []

    def save(arguments: argparse.Namespace, *_: Any, **__: Any) -> None:
        settings.append({key: value for key, value in vars(arguments).items() if key != "json"})

    for function in ("measure", "measure_threads", "measure_stream", "print_table", "print_axis", "print_parts"):
        monkeypatch.setattr(module, function, lambda *_: {}, raising=False)
    monkeypatch.setattr(module, "save", save)
    monkeypatch.setattr(sys, "argv", [name, "--device", "cpu", *given[name]])
    module.main()
    words = shlex.split(report.command(f"{name}-cpu", json.loads(json.dumps(settings[0]))))
    assert words[:3] == ["python", "-m", f"bench.{name}"]
    monkeypatch.setattr(sys, "argv", [name, *words[3:]])
    module.main()
    assert settings[0] == settings[1]


def test_report_is_the_same_when_written_again(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_made_up(tmp_path, made_up())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    report.write(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_report_of_a_rehearsal_or_of_nothing_claims_nothing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rehearsal = {"gpu": {**made_up()["gpu"], "rehearsal": True}}
    text = write_made_up(tmp_path, rehearsal)
    assert "600,000" not in text
    assert "GPU: not measured." in text
    assert not list(tmp_path.glob("*.png"))
