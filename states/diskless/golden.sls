# A golden machine: `salt node004 state.apply diskless.golden`. The next sync takes what it has then.
{%- set problem = salt["diskless.problem"]("golden") %}
{%- set map = {} if problem else salt["diskless.platform"]() %}
{%- set wanted = {} if problem else salt["diskless_golden.plan"]() %}
{%- if not problem and wanted.golden_states %}

include: {{ wanted.golden_states | json }}
{%- endif %}

# First of all, whatever is included.
diskless golden pillar:
  diskless.valid:
    - role: golden
    - order: 1
{%- if not problem %}

# What the boot servers read it with.
diskless golden tools:
  pkg.installed:
    - pkgs: {{ map.golden_packages | json }}
    - order: 2

diskless golden ssh service:
  service.running:
    - name: {{ map.ssh_service }}
    - enable: true
    - require:
      - pkg: diskless golden tools
{%- if wanted.absent_packages %}

diskless golden absent packages:
  pkg.removed:
    - pkgs: {{ wanted.absent_packages | json }}
    - order: 3
{%- endif %}
{%- if wanted.packages %}

diskless golden packages:
  pkg.installed:
    - pkgs: {{ wanted.packages | json }}
    - order: 4
{%- endif %}
{%- endif %}
