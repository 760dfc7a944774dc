// Package validation shows that the judge keeps its word.
//
// A promise such as "a harmless bundle is stopped with probability alpha at most, however often anyone looks" is easily
// made for a formula and easily lost on the way to it: a device counted twice, a phase that mixes two shares, a report
// that arrives after its device changed sides. So nothing here tests the formula. Simulated devices check for updates and
// report what happens to them; their events are observed, merged and tallied by the code that runs in production, and the
// judge looks at the tallies every hour.
//
// A world says what happens to both arms alike: the time of day, an incident, a network that loses and repeats. A crowd is
// the devices that live in it. A ledger folds what they report. What is shown, each in its own file: false alarms in every
// kind of world, the coverage of the intervals, the devices that a regression costs, the same rollouts in the hands of other
// rules, three series on which a well-known judge is reported to fail, devices that lie, and an app of 500 devices.
//
// Every run has its own randomness, made from the seed, the name of what is shown and the number of the run. The figures
// are therefore the same on every machine, with any number of processors.
package validation
