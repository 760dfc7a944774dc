// Package judge decides from counts whether a rollout goes on, waits, stops or goes back, with error rates that hold
// however often anyone looks.
//
// # The idea
//
// A rollout is watched continuously, and a test made for one look is wrong many times as often when it is looked at
// all the time. The judge therefore uses e-processes: bets against a hypothesis whose stake, starting from 1, cannot
// grow on average while the hypothesis is true. By Ville's inequality it then ever reaches 1/α with probability α at
// most, at whatever times it is looked at. An e-value is the stake so far; "alarm when it is 1/α or more" needs no
// schedule and no memory. Stakes may fall again, so a later look can find no alarm where an earlier one did: both are
// valid, and whoever acts on the first needs no second.
//
// # Counts against a control
//
// The unit is the device, and its first event of a kind in the whole rollout. Which arm a device is in depends on a
// hash of its id alone, so if the candidate does no harm, the next device with an event is a candidate with
// probability ρ, the design share of the phase, however the base rate moves from hour to hour. Under a rate ratio r it
// is one with probability ρr/(1−ρ+ρr). The stake is spread over alternatives r from 5 % more to forty times, most of
// it between 1.5 and 12 times, and their likelihood ratios multiply over events: this is the test of Lindon and Malek
// (Anytime-valid inference for multinomial count data, NeurIPS 2022, arXiv 2011.03567) with a one-sided mixture. Each
// likelihood ratio rises with the candidate's events, so the process is valid for every ratio at or below the null,
// not only at it. Sufficient are two integers per metric and design share. Devices are never pooled over shares: if
// most are candidates in a bad week, that is no fault of the candidate.
//
// A bet that has lost for a healthy week is worth so little that harm which begins then takes as many devices as were
// healthy to show. So the stake is divided over starts: 85 % bets on the whole, 12 % on what happens from some even
// hour on, 3 % on what happens from some later phase on, each start with a weight of its own that was fixed
// beforehand; what has not started keeps its stake. A mean of e-values is an e-value. A threefold crash rate after
// 20 000 healthy candidate devices is found after 2 000 more instead of 5 200, and the price, 0.16 nats of the 4.6 that
// an alarm at 1 % takes, is won back by better alternatives. An alarm that is due to a later start says since when. A
// candidate that was better until then is not blamed for having more devices left: a later bet leaves out as many of its
// events as it was spared before.
//
// Devices that stay silent, and the sizes of the arms, are counted anew in every phase. A device is on the same side
// again, so phases are not independent there; their e-values are averaged instead of multiplied, which is valid under
// any dependence. Silence is averaged over its horizons too. Only devices whose horizon had passed by the newest check
// count: the newest check is the clock, so that an outage of the telemetry silences nobody.
//
// # Measures against a control
//
// A load or response time, or the length of a session, is not judged by its mean, which a few broken clocks can move,
// nor by percentiles, which must be estimated. It is cut at sixteen boundaries that were fixed once for all apps:
// going beyond one for the first time is an event like any other, and each boundary has its own process. Their mean is
// an e-value whatever their dependence. That finds small shifts of all devices, at the boundaries in the middle, as
// well as large ones of a few, at those in the tail. Counts beyond fixed boundaries add up exactly, so no sketch comes
// between. Uniform bands of the whole distribution (Howard and Ramdas, Sequential estimation of quantiles, arXiv
// 1906.09712) need three times the devices. The evidence is of the boundary that shows most, with bounds that hold for
// all of them at once.
//
// The difference of the means, in boundaries, is shown beside it with an asymptotic confidence sequence. It decides
// nothing.
//
// # Failures against a limit
//
// A control is offered nothing, so it cannot fail to install. Failures to boot or to download are held against a rate
// that is still normal: each device that entered is a trial, with the odds of failure in the place of the ratio. A
// device counts as a success from the moment it enters until it fails, and anew in each phase; both only lower the
// stake below that of one who saw every outcome at entry, so the bound holds for it as well.
//
// A control can fail to download as well, when the server that all devices ask is down. There harm has to show against
// the limit and against the control: the smaller of both e-values is valid if either kind of harm is absent.
//
// # Confidence
//
// A bound on the ratio collects the nulls that the process does not reject. Alternatives are multiples of the null,
// which makes the e-value monotone in it, so the bound is the one null at which the e-value is 1/α, and holds for all
// times at once: the lower bound is at least 1 exactly when the metric alarms. Lower and upper bound each use the
// metric's part of α. The parts sum to α, whatever gates are off, so all lower bounds hold together with confidence
// 1−α, and a harmless bundle is paused, halted or rolled back by any gate with probability α at most. The lower bound
// comes from the process with all its starts, the upper from the whole alone; where harm that began late puts them in
// the wrong order, no single ratio fits all times, and there is no upper one. The upper bound of silence is the
// largest over its horizons.
//
// The test of the arms' sizes uses α itself, beside that budget: it only asks a person. It counts the devices that
// enter, not those that come back, of which a harmful candidate has fewer.
//
// # Certificates
//
// Absence of alarm proves nothing. To be certified, a candidate must be shown not to be worse than the margin: the
// mirrored process rejects "ratio ≥ margin" at 1/β, with a single start and the margin of the phase. Every watched
// metric of stability must be cleared. If one is truly worse, the certificate needs the rejection of a true
// hypothesis, so it is wrong with probability β at most and β is not split.
//
// A ratio of rare events can stay unknown for ever. It would be wrong to drop a metric from the list because nothing
// was seen of it: whether something was seen depends on the very harm to be excluded. Instead the claim to be rejected
// is the same for all at all times: "the ratio is at the margin or worse, and at least NegligibleRate of the candidate
// devices have the event". The e-value is the weighted mean of one against either half, which is valid when both are
// true. A metric that never fires is so cleared after some 5 000 devices. For failures against a limit the claim is
// "the rate is at the limit times the margin or worse". Silence must be cleared at every horizon.
//
// The ratio that is certified is that of first events. Where most devices have one, the worse side runs out of devices that
// can, and its ratio of first events sinks below that of the rates: such a certificate speaks of how many devices have
// the event, not of how often.
//
// For safety a device counts only after it has been seen running the candidate for two hours; devices that were never
// seen on it prove nothing. Events are counted at once. So late telemetry can delay a certificate, not cause one.
//
// # Phases without control
//
// Where everyone has the candidate, its first events are a Poisson count that can be held against the app's own past:
// the controls of earlier rollouts. What was due of the candidates so far is bounded from above, by the upper bound of
// the recorded share and by the longer of both times, and the likelihood ratios of Lindon and Kallus (Anytime-valid
// inference for Poisson counts, arXiv 2410.09282) are an e-process as long as the times have not changed. That
// condition is why it is weaker: a bad week is blamed on the candidate, and the sentence says so. Silence is held against
// half of the devices that used to come back, since other phases have other visitors. It all shares the metric's part of α,
// acts as the gate says, and never certifies.
//
// # What no statistics can tell
//
// The arms are compared as they were assigned, whether a device has installed the candidate or not: that is what makes
// the shares exact. A candidate that few have installed yet looks milder than it is, to alarms and certificates alike;
// the least hold of a phase is there to let them install.
//
// A phase without control shows no safety; it passes by time or by a person's word, is never certified, and the sentence
// says so. Missing or old data is never health.
//
// # Shape
//
// A reading sums the strata. A trial is one metric before the judge. A process is a weighted list of parts, each a set
// of draws: phases, starts, horizons, boundaries and the past are all parts. A wager is a process staked on a mixture
// of alternatives. A hearing is all trials, a ruling what follows from them. Quick rules without the bounds and words
// that Judge adds. All floats are summed in a fixed order over sorted groups and rounded to six digits, so the same
// tallies give the same bytes.
package judge
