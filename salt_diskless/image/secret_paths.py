"""The secret paths of a machine: those that a version leaves out, and those that it keeps because
nodes share them."""

from __future__ import annotations

from salt_diskless.image.identity_row import Kind, homes, row

#: A setting that has a password or token, of any syntax, that is no comment. What has the name and
#: its value in two lines is not searched for: a search over lines takes quadratic time.
_PASSWORD = (
    rb"(?im)^[^#;\n]*"
    rb"(passw(or)?d|passphrase|\bsecret|-secret|_secret|\btoken|_token|auth_?key|auth_pass|api_?key"
    rb"|rootpw|\bpsk|createuser|\bencrypt|r[ow]community6?(?![ \t]+public\b))"
    rb"[\"'}\]]*([ \t]*(=>|[:=])[ \t]*|[ \t]+)[\"']?[^\s\"',;<>]{3}"
    rb"|^[ \t]*MONITOR[ \t]+(\S+[ \t]+){3}\S"
)
#: The same as a variable of a shell, or in the address of a proxy or repository.
_IN_ADDRESS = (
    rb"(?im)^[^#\n]*(://[^/\s:@]+:[^/\s:@]+@"
    rb"|(^|[\s\"'_])(password|token|secret|api_?key)[ \t]*=[ \t]*[\"']?[^\s\"'$]{3})"
)

