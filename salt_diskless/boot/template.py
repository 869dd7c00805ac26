"""The Jinja environment: layout in templates, decisions in Python, a missing name is an error."""

from __future__ import annotations

import functools

import jinja2


@functools.lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("salt_diskless", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def template(name: str) -> jinja2.Template:
    """Return the compiled template ``name`` of ``salt_diskless/templates``."""
    return _environment().get_template(name)


# Compiled when this module is loaded: a minion has it in its own process, and each job, which is a
# process of its own, has the templates then.
for _name in _environment().list_templates(extensions=["j2"]):
    template(_name)
