// Package forecast plays a rollout forward before it starts.
//
// # The idea
//
// Nobody can say what a bundle will do, but everybody can say what the judge would do if the bundle did this or that. So
// a plan is played many times against invented devices: once with a bundle that does no harm, and once for each of several
// that do, and the plays are counted. A play asks the real judge at every step and follows its decisions, so whatever the
// judge can and cannot see is in the answer: how long each phase lasts, how often a good bundle is stopped for nothing, and
// how many devices a bad one harms before it is stopped.
//
// # The devices
//
// Devices are counted, never drawn one by one: what happens in a step is one binomial draw for each arm, habit and metric,
// so that a million devices cost what a thousand do. A device
//
//   - asks for updates as a Poisson process. A third of the devices ask a quarter as often as the mean, a third three
//     quarters as often, a third twice as often: roughly what exponentially distributed habits give. There is no day and
//     night, and nobody leaves for good.
//   - enters the comparison of a phase at its first check in it, as the fold counts it.
//   - runs the candidate from the check after the one that told it so, and is harmed from then on only. When the rollout
//     is stopped, harm is no longer counted, although a pause or a halt leaves the candidate on its devices.
//   - has its first event of a kind with a constant hazard, which a regression multiplies. Failures of an update happen
//     with it. A measured metric is played at its shown boundary and the two on either side, halving from one to the next
//     and independent of each other.
//
// Telemetry is taken to arrive complete and at once, and a needed approval to be given at once. Segments are taken to be
// disjoint. Where a real audience differs from this, so will the rollout: a forecast compares plans, it promises nothing.
//
// # How sure
//
// A share of plays is not a probability. Every chance comes with the bounds that the number of plays supports: one of no
// plays in 200 says "at most 1.5 %", not "never".
package forecast
