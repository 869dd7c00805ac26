{%- from "diskless/map.jinja" import map, problem with context %}

include:
  - diskless.pillar
{%- if not problem %}

# Where SELinux is on, its booleans and labels let the boot services in. It stays on.
{%- if grains.get("selinux", {}).get("enabled") %}

diskless selinux tools:
  pkg.installed:
    - pkgs:
      - policycoreutils
      - policycoreutils-python-utils

{%- for boolean in ("nfs_export_all_ro", "nfs_export_all_rw") %}

diskless selinux boolean {{ boolean }}:
  selinux.boolean:
    - name: {{ boolean }}
    - value: true
    - persist: true
    - require:
      - pkg: diskless selinux tools
{%- endfor %}

diskless selinux label of the tftp root:
  selinux.fcontext_policy_present:
    - name: "{{ map.tftp_root | regex_escape }}(/.*)?"
    - sel_type: tftpdir_t
    - require:
      - pkg: diskless selinux tools

diskless selinux labels applied:
  selinux.fcontext_policy_applied:
    - name: {{ map.tftp_root }}
    - recursive: true
    - onchanges:
      - selinux: diskless selinux label of the tftp root
{%- endif %}
{%- endif %}
