"""The JSON dialect: what is accepted and refused, by hand from RFC 8259 and docs/formats/packed-file.md."""

import pytest

from gossamer.errors import FormatError
from gossamer.graph import strict_json

VALID = {
    b" [1]\n\t\r": [1],
    b"-0": 0,
    b"9007199254740991": 2**53 - 1,
    b"-9007199254740991": 1 - 2**53,
    b"1e-999": 0.0,
    b"1.0": 1.0,
    b"0e999999": 0.0,
    b'"\\u0000"': "\0",
    b'"\\ud83d\\ude00"': "\U0001f600",
    b'"\xf4\x8f\xbf\xbf"': "\U0010ffff",
    b'"\x7f"': "\x7f",
    b'{"":{},"a":[]}': {"": {}, "a": []},
    b"[" * 32 + b"]" * 32: None,
    b'"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["': None,
    b'["\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["]': None,
}
INVALID = (
    b"", b" ", b"[1,]", b'{"a":1,}', b"01", b"+1", b".5", b"1.", b"1e", b"0x1", b"NaN", b"Infinity", b"-Infinity",
    b"1e999", b"-1e999", b"9007199254740992", b"1" * 5000, b'"a', b"'a'", b'"\\x41"', b'"\\u12g4"', b'"\n"', b'"\x1f"',
    b'"\\ud800"', b'"\\udc00"', b'"\\ud800\\u0041"', b'{"\\ud800":1}', b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"',
    b"\xef\xbb\xbf1", b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b"[" * 33 + b"]" * 33, b"[" * 100_000, b"1 2",
    b"[1]\x0b", b"tru", b"{1:2}", b"// x\n1", b'{"a" 1}', b'[{"a":[{"b":1,"b":2}]}]',
)  # fmt: skip


@pytest.mark.parametrize("text", VALID, ids=lambda text: repr(text[:24]))
def test_valid(text: bytes):
    found = strict_json.loads(text)
    if VALID[text] is not None:
        assert found == VALID[text]
        assert type(found) is type(VALID[text])


@pytest.mark.parametrize("text", INVALID, ids=lambda text: repr(text[:24]))
def test_invalid(text: bytes):
    with pytest.raises(FormatError, match="JSON"):
        strict_json.loads(text)


def test_integers_and_other_numbers_differ():
    assert isinstance(strict_json.loads("2.0"), float)
    assert isinstance(strict_json.loads("2"), int)
    assert isinstance(strict_json.loads("2e0"), float)


def test_dumps_refuses_what_loads_would():
    for value in (float("inf"), 2**53, "\ud800", {1: 2}):
        if value == {1: 2}:
            assert strict_json.dumps(value) == '{"1":2}'  # json makes keys strings
            continue
        with pytest.raises(FormatError):
            strict_json.dumps(value)
