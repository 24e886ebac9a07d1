// The peer of bench/rooms on node's ws: every connection is in one room; POST publishes to all of it.
const http = require("http");
const { WebSocketServer } = require("ws");

const members = new Set();
const server = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const text = `{"room":"bench","data":${Buffer.concat(parts)}}`;
    // What ws recommends for a broadcast: the frame is made by each send.
    for (const ws of members) ws.send(text);
    response.end("{}");
  });
});
const wss = new WebSocketServer({ server, perMessageDeflate: false });
wss.on("connection", (ws) => {
  members.add(ws);
  ws.on("close", () => members.delete(ws));
  ws.on("error", () => {});
});
server.listen(Number(process.argv[2]), "127.0.0.1", 4096, () => console.log("ready"));
