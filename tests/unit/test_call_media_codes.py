"""The picture and the tone survive what a codec does to them, and are never taken for somebody else's."""

from __future__ import annotations

from typing import Any

import pytest

numpy: Any = pytest.importorskip("numpy")

from ansible_collections.matrixrtc.backend.plugins.module_utils.call_pattern import (  # noqa: E402
    HEIGHT,
    WIDTH,
    checksum,
    decode,
    encode,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_tone import (  # noqa: E402
    PIECE,
    RATE,
    WINDOW,
    is_tone,
    piece,
    strongest,
)

RANDOM = numpy.random.default_rng(7)
NONCE, NUMBER = 0xBEEF, 4711


def luma(nonce: int = NONCE, number: int = NUMBER) -> Any:
    data = numpy.frombuffer(encode(nonce, number), numpy.uint8)
    return data[: WIDTH * HEIGHT].reshape(HEIGHT, WIDTH).astype(float)


def read(picture: Any) -> tuple[int, int] | None:
    rows, columns = picture.shape
    return decode(picture.clip(0, 255).astype(numpy.uint8).tobytes(), columns, rows)


def blurred(picture: Any, times: int) -> Any:
    for _time in range(times):
        padded = numpy.pad(picture, 1, mode="edge")
        picture = (
            padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] + padded[1:-1, 1:-1]
        ) / 5
    return picture


@pytest.mark.parametrize(("nonce", "number"), [(0, 0), (0xFFFF, 0xFFFF), (NONCE, NUMBER), (1, 65535)])
def test_a_picture_is_read_as_it_was_written(nonce: int, number: int) -> None:
    assert decode(encode(nonce, number), WIDTH, HEIGHT) == (nonce, number)
    assert len(encode(nonce, number)) == WIDTH * HEIGHT * 3 // 2


def test_numbers_go_round() -> None:
    assert decode(encode(NONCE, 65536 + 5), WIDTH, HEIGHT) == (NONCE, 5)


@pytest.mark.parametrize("noise", [5, 20, 40])
def test_noise_does_not_matter(noise: float) -> None:
    assert read(luma() + RANDOM.normal(0, noise, (HEIGHT, WIDTH))) == (NONCE, NUMBER)


def test_blur_and_coarse_blocks_do_not_matter() -> None:
    coarse = luma().reshape(HEIGHT // 8, 8, WIDTH // 8, 8).mean(axis=(1, 3))
    assert read(blurred(luma(), 40)) == (NONCE, NUMBER)
    assert read(numpy.kron(coarse, numpy.ones((8, 8)))) == (NONCE, NUMBER)


def test_fading_and_brightness_do_not_matter() -> None:
    assert read(luma() * 0.6 + 10) == (NONCE, NUMBER)


@pytest.mark.parametrize("factor", [2, 4])
def test_a_smaller_size_does_not_matter(factor: int) -> None:
    small = luma()[::factor, ::factor]
    assert read(small) == (NONCE, NUMBER)


@pytest.mark.parametrize(
    "picture",
    [
        numpy.zeros((HEIGHT, WIDTH)),
        numpy.full((HEIGHT, WIDTH), 128.0),
        luma() * 0.2 + 100,
        numpy.zeros((8, 8)),
        RANDOM.integers(0, 256, (HEIGHT, WIDTH)).astype(float),
    ],
    ids=["black", "grey", "starved", "end of a stream", "garbage"],
)
def test_other_pictures_are_not_read(picture: Any) -> None:
    assert read(picture) is None


def test_a_wrong_cell_is_noticed() -> None:
    picture = luma()
    picture[: HEIGHT // 6, : WIDTH // 8] = 256 - picture[: HEIGHT // 6, : WIDTH // 8]
    assert read(picture) is None


def test_pictures_of_blocks_are_rarely_taken_for_ours() -> None:
    """16 bits of checksum: one random block picture of 65536 would pass."""
    taken = 0
    for _attempt in range(300):
        cells = RANDOM.integers(0, 2, (6, 8)) * 160 + 48
        taken += read(numpy.kron(cells.astype(float), numpy.ones((HEIGHT // 6, WIDTH // 8)))) is not None
    assert taken == 0


def test_too_little_data_is_no_picture() -> None:
    assert decode(b"\0" * 100, WIDTH, HEIGHT) is None


def test_the_checksum_covers_both_values() -> None:
    assert len({checksum(1, 2), checksum(2, 1), checksum(1, 3), checksum(2, 2)}) == 4


def tone(frequency: float, samples: int = WINDOW) -> Any:
    data = b"".join(piece(frequency, number) for number in range(samples // PIECE))
    return numpy.frombuffer(data, numpy.int16).astype(float)


@pytest.mark.parametrize("frequency", [440.0, 650.0, 1050.0])
def test_a_tone_has_its_frequency(frequency: float) -> None:
    found, share = strongest(tone(frequency))
    assert abs(found - frequency) <= RATE / WINDOW
    assert share > 0.95
    assert is_tone(tone(frequency), frequency)


def test_tones_are_told_apart() -> None:
    assert not is_tone(tone(650.0), 1050.0)
    assert not is_tone(tone(650.0) + tone(1050.0), 650.0)


def test_noise_below_the_tone_does_not_matter() -> None:
    assert is_tone(tone(650.0) + RANDOM.normal(0, 2500, WINDOW), 650.0)
    assert not is_tone(RANDOM.normal(0, 8000, WINDOW), 650.0)


def test_quiet_and_nothing_are_silence() -> None:
    assert strongest(numpy.zeros(WINDOW)) == (0.0, 0.0)
    assert strongest([]) == (0.0, 0.0)
    assert not is_tone(tone(650.0) * 0.01, 650.0)
