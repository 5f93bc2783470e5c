"""SegRCDB: the law of pictures, Pillow's polygons, masks of all kinds, and twins that draw the same bytes."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from fdsl_gpu.cpu_kernels.polygon import fill_polygon, fill_scratch
from fdsl_gpu.formulas.segrcdb import MASK_MODES, SegRCDB, class_table
from fdsl_gpu.philox import dataset_key
from fdsl_gpu.records import CONTOUR_SCENE, CONTOURS, CONTOURS_A_SCENE, as_words
from fdsl_gpu.render.contour_scenes import ContourScenes
from fdsl_gpu.render.contours import Contours
from tests.oracles import contours as contour_oracle
from tests.oracles import segrcdb as oracle

KEY = dataset_key(0, SegRCDB.NUMBER)
CPU = torch.device("cpu")
BACKENDS = ["numba", "triton"]


def scenes_of(count: int, **options: Any) -> np.ndarray:
    return SegRCDB(**options).draw(KEY, np.zeros(count, np.int64), np.arange(count))


def make(size: int, mask_mode: str = "M1", backend: str = "numba", **options: int) -> ContourScenes:
    limits: Any = {"max_vertices": 500, "max_lines": 50, "background": 9, "mask_mode": mask_mode}
    return ContourScenes(canvas_size=size, device=CPU, backend=backend, **(limits | options))  # type: ignore[arg-type]


def drawn(
    scenes: np.ndarray, launcher: ContourScenes, fill: int = 0, masked: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    side = launcher.canvas_size
    planes, masks = (
        torch.full((len(scenes), *shape), fill, dtype=torch.uint8) for shape in ((1, side, side), (side,) * 2)
    )
    words = torch.from_numpy(scenes.view(np.int32).reshape(len(scenes), -1))
    launcher.draw(words, KEY, planes, masks if masked else None)
    return planes[:, 0].numpy(), masks.numpy()


def contours_of(scene: np.void) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """What the oracle draws: vertices and greys of the library, which other tests hold against the law."""
    records = np.ascontiguousarray(scene["contours"])
    stage = Contours(canvas_size=64, max_vertices=500, max_lines=50, background=0, device=CPU, backend="numba")
    vertices, greys = (tensor.numpy() for tensor in stage.vertices(torch.from_numpy(as_words(records)), KEY))
    return [
        (vertices[i, : row["lines"], : row["vertices"]], greys[i, : row["lines"]], int(row["category"]))
        for i, row in enumerate(records)
        if row["lines"]
    ]


@pytest.mark.parametrize("mode", MASK_MODES)
@pytest.mark.parametrize("size", [512, 201])
def test_pictures_and_masks_equal_pillows(mode: str, size: int) -> None:
    scenes = scenes_of(5, canvas_size=size)
    # Contours of one line, which some modes leave out.
    scenes["contours"]["lines"][:, ::7] = 1
    planes, masks = drawn(scenes, make(size, mode), fill=0xFF)
    for i, scene in enumerate(scenes):
        picture, mask = oracle.draw(contours_of(scene), size, 9, mode)
        assert np.array_equal(planes[i], picture)
        assert np.array_equal(masks[i], mask)
        assert len(np.unique(mask)) > 10


@pytest.mark.parametrize("mode", MASK_MODES)
def test_pictures_are_the_same_in_all_modes_and_without_masks(mode: str) -> None:
    scenes = scenes_of(3, canvas_size=64)
    with_masks, _ = drawn(scenes, make(64, mode))
    without, _ = drawn(scenes, make(64, mode), masked=False)
    assert np.array_equal(with_masks, without)
    assert np.array_equal(with_masks, drawn(scenes, make(64))[0])


def random_polygon(generator: np.random.Generator, size: int) -> np.ndarray:
    """Small, large, far beyond the canvas, with vertices on one another, and with horizontal sides."""
    count = int(generator.choice([2, 3, 4, 5, 8, 20, 60]))
    kind = generator.integers(5)
    reach = [(0, size), (-size, 2 * size), (size // 3, size // 3 + 4), (-32768, 32768), (-3 * size, 4 * size)][kind]
    polygon = generator.integers(*reach, (count, 2))
    if kind == 3:
        inside = generator.random(count) < 0.6
        polygon[inside] = generator.integers(0, size, (inside.sum(), 2))
    polygon[generator.random(count) < generator.choice([0, 0.3])] = polygon[0]
    level = generator.random(count) < generator.choice([0, 0.4])
    polygon[:, 1] = np.where(level, np.roll(polygon[:, 1], 1), polygon[:, 1])
    return polygon.astype(np.int16)


def filled(polygon: np.ndarray, size: int) -> np.ndarray:
    plane, scratch = np.zeros((size, size), np.uint8), fill_scratch(size, len(polygon))
    fill_polygon(np.ascontiguousarray(polygon).view(np.int32)[:, 0], np.uint8(255), scratch, plane)
    assert not scratch[0].any()
    return plane


def test_polygons_are_filled_as_pillow_does() -> None:
    generator = np.random.default_rng(0)
    for _ in range(6_000):
        size = int(generator.choice([1, 7, 30, 64, 65, 130]))
        polygon = random_polygon(generator, size)
        assert np.array_equal(filled(polygon, size), oracle.filled(polygon, size)), polygon.tolist()


@pytest.mark.parametrize(
    "polygon",
    [
        [(3, 3)] * 3,
        [(2, 5), (9, 5), (4, 5)],
        [(0, 0), (12, 0), (12, 12), (0, 12)],
        [(6, 0), (0, 11), (11, 3), (0, 3), (11, 11)],
        [(0, 2), (40, 3), (80, 2), (40, 9)],
        [(11, 0), (0, 1), (12, 2)],
        [(-1, 0), (0, 9), (-1, 9)],
        [(2, 2), (9, 2), (9, 9), (2, 9), (2, 2)],
    ],
    ids=["point", "flat", "square", "star", "flat corners", "flat top", "edge at -1/2", "closed already"],
)
def test_awkward_polygons_are_filled_as_pillow_does(polygon: list[tuple[int, int]]) -> None:
    points = np.array(polygon, np.int16)
    assert np.array_equal(filled(points, 12), oracle.filled(points, 12))


def small_scenes(count: int, size: int) -> np.ndarray:
    """Scenes of three contours of few lines and vertices, cheap enough for the interpreter: [B, 3] of ``CONTOURS``."""
    contours = np.ascontiguousarray(scenes_of(count, canvas_size=size)["contours"][:, :3])
    for place, (lines, vertices) in enumerate([(3, 7), (1, 5), (4, 4)]):
        contours["lines"][:, place], contours["vertices"][:, place] = lines, vertices
        contours["center_x"][:, place], contours["center_y"][:, place] = 4 + 4 * place, size / 2
        contours["radius_x"][:, place] = contours["radius_y"][:, place] = 4
    return contours


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize(("mode", "batch", "fill"), [("M1", 2, 0xFF), ("M2", 1, 0xFF), ("M3", 2, 0x00)])
def test_twins_draw_the_same_bytes(mode: str, batch: int, fill: int) -> None:
    scenes = small_scenes(batch, 9)
    options = {"max_vertices": 7, "max_lines": 4, "contours": 3}
    expected = drawn(scenes, make(9, mode, **options), fill)
    launcher = make(9, mode, "triton", **options)
    # Twice: what the first call leaves behind must not show.
    for filler in (fill, 0xFF - fill) if batch == 1 else (fill,):
        received = drawn(scenes, launcher, filler)
        assert np.array_equal(received[0], expected[0])
        assert np.array_equal(received[1], expected[1])
    assert len(np.unique(expected[1])) > 2


@pytest.mark.usefixtures("interpreter")
def test_kernels_fill_random_polygons_as_pillow_does() -> None:
    generator = np.random.default_rng(1)
    size, batch, count = 7, 2, 5
    scenes = np.zeros((batch, count), CONTOURS)
    launcher = make(size, "M3", "triton", max_vertices=6, max_lines=2, contours=count)
    words, _, corners = launcher._vertices.rows(batch * count)
    (canvas,) = launcher._canvas.rows(batch)
    expected = [Image.new("L", (size, size)) for _ in range(batch)]
    for i, n in np.ndindex(batch, count):
        polygon = random_polygon(generator, size)[:6]
        contour = scenes[i, n]
        contour["vertices"], contour["lines"], contour["category"] = len(polygon), 1, 100 + n
        packed = torch.from_numpy(np.ascontiguousarray(polygon).view(np.int32)[:, 0].copy())
        words[count * i + n, 0, : len(polygon)] = packed
        oracle.fill(ImageDraw.Draw(expected[i]), polygon, 100 + n)
    masks = torch.full((batch, size, size), 7, dtype=torch.uint8)
    launcher._fill_masks(torch.from_numpy(as_words(scenes.reshape(-1))), words, corners, canvas, masks)
    assert np.array_equal(masks.numpy(), np.stack([np.asarray(image) for image in expected]))
    assert len(masks.unique()) > 3


def test_vertices_follow_the_law() -> None:
    records = np.ascontiguousarray(scenes_of(1)["contours"][0, :6])
    stage = Contours(canvas_size=64, max_vertices=500, max_lines=50, background=0, device=CPU, backend="numba")
    vertices, greys = (tensor.numpy() for tensor in stage.vertices(torch.from_numpy(as_words(records)), KEY))
    for i, record in enumerate(records):
        exact = contour_oracle.coordinates(record, KEY)
        received = vertices[i, : record["lines"], : record["vertices"]]
        different = received != contour_oracle.truncate(exact)
        distance = np.abs(exact - np.round(exact))
        assert (distance[different] < 1e-2).all()
        # Where the sine is 0 a vertex stays on the centre, in float64 but nearly.
        assert (different & (distance > 1e-9)).mean() < 1e-3
        assert greys[i, : record["lines"]].tolist() == contour_oracle.greys(record, KEY)


def test_records_hold_the_class_of_their_category() -> None:
    formula = SegRCDB(canvas_size=256)
    contours = formula.draw(KEY, np.zeros(40, np.int64), np.arange(40))["contours"].reshape(-1)
    for record in contours[::37]:
        row = formula.class_parameters(int(record["category"]))
        assert (record["vertices"], record["lines"]) == (row["vertices"], row["lines"])
        assert record["radius_y"] == np.float32(row["radius"] * row["oval_y"] / 2)
        assert record["step"] == np.float32((row["coefficient"] + row["line_width"]) / 2)
        # RCDB's noise, twice the coefficient.
        assert record["noise"] == np.float32(row["coefficient"])
    assert len(np.unique(contours["sequence_high"] * 2.0**32 + contours["sequence_low"])) == len(contours)


@pytest.mark.parametrize("num_classes", [2, 11, 255])
def test_categories_and_centres_are_uniform(num_classes: int) -> None:
    contours = scenes_of(3000, num_classes=num_classes)["contours"].reshape(-1)
    counts = np.bincount(contours["category"], minlength=num_classes)
    assert counts[0] == 0
    assert len(counts) == num_classes
    expected = len(contours) / (num_classes - 1)
    freedom = num_classes - 2
    assert ((counts[1:] - expected) ** 2 / expected).sum() <= freedom + 5 * np.sqrt(2 * freedom)
    for axis in ("center_x", "center_y"):
        assert (contours[axis].min(), contours[axis].max()) == (0, 512)
        assert abs(contours[axis].mean() - 256) < 5 * 148 / np.sqrt(len(contours))


def test_classes_fill_their_ranges() -> None:
    table = class_table()[1:]
    assert (table["vertices"] >= 3).all()
    assert (table["vertices"] <= 500).all()
    assert abs(table["vertices"].mean() - 99.1) < 5 * 92 / np.sqrt(254)
    ranges = {"lines": (1, 50), "coefficient": (0, 4), "line_width": (0, 0.1), "radius": (0, 50)}
    for name, (low, high) in {**ranges, "oval_x": (1, 2), "oval_y": (1, 2)}.items():
        assert low <= table[name].min() < low + 0.06 * (high - low)
        assert high - 0.06 * (high - low) < table[name].max() <= high
        assert abs(table[name].mean() - (low + high) / 2) < 5 * (high - low) / np.sqrt(12 * 254)


def test_classes_are_the_same_for_every_seed_and_pictures_are_not() -> None:
    scenes = [SegRCDB().draw(dataset_key(seed, 5), np.zeros(30, np.int64), np.arange(30)) for seed in (0, 1)]
    assert not np.array_equal(scenes[0]["contours"]["category"], scenes[1]["contours"]["category"])
    shapes = [
        {(int(record["category"]), float(record["step"])) for record in scene["contours"].reshape(-1)}
        for scene in scenes
    ]
    both = {category for category, _ in shapes[0]} & {category for category, _ in shapes[1]}
    assert len(both) > 200
    assert {shape for shape in shapes[0] if shape[0] in both} == {shape for shape in shapes[1] if shape[0] in both}


def test_the_background_has_no_parameters() -> None:
    with pytest.raises(ValueError, match=r"label: received 0; allowed: an integer in \[1, 254\]. Label 0 is the"):
        SegRCDB().class_parameters(0)


@pytest.mark.parametrize(
    "options", [{"num_classes": 1}, {"num_classes": 256}, {"masks": "M4"}, {"background": "grey"}], ids=str
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))}: received "):
        SegRCDB(**options)


def test_wrong_masks_are_refused_and_an_empty_batch_draws_nothing() -> None:
    launcher = make(8)
    records, planes = torch.zeros((2, 640), dtype=torch.int32), torch.zeros((2, 1, 8, 8), dtype=torch.uint8)
    with pytest.raises(ValueError, match="masks: received "):
        launcher.draw(records, KEY, planes, planes)
    launcher.draw(records[:0], KEY, planes[:0], planes[:0, 0])
    assert CONTOURS_A_SCENE * CONTOURS.itemsize == CONTOUR_SCENE.itemsize
