// Package cloud is what every function on AWS stands on: what its environment says, and the engines, log, clock and
// metrics made from it.
//
// A function starts many times a day, and a device waits for it. So nothing here asks anybody anything before the first
// request: the configuration is built from the variables that Lambda sets, credentials are the ones in the environment,
// and a client is only made when it is first used. That is also why config.LoadDefaultConfig is not used: its search for
// files, profiles and metadata services takes longer than the whole rest of a start.
//
// The variables of Lambda itself: AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN,
// AWS_LAMBDA_FUNCTION_NAME, AWS_LAMBDA_INITIALIZATION_TYPE. AWS_ENDPOINT_URL_DYNAMODB, AWS_ENDPOINT_URL_KINESIS and
// AWS_ENDPOINT_URL_S3 lead to other servers than AWS's. Palier's own, of which a function has those it uses:
//
//	PALIER_TABLE               the DynamoDB table
//	PALIER_STREAM              the Kinesis stream
//	PALIER_STATE               the private bucket: large Snapshots and dead letters
//	PALIER_SNAPSHOT_TTL        how long a Snapshot answers before the table is asked again; a Go duration
//	PALIER_LOG_LEVEL           debug, info, warn or error
//	PALIER_TRUST_PROXIES       the networks of proxies to believe on where devices ask from, between commas; none if empty
//	PALIER_EDGES               the addresses of edges to tell of changes, between commas; none if empty
//	PALIER_ADMIN_TOKEN_SHA256  hexadecimal SHA-256 of the first admin token; none if empty
//	PALIER_CLOCK               a clock that runs faster; see clock.Parse
package cloud
