"""What is wrong, in the project's words: pydantic's errors, paths, the nearest right name."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from salt_diskless.cluster.errors import Problem, shown


def text(name: Any) -> str:
    """Return a key as text: one that is no text as a message shows it, and no longer than that."""
    return name if isinstance(name, str) else shown(name)


def part(name: Any) -> str:
    """Return a name as a part of a path; a long one is cut."""
    if not isinstance(name, str) or not name.isprintable():
        return shown(name)
    return name if len(name) <= 200 else f"{name[:197]}..."


#: More names than that make no sentence.
_MOST = 20


def listed(names: Iterable[Any]) -> str:
    """Return names for a message; of many only the first ones."""
    every = [*names]
    more = f" and {len(every) - _MOST} more" if len(every) > _MOST else ""
    return ", ".join(part(name) for name in every[:_MOST]) + more or "none yet"


def nearest(name: str, known: Iterable[Any]) -> str:
    """Return what may have been meant by a name that is not known."""
    return _nearest(name, tuple(map(text, known)))


@functools.lru_cache(maxsize=64)
def _nearest(name: str, known: tuple[str, ...]) -> str:
    """Thousands of nodes can have one wrong name, so what it is compared with is remembered."""
    close = difflib.get_close_matches(name, known, 1, 0.5) if len(name) <= 200 else []
    if close:
        return f"did you mean {part(close[0])}?"
    return f"give one of {listed(known)}" if known else "there is none"


#: An example for each key whose value is a list, a mapping, or required.
EXAMPLES: dict[str, str] = {
    **dict.fromkeys(("routers", "nameservers"), "[10.8.226.1]"),
    **{
        "interfaces": "{eth0: 10.8.226.72}",
        "subnet": "10.8.226.0/24",
        "mac": '"52:54:00:00:00:01"',
    },
    **{"ip": "10.8.226.73", "bmc": "10.8.227.73", "location": "/diskless/x86_64/compute"},
    **{"lease_time": "{default: 21600, max: 43200}", "components": "[main]", "path": "/var/log"},
    **{"repositories": "{baseos: file:///srv/rocky/BaseOS}", "exclude": "[/scratch/*]"},
    **{"source": "{directory: /srv/golden}", "bootstrap": "{suite: bookworm}"},
    **{
        "scrub": "[/etc/krb5.keytab]",
        "keep": "[/etc/ssl/private/cluster.key]",
        "fstab": "[/home]",
        "golden_states": "[compute.node]",
        "files": "[/var/log, /root]",
    },
    **dict.fromkeys(("packages", "absent_packages"), "[openssh-server]"),
    **dict.fromkeys(
        (f"{what}_packages" for what in ("image", "apt", "dnf", "container", "squashfs")), "[rsync]"
    ),
    **dict.fromkeys((f"{what}_packages" for what in ("golden", "dhcp", "tftp", "nfs")), "[rsync]"),
    **{"macs": '["52:54:00:00:00:01"]', "prefixes": '["00:21:5E"]', "serials": "[06DXK41]"},
    **{"drivers": "[mlx5_core]", "host_keys": "[ed25519, ecdsa]", "nodes": "node[005-128]"},
    **{
        "timeout": "{after: 1800, then: reboot}",
        "after": "1800",
        "swap": "{kind: nfs, size: 512M}",
    },
    **{"rules": '{rack7: {prefixes: ["00:21:5E"], nodes: "node[005-128]"}}', "size": "512M"},
    **dict.fromkeys(("conflicts", "number"), "what diskless_nodes on the master writes"),
    **dict.fromkeys(("found", "right"), "a text"),
}
#: An example of a whole thing, by its model.
_WHOLE: dict[str, str] = {
    "ServerIn": "{address: 10.8.226.72, interface: eth0}",
    "NetworkIn": "{subnet: 10.8.226.0/24}",
    "LeaseIn": EXAMPLES["lease_time"],
    "ImageIn": "{location: /diskless/x86_64/compute}",
    "SourceIn": EXAMPLES["source"],
    "BootstrapIn": EXAMPLES["bootstrap"],
    "SettingsIn": "{image: compute, network: compute}",
    "NodeIn": '{mac: "00:21:5E:40:64:5C", ip: 10.8.226.73, profile: compute}',
    "EntryIn": "{path: /home, how: tmpfs}",
    "TimeoutIn": EXAMPLES["timeout"],
    "SwapIn": EXAMPLES["swap"],
    "RegistryIn": "{rules: {}}",
    "RuleIn": '{prefixes: ["00:21:5E"], nodes: "node[005-128]"}',
    "LookupIn": "{tftp_root: /srv/tftp}",
}


def problem(path: str, error: Any, model: type[BaseModel], value: Any) -> Problem:
    """Return one of pydantic's errors in the project's words."""
    loc = error["loc"]
    where = [str(step) if isinstance(step, int) else part(step) for step in loc]
    if where[1:] == ["0"] and not isinstance(value[loc[0]], list | tuple):
        where.pop()
    if where and where[-1] == "[key]":
        where.pop()
    kind, at = error["type"], ":".join([path, *where])
    found = shown(error["input"])
    if kind in ("extra_forbidden", "invalid_key"):
        owner: Any = model
        for step in loc[:-1]:
            owner = _field_model(owner, step)
        known = getattr(owner, "model_fields", ())
        return Problem(at, "an unknown key", nearest(str(part(loc[-1])), known))
    return Problem(at, "nothing" if kind == "missing" else found, _right(error, model))


def _right(error: Any, model: type[BaseModel]) -> str:
    """Return what would be right in the place of a value that pydantic refuses."""
    kind, context = error["type"], error.get("ctx", {})
    key = next((step for step in reversed(error["loc"]) if step in EXAMPLES), None)
    example = _WHOLE.get(context.get("class_name", ""), EXAMPLES.get(key or ""))
    if example is None and not error["loc"]:
        example = _WHOLE.get(model.__name__)
    like = f", like {example}" if example is not None else ""
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return f"give it, there is no default{like}"
    if kind == "literal_error":
        return f"give one of {context['expected']}"
    if kind in ("list_type", "too_short"):
        return (
            f"give a list with at least one item{like}"
            if kind == "too_short"
            else (f"give a list{like}")
        )
    if kind in ("model_type", "model_attributes_type", "dict_type", "mapping_type"):
        return f"give a mapping, key to value{like}"
    if kind == "string_too_long":
        return f"give a text of at most {context['max_length']} characters"
    return f"give a text{like}"


def _field_model(owner: Any, step: Any) -> Any:
    """Return the model of the field ``step`` of ``owner``, through lists, mappings and
    optionals."""
    fields = getattr(owner, "model_fields", {})
    if step not in fields:
        return owner
    annotation = fields[step].annotation
    for candidate in _leaves(annotation):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _leaves(annotation: Any) -> Iterator[Any]:
    args = getattr(annotation, "__args__", ())
    if not args:
        yield annotation
    for arg in args:
        yield from _leaves(arg)
