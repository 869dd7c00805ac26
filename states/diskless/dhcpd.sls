{%- from "diskless/map.jinja" import map, problem with context %}

include:
  - diskless.tftp
  - diskless.nfs
{%- if not problem %}

diskless dhcpd packages:
  pkg.installed:
    - pkgs: {{ map.dhcp_packages | json }}

# dhcpd checks what was written before it goes live.
diskless dhcpd configuration:
  diskless_dhcpd.managed:
    - require:
      - pkg: diskless dhcpd packages

# One restart for any number of nodes, and none when nothing changed.
diskless dhcpd service:
  service.running:
    - name: {{ map.dhcp_service }}
    - enable: true
    - watch:
      - diskless_dhcpd: diskless dhcpd configuration
{%- endif %}
