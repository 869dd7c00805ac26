# Have this machine be no boot server any more: `salt-call state.apply diskless.clean`, with or without a pillar. What
# was here before is put back from the record of what was changed. Images and snapshots are data and stay (swap files
# are not); so do the packages, and what was opened in the firewall and in SELinux's policy: others may need it.
{%- if opts.get("file_client") != "local" %}
diskless discovery beacon:
  beacon.absent:
    - name: diskless_discovery
    - save: true
{%- endif %}

diskless boot server:
  diskless.cleaned: []
