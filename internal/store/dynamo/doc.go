// Package dynamo keeps a store.Store in one DynamoDB table: the engine of the serverless shape.
//
// The table is made by the deployment, not here: partition key pk and sort key sk, both strings, on demand, with
// "expires" as its time to live. An item has beside them its version v, a number, and its value d, binary. The largest
// item and the largest Write of the contract fit into DynamoDB's 400 KB and 4 MB with names and numbers counted.
//
// # Conditions and retries
//
// A Write under conditions is a transaction, and all its items are written or none. DynamoDB remembers a transaction
// by its token for ten minutes. While an answer is missing, the transaction is repeated under the same token, so it is
// carried out once and the repetition learns what became of it; once DynamoDB has said that it was cancelled, for
// another transaction on the same item or for throttling, it is made anew under another. All repetitions pause, with
// full jitter, and end after a number of attempts or with the context.
//
// What then remains is one of the contract's errors. store.ErrConflict is certain: nothing was written.
// store.ErrUnavailable is throttling, a failing or unreachable service, and every Write whose outcome nobody learnt. A
// single op without a condition is a plain request, at half the price; a repetition of it may land on top of somebody
// else's change that came in between. Only verdicts are written so: what they are is in their keys, so nobody changes one.
//
// # Expiry
//
// DynamoDB removes expired items hours or days late. Until then they are filtered out here, on reading and in
// conditions, by the store's own clock.
//
// # What it costs
//
// These are the requests behind each call of package store, with read and write units. Nothing is scanned. One read
// unit is a strongly consistent read of 4 KB, half of one when it may be a moment old; one write unit is 1 KB, two in a
// transaction. TestAccessPatterns measures the table: read units are what DynamoDB Local reports; write units follow
// DynamoDB's rule (WriteUnits), because DynamoDB Local miscounts transactions of several items.
//
//	what                                                                                read   write
//	revision of an app                                                                 0.5
//	  Get    APP#{app} / APP, eventual
//	Snapshot of an app, 11 KB                                                          1.5
//	  Get    APP#{app} / SNAPSHOT, eventual
//	Facts of a device that has some                                                      1
//	  Get    DEVICE#{app}#{device} / DEVICE, strong
//	Facts of a device that has none                                                      1
//	  Get    DEVICE#{app}#{device} / DEVICE, strong
//	change of a device's Facts                                                           1       2
//	  Get    DEVICE#{app}#{device} / DEVICE, strong
//	  Put    DEVICE#{app}#{device} / DEVICE, if unchanged
//	State of an app with 12 channels and bundles of 5 KB each                           18
//	  Get    APP#{app} / APP, strong (2×)
//	  Query  APP#{app} / BUNDLE#*, strong
//	  Query  APP#{app} / CHANNEL#*, strong
//	  Query  APP#{app} / DEVICE#*, strong
//	  Query  APP#{app} / PLAN#*, strong
//	  Query  APP#{app} / ROLLOUT#*, strong
//	  Query  APP#{app} / SEGMENT#*, strong
//	commit of a rollout's transition, with that Snapshot                                 3      28
//	  Get    APP#{app} / SNAPSHOT, strong
//	  Put    APP#{app} / APP, if unchanged
//	  Put    APP#{app} / EVENT#{id}, if absent
//	  Put    APP#{app} / ROLLOUT#{rollout}
//	  Put    APP#{app} / SNAPSHOT
//	commit of a device's channel, with that Snapshot                                     4      28
//	  Get    APP#{app} / SNAPSHOT, strong
//	  Get    DEVICE#{app}#{device} / DEVICE, strong
//	  Put    APP#{app} / APP, if unchanged
//	  Put    APP#{app} / DEVICE#{device}
//	  Put    APP#{app} / SNAPSHOT
//	  Put    DEVICE#{app}#{device} / DEVICE, if absent
//	list of apps                                                                         1
//	  Query  APPS, strong
//	page of 50 audit events                                                              3
//	  Query  APP#{app} / EVENT#*, limit 50, strong
//	live rollouts                                                                        1
//	  Query  LIVE, strong
//	tallies of a rollout, 24 hours                                                      29
//	  Query  TALLY#{app}#{rollout} / newest#*, strong
//	  Query  TALLY#{app}#{rollout}, strong
//	first verdict of an hour, 24 hours                                                           3
//	  Put    VERDICT#{app}#{rollout} / frame#{ms}-{digest}#{part}
//	  Put    VERDICT#{app}#{rollout} / verdict#{ms}-{digest}
//	  Query  VERDICT#{app}#{rollout} / frame#*, limit 1, eventual
//	verdict of a tick, 24 hours                                                        0.5       1
//	  Put    VERDICT#{app}#{rollout} / verdict#{ms}-{digest}
//	  Query  VERDICT#{app}#{rollout} / frame#*, limit 1, eventual
//	those 2 verdicts                                                                     2
//	  Query  VERDICT#{app}#{rollout} / frame#{ms}-{digest}#*, strong
//	  Query  VERDICT#{app}#{rollout} / verdict#*, limit 100, strong
//	checkpoint of a shard                                                                1
//	  Get    SHARD#{stream} / {shard}, strong
//	census of a rollout in a shard, 2 leaves of 100 KB and 10 patches of 4 KB           59
//	  Query  SEEN#{app}#{rollout}#{stream}#{shard}, strong
//	one row of tallies of a shard                                                        1
//	  Get    TALLY#{app}#{rollout} / {phase}#{hour}#{arm}#{shard}, strong
//	newest check of a shard                                                              1
//	  Get    TALLY#{app}#{rollout} / newest#{shard}, strong
//	commit of a fold: 4 rows and a patch of 4 KB                                                20
//	  Put    SEEN#{app}#{rollout}#{stream}#{shard} / patch#{n}
//	  Put    SHARD#{stream} / {shard}, if unchanged
//	  Put    TALLY#{app}#{rollout} / newest#{shard}
//	  Put    TALLY#{app}#{rollout} / {phase}#{hour}#{arm}#{shard} (4×)
//	token of a secret                                                                    1
//	  Get    TOKEN#{hash} / TOKEN, strong
//	list of tokens                                                                       1
//	  Query  TOKENS, strong
//	new token                                                                                    4
//	  Put    TOKEN#{hash} / TOKEN, if absent
//	  Put    TOKENS / {name}, if absent
//	revocation of a token                                                                1       4
//	  Delete TOKENS / {name}, if unchanged
//	  Get    TOKENS / {name}, strong
//	  Put    TOKEN#{hash} / TOKEN
//	first signing key                                                                    1       2
//	  Get    KEYS / SIGNING, strong
//	  Put    KEYS / SIGNING, if absent
//	signing keys                                                                         1
//	  Get    KEYS / SIGNING, strong
//	next signing key                                                                     1       2
//	  Get    KEYS / SIGNING, strong
//	  Put    KEYS / SIGNING, if unchanged
//	deletion of an app                                                                  21     188
//	  Check  APP#{app} / APP, if unchanged (4×)
//	  Delete APP#{app} / BUNDLE#{version} (12×)
//	  Delete APP#{app} / CHANNEL#{name} (12×)
//	  Delete APP#{app} / DEVICE#{device}
//	  Delete APP#{app} / ROLLOUT#{rollout}
//	  Delete APP#{app} / SNAPSHOT
//	  Delete APPS / {app}
//	  Delete DEVICE#{app}#{device} / DEVICE, if unchanged
//	  Delete LIVE / {app}#{rollout}
//	  Get    APP#{app} / SNAPSHOT, strong
//	  Get    DEVICE#{app}#{device} / DEVICE, strong
//	  Put    APP#{app} / APP, if unchanged
//	  Put    APP#{app} / EVENT#{id}, if absent
//	  Query  APP#{app} / BUNDLE#*, strong
//	  Query  APP#{app} / CHANNEL#*, strong
//	  Query  APP#{app} / DEVICE#*, strong
//	  Query  APP#{app} / PLAN#*, strong
//	  Query  APP#{app} / ROLLOUT#*, strong
//	  Query  APP#{app} / SEGMENT#*, strong
package dynamo
