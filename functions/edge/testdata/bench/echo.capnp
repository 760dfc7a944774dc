using Workerd = import "/workerd/workerd.capnp";

const echo :Workerd.Config = ( services = [ ( name = "main", worker = (
  modules = [ ( name = "echoworker.mjs", esModule = embed "echoworker.mjs" ) ],
  compatibilityDate = "2026-11-01",
) ) ], sockets = [ ( name = "http", address = "127.0.0.1:0", http = (), service = "main" ) ] );
