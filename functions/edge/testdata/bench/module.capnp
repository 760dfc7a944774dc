using Workerd = import "/workerd/workerd.capnp";

const module :Workerd.Config = ( services = [ ( name = "main", worker = (
  modules = [
    ( name = "moduleworker.mjs", esModule = embed "moduleworker.mjs" ),
    ( name = "module.mjs", esModule = embed "module.mjs" ),
    ( name = "imports.mjs", esModule = embed "imports.mjs" ),
    ( name = "wasi.mjs", esModule = embed "wasi.mjs" ),
    ( name = "shell.mjs", esModule = embed "shell.mjs" ),
    ( name = "edge.wasm", wasm = embed "edge.wasm" ),
  ],
  bindings = [
    ( name = "SPECS", json = embed "specs.json" ),
    ( name = "SEALED", json = embed "sealed.json" ),
    ( name = "KEY", data = embed "key" ),
  ],
  compatibilityDate = "2026-11-01",
) ) ], sockets = [ ( name = "http", address = "127.0.0.1:0", http = (), service = "main" ) ] );
