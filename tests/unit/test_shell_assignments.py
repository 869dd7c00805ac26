"""Files of shell assignments: what is read is what a shell reads, and a change keeps the rest."""

from __future__ import annotations

import pathlib
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salt_diskless.cluster import DisklessError
from salt_diskless.files.shell_assignments import value, with_values
from salt_diskless.services import shell_settings

PATH = "/etc/default/tftpd-hpa"


def of_shell(text: str, *names: str) -> list[str | None]:
    """Return what a real shell has for variables after it has read a file."""
    shows = "".join(f'printf "%s\\0" "${{{name}-<unset>}}";' for name in names)
    with_path = f"{text}\n{shows}"
    done = subprocess.run(
        ["sh", "-c", with_path],
        env={"HOME": "/root"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [None if item == "<unset>" else item for item in done.stdout.split("\0")[:-1]]


@pytest.mark.parametrize(
    "text",
    [
        'X="--secure"   # x\n',
        "X=--secure # x\n",
        "X=a#b\n",
        "X='a  b'\n",
        "X=\"a\"'b'c\n",
        "X=a; X=b\n",
        "  X=a ; Y=b\n",
        "export X=a\n",
        "export Y=1 X='a b' Z\n",
        "readonly X=a\n",
        'X="a \\\nb"\n',
        "X=a\\\nb\n",
        'X="a \\"b\\" \\$c \\d"\n',
        "X=a\\ b\\#c\n",
        "X='#'\nX=\n",
        "# X=a\n",
        "Y=1\n",
        "X=a\nunset X\n",
        'Y=1\nX="$Y ${Y}2"\n',
        "X=a env >/dev/null\n",
        "cat <<END >/dev/null\nX=a\nEND\nX=b\n",
        "cat <<-'END' >/dev/null\n\tX='a\n\tEND\nX=b\n",
        "X=a >/dev/null\nX=b",
        "X='a\nb'\n",
        "X=a\n\n\nf() { :; }\n",
        "echo X=a >/dev/null\n",
        "if true; then\n  Y=1\nfi\nX=b\n",
        "case a in\n  a) Y=1 ;;\n  (b) Y=2 ;;\nesac\nX=c\n",
        "X=a\nY=`echo \\`echo b\\``\nZ=$(echo ')' \"$(echo d)\")\n",
        "XX=1\nX_=2\n",
        "X=$\n",
        'X="$ a$"\n',
        "true && true\nX=a\n",
    ],
)
def test_what_is_read_is_what_a_shell_reads(text: str):
    assert value(text, "X", PATH) == of_shell(text, "X")[0]


@pytest.mark.parametrize(
    "text",
    [
        "X=$(echo a)\n",
        "X=`echo a`\n",
        "X=${Y:-a}\n",
        "X=~/a\n",
        "if true; then X=a; fi\n",
        "for i in a b; do\n  X=$i\ndone\n",
        "case a in a) X=a ;; esac\n",
        "true && X=a\n",
        "X=a || Y=b\n",
        "f() { X=a; }\n",
        "( X=a )\n",
        ": ${X:=a}\n",
        "X=a\n. /dev/null\n",
        "eval X=a\n",
        "X=$HOME\n",
        "true ||\nX=a\n",
    ],
)
def test_what_only_a_shell_can_tell_is_an_error_in_words(text: str):
    with pytest.raises(
        DisklessError, match=r"/etc/default/tftpd-hpa, line \d+: found .*plain value"
    ):
        value(text, "X", PATH)
    # It can be set all the same: the last assignment holds.
    new = with_values(text, {"X": "new"}, PATH)
    assert of_shell(new, "X") == ["new"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("X='a\n", "line 1: found ' without its end"),
        ('Y=1\nX="a\n', 'line 2: found " without its end'),
        ("X=$(a\n", "line 1: found ( without its end"),
        ("X=(a b)\n", "line 1: found an array"),
    ],
)
def test_a_broken_file_is_an_error_with_its_line(text: str, says: str):
    for call in (lambda: value(text, "X", PATH), lambda: with_values(text, {"X": "a"}, PATH)):
        with pytest.raises(DisklessError) as error:
            call()
        assert says in str(error.value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('X="--secure"   # x\n', 'X="new"   # x\n'),
        ("  export X=a Y=b # c\n", '  export X="new" Y=b # c\n'),
        ("X=a; Y=b\n", 'X="new"; Y=b\n'),
        ("X=a\nX=b\n", 'X=a\nX="new"\n'),
        ("X='a'\\\n\"b\"\nY=c", 'X="new"\nY=c'),
        ("Y=c", 'Y=c\nX="new"\n'),
        ("", 'X="new"\n'),
        ("X=new # as it should be\n", "X=new # as it should be\n"),
        ("#X=a\n", '#X=a\nX="new"\n'),
        ("X=\n", 'X="new"\n'),
    ],
)
def test_a_change_keeps_every_other_byte(before: str, after: str):
    assert with_values(before, {"X": "new"}, PATH) == after


