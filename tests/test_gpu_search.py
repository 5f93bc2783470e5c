"""The category search on a GPU: its kernels judge as the law says, and its tables are those of the CPU."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fdsl_gpu import gpu_search, philox, search
from fdsl_gpu.class_tables import IFSTable, builtin, load_table
from fdsl_gpu.class_tables.table import EXFRACTALDB, FRACTALDB, PLANE, SPACE
from fdsl_gpu.cli import main
from fdsl_gpu.gpu_search import PlaneLaw, SpaceLaw, confirmed, draw, first_attempts
from tests.oracles import search as oracle

CPU = torch.device("cpu")
TABLES = {PLANE: "fractaldb-1k", SPACE: "exfractaldb-1k"}
SEARCHES = {PLANE: search.search_2d, SPACE: search.search_3d}
DIMENSIONS = pytest.mark.parametrize("columns", [PLANE, SPACE], ids=["plane", "space"])

# Kernels may let runaway chains overflow.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def key_of(columns: int) -> philox.Key:
    return philox.dataset_key(0, FRACTALDB if columns == PLANE else EXFRACTALDB)


def shipped(columns: int) -> IFSTable:
    return load_table(builtin(TABLES[columns]))


def shares_of(maps: list[list[float]]) -> list[float]:
    if len(maps[0]) == SPACE:
        return oracle.probabilities(maps)
    return oracle.shares_of([abs(a * d - b * c) for a, b, c, d, _, _ in maps])


def cloud(columns: int, category: int, attempt: int, points: int) -> np.ndarray:
    """The points of a candidate, [points, 2] with the origin or [points, 3] without; may run away."""
    maps = oracle.candidate(key_of(columns), category, attempt, columns)
    pick = oracle.choices_2d if columns == PLANE else oracle.choices
    chosen = pick(key_of(columns), category, attempt, shares_of(maps))[:points]
    if columns == PLANE:
        return oracle.chain_2d(maps, chosen[: points - 1])
    x = y = z = 0.0
    found = []
    for j in chosen:
        a, b, c, d, e, f, g, h, i, jj, k, m = maps[j]
        x, y, z = (a * x + b * y) + (c * z + jj), (d * x + e * y) + (f * z + k), (g * x + h * y) + (i * z + m)
        found.append((x, y, z))
    return np.array(found)


def fill(points: np.ndarray, canvas: int, padding: int) -> int:
    """Pixels that points hit."""
    low, high = points.min(axis=0), points.max(axis=0)
    columns, rows = np.trunc((points - low) / (high - low) * (canvas - 2 * padding) + padding).astype(int).T
    return len(set(zip(columns.tolist(), rows.tolist(), strict=True)))


def candidates_of(columns: int, classes: int, attempts: int) -> tuple[np.ndarray, np.ndarray]:
    categories = np.repeat(np.arange(classes, dtype=np.int32), attempts)
    return categories, np.tile(np.arange(attempts, dtype=np.int32), classes)


@DIMENSIONS
def test_draw_gives_the_candidates_of_the_law(columns: int) -> None:
    categories, attempts = candidates_of(columns, 3, 4)
    found, kept = draw(key_of(columns), categories, attempts, columns, CPU)
    assert kept.tolist() == list(range(12))
    for index, pair in enumerate(zip(categories.tolist(), attempts.tolist(), strict=True)):
        maps = oracle.candidate(key_of(columns), *pair, columns)
        np.testing.assert_array_equal(found.maps[: len(maps), :, index], np.array(maps))
        sums = np.add.accumulate(shares_of(maps))[:-1]
        thresholds = found.thresholds[:, index].numpy().view(np.uint32)
        np.testing.assert_array_equal(thresholds[: len(sums)], np.minimum(np.floor(sums * 2.0**32), 2**32 - 1))
        assert (thresholds[len(sums) :] == 2**32 - 1).all()


# A multiple of four steps, and each remainder; 70 candidates leave a program with idle lanes.
@pytest.mark.parametrize(("points", "attempts"), [(65, 6), (14, 6), (11, 35), (8, 6)])
@pytest.mark.usefixtures("interpreter")
def test_extremes_and_fills_in_the_plane_are_exact(points: int, attempts: int) -> None:
    law = PlaneLaw(canvas=32)
    pairs = candidates_of(PLANE, 2, attempts)
    found, _ = draw(key_of(PLANE), *pairs, PLANE, CPU)
    extremes = law.extremes(found, points)
    fills = law.fills(found, points, extremes)
    for index, pair in enumerate(zip(*(part.tolist() for part in pairs), strict=True)):
        expected = cloud(PLANE, *pair, points)
        box = [expected[:, 0].min(), expected[:, 0].max(), expected[:, 1].min(), expected[:, 1].max()]
        np.testing.assert_array_equal(extremes[:, index], box)
        assert fills[index] == fill(expected, 32, 6)


@pytest.mark.parametrize(("steps", "attempts"), [(64, 6), (13, 6), (10, 35), (7, 6)])
@pytest.mark.usefixtures("interpreter")
def test_extremes_means_and_variances_in_space_are_exact(steps: int, attempts: int) -> None:
    law = SpaceLaw(steps=steps)
    pairs = candidates_of(SPACE, 2, attempts)
    found, _ = draw(key_of(SPACE), *pairs, SPACE, CPU)
    extremes = law.extremes(found)
    means, variances = law.moments(found, extremes)
    for index, pair in enumerate(zip(*(part.tolist() for part in pairs), strict=True)):
        expected = cloud(SPACE, *pair, steps)
        low, high = expected.min(), expected.max()
        assert extremes[:, index].tolist() == [low, high]
        scaled = (2.0 * (expected - low) / (high - low) - 1.0).T.tolist()
        assert variances[:, index].tolist() == [oracle.variance(values) for values in scaled]
        assert means[:, index].tolist() == [np.add.accumulate(values)[-1] / steps for values in scaled]


@pytest.mark.usefixtures("interpreter")
def test_first_attempts_in_the_plane_follow_the_law() -> None:
    law = PlaneLaw(stages=((17, 13), (64, 46)), canvas=32, limit=3.0)

    def accepted(category: int, attempt: int) -> bool:
        points = cloud(PLANE, category, attempt, 64)
        return np.abs(points).max() <= 3.0 and all(fill(points[:count], 32, 6) >= least for count, least in law.stages)

    expected = [next(t for t in range(1000) if accepted(c, t)) for c in range(5, 9)]
    assert len(set(expected)) > 2
    assert first_attempts(key_of(PLANE), 5, 4, PLANE, CPU, law, lanes=16).tolist() == expected


@pytest.mark.usefixtures("interpreter")
def test_first_attempts_in_space_follow_the_law() -> None:
    law = SpaceLaw(steps=24, limit=8.0, min_variance=0.1)

    def accepted(category: int, attempt: int) -> bool:
        points = cloud(SPACE, category, attempt, 24)
        low, high = points.min(), points.max()
        scaled = (2.0 * (points - low) / (high - low) - 1.0).T.tolist()
        return low >= -8.0 and high <= 8.0 and all(oracle.variance(values) > 0.1 for values in scaled)

    expected = [next(t for t in range(1000) if accepted(c, t)) for c in range(5, 9)]
    assert len(set(expected)) > 2
    assert first_attempts(key_of(SPACE), 5, 4, SPACE, CPU, law, lanes=64).tolist() == expected


@pytest.mark.usefixtures("interpreter")
@DIMENSIONS
def test_chains_that_run_away_to_nan_are_rejected(columns: int) -> None:
    found, _ = draw(key_of(columns), *candidates_of(columns, 1, 3), columns, CPU)
    # Infinite after some 26 steps, then inf - inf.
    found.maps[:] = 1e12
    found.maps[:, 1] = -1e12
    law = PlaneLaw(stages=((41, 0),)) if columns == PLANE else SpaceLaw(steps=40, min_variance=-1.0)
    assert law.accepted(found).tolist() == []


@DIMENSIONS
def test_published_laws_are_those_of_the_cpu(columns: int) -> None:
    from fdsl_gpu.cpu_kernels import search as space
    from fdsl_gpu.cpu_kernels import search_2d as plane

    law = gpu_search._LAWS[columns]()
    if isinstance(law, PlaneLaw):
        assert law.stages == (*plane.EARLY, (plane.POINTS, plane.MIN_PIXELS))
        assert (law.canvas, law.padding, law.limit) == (plane.CANVAS, plane.PADDING, plane.LIMIT)
    else:
        assert law == SpaceLaw(space.STEPS, space.LIMIT, space.MIN_VARIANCE)


@DIMENSIONS
def test_confirmed_refuses_what_the_cpu_rejects(columns: int) -> None:
    attempts = shipped(columns).attempts[:3].copy()
    confirmed(key_of(columns), 0, attempts, columns)
    attempts[1] += 1
    with pytest.raises(RuntimeError, match=f"attempt {attempts[1]} at class 1"):
        confirmed(key_of(columns), 0, attempts, columns)


@DIMENSIONS
def test_search_makes_the_same_table_of_attempts_found_on_a_gpu(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def find(key: philox.Key, first: int, count: int, width: int, device: torch.device) -> np.ndarray:
        calls.append((first, count, device.type))
        return shipped(width).attempts[first : first + count]

    monkeypatch.setattr(search, "resolve_device", torch.device)
    monkeypatch.setattr(gpu_search, "first_attempts", find)
    monkeypatch.setattr(gpu_search, "CLASSES", 3)
    monkeypatch.setattr(search, "_BLOCK", 2)
    found = SEARCHES[columns](5, first_class=2, device="meta")
    assert calls == [(2, 3, "meta"), (5, 2, "meta")]
    assert found.digest() == shipped(columns).part(2, 7).digest()


def test_search_says_that_a_device_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["search", "fractaldb", "--num-classes", "1", "--out", str(tmp_path / "table.safetensors")]
    assert main([*command, "--device", "cuda:99"]) == 2
    assert "device: received 'cuda:99'" in capsys.readouterr().err


@pytest.mark.gpu
@DIMENSIONS
def test_gpu_finds_the_shipped_classes(columns: int) -> None:
    table = shipped(columns)
    found = first_attempts(key_of(columns), 0, len(table), columns, torch.device("cuda"))
    np.testing.assert_array_equal(found, table.attempts)
    assert SEARCHES[columns](16, device="cuda").digest() == table.head(16).digest()
