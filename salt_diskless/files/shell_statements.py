"""Split a file of shell commands into simple commands, with the rules of quoting of the POSIX shell
language (XCU 2.2 "Quoting", 2.3 "Token Recognition")."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from salt_diskless.cluster.errors import DisklessError

ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_BLANK = re.compile(r"(?:[ \t]|\\\n)+")
_COMMENT = re.compile(r"#[^\n]*")
_OPERATOR = re.compile(r"&&|\|\||;;&?|;&|<<-?|>>|<&|>&|<>|>\||[\n;&|()<>]")
_PLAIN = re.compile(r"[^ \t\n'\"\\$`;&|()<>]+")
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")

_OPENERS = frozenset({"if", "case", "for", "while", "until", "select", "{"})
_CLOSERS = frozenset({"fi", "esac", "done", "}"})
_BETWEEN = frozenset({"then", "else", "elif", "do", "!"})


@dataclass(slots=True)
class Word:
    """A word: where it is, and its parts.

    parts
        Each is text, or with True the name of a variable.
    is_unclear
        Whether it has an expansion that only a shell can evaluate.
    is_quoted
        Whether a part is in quotes: then it is no reserved word.
    """

    begin: int
    end: int = 0
    parts: list[tuple[str, bool]] = field(default_factory=list)
    is_unclear: bool = False
    is_quoted: bool = False

    @property
    def text(self) -> str | None:
        """Return the word without its quotes, or None when it has an expansion."""
        if self.is_unclear or any(is_name for _, is_name in self.parts):
            return None
        return "".join(part for part, _ in self.parts)


@dataclass(slots=True)
class Statement:
    """A simple command.

    prefix
        The assignments before the command.
    words
        The command and its arguments; none where there are assignments only.
    is_plain
        Whether it runs whatever else happens: it is at the top level and not behind ``&&``, ``||``,
        a pipe or a redirection.
    defines
        Whether it is the name of a function that is defined here.
    """

    prefix: list[Word]
    words: list[Word]
    is_plain: bool
    defines: bool = False

    @property
    def command(self) -> str:
        """Return the command's name; nothing where only a shell can tell, or where there is
        none."""
        return (self.words[0].text or "") if self.words else ""


def statements(text: str, path: str) -> Iterator[Statement]:
    """Yield the simple commands of the file, in its order."""
    depth: list[str] = []
    words: list[Word] = []
    is_plain, is_target = True, False
    for token in _Scanner(text, path).tokens():
        if isinstance(token, Word):
            first = text[token.begin : token.end]
            if is_target or (first.isdigit() and text[token.end : token.end + 1] in ("<", ">")):
                is_target = False
            elif words or token.is_quoted or first not in _OPENERS | _CLOSERS | _BETWEEN:
                words.append(token)
            elif first in _CLOSERS:
                del depth[-1:]
            elif first in _OPENERS:
                depth.append(first)
                if first in ("case", "for", "select"):
                    words.append(token)
            continue
        if token.startswith(("<", ">")):
            is_plain, is_target = False, True
            continue
        joins = token in ("&&", "||", "|", "&")
        if words:
            defines = token == "(" and len(words) == 1
            yield _statement(words, text, is_plain and not joins and not depth, defines)
        if token == "(" and depth[-1:] != ["case"]:
            depth.append(token)
        elif token == ")" and depth[-1:] == ["("]:
            depth.pop()
        # A newline after && continues the list.
        is_plain = token == "&" or (not joins and (bool(words) or is_plain))
        words = []
    if words:
        yield _statement(words, text, is_plain and not depth)


def _statement(words: list[Word], text: str, is_plain: bool, defines: bool = False) -> Statement:
    count = 0
    while count < len(words) and ASSIGNMENT.match(text, words[count].begin, words[count].end):
        count += 1
    return Statement(words[:count], words[count:], is_plain, defines)


class _Scanner:
    """Splits a file into words and operators, with the rules of quoting."""

    def __init__(self, text: str, path: str):
        self._text = text
        self._path = path

    def tokens(self) -> Iterator[Word | str]:
        """Yield words, and operators as text (a newline is one)."""
        text, at = self._text, 0
        if "\0" in text:
            at = text.index("\0")
            raise self._error("a NUL byte", at, "remove it: a shell leaves it out")
        documents: list[tuple[str, bool]] = []
        redirection = ""
        while at < len(text):
            if match := _BLANK.match(text, at) or _COMMENT.match(text, at):
                at = match.end()
            elif match := _OPERATOR.match(text, at):
                at, redirection = match.end(), match[0]
                if match[0] == "\n":
                    at = self._after_documents(documents, at)
                yield match[0]
            else:
                word = self._word(at)
                if redirection in ("<<", "<<-"):
                    end = "".join(part for part, _ in word.parts)
                    documents.append((end, redirection == "<<-"))
                at, redirection = word.end, ""
                yield word

    def _after_documents(self, documents: list[tuple[str, bool]], at: int) -> int:
        """Return where the here-documents end that begin at ``at``."""
        for end, strips_tabs in documents:
            while at < len(self._text):
                line, newline, _ = self._text[at:].partition("\n")
                at += len(line) + len(newline)
                if (line.lstrip("\t") if strips_tabs else line) == end:
                    break
        documents.clear()
        return at

    def _word(self, at: int) -> Word:
        text, word = self._text, Word(at)
        while at < len(text):
            character = text[at]
            if match := _PLAIN.match(text, at):
                word.parts.append((match[0], False))
                word.is_unclear |= bool(re.search(r"(?:^|[=:])~", match[0]))
                at = match.end()
            elif character == "'":
                end = self._find("'", at)
                word.parts.append((text[at + 1 : end], False))
                word.is_quoted, at = True, end + 1
            elif character == '"':
                word.is_quoted, at = True, self._double(word, at)
            elif character == "\\":
                escaped = text[at + 1 : at + 2]
                word.parts.append(({"\n": "", "": "\\"}.get(escaped, escaped), False))
                word.is_quoted, at = True, min(at + 2, len(text))
            elif character in "$`":
                at = self._expansion(word, at)
            else:
                break
        if text[at : at + 1] == "(" and text[at - 1] == "=":
            raise self._error("an array", at, "give plain values: sh has no arrays")
        word.end = at
        return word

    def _double(self, word: Word, at: int) -> int:
        """Take a part in double quotes, and return where it ends."""
        text, start = self._text, at
        at += 1
        while at < len(text) and text[at] != '"':
            if text[at] == "\\":
                escaped = text[at + 1 : at + 2]
                kept = escaped if escaped in '$`"\\' else f"\\{escaped}"
                word.parts.append(("" if escaped == "\n" else kept, False))
                at += 2
            elif text[at] in "$`":
                at = self._expansion(word, at, in_quotes=True)
            else:
                word.parts.append((text[at], False))
                at += 1
        if at >= len(text):
            raise self._unfinished('"', start)
        return at + 1

    def _expansion(self, word: Word, at: int, in_quotes: bool = False) -> int:
        """Take an expansion, and return where it ends."""
        text = self._text
        if match := _VARIABLE.match(text, at):
            word.parts.append((match[1] or match[2], True))
            return match.end()
        after = text[at + 1 : at + 2]
        if text[at] == "`":
            word.is_unclear = True
            return self._find("`", at) + 1
        if after in ("{", "("):
            word.is_unclear = True
            return self._nested(at + 1)
        if after and (after in "#@*?$!-" or after.isdigit()):
            word.is_unclear = True
            return at + 2
        # Before a quote it is bash's, and nothing else to sh.
        word.is_unclear |= after in ("'", '"') and not in_quotes
        word.parts.append(("$", False))
        return at + 1

    def _nested(self, at: int) -> int:
        """Return where what begins with a brace or a parenthesis ends."""
        text, start = self._text, at
        closing: list[str] = []
        while at < len(text):
            character = text[at]
            if closing and character == closing[-1]:
                closing.pop()
                if not closing:
                    return at + 1
            elif character == "(" or (character == "{" and text[at - 1] == "$"):
                closing.append({"(": ")", "{": "}"}[character])
            elif character == "'":
                at = self._find("'", at)
            elif character == '"':
                at = self._double(Word(at), at) - 1
            elif character == "\\":
                at += 1
            at += 1
        raise self._unfinished(text[start], start)

    def _find(self, quote: str, at: int) -> int:
        """Return where the quote ends that begins at ``at``."""
        end = at + 1
        while (character := self._text[end : end + 1]) != quote:
            if not character:
                raise self._unfinished(quote, at)
            end += 2 if character == "\\" and quote == "`" else 1
        return end

    def _unfinished(self, what: str, at: int) -> DisklessError:
        return self._error(
            f"{what} without its end", at, f"close it: sh -n {self._path} shows more"
        )

    def _error(self, what: str, at: int, right: str) -> DisklessError:
        line = self._text.count("\n", 0, at) + 1
        return DisklessError(f"{self._path}, line {line}: found {what}; {right}")
