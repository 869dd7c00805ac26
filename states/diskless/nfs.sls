{%- from "diskless/map.jinja" import map, problem with context %}

include:
  - diskless.image
  - diskless.swap
{%- if not problem %}

# Before the packages, so that the first start reads them.
diskless nfs settings:
  diskless_nfs.settings: []

diskless nfs packages:
  pkg.installed:
    - pkgs: {{ map.nfs_packages | json }}

# exportfs reads the file again: the server is never restarted. The directories of swap files are there
# even where the disk has no room for the files: nothing requires those.
diskless nfs exports:
  diskless_nfs.managed:
    - require:
      - pkg: diskless nfs packages
      - diskless_snapshot: diskless snapshots

diskless nfs service:
  service.running:
    - name: {{ map.nfs_service }}
    - enable: true
    - require:
      - diskless_nfs: diskless nfs exports

diskless nfs mountd service:
  service.running:
    - name: {{ map.mountd_service }}
    - require:
      - service: diskless nfs service

# Answers mount requests only: nodes that are up do not notice its restart.
diskless nfs mountd restart:
  diskless.current:
    - name: {{ map.mountd_service }}
    - require:
      - service: diskless nfs mountd service
    - watch:
      - diskless_nfs: diskless nfs settings
{%- endif %}
