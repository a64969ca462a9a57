from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from carryflow.venues.blocks import Block, cut, join, subtract

BLOCKS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda b: (b[0], b[0] + b[1])))


def instants(blocks: list[Block]) -> set[int]:
    return {at for start, end in blocks for at in range(start, end)}


@given(blocks=BLOCKS)
def test_joined_blocks_hold_the_same_time_and_never_touch(blocks: list[Block]) -> None:
    joined = join(blocks)
    assert instants(joined) == instants(blocks)
    assert all(a[1] < b[0] for a, b in pairwise(joined))


@given(start=st.integers(0, 60), length=st.integers(0, 40), had=BLOCKS)
def test_what_is_left_is_what_was_wanted_and_not_had(start: int, length: int, had: list[Block]) -> None:
    wanted = (start, start + length)
    left = subtract(wanted, had)
    assert instants(left) == instants([wanted]) - instants(had)
    assert left == join(left)


@given(start=st.integers(0, 60), length=st.integers(0, 40), longest=st.integers(1, 9))
def test_pieces_cover_a_block_once_and_none_is_too_long(start: int, length: int, longest: int) -> None:
    pieces = cut((start, start + length), longest)
    asked = [at for a, b in pieces for at in range(a, b)]
    assert asked == list(range(start, start + length))
    assert all(0 < b - a <= longest for a, b in pieces)
