"""What a machine, or somebody for it, may say about itself. Nothing in an event is to be believed,
so each field is limited to what it can be made of, and there are no fields that decide anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from salt_diskless.cluster import DisklessError, Problem, schema
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.placeholders import is_placeholder
from salt_diskless.cluster.wording import problem

#: The event that anybody may fire, and the one of a webhook of salt-api.
TAG = "salt-diskless/node/register"
HOOK = "salt/netapi/hook/diskless/register"
_START = re.compile(r"salt/minion/([^/]+)/start")
_BEACON = re.compile(r"salt/beacon/([^/]+)/diskless_discovery/([^/]+)")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
#: What Salt itself puts beside what was fired.
_OF_SALT = frozenset({"cmd", "tag", "pretag", "nonce"})
#: An event with more fields is none of these.
MOST_FIELDS = 40
#: What Salt puts in the place of a value that made an event too large (salt.utils.dicttrim).
_CUT = "VALUE_TRIMMED"


def _uuid(value: Any) -> str:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise ValueError("give a UUID, like 4c4c4544-0031-3610-8052-b4c04f4e3132")
    return value.lower()


def _known(value: Any) -> Any:
    """Return None for an empty text: what is not known is not said."""
    return None if value == "" else value


def _own(pattern: Callable[[str], object]) -> BeforeValidator:
    """Return a validator that makes None of what makers write into many machines; what has the
    wrong shape is not theirs, and is an error.

    pattern
        Tells whether a text has the right shape.
    """

    def check(value: Any) -> Any:
        if isinstance(value, str) and pattern(value) and is_placeholder(value):
            return None
        return _known(value)

    return BeforeValidator(check)


_maybe, _maybe_own = BeforeValidator(_known), _own(schema.is_claim)


class Announcement(BaseModel):
    """One machine, as it says. Only the MAC must be there.

    ip
        The address that it has for now.
    server
        The minion id of the boot server that saw it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    mac: schema.Mac
    serial: Annotated[schema.Claim | None, _maybe_own] = None
    asset: Annotated[schema.Claim | None, _maybe_own] = None
    uuid: Annotated[Annotated[str, BeforeValidator(_uuid)] | None, _own(_UUID.fullmatch)] = None
    ip: Annotated[schema.Address | None, _maybe] = None
    server: Annotated[schema.Name | None, _maybe] = None


def read(fields: Mapping[str, Any]) -> Announcement:
    """Return what the fields say.

    Raises :class:`DisklessError` that names all that is wrong.
    """
    try:
        return Announcement.model_validate(dict(fields))
    except ValidationError as err:
        raise DisklessError(
            "; ".join(
                str(problem("announcement", error, Announcement, fields))
                for error in err.errors(include_url=False)
            )[:1000]
        ) from None


def of_event(tag: Any, data: Any) -> Announcement:
    """Return the announcement of an event on the master's bus.

    tag, data
        As the reactor has them; whoever fired it chose both.

    Raises :class:`DisklessError` for anything else.
    """
    if not isinstance(tag, str) or not isinstance(data, Mapping):
        raise DisklessError(f"event: found {shown(tag)}; a tag and a mapping")
    inner = data.get("post" if tag == HOOK else "data")
    given = inner if isinstance(inner, Mapping) else data
    if len(given) > MOST_FIELDS:
        raise DisklessError(f"event: found {len(given)} fields; give {MOST_FIELDS} at most")
    fields = {
        key: value
        for key, value in given.items()
        if not (isinstance(key, str) and (key in _OF_SALT or key.startswith("_")))
    }
    if _CUT in fields.values():
        raise DisklessError("event: found one that was too large for the bus; a machine, as it is")
    seen = _BEACON.fullmatch(tag)
    if seen is None:
        # Whose minion or session fired it is not where the machine is.
        if not isinstance(inner, Mapping):
            fields.pop("id", None)
        return read(fields)
    # Where the beacon's data is within, the id beside it is of the minion that fired it.
    for name in (fields.get("id"), data.get("id", fields.get("id"))):
        if name != seen[1]:
            raise DisklessError(str(Problem("id", shown(name), f"the tag says {shown(seen[1])}")))
    if "server" not in fields:
        fields["server"] = fields.pop("id")
    said = read(fields)
    if said.mac.replace(":", "-") != seen[2].lower():
        raise DisklessError(str(Problem("mac", said.mac, f"the tag says {shown(seen[2])}")))
    return said


def started(tag: Any, data: Any) -> str | None:
    """Return whose minion an event says has started, or None for any other event; of a minion that
    cannot be a node's it is an empty text.

    Raises :class:`DisklessError` where the tag names another one than the data.
    """
    start = _START.fullmatch(tag) if isinstance(tag, str) else None
    if start is None:
        return None
    name = data.get("id") if isinstance(data, Mapping) else None
    if name != start[1]:
        raise DisklessError(str(Problem("id", shown(name), f"the tag says {shown(start[1])}")))
    return name if schema.is_host_name(name) else ""
