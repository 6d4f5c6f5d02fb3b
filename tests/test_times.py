"""Instants are aware, and one instant has one text, whatever its offset."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.times import from_text, to_text, whole_milliseconds

instants = st.integers(-60_000_000_000_000_000, 250_000_000_000_000_000).map(
    lambda microseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
)
offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(instants, offsets)
def test_an_instant_has_one_text_whatever_its_offset(instant: datetime, offset: timezone) -> None:
    text = instant.strftime("%Y-%m-%dT%H:%M:%S.").rjust(20, "0") + f"{instant.microsecond // 1000:03}Z"
    assert to_text(instant) == to_text(instant.astimezone(offset)) == text
    assert from_text(text) == whole_milliseconds(instant) == whole_milliseconds(instant.astimezone(offset))
    assert from_text(text).tzinfo is whole_milliseconds(instant.astimezone(offset)).tzinfo is UTC
    assert from_text(instant.astimezone(offset).isoformat()) == whole_milliseconds(instant)


@pytest.mark.parametrize("text", ["", "2026-01-15T12:00:00", "2026-01-15", "x", "0001-01-01T00:00:00+01:00"])
def test_what_is_not_an_instant_with_an_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the port says no more
        from_text(text)
