{%- from "diskless/map.jinja" import problem with context %}
# Before anything is touched: one error with all that is wrong in the pillar.
diskless pillar:
  diskless.valid: []
{%- if not problem %}

# How services are now, for diskless.clean.
diskless record:
  diskless.recorded:
    - require:
      - diskless: diskless pillar
{%- endif %}
