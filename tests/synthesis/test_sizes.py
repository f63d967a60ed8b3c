import pytest

from synthesis import sizes


def test_scales_grow_by_the_root_of_two_and_share_all_iterations():
    plan = sizes.plan_scales(512, 384, 500)
    assert [scale.size for scale in plan] == [(128, 96), (181, 136), (256, 192), (362, 272), (512, 384)]
    assert sum(scale.iterations for scale in plan) == 500
    assert sorted((scale.iterations for scale in plan), reverse=True) == [scale.iterations for scale in plan]


@pytest.mark.parametrize('iterations', [1, 2, 3, 7])
@pytest.mark.parametrize('size', [(512, 384), (40, 33), (2048, 200)])
def test_few_iterations_and_narrow_images_still_reach_the_full_size(iterations, size):
    plan = sizes.plan_scales(*size, iterations)
    assert plan[-1].size == size and sum(scale.iterations for scale in plan) == iterations
    assert all(min(scale.size) >= 32 and scale.iterations > 0 for scale in plan)


@pytest.mark.parametrize('options, expected', [
    ({}, (128, 64)), ({'style_scale': 0.5}, (64, 32)), ({'stretch': True}, (90, 128)),
    ({'style_scale': 4.0}, (300, 150)), ({'style_scale': 4.0, 'upscale': True}, (512, 256)),
    ({'style_scale': 0.1}, (32, 32))])
def test_a_style_keeps_its_shape_and_goes_with_the_contents_size(options, expected):
    assert sizes.style_size((300, 150), (90, 128), **options) == expected
