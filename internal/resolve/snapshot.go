package resolve

// Version is a parsed semantic version (placeholder, replaced by the decision core's own).
type Version struct{ Major, Minor, Patch uint64 }

// Bundle is a compiled BundleSpec.
type Bundle struct{ BundleSpec }

// Channel is a compiled ChannelSpec.
type Channel struct{ ChannelSpec }

// Rollout is a compiled RolloutSpec.
type Rollout struct{ RolloutSpec }
