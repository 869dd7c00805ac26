"""The table of what belongs to one machine: what a version leaves out, what each node gets instead,
and what stays in the version and is only named.

rsync's filter, the check of a new version, the notes in a sync's result and the table in
``docs/machine-identity.md`` are made of it. A pattern is a path from the image's root, whose parts
may have the wildcards ``*`` and ``?``.
"""

from __future__ import annotations

from collections.abc import Iterator

from salt_diskless.image.identity_row import Kind, Row, homes, row
from salt_diskless.image.secret_paths import PRIVATE, SECRET

__all__ = ["LEFT_OUT", "TABLE", "Kind", "Row", "rows"]


_MACHINE = (
    row("files that fsck recovered", Kind.MACHINE, "/lost+found /*/lost+found /var/*/lost+found"),
    row(
        "network configuration, and names that udev gave to cards",
        Kind.MACHINE,
        "/etc/network/interfaces /etc/network/interfaces.d/* /etc/netplan/* "
        "/etc/systemd/network/*.network /etc/NetworkManager/system-connections/* "
        "/etc/sysconfig/network-scripts/ifcfg-* /etc/sysconfig/network/ifcfg-* "
        "/etc/udev/rules.d/*-persistent-net.rules /etc/udev/rules.d/*-persistent-cd.rules "
        "/etc/wpa_supplicant/*.conf /etc/openvswitch/conf.db /etc/openvswitch/.conf.db* "
        "/etc/openvswitch/system-id.conf /var/lib/openvswitch/* "
        "/etc/sysconfig/network-scripts/route-* /etc/sysconfig/network-scripts/rule-* "
        "/etc/sysconfig/network/ifroute-* /etc/conf.d/net",
    ),
    row(
        "leases and state of network daemons",
        Kind.MACHINE,
        "/var/lib/dhcp/*.leases /var/lib/dhclient/*.lease* /var/lib/dhcpcd/* /etc/dhcpcd.duid "
        "/var/lib/NetworkManager/* /var/lib/wicked/* /var/lib/connman/* /var/lib/bluetooth/* "
        "/var/lib/nfs/sm/* /var/lib/nfs/sm.bak/* /var/lib/nfs/statd/sm/* "
        "/var/lib/nfs/statd/sm.bak/* /var/lib/nfs/nfsdcltrack/* /var/lib/nfs/nfsdcld/* "
        "/var/lib/misc/dnsmasq.leases /var/lib/dnsmasq/*.leases /var/lib/kea/*.csv* "
        "/var/lib/net-snmp/*.conf /var/lib/snmp/*.conf /etc/dhcpcd.secret /var/lib/iwd/*",
    ),
    row(
        "disks: LVM, multipath, arrays, encrypted volumes, pools",
        Kind.MACHINE,
        "/etc/lvm/archive/* /etc/lvm/backup/* /etc/lvm/cache/* /etc/lvm/devices/* "
        "/etc/multipath/wwids /etc/multipath/bindings /etc/multipath/prkeys /etc/crypttab "
        "/etc/mdadm.conf /etc/mdadm/mdadm.conf /etc/zfs/zpool.cache /etc/multipath/* "
        "/var/lib/smartmontools/*.state /var/lib/smartmontools/*.csv /var/lib/boltd/* "
        "/etc/bcache/*",
    ),
    row(
        "iSCSI targets that it logs in to",
        Kind.MACHINE,
        "/etc/iscsi/nodes/* /etc/iscsi/send_targets/* /etc/iscsi/static/* /etc/iscsi/ifaces/* "
        "/var/lib/iscsi/nodes/* /var/lib/iscsi/send_targets/* /var/lib/iscsi/static/* "
        "/var/lib/iscsi/ifaces/*",
    ),
    row(
        "names and identifiers of the machine",
        Kind.MACHINE,
        "/etc/hostid /etc/machine-info /etc/adjtime /etc/brlapi.key /var/lib/dbus/machine-id "
        "/etc/insights-client/machine-id /etc/insights-client/.registered "
        "/etc/insights-client/.lastupload /var/lib/glusterd/glusterd.info /opt/consul/node-id "
        "/var/lib/consul/node-id /var/lib/corosync/ringid_* /var/lib/glusterd/peers/* "
        "/var/lib/systemd/machine-id /opt/nomad/data/client/*-id /var/lib/nomad/client/*-id "
        "/etc/vdsm/vdsm.id /etc/qualys/hostid /opt/CrowdStrike/falconstore* "
        "/var/lib/mysql/auto.cnf /var/lib/mysql/*/auto.cnf /var/lib/gssproxy/clients/* "
        "/var/lib/munge/munge.seed /var/lib/chrony/drift* /var/lib/ntp/*drift* "
        "/var/lib/ntpsec/*drift*",
    ),
    row(
        "state of cloud and management agents",
        Kind.MACHINE,
        "/var/lib/cloud/instance /var/lib/cloud/instances /var/lib/cloud/data "
        "/var/lib/cloud/sem /var/lib/waagent/* /var/lib/amazon/ssm/* /var/lib/google/* "
        "/etc/google_instance_id /var/lib/rhsm/* /var/lib/osquery/* /var/osquery/osquery.* "
        "/var/lib/fail2ban/*.sqlite3 /var/lib/salt-diskless /var/lib/cloud/seed/* "
        "/var/lib/cloud/handlers/* /etc/cloud/cloud.cfg.d/*installer* "
        "/var/lib/rhc/* /etc/tenable_tag "
        "/opt/nessus_agent/var/nessus/* /var/lib/pacemaker/cib/* /var/lib/pacemaker/pengine/*",
    ),
    row(
        "databases of integrity checkers",
        Kind.MACHINE,
        "/var/lib/aide/* /var/lib/tripwire/*.twd /etc/tripwire/*-local.key",
    ),
    row(
        "state of systemd",
        Kind.MACHINE,
        "/var/lib/systemd/timesync/* /var/lib/private/systemd/timesync/* "
        "/var/lib/systemd/backlight/* /var/lib/systemd/rfkill/* /var/lib/systemd/coredump/* "
        "/var/lib/systemd/pstore/* /var/lib/postfix/master.lock /var/lib/postfix/prng_exch",
    ),
    row(
        "mail, print and batch jobs that wait",
        Kind.MACHINE,
        "/var/mail/* /var/spool/mail/* /var/spool/postfix/active/* /var/spool/postfix/bounce/* "
        "/var/spool/postfix/corrupt/* /var/spool/postfix/defer/* /var/spool/postfix/deferred/* "
        "/var/spool/postfix/hold/* /var/spool/postfix/incoming/* /var/spool/postfix/maildrop/* "
        "/var/spool/exim/input/* /var/spool/exim/msglog/* /var/spool/exim4/input/* "
        "/var/spool/exim4/msglog/* /var/spool/mqueue/* /var/spool/clientmqueue/* "
        "/var/spool/cups/* /var/spool/at/a* /var/spool/cron/atjobs/a* /var/spool/atjobs/a*",
    ),
    row(
        "what was in memory, swapped or dumped",
        Kind.MACHINE,
        "/swapfile* /swap.img /swap /swap/* /var/swap /var/swapfile /var/swap.img /var/crash/* "
        "/var/spool/abrt/* /var/lib/apport/coredump/*",
    ),
    row(
        "earlier passwords, logins, and copies of /etc",
        Kind.MACHINE,
        "/etc/shadow- /etc/gshadow- /etc/passwd- /etc/group- /etc/subuid- /etc/subgid- "
        "/var/backups/* /var/lib/wtmpdb/* /var/lib/lastlog/* /var/account/* "
        "/var/lib/plocate/*.db /var/lib/mlocate/*.db",
    ),
    row(
        "histories of shells and programs",
        Kind.MACHINE,
        homes(".*_history", ".lesshst", ".viminfo", ".zhistory", ".histfile", ".wget-hsts")
        + " "
        + homes(".local/share/fish/fish_history", ".Xauthority", ".ICEauthority"),
    ),
)

_NODE = (
    row("the host name and the machine-id", Kind.NODE, "/etc/hostname /etc/machine-id"),
    row("SSH host keys", Kind.NODE, "/etc/ssh/ssh_host_*"),
    row("the Salt minion's keys and id", Kind.NODE, "/etc/salt/pki /etc/salt/minion_id"),
    row("systemd's random seed", Kind.NODE, "/var/lib/systemd/random-seed"),
    row("the iSCSI initiator's name", Kind.NODE, "/etc/iscsi/initiatorname.iscsi"),
    row("the NVMe host's NQN and id", Kind.NODE, "/etc/nvme/hostnqn /etc/nvme/hostid"),
)

TABLE = (*_MACHINE, *_NODE, *PRIVATE, *SECRET)


def rows(*kinds: Kind) -> Iterator[Row]:
    """Yield the lines of the table that are of one of the kinds."""
    return (line for line in TABLE if line.kind in kinds)


#: What a version leaves out.
LEFT_OUT = tuple(
    dict.fromkeys(
        pattern for line in rows(Kind.MACHINE, Kind.NODE, Kind.PRIVATE) for pattern in line.patterns
    )
)
