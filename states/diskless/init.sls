# A boot server, whole: `salt-call state.apply diskless`.
#
# The order is that of the includes. Image and snapshots come before what serves them; but nothing
# requires a sync to succeed: when a golden node is off, the nodes still boot what is published.
include:
  - diskless.image
  - diskless.swap
  - diskless.tftp
  - diskless.nfs
  - diskless.dhcpd
  - diskless.firewall
  - diskless.selinux
  - diskless.discovery
