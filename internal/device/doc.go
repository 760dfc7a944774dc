// Package device answers devices: it is what the plugin's three URLs and the app's telemetry URL reach.
//
// A request is decoded by capgo, met with the app's current Snapshot, decided by resolve and encoded by capgo again. The
// Snapshot is kept in memory, refreshed in the background, and goes on answering when the store cannot be reached. A
// device's own record is read only when the decision says that it depends on it. Telemetry is appended to the stream
// before it is acknowledged; the resolver's own note that a device asked, the check event, goes the same way without the
// device waiting for it.
//
// Anybody can send reports, so what one network may have counted is bounded: see source.go.
//
// The service knows nothing of HTTP servers or Lambda events: requests are values, and Respond answers all of them. http.go
// adapts it to net/http, and the folder onlambda to Lambda, which stops the process between requests: see frozen.go.
package device
