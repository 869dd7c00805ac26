"""Files of a version that are probably secret, by their names or by what they hold.

The table of machine identity names the files of well-known programs. This finds the others: a
setting that gives a password, a hash of one, a token of a well-known form, a file that is named as
keys are. Such a file is only named, never left out.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator

from salt_diskless.files.beneath import Found, Tree
from salt_diskless.image.patterns import matching
from salt_diskless.regex import lazy_regex

#: As much of a file as is read; larger files are no settings.
_READ = 64 * 1024
#: Every settings file is read in the first; in the others those that look like settings.
_SETTINGS, _OTHERS = "/etc", ("/root", "/home", "/opt", "/srv", "/usr/local", "/var/www")
#: Only names are looked at.
_STATE = ("/var/lib", "/var/spool")

#: Not of any machine alone, or a language of its own with other words for other things.
_PUBLIC = lazy_regex(
    rb"/etc/(alternatives|apparmor(\.d)?|authselect|bash_completion\.d|fonts|init\.d|pam\.d|"
    rb"rc\d?\.d|selinux|ssl/certs|pki/(ca-trust|rpm-gpg|product.*)|X11|xdg|vim|security/limits\.d)/"
    rb"|/etc/(passwd|shadow|gshadow|group|sub[ug]id|nsswitch\.conf|services|login\.defs|pam\.conf|"
    rb"trusted-key\.key|dns/root\.key|unbound/root\.key|sudoers)$|/etc/(ssl|pki/tls)/openssl.*\.cnf"
    rb"|/var/lib/(dpkg|apt|rpm|dnf|pam|unbound|ucf|usbutils|dkms|systemd|python)/"
    rb"|/(site|dist)-packages/|/node_modules/|/share/(doc|man|locale)/|/lib(64)?/python[\d.]+/"
)
#: Sources and programs, whatever they are called.
_SOURCES = lazy_regex(
    rb"(?i)\.(py[cowx]?|[ch](pp|xx|h)?|go|js|ts|java|class|html?|css|md|rst|txt\.gz|gz|so|p[lm]|"
    rb"\d|service|socket|timer|path|pub|d)$"
)
#: What files of keys and passwords are called.
_NAME = lazy_regex(
    rb"(?i)\.(key|psk|keyring|keystore|keytab|kdbx|kwl|jks|p12|pfx|secret|token|passwd|pwd|stash)$"
    rb"|^(auth|secret|token|passw(or)?d|passphrase|credential|pwfile|keyfile)s?$|\.auth$|\bjwks\b"
    rb"|(?<!by)(?<!com)pass$|^(authinfo|client-info)$|(^|[._-])kubeconfig$"
    rb"|(^|[._-])(secret(s|[_-]?(id|key))?|passw(or)?ds?|passphrase|credentials?|creds?|htpasswd|"
    rb"authkey|auth[_-]?file|conn\.?auth(file)?|vault[_-]?pass(word)?|pwfile|keyfile|ipmi_?pass|"
    rb"encryption[_-]?key|tokens?|cookie[_-]key)([._-]|$)|connauthfile$|[a-z]passwd$"
)
#: What settings are called outside /etc.
_LIKE_SETTINGS = lazy_regex(
    rb"(?i)^\.[a-z]*env|\.(env|cnf|cfg|ini|conf|toml|properties)$|rc([_-]\w+)?$|"
    rb"^\.[a-z_]*(profile|config)$|"
    rb"openrc|^(config|settings)\.(ya?ml|json|php)$|wp-config\.php"
)
_IN_SETTINGS = lazy_regex(rb"/(etc|conf|config|conf\.d|\.config|\.secrets)/|/\.[^/]+/config")

_KEYWORD = (
    rb"(?:passw(?:or)?d(?:[_-]?hash)?|passphrase|(?<!by)(?<!com)(?<!tres)pass|(?:\b|_)pwd?|"
    rb"secret|token|authtok|"
    rb"secret[_-]?(?:key|id)(?:_base)?|api[ _-]?key|"
    rb"(?:access|auth|encryption|license|cookie)[_-]?key|"
    rb"wpa-psk|\bpsk|_psk|eauth_key|enc_key)"
)
#: name = value, name: value, "name": "value", name => value, <name>value, define('name', 'value').
_ASSIGNED = lazy_regex(
    rb"(?i)" + _KEYWORD + rb"(?:[\"'\]})]*[ \t]*(?:=>|:=|[:=])[ \t]*|[\"'][ \t]*,[ \t]*(?=[\"'])|>)"
    rb"([\"']?)([^\s\"'<>,;&)]+)"
)
#: name "value", and name value at the end of a line of a few words.
_WORDS = lazy_regex(
    rb"(?im)(?:(?:^|[ \t{;])[\w.-]*(?:passw(?:or)?d|passphrase|secret)[ \t]+\"([^\s\"]{4,})\""
    rb"|^[ \t]*(?:[\w.-]+[ \t]+){0,4}?(?:[\w.-]*(?:passw(?:or)?d|secret)|bindpw|rootpw|requirepass|"
    rb"auth-pass[ \t]\S+|masterauth|authcommunity[ \t]\S+)[ \t]+(?![=:])"
    rb"\"?([^\s\"]{4,})\"?;?[ \t]*$)"
)
#: Tokens and hashes that say themselves what they are (crypt(5), Apache's, JWT, cloud providers).
_FORMS = lazy_regex(
    rb"\$(?:1|2[abxy]|5|6|7|y|gy|apr1|md5|argon2i?d?|pbkdf2-sha\d+)\$[./A-Za-z0-9$=,+-]{8,}"
    rb"|grub\.pbkdf2\.sha\d+\.\d|\{(?:SSHA|SHA|CRYPT|MD5)\d*\}[A-Za-z0-9+/$]{8,}"
    rb"|\b(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{12,}|hv[sbr]\.[\w-]{8,}|"
    rb"xox[abprs]-[\w-]{10,}|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{30,}|tskey-[\w-]{8,}|"
    rb"sk_live_\w{10,}|eyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]*)"
    rb"|-----BEGIN OpenVPN Static key|://[^/\s:@\"'$<{%]+:[^/\s:@\"'$<{%]+@(?!$)|\w:[^\s@:/\"'(]+@(tcp|unix)?\("
)
#: Values that are no secret: words of settings, and what stands for a value.
_NO_VALUE = lazy_regex(
    rb"(?i)(none|null|nil|true|false|yes|no|on|off|ask|auto|required|requisite|optional|include|"
    rb"sufficient|files|sss|prompt|env|xxx+|\*+|change_?me|string|str|bool|int|md5|sha\d+|enabled?|"
    rb"disabled?|default|undef|self|[\d.]{1,5})[:]?$|[$%<{(\[/@!`~\\*]|os\.environ|get"
)
_COMMENT = (b"#", b";", b"//", b"*", b"--", b"!", b"dnl", b"rem ")
_PUBLIC_TEXT = (b"-----BEGIN CERTIFICATE", b"-----BEGIN PUBLIC", b"-----BEGIN PGP PUBLIC")


def likely(root: Tree, keep: Iterable[str] = ()) -> list[str]:
    """Return the files of a tree that are probably secret.

    keep
        Patterns of files that are meant to be in the image, so they are not returned.
    """
    paths = {file.path for file in _files(root, _SETTINGS) if _is_secret(file, reads=True)}
    for top in _OTHERS:
        paths |= {file.path for file in _files(root, top) if _is_secret(file, reads=_may_set(file))}
    for top in _STATE:
        paths |= {file.path for file in _files(root, top) if _is_secret(file, reads=False)}
    kept = {path for some in matching(root, keep).values() for path in some}
    return sorted({path.decode(errors="surrogateescape") for path in paths} - kept)


def _files(root: Tree, top: str) -> Iterator[Found]:
    if not root.is_directory(top):
        return
    for found in root.walk(root.real(top)):
        status = found.status
        is_small = stat.S_ISREG(status.st_mode) and 0 < status.st_size <= _READ
        if is_small and not _PUBLIC.search(found.path):
            yield found


def _may_set(file: Found) -> bool:
    """Return True if a file outside /etc may have settings."""
    return (
        not file.status.st_mode & 0o077
        or _LIKE_SETTINGS.search(file.name) is not None
        or _IN_SETTINGS.search(file.path) is not None
    )


def _is_secret(file: Found, *, reads: bool) -> bool:
    is_named = _NAME.search(file.name) is not None and not _SOURCES.search(file.name)
    if is_named and not file.status.st_mode & 0o111:
        return _holds_data(file)
    return reads and holds_password(file.read(_READ))


def _holds_data(file: Found) -> bool:
    """Return True if a file has more than comments and public keys."""
    data = file.read(_READ)
    if any(word in data for word in _PUBLIC_TEXT) and b"PRIVATE KEY" not in data:
        return False
    return any(line.strip() and not _is_comment(line) for line in data.splitlines())


def holds_password(data: bytes) -> bool:
    """Return True if a text gives a password, a hash of one, or a token."""
    if b"\0" in data[:1024]:
        return False
    data = _without_xml_comments(data)
    if any(not _is_commented(data, match.start()) for match in _FORMS.finditer(data)):
        return True
    is_program = data.startswith(b"#!")
    for match in _ASSIGNED.finditer(data):
        value, quoted = match[2], bool(match[1])
        # In a program an unquoted word is a name of something.
        is_value = len(value) >= 4 and (quoted or not is_program) and not _NO_VALUE.match(value)
        if is_value and not _is_commented(data, match.start()):
            return True
    if is_program:
        return False
    return any(
        not _NO_VALUE.match(match[1] or match[2]) and not _is_commented(data, match.start())
        for match in _WORDS.finditer(data)
    )


def _without_xml_comments(data: bytes) -> bytes:
    first, *others = data.split(b"<!--")
    return b"".join((first, *(part.partition(b"-->")[2] for part in others)))


def _is_commented(data: bytes, at: int) -> bool:
    start = data.rfind(b"\n", 0, at + 1) + 1
    line = data[start : at + 80].lstrip()
    return _is_comment(line) or b" # " in data[start:at]


def _is_comment(line: bytes) -> bool:
    return line.lstrip().lower().startswith(_COMMENT)
