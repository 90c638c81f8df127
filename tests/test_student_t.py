"""Quantiles of Student's t against recorded ones, closed forms and its own density."""

from __future__ import annotations

import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.student_t import t_reach

CONFIDENCES = (0.5, 0.8, 0.95, 0.99, 0.999, 0.999999)
RECORDED = {  # scipy.stats.t.isf((1 - confidence) / 2, degrees) of SciPy 1.17.1, to 13 digits
    1: (1.0, 3.077683537175, 12.70620473617, 63.65674116287, 636.6192487687, 636619.7723488),
    2: (0.8164965809277, 1.885618083164, 4.302652729749, 9.924843200918, 31.59905457644, 999.9992499855),
    3: (0.7648923284043, 1.637744353696, 3.182446305284, 5.840909309733, 12.92397863669, 130.1545895571),
    4: (0.7406970841127, 1.533206274059, 2.776445105198, 4.60409487135, 8.610301581379, 49.45863675658),
    5: (0.7266868438004, 1.475884048824, 2.570581835636, 4.032142983555, 6.868826625881, 28.47847346282),
    8: (0.7063866126448, 1.396815309744, 2.306004135204, 3.355387331333, 5.041305433373, 13.25713510218),
    15: (0.6911969489585, 1.34060560785, 2.13144954556, 2.946712883475, 4.072765195904, 7.903233627295),
    29: (0.6830438608216, 1.311433647302, 2.045229642133, 2.756385903671, 3.659405019466, 6.170056101408),
    30: (0.6827556933213, 1.310415025391, 2.042272456301, 2.749995653567, 3.645958635042, 6.119075620374),
    100: (0.6769510430115, 1.290074761347, 1.983971518524, 2.625890521438, 3.390491311164, 5.213727574223),
    101: (0.6769265959593, 1.289989808568, 1.983731002956, 2.625385964668, 3.389474884047, 5.210362692965),
    999: (0.6747354103467, 1.282399570037, 1.962341461133, 2.580759637268, 3.300292440399, 4.922320372361),
    1_000: (0.674735164607, 1.282398721461, 1.962339080826, 2.580754698066, 3.300282648424, 4.922289523424),
    1_001: (0.6747349193584, 1.282397874581, 1.962336705281, 2.580749768751, 3.300272876066, 4.922258736458),
    10_000: (0.6745142844836, 1.28163622973, 1.960201239891, 2.576321046669, 3.291499965942, 4.89468861631),
    1_000_000: (
        0.6744899955311,
        1.28155241213,
        1.959966356814,
        2.575834220105,
        3.290536461249,
        4.891668960705,
    ),
}

confidences = st.floats(0.001, 0.999999)


@pytest.mark.parametrize("degrees", RECORDED)
def test_quantiles_are_the_recorded_ones_to_nine_digits(degrees: int) -> None:
    found = [t_reach(degrees, confidence) for confidence in CONFIDENCES]
    assert found == pytest.approx(RECORDED[degrees], rel=1e-9, abs=0)


@given(confidences)
def test_one_and_two_degrees_have_closed_forms(confidence: float) -> None:
    assert t_reach(1, confidence) == pytest.approx(math.tan(math.pi / 2 * confidence), rel=1e-9)
    apart = (1 - confidence) * (1 + confidence)
    assert t_reach(2, confidence) == pytest.approx(confidence * math.sqrt(2 / apart), rel=1e-9)


@given(st.integers(1, 5_000), st.floats(0.01, 0.99))
def test_the_density_over_the_reach_holds_the_confidence(degrees: int, confidence: float) -> None:
    points, step = numpy.linspace(0, t_reach(degrees, confidence), 20_001, retstep=True)
    density = numpy.exp(
        math.lgamma((degrees + 1) / 2)
        - math.lgamma(degrees / 2)
        - math.log(degrees * math.pi) / 2
        - (degrees + 1) / 2 * numpy.log1p(points**2 / degrees)
    )
    inside = 2 * step * (density.sum() - (density[0] + density[-1]) / 2)
    assert inside == pytest.approx(confidence, rel=1e-5)


@given(st.integers(1, 3_000), confidences, confidences)
def test_more_confidence_reaches_farther_and_more_degrees_less_far(
    degrees: int, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assert t_reach(degrees, low) <= t_reach(degrees, high)
    assert t_reach(degrees + 1, high) <= t_reach(degrees, high) * (1 + 1e-9)


@pytest.mark.parametrize("degrees", [1, 2, 7, 1_000, 1_001])
def test_a_confidence_next_to_none_or_to_one_ends_in_a_number(degrees: int) -> None:
    assert 0 <= t_reach(degrees, 5e-324) < 1e-9
    assert 7 < t_reach(degrees, math.nextafter(1, 0)) < math.inf
