# mirror_uri: base URI of the Debian mirror in this machine's apt configuration. Nothing is hard-coded.
#
# `apt-get indextargets` knows it once an index was downloaded; before the first `apt-get update` the source lists are read:
# deb822 (*.sources) and one-line (*.list).

mirror_from_indextargets()
{
	apt-get indextargets --format '$(REPO_URI)|$(ORIGIN)|$(CODENAME)' 'Created-By: Packages' 2>/dev/null |
		awk -F'|' '$2 == "Debian" && $3 !~ /-(updates|security|backports)/ { print $1; exit }'
}

mirror_from_lists()
{
	dir=$(apt-config shell d Dir::Etc/d 2>/dev/null | sed "s/^d='\(.*\)'$/\1/")
	dir=${dir:-/etc/apt}
	cat "$dir"/sources.list.d/*.sources "$dir"/sources.list "$dir"/sources.list.d/*.list 2>/dev/null | awk '
		tolower($1) == "uris:" && $2 ~ /\/debian\/?$/ { print $2; exit }
		$1 == "deb" {
			for (i = 2; i <= NF; i++)
				if ($i ~ /^(https?|file|ftp):.*\/debian\/?$/) { print $i; exit }
		}'
}

mirror_uri()
{
	uri=$(mirror_from_indextargets)
	[ -n "$uri" ] || uri=$(mirror_from_lists)
	[ -n "$uri" ] || die "cannot find a Debian mirror in apt's configuration; set DEPS_DIR= to a directory with the files of deps/sources.lock"
	echo "${uri%/}"
}
