"""pillar.example is a pillar, and it has every key."""

from __future__ import annotations

import re

import pytest
import yaml

from salt_diskless.cluster import ClusterError, parse, schema
from tests.conftest import CHECKOUT

TEXT = (CHECKOUT / "pillar.example").read_text()


def test_it_is_a_cluster():
    assert len(parse(yaml.safe_load(TEXT)["diskless"]).nodes) == 4


def test_it_is_a_cluster_with_each_optional_key_in_use():
    """What is commented out is right too."""
    optional = re.sub(
        r"^( *)# (?=(server|discovery_range|syslog|kernel|drivers|overlay_size|kernel_append"
        r"|bmc): )",
        r"\1",
        TEXT,
        flags=re.M,
    )
    assert optional != TEXT
    assert len(parse(yaml.safe_load(optional)["diskless"]).nodes) == 4


@pytest.mark.parametrize(
    "model",
    [
        schema.ServerIn,
        schema.NetworkIn,
        schema.LeaseIn,
        schema.ImageIn,
        schema.SourceIn,
        schema.BootstrapIn,
        schema.SettingsIn,
        schema.NodeIn,
        schema.EntryIn,
        schema.SwapIn,
        schema.TimeoutIn,
        schema.LookupIn,
        schema.RegistryIn,
        schema.RuleIn,
    ],
)
def test_every_key_is_in_it(model):
    missing = [key for key in model.model_fields if not re.search(rf"\b{key}:", TEXT)]
    assert missing == []


def test_every_key_at_the_top_is_in_it():
    with pytest.raises(ClusterError) as error:
        parse({"nosuch_key": 1})
    keys = error.value.problems[0].right.removeprefix("give one of ").split(", ")
    assert "adopt" in keys
    assert [key for key in keys if not re.search(rf"\b{key}:", TEXT)] == []
