"""Ids from arguments, a file or stdin, all checked before anything is sent.

Decides what can be an id: one word, or what the caller says; what a spreadsheet made a number of is
judged as the readers of lists judge it. Whether it exists is the server's to say. The ids are kept in
memory, some 100 bytes each.
"""

from __future__ import annotations

import re
import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from alma_async._text import plain
from alma_async.errors import ConfigurationError
from alma_async.load.readers.cells import LOST, Rounded, record_id

__all__ = ["STDIN", "read_ids", "read_text"]

STDIN: Final = "-"

# No separator, so that a line of a table is not read as an id. Ids of users may hold almost anything else.
_ONE_WORD: Final = re.compile(r"[^\s,;\"]{1,255}")
_NAMED: Final = 20
_COLUMN: Final = "id"
_HEADER: Final = re.compile(r"[a-z _]*\b(mms[ _]?)?(ids?|identifiers?|barcodes?)", re.IGNORECASE)
_OF_DIGITS: Final = re.compile(r"'?[0-9]+(?:\.0*)?")
_ROUNDED: Final = re.compile(r"[0-9]+([.,][0-9]+)?E\+?[0-9]+", re.IGNORECASE)


def _not_one_word(text: str) -> str | None:
    if _ROUNDED.fullmatch(text):
        return "is a number that a spreadsheet rounded: format the column as text and export again"
    return None if _ONE_WORD.fullmatch(text) and text.isprintable() else "is no id"


def read_ids(
    words: Sequence[str], file: str | None, *, fault: Callable[[str], str | None] = _not_one_word
) -> list[str]:
    """The ids of the arguments, or of the file: one a line, blank lines left out, or a table of one column with or without its
    header, as Analytics exports it; ``-`` is stdin. Of a file, a number that a spreadsheet made of an id is its digits, or a fault.

    :param fault: why a text can be no id; None where it can be one.
    :raises ConfigurationError: where the file cannot be read, or a line is no id, or there is none; its notes name the lines.
    """
    if words and file is not None:
        raise ConfigurationError("Give the ids as arguments or in --file, not both.")
    source = "the arguments" if file is None else "stdin" if file == STDIN else file
    found, wrong, numbers, rounded = [], [], [], Rounded(_COLUMN)
    for number, text in enumerate(words if file is None else _lines(file), 1):
        if not text and file is not None:
            continue
        one, why = (text, None) if file is None else _whole(text)
        if why := why or fault(one):
            wrong.append((number, text, why))
        else:
            found.append(one)
            numbers.append(number)
            rounded.add_id(_COLUMN, one)
    if file is not None:
        cut = (
            (number, text, LOST)
            for number, text in zip(numbers, found, strict=True)
            if rounded.is_cut(_COLUMN, text)
        )
        wrong = sorted((*wrong, *cut))
    if wrong:
        error = ConfigurationError(f"Not all of {source} are ids; nothing was sent.")
        for number, text, why in wrong[:_NAMED]:
            place = f"{'argument' if file is None else 'line'} {number}"
            error.add_note(f"{place}: {plain(text[:60])!r} {why}")
        if len(wrong) > _NAMED:
            error.add_note(f"... and {len(wrong) - _NAMED:,} more")
        raise error
    if not found:
        raise ConfigurationError(f"No id in {source}: give one a line.")
    return found


def read_text(file: str) -> str:
    """The text of a file; ``-`` is stdin.

    :raises ConfigurationError: where it cannot be read, or is not UTF-8.
    """
    try:
        raw = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
        return raw.decode("utf-16" if raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")
    except OSError as error:
        failure = f"{file} cannot be read: {error.strerror or error}."
    except UnicodeDecodeError:
        failure = f"{file} is not text in UTF-8."
    raise ConfigurationError(failure)


def _lines(file: str) -> Iterator[str]:
    header = True  # until a line is not blank
    for line in re.split(r"\r\n|\r|\n", read_text(file)):
        text = _cell(line)
        yield "" if header and _HEADER.fullmatch(text) else text
        header = header and not text


def _cell(line: str) -> str:
    """The one cell of a line, without quotes, a spreadsheet's leading ``=``, and the delimiters of blank cells."""
    text = line.strip().rstrip(",;\t ").removeprefix("=")
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].strip()
    return text


def _whole(text: str) -> tuple[str, str | None]:
    """The id as a list's readers take it, where a spreadsheet may have made a number of it; and why there is none."""
    if not _OF_DIGITS.fullmatch(text):
        return text, None
    try:
        return record_id(text), None
    except ValueError as error:
        return text, str(error)
