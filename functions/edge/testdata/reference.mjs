/** The Worker, for a module of standard Go. */
import module from '../module/edge.wasm';
import { worker } from '../host/worker.mjs';
import { wasi } from './wasi.mjs';

export default worker(module, wasi);
