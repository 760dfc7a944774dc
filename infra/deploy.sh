#!/usr/bin/env bash
# Builds Palier and deploys it to AWS: make deploy [ENV=staging] [TOKEN=1].
set -euo pipefail
source "$(dirname "$0")/environment.sh"

# The first admin token is made here and stays here; the stack gets its hash only. Without TOKEN=1 the stack keeps what it
# has.
if [ "${FIRST_TOKEN:-}" = 1 ]; then
	token=.palier/$stack.token
	if [ ! -s "$token" ]; then # a deployment that is tried again keeps the token of the first try
		make build
		mkdir -p .palier
		(umask 077 && bin/palier token new --json | tr -d ' \n' | sed -n 's/.*"token":"\([^"]*\)".*/\1/p' | tr -d '\n' >"$token")
	fi
	hash=$({ sha256sum <"$token" || shasum -a 256 <"$token"; } 2>/dev/null | cut -c1-64)
	[ -s "$token" ] && [ ${#hash} = 64 ] || die "\"palier token new\" made no token."
	changed=$(mktemp -d)
	trap 'rm -rf "$changed"' EXIT
	awk -v section="[$environment.deploy.parameters]" -v hash="$hash" '
		/^\[/ { inside = ($0 == section) }
		inside && /^parameter_overrides *= *".*" *$/ { sub(/" *$/, " AdminTokenSha256=\\\"" hash "\\\"\""); done = 1 }
		{ print }
		END { exit !done }' "$config" >"$changed/samconfig.toml" ||
		die "$config has no parameter_overrides = \"…\" on one line in [$environment.deploy.parameters]: add it, if only with Stage."
	config=$changed/samconfig.toml
fi

echo "Deploying the stack $stack to $account${region:+, $region}."
sam build --config-file "$config" --config-env "$environment"
sam deploy --config-file "$config" --config-env "$environment" --template-file .aws-sam/build/template.yaml

cat <<NEXT

Palier is deployed as $stack. Above, the outputs:
  UpdateUrl, StatsUrl, ChannelUrl   go into the apps' capacitor.config; CapacitorConfig is all three to paste
  OperatorUrl                       is for you: export PALIER_SERVER=<OperatorUrl>
NEXT
if [ "${FIRST_TOKEN:-}" = 1 ]; then
	cat <<NEXT
The first admin token is in $token, readable by you only: export PALIER_TOKEN=\$(cat $token)
Then: bin/palier apply -f shop.yaml
NEXT
else
	echo "There is no token yet? make deploy ENV=$environment TOKEN=1 makes the first one."
fi
if [[ $(setting deploy parameter_overrides) != *AlarmEmail* ]]; then
	echo "Nobody is told of alarms: add AlarmEmail to the parameters in samconfig.toml."
fi
