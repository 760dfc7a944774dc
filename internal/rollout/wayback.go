package rollout

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// wayBack says why r, which has ended, refuses cmd, and which step leads where the command was meant to lead. No verb
// brings an ended rollout back to life: who wants its devices elsewhere starts something new.
func (s State) wayBack(r Rollout, cmd Command) string {
	stops := cmd.Verb == VerbPause || cmd.Verb == VerbHalt || cmd.Verb == VerbRollback
	switch {
	case r.State == Completed && stops:
		return "has completed" + s.backFromCompleted(r)
	case r.State == Halted && cmd.Verb == VerbRollback:
		return "was halted" + s.backFromHalted(r, cmd.At)
	case r.State == RolledBack && stops:
		return "was rolled back already; there is nothing to do"
	case r.State == Superseded && stops:
		return "was superseded by rollout " + r.SupersededBy + "; operate that one"
	}
	return "has ended (" + string(r.State) + ") and cannot change; start a new one"
}

// backFromCompleted leads from the candidate, which the channel serves since, to the baseline.
func (s State) backFromCompleted(r Rollout) string {
	channel := s.Channels[r.Channel]
	live, busy := s.Live(r.Channel)
	if now := storedBundle(channel); now != r.Bundle {
		return ", and channel " + strconv.Quote(channel.Name) + " serves " + named(now) + " since then; start a rollout of the bundle that it should serve"
	}
	if _, known := s.Bundles[r.Baseline]; known {
		command := startCommand(r, r.Baseline) + " --plan instant"
		if busy {
			return "; to go back, start a rollout of " + r.Baseline + " that takes over from the live one (`" + command + " --hotfix`)"
		}
		return "; to go back, start a rollout of " + r.Baseline + " (`" + command + "`), or set the channel's bundle to " + r.Baseline + " and apply"
	}
	first := "; to go back, "
	if busy {
		first += "roll back rollout " + live.ID + ", then "
	}
	if isStoreBuild(r.Baseline) {
		return first + "set the channel's bundle to builtin and apply"
	}
	return first + "add bundle " + r.Baseline + " again, or choose another, and set the channel's bundle to it"
}

// backFromHalted leads the devices that keep the candidate to what the others have. What they keep is forgotten when a
// rollout of the same bundle is rolled back, when any completes, and when the channel points at another bundle; setting
// the bundle that the channel has already forgets nothing. See Channel.Kept.
func (s State) backFromHalted(r Rollout, now time.Time) string {
	channel := s.Channels[r.Channel]
	if storedBundle(channel) == r.Bundle {
		return ", and channel " + strconv.Quote(channel.Name) + " serves " + r.Bundle + " to everyone since then; start a rollout of the bundle that it should serve"
	}
	if !slices.Contains(channel.Kept, r.Bundle) {
		return ", and no device keeps " + r.Bundle + " any more; there is nothing to take back"
	}
	keep := "; devices that run " + r.Bundle + " keep it"
	if live, busy := s.Live(r.Channel); busy {
		if live.Bundle == r.Bundle {
			return keep + " until rollout " + live.ID + " of the same bundle is rolled back; roll back that one"
		}
		return keep + " until rollout " + live.ID + " of " + live.Bundle + " admits them or completes; promote that one"
	}
	later := now.AddDate(1, 0, 0).UTC().Format(time.RFC3339)
	return keep + "; to send them to " + named(storedBundle(channel)) + ", schedule a rollout of " + r.Bundle + ", which reaches nobody (`" +
		startCommand(r, r.Bundle) + " --at " + later + "`), and roll that one back, or move every device on with a rollout of another bundle"
}

// startCommand is the beginning of the command line that starts a rollout of the bundle where r was.
func startCommand(r Rollout, bundle string) string {
	return "palier rollout start " + r.App + " --channel " + shellWord(r.Channel) + " --bundle " + bundle
}

// shellWord quotes a name that a shell would take apart.
func shellWord(name string) string {
	safe := func(c byte) bool { return isAlphanumeric(c) || c == '-' || c == '_' || c == '.' }
	if consistsOf(name, safe) {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

// named is a stored bundle's name for people.
func named(version string) string {
	if isStoreBuild(version) {
		return "the store build"
	}
	return version
}
