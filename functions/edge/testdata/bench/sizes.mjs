/** How many bytes a file has, as it is and compressed as well as can be: `node sizes.mjs FILE`. */
import { readFile } from 'node:fs/promises';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const data = await readFile(process.argv[2]);
const params = {
  [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY, [constants.BROTLI_PARAM_SIZE_HINT]: data.length,
};
console.log(JSON.stringify({
  raw: data.length,
  gzip: gzipSync(data, { level: constants.Z_BEST_COMPRESSION }).length,
  brotli: brotliCompressSync(data, { params }).length,
}));
