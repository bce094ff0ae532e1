"""fastlanczos/model/pieces.py: one pass after the other through the same pieces."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from fastlanczos.model import pieces as module  # noqa: E402
from fastlanczos.model.pieces import Pieces  # noqa: E402

CPU = torch.device("cpu")


def batches(*sizes):
    return [(torch.full((size, 2), float(i)), torch.arange(size)) for i, size in enumerate(sizes)]


def losses(seen, ratios=lambda piece: (1.0,)):
    def visit(piece):
        seen.append(piece)
        return SimpleNamespace(num_samples=len(piece[0]), denominator=2.0 * len(piece[0]), ratios=ratios(piece))

    return visit


@pytest.mark.parametrize(
    ("size", "expected"), [(None, [3, 3, 3, 1]), (5, [3, 3, 4]), (6, [6, 4]), (2, [2, 1, 2, 1, 2, 1, 1])]
)
def test_batches_are_put_together_or_cut_and_no_sample_is_lost(size, expected):
    data = batches(3, 3, 3, 1)
    seen = []
    pieces = Pieces(data, CPU, None, [CPU], progress=False)
    assert pieces.visit(losses(seen), size) == (10, 20.0) == pieces.totals
    assert [len(x) for x, _ in seen] == expected
    assert torch.equal(torch.cat([x for x, _ in seen]), torch.cat([x for x, _ in data]))


def test_batches_of_other_shapes_are_not_put_together():
    seen = []
    data = [*batches(2, 2), (torch.zeros(2, 3), torch.arange(2))]
    Pieces(data, CPU, None, [CPU], progress=False).visit(losses(seen), 8)
    assert [tuple(x.shape) for x, _ in seen] == [(4, 2), (2, 3)]


def test_every_pass_shuffles_alike_and_leaves_the_generators():
    loader = torch.utils.data.DataLoader(torch.arange(8), batch_size=4, shuffle=True)
    pieces = Pieces(loader, CPU, None, [CPU], progress=False)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    passes = []
    for _ in range(2):
        with pieces.rewound():
            passes.append(torch.cat(list(pieces.batches())))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*passes)
    assert sorted(passes[0].tolist()) == list(range(8))


def test_what_does_not_add_up_is_told():
    pieces = Pieces(batches(2, 3), CPU, None, [CPU], progress=False)
    with pytest.raises(ValueError, match="combines several means"):
        pieces.visit(losses([], ratios=lambda piece: (float(len(piece[0])),)), None)
    with pytest.raises(ValueError, match="no samples"):
        Pieces([], CPU, None, [CPU], progress=False).visit(losses([]), None)
    data = batches(2, 3)
    pieces = Pieces(data, CPU, None, [CPU], progress=False)
    pieces.visit(losses([]), None)
    del data[1]
    with pytest.raises(RuntimeError, match="5 samples in an earlier pass and 2"):
        pieces.visit(losses([]), None)


def test_on_a_gpu_each_batch_is_waited_for_after_the_next_ones_copy_has_begun(monkeypatch):
    """The order of what is asked of two streams, with streams that take notes in the place of CUDA's."""
    notes = []

    class Stream:
        def __init__(self, name):
            self.name = name

        def wait_stream(self, other):
            notes.append(f"{self.name} waits for {other.name}")

        def wait_event(self, event):
            notes.append(f"{self.name} waits for copy {event}")

        def record_event(self):
            return notes[-1].removeprefix("copy ")

    computing, copying = Stream("computing"), Stream("copying")
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: copying)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: computing)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda t, stream: notes.append(f"kept for {stream.name}"))

    def copied(batch, device, dtype):
        notes.append(f"copy {batch}")
        return (torch.tensor(batch),)

    monkeypatch.setattr(module, "moved", copied)
    for (t,) in Pieces([1, 2, 3], torch.device("cuda"), None, [], progress=False).batches():
        notes.append(f"work on {int(t)}")
    assert [n for n in notes if n != "copying waits for computing"] == [
        *("copy 1", "copy 2", "computing waits for copy 1", "kept for computing", "work on 1"),
        *("copy 3", "computing waits for copy 2", "kept for computing", "work on 2"),
        *("computing waits for copy 3", "kept for computing", "work on 3"),
    ]
