// Loaded into node before kinesis-mock: whatever the server asks to listen on becomes the loopback address and a port
// that the system picks. The one that stands for the plain port, the one without TLS, is printed.
const net = require('node:net');

const listen = net.Server.prototype.listen;

net.Server.prototype.listen = function (...args) {
  const asked = typeof args[0] === 'object' ? args[0].port : args[0];
  if (String(asked) === process.env.KINESIS_MOCK_PLAIN_PORT) {
    this.once('listening', () => console.log(`palier: listening on port ${this.address().port}`));
  }
  const ready = args.findLast((arg) => typeof arg === 'function');
  return listen.call(this, { host: '127.0.0.1', port: 0 }, ready);
};
