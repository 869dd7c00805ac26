{%- from "diskless/map.jinja" import map, problem with context %}

include:
  - diskless.image
{%- if not problem %}

diskless tftp root:
  diskless_tftp.managed:
    - require:
      - pkg: diskless tftp packages

diskless tftp settings:
  diskless_tftp.settings:
    - require:
      - pkg: diskless tftp packages

diskless tftp service:
  service.running:
    - name: {{ map.tftp_service }}
    - enable: true
    - require:
      - diskless_tftp: diskless tftp root
      - diskless_tftp: diskless tftp settings

# The daemon reads each file when it is asked for: only its own settings need a restart.
diskless tftp restart:
  diskless.current:
    - name: {{ map.tftp_service }}
    - require:
      - service: diskless tftp service
    - watch:
      - diskless_tftp: diskless tftp settings
{%- endif %}
