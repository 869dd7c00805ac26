{%- from "diskless/map.jinja" import problem, site with context %}

include:
  - diskless.pillar
{%- if not problem %}

# Where machines that are no nodes get an address, the master hears of them; without one nobody does.
{%- if site.discovers and opts.get("file_client") != "local" %}

diskless discovery beacon:
  beacon.present:
    - name: diskless_discovery
    - save: true
    - interval: 5
{%- endif %}
{%- endif %}
