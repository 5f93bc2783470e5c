"""The command line and the contact sheet."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fdsl_gpu
from fdsl_gpu.cli import _option, main
from fdsl_gpu.files import replacing
from fdsl_gpu.preview import contact_sheet


def test_list_prints_every_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in fdsl_gpu.list_datasets())
    assert main(["list", "ex"]) == 0
    assert "rcdb" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["rcdb-1k", "exfractaldb-1k"])
def test_preview_writes_the_rendered_pictures(name: str, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    command = ["preview", name, "--out", str(out), "--rows", "2", "--columns", "3", "--image-size", "64"]
    assert main([*command, "--first-class", "5"]) == 0
    sheet = np.asarray(Image.open(out))
    tile = fdsl_gpu.render(name, 6, 2, image_size=64, device="cpu")[0].permute(1, 2, 0).numpy()
    assert np.array_equal(sheet[24 + 68 : 24 + 68 + 64, 64 + 2 * 68 : 64 + 2 * 68 + 64], tile)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_preview_takes_formula_options(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    command = ["preview", "rcdb-1k", "--out", str(out), "--rows", "1", "--columns", "1"]
    assert main([*command, "--option", "background=black"]) == 0
    assert np.median(np.asarray(Image.open(out))[24:152, 64:192]) == 0


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("black", "black"),
        ("12", 12),
        ("-3", -3),
        ("0.1", 0.1),
        ("1e-3", 1e-3),
        ("none", None),
        ("True", True),
        ("false", False),
        ("'none'", "none"),
        ("a=b", "a=b"),
        ("²", "²"),
        ("/tables/1.csv", "/tables/1.csv"),
        ("", ""),
    ],
)
def test_option_is_what_python_would_read(value: str, meant: object) -> None:
    assert repr(_option(f"weight-step={value}")) == repr(("weight_step", meant))


def test_preview_takes_options_that_are_no_text(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    command = ["preview", "--out", str(out), "--rows", "1", "--columns", "1", "--image-size", "32"]
    for name, value in [("weight_step", 0.1), ("jitter", None)]:
        dataset = "fractaldb-1k" if name == "weight_step" else "anderson-farrell-1k"
        assert main([*command, dataset, "--option", f"{name}={value}"]) == 0
        assert np.array_equal(
            np.asarray(Image.open(out)),
            np.asarray(contact_sheet(dataset, rows=1, columns=1, image_size=32, **{name: value})),
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["preview", "rcdb"], "dataset: received 'rcdb'"),
        (["preview", "rcdb-1k", "--rows", "0"], "rows: received 0"),
        (["preview", "rcdb-1k", "--first-class", "999", "--rows", "2"], "labels: received 1000"),
        (["preview", "rcdb-1k", "--option", "black"], "--option: received 'black'"),
        (["preview", "rcdb-1k", "--rows", "1", "--out", "/nowhere/sheet.png"], "out: cannot write"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_interrupt_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupt)
    assert main(["preview", "rcdb-1k", "--rows", "1", "--columns", "1", "--out", str(tmp_path / "sheet.png")]) == 130
    assert not list(tmp_path.iterdir())


def test_bench_passes_its_options_to_the_short_set(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchvision")
    from bench import short

    received: list[object] = []
    monkeypatch.setattr(short, "run", lambda *arguments: received.append(arguments))
    assert main(["bench", "--device", "cpu", "--json", "out.json"]) == 0
    assert received == [("cpu", "out.json")]


def test_bench_without_a_checkout_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fdsl_gpu.cli, "__file__", str(tmp_path / "fdsl_gpu" / "cli.py"))
    assert main(["bench"]) == 2
    error = capsys.readouterr().err
    assert "Clone the repository" in error
    assert error.count("\n") == 1


def test_replacing_keeps_the_old_file_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail_half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail_half_way()
    assert path.read_text() == "old"
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) & 0o400
    assert os.listdir(tmp_path) == ["file.txt"]


def test_contact_sheet_has_a_row_a_class() -> None:
    assert contact_sheet("rcdb-1k", rows=2, columns=3, image_size=32).size == (64 + 3 * 36, 24 + 2 * 36)
