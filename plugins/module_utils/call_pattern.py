# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A picture that says who sent it and which frame it is, readable after a lossy video codec.

48 cells of light or dark: 16 bits of the sender's nonce, 16 of the frame's number, 16 of a checksum over
both. A receiver that can read it has seen this sender's picture, not merely some picture. Needs numpy.
"""

from __future__ import annotations

import struct
import zlib

import numpy

COLUMNS, ROWS = 8, 6
WIDTH, HEIGHT = 320, 240
DARK, LIGHT = 48, 208  # luma, well inside the video range of 16 to 235
LEAST_CONTRAST = 60  # of 160: an encoder that starves turns a picture grey
SMALLEST = COLUMNS * 4  # pixels; the SDK ends a stream with a black frame of 8 by 8


def checksum(nonce: int, number: int) -> int:
    """16 bits over nonce and number."""
    # The constant keeps the picture from being all light when both are all ones: that would have no contrast.
    return (zlib.crc32(struct.pack(">HH", nonce & 0xFFFF, number & 0xFFFF)) ^ 0x5A5A) & 0xFFFF


def encode(nonce: int, number: int) -> bytes:
    """A frame of WIDTH by HEIGHT in I420 with neutral colour."""
    words = struct.pack(">HHH", nonce & 0xFFFF, number & 0xFFFF, checksum(nonce, number))
    bits = numpy.unpackbits(numpy.frombuffer(words, numpy.uint8)).reshape(ROWS, COLUMNS)
    cells = numpy.where(bits == 1, LIGHT, DARK).astype(numpy.uint8)
    luma = numpy.kron(cells, numpy.ones((HEIGHT // ROWS, WIDTH // COLUMNS), numpy.uint8))
    return bytes(luma.tobytes()) + bytes([128]) * (WIDTH * HEIGHT // 2)


def decode(data: bytes | bytearray | memoryview, width: int, height: int) -> tuple[int, int] | None:
    """Nonce and number of a picture in I420, or None when it is not one of ours.

    The size may have been changed on the way.
    """
    if width < SMALLEST or height < SMALLEST * ROWS // COLUMNS or len(data) < width * height:
        return None
    luma = numpy.frombuffer(data, numpy.uint8, width * height).reshape(height, width)
    tall, wide = height // ROWS, width // COLUMNS
    cells = luma[: tall * ROWS, : wide * COLUMNS].reshape(ROWS, tall, COLUMNS, wide)
    # Only the middle half of each cell counts: the codec blurs the edges.
    middle = cells[:, tall // 4 : tall - tall // 4, :, wide // 4 : wide - wide // 4].mean(axis=(1, 3))
    if float(middle.max() - middle.min()) < LEAST_CONTRAST:
        return None
    bits = middle > (float(middle.max()) + float(middle.min())) / 2
    nonce, number, found = struct.unpack(">HHH", numpy.packbits(bits.flatten()).tobytes())
    return (nonce, number) if found == checksum(nonce, number) else None
