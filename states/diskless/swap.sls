{%- from "diskless/map.jinja" import problem with context %}

include:
  - diskless.pillar
{%- if not problem %}

diskless swap files:
  diskless_swap.managed: []
{%- endif %}
