"""Pictures of whole datasets have the statistics of the released generators' own output.

``bench/pictures.py`` has the published figures, says how differences are judged, and prints the table with more
pictures than these tests take; it is committed as ``bench/results/statistics.md``.
"""

import numpy as np
import pytest

import fdsl_gpu
from bench.pictures import GENERATORS, Generator, compare, measure
from fdsl_gpu.formulas.ifs_weights import IDENTITY_ROW


@pytest.mark.parametrize("generator", GENERATORS, ids=lambda generator: generator.name)
def test_pictures_are_like_those_of_the_released_generator(generator: Generator) -> None:
    values = measure(generator, 600)
    assert all(len(column) == 600 for column in values.values())
    for name, row in compare(generator, values).items():
        if name not in generator.expected:
            assert abs(row["errors"]) < 3, (name, row)


def test_unweighted_exfractaldb_fills_its_canvas_as_the_released_renderer_does() -> None:
    labels, instances = np.repeat(np.arange(1000), 12), np.tile(np.arange(12), 1000) + IDENTITY_ROW * 12
    pictures = fdsl_gpu.render("mv-fractaldb-1k", labels, instances, channels=1, device="cpu").numpy()
    classes = (pictures > 0).mean(axis=(1, 2, 3)).reshape(1000, 12).mean(axis=1)
    # The published figure is from 41 classes.
    assert abs(classes.mean() - 0.042) < 3 * classes.std() * np.sqrt(1 / 41 + 1 / 1000)


@pytest.mark.parametrize("name", ["rcdb-1k", "exfractaldb-1k", "visualatom-1k", "fractaldb-1k", "anderson-farrell-1k"])
def test_no_picture_of_the_published_sets_is_like_another(name: str) -> None:
    labels, instances = np.repeat(np.arange(50), 4), np.tile(np.arange(4), 50)
    pictures = fdsl_gpu.render(name, labels, instances, image_size=64, channels=1, device="cpu").flatten(1)
    drawn = {bytes(picture.tolist()) for picture in pictures if len(picture.unique()) > 1}
    empty = sum(len(picture.unique()) == 1 for picture in pictures)
    assert len(drawn) == 200 - empty
    assert empty <= 10
