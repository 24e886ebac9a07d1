// The pages that count orders: over server-sent events, or by long-poll.
const at = (id) => document.getElementById(id);
const count = at("count");
const state = (text) => { at("state").textContent = text; };

const take = (message) => {
  if (!("data" in message)) return;
  count.textContent = Number(count.textContent) + 1;
  at("last").textContent = `The last one: ${message.data.item}.`;
};

const listen = () => {
  const events = new EventSource("/rooms/orders/events");
  events.onopen = () => state("open");
  events.onerror = () => state("waiting");
  events.onmessage = (event) => take(JSON.parse(event.data));
};

const poll = async () => {
  let since = "";
  for (;;) {
    try {
      const response = await fetch(`/rooms/orders/poll?since=${since}`, { cache: "no-store" });
      const news = await response.json();
      since = news.pos;
      state("open");
      news.messages.forEach(take);
    } catch {
      state("waiting");
      await new Promise((resume) => setTimeout(resume, 1_000));
    }
  }
};

if (count.dataset.way === "events") listen();
else poll();
