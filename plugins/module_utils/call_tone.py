# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A sine tone, made in pieces and recognised by its frequency after a lossy audio codec. Needs numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy

RATE = 48000  # samples per second
PIECE = 480  # samples, 10 ms
WINDOW = 9600  # samples, 0.2 s: 5 Hz of resolution
AMPLITUDE = 8000  # of 32767
LEAST_AMPLITUDE = 400.0
LEAST_SHARE = 0.6  # of the energy within TOLERANCE of the tone
TOLERANCE = 15.0  # Hz


def piece(frequency: float, number: int) -> bytes:
    """The 10 ms of a tone that follow `number` pieces, 16 bits per sample."""
    times = (numpy.arange(PIECE) + number * PIECE) / RATE
    return bytes((numpy.sin(2 * numpy.pi * frequency * times) * AMPLITUDE).astype(numpy.int16).tobytes())


def strongest(samples: Sequence[int] | numpy.ndarray) -> tuple[float, float]:
    """The strongest frequency in Hz and the share of the energy near it; (0, 0) for silence."""
    signal = numpy.asarray(samples, dtype=numpy.float64)
    if not len(signal) or float(numpy.sqrt((signal**2).mean())) < LEAST_AMPLITUDE:
        return 0.0, 0.0
    power = numpy.abs(numpy.fft.rfft(signal * numpy.hanning(len(signal)))) ** 2
    frequencies = numpy.fft.rfftfreq(len(signal), 1 / RATE)
    peak = float(frequencies[int(numpy.argmax(power))])
    near = numpy.abs(frequencies - peak) <= TOLERANCE
    return peak, float(power[near].sum() / power.sum())


def is_tone(samples: Sequence[int] | numpy.ndarray, frequency: float) -> bool:
    """The samples are this tone and hardly anything else."""
    found, share = strongest(samples)
    return abs(found - frequency) <= TOLERANCE and share >= LEAST_SHARE
