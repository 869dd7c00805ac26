"""Read and change variables in a file of shell assignments, such as ``/etc/default/tftpd-hpa``.

Such a file is sourced by a shell, so the rules are those of the POSIX shell language (XCU 2.2
"Quoting", 2.3 "Token Recognition", 2.9.1 "Simple Commands"): quotes, comments, continuation lines,
concatenation, ``export``; of several assignments the last one holds. A change replaces the value of
that assignment and keeps every other byte.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from salt_diskless.cluster.errors import DisklessError, shown

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_BLANK = re.compile(r"(?:[ \t]|\\\n)+")
_COMMENT = re.compile(r"#[^\n]*")
_OPERATOR = re.compile(r"&&|\|\||;;&?|;&|<<-?|>>|<&|>&|<>|>\||[\n;&|()<>]")
_PLAIN = re.compile(r"[^\s'\"\\$`;&|()<>]+")
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_SAFE = re.compile(r"[A-Za-z0-9 ._+,:=/@%-]*")

#: An expansion that assigns: ``${NAME:=value}``.
_ASSIGNING = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*):?=")

_OPENERS = frozenset({"if", "case", "for", "while", "until", "select", "{"})
_CLOSERS = frozenset({"fi", "esac", "done", "}"})
_BETWEEN = frozenset({"then", "else", "elif", "do", "!"})
_DECLARING = frozenset({"export", "readonly", "declare", "typeset"})
#: Commands after which any variable may have another value.
_MAY_ASSIGN = frozenset({".", "source", "eval", "read", "getopts"})
#: The state of every variable that the file has not named so far.
_OTHERS = ""


@dataclass(slots=True)
class _Word:
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


@dataclass(frozen=True, slots=True)
class _Value:
    """What the file says of one variable.

    value
        Its value; None when it is not set.
    span
        Where the value of its last assignment is in the text; None when nothing can be replaced.
    unclear
        The line because of which only a shell can tell the value.
    """

    value: str | None = None
    span: tuple[int, int] | None = None
    unclear: int | None = None


def value(text: str, name: str, path: str) -> str | None:
    """Return the value that a shell has for a variable after it has read the file; None when the
    file does not set it.

    path
        The file's path, for errors.

    Raises :class:`DisklessError` when the file is no shell file, or only a shell could tell.
    """
    result = _evaluate(text, name, path)
    if result.unclear is not None:
        line = text.split("\n")[result.unclear - 1].strip()
        raise DisklessError(
            f"{path}, line {result.unclear}: found {shown(line)}: only a shell can tell what "
            f'{name} is after it; give it a plain value, like {name}="..."'
        )
    return result.value


def with_values(text: str, values: Mapping[str, str], path: str) -> str:
    """Return the file with some variables set, and every other byte as it is. A variable that the
    file does not set, or sets where only a shell can evaluate it, is set at the end.

    Raises :class:`DisklessError` when the file is no shell file, or ends before its end.
    """
    for name, wanted in values.items():
        current = _evaluate(text, name, path)
        if current.unclear is None and current.value == wanted:
            continue
        if current.span is not None:
            begin, end = current.span
            text = text[:begin] + quoted(wanted) + text[end:]
        else:
            newline = "" if not text or text.endswith("\n") else "\n"
            text += f"{newline}{name}={quoted(wanted)}\n"
        if value(text, name, path) != wanted:
            raise DisklessError(
                f'{path}: found no line where {name}="..." would count; add it yourself'
            )
    return text


def quoted(text: str) -> str:
    """Return a value in quotes that mean the same to a shell and to systemd.exec(5)."""
    return f'"{text}"' if _SAFE.fullmatch(text) else shlex.quote(text)


def _evaluate(text: str, name: str, path: str) -> _Value:
    """Return what the file says of a variable."""
    variables = {_OTHERS: _Value()}
    for statement in _statements(text, path):
        line = text.count("\n", 0, statement.words[0].begin) + 1
        for word in statement.words:
            for match in _ASSIGNING.finditer(text, word.begin, word.end):
                variables[match[1]] = _Value(unclear=line)
        _assign(statement, text, line, variables)
        if statement.command == "unset":
            for word in statement.words[1:]:
                unclear = None if statement.is_plain else line
                variables[text[word.begin : word.end]] = _Value(unclear=unclear)
        elif statement.command in _MAY_ASSIGN:
            variables = {_OTHERS: _Value(unclear=line)}
        elif statement.command in ("exit", "return") and statement.is_plain:
            break
    return variables.get(name, variables[_OTHERS])


def _assign(statement: _Statement, text: str, line: int, variables: dict[str, _Value]) -> None:
    """Note the assignments of a statement that begins in this line."""
    for name, word, appends in statement.assignments(text):
        if not statement.is_plain or appends:
            variables[name] = _Value(unclear=line)
            continue
        result = _expand(word, variables)
        if statement.command and result is not None and any(is_name for _, is_name in word.parts):
            # Some shells split an unquoted expansion here.
            result = None if re.search(r"[\s*?\[]", result) else result
        span = (text.index("=", word.begin) + 1, word.end)
        variables[name] = _Value(result, span, line if result is None else None)


def _expand(word: _Word, variables: Mapping[str, _Value]) -> str | None:
    """Return the value of an assignment's word, or None when only a shell can tell."""
    result = ""
    for part, is_name in word.parts:
        if not is_name:
            result += part
            continue
        # What the file does not set may be in the shell's environment.
        known = variables.get(part, _Value(unclear=0))
        if known.unclear is not None:
            return None
        result += known.value or ""
    return None if word.is_unclear else result.partition("=")[2]


