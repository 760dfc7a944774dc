package resolve

import "github.com/palier-ota/palier/internal/rollout"

// Arm returns the device's arm in r if it were on r's channel. Telemetry asks this: an app's own metrics do not say
// which channel the device is on, and whether it ever entered r is known to who counts them.
func (r *Rollout) Arm(c *Check) rollout.Arm {
	_, arm := r.assign(c, nil)
	return arm
}
