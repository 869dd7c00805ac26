{%- from "diskless/map.jinja" import problem, site with context %}

include:
  - diskless.pillar
{%- if not problem and site.discovers %}
  - diskless.dhcpd
{%- endif %}
{%- if not problem %}

# Where machines that are no nodes get an address, the master hears of them; without one nobody does.
{%- if site.discovers %}

# A machine that waits at its console and is a node by now restarts when it is told so: dhcpd has to
# serve it by then.
diskless answers to machines:
  diskless_tftp.answered:
    - require:
      - diskless: diskless dhcpd restart
{%- endif %}
{%- if site.discovers and opts.get("file_client") != "local" %}

diskless discovery beacon:
  beacon.present:
    - name: diskless_discovery
    - save: true
    - interval: 5
{%- endif %}
{%- endif %}
