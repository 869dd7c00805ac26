"""What is wrong, in the project's words: pydantic's errors, paths, the nearest right name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from salt_diskless.cluster.errors import Problem, shown


def part(name: Any) -> str:
    """Return a name as a part of a path."""
    return name if isinstance(name, str) and name.isprintable() else shown(name)


#: More names than that make no sentence.
_MOST = 20


def listed(names: Iterable[Any]) -> str:
    """Return names for a message; of many only the first ones."""
    every = [*names]
    more = f" and {len(every) - _MOST} more" if len(every) > _MOST else ""
    return ", ".join(part(name) for name in every[:_MOST]) + more or "there is none"


def nearest(name: str, known: Iterable[Any]) -> str:
    """Return what may have been meant by a name that is not known."""
    names = [str(item) for item in known]
    close = difflib.get_close_matches(name, names, 1, 0.5)
    return f"did you mean {close[0]}?" if close else f"known are: {listed(names)}"


def problem(path: str, error: Any, model: type[BaseModel], value: Any) -> Problem:
    """Return one of pydantic's errors in the project's words."""
    where = [str(step) if isinstance(step, int) else part(step) for step in error["loc"]]
    if where[1:] == ["0"] and not isinstance(value[where[0]], list | tuple):
        where.pop()
    if where and where[-1] == "[key]":
        where.pop()
    kind = error["type"]
    found = shown(error["input"])
    if kind == "extra_forbidden":
        owner: Any = model
        for step in error["loc"][:-1]:
            owner = _field_model(owner, step)
        return Problem(
            ":".join([path, *where]),
            "an unknown key",
            nearest(str(error["loc"][-1]), getattr(owner, "model_fields", ())),
        )
    if kind == "missing":
        return Problem(":".join([path, *where]), "nothing", "give it, there is no default")
    right = str(error["ctx"]["error"]) if kind == "value_error" else error["msg"]
    if kind == "model_type":
        right = "give a mapping, key to value"
    return Problem(":".join([path, *where]), found, right)


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
