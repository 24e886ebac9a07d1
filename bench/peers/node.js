// Node's http module in one process. usage: node node.js --port PORT
const http = require('http');
const port = Number(process.argv[process.argv.indexOf('--port') + 1]);

function hello(response) {
  response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': 13 });
  response.end('Hello, world!');
}

const server = http.createServer((request, response) => {
  if (request.url === '/hello') return hello(response);
  if (request.url === '/sleep/10') return setTimeout(hello, 10, response);
  response.writeHead(404, { 'Content-Length': 0 });
  response.end();
});
server.keepAliveTimeout = 600000;
server.maxRequestsPerSocket = 0;
server.listen({ port, host: '127.0.0.1', backlog: 1024 });
