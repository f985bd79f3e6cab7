"""Tests of the records of an import as a file."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from alma_async.sim.bibs import Bib, as_binary, as_xml

BIBS = [Bib("991", title="Größe & <Maß>", author="Ä. Author", issn="1234-5679"), Bib("992", title="Law")]


def test_xml_holds_the_titles() -> None:
    """Well-formed, with control number and title of each record; what is empty is left out."""
    root = ET.fromstring(as_xml(BIBS))
    space = "{http://www.loc.gov/MARC21/slim}"
    numbers = [field.text for field in root.iter(f"{space}controlfield")]
    assert numbers == ["991", "992"]
    fields = [
        [field.get("tag") for field in record.iter(f"{space}datafield")]
        for record in root.iter(f"{space}record")
    ]
    assert fields == [["022", "100", "245"], ["245"]]
    assert "Größe & <Maß>" in [field.text for field in root.iter(f"{space}subfield")]


def test_binary_can_be_read_by_its_directory() -> None:
    """Lengths and starts count bytes: leader and directory lead to each field, in each record."""
    data, read = as_binary(BIBS), []
    while data:
        record, data = data[: int(data[:5])], data[int(data[:5]) :]
        assert record.endswith(b"\x1e\x1d")
        base = int(record[12:17])
        directory = record[24 : base - 1].decode()
        fields = {}
        for at in range(0, len(directory), 12):
            tag, length, start = (
                directory[at : at + 3],
                directory[at + 3 : at + 7],
                directory[at + 7 : at + 12],
            )
            field = record[base + int(start) :][: int(length)]
            assert field.endswith(b"\x1e")
            fields[tag] = field[:-1].decode()
        read.append(fields)
    assert read[0]["245"] == "  \x1faGröße & <Maß>"
    assert [one["001"] for one in read] == ["991", "992"]
    assert [*read[1]] == ["001", "245"]
