using Workerd = import "/workerd/workerd.capnp";

const plain :Workerd.Config = ( services = [ ( name = "main", worker = (
  modules = [
    ( name = "plainworker.mjs", esModule = embed "plainworker.mjs" ),
    ( name = "plain.mjs", esModule = embed "plain.mjs" ),
    ( name = "shell.mjs", esModule = embed "shell.mjs" ),
    ( name = "xxhash-wasm", esModule = embed "xxhash-wasm.js" ),
    ( name = "xxhash.wasm", wasm = embed "xxhash.wasm" ),
  ],
  bindings = [ ( name = "SPECS", json = embed "specs.json" ) ],
  compatibilityDate = "2026-11-01",
) ) ], sockets = [ ( name = "http", address = "127.0.0.1:0", http = (), service = "main" ) ] );
