// The lab's Node.js backend, a cluster whose workers are started again when they die. As app.py: the
// word behind /fault/ says what is to happen, and is noted in LAB_DEEDS before.
// node server.js ADDRESS PORT WORKERS KEEPALIVE_MS [KEY CERTIFICATE]
const cluster = require('cluster');
const fs = require('fs');
const [address, port, workers, keepAlive, key, certificate] = process.argv.slice(2);

if (cluster.isPrimary) {
  for (let i = 0; i < Number(workers); i++) cluster.fork();
  cluster.on('exit', () => setTimeout(() => cluster.fork(), 100));
  process.on('SIGTERM', () => process.exit(0));
} else {
  const answer = (request, response) => {
    const url = new URL(request.url, 'http://lab');
    const parts = url.pathname.split('/').filter(Boolean);
    const at = parts.indexOf('fault');
    const word = at >= 0 && at + 1 < parts.length ? parts[at + 1] : 'ok';
    const socket = request.socket;
    const note = () => fs.appendFileSync(process.env.LAB_DEEDS,
      `${parts[parts.length - 1]} ${process.pid} ${socket.remotePort} ${word}\n`);
    request.resume();
    request.on('end', () => {
      if (word !== 'ok') note();
      switch (word) {
        case 'destroy': return socket.destroy();
        case 'reset': return socket.resetAndDestroy();
        case 'throw': throw new Error('lab');
        case 'exit': return process.exit(5);
        case 'kill': return process.kill(process.pid, 'SIGKILL');
        case 'abort': return process.abort();
        case 'truncate':
          response.writeHead(200, { 'Content-Length': 1000 });
          response.write('half');
          return setTimeout(() => socket.destroy(), 20);
        case 'big':
          response.setHeader('X-Big', 'a'.repeat(9000));
          return response.end('ok\n');
        case 'slow':
          return setTimeout(() => response.end('ok\n'), Number(url.searchParams.get('ms')));
        default: return response.end('ok\n');
      }
    });
  };
  const server = key
    ? require('https').createServer(
      { key: fs.readFileSync(key), cert: fs.readFileSync(certificate) }, answer)
    : require('http').createServer(answer);
  server.keepAliveTimeout = Number(keepAlive);
  server.listen(Number(port), address);
}
