"""bench/peers: what it reports with and without peers, and the plain PyTorch IFS that it measures."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from bench.peers import comparison, cuda, torch_ifs
from bench.peers.makers import CROP, ON_CUDA, OURS, STORED, TORCH
from bench.peers.workers import Contender, NotMeasured, side_by_side

SIZE = 32
ROW = {"images_per_second", "q1", "q3", "us_per_image", "rounds"}

SCRIPT = """
import argparse, os
from PIL import Image

options = argparse.ArgumentParser()
options.add_argument("--save_root")
for name in ("classes", "instances", "thread"):
    options.add_argument(f"--numof_{name}", type=int)
options.add_argument("--thread_num", type=int)
options.add_argument("--start_pos", type=int)
given = options.parse_args()
os.makedirs(given.save_root)
share = given.numof_classes // given.numof_thread
for label in range(given.thread_num * share, (given.thread_num + 1) * share):
    with open(given.save_root + "/parameters.csv", "w") as file:
        file.write("1")
    Image.new("RGB", (8, 8)).save(given.save_root + f"/{label}.png")
    print(label)
"""

FRACTAL = """
from PIL import Image

class ifs_function:
    def __init__(self, *start):
        self.maps = []

    def set_param(self, *parameters):
        self.maps.append(parameters)

    def calculate(self, points):
        self.points = points

    def draw_point(self, width, height, *rest):
        picture = Image.new("RGB", (width, height))
        for _ in range(4):
            picture.save("picture.png")

    def draw_patch(self, *arguments):
        raise ValueError("no patches here")
