// The chat page: a room, who is there, and what they say.
import { Rooms } from "/rooms/client.js";

const at = (id) => document.getElementById(id);
const list = at("messages");
const rooms = new Rooms("/rooms");
const name = at("name");
name.value = sessionStorage.getItem("name") || `guest-${Math.floor(Math.random() * 900 + 100)}`;
name.addEventListener("change", () => sessionStorage.setItem("name", name.value));

const line = (who, text, quiet) => {
  const item = document.createElement("li");
  const meta = document.createElement("p");
  meta.className = "meta";
  meta.textContent = who;
  const words = document.createElement("p");
  words.textContent = text;
  item.append(meta);
  if (!quiet) item.append(words);
  list.append(item);
  while (list.children.length > 200) list.firstChild.remove();
  item.scrollIntoView({ block: "nearest" });
};

const people = async () => {
  const all = await chat.presence().catch(() => []);
  at("people").textContent = all.map((one) => one.name).sort().join(", ") || "nobody";
};

const chat = rooms.join(`chat:${list.dataset.room}`, {
  as: { name: name.value },
  history: 50,
  message: ({ name, text }) => line(name, text),
  reset: () => line("some messages were missed", "", true),
  enter: people,
  exit: people,
  joined: people,
});
rooms.onstate = (state) => { at("state").textContent = state; at("state").dataset.state = state; };

at("say").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = at("text");
  try {
    await chat.publish({ name: name.value, text: text.value });
    text.value = "";
  } catch (error) {
    line(`not sent: ${error.message}`, "", true);
  }
});
