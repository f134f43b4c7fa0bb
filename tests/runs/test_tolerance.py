import math

from unfold.runs.compare import score_differences


def test_figures_in_decibels_and_ratios_have_their_bounds():
    one = {"test/psnr": 30.0, "test/ssim": 0.9, "steps": 3.0, "test/gain over tv": -0.1, "a": 1.0}
    near = {"test/psnr": 30.04, "test/ssim": 0.905, "steps": 3.0, "test/gain over tv": -0.06}
    far = {"test/psnr": 29.9, "test/ssim": 0.92, "steps": 4.0, "test/gain over tv": 0.0, "b": 1.0}
    assert [row.what for row in score_differences(one, {**near, "a": 1.0})] == []
    assert [row.what for row in score_differences(one, far)] == [*one, "b"]
    assert [row.what for row in score_differences({"x": math.nan}, {"x": 1.0})] == ["x"]
    assert score_differences({"x": math.nan}, {"x": math.nan}) == []
