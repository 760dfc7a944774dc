#!/usr/bin/env bash
# Builds TinyGo from source, at one exact version, into a folder of its own. TinyGo makes the small WebAssembly module
# that ships to edges; who is content with the standard Go build does not need it.
#
#   infra/edge/tinygo.sh [DIR]     DIR is bin/tinygo of this repository unless given; run DIR/bin/tinygo then
#   infra/edge/tinygo.sh --can     says whether that would work here: what it needs is there, or it can install it
#
# It needs Go and a C++ compiler, which make TinyGo, and from the distribution LLVM 19 and its linker. As root on Debian
# 12 it installs those itself: about 140 MB to fetch and 1 GB of disk. Building takes about 80 seconds of processor time
# and 0.7 GB of memory. Run again, it does nothing: TinyGo is only built anew when Go or this script has changed.
set -euo pipefail

# TinyGo's version, the checksum that every module proxy and sum.golang.org have for it, and the newest Go it knows.
module=github.com/tinygo-org/tinygo
version=v0.41.1
checksum=h1:Hp1Frc4zQALL88t49XraSZEwkIYEjMOmmurlmsTigzE=
newest_go=26

# What the distribution brings, by major version, and the very version that our figures were measured with. A point
# release of Debian may bring a later one; the module's size may then differ by some bytes, not its answers.
llvm=19
measured_llvm=19.1.7
packages="llvm-$llvm-dev libclang-$llvm-dev lld-$llvm g++"

say() { echo "tinygo.sh: $*"; }

die() {
	echo "tinygo.sh: $*" >&2
	exit 1
}

case ${1:-} in --can) ;; -*) die "usage: infra/edge/tinygo.sh [DIR], or infra/edge/tinygo.sh --can" ;; esac
dir=${1:-$(dirname "${BASH_SOURCE[0]}")/../../bin/tinygo}
script=$(readlink -f "${BASH_SOURCE[0]}")

# missing says what TinyGo needs, to be built or to be used, and does not find here, by the package that brings it.
missing() {
	local list=
	command -v "llvm-config-$llvm" >/dev/null && [ -d "/usr/include/llvm-$llvm" ] || list+=" llvm-$llvm-dev"
	[ -f "/usr/lib/llvm-$llvm/include/clang-c/Index.h" ] || list+=" libclang-$llvm-dev"
	command -v "wasm-ld-$llvm" >/dev/null || list+=" lld-$llvm"
	command -v "${CXX:-g++}" >/dev/null || list+=" g++"
	echo "${list# }"
}

install_packages() {
	local list
	list=$(missing)
	if [ -z "$list" ]; then
		say "LLVM $llvm and its linker are here"
		return
	fi
	command -v apt-get >/dev/null ||
		die "missing: $list (Debian's names). Install LLVM $llvm with libclang's headers and lld, then run this again."
	[ "$(id -u)" = 0 ] ||
		die "missing: $list. As root: apt-get update; apt-get install -y --no-install-recommends $packages"
	say "installing $list"
	apt-get update -qq
	# shellcheck disable=SC2086 # a list of packages
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $list >/dev/null ||
		die "apt-get could not install $list. Debian 12 and newer have LLVM $llvm; for others see https://apt.llvm.org."
	list=$(missing)
	[ -z "$list" ] || die "still missing after the installation: $list"
}

# note_version tells, without stopping, that the figures were measured with another LLVM.
note_version() {
	local have
	have=$("llvm-config-$llvm" --version)
	[ "$have" = "$measured_llvm" ] || say "note: LLVM is $have; sizes were measured with $measured_llvm"
}

need_go() {
	command -v go >/dev/null || die "Go is missing: https://go.dev/dl/"
	local minor
	minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
	[ -n "$minor" ] || die "the version of Go cannot be read: go env GOVERSION says $(go env GOVERSION)"
	[ "$minor" -le "$newest_go" ] ||
		die "TinyGo $version knows Go up to 1.$newest_go, and this is Go 1.$minor: set GOTOOLCHAIN=go1.$newest_go.0."
}

# fetch prints the folder of TinyGo's source in the module cache. The checksum is compared here as well, because no
# go.sum has TinyGo's and a machine may be set up not to ask the checksum database.
fetch() {
	local answer
	answer=$(cd / && go mod download -json "$module@$version") || die "TinyGo $version cannot be fetched: $answer"
	local sum
	sum=$(field Sum <<<"$answer")
	[ "$sum" = "$checksum" ] ||
		die "TinyGo $version has the checksum $sum, not $checksum: it was changed on the way here; see GOPROXY."
	field Dir <<<"$answer"
}

# field prints a member of the JSON of go mod download, which has one a line.
field() { sed -n "s/^[[:space:]]*\"$1\": \"\(.*\)\",\{0,1\}$/\1/p"; }

# build fills a new folder with all that TinyGo needs at run time. It finds it by where its command lies.
build() {
	local source=$1 to=$2
	mkdir -p "$to/bin" "$to/src/net"
	# Modules come without git submodules. Our target needs none of them: TinyGo lays its src over the standard library's,
	# and where its src/net is empty the standard net remains.
	cp -R "$source/src" "$source/targets" "$to"
	# A go.mod keeps TinyGo's library out of this repository's "./...".
	cp "$source/go.mod" "$to"
	chmod -R u+w "$to"
	no_wasm_opt "$to/bin/wasm-opt"
	# Without GOFLAGS of the user's: a -mod or -tags there is meant for other modules.
	(
		cd "$source"
		CGO_ENABLED=1 GOFLAGS='' GOWORK=off go build -tags "llvm$llvm" -trimpath -ldflags '-s -w' -o "$to/bin/tinygo" .
	)
}

# no_wasm_opt puts a wasm-opt where TinyGo looks first that only copies. TinyGo insists on running one. On our module
# the real one saves 3 % of the bytes, none of them after compression, and makes calls slower by a tenth; so we do not
# ask anyone to install it.
no_wasm_opt() {
	cat >"$1" <<-'EOF'
		#!/bin/sh
		# TinyGo calls: wasm-opt -LEVEL -g INPUT --output OUTPUT, and once: wasm-opt --version
		[ "$1" != --version ] || { echo "wasm-opt version 999 (copies only)"; exit; }
		exec cp "$3" "$5"
	EOF
	chmod +x "$1"
}

if [ "${1:-}" = --can ]; then
	list=$(missing)
	[ -z "$list" ] || { command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; } || {
		say "not here: $list missing"
		exit 1
	}
	exit
fi

need_go
install_packages
note_version

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
stamp="$version llvm$llvm $(go env GOVERSION) $(cksum <"$script")"
if [ -x "$dir/bin/tinygo" ] && [ "$(cat "$dir/stamp" 2>/dev/null)" = "$stamp" ]; then
	say "TinyGo ${version#v} is in $dir"
	exit
fi
say "fetching TinyGo ${version#v}"
source=$(fetch)
say "building TinyGo ${version#v}; this takes a minute or two"
new=$(mktemp -d "$dir.XXXXXX")
trap 'rm -rf "$new"' EXIT
build "$source" "$new"
echo "$stamp" >"$new/stamp"
chmod 755 "$new"
rm -rf "$dir"
mv "$new" "$dir"
say "$("$dir/bin/tinygo" version) is in $dir"