"""


@pytest.fixture
def checkouts(tmp_path):
    """Made-up peers: a script that works, a script that does not, and a class of which half works."""
    for file, content in {
        "one/rcdb_render/make_rcdb.py": SCRIPT,
        "two/visual_atomic_renderer/render_VisualAtom.py": "import a_package_that_nobody_has",
        "three/fractal_renderer/ifs_function.py": FRACTAL,
        "three/data/classes/00000.csv": "0.5,0,0,0.5,0,0,1\n",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(content)
    return tmp_path


def test_everything_that_can_run_is_measured_and_the_rest_has_a_reason(checkouts):
    slow = ("fractaldb", "anderson", "visualatom-1k", "torch", "rcdb-1k, cropped")
    report = comparison.measure(checkouts, image_size=SIZE, rounds=1, images=4, stored=4, skip=slow)
    results, missing = report["results"], report["not_measured"]
    assert set(results) == {"rcdb-1k", STORED, "RCDB released script", "FractalDB released points"}
    assert all(set(row) == ROW and row["images_per_second"] > 0 for row in results.values())
    assert "a_package_that_nobody_has" in missing["VisualAtom released script"]
    assert missing["FractalDB released patches"] == "ValueError: no patches here"
    assert "ifs.py" in missing["fractal-pretraining"]
    assert missing["torch.compile IFS, 100k points"] == "left out"
    assert [(item["ours"], item["peer"]) for item in report["ratios"]] == [("rcdb-1k", "RCDB released script")]
    assert report["checkouts"].keys() == comparison.sources(checkouts).keys()
    assert report["peer_versions"]
    assert not list(checkouts.rglob("*.png"))
    assert not list(checkouts.rglob("__pycache__"))
    comparison.print_report(report)


class MadeUp:
    """A worker that takes seconds a picture, and 100 where it compiles: the first time."""

    def __init__(self, seconds, failing=None):
        self.seconds, self.failing, self.calls = seconds, failing, 0

    def make(self, name, images):
        self.calls += 1
        if self.calls == self.failing:
            raise NotMeasured("broken")
        return {"wall": images * (100 if self.calls == 1 else self.seconds), "cpu": images}


def test_the_round_in_which_peers_compile_does_not_count():
    workers = {"fast": MadeUp(0.5), "slow": MadeUp(2), "failing": MadeUp(1, failing=2)}
    contenders = {name: Contender(worker, 10) for name, worker in workers.items()}
    results, failed = side_by_side(contenders, 3, "wall")
    assert {name: (row["q1"], row["q3"], row["rounds"]) for name, row in results.items()} == {
        "fast": (2, 2, 3),
        "slow": (0.5, 0.5, 3),
    }
    assert failed == {"failing": "broken"}
    assert [worker.calls for worker in workers.values()] == [4, 4, 2]


def test_the_report_names_repositories_and_commits(checkouts):
    for command in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=b", "commit", "-q", "--allow-empty", "-mc"],
    ):
        subprocess.run(["git", "-C", checkouts / "one", *command], check=True)
    found = comparison.sources(checkouts)
    assert {peer: source["repository"].partition("/")[2] for peer, source in found.items()} == {
        "RCDB released script": "CVPR2022-Pretrained-ViT-PyTorch",
        "VisualAtom released script": "CVPR2023-FDSL-on-VisualAtom",
        "FractalDB released points and patches": "FractalDB-Pretrained-ResNet-PyTorch",
    }
    assert len(found["RCDB released script"]["commit"]) == 40
    assert found["VisualAtom released script"]["commit"] is None
    assert comparison.sources(None) == {}


def test_the_report_names_what_the_peers_ran_with():
    versions = comparison.versions(sys.executable)
    assert versions["numpy"] == np.__version__
    assert versions.keys() == {"python", *comparison.PACKAGES}
    assert comparison.versions("no-such-python") == {}


def test_ratios_are_of_what_was_measured():
    rates = {name: {"us_per_image": 100.0} for name in OURS} | {STORED: {"us_per_image": 250.0}}
    ratios = comparison.compare(rates)
    assert [set(item) for item in ratios] == [{"ours", "peer", "ratio", "required", "aim", "note"}] * 2
    assert [(item["ratio"], item["required"]) for item in ratios] == [(2.5, 1.7), (2.5, 6.0)]


def test_every_comparison_is_of_contenders_that_exist():
    served = {*OURS, STORED, *TORCH} | {name + ON_CUDA for name in [*OURS, *TORCH]}
    served |= {name for name in comparison.IMAGES if "released" in name or "fractal-pretraining" in name}
    assert {name for item in comparison.COMPARISONS for name in (item.ours, item.peer)} <= served


@pytest.mark.parametrize("folder", ["none", "empty"])
def test_without_checkouts_peers_are_not_measured(folder, tmp_path):
    with comparison.peer_workers(None if folder == "none" else tmp_path, sys.executable) as (started, failed):
        assert started == []
        assert set(failed) == {one.peer for one in comparison.CHECKOUTS.values()}
        assert all("checkout" in reason for reason in failed.values())


def test_an_interpreter_that_does_not_exist_is_a_reason(checkouts):
    with comparison.peer_workers(checkouts, "no-such-python") as (_, failed):
        assert "no-such-python" in failed["RCDB released script"]


def test_the_crop_is_the_one_of_stored_images():
    from torchvision.transforms import InterpolationMode, RandomResizedCrop

    theirs = RandomResizedCrop(8)
    assert CROP.crop.scale == theirs.scale
    assert CROP.crop.ratio == pytest.approx(theirs.ratio)
    assert theirs.interpolation == InterpolationMode(CROP.crop.interpolation)
    assert CROP.horizontal_flip == CROP.vertical_flip == 0


def test_torch_ifs_iterates_as_a_slow_loop():
    maps, probabilities = torch_ifs.class_systems(3)
    torch.manual_seed(0)
    choices = torch_ifs.choose(probabilities, 7, 5)
    xs, ys = torch_ifs.iterate(maps, choices)
    rows = maps.reshape(-1, 6).double().numpy()
    for picture in range(3):
        for trajectory in range(5):
            chosen = choices[:, picture, trajectory].tolist()
            a, b, c, d, e, f = rows[chosen[0]]
            point = np.linalg.solve(np.eye(2) - [[a, b], [c, d]], [e, f])
            for step, row in enumerate(chosen):
                a, b, c, d, e, f = rows[row]
                point = np.array([[a, b], [c, d]]) @ point + [e, f]
                here = xs[step, picture, trajectory].item(), ys[step, picture, trajectory].item()
                assert here == pytest.approx(tuple(point), rel=1e-3, abs=1e-3)


def test_torch_ifs_chooses_maps_by_probability_and_of_its_own_picture():
    probabilities = torch.tensor([[0.7, 0.3, 0.0], [0.1, 0.2, 0.7]])
    torch.manual_seed(0)
    choices = torch_ifs.choose(probabilities, 100, 100)
    for picture in range(2):
        counts = torch.bincount(choices[:, picture].reshape(-1), minlength=6) / 10_000
        assert counts[3 * picture : 3 * picture + 3].tolist() == pytest.approx(
            probabilities[picture].tolist(), abs=0.02
        )


def test_torch_ifs_rasters_as_a_slow_loop():
    # Middles of pixels, and of the corner pixels: nothing is near the border of a pixel.
    room = SIZE - 1 - 2 * torch_ifs.PADDING
    xs, ys = torch.randint(0, room, (2, 11, 2, 6)) + 0.5
    for values in xs, ys:
        values[0], values[1] = 0, room
    expected = np.zeros((2, 3, SIZE, SIZE), np.uint8)
    for picture in range(2):
        x, y = xs[:, picture].flatten().numpy(), ys[:, picture].flatten().numpy()
        for column, line in zip(x + torch_ifs.PADDING, y + torch_ifs.PADDING, strict=True):
            expected[picture, :, int(line), int(column)] = torch_ifs.GREY
    # Any other place and size of the points gives the same picture.
    np.testing.assert_array_equal(torch_ifs.raster(4 * xs - 3, ys / 8, SIZE).numpy(), expected)


def test_torch_ifs_draws_pictures():
    pictures = torch_ifs.draw(*torch_ifs.class_systems(2), points=500, size=SIZE, trajectories=50)
    assert pictures.shape == (2, 3, SIZE, SIZE)
    assert pictures.dtype == torch.uint8
    assert set(pictures.unique().tolist()) == {0, torch_ifs.GREY}


PROFILE = """
int main()
{
    constexpr int nvertex = 7;
    constexpr int norbits = 5;
    constexpr int res = 8;
    const int batch_size = 3;
    genvatom_batch<<<1, batch_size>>>(d_imgarr);
    cudaFree(d_imgarr);
}
"""


def test_the_cuda_peer_is_built_with_other_sizes():
    source = cuda.adapted(PROFILE, vertices=70, lines=50, size=80, batch=30, raise_limit=True)
    for line in ("nvertex = 70;", "norbits = 50;", "res = 80;", "batch_size = 30;", "LaunchCount, 8 * 30);"):
        assert source.count(line) == 1
    assert source.count("genvatom_batch<<<1, batch_size>>>(d_imgarr);") == 2


def test_another_version_of_the_cuda_peer_is_refused():
    with pytest.raises(RuntimeError, match="another version"):
        cuda.adapted("int main() {}", vertices=1, lines=1, size=8, batch=1)


def test_our_work_beside_the_cuda_peer_is_what_was_asked_for():
    records = cuda.our_records(50, 4, 64, 3)
    assert records["vertices"].tolist() == [50] * 3
    assert records["lines"].tolist() == [4] * 3
    planes = cuda.our_batch(50, 4, 64, 3, torch.device("cpu"))()
    assert planes.shape == (3, 1, 64, 64)
    assert (planes > 0).any(dim=(1, 2, 3)).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_the_cuda_peer_says_what_it_needs(tmp_path):
    with pytest.raises(RuntimeError, match="CUDA device"):
        cuda.cuda_renderer(tmp_path)


def test_a_build_without_nvcc_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *arguments, **keywords: None)
    with pytest.raises(RuntimeError, match="nvcc"):
        cuda.build("", tmp_path, (9, 0))
