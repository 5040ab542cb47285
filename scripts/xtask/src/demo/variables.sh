#!/bin/sh
# Variables of UEFI, read and written through efivarfs. VARIABLES says what is expected of the
# store: `empty`, `shell` after the script of UEFI's shell, or `kept` after this script. REPEAT says
# how often variables are written and removed after that. A file begins with the attributes of the
# variable, 4 bytes: 7 is non-volatile, and accessible at boot and at run time.
folder=/sys/firmware/efi/efivars
guid=5c0e1b6c-3d5f-4b3e-9a77-0f6f1d2c8e94

insmod /modules/efivarfs.ko
mount -t efivarfs efivarfs "$folder"
[ -n "$SHELL_WANTED" ] && exit

path() {
	echo "$folder/$1-$guid"
}
put() {
	[ -e "$(path "$1")" ] && chattr -i "$(path "$1")"
	printf '\007\000\000\000%s' "$2" >"$(path "$1")"
}
get() {
	tail -c +5 "$(path "$1")"
}
remove() {
	chattr -i "$(path "$1")" && rm "$(path "$1")"
}
count() {
	find "$folder" -name "*-$guid" | wc -l
}
# Says whether two texts are the same.
same() {
	if [ "$2" = "$3" ]; then
		echo "demo: variables: $1"
	else
		echo "demo: failed: $1: $2 in place of $3"
	fi
}
# Writes, reads and removes variables again and again.
repeat() {
	for turn in $(seq "$1"); do
		for number in $(seq 5); do
			put "Turn$number" "$turn $number"
			[ "$(get "Turn$number")" = "$turn $number" ] || echo "demo: failed: Turn$number"
		done
		for number in $(seq 5); do
			remove "Turn$number"
		done
	done
	echo "demo: variables: $1 turns"
}
# shellcheck source=keys.sh
. /keys.sh
long=$(seq -s ' ' 1 1000)

find "$folder" -name 'Boot*' | grep -q . || echo "demo: failed: no variables of UEFI itself"
case $VARIABLES in
empty | shell)
	if [ "$VARIABLES" = empty ]; then
		same "none of an earlier boot" "$(count)" 0
		[ -e "$(key PK)" ] || echo "demo: keys: none of an earlier boot"
	else
		same "the text of the shell survived" "$(get Shell | tr -d '\000')" "from the shell"
		remove Shell
	fi
	put Text first
	same "a text is read back" "$(get Text)" first
	put Text "the second text"
	same "a text is replaced" "$(get Text)" "the second text"
	put Long "$long"
	same "a long text is read back" "$(get Long)" "$long"
	put Gone "to be removed"
	remove Gone
	[ -e "$(path Gone)" ] && echo "demo: failed: a variable is still there"
	for number in $(seq 1 40); do
		put "Number$number" "$number"
	done
	same "many are listed" "$(count)" 42
	# A volatile variable cannot be made at run time.
	printf '\006\000\000\000volatile' 2>/dev/null >"$(path Volatile)"
	same "a volatile one is refused" "$(count)" 42
	enrol
	replace_db
	refuse db-next.esl
	;;
kept)
	same "a text survived the power-off" "$(get Text)" "the second text"
	same "a long text survived the power-off" "$(get Long)" "$long"
	same "many survived the power-off" "$(count)" 42
	for number in $(seq 1 40); do
		[ "$(get "Number$number")" = "$number" ] || echo "demo: failed: Number$number"
		remove "Number$number"
	done
	same "many are removed" "$(count)" 2
	if has PK PK.esl && has KEK KEK.esl && has db db-next.esl && [ "$(setup_mode)" = 0 ]; then
		echo "demo: keys: PK, KEK and db survived the power-off"
	fi
	refuse db-next.esl
	remove_pk
	;;
esac
[ -n "$REPEAT" ] && repeat "$REPEAT"
