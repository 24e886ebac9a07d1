// The peer of bench/rooms on Socket.IO, WebSocket only: every connection joins one room; POST publishes to it.
const http = require("http");
const { Server } = require("socket.io");

const server = http.createServer((request, response) => {
  if (request.method !== "POST" || request.url.startsWith("/socket.io")) return;
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    io.to("bench").emit("m", JSON.parse(Buffer.concat(parts)));
    response.end("{}");
  });
});
const io = new Server(server, { transports: ["websocket"], perMessageDeflate: false });
io.on("connection", (socket) => socket.join("bench"));
server.listen(Number(process.argv[2]), "127.0.0.1", 4096, () => console.log("ready"));
