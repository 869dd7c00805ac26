"""Whatever stands in a pillar: it describes a cluster, or its errors say what would be right."""

from __future__ import annotations

import copy
import datetime
import pathlib
import re
import time
import types
import typing
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from salt_diskless import adapter
from salt_diskless.cluster import ClusterError, DisklessError, parse, schema
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.wording import EXAMPLES, problem
from salt_diskless.modules import diskless as module
from salt_diskless.pillar import diskless_nodes
from salt_diskless.registry.decide import Desk
from salt_diskless.registry.listed import listed

from . import registry

EXAMPLE = pathlib.Path(__file__).parents[2] / "pillar.example"
#: Words of pydantic, and of Python's own errors.
FOREIGN = ("Input should", "Value error", "validation error", "pydantic", "Traceback", "object at")

MODELS = [
    model
    for model in vars(schema).values()
    if isinstance(model, type) and issubclass(model, BaseModel) and model is not schema._Strict
]

RUBBISH = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
        st.sampled_from(["", "a", "10.8.226.9", "/x", 1 << 900, -1, 0, b"x", "node[1-3]"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.text(max_size=4), st.integers(), st.none()), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


def example() -> Any:
    return yaml.safe_load(EXAMPLE.read_text())["diskless"]


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Return the path of each value below a value."""
    found = [path]
    if isinstance(value, dict):
        found += [deeper for key in value for deeper in places(value[key], (*path, key))]
    elif isinstance(value, list):
        found += [
            deeper for index, item in enumerate(value) for deeper in places(item, (*path, index))
        ]
    return found


def replaced(value: Any, path: tuple, by: Any) -> Any:
    if not path:
        return by
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], by)
    return changed


PLACES = places(example())


def assert_sentences(err: ClusterError) -> None:
    for one in err.problems:
        assert one.path.startswith("diskless"), one
        assert one.found and len(one.right) > 8, one
        assert not [word for word in FOREIGN if word in str(one)], one
        assert len(one.found) < 500, one


@settings(deadline=None, max_examples=400)
@given(path=st.sampled_from(PLACES), by=RUBBISH)
def test_any_value_in_any_place_is_right_or_named(path, by):
    pillar = replaced(example(), path, by)
    for call in (
        lambda: parse(pillar),
        lambda: adapter.cluster_of({"diskless": pillar}, {}),
        lambda: Desk(registry.of(pathlib.Path("/nonexistent")), pillar),
        lambda: listed(pillar.get("nodes") if isinstance(pillar, dict) else pillar),
    ):
        try:
            call()
        except ClusterError as err:
            assert_sentences(err)


@settings(deadline=None, max_examples=100)
@given(path=st.sampled_from(PLACES), key=st.one_of(st.text(max_size=6), st.integers(), st.none()))
def test_any_key_in_any_place_is_right_or_named(path, key):
    pillar = example()
    there = pillar
    for step in path:
        there = there[step]
    if isinstance(there, dict):
        pillar = replaced(pillar, path, {**there, key: "x"})
    try:
        parse(pillar)
    except ClusterError as err:
        assert_sentences(err)


@pytest.mark.parametrize(
    "wrong",
    [["a"], "text", 5, True, [{"servers": {}}], [[]], None, {}, [], "", 0, {5: 6}, {None: 1}],
)
def test_a_pillar_that_is_no_mapping_is_one_sentence(wrong, monkeypatch, tmp_path):
    pillar = {"diskless": wrong}
    monkeypatch.setattr(adapter.told, "since", lambda number: {})
    for call in (
        lambda: adapter.cluster(pillar),
        lambda: adapter.cluster_of(pillar, {}),
        lambda: adapter.platform({"os_family": "Debian"}, pillar),
        lambda: Desk(registry.of(tmp_path), adapter.pillar(pillar)),
    ):
        with pytest.raises(ClusterError) as caught:
            call()
        assert_sentences(caught.value)
    for name, value in (
        *(("__pillar__", pillar), ("__opts__", {"id": "boot2"})),
        ("__grains__", {"os_family": "Debian"}),
    ):
        monkeypatch.setattr(module, name, value, raising=False)
    assert "diskless" in module.problem()
    monkeypatch.setattr(
        diskless_nodes, "__opts__", {"id": "m", "cachedir": str(tmp_path)}, raising=False
    )
    monkeypatch.setattr(diskless_nodes, "store_of", lambda opts: registry.of(tmp_path))
    for minion in ("m", "boot2"):
        assert diskless_nodes.ext_pillar(minion, pillar) == {}


def test_a_pillar_that_contains_itself_is_one_sentence():
    wrong: dict[str, Any] = {"nodes": {}}
    wrong["nodes"]["a"] = wrong
    with pytest.raises(DisklessError, match="contains itself"):
        adapter.pillar({"diskless": wrong})


def leaves(annotation: Any) -> list[Any]:
    args = typing.get_args(annotation)
    return [deeper for arg in args for deeper in leaves(arg)] if args else [annotation]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_each_field_says_what_is_right_in_its_place(model):
    """All fields of all models, with values of every wrong type."""
    for name in model.model_fields:
        for wrong in (
            None,
            True,
            5,
            -1,
            10**30,
            1.5,
            "",
            "\n",
            [],
            [[]],
            [5],
            {},
            {"a": {}},
            {5: 5},
            b"",
        ):
            try:
                model.model_validate({name: wrong})
            except ValidationError as err:
                for error in err.errors(include_url=False):
                    said = problem("diskless", error, model, {name: wrong})
                    assert not [word for word in FOREIGN if word in str(said)], said
                    assert len(said.right) > 8 and said.found, said


def test_each_list_and_mapping_has_an_example_that_is_right():
    for model in MODELS:
        for name, field in model.model_fields.items():
            kinds = str(field.annotation)
            if "list[" not in kinds and "dict[" not in kinds and not field.is_required():
                continue
            if model is schema.LookupIn:
                continue
            assert name in EXAMPLES, (model.__name__, name)
            if model not in (schema.ConflictIn,) and name not in ("conflicts", "number"):
                value = yaml.safe_load(EXAMPLES[name])
                annotated = (
                    typing.Annotated[(field.annotation, *field.metadata)]
                    if field.metadata
                    else field.annotation
                )
                TypeAdapter(annotated).validate_python(value)


HUGE = 1 << 20_000  # More digits than Python makes a text of.


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = wrap(value)
    return value


ODD = {
    "huge number": HUGE,
    "key of a huge number": {HUGE: HUGE},
    "keys of other types": {None: 1, True: 1, (1, 2): 1, 1.5: 1, datetime.date(2026, 1, 1): 1},
    "deep list": nested(5_000, lambda value: [value]),
    "deep mapping": nested(5_000, lambda value: {"a": value}),
    "infinity": 1e400,
    "date": datetime.date(2026, 1, 1),
    "half a character": "a\udc80",
    "other direction": "a\u202eb",
    "line of many digits": "1" * 5_000,
}


@pytest.mark.parametrize("value", ODD.values(), ids=list(ODD))
def test_an_odd_value_is_right_or_named_in_each_place(value):
    for path in PLACES:
        try:
            parse(replaced(example(), path, value))
        except ClusterError as err:
            assert_sentences(err)
            assert str(err).replace("\n", "").isprintable()


KEYS = [HUGE, (1, 2), 1.5, b"a", "a\nb", "\u202e", "x" * 100_000]


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
def test_an_odd_key_is_named_in_one_short_problem(key):
    for path in ((), *((name,) for name in example() if isinstance(example()[name], dict))):
        there = example()
        for step in path:
            there = there[step]
        value = next(iter(there.values()))
        with pytest.raises(ClusterError) as caught:
            parse(replaced(example(), path, {**there, key: value}))
        assert_sentences(caught.value)
        assert str(caught.value).replace("\n", "").isprintable()
        assert max(map(len, str(caught.value).splitlines())) < 1_000


def test_thousands_of_problems_are_a_message_that_can_be_read(howto):
    howto["networks"]["compute"]["routers"] = ["x"] * 50_000
    with pytest.raises(ClusterError) as caught:
        parse(howto)
    assert len(caught.value.problems) == 50_000
    assert len(str(caught.value).splitlines()) < 300
    assert "49800 more" in str(caught.value)


def test_many_nodes_with_one_wrong_name_take_no_time(howto):
    howto["profiles"] = {f"profile{number}": {"image": "x"} for number in range(1_000)}
    howto["nodes"] = {
        f"n{number}": {"mac": "52:54:00:00:00:01", "ip": "10.8.226.9", "profile": "profile-x"}
        for number in range(2_000)
    }
    start = time.process_time()
    with pytest.raises(ClusterError, match="did you mean profile"):
        parse(howto)
    assert time.process_time() - start < 10


def test_each_message_has_an_example_or_all_choices():
    for model in MODELS:
        for name in model.model_fields:
            for wrong in (5, "", [], [5], {}, {"a": 1}, "\n"):
                try:
                    model.model_validate({name: wrong})
                except ValidationError as err:
                    for error in err.errors(include_url=False):
                        right = problem("diskless", error, model, {name: wrong}).right
                        assert re.search(
                            r"\blike |give one of |true or false|3 or 4\.2|did you mean"
                            r"|none, zram|one or both|diskless_nodes|leave ",
                            right,
                        ), (model, name, wrong, right)


# -- values that cannot work ----------------------------------------------------------------------

NOBODYS = (
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.1",
    "239.1.2.3",
    "127.0.0.1",
    "0.1.2.3",
    "250.1.1.1",
)
RESERVED = ("10.8.0.0", "10.8.255.255")


@pytest.mark.parametrize("address", [*NOBODYS, *RESERVED])
@pytest.mark.parametrize("key", ["routers", "nameservers", "syslog", "server", "ip", "bmc"])
def test_an_address_that_no_machine_has_is_refused(howto, key, address):
    if key == "server":
        howto["servers"]["boot2"]["address"] = address
    elif key in ("ip", "bmc"):
        howto["nodes"]["node003"][key] = address
    else:
        howto["networks"]["compute"][key] = address if key == "syslog" else [address]
    with pytest.raises(ClusterError) as caught:
        parse(howto)
    assert any(address in str(one) for one in caught.value.problems)
    assert_sentences(caught.value)


@pytest.mark.parametrize(
    "subnet", ["127.0.0.0/8", "224.0.0.0/4", "0.0.0.0/1", "128.0.0.0/1", "240.0.0.0/8"]
)
def test_a_subnet_without_machines_is_refused(howto, subnet):
    howto["networks"]["compute"]["subnet"] = subnet
    with pytest.raises(ClusterError, match="give a subnet of machines"):
        parse(howto)


@pytest.mark.parametrize("how", ["persistent", "tmpfs", "localdisk"])
@pytest.mark.parametrize(
    "path",
    [
        *("/usr/lib", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/boot", "/usr/bin", "/usr/sbin"),
        *(
            "/usr/lib/systemd",
            "/lib/modules",
            "/boot/grub",
            "/usr/lib64",
            "/usr/share",
            "/usr/libexec",
            "/var/lib/dpkg",
            "/var/lib/rpm",
        ),
    ],
)
def test_what_a_node_boots_from_is_no_entry(howto, how, path):
    howto["nodes"]["node003"]["files"] = [{"path": path, "how": how}]
    with pytest.raises(ClusterError, match=r"files:0.*(would not match|name the directories)"):
        parse(howto)


@pytest.mark.parametrize("how", ["persistent", "tmpfs", "copy", "overlay", "localdisk"])
@pytest.mark.parametrize("path", ["/run/x", "/var/run", "/var/lock/x", "/proc", "/dev", "/var/tmp"])
def test_what_is_in_memory_is_no_entry(howto, how, path):
    howto["nodes"]["node003"]["files"] = [{"path": path, "how": how}]
    with pytest.raises(ClusterError, match="is in memory on every node"):
        parse(howto)


@pytest.mark.parametrize(
    "entry", ["/usr/local", "/opt", "/usr/libx", {"path": "/usr", "how": "overlay"}]
)
def test_other_entries_are_accepted(howto, entry):
    howto["nodes"]["node003"]["files"] = [entry]
    assert parse(howto)


@pytest.mark.parametrize(
    "name",
    ["pxelinux.0", "PXELINUX.0", "pxelinux.cfg", "ldlinux.c32", "registry", "announced", "x.efi"],
)
def test_an_images_name_is_no_loaders_file(howto, name):
    howto["images"][name] = {"location": "/diskless/other"}
    with pytest.raises(ClusterError, match="a boot loader has a file of this name"):
        parse(howto)


# -- values in messages ---------------------------------------------------------------------------


_PRINTABLE = st.text("abcdef0123456789 .:-", min_size=1, max_size=9)


@given(
    st.recursive(
        st.one_of(_PRINTABLE, st.integers(), st.booleans(), st.none()),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(_PRINTABLE, inner)),
        max_leaves=9,
    )
)
def test_a_value_is_shown_as_yaml_has_it_or_cut(value):
    text = shown(value)
    assert len(text) <= 80
    if not text.endswith("..."):
        assert yaml.safe_load(text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((None, "null"), (True, "true"), (False, "false"), (1.5, "1.5"), (float("nan"), ".nan")),
        *((float("-inf"), "-.inf"), (b"x", "binary data"), ({"a"}, "['a']")),
        pytest.param(object(), "a value", id="an object"),
        ({"a b": None, "c": [True, (1,)], None: {}}, "{'a b': null, c: [true, [1]], null: {}}"),
        (datetime.date(2026, 11, 28), "the date 2026-11-28"),
        (datetime.datetime(2026, 11, 28, 10), "the date 2026-11-28 10:00:00"),
        ({datetime.date(2026, 11, 28): 1}, "{the date 2026-11-28: 1}"),
    ],
    ids=repr,
)
def test_no_value_is_shown_as_python_has_it(value, text):
    assert shown(value).startswith(text)
    assert " object at 0x" not in shown(value)


def test_a_value_that_multiplies_is_shown_at_once():
    """YAML's aliases make a few lines stand for more text than any memory holds."""
    value: Any = ["x"]
    for _ in range(60):
        value = [value] * 9
    assert len(shown(value)) == 80
    circle: list[Any] = []
    circle.append(circle)
    assert len(shown(circle)) == 80
    assert "digits" in shown(10**5000)


def test_the_models_are_all_there():
    assert {"NodeIn", "SettingsIn", "LookupIn", "RuleIn"} <= {model.__name__ for model in MODELS}
    assert isinstance(module, types.ModuleType)