PRIVATE = (
    row(
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
        "/var/lib/ubuntu-advantage/private/* /etc/raddb/certs/*.key /etc/mysql/debian.cnf "
        "/etc/pki/entitlement-host/* /etc/ssl/glusterfs.key /etc/dirsrv/*/key*.db "
        "/etc/dirsrv/*/*pin.txt /etc/dirsrv/*/pwdfile.txt /etc/httpd/alias/key*.db "
        "/etc/httpd/alias/*.txt /etc/sysconfig/rhn/osad-auth.conf "
        "/var/lib/ubuntu-advantage/machine-token.json /etc/landscape/client.conf "
        "/var/lib/landscape/client/* /var/lib/fwupd/pki/secret.key /var/lib/mysql/*-key.pem "
        "/var/lib/mysql/private_key.pem /var/lib/pgsql/data/server.key "
        "/var/lib/pgsql/*/data/server.key /var/lib/postgresql/*/*/server.key "
        "/etc/opt/omi/ssl/* /etc/acme/* /etc/ssl/acme/* /var/lib/dehydrated/accounts "
        "/var/lib/dehydrated/certs /etc/dehydrated/accounts",
    ),
    row(
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
        "/var/lib/tor/keys /var/lib/tor/*/hs_*_secret_key /var/lib/tor/*/private_key "
        "/etc/openvpn/*.secret /etc/openvpn/*auth*.txt /etc/openvpn/*/*auth*.txt "
        "/etc/openvpn/*pass* /etc/openvpn/*/*pass* /etc/racoon/psk.txt /etc/xl2tpd/l2tp-secrets "
        "/etc/vpnc/*.conf /etc/openfortivpn/config /var/lib/zerotier-one/networks.d/* "
        "/etc/strongswan/ipsec.d/*.secrets /etc/swanctl/conf.d/*secret* "
        "/etc/systemd/network/*.key /etc/ipsec.d/passwd",
    ),
    row(
        "host keys of SSH servers, by other names",
        Kind.PRIVATE,
        "/etc/dropbear/*_host_key /etc/dropbear/initramfs/*_host_key "
        "/etc/dropbear-initramfs/*_host_key /etc/tinyssh/sshkeydir/* /etc/ssh/*_key "
        "/etc/ssh/*/*_key /etc/sftp/*_key /etc/proftpd/*_key",
    ),
    row(
        "configuration management: Puppet, Chef, CFEngine, Salt, vault passwords, history of /etc",
        Kind.PRIVATE,
        "/etc/puppet/ssl /var/lib/puppet/ssl /etc/puppetlabs/*/ssl "
        "/etc/puppetlabs/*/private_keys /etc/puppetlabs/*/*/private_keys "
        "/etc/puppetlabs/*/*/*/private_keys /etc/puppetlabs/puppetserver/ca "
        "/opt/puppetlabs/server/data/puppetserver/ssl /etc/chef/*.pem /etc/cinc/*.pem "
        "/var/chef/cache/* /var/cfengine/ppkeys/* /var/lib/cfengine3/ppkeys/* "
        "/var/lib/cfengine2/ppkeys/* /var/cache/salt/minion/* /var/cache/salt/master/* "
        "/etc/ansible/*vault*pass* /etc/ansible/.vault* /etc/.git /etc/.bzr /etc/.hg "
        "/etc/.svn /etc/salt/gpgkeys /etc/salt/cloud.providers /etc/salt/cloud.providers.d/* "
        "/etc/puppet/eyaml/* /etc/puppetlabs/*/eyaml/* /etc/puppetlabs/*/keys/* "
        "/etc/chef/encrypted_data_bag_secret /etc/cinc/encrypted_data_bag_secret "
        "/var/cache/salt/proxy/* /var/cache/salt/api/*",
    ),
    row(
        "Samba's, winbind's and sssd's own secrets",
        Kind.PRIVATE,
        "/var/lib/samba/private/* /etc/samba/secrets.tdb /var/lib/samba/secrets.tdb "
        "/var/lib/sss/db/* /var/lib/sss/mc/* /var/lib/sss/secrets/* /var/lib/sss/keytabs/* "
        "/var/lib/sss/gpo_cache/* /var/lib/sss/pubconf/kdcinfo.* "
        "/var/lib/sss/pubconf/kpasswdinfo.* /var/lib/krb5kdc/* /var/kerberos/krb5kdc/principal* "
        "/var/kerberos/krb5kdc/.k5.*",
    ),
    row(
        "containers and clusters: Docker, Kubernetes, etcd, virtual machines",
        Kind.PRIVATE,
        "/etc/docker/key.json /var/lib/docker/swarm/* /etc/kubernetes/pki/* "
        "/etc/kubernetes/*.conf /var/lib/kubelet/pki/* /var/lib/kubelet/kubeconfig "
        "/etc/rancher/node/* /etc/rancher/k3s/k3s.yaml /etc/rancher/rke2/rke2.yaml "
        "/var/lib/rancher/*/server /var/lib/rancher/*/agent/*.key "
        "/var/lib/rancher/*/agent/*.kubeconfig /var/lib/etcd/* /etc/etcd/pki/*.key "
        "/var/lib/ceph/*/*/keyring /var/lib/libvirt/secrets/* /etc/libvirt/secrets/* "
        "/var/lib/lxd/*.key /var/lib/incus/*.key /var/lib/snapd/device/* "
        "/var/snap/microk8s/*/credentials /var/snap/microk8s/*/certs/*.key /var/lib/k0s/pki "
        "/var/lib/kubelet/config.json /etc/crio/*.key /var/lib/kubelet/bootstrap-kubeconfig "
        "/etc/containers/auth.json /var/lib/rancher/*/agent/client-* "
        "/var/lib/proxmox-backup/*.key /etc/pve/priv /etc/pve/*.key "
        "/var/lib/pve-cluster/config.db* /var/mmfs/ssl/* /etc/xcat/hostkeys/*",
    ),
    row(
        "keys of encrypted disks, and of modules that the machine signs",
        Kind.PRIVATE,
        "/etc/cryptsetup-keys.d/* /etc/luks/* /etc/luks-keys/* /etc/keys/* /etc/zfs/keys/* "
        "/crypto_keyfile.bin /*.keyfile /root/*.keyfile /etc/*.luks "
        "/var/lib/shim-signed/mok/*.priv /var/lib/dkms/*.key",
    ),
    row(
        "keys that a TPM or systemd seals for the machine",
        Kind.PRIVATE,
        "/var/lib/systemd/credential.secret /var/lib/systemd/tpm2* /etc/credstore.encrypted/* "
        "/var/lib/tpm2-tss/system/keystore/* /var/lib/swtpm-localca/*.pem /var/lib/fprint/* "
        "/var/lib/tpm/* /var/lib/tpm2/* /etc/tpm2_pkcs11/* /etc/tpm2-pkcs11/* "
        "/var/lib/tpm2_pkcs11/* /var/lib/softhsm/tokens/*",
    ),
    row(
        "registrations of agents",
        Kind.PRIVATE,
        "/etc/gitlab-runner/config.toml /var/lib/teleport/* /var/ossec/etc/client.keys "
        "/etc/cloud/cloud.cfg.d/*maas* /etc/boto.cfg /var/lib/cmk-agent/*.json "
        "/opt/splunkforwarder/etc/instance.cfg /opt/splunkforwarder/etc/auth/* "
        "/opt/splunk/etc/instance.cfg /opt/splunk/etc/auth/* /etc/opt/microsoft/*/*onboard* "
        "/etc/opt/microsoft/omsagent/*/certs/* /var/lib/icinga2/certs/*.key "
        "/etc/icinga2/pki/*.key /var/lib/puppet/state/*.pem "
        "/var/lib/github-runner/.credentials* /var/lib/buildkite-agent/*token* "
        "/etc/teleport.yaml",
    ),
    row(
        "keys and passwords of users",
        Kind.PRIVATE,
        homes(
            *(".ssh/id_*", ".aws", ".azure", ".oci", ".config/gcloud", ".kube", ".boto", ".s3cfg"),
            *(".docker/config.json", ".config/containers/auth.json", ".netrc", ".pgpass"),
            *(".git-credentials", ".config/git/credentials", ".config/gh/hosts.yml"),
            *(".gnupg/private-keys-v1.d", ".gnupg/secring.gpg", ".gnupg/openpgp-revocs.d"),
            *(".my.cnf", ".mylogin.cnf", ".pypirc", ".smbcredentials", ".vault-token"),
            *(".config/rclone", ".terraform.d/credentials.tfrc.json", ".ansible/vault*"),
            *(".vault_pass*", ".vnc/passwd", ".chef/*.pem", ".cargo/credentials*"),
            *(".gem/credentials", ".subversion/auth", ".password-store", ".local/share/keyrings"),
            *(
                ".npmrc",
                ".yarnrc.yml",
                ".m2/settings-security.xml",
                ".fetchmailrc",
            ),
            *(
                ".msmtprc",
                ".mbsyncrc",
                ".cifscredentials",
                ".smbcreds*",
                ".passwd-s3fs",
                ".terraformrc",
            ),
            *(
                ".config/openstack",
                ".config/hcloud",
                ".config/doctl",
                ".config/linode-cli",
                ".condor",
            ),
            *(".config/pip/pip.conf", ".pip/pip.conf", ".huggingface/token", ".kaggle/kaggle.json"),
            *(".cache/huggingface/token", ".config/composer/auth.json", ".config/borg/keys"),
            *(
                ".mozilla",
                ".thunderbird",
                ".config/google-chrome",
                ".config/chromium",
                ".ssh/*.pem",
            ),
            *(".ssh/*.key", ".ssh/*_rsa", ".ssh/*_ed25519", ".ssh/*_ecdsa", ".ssh/identity"),
            *(".globus/userkey.pem", ".google_authenticator", ".amandapass"),
        ),
    ),
)

