/** What the module of standard Go asks of its host. */
export { wasi as imports } from './wasi.mjs';
