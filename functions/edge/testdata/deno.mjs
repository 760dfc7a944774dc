/** The Deno entry, for a module of standard Go. */
import { run } from '../host/deno.mjs';
import { wasi } from './wasi.mjs';

run({ imports: wasi }).then(() => Deno.exit(0), (error) => {
  console.error(error.message);
  Deno.exit(1);
});
