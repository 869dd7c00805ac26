"""The table of what belongs to one machine: what a version leaves out, what each node gets instead,
and what stays in the version and is only named.

rsync's filter, the check of a new version, the notes in a sync's result and the table in
``docs/machine-identity.md`` are made of it. A pattern is a path from the image's root, whose parts
may have the wildcards ``*`` and ``?``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass


class Kind(enum.Enum):
    """What a sync does with a path of the table."""

    #: Left out: it describes one machine, its network, its disks, or what happened on it.
    MACHINE = "left out"
    #: Left out, and the boot server makes another one for each node.
    NODE = "each node has its own"
    #: Left out: a private key or a password of one machine, or of one of its users.
    PRIVATE = "left out and named"
    #: In the version, since nodes need it, and named. Refused for nodes with ``root: ram``.
    SECRET = "kept and named"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    what
        What the paths are, for people.
    kind
        What is done with them.
    patterns
        The paths.
    having
        A regular expression (bytes, one line): only a file with such a line is meant.
    """

    what: str
    kind: Kind
    patterns: tuple[str, ...]
    having: bytes = b""


def _row(what: str, kind: Kind, patterns: str, having: bytes = b"") -> Row:
    return Row(what, kind, tuple(patterns.split()), having)


def _homes(*names: str) -> str:
    """Return patterns for files below every home directory."""
    homes = ("/root", "/home/*", "/home/*/*", "/var/lib/*", "/export/home/*")
    return " ".join(f"{home}/{name}" for home in homes for name in names)


_MACHINE = (
    _row("files that fsck recovered", Kind.MACHINE, "/lost+found /*/lost+found /var/*/lost+found"),
    _row(
        "network configuration, and names that udev gave to cards",
        Kind.MACHINE,
        "/etc/network/interfaces /etc/network/interfaces.d/* /etc/netplan/* "
        "/etc/systemd/network/*.network /etc/NetworkManager/system-connections/* "
        "/etc/sysconfig/network-scripts/ifcfg-* /etc/sysconfig/network/ifcfg-* "
        "/etc/udev/rules.d/*-persistent-net.rules /etc/udev/rules.d/*-persistent-cd.rules "
        "/etc/wpa_supplicant/*.conf",
    ),
    _row(
        "leases and state of network daemons",
        Kind.MACHINE,
        "/var/lib/dhcp/*.leases /var/lib/dhclient/*.lease* /var/lib/dhcpcd/* /etc/dhcpcd.duid "
        "/var/lib/NetworkManager/* /var/lib/wicked/* /var/lib/connman/* /var/lib/bluetooth/* "
        "/var/lib/nfs/sm/* /var/lib/nfs/sm.bak/* /var/lib/nfs/statd/sm/* "
        "/var/lib/nfs/statd/sm.bak/* /var/lib/nfs/nfsdcltrack/* /var/lib/nfs/nfsdcld/*",
    ),
    _row(
        "disks: LVM, multipath, arrays, encrypted volumes, pools",
        Kind.MACHINE,
        "/etc/lvm/archive/* /etc/lvm/backup/* /etc/lvm/cache/* /etc/lvm/devices/* "
        "/etc/multipath/wwids /etc/multipath/bindings /etc/multipath/prkeys /etc/crypttab "
        "/etc/mdadm.conf /etc/mdadm/mdadm.conf /etc/zfs/zpool.cache",
    ),
    _row(
        "iSCSI targets that it logs in to",
        Kind.MACHINE,
        "/etc/iscsi/nodes/* /etc/iscsi/send_targets/* /etc/iscsi/static/* /etc/iscsi/ifaces/* "
        "/var/lib/iscsi/nodes/* /var/lib/iscsi/send_targets/* /var/lib/iscsi/static/* "
        "/var/lib/iscsi/ifaces/*",
    ),
    _row(
        "names and identifiers of the machine",
        Kind.MACHINE,
        "/etc/hostid /etc/machine-info /etc/adjtime /etc/brlapi.key /var/lib/dbus/machine-id "
        "/etc/insights-client/machine-id /etc/insights-client/.registered "
        "/etc/insights-client/.lastupload /var/lib/glusterd/glusterd.info "
        "/opt/consul/node-id /var/lib/consul/node-id /var/lib/corosync/ringid_*",
    ),
    _row(
        "state of cloud and management agents",
        Kind.MACHINE,
        "/var/lib/cloud/instance /var/lib/cloud/instances /var/lib/cloud/data "
        "/var/lib/cloud/sem /var/lib/waagent/* /var/lib/amazon/ssm/* /var/lib/google/* "
        "/etc/google_instance_id /var/lib/rhsm/* /var/lib/osquery/* /var/osquery/osquery.* "
        "/var/lib/fail2ban/*.sqlite3 /var/lib/salt-diskless",
    ),
    _row(
        "databases of integrity checkers",
        Kind.MACHINE,
        "/var/lib/aide/* /var/lib/tripwire/*.twd /etc/tripwire/*-local.key",
    ),
    _row(
        "state of systemd",
        Kind.MACHINE,
        "/var/lib/systemd/timesync/* /var/lib/private/systemd/timesync/* "
        "/var/lib/systemd/backlight/* /var/lib/systemd/rfkill/* /var/lib/systemd/coredump/* "
        "/var/lib/systemd/pstore/* /var/lib/postfix/master.lock /var/lib/postfix/prng_exch",
    ),
    _row(
        "mail, print and batch jobs that wait",
        Kind.MACHINE,
        "/var/mail/* /var/spool/mail/* /var/spool/postfix/active/* /var/spool/postfix/bounce/* "
        "/var/spool/postfix/corrupt/* /var/spool/postfix/defer/* /var/spool/postfix/deferred/* "
        "/var/spool/postfix/hold/* /var/spool/postfix/incoming/* /var/spool/postfix/maildrop/* "
        "/var/spool/exim/input/* /var/spool/exim/msglog/* /var/spool/exim4/input/* "
        "/var/spool/exim4/msglog/* /var/spool/mqueue/* /var/spool/clientmqueue/* "
        "/var/spool/cups/* /var/spool/at/a* /var/spool/cron/atjobs/a* /var/spool/atjobs/a*",
    ),
    _row(
        "histories of shells and programs",
        Kind.MACHINE,
        _homes(".*_history", ".lesshst", ".viminfo", ".zhistory", ".histfile", ".wget-hsts")
        + " "
        + _homes(".local/share/fish/fish_history", ".Xauthority", ".ICEauthority"),
    ),
)

