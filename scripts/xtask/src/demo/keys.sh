# Keys for secure boot: variables that are written only with a signature. /keys has signed values
# and what is read afterwards (keys.rs). It is read by variables.sh, which mounts efivarfs.
global=8be4df61-93ca-11d2-aa0d-00e098032b8c
database=d719b2cb-3d3a-4596-a3bc-dad00e67656f

# Prints the path of a variable.
key() {
	case $1 in
	db) echo "$folder/db-$database" ;;
	*) echo "$folder/$1-$global" ;;
	esac
}
# Writes a value of /keys to a variable, by one call.
write() {
	[ -e "$(key "$1")" ] && chattr -i "$(key "$1")"
	dd if="/keys/$2" of="$(key "$1")" bs=64k count=1 2>/dev/null
}
# Succeeds if a variable has these contents.
has() {
	tail -c +5 "$(key "$1")" | cmp -s - "/keys/$2"
}
setup_mode() {
	tail -c 1 "$(key SetupMode)" | od -An -tu1 | tr -d ' '
}

# Enrols the keys. They count from the moment at which PK is there.
enrol() {
	same "SetupMode before" "$(setup_mode)" 1
	for name in db KEK PK; do
		write "$name" "$name.auth" || echo "demo: failed: $name cannot be written"
	done
	if has PK PK.esl && has KEK KEK.esl && has db db.esl && [ "$(setup_mode)" = 0 ]; then
		echo "demo: keys: PK, KEK and db are enrolled"
	else
		echo "demo: failed: the keys are not enrolled"
	fi
}

# Replaces db with the right signature.
replace_db() {
	if write db db-next.auth && has db db-next.esl; then
		echo "demo: keys: a right signature is taken"
	else
		echo "demo: failed: a right signature is refused"
	fi
}

# Notes that a write of a variable was refused and changed nothing.
refused=0
check_refused() {
	if [ "$1" != 0 ] && has PK PK.esl && has KEK KEK.esl && has db "$2"; then
		refused=$((refused + 1))
	else
		echo "demo: failed: $3 is taken"
	fi
}

# Tries what must be refused: other keys, contents that were changed, an old value, none at all.
# The argument is what db has.
refuse() {
	for name in PK KEK db; do
		write "$name" "$name-stranger.auth"
		check_refused $? "$1" "$name of a stranger"
	done
	write db db-changed.auth
	check_refused $? "$1" "a changed db"
	write db db.auth
	check_refused $? "$1" "an old db"
	printf '\007\000\000\000text' 2>/dev/null >"$(key db)"
	check_refused $? "$1" "a db without a signature"
	rm "$(key db)" 2>/dev/null
	check_refused $? "$1" "the removal of db"
	echo "demo: keys: $refused wrong ones are refused"
}

# Removes PK with its signature, after which anybody may enrol keys.
remove_pk() {
	if write PK PK-gone.auth && [ ! -e "$(key PK)" ] && [ "$(setup_mode)" = 1 ]; then
		echo "demo: keys: PK is removed"
	else
		echo "demo: failed: PK is still there"
	fi
}
