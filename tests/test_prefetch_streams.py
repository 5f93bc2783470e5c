"""The order that StreamAhead imposes on a GPU's streams, on a model of streams, events and the caching allocator.

Each model stream carries a vector clock; an event is a copy of one; waiting merges it. Memory remembers who touched it
and when. Touching memory without having waited for whoever touched it before is a race, and fails.
"""

import contextlib
import gc
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from fdsl_gpu.prefetch import StreamAhead


class Race(Exception):
    pass


class Stream:
    device = "cuda:0"

    def __init__(self, name: str) -> None:
        self.name, self.clock = name, Counter[str]()

    def touch(self, block: "Block") -> None:
        self.clock[self.name] += 1
        for name, time in block.touched.items():
            if self.clock[name] < time:
                raise Race(f"{self.name} touches memory that {name} may still use")
        block.touched[self.name] = self.clock[self.name]

    def record_event(self) -> Counter[str]:
        return self.clock.copy()

    def wait_event(self, event: Counter[str]) -> None:
        self.clock |= event

    def wait_stream(self, other: "Stream") -> None:
        self.wait_event(other.record_event())


class Block:
    def __init__(self) -> None:
        self.touched: Counter[str] = Counter()


class Memory:
    """A caching allocator: memory belongs to a stream, and comes back the moment its tensor is gone."""

    def __init__(self) -> None:
        self.idle: dict[str, list[Block]] = defaultdict(list)
        self.blocks = 0

    def take(self, stream: Stream) -> "FakeTensor":
        if self.idle[stream.name]:
            return FakeTensor(self, stream, self.idle[stream.name].pop())
        self.blocks += 1
        return FakeTensor(self, stream, Block())


class FakeTensor:
    def __init__(self, memory: Memory, home: Stream, block: Block) -> None:
        self.memory, self.home, self.block, self.others = memory, home, block, set[str]()

    def record_stream(self, stream: Stream) -> None:
        self.others.add(stream.name)

    def __del__(self) -> None:
        # With other streams recorded, the allocator waits for them; here that memory is not used again.
        if not self.others:
            self.memory.idle[self.home.name].append(self.block)


class FakeCuda:
    def __init__(self) -> None:
        self.now = Stream("main")

    def current_stream(self, device: Any) -> Stream:
        return self.now

    @contextlib.contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.now = self.now, stream
        yield
        self.now = before


class Model:
    """A StreamAhead over the fakes; batch n is (images, labels), written on whatever stream is current."""

    def __init__(self, depth: int, count: int | None = None) -> None:
        self.cuda, self.memory, self.side = FakeCuda(), Memory(), Stream("side")
        self.main = self.cuda.now
        plan = zip(range(count) if count is not None else itertools.count(), itertools.count(1), strict=False)
        self.ahead = StreamAhead(plan, self.allocate, self.draw, depth, self.side, self.cuda)  # type: ignore[arg-type]

    def allocate(self) -> FakeTensor:
        return self.memory.take(self.cuda.now)

    def draw(self, number: int, images: FakeTensor) -> tuple[FakeTensor, FakeTensor]:
        labels = self.memory.take(self.cuda.now)
        for tensor in (images, labels):
            self.cuda.now.touch(tensor.block)
        images.number = number  # type: ignore[attr-defined]
        return images, labels

    def use(self, batch: Any) -> None:
        for tensor in batch:
            self.cuda.now.touch(tensor.block)


def train(model: Model) -> None:
    for step, (batch, resume_at) in zip(range(100), model.ahead, strict=False):
        assert (batch[0].number, resume_at) == (step, step + 1)
        model.use(batch)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_training_loop_has_no_race_and_bounded_memory(depth: int) -> None:
    model = Model(depth)
    train(model)
    images = model.memory.blocks - 101 - depth  # labels are fresh each time
    assert images <= depth + 2


@pytest.mark.parametrize("seed", range(20))
def test_any_consumer_has_no_race(seed: int) -> None:
    chance = random.Random(seed)
    model = Model(chance.choice([1, 2, 4]))
    other, held = Stream("other"), list[Any]()
    for _ in range(200):
        if chance.random() < 0.1:
            # The consumer goes over to another stream, which waits for the one before, as it should.
            new = other if model.cuda.now is model.main else model.main
            new.wait_stream(model.cuda.now)
            model.cuda.now = new
        held.append(next(model.ahead)[0])
        model.use(held[-1])
        while len(held) > chance.choice([0, 0, 1, 3]):
            held.pop(0)
        # Activations come and go in the same allocator.
        activation = model.memory.take(model.cuda.now)
        model.cuda.now.touch(activation.block)
        del activation


@pytest.mark.parametrize("leave", ["close", "forget"])
def test_memory_given_back_early_is_not_written_any_more(leave: str) -> None:
    model = Model(4)
    next(model.ahead)
    if leave == "close":
        model.ahead.close()
        assert list(model.ahead) == []
    else:
        model.ahead = None  # type: ignore[assignment]
    gc.collect()
    again = [model.memory.take(model.main) for _ in range(8)]
    for tensor in again:
        model.main.touch(tensor.block)


def test_memory_of_a_failed_drawing_is_not_written_any_more() -> None:
    model = Model(2)
    draw = model.draw

    def fails_third(number: int, images: FakeTensor) -> Any:
        batch = draw(number, images)
        if number == 2:
            raise RuntimeError("drawing failed")
        return batch

    model.ahead._draw = fails_third
    assert [next(model.ahead)[1] for _ in range(2)] == [1, 2]
    with pytest.raises(RuntimeError, match="drawing failed"):
        next(model.ahead)
    assert list(model.ahead) == []
    gc.collect()
    again = [model.memory.take(model.main) for _ in range(8)]
    for tensor in again:
        model.main.touch(tensor.block)


def test_memory_that_a_batch_does_not_hold_is_not_written_any_more() -> None:
    """A transform made other images of those that were drawn, and the consumer went over to another stream."""
    model = Model(1)
    model.ahead._draw = lambda number, images: (model.draw(number, images)[1],)
    other = Stream("other")
    for _ in range(4):
        next(model.ahead)
        other.wait_stream(model.cuda.now)
        model.cuda.now = other
        next(model.ahead)
        gc.collect()
        model.cuda.now = model.main
        taken = [model.memory.take(model.main) for _ in range(4)]
        for tensor in taken:
            model.main.touch(tensor.block)
        del taken


def test_what_was_drawn_on_the_side_is_recorded_for_the_consumer() -> None:
    model = Model(2, count=3)
    for (images, labels), _ in model.ahead:
        assert (images.others, labels.others) == (set(), {"main"})


def test_the_model_finds_races() -> None:
    model = Model(2)
    model.side.wait_stream = lambda other: None  # type: ignore[method-assign]
    with pytest.raises(Race):
        train(model)
