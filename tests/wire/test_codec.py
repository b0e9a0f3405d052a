"""JSON that loses nothing on its way through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.codec import dumps, loads

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_what_is_written_reads_back(value: object) -> None:
    assert loads(dumps(value)) == value


def test_big_integers_keep_every_digit() -> None:
    assert dumps(loads(b'{"seed":123456789012345678901234567890}')) == b'{"seed":123456789012345678901234567890}'


def test_a_half_of_a_surrogate_pair_survives() -> None:
    """Clients do send them; UTF-8 has no form for them, JSON's escapes do."""
    assert loads(dumps(loads(b'"\\ud83d"'))) == "\ud83d"


@pytest.mark.parametrize("bad", [b"", b"{", b"{'a': 1}", b"\xff", b'{"a": NaN}'])
def test_what_is_not_json_is_a_value_error(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(bad)


def test_where_a_number_is_none_is_said() -> None:
    with pytest.raises(ValueError, match=r"^NaN is not JSON: char 11$"):
        loads(r'{"\"NaN": [NaN]}')
    with pytest.raises(ValueError, match=r"char 1"):
        loads("{'a': 1}")
    with pytest.raises(ValueError, match=r"^a number of over 4300 digits is not JSON: char 1$"):
        loads(b"[" + b"9" * 5000 + b"]")
    with pytest.raises(ValueError, match=r"^-Infinity is not JSON: char 1$"):
        loads("[-Infinity]".encode("utf-16"))
