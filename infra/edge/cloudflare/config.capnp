# An edge in workerd, the runtime of Cloudflare's Workers, on a machine of one's own: for trying what wrangler.toml
# deploys, or for serving. From the repository:
#
#   PALIER_ORIGIN=… PALIER_EDGE_TOKEN=… PALIER_APPS=… PALIER_KEYS=… \
#     workerd serve infra/edge/cloudflare/config.capnp
#
# Settings come from the environment; those left out have the presets that settings.mjs says. Where devices come from it
# reads in cf-connecting-ip, as Cloudflare writes it: a proxy before it must set that header, and let none of a device's
# through.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "edge", worker = .edge ),
    # The origin may be on a private network. Cloudflare's own has no such service: there a Worker reaches the public
    # one.
    ( name = "internet", network = ( allow = [ "public", "private" ], tlsOptions = ( trustBrowserCas = true ) ) ),
  ],
  sockets = [ ( name = "http", address = "127.0.0.1:8788", http = (), service = "edge" ) ],
);

const edge :Workerd.Worker = (
  modules = [
    ( name = "host/worker.mjs", esModule = embed "../../../functions/edge/host/worker.mjs" ),
    ( name = "host/edge.mjs", esModule = embed "../../../functions/edge/host/edge.mjs" ),
    ( name = "host/answers.mjs", esModule = embed "../../../functions/edge/host/answers.mjs" ),
    ( name = "host/body.mjs", esModule = embed "../../../functions/edge/host/body.mjs" ),
    ( name = "host/module.mjs", esModule = embed "../../../functions/edge/host/module.mjs" ),
    ( name = "host/origin.mjs", esModule = embed "../../../functions/edge/host/origin.mjs" ),
    ( name = "host/pushes.mjs", esModule = embed "../../../functions/edge/host/pushes.mjs" ),
    ( name = "host/queue.mjs", esModule = embed "../../../functions/edge/host/queue.mjs" ),
    ( name = "host/relay.mjs", esModule = embed "../../../functions/edge/host/relay.mjs" ),
    ( name = "host/settings.mjs", esModule = embed "../../../functions/edge/host/settings.mjs" ),
    ( name = "host/snapshots.mjs", esModule = embed "../../../functions/edge/host/snapshots.mjs" ),
    ( name = "host/source.mjs", esModule = embed "../../../functions/edge/host/source.mjs" ),
    ( name = "module/edge.wasm", wasm = embed "../../../functions/edge/module/edge.wasm" ),
  ],
  bindings = [
    ( name = "PALIER_ORIGIN", fromEnvironment = "PALIER_ORIGIN" ),
    ( name = "PALIER_EDGE_TOKEN", fromEnvironment = "PALIER_EDGE_TOKEN" ),
    ( name = "PALIER_APPS", fromEnvironment = "PALIER_APPS" ),
    ( name = "PALIER_KEYS", fromEnvironment = "PALIER_KEYS" ),
    ( name = "PALIER_POLL", fromEnvironment = "PALIER_POLL" ),
    ( name = "PALIER_GRACE", fromEnvironment = "PALIER_GRACE" ),
    ( name = "PALIER_GATHER", fromEnvironment = "PALIER_GATHER" ),
    ( name = "PALIER_QUEUE", fromEnvironment = "PALIER_QUEUE" ),
  ],
  # The same date as in wrangler.toml. Requests that wait for each other's work need one from 2024-10-14 on: see
  # relay.mjs.
  compatibilityDate = "2026-11-01",
);
