"""Read and change variables in a file of shell assignments, such as ``/etc/default/tftpd-hpa``.

Such a file is sourced by a shell, so the rules are those of the POSIX shell language (XCU 2.9.1
"Simple Commands", 2.14 "Special Built-In Utilities"): of several assignments the last one holds. A
change replaces the value of that assignment and keeps every other byte. Whatever only a shell can
evaluate, or two shells evaluate in two ways, has no value here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from salt_diskless.cluster.errors import DisklessError, shown
from salt_diskless.files.shell_statements import ASSIGNMENT, Statement, Word, statements

_SAFE = re.compile(r"[A-Za-z0-9 ._+,:=/@%-]*")
_PLAIN_LINE = re.compile(
    r"[ \t]*(#.*|[A-Za-z_][A-Za-z0-9_]*="
    r"(\"[^\"\\$`]*\"|'[^']*'|[A-Za-z0-9._+,:=/@%-]*)[ \t]*(#.*)?)?\r?"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Expansions that assign: ``${NAME:=value}``, and arithmetic such as ``$((NAME += 1))``.
_ASSIGNING = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*):?=")
_ARITHMETIC = ("$((", "$[")

#: POSIX's special built-in utilities: assignments before them stay in some shells.
_SPECIAL = frozenset(
    {":", ".", "break", "continue", "eval", "exec", "exit", "export", "readonly", "return", "set"}
    | {"shift", "source", "times", "trap", "unset"}
)
_DECLARING = frozenset({"export", "readonly", "declare", "typeset"})
#: Commands after which any variable may have another value.
_MAY_ASSIGN = frozenset(
    {".", "source", "eval", "read", "getopts", "printf", "mapfile", "readarray", "let", "wait"}
    | {"select", "coproc", "command", "builtin", "unalias", "time"}
)
#: Commands after which a shell may read no further, or read the rest in another way.
_MAY_END = frozenset(
    {"exit", "return", "exec", "trap", "shift", "local", "alias", "enable", "shopt", "function"}
    | {"break", "continue", "logout"}
)
#: Commands that assign to nothing, whatever other files were read.
_HARMLESS = frozenset({":", "true", "false", "[", "test", "echo"} | _SPECIAL | _DECLARING)
#: Options of ``set`` that change nothing in what is read here.
_HARMLESS_OPTIONS = frozenset({"-a", "+a", "--", "+e", "+u"})
#: The state of every variable that the file has not named so far.
_OTHERS = ""


@dataclass(frozen=True, slots=True)
class _Value:
    """What the file says of one variable.

    value
        Its value; None when it is not set.
    span
        Where the value of its last assignment is in the text; None when nothing can be replaced.
    unclear
        The line because of which only a shell can tell the value.
    is_fixed
        Whether no assignment after that line is sure to count.
    """

    value: str | None = None
    span: tuple[int, int] | None = None
    unclear: int | None = None
    is_fixed: bool = False


def has_no_commands(text: str) -> bool:
    """Return True if a file has nothing but comments and assignments of plain values, a line each:
    then no shell finds a syntax error in it."""
    return all(map(_PLAIN_LINE.fullmatch, text.split("\n")))


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

    Raises :class:`DisklessError` when the file is no shell file, or when no assignment at its end
    would count.
    """
    for name, wanted in values.items():
        current = _evaluate(text, name, path)
        if current.unclear is None and current.value == wanted:
            continue
        if current.is_fixed and current.unclear is not None:
            line = text.split("\n")[current.unclear - 1].strip()
            raise DisklessError(
                f"{path}, line {current.unclear}: found {shown(line)}, after which an "
                f"assignment of {name} may have no effect; remove it, or put "
                f'{name}="{wanted}" before it'
            )
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
    reading = _Reading(text)
    for statement in statements(text, path):
        if not reading.take(statement):
            break
    return reading.variables.get(name, reading.variables[_OTHERS])


