"""Pieces that went wrong somewhere once, and the mutations that put them into sound inputs. All of our own making."""

from __future__ import annotations

import random
from typing import Final

__all__ = ["NASTY", "mutated"]

NASTY: Final = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
    b"\x81",
    b"\xc5",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\x1b]52;c;x\x07",
    b"\r",
    b"\r\n",
    b"\n\n\n",
    b"\x0b",
    b"\x85",
    "\u2028".encode(),
    "\u202e".encode(),
    "\ufeff".encode(),
    b'"',
    b'""',
    b"'",
    b";=1",
    b"=cmd|' /C calc'!A0",
    b"null",
    b"true",
    b"NaN",
    b"Infinity",
    b"-0",
    b"1e999",
    b"9" * 400,
    b"-1",
    b"0x10",
    b"1e5",
    b"1.5",
    b"{}",
    b"[]",
    b"[" * 3000,
    b'{"a":' * 3000,
    b'"\\ud800"',
    b'"\\u0000"',
    b'{"a":1,"a":2}',
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
    b"<!ENTITY",
    b"&#0;",
    b"&b;",
    b"<?xml version='1.0' encoding='utf8mb4'?>",
    b"<?xml version='1.0' encoding='utf-7'?>",
    b"<web_service_result>",
    b"errorsExist",
    b"<html>",
    b"../..",
    b"%2e%2e%2f",
    b"%00",
    b"?op=delete",
    b"#",
    b"\\",
    b"//evil.example",
    b"user:pw@",
    b"http://[::1",
    b"apikey=x",
    b"<clear>",
    b"9999-99-99",
    b"2010-02-30",
    b"P1Y",
    b"R2Y;P6M",
    b"0000",
    b"9780306406157",
    b"2434-5610",
    "１２".encode(),
    "٣".encode(),
    b"9999-12-31T23:59:59Z",
    b"0001-01-01T00:00:00Z",
    b"2026-11-28T00:00:00+99:99",
    b"1970-01-01Z",
    b"Thu, 01 Jan 9999 00:00:00 GMT",
    b"Thu, 99 Jan 0000 99:99:99 -9999",
    b"_xD800_",
    b"_x0000_",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    b"PK\x03\x04",
    b"PK\x05\x06" + bytes(18),
    b"SQLite format 3\0",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\xff" * 8,
)


def mutated(draw: random.Random, seeds: tuple[bytes, ...]) -> bytes:
    """One of the seeds, changed in one to six places."""
    found = bytearray(draw.choice(seeds))
    for _ in range(draw.randint(1, 6)):
        place = draw.randint(0, len(found))
        end = min(len(found), place + draw.choice((0, 1, 2, 8, 64)))
        match draw.randrange(6):
            case 0 if found:
                found[place % len(found)] ^= 1 << draw.randrange(8)
            case 1:
                found[place:end] = draw.choice(NASTY)
            case 2:
                found[place:place] = draw.choice(NASTY)
            case 3:
                found[place:place] = found[place:end] * draw.choice((1, 2, 50))
            case 4:
                del found[place : end if draw.random() < 0.9 else len(found)]
            case _:
                other = draw.choice(seeds)
                found[place:] = other[draw.randint(0, len(other)) :]
    return bytes(found[: 2**20])
