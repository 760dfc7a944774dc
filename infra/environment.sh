# Shared by deploy.sh and teardown.sh, which source it: which environment is meant, and whether AWS can be reached.
# SAM_CONFIG_ENV is a section of the configuration; `make deploy ENV=staging` sets it.

die() {
	echo "$*" >&2
	exit 1
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
environment=${SAM_CONFIG_ENV:-default}
config=$PWD/samconfig.toml
[ -f "$config" ] || config=$PWD/infra/samconfig.example.toml

# setting prints the value of a key in the section [environment.command.parameters] of the configuration.
setting() {
	awk -v section="[$environment.$1.parameters]" -v key="$2" '
		/^\[/ { inside = ($0 == section) }
		inside && $1 == key && $2 == "=" { sub(/^[^=]*= *"?/, ""); sub(/"? *(#.*)?$/, ""); print; exit }' "$config"
}

stack=$(setting deploy stack_name)
[ -n "$stack" ] || die "$config has no environment \"$environment\": add a section [$environment.deploy.parameters] with a stack_name."

command -v sam >/dev/null || die "The AWS SAM CLI is missing: https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/install-sam-cli.html"
if command -v aws >/dev/null; then
	account=$(aws sts get-caller-identity --query Account --output text) ||
		die "AWS does not accept your credentials: run \"aws configure\" or \"aws sso login\", or set AWS_PROFILE."
elif [ -n "${AWS_ACCESS_KEY_ID:-}${AWS_PROFILE:-}${AWS_WEB_IDENTITY_TOKEN_FILE:-}${AWS_CONTAINER_CREDENTIALS_RELATIVE_URI:-}" ] ||
	[ -f "${AWS_SHARED_CREDENTIALS_FILE:-$HOME/.aws/credentials}" ]; then
	account="the account of your credentials"
else
	die "There are no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
fi
region=$(setting deploy region)
region=${region:-${AWS_REGION:-${AWS_DEFAULT_REGION:-}}}
if [ -z "$region" ] && ! grep -qs '^region' "${AWS_CONFIG_FILE:-$HOME/.aws/config}"; then
	die "There is no AWS region: set AWS_REGION, such as AWS_REGION=eu-west-1."
fi
