{%- from "diskless/map.jinja" import problem, site with context %}

include:
  - diskless.pillar
{%- if not problem %}

# Where firewalld runs, the zones of the nodes' interfaces let the boot services in. It stays on.
{%- if salt["service.status"]("firewalld") and "firewalld.get_zones" in salt %}
{%- set zones = [] %}
{%- for interface in site.interfaces %}
{%- set asked = ["firewall-cmd", "--get-zone-of-interface=" ~ interface] %}
{%- set own = salt["cmd.run_stdout"](asked, python_shell=False, ignore_retcode=True) %}
{%- set zone = own or salt["firewalld.default_zone"]() %}
{%- if zone not in zones %}
{%- do zones.append(zone) %}
{%- endif %}
{%- endfor %}

{%- for zone in zones %}

diskless firewall zone {{ zone }}:
  firewalld.present:
    - name: {{ zone }}
    - prune_services: false
    - services:
      - dhcp
      - tftp
      - nfs
{%- if "3" in site.nfs %}
      - mountd
      - rpc-bind
{%- endif %}
{%- endfor %}
{%- endif %}
{%- endif %}
