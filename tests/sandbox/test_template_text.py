# SPDX-License-Identifier: Apache-2.0
"""The template language: what oned's own lexer and parser make of a text."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.core import template_text
from sandbox.core.template import Template
from sandbox.core.template_text import TemplateSyntax

VALID = [
    ('A="x"', [("A", "x")]),
    ("a = x", [("A", "x")]),
    ('A="x"\n# a comment\nB="y"', [("A", "x"), ("B", "y")]),
    ("A=\nB=y", [("A", ""), ("B", "y")]),
    ('A=""', [("A", "")]),
    ('A="two\nlines"', [("A", "two\nlines")]),
    (r'A="say \"hi\""', [("A", 'say "hi"')]),
    (r'A="back\slash\n"', [("A", r"back\slash\n")]),
    ('A=[B="1",c="2"]', [("A", {"B": "1", "C": "2"})]),
    ('A = [ B = 1 ,\n C = "2" ]\n', [("A", {"B": "1", "C": "2"})]),
    ("A=[]", [("A", {})]),
    ('A=[B="1",B="2"]', [("A", {"B": "1"})]),
    ('A="1" ; B="2"', [("A", "1"), ("B", "2")]),
    ('A="x" # rest\n', [("A", "x")]),
    ("", []),
]
BROKEN = [
    ('BACKUP=[FREQUENCY_SECONDS="3600"\nbroken', "unexpected VARIABLE, expecting COMMA or CBRACKET", "34:40"),
    ("BACKUP=[", "unexpected $end, expecting CBRACKET or VARIABLE", "8:9"),
    ("word", "unexpected $end, expecting EQUAL or EQUAL_EMPTY", "1:5"),
    ("A=[B=[C=1]]", "unexpected OBRACKET, expecting STRING", "6:7"),
    ("A=[B=1,]", "unexpected CBRACKET, expecting VARIABLE", "8:9"),
]


@pytest.mark.parametrize(("text", "items"), VALID)
def test_what_can_be_read(text: str, items: list[tuple[str, object]]) -> None:
    assert template_text.parse(text) == items


@pytest.mark.parametrize(("text", "message", "columns"), BROKEN)
def test_syntax_errors_name_token_and_place(text: str, message: str, columns: str) -> None:
    with pytest.raises(TemplateSyntax) as caught:
        template_text.parse(text)
    assert str(caught.value) == f"Parse error: syntax error, {message} at line 0, columns {columns}"


def test_a_value_that_ends_in_a_backslash_swallows_its_quote() -> None:
    assert template_text.parse('A="x\\"\nB="') == [("A", 'x"\nB=')]


def test_cdata_end_makes_the_text_unreadable() -> None:
    with pytest.raises(TemplateSyntax, match="Parse error"):
        template_text.parse('A="x]]>y"\n')


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True), st.text(max_size=30)))
def test_what_is_written_is_read_back(values: dict[str, str]) -> None:
    usable = {key: text for key, text in values.items()
              if "]]>" not in text and not text.endswith("\\") and '\\"' not in text}
    text = template_text.write(list(usable.items()))
    assert dict(template_text.parse(text)) == usable


def test_appending_replaces_every_attribute_of_a_name() -> None:
    template = Template.parse('A="1"\nD=[X="1"]\nD=[X="2"]\nB="2"')
    template.merge(Template.parse('D=[Y="3"]\nC="4"'))
    assert template.xml("T") == ("<T><A><![CDATA[1]]></A><B><![CDATA[2]]></B><C><![CDATA[4]]></C>"
                                 "<D><Y><![CDATA[3]]></Y></D></T>")


def test_the_xml_form_is_read_too() -> None:
    template = Template.parse("<TEMPLATE><A>1</A><D><X>2 &amp; 3</X></D><E/></TEMPLATE>")
    assert template.items == [("A", "1"), ("D", {"X": "2 & 3"}), ("E", "")]


def test_broken_xml_is_refused() -> None:
    with pytest.raises(TemplateSyntax, match="XML Template malformed"):
        Template.parse("<TEMPLATE><A></TEMPLATE>")