_CHARACTERS = st.sampled_from(" \t#'\"\\$`a=;&|~*é\n")
_TEXT = st.text(_CHARACTERS, max_size=8)


def _single(text: str) -> str:
    return "'" + text.replace("'", "") + "'"


def _escaped(text: str) -> str:
    return "".join(f"\\{character}" for character in text if character != "\n") or "''"


def _double(text: str) -> str:
    return '"' + "".join(f"\\{c}" if c in '\\$`"' else c for c in text) + '"'


_PIECE = st.one_of(
    _TEXT.map(_single),
    _TEXT.map(_double),
    _TEXT.map(_escaped),
    st.sampled_from(["a#", "b", "1:2", "\\\n", '""', "$Y", '"${Y}"', "\\$"]),
)
_WORD = st.lists(_PIECE, max_size=4).map("".join)
_LINE = st.one_of(
    st.builds(
        "{}{}{}={}{}\n".format,
        st.sampled_from(["", "  ", "\t"]),
        st.sampled_from(["", "export ", "export Z=1 "]),
        st.sampled_from(["X", "Y", "XY"]),
        _WORD,
        st.sampled_from(["", " ", " # it's", "; :", " ;"]),
    ),
    st.sampled_from(["\n", "# X='a\n", '  # "\n', ": X=b\n", "unset X\n", "X=; Y=\n"]),
)
_FILE = st.lists(_LINE, max_size=6).map(lambda lines: "Y='y'\n" + "".join(lines))


@settings(max_examples=150, deadline=None)
@given(_FILE)
def test_reading_any_file_equals_a_shell(text: str):
    names = ("X", "Y", "XY")
    expected = of_shell(text, *names)
    for name, wanted in zip(names, expected, strict=True):
        try:
            assert value(text, name, PATH) == wanted
        except DisklessError as err:
            # Only where a shell may split an expansion.
            assert "export" in text, err


@settings(max_examples=100, deadline=None)
@given(_FILE, st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8))
def test_writing_changes_one_variable_for_a_shell(text: str, wanted: str):
    new = with_values(text, {"X": wanted}, PATH)
    (x, *others) = of_shell(new, "X", "Z")
    assert x == wanted
    assert others == of_shell(text, "Z")
    assert with_values(new, {"X": wanted}, PATH) == new


def test_what_bash_appends_is_not_clear_and_can_be_set():
    with pytest.raises(DisklessError, match="line 2"):
        value("X=a\nX+=b\n", "X", PATH)
    assert with_values("X=a\nX+=b\n", {"X": "c"}, PATH) == 'X=a\nX+=b\nX="c"\n'


def test_a_file_that_ends_early_cannot_be_changed_in_silence():
    with pytest.raises(DisklessError, match="no line where"):
        with_values("Y=1\nexit 0\n", {"X": "a"}, PATH)


def test_a_file_on_the_disk_is_read_by_a_shell_as_it_was_written(tmp_path: pathlib.Path):
    path = tmp_path / "tftpd-hpa"
    path.write_text(with_values("X='a' # b\n", {"X": "c d", "Y": "e'f"}, str(path)))
    said = subprocess.run(
        ["sh", "-c", f'. {path}; printf "%s|%s" "$X" "$Y"'], capture_output=True, check=True
    )
    assert said.stdout == b"c d|e'f"