@dataclass(slots=True)
class _Statement:
    """A simple command: its words, and whether it runs whatever else happens.

    is_plain
        Whether it is at the top level and not behind ``&&``, ``||``, a pipe or a redirection.
    """

    words: list[_Word]
    is_plain: bool
    command: str

    def assignments(self, text: str) -> Iterator[tuple[str, _Word, bool]]:
        """Yield each variable that is assigned: its name, the word, and whether it appends."""
        if self.command and self.command not in _DECLARING:
            return
        for word in self.words:
            match = _ASSIGNMENT.match(text, word.begin, word.end)
            if match is not None:
                yield match[1], word, bool(match[2])


def _statements(text: str, path: str) -> Iterator[_Statement]:
    """Yield the simple commands of the file, in its order."""
    depth: list[str] = []
    words: list[_Word] = []
    is_plain, is_target = True, False
    for token in _Scanner(text, path).tokens():
        if isinstance(token, _Word):
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
            yield _Statement(words, is_plain and not joins and not depth, _command(words, text))
        if token == "(" and depth[-1:] != ["case"]:
            depth.append(token)
        elif token == ")" and depth[-1:] == ["("]:
            depth.pop()
        # A newline after && continues the list.
        is_plain = token == "&" or (not joins and (bool(words) or is_plain))
        words = []
    if words:
        yield _Statement(words, is_plain and not depth, _command(words, text))


def _command(words: list[_Word], text: str) -> str:
    """Return the first word that is no assignment, or nothing."""
    for word in words:
        if not _ASSIGNMENT.match(text, word.begin, word.end):
            return text[word.begin : word.end]
    return ""


class _Scanner:
    """Splits a file into words and operators, with the rules of quoting."""

    def __init__(self, text: str, path: str):
        self._text = text
        self._path = path

    def tokens(self) -> Iterator[_Word | str]:
        """Yield words, and operators as text (a newline is one)."""
        text, at = self._text, 0
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

    def _word(self, at: int) -> _Word:
        text, word = self._text, _Word(at)
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

    def _double(self, word: _Word, at: int) -> int:
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

    def _expansion(self, word: _Word, at: int, in_quotes: bool = False) -> int:
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
                at = self._double(_Word(at), at) - 1
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
