"""What rsync says of its progress."""

from __future__ import annotations

import pytest

from salt_diskless.image.progress import Progress, parse, sent


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        ("              0   0%    0.00kB/s    0:00:00  ", Progress(0, 7, 0, 0, 0)),
        ("     32,768   0%    0.00kB/s    0:00:00  ", Progress(32768, 7, 0, 0, 0)),
        (
            "    314,572,800  75%  299.71MB/s    0:01:05  ",
            Progress(314572800, 7, 75, 299_710_000, 65),
        ),
        (
            "  1,238,099 100%  146.38kB/s    1:00:08 (xfr#5, to-chk=169/396)\n",
            Progress(1238099, 5, 100, 146_380, 3608),
        ),
        (
            "  9 104%  1.00GB/s    0:00:00 (xfr#12, ir-chk=1001/2000)",
            Progress(9, 12, 100, 10**9, 0),
        ),
    ],
)
def test_a_line_of_progress(line, progress):
    assert parse(line, files=7) == progress


@pytest.mark.parametrize(
    "line", ["", "\n", "etc/100%", "Number of files: 5", "0 0% 0B/s", "x" * 999]
)
def test_a_line_that_is_none(line):
    assert parse(line) is None


def test_what_was_sent_is_the_larger_of_the_two_ways():
    said = "Total bytes sent: 1,024\nTotal bytes received: 37\n"
    assert sent(said) == 1024
    assert sent(said.replace("1,024", "9").replace("37", "2,000,000")) == 2_000_000
    assert sent("") == 0


def test_it_is_shown_in_a_line():
    shown = str(Progress(314572800, 12345, 75, 29_971_000, 65))
    assert shown == " 75 %  314.6 MB  12,345 files  30.0 MB/s  1:05 left"