#: Lines that change a variable in ways of their own, or that end the reading of the file.
_TRICKS = st.sampled_from(
    [
        "X=a\r\n",
        "X='a'\r\n",
        "X=a\vb\n",
        "X=a\fb\n",
        "X=\u00a0\n",
        "X=a \u2028# b\n",
        "export 'X=c'\n",
        'export "X"=c\n',
        "Z=X; export $Z=c\n",
        "Z=X; unset $Z\n",
        'unset "X"\n',
        "unset -v X\n",
        "unset -f X\n",
        "unset X Y\n",
        "for X in a b; do :; done\n",
        "X=1\n: $((X += 2))\n",
        ": ${Y:=z} ${X=y}\n",
        "f() { X=f; }\n",
        "f() {\n  return 0\n}\n",
        "f() { :; }; f\n",
        "X=b :\n",
        "X=b unset Z\n",
        "X=b export Z\n",
        "X=b true\n",
        "command export X=c\n",
        "export Y=b X=$Y\n",
        "readonly X\n",
        "readonly Y=r\n",
        "export -p >/dev/null\n",
        "set -a\n",
        "set -e\n",
        "set -u\n",
        "set -n\n",
        "true && return\n",
        "if false; then return; fi\n",
        "if true; then return; fi\n",
        "if false; then exit; fi\n",
        "true && X=c\n",
        "false || { X=d; }\n",
        "X=e | true\n",
        "(X=c)\n",
        "{ X=c; }\n",
        "case b in b) X=c ;; esac\n",
        "while X=w; do break; done\n",
        "read X </dev/null\n",
        "eval X=c\n",
        "command eval X=c\n",
        "trap 'X=t' EXIT\n",
        "alias X=c\n",
        "[ -r /nonexistent ] && . /nonexistent\n",
        ". /dev/null\n",
        "exec </dev/null\n",
        "X=a > /dev/null\n",
        "> /dev/null X=a\n",
        "cat >/dev/null <<X=z\nX=y\nX=z\n",
        "! X=a\n",
        "X=a & wait\n",
    ]
)
_TRICKY_FILE = st.lists(st.one_of(_TRICKS, _LINE), max_size=6).map("".join)


def _sourced(text: str, shell: str) -> list[str]:
    """Return the value of X after a shell has sourced a file, alone in a list; an empty list where
    the shell ended before its end."""
    shows = 'printf "\\0%s" "${X-<unset>}"'
    done = subprocess.run(
        [shell, "-c", f". /dev/stdin; {shows}"],
        input=text.encode(),
        env={"HOME": "/root"},
        capture_output=True,
        check=False,
    )
    return done.stdout.decode().split("\0")[1:]


@pytest.mark.parametrize("shell", ["sh", "bash"])
@settings(max_examples=250, deadline=None)
@given(text=_TRICKY_FILE)
def test_no_trick_is_read_or_written_wrong(shell: str, text: str):
    """Either it is refused, or both shells agree; a file that ends its shell has no value there."""
    try:
        seen = value(text, "X", PATH)
    except DisklessError:
        pass
    else:
        assert _sourced(text, shell) in ([], ["<unset>" if seen is None else seen])
    try:
        new = with_values(text, {"X": "n w"}, PATH)
    except DisklessError:
        pass
    else:
        assert _sourced(new, shell) in ([], ["n w"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("if true; then return; fi\nX=c\n", "line 1: found 'if true; then return; fi', after"),
        (
            "X=a\nset -n\n",
            "line 2: found 'set -n', after which an assignment of X may have no effect",
        ),
        ("readonly X=a\nX=b\n", "line 2: found 'X=b', after which"),
        ("export -n X=b\n", "line 1: found 'export -n X=b', after"),
        ("X=a\0\n", "line 1: found a NUL byte; remove it"),
        ("trap 'X=t' EXIT\n", "line 1: found"),
    ],
)
def test_what_cannot_be_set_is_refused_with_its_line(text: str, says: str):
    with pytest.raises(DisklessError) as error:
        with_values(text, {"X": "new"}, PATH)
    assert says in str(error.value)


@pytest.mark.parametrize("text", ["if\n", "X=b;;\n", "fi\nX=b\n", "X=b\n)\n", "X=b\nelse X=c\n"])
def test_a_syntax_error_is_named(tmp_path: pathlib.Path, text: str):
    path = tmp_path / "tftpd-hpa"
    path.write_text(text)
    for call in (
        lambda: shell_settings.value(str(path), "X"),
        lambda: shell_settings.with_values(str(path), {}),
    ):
        with pytest.raises(DisklessError, match=rf"^{path}: found a syntax error \(.*; mend it"):
            call()
