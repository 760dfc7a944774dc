#!/usr/bin/env bash
# Removes Palier from AWS: make teardown [ENV=staging]. It asks before it does.
set -euo pipefail
source "$(dirname "$0")/environment.sh"

cat <<WHAT
This removes the stack $stack from $account${region:+, $region}:
  goes    the functions, the API with its address, the schedule, CloudFront, alarms, logs, and the stream with telemetry
          that has not been counted. Apps whose capacitor.config names this address get no more updates.
  stays   the table and both buckets, with all that is in them: CloudFormation leaves them alone, and while
          DeletionProtection is true DynamoDB refuses to delete the table, whoever asks. They go on costing a little. A new
          deployment makes new ones and does not take these up. To be rid of them, empty and delete the buckets, switch
          the protection of the table off, and delete it, in the AWS console or with the aws command.
WHAT
read -r -p "Type the stack's name to go on: " answer || true
[ "$answer" = "$stack" ] || die "Nothing was removed."
sam delete --config-file "$config" --config-env "$environment" --stack-name "$stack" ${region:+--region "$region"} --no-prompts
