from __future__ import annotations

import sys

import pytest

from daskperiment.tracking import seeds

torch = pytest.importorskip("torch")
assert "torch" in sys.modules


def test_torch_draws_as_after_its_own_seeding():
    torch.manual_seed(5)
    expected = torch.rand(3)
    with seeds.seeded(5) as draws:
        assert torch.equal(torch.rand(3), expected)
    assert draws.drew


def test_a_call_that_does_not_use_torch_has_not_drawn():
    with seeds.seeded(5) as draws:
        sum(range(9))
    assert not draws.drew


def test_torchs_own_stream_goes_on_where_it_was():
    torch.manual_seed(99)
    expected = torch.rand(2)
    torch.manual_seed(99)
    with seeds.seeded(1):
        torch.rand(3)
    assert torch.equal(torch.rand(2), expected)


def test_a_nested_block_leaves_the_outer_torch_stream_where_it_was():
    with seeds.seeded(1):
        expected = [torch.rand(1), torch.rand(1)]
    with seeds.seeded(1):
        drawn = [torch.rand(1)]
        with seeds.seeded(2):
            torch.rand(1)
        drawn.append(torch.rand(1))
    assert torch.equal(torch.cat(drawn), torch.cat(expected))


def test_blocks_that_overlap_give_the_users_stream_back_with_the_last_one():
    torch.manual_seed(99)
    expected = torch.rand(2)
    torch.manual_seed(99)
    leave_first = seeds.frameworks.seed_imported(1)
    leave_second = seeds.frameworks.seed_imported(2)
    torch.rand(3)
    for leave in leave_first + leave_second:
        leave()
    assert torch.equal(torch.rand(2), expected)


def test_torchs_stream_goes_on_where_a_state_was_taken():
    with seeds.seeded(5) as draws:
        torch.rand(3)
        state = seeds.state_of(draws)
        expected = torch.rand(3)
    with seeds.seeded(5) as draws:
        seeds.restore(draws, state)
        assert torch.equal(torch.rand(3), expected)
    with seeds.seeded(5) as draws:
        seeds.restore(draws, state)
    assert draws.drew


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_is_seeded_and_given_back_once_initialised():
    torch.manual_seed(5)
    expected = torch.rand(3, device="cuda")
    torch.manual_seed(99)
    own = torch.rand(2, device="cuda")
    torch.manual_seed(99)
    with seeds.seeded(5) as draws:
        assert torch.equal(torch.rand(3, device="cuda"), expected)
    assert draws.drew
    assert torch.equal(torch.rand(2, device="cuda"), own)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cudas_stream_goes_on_where_a_state_was_taken():
    torch.rand(1, device="cuda")
    with seeds.seeded(5) as draws:
        torch.rand(3, device="cuda")
        state = seeds.state_of(draws)
        expected = torch.rand(3, device="cuda")
    with seeds.seeded(5) as draws:
        seeds.restore(draws, state)
        assert torch.equal(torch.rand(3, device="cuda"), expected)
