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

diskless dhcpd service:
  service.running:
    - name: {{ map.dhcp_service }}
    - enable: true
    - require:
      - diskless_dhcpd: diskless dhcpd configuration

# One restart for any number of nodes, and none when nothing changed. No other run writes meanwhile: when this
# state is true, dhcpd runs what is on the disk.
diskless dhcpd restart:
  diskless.current:
    - name: {{ map.dhcp_service }}
    - require:
      - service: diskless dhcpd service
    - watch:
      - diskless_dhcpd: diskless dhcpd configuration
{%- endif %}