class _Reading:
    """The variables of a shell while it reads a file."""

    def __init__(self, text: str):
        self.variables = {_OTHERS: _Value()}
        self._text = text
        self._functions: set[str] = set()
        #: Whether another file was read, which may have functions of any name.
        self._has_sourced = False
        self._readonly: set[str] = set()

    def take(self, statement: Statement) -> bool:
        """Take a simple command; return False where nothing after it counts."""
        words = [*statement.prefix, *statement.words]
        line = self._text.count("\n", 0, words[0].begin) + 1
        for word in words:
            self._expansions(word, line)
        command = statement.command
        if statement.defines:
            self._functions.add(command)
        elif not statement.words:
            for word in statement.prefix:
                self._assign(word, line, statement.is_plain)
        else:
            if command in _SPECIAL | _DECLARING or self._is_function(command):
                for word in statement.prefix:
                    self._unclear(self._name(word), line)
            return self._command(command, statement, line)
        return True

    def _command(self, command: str, statement: Statement, line: int) -> bool:
        """Take a command with its arguments; return False where nothing after it counts."""
        if command in ("exit", "return") and statement.is_plain:
            return False
        self._has_sourced |= command in (".", "source", "eval")
        if command in _MAY_END or (command == "set" and not self._is_harmless(statement)):
            self._all_unclear(line, is_fixed=True)
        elif command in _MAY_ASSIGN or not command or self._is_arithmetic(statement):
            self._all_unclear(line)
        elif command in _DECLARING:
            self._declare(command, statement, line)
        elif command == "unset":
            self._unset(statement, line)
        elif command in ("for", "select") and len(statement.words) > 1:
            self._unclear(statement.words[1].text, line)
        elif self._is_function(command):
            self._all_unclear(line)
        return True

    def _is_function(self, command: str) -> bool:
        """Return True for a command that may be a function, which may assign to any variable."""
        return command in self._functions or (self._has_sourced and command not in _HARMLESS)

    @staticmethod
    def _is_harmless(statement: Statement) -> bool:
        return all(word.text in _HARMLESS_OPTIONS for word in statement.words[1:])

    @staticmethod
    def _is_arithmetic(statement: Statement) -> bool:
        """Return True for a part of ``((NAME++))``, which some shells evaluate."""
        return statement.command.endswith(("++", "--")) or statement.command.startswith(
            ("++", "--")
        )

    def _assign(self, word: Word, line: int, is_plain: bool) -> None:
        """Take an assignment at the beginning of a command."""
        match = ASSIGNMENT.match(self._text, word.begin, word.end)
        assert match is not None
        if match[1] in self._readonly:
            self._all_unclear(line, is_fixed=True)
        elif not is_plain or match[2]:
            self._unclear(match[1], line)
        else:
            result = self._expand(word)
            span = (match.end(), word.end)
            self._set(match[1], _Value(result, span, line if result is None else None))

    def _declare(self, command: str, statement: Statement, line: int) -> None:
        """Take ``export``, ``readonly``, ``declare`` or ``typeset``."""
        before = dict(self.variables)
        for word in statement.words[1:]:
            match = ASSIGNMENT.match(self._text, word.begin, word.end)
            if match is None:
                name = self._name(word)
                if name is None or word.text is None or word.text.startswith(("-", "+")):
                    # Options change what later assignments do.
                    self._all_unclear(line, is_fixed=word.text != "-p")
                    return
                if "=" in word.text or command in ("declare", "typeset"):
                    self._unclear(name, line)
            else:
                name = match[1]
                if name in self._readonly:
                    self._all_unclear(line, is_fixed=True)
                    return
                result = self._expand(word, before)
                if result is not None and any(is_name for _, is_name in word.parts):
                    # Some shells split an unquoted expansion here.
                    result = None if re.search(r"[\s*?\[]", result) else result
                if not statement.is_plain or match[2] or command in ("declare", "typeset"):
                    self._unclear(name, line)
                else:
                    unclear = line if result is None else None
                    self._set(name, _Value(result, (match.end(), word.end), unclear))
            if command == "readonly":
                self._readonly.add(name)

    def _unset(self, statement: Statement, line: int) -> None:
        functions_only = False
        for word in statement.words[1:]:
            name = word.text
            if name is None or (name.startswith("-") and name not in ("-v", "-f")):
                self._all_unclear(line)
            elif name.startswith("-"):
                functions_only = name == "-f"
            elif name in self._readonly:
                self._all_unclear(line, is_fixed=True)
            elif not functions_only:
                self._set(name, _Value(unclear=None if statement.is_plain else line))

    def _expansions(self, word: Word, line: int) -> None:
        """Take the assignments that the expansions of a word make."""
        if not word.is_unclear:
            return
        text = self._text[word.begin : word.end]
        names = [match[1] for match in _ASSIGNING.finditer(text)]
        if any(sign in text for sign in _ARITHMETIC):
            names += _NAME.findall(text)
        for name in names:
            self._unclear(name, line)

    def _expand(self, word: Word, variables: Mapping[str, _Value] | None = None) -> str | None:
        """Return the value of an assignment's word, or None when only a shell can tell."""
        variables = self.variables if variables is None else variables
        result = ""
        for part, is_name in word.parts:
            if not is_name:
                result += part
                continue
            # What the file does not set may be in the shell's environment.
            current = variables.get(part, _Value(unclear=0))
            if current.unclear is not None:
                return None
            result += current.value or ""
        return None if word.is_unclear else result.partition("=")[2]

    def _name(self, word: Word) -> str | None:
        """Return the name at the beginning of a word, or None where only a shell can tell it."""
        if word.text is None:
            match = ASSIGNMENT.match(self._text, word.begin, word.end)
            return match[1] if match else None
        return word.text.partition("=")[0].removesuffix("+")

    def _set(self, name: str, new: _Value) -> None:
        if not self.variables.get(name, self.variables[_OTHERS]).is_fixed:
            self.variables[name] = new

    def _unclear(self, name: str | None, line: int) -> None:
        if name is None:
            self._all_unclear(line)
        else:
            self._set(name, _Value(unclear=line))

    def _all_unclear(self, line: int, is_fixed: bool = False) -> None:
        if not self.variables[_OTHERS].is_fixed:
            self.variables = {_OTHERS: _Value(unclear=line, is_fixed=is_fixed)}
