# SPDX-License-Identifier: Apache-2.0
"""Whatever a user typed is written so that oned's grammar reads it back unchanged."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onebackup_driver import template_text
from onebackup_driver.xml_values import Attribute
from sandbox.core.template import Template

#: Pieces that have broken writers of this grammar, mixed with any text.
PIECES = st.sampled_from(
    [
        '"',
        "\\",
        '\\"',
        "]",
        "]]>",
        "]]",
        ">",
        "<",
        "&",
        "&amp;",
        "\n",
        "\r\n",
        "\t",
        "=",
        ",",
        "[",
        "#",
        " ",
        "ü",
        "\x00",
        "\x1b",
        "</TEMPLATE>",
        "<![CDATA[",
        "$USER[X]",
        "\ud800",
        "\ufffe",
        "漢",
        "😀",
        "\x85",
        "\u2028",
    ]
)
VALUES = st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=8).map("".join)
NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,9}", fullmatch=True)
ODD_NAMES = st.from_regex(r"[A-Z_][A-Z0-9_.\-]{0,9}", fullmatch=True)


def vectors(names: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, str]]:
    return st.dictionaries(names, VALUES, min_size=1, max_size=4)


def attributes(names: st.SearchStrategy[str]) -> st.SearchStrategy[list[Attribute]]:
    return st.lists(st.tuples(names, st.one_of(VALUES, vectors(names))), max_size=5)


def expected(given_attributes: list[Attribute]) -> list[Attribute]:
    """What must come back: the values, cleaned of what no front-end can store."""
    return [
        (
            name,
            template_text.clean(value)
            if isinstance(value, str)
            else {k: template_text.clean(v) for k, v in value.items()},
        )
        for name, value in given_attributes
    ]


@settings(max_examples=80, deadline=None)
@given(attributes(NAMES))
def test_everything_written_is_read_back(given_attributes: list[Attribute]) -> None:
    text = template_text.render(given_attributes)
    assert Template.parse(text).items == expected(given_attributes)


@settings(max_examples=40, deadline=None)
@given(attributes(ODD_NAMES))
def test_names_that_text_cannot_say_are_said_in_xml(given_attributes: list[Attribute]) -> None:
    assert Template.parse(template_text.render(given_attributes)).items == expected(given_attributes)


@settings(max_examples=50, deadline=None)
@given(attributes(st.text(max_size=6)))
def test_no_name_whatever_makes_it_unparsable(given_attributes: list[Attribute]) -> None:
    Template.parse(template_text.render(given_attributes))


@settings(max_examples=80, deadline=None)
@given(VALUES)
def test_a_cleaned_value_is_what_was_given_where_it_can_be_stored(value: str) -> None:
    cleaned = template_text.clean(value)
    assert "]]>" not in cleaned and template_text.clean(cleaned) == cleaned
    cleaned.encode("utf-8")
    storable = value.isprintable() and "]]>" not in value
    assert not storable or cleaned == value


@settings(max_examples=50, deadline=None)
@given(VALUES, st.integers(min_value=0, max_value=40))
def test_free_text_becomes_one_short_line(value: str, length: int) -> None:
    line = template_text.one_line(value, length)
    assert len(line) <= length and len(line.splitlines()) <= 1
    assert Template.parse(template_text.render([("MESSAGE", line)])).items == [("MESSAGE", line)]


@pytest.mark.parametrize(
    "value",
    [
        'say "hi"',
        'a\\"b',
        "C:\\",
        "C:\\\\",
        "two\nlines",
        "a]b",
        "] ]",
        "x = [ y, z ]",
        "# no comment",
        "",
        " ",
        "ü 漢 😀",
        "<&>",
        '\\\\"',
        "\n",
        "tab\there",
        "$NAME",
    ],
)
@pytest.mark.parametrize("name", ["PLAIN", "WITH.DOT"])
def test_values_that_are_often_got_wrong(name: str, value: str) -> None:
    given_attributes: list[Attribute] = [(name, value), ("VECTOR", {"KEY": value, "OTHER": "1"}), ("LAST", "2")]
    assert Template.parse(template_text.render(given_attributes)).items == given_attributes


def test_ordinary_attributes_are_written_as_stock_text() -> None:
    text = template_text.render([("CPU", "0.5"), ("DISK", {"IMAGE_ID": "3", "TARGET": "vda"}), ("DISK", {})])
    assert text == 'CPU="0.5"\nDISK=[\n  IMAGE_ID="3",\n  TARGET="vda" ]\nDISK=[]'


def test_what_cannot_be_stored_is_left_out_or_broken_up() -> None:
    assert template_text.clean("a\x00b\x1b\ud800c]]>d\ufffe") == "abc]] >d"
    assert template_text.clean("a\r\nb\rc\td\n") == "a\nb\nc\td\n"


def test_hidden_ends_of_cdata_do_not_come_together() -> None:
    """A character that is taken out must not leave `]]>` behind."""
    assert "]]>" not in template_text.clean("]]\x00>") and "]]>" not in template_text.one_line("]\x01]\x02>")
