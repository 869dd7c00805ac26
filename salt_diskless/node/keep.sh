# shellcheck shell=sh
# Copies what has changed of the files that a node keeps back into its snapshot, each by a rename.
# Started by systemd when one of them has changed. Written by salt-diskless.

dl_run=${dl_run:-/run/diskless}
dl_changed=yes
# Until a look finds nothing: what changes during a copy may not start this again.
while [ -n "$dl_changed" ]; do
	dl_changed=''
	while read -r dl_path; do
		dl_kept=$dl_run/snapshot$dl_path
		cmp -s "$dl_path" "$dl_kept" && continue
		[ -f "$dl_path" ] && cp -p "$dl_path" "$dl_kept.diskless-new" &&
			mv "$dl_kept.diskless-new" "$dl_kept" || exit 1
		dl_changed=yes
	done <"$dl_run/kept"
	[ -z "$dl_changed" ] || sleep 1
done
