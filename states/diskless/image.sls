{%- from "diskless/map.jinja" import map, problem with context %}

include:
  - diskless.pillar
{%- if not problem %}

diskless image packages:
  pkg.installed:
    - pkgs: {{ map.image_packages | json }}

diskless images:
  diskless_image.synced:
    - require:
      - pkg: diskless image packages

diskless snapshots:
  diskless_snapshot.managed: []
{%- endif %}
