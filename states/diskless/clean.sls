# Take the boot server's configuration away again: `salt-call state.apply diskless.clean`.
# Images and snapshots are data and stay (swap files are not); so do the packages, and what was opened in the firewall and
# in SELinux's policy: others may need it.
# What the machine lacks for a boot server does not keep it from being cleaned: the role is not "server".
{%- set problem = salt["diskless.problem"]("clean") %}
{%- set map = {} if problem else salt["diskless.platform"]() %}

diskless pillar:
  diskless.valid:
    - role: clean
{%- if not problem %}

diskless dhcpd service:
  service.dead:
    - name: {{ map.dhcp_service }}
    - enable: false

diskless tftp service:
  service.dead:
    - name: {{ map.tftp_service }}
    - enable: false

diskless dhcpd configuration:
  diskless_dhcpd.absent:
    - require:
      - service: diskless dhcpd service

diskless tftp root:
  diskless_tftp.absent:
    - require:
      - service: diskless tftp service

# The NFS server may have other exports: it goes on.
diskless nfs exports:
  diskless_nfs.absent: []

diskless swap files:
  diskless_swap.absent:
    - require:
      - diskless_nfs: diskless nfs exports
{%- endif %}