_NODE = (
    _row("the host name and the machine-id", Kind.NODE, "/etc/hostname /etc/machine-id"),
    _row("SSH host keys", Kind.NODE, "/etc/ssh/ssh_host_*"),
    _row("the Salt minion's keys and id", Kind.NODE, "/etc/salt/pki /etc/salt/minion_id"),
    _row("systemd's random seed", Kind.NODE, "/var/lib/systemd/random-seed"),
    _row("the iSCSI initiator's name", Kind.NODE, "/etc/iscsi/initiatorname.iscsi"),
    _row("the NVMe host's NQN and id", Kind.NODE, "/etc/nvme/hostnqn /etc/nvme/hostid"),
)

_PRIVATE = (
    _row(
        "private keys for TLS, and subscriptions",
        Kind.PRIVATE,
        "/etc/ssl/private/* /etc/pki/tls/private/* /etc/pki/consumer/* /etc/pki/entitlement/* "
        "/etc/pki/libvirt/private/* /etc/pki/*/private/* /etc/cups/ssl/* "
        "/etc/cockpit/ws-certs.d/* /etc/letsencrypt/accounts /etc/letsencrypt/archive "
        "/etc/letsencrypt/keys /etc/letsencrypt/live /etc/xrdp/key.pem /etc/xrdp/rsakeys.ini "
        "/etc/webmin/miniserv.pem /etc/unbound/unbound_*.key /var/lib/certmonger/cas/* "
        "/var/lib/certmonger/requests/* /var/lib/ipa/private/* /var/lib/ipa-client/pki/* "
        "/etc/ipa/nssdb/* /etc/opendkim/keys/* /etc/dkimkeys/*.private /var/lib/acme/* "
        "/etc/sysconfig/rhn/systemid /etc/zypp/credentials.d/* "
        "/var/lib/ubuntu-advantage/private/* /etc/raddb/certs/*.key /etc/mysql/debian.cnf",
    ),
    _row(
        "tunnels: WireGuard, IPsec, OpenVPN, tinc and others",
        Kind.PRIVATE,
        "/etc/wireguard/* /etc/ipsec.secrets /etc/ipsec.d/private/* /etc/ipsec.d/*.secrets "
        "/etc/ipsec.d/*.db /var/lib/ipsec/nss/* /etc/strongswan/ipsec.secrets "
        "/etc/strongswan/ipsec.d/private/* /etc/swanctl/private/* /etc/swanctl/rsa/* "
        "/etc/swanctl/ecdsa/* /etc/swanctl/pkcs8/* /etc/swanctl/pkcs12/* "
        "/etc/strongswan/swanctl/private/* /etc/openvpn/*.key /etc/openvpn/*/*.key "
        "/etc/openvpn/*/*/*.key /etc/openvpn/*.p12 /etc/openvpn/*/*.p12 /etc/openvpn/*.ovpn "
        "/etc/openvpn/*/*.ovpn /etc/tinc/*.priv /etc/tinc/*/*.priv /etc/nebula/*.key "
        "/var/lib/zerotier-one/*.secret /var/lib/zerotier-one/identity.public "
        "/var/lib/tailscale/* /var/lib/netbird/* /etc/netbird/* /etc/cloudflared/* "
        "/etc/yggdrasil.conf /etc/yggdrasil/yggdrasil.conf /etc/ppp/*secrets "
        "/var/lib/tor/keys /var/lib/tor/*/hs_*_secret_key /var/lib/tor/*/private_key",
    ),
    _row(
        "SSH servers other than OpenSSH",
        Kind.PRIVATE,
        "/etc/dropbear/*_host_key /etc/dropbear/initramfs/*_host_key "
        "/etc/dropbear-initramfs/*_host_key /etc/tinyssh/sshkeydir/*",
    ),
    _row(
        "configuration management: Puppet, Chef, CFEngine, Salt's cache, vault passwords",
        Kind.PRIVATE,
        "/etc/puppet/ssl /var/lib/puppet/ssl /etc/puppetlabs/*/ssl /etc/puppetlabs/*/private_keys "
        "/etc/puppetlabs/*/*/private_keys /etc/puppetlabs/*/*/*/private_keys "
        "/etc/puppetlabs/puppetserver/ca /opt/puppetlabs/server/data/puppetserver/ssl "
        "/etc/chef/*.pem /etc/cinc/*.pem /var/chef/cache/* /var/cfengine/ppkeys/* "
        "/var/lib/cfengine3/ppkeys/* /var/lib/cfengine2/ppkeys/* /var/cache/salt/minion/* "
        "/var/cache/salt/master/* /etc/ansible/*vault*pass* /etc/ansible/.vault*",
    ),
    _row(
        "Samba's, winbind's and sssd's own secrets",
        Kind.PRIVATE,
        "/var/lib/samba/private/* /etc/samba/secrets.tdb /var/lib/samba/secrets.tdb "
        "/var/lib/sss/db/* /var/lib/sss/mc/* /var/lib/sss/secrets/* /var/lib/sss/keytabs/* "
        "/var/lib/sss/gpo_cache/* /var/lib/sss/pubconf/kdcinfo.* "
        "/var/lib/sss/pubconf/kpasswdinfo.* /var/lib/krb5kdc/* /var/kerberos/krb5kdc/principal* "
        "/var/kerberos/krb5kdc/.k5.*",
    ),
    _row(
        "containers and clusters: Docker, Kubernetes, etcd, virtual machines",
        Kind.PRIVATE,
        "/etc/docker/key.json /var/lib/docker/swarm/* /etc/kubernetes/pki/* "
        "/etc/kubernetes/*.conf /var/lib/kubelet/pki/* /var/lib/kubelet/kubeconfig "
        "/etc/rancher/node/* /etc/rancher/k3s/k3s.yaml /etc/rancher/rke2/rke2.yaml "
        "/var/lib/rancher/*/server /var/lib/rancher/*/agent/*.key "
        "/var/lib/rancher/*/agent/*.kubeconfig /var/lib/etcd/* /etc/etcd/pki/*.key "
        "/var/lib/ceph/*/*/keyring /var/lib/libvirt/secrets/* /etc/libvirt/secrets/* "
        "/var/lib/lxd/*.key /var/lib/incus/*.key /var/lib/snapd/device/*",
    ),
    _row(
        "keys that a TPM or systemd seals for the machine",
        Kind.PRIVATE,
        "/var/lib/systemd/credential.secret /var/lib/systemd/tpm2* "
        "/etc/credstore.encrypted/* /var/lib/tpm2-tss/system/keystore/* "
        "/var/lib/swtpm-localca/*.pem /var/lib/fprint/*",
    ),
    _row(
        "registrations of agents",
        Kind.PRIVATE,
        "/etc/gitlab-runner/config.toml /var/lib/teleport/* /var/ossec/etc/client.keys "
        "/etc/cloud/cloud.cfg.d/*maas* /etc/boto.cfg",
    ),
    _row(
        "keys and passwords of users",
        Kind.PRIVATE,
        _homes(
            *(".ssh/id_*", ".aws", ".azure", ".oci", ".config/gcloud", ".kube", ".boto", ".s3cfg"),
            *(".docker/config.json", ".config/containers/auth.json", ".netrc", ".pgpass"),
            *(".git-credentials", ".config/git/credentials", ".config/gh/hosts.yml"),
            *(".gnupg/private-keys-v1.d", ".gnupg/secring.gpg", ".gnupg/openpgp-revocs.d"),
            *(".my.cnf", ".mylogin.cnf", ".pypirc", ".smbcredentials", ".vault-token"),
            *(".config/rclone", ".terraform.d/credentials.tfrc.json", ".ansible/vault*"),
            *(".vault_pass*", ".vnc/passwd", ".chef/*.pem", ".cargo/credentials*"),
            *(".gem/credentials", ".subversion/auth", ".password-store", ".local/share/keyrings"),
            *(".globus/userkey.pem", ".google_authenticator", ".amandapass"),
        ),
    ),
)

