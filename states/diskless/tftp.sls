{%- from "diskless/map.jinja" import map, problem with context %}

include:
  - diskless.image
{%- if not problem %}

diskless tftp root:
  diskless_tftp.managed:
    - require:
      - pkg: diskless tftp packages

# The daemon reads each file when it is asked for: only its own settings need a restart.
diskless tftp service:
  service.running:
    - name: {{ map.tftp_service }}
    - enable: true
    - require:
      - diskless_tftp: diskless tftp root
    - watch:
      - diskless_tftp: diskless tftp settings

diskless tftp settings:
  diskless_tftp.settings:
    - require:
      - pkg: diskless tftp packages
{%- endif %}
