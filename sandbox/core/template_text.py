# SPDX-License-Identifier: Apache-2.0
"""Reading OpenNebula's template text, with the lexical oddities of oned's own lexer.

Facts worth knowing when writing templates: inside quotes only `\\"` is an escape and the lexer takes the
longest match, so a value that ends in a backslash swallows the closing quote; a line holding `]]>` in a value
makes the whole text unreadable; of a key given twice in one vector the first wins; characters that no rule
matches are skipped silently.
"""

from __future__ import annotations

import re
from re import Pattern
from typing import NamedTuple, Union

Value = Union[str, dict[str, str]]

PLAIN_RULES: tuple[tuple[str, Pattern[str]], ...] = (
    ("", re.compile(r"[ \t]*#[^\n]*\n")),
    ("", re.compile(r"[ \t\n]+")),
    ("VARIABLE", re.compile(r"[A-Za-z0-9_]+")),
    ("EQUAL", re.compile(r"[ \t]*=[ \t]*")),
    ("EQUAL_EMPTY", re.compile(r"[ \t]*=[ \t]*\n")),
    ("COMMA", re.compile(r"[ \t\n]*,[ \t\n]*")),
    ("CBRACKET", re.compile(r"[ \t\n]*\][ \t\n]*")),
)
VALUE_RULES: tuple[tuple[str, Pattern[str]], ...] = (
    ("OBRACKET", re.compile(r"[ \t]*\[[ \t\n]*")),
    ("CCDATA", re.compile(r"[^\n]*\]\]>[^\n]*")),
    ("QUOTED", re.compile(r'"(?:\\"|[^"])*"')),
    ("STRING", re.compile(r"[^=# \t\n,\[\]]+")),
)


class Token(NamedTuple):
    kind: str
    text: str
    columns: str


class TemplateSyntax(Exception):
    """The text cannot be parsed; the message is oned's ("Parse error: …")."""


class Lexer:
    """oned's two lexer states; columns count bytes from 1 and the end keeps the last token's place."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.offset = 0
        self.column = 1
        self.columns = "1:1"
        self.in_value = False

    def next(self) -> Token:
        while self.offset < len(self.text):
            kind, matched = self._longest()
            self._advance(matched)
            if kind:
                return self._token(kind, matched)
        return Token("$end", "", self.columns)

    def _longest(self) -> tuple[str, str]:
        best: tuple[str, str] = ("", "")
        for kind, pattern in VALUE_RULES if self.in_value else PLAIN_RULES:
            match = pattern.match(self.text, self.offset)
            if match and len(match.group()) > len(best[1]):
                best = (kind, match.group())
        return best if best[1] else ("", self.text[self.offset])

    def _advance(self, matched: str) -> None:
        self.offset += len(matched)
        end = self.column + len(matched.encode())
        self.columns = f"{self.column}:{end}"
        self.column = end

    def _token(self, kind: str, matched: str) -> Token:
        self.in_value = kind == "EQUAL"
        if kind == "QUOTED":
            return Token("STRING", matched[1:-1], self.columns)
        return Token(kind, matched, self.columns)


class Parser:
    """oned's grammar; errors name the unexpected token and what was expected, as its bison parser does."""

    def __init__(self, text: str) -> None:
        self.lexer = Lexer(text)
        self.items: list[tuple[str, Value]] = []
        self.token = self.lexer.next()

    def parse(self) -> list[tuple[str, Value]]:
        while self.token.kind != "$end":
            self._attribute()
        return self.items

    def _fail(self, expected: str) -> TemplateSyntax:
        where = f"at line 0, columns {self.token.columns}"
        return TemplateSyntax(f"Parse error: syntax error, unexpected {self.token.kind}, expecting {expected} {where}")

    def _take(self, kinds: tuple[str, ...], expected: str) -> Token:
        token = self.token
        if token.kind == "CCDATA":
            raise TemplateSyntax("Parse error.")
        if token.kind not in kinds:
            raise self._fail(expected)
        self.token = self.lexer.next()
        return token

    def _attribute(self) -> None:
        name = self._take(("VARIABLE",), "$end").text.upper()
        if self._take(("EQUAL", "EQUAL_EMPTY"), "EQUAL or EQUAL_EMPTY").kind == "EQUAL_EMPTY":
            self.items.append((name, ""))
            return
        token = self._take(("STRING", "OBRACKET"), "OBRACKET or CCDATA or STRING")
        value: Value = unescape(token.text) if token.kind == "STRING" else self._vector()
        self.items.append((name, value))

    def _vector(self) -> dict[str, str]:
        values: dict[str, str] = {}
        if self.token.kind == "CBRACKET":
            self._take(("CBRACKET",), "")
            return values
        expected = "CBRACKET or VARIABLE"
        while True:
            name = self._take(("VARIABLE",), expected).text.upper()
            self._take(("EQUAL",), "EQUAL")
            values.setdefault(name, unescape(self._take(("STRING",), "STRING").text))
            if self._take(("COMMA", "CBRACKET"), "COMMA or CBRACKET").kind == "CBRACKET":
                return values
            expected = "VARIABLE"


def unescape(text: str) -> str:
    return text.replace('\\"', '"')


def parse(text: str) -> list[tuple[str, Value]]:
    """The attributes of a template text in the order given, names in upper case. Raises TemplateSyntax."""
    return Parser(text).parse()


def write(items: list[tuple[str, Value]], separator: str = "\n") -> str:
    """The text form of attributes (the way oned itself prints them)."""
    return separator.join(_write_one(name, value) for name, value in items)


def _write_one(name: str, value: Value) -> str:
    if isinstance(value, str):
        return f"{name}={quote(value)}"
    return f"{name}=[" + ",".join(f"{key}={quote(value[key])}" for key in sorted(value)) + "]"


def quote(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'
