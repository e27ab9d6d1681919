"""The two converters between pixels and the range of the nets."""

import numpy as np
import pytest

import dcgan_utils as dcgan


def test_model_range_is_float32_from_minus_one_to_one_and_back_without_loss():
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    scaled = dcgan.to_model_range(pixels).numpy()
    assert scaled.dtype == np.float32 and scaled.shape == pixels.shape
    assert scaled.min() == -1 and scaled.max() == 1
    np.testing.assert_allclose(scaled, pixels / 127.5 - 1, atol=1e-6)
    back = dcgan.to_uint8(scaled)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, pixels)


def test_to_uint8_rounds_and_clips():
    exact = np.array([-1.5, -1, -0.996, 0.1, 0.996, 1, 7], np.float32)
    assert dcgan.to_uint8(exact).tolist() == [0, 0, 1, 140, 254, 255, 255]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_to_uint8_refuses_what_is_not_finite(value):
    with pytest.raises(ValueError, match="NaN or infinite"):
        dcgan.to_uint8(np.array([[0.0, value]], np.float32))