SECRET = (
    row(
        "keys that the machines of a cluster share",
        Kind.SECRET,
        "/etc/munge/munge.key /etc/slurm*/*.key /etc/slurm*/slurmdbd.conf "
        "/var/spool/slurm*/*.key /var/lib/slurm*/*.key /etc/condor/passwords.d/* "
        "/etc/condor/tokens.d/* /etc/corosync/authkey /etc/pacemaker/authkey "
        "/etc/booth/authkey /etc/ha.d/authkeys /etc/heartbeat/authkeys /etc/ceph/*.keyring "
        "/etc/ceph/*.secret /etc/ceph/*.key /etc/beegfs/conn.auth /etc/beegfs/connauthfile "
        "/etc/lustre*.key /etc/lustre/*.key /etc/rancher/*/config.yaml /etc/zabbix/*.psk "
        "/etc/munge/*.key* /var/spool/slurm*/*/*.key /opt/slurm/etc/*.key "
        "/opt/slurm/etc/slurmdbd.conf /usr/local/etc/slurm*.key /usr/local/etc/slurmdbd.conf "
        "/etc/flux/system/*.cert /etc/cluster/*.key /var/lib/rabbitmq/.erlang.cookie "
        "/var/lib/couchdb/.erlang.cookie /root/.erlang.cookie /home/*/.erlang.cookie "
        "/etc/erlang.cookie /etc/zabbix/*/*.psk "
        "/var/lib/zabbix/*.psk /var/lib/zabbix/*/*.psk /usr/local/etc/ssh_host_*_key "
        "/usr/local/etc/ssh/ssh_host_*_key /etc/beegfs/*auth* /etc/glusterfs/*.key "
        "/etc/beegfs/*Auth* /etc/beegfs.auth /usr/local/etc/munge/*.key /usr/local/munge/etc/*.key "
        "/opt/*/etc/munge/*.key /opt/munge/etc/*.key /opt/slurm*/etc/*.key /opt/slurm/*/etc/*.key "
        "/opt/slurm/*/etc/slurmdbd.conf /usr/local/slurm*/etc/slurmdbd.conf /etc/slurm*/*/*.key "
        "/etc/slurm*/jwks.json /usr/local/slurm*/etc/*.key /var/lib/ceph/bootstrap-*/*.keyring "
        "/etc/ceph/secret* /etc/lustre/*/* /root/.lustre.key /etc/wpa_supplicant.conf",
    ),
    row(
        "keytabs of Kerberos",
        Kind.SECRET,
        "/etc/*.keytab /etc/*/*.keytab /var/kerberos/krb5/user/*/*.keytab /etc/*.keytab* "
        "/etc/*/*/*.keytab /root/*.keytab /home/*/*.keytab /var/lib/*/*.keytab "
        "/var/lib/*/*/*.keytab /opt/*/*.keytab /opt/*/*/*.keytab /srv/*.keytab "
        "/srv/*/*.keytab",
    ),
    row(
        "keys of name and time servers",
        Kind.SECRET,
        "/etc/rndc.key /etc/bind/*.key /etc/named/*.key /etc/named.*.key /etc/chrony.keys "
        "/etc/chrony/chrony.keys /etc/ntp.keys /etc/ntp/keys /etc/ntpsec/ntp.keys "
        "/etc/bind/*.private /var/lib/bind/*.private /var/cache/bind/*.private "
        "/var/named/*.private /var/named/dynamic/*.private /etc/named/*.private /etc/tsig.key "
        "/etc/dhcp/*.key /etc/nsd/*.key /etc/knot/*.key /etc/powerdns/*.key",
    ),
    row(
        "passwords for mail, web and file servers",
        Kind.SECRET,
        "/etc/exim4/passwd.client /etc/exim/passwd.client /etc/postfix/sasl_passwd* "
        "/etc/postfix/sasl/*passwd* /etc/msmtprc /etc/nullmailer/remotes /etc/davfs2/secrets "
        "/etc/samba/smbpasswd /etc/*credentials /etc/samba/*credentials* /etc/.smbcredentials "
        "/etc/apt/auth.conf /etc/apt/auth.conf.d/* /etc/credstore/* /etc/*cred* /etc/.*cred* "
        "/etc/cifs*pass* /etc/rsyncd.secrets /etc/rsync.secrets /etc/rsync*.pass* "
        "/etc/*/htpasswd* /etc/*/.htpasswd* /etc/*/*/.htpasswd* /etc/squid/*passwd* "
        "/etc/dovecot/users /etc/dovecot/passwd* /etc/davfs2/*secrets* /etc/passwd-s3fs "
        "/etc/nut/upsd.users /etc/ups/upsd.users /etc/fetchmailrc /etc/vsftpd/*.pwd "
        "/etc/security/opasswd",
    ),
    row(
        "passwords for directories of users",
        Kind.SECRET,
        "/etc/ldap.secret /etc/pam_ldap.secret /etc/libnss-ldap.secret",
    ),
    row(
        "passwords for directories of users, in files that hold more",
        Kind.SECRET,
        "/etc/sssd/sssd.conf /etc/sssd/conf.d/*.conf /etc/nslcd.conf /etc/ldap.conf "
        "/etc/pam_ldap.conf /etc/libnss-ldap.conf /etc/ldap/ldap.conf",
        rb"(?im)^[ \t]*(ldap_default_authtok[ \t]*=|bindpw[ \t])[ \t]*\S",
    ),
    row(
        "keys of agents, in files that hold more",
        Kind.SECRET,
        "/etc/datadog-agent/datadog.yaml /etc/newrelic-infra.yml /etc/duo/*.conf",
        rb"(?im)^[ \t]*(api_key|license_key|skey)[ \t]*[:=][ \t]*\S",
    ),
    row(
        "passwords and tokens, in settings that hold more",
        Kind.SECRET,
        "/etc/telegraf/*.conf /etc/telegraf/telegraf.d/*.conf /etc/zabbix/*.conf "
        "/etc/zabbix/*/*.conf /etc/letsencrypt/*.ini /etc/snmp/*.conf /etc/keepalived/*.conf "
        "/etc/drbd.conf /etc/drbd.d/* /etc/bacula/*.conf /etc/bareos/*/*/*.conf /etc/frr/*.conf "
        "/etc/quagga/*.conf /etc/hostapd/*.conf /etc/raddb/clients.conf /etc/freeradius/*/*.conf "
        "/etc/pam_radius_auth.conf /etc/autofs_ldap_auth.conf /etc/openldap/*.conf "
        "/etc/ldap/slapd.conf /etc/freeipmi/*.conf /etc/borgmatic/*.yaml /etc/borgmatic.d/*.yaml "
        "/etc/BackupPC/*.pl /etc/backuppc/*.pl /etc/grafana/*.ini /etc/filebeat/*.yml "
        "/etc/metricbeat/*.yml /etc/consul.d/* /etc/nomad.d/* /etc/vault.d/* /etc/nut/upsmon.conf "
        "/etc/ups/upsmon.conf /etc/prometheus/*.yml /etc/restic* /etc/restic/* "
        "/etc/salt/master /etc/salt/master.d/*.conf /etc/salt/roster "
        "/etc/fluent/*.conf /etc/td-agent/*.conf /etc/ganglia/*.conf /etc/iscsi/iscsid.conf "
        "/etc/nagios/*.cfg /etc/icinga2/*.conf /etc/monit/monitrc /etc/monitrc /etc/lvm/*.secret",
        _PASSWORD,
    ),
    row(
        "passwords in addresses of repositories and proxies",
        Kind.SECRET,
        "/etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/apt.conf /etc/apt/apt.conf.d/* "
        "/etc/yum.conf /etc/yum.repos.d/*.repo /etc/dnf/dnf.conf /etc/zypp/repos.d/*.repo "
        "/etc/pip.conf /etc/environment /etc/profile.d/* /etc/wgetrc /etc/curlrc "
        "/etc/sysconfig/proxy /etc/systemd/system/*.d/*.conf /etc/systemd/system.conf.d/*.conf",
        _IN_ADDRESS,
    ),
    row(
        "databases, with what users keep in them",
        Kind.SECRET,
        "/var/lib/postgresql/*/*/PG_VERSION /var/lib/pgsql/data/PG_VERSION "
        "/var/lib/pgsql/*/data/PG_VERSION /var/lib/mysql/ibdata1 /var/lib/mysql/*/ibdata1 "
        "/var/lib/ldap/*.mdb /var/lib/redis/*.rdb /var/lib/redis/*.aof /var/lib/mongo*/WiredTiger "
        "/var/lib/influxdb/*/*.db /var/lib/dirsrv/*/db/*/*.db /var/lib/grafana/grafana.db",
    ),
    row(
        "credentials that build servers keep",
        Kind.SECRET,
        "/var/lib/jenkins/secrets/* /var/lib/jenkins/secret.key /var/lib/jenkins/credentials.xml",
    ),
    row(
        "answers to questions of packages, and logins of snapd",
        Kind.SECRET,
        "/var/cache/debconf/passwords.dat /var/lib/snapd/state.json",
        rb"(?m)^Value:\s*\S|\"macaroon\"\s*:\s*\"",
    ),
)
