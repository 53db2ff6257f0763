"""Squares cut from images of any size."""

from __future__ import annotations

import torch

from ecotone.data import Cropped, DatasetInfo, DataStream
from ecotone.samples import Image, Sample
from ecotone.sensors import unit

SIZES = ((40, 30), (16, 16), (10, 50), (9, 12))


class Mosaic:
    """Images of several sizes whose pixels tell their row and column."""

    info = DatasetInfo("mosaic")

    def __len__(self):
        return len(SIZES)

    def keys(self):
        return [str(i) for i in range(len(self))]

    labels = splits = lambda self: [""] * len(SIZES)

    def __getitem__(self, index):
        h, w = SIZES[index]
        pixels = torch.stack([torch.arange(h)[:, None].expand(h, w), torch.arange(w).expand(h, w)]).float()
        return Sample({"optical": Image(pixels[None], ("B1", "B2"), unit("dn"), gsd=0.5)}, str(index))


def image(sample):
    return sample.images["optical"]


def test_every_square_has_the_size_and_keeps_the_gsd():
    squares = Cropped(Mosaic(), 16)
    for i in range(4):
        for sample in (squares[i], squares.draw(i, 5)):
            assert image(sample).pixels.shape == (1, 2, 16, 16)
            assert image(sample).gsd == 0.5


def test_pixels_are_the_images_own_and_padding_is_not_observed():
    cut = image(Cropped(Mosaic(), 16).draw(2, 3))
    rows, cols = cut.pixels[0]
    seen = cut.valid[0]
    assert int(seen.sum()) == 10 * 16
    assert torch.equal(rows[seen].view(10, 16)[:, 0], torch.arange(10.0))
    assert (cols[seen].view(10, 16).diff(dim=1) == 1).all()
    assert image(Cropped(Mosaic(), 16).draw(0, 3)).valid is None


def test_the_place_depends_on_the_seed_alone_and_reaches_every_corner():
    squares = Cropped(Mosaic(), 16)
    corners = {tuple(image(squares.draw(0, seed)).pixels[0, :, 0, 0].int().tolist()) for seed in range(2000)}
    assert corners == {(r, c) for r in range(25) for c in range(15)}
    assert torch.equal(image(squares.draw(0, 7)).pixels, image(squares.draw(0, 7)).pixels)


def test_a_stream_draws_a_new_square_in_every_epoch_and_workers_do_not_change_it():
    def first(workers):
        stream = DataStream(Cropped(Mosaic(), 8), 2, seed=1, workers=workers, epochs=6)
        return [batch["optical"].pixels for batch in stream]

    alone, shared = first(0), first(2)
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))
    assert len({tuple(b[0, 0, :, 0, 0].tolist()) for b in alone}) > 4
