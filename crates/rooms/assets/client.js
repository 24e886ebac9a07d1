// The client of Tenfold's rooms: one WebSocket for all rooms of a page; it comes back by itself and goes on where it was.
//
//   import { Rooms } from "/rooms/client.js";
//   const rooms = new Rooms("/rooms");
//   const chat = rooms.join("chat:1", { as: { name: "Ada" }, history: 20,
//     message: (data, pos) => show(data),     // in the room's order, each one once
//     reset: () => reload(),                   // something was missed that nobody has any more: load the state anew
//     enter: (who) => …, exit: (who) => … });  // where the room announces its presence
//   await chat.publish({ text: "hello" });     // its position; an Error if the rules do not allow it
//   await chat.presence();                     // who is there
//   chat.leave();
//   rooms.onstate = (state) => …;              // "connecting", "open", "waiting", "closed"

const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 15_000;
const ANSWER_WITHIN_MS = 10_000;
// The server asks a silent client every 25 s, but a page does not see that: it asks by itself.
const SILENT_MS = 30_000;

export class Rooms {
  #url; #socket = null; #rooms = new Map(); #asked = new Map(); #next = 1; #failed = 0; #timer = 0; #heard = 0; #over = false;
  onstate = () => {};

  constructor(path = "/rooms") {
    const url = new URL(`${path}/ws`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.#url = url;
    this.#connect();
    setInterval(() => this.#look(), 5_000);
    addEventListener("online", () => this.#hurry());
  }

  join(name, options = {}) {
    const room = { name, pos: null, ...options };
    this.#rooms.set(name, room);
    if (this.#isOpen()) this.#enter(room);
    return {
      publish: (data) => this.#ask({ publish: name, data }).then((answer) => answer.pos),
      presence: () => this.#ask({ presence: name }).then((answer) => answer.presence),
      leave: () => { this.#rooms.delete(name); this.#say({ leave: name }); },
      get position() { return room.pos; },
    };
  }

  close() {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
    this.onstate("closed");
  }

  #isOpen() { return this.#socket?.readyState === WebSocket.OPEN; }

  #connect() {
    if (this.#over) return;
    this.onstate("connecting");
    const socket = this.#socket = new WebSocket(this.#url);
    socket.onopen = () => {
      this.#heard = Date.now();
      for (const room of this.#rooms.values()) this.#enter(room);
      this.onstate("open");
    };
    socket.onmessage = (event) => { this.#heard = Date.now(); this.#failed = 0; this.#take(JSON.parse(event.data)); };
    socket.onclose = (event) => this.#lost(socket, event.code);
  }

  #lost(socket, code) {
    if (socket !== this.#socket || this.#over) return;
    this.#socket = null;
    for (const { reject } of this.#asked.values()) reject(new Error("the connection was lost"));
    this.#asked.clear();
    // A server that restarts has told us when; else wait longer each time, and never all clients at once.
    const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failed++);
    const pause = code === 1012 ? FIRST_PAUSE_MS * Math.random() : longest * (0.5 + Math.random() / 2);
    this.onstate("waiting");
    this.#timer = setTimeout(() => this.#connect(), pause);
  }

  #hurry() {
    if (this.#socket || this.#over) return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  // A connection that died without a word is found by asking.
  #look() {
    if (!this.#isOpen()) return;
    const silent = Date.now() - this.#heard;
    if (silent > SILENT_MS + ANSWER_WITHIN_MS) { const dead = this.#socket; dead.close(); this.#lost(dead, 1006); }
    else if (silent > SILENT_MS) this.#say({ ping: true, id: this.#next++ });
  }

  #enter(room) {
    const { name, pos, history = 0, as } = room;
    this.#ask({ join: name, since: pos, history: pos ? 0 : history, as }).catch((error) => room.error?.(error));
  }

  #say(command) { if (this.#isOpen()) this.#socket.send(JSON.stringify(command)); }

  #ask(command) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      if (!this.#isOpen()) return reject(new Error("not connected"));
      const timer = setTimeout(() => { this.#asked.delete(id); reject(new Error("no answer")); }, ANSWER_WITHIN_MS);
      const done = (settle) => (value) => { clearTimeout(timer); settle(value); };
      this.#asked.set(id, { resolve: done(resolve), reject: done(reject) });
      this.#say({ ...command, id });
    });
  }

  #take(message) {
    const asked = message.id && this.#asked.get(message.id);
    if (asked) {
      this.#asked.delete(message.id);
      return message.error ? asked.reject(new Error(message.error)) : asked.resolve(message);
    }
    const room = this.#rooms.get(message.room);
    if (!room) return;
    if (message.reset) room.reset?.();
    room.pos = message.pos;
    if ("data" in message) room.message?.(message.data, message.pos);
    if ("join" in message) room.enter?.(message.join);
    if ("leave" in message) room.exit?.(message.leave);
    if (message.joined) room.joined?.(message.pos);
  }
}
