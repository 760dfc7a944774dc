/** The Node entry, for a module of standard Go. */
import { run } from '../host/node.mjs';
import { wasi } from './wasi.mjs';

run(process.env, { imports: wasi }).then(() => process.exit(0), (error) => {
  console.error(error.message);
  process.exit(1);
});