_SECRET = (
    _row(
        "keys that the machines of a cluster share",
        Kind.SECRET,
        "/etc/munge/munge.key /etc/slurm*/*.key /etc/slurm*/slurmdbd.conf "
        "/var/spool/slurm*/*.key /var/lib/slurm*/*.key /etc/condor/passwords.d/* "
        "/etc/condor/tokens.d/* /etc/corosync/authkey /etc/pacemaker/authkey "
        "/etc/booth/authkey /etc/ha.d/authkeys /etc/heartbeat/authkeys /etc/ceph/*.keyring "
        "/etc/ceph/*.secret /etc/ceph/*.key /etc/beegfs/conn.auth /etc/beegfs/connauthfile "
        "/etc/lustre*.key /etc/lustre/*.key /etc/rancher/*/config.yaml /etc/zabbix/*.psk",
    ),
    _row(
        "keytabs of Kerberos",
        Kind.SECRET,
        "/etc/*.keytab /etc/*/*.keytab /var/kerberos/krb5/user/*/*.keytab",
    ),
    _row(
        "keys of name and time servers",
        Kind.SECRET,
        "/etc/rndc.key /etc/bind/*.key /etc/named/*.key /etc/named.*.key /etc/chrony.keys "
        "/etc/chrony/chrony.keys /etc/ntp.keys /etc/ntp/keys /etc/ntpsec/ntp.keys",
    ),
    _row(
        "passwords for mail, web and file servers",
        Kind.SECRET,
        "/etc/exim4/passwd.client /etc/exim/passwd.client /etc/postfix/sasl_passwd* "
        "/etc/postfix/sasl/*passwd* /etc/msmtprc /etc/nullmailer/remotes /etc/davfs2/secrets "
        "/etc/samba/smbpasswd /etc/*credentials /etc/samba/*credentials* /etc/.smbcredentials "
        "/etc/apt/auth.conf /etc/apt/auth.conf.d/* /etc/credstore/*",
    ),
    _row(
        "passwords for directories of users",
        Kind.SECRET,
        "/etc/ldap.secret /etc/pam_ldap.secret /etc/libnss-ldap.secret",
    ),
    _row(
        "passwords for directories of users, in files that hold more",
        Kind.SECRET,
        "/etc/sssd/sssd.conf /etc/sssd/conf.d/*.conf /etc/nslcd.conf /etc/ldap.conf "
        "/etc/pam_ldap.conf /etc/libnss-ldap.conf /etc/ldap/ldap.conf",
        rb"(?im)^\s*(ldap_default_authtok\s*=|bindpw\s+)\s*\S",
    ),
    _row(
        "keys of agents, in files that hold more",
        Kind.SECRET,
        "/etc/datadog-agent/datadog.yaml /etc/newrelic-infra.yml /etc/duo/*.conf",
        rb"(?im)^\s*(api_key|license_key|skey)\s*[:=]\s*\S",
    ),
)

TABLE = (*_MACHINE, *_NODE, *_PRIVATE, *_SECRET)


def rows(*kinds: Kind) -> Iterator[Row]:
    """Yield the lines of the table that are of one of the kinds."""
    return (row for row in TABLE if row.kind in kinds)


#: What a version leaves out.
LEFT_OUT = tuple(
    dict.fromkeys(
        pattern for row in rows(Kind.MACHINE, Kind.NODE, Kind.PRIVATE) for pattern in row.patterns
    )
)
