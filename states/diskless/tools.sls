{%- from "diskless/map.jinja" import map, problem with context %}

include:
  - diskless.pillar
{%- if not problem %}

# What a boot server needs to take an image and to have a loader for it.
diskless image packages:
  pkg.installed:
    - pkgs: {{ (map.image_packages + salt["diskless_image.tools"]()) | json }}

diskless tftp packages:
  pkg.installed:
    - pkgs: {{ map.tftp_packages | json }}
{%- endif %}
