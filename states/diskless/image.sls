{%- from "diskless/map.jinja" import problem with context %}

include:
  - diskless.tools
{%- if not problem %}

diskless images:
  diskless_image.synced:
    - require:
      - pkg: diskless image packages

diskless snapshots:
  diskless_snapshot.managed: []
{%- endif %}
