"""The arguments of public functions: Salt's command line reads them as YAML, which makes numbers,
booleans and None of versions, names, serial numbers and MACs."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown

#: The longest text that an argument may be.
_LONGEST = 16_384
#: What YAML makes of a word, and what it is called.
_KINDS = ((bool, "a boolean"), (int, "a number"), (float, "a number"), (type(None), "null"))
_LISTS = (list, tuple, Sequence)
_MAPPINGS = (dict, Mapping)
_WANTED = {str: "text", bool: "True or False", int: "a whole number", float: "a number"}


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a public function: arguments of another type than its annotations have are an error
    that says how to quote them. What is annotated as Any or object it checks itself."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as err:
            name = function.__name__.strip("_")
            raise DisklessError(f"{name}: found {err}; {_takes(signature)}") from None
        for name, value in bound.arguments.items():
            kind = signature.parameters[name].kind
            if kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
                continue
            check(name, value, _types(function)[name])
        return function(*args, **kwargs)

    return wrapped


def _takes(signature: inspect.Signature) -> str:
    """Return the arguments of a function, as a message names them."""
    names = [
        name if parameter.default is inspect.Parameter.empty else f"[{name}]"
        for name, parameter in signature.parameters.items()
        if not name.startswith("_")
    ]
    return f"give {' '.join(names)}" if names else "give no argument"


def check(name: str, value: Any, wanted: Any) -> None:
    """Raise :class:`DisklessError` where the value of an argument is not of its type."""
    choices = _choices(wanted)
    if Any in choices or object in choices:
        return
    for choice in choices:
        if _has_type(name, value, choice):
            return
    raise DisklessError(f"{name}: found {_described(value)}; give {_right(name, value, choices)}")


@functools.lru_cache(maxsize=256)
def _types(function: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(function)


def _choices(wanted: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the type itself."""
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        return typing.get_args(wanted)
    return (wanted,)


def _has_type(name: str, value: Any, wanted: Any) -> bool:
    """Return whether a value is of a type; a text or an item that is wrong raises."""
    origin = typing.get_origin(wanted) or wanted
    if origin in _LISTS:
        if not isinstance(value, list | tuple):
            return False
        (item,) = typing.get_args(wanted) or (Any,)
        for part in value:
            _check_item(name, part, item)
        return True
    if origin in _MAPPINGS:
        if not isinstance(value, Mapping):
            return False
        key, item = typing.get_args(wanted) or (Any, Any)
        for part in value:
            _check_item(name, part, key)
            _check_item(f"{name}:{part}", value[part], item)
        return True
    if origin is str and isinstance(value, str):
        _check_text(name, value, "")
        return True
    if origin is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    # A boolean is an int of Python's, and no number that somebody typed.
    return isinstance(value, origin) and (origin is bool or not isinstance(value, bool))


def _check_item(name: str, value: Any, wanted: Any) -> None:
    if wanted is str and isinstance(value, str):
        # Keys and the like are lines of text.
        _check_text(name, value, "\n\t")
        return
    check(name, value, wanted)


def _check_text(name: str, text: str, allowed: str) -> None:
    if len(text) > _LONGEST:
        raise DisklessError(f"{name}: found {len(text)} characters; give {_LONGEST} at most")
    if text.isprintable():
        return
    wrong = [c for c in text if (ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000)]
    if any(c not in allowed for c in wrong):
        raise DisklessError(f"{name}: found {shown(text)}; give text without control characters")


def _described(value: Any) -> str:
    for kind, noun in _KINDS:
        if isinstance(value, kind):
            return f"{shown(value)}, {noun} that YAML made of it"
    return shown(value)


def _right(name: str, value: Any, choices: tuple[Any, ...]) -> str:
    """Return what is accepted, and how to quote a word that YAML took for something else."""
    rights = []
    for choice in choices:
        origin = typing.get_origin(choice) or choice
        if origin in _LISTS:
            rights.append("a list")
        elif origin in _MAPPINGS:
            rights.append("a mapping, name to value")
        elif origin in _WANTED:
            rights.append(_WANTED[origin])
    right = " or ".join(dict.fromkeys(rights))
    scalar = value is None or isinstance(value, bool | int | float)
    if str in choices and scalar:
        word = "003" if value is None else shown(value)[:20]
        return f"{right}, in quotes that the shell leaves: {name}='\"{word}\"'"
    return right
