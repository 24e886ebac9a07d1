// The buttons of the front page. Each sends real requests and draws when they began and ended.
(() => {
  "use strict";

  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const timed = async (label, url, options) => {
    const begin = performance.now();
    try {
      const response = await fetch(url, { cache: "no-store", ...options });
      const body = await response.text();
      return { label, begin, end: performance.now(), status: response.status, body };
    } catch (error) {
      return { label, begin, end: performance.now(), status: 0, body: String(error) };
    }
  };

  const draw = (out, results) => {
    const first = Math.min(...results.map((one) => one.begin));
    const all = Math.max(...results.map((one) => one.end)) - first || 1;
    for (const one of results) {
      const row = element("div", "row");
      const bar = element("span", "bar");
      const part = element("i");
      part.style.left = `${(100 * (one.begin - first)) / all}%`;
      part.style.width = `${(100 * (one.end - one.begin)) / all}%`;
      bar.append(part);
      const failed = one.status < 200 || one.status >= 300;
      row.append(element("span", failed ? "bad" : "", failed ? `${one.label} ${one.status}` : one.label), bar,
        element("span", "ms", `${Math.round(one.end - one.begin)} ms`));
      out.append(row);
    }
    return all;
  };

  const say = (out, text, className) => out.append(element("p", `sum ${className || ""}`, text));

  const ads = async (out, slow) => {
    const result = await timed("/api/ads", `/api/ads${slow ? `?slow=${slow}` : ""}`);
    draw(out, [result]);
    if (result.status !== 200) return say(out, result.body, "bad");
    const page = JSON.parse(result.body);
    for (const { slot, winner } of page.slots) {
      say(out, winner ? `Slot ${slot + 1}: supplier ${winner.supplier + 1} pays ${(winner.cents / 100).toFixed(2)}` : `Slot ${slot + 1}: nobody answered in time`);
    }
    const missing = page.partial ? ` The others were not waited for.` : "";
    say(out, `${page.answered} of ${page.asked} answered in ${Math.round(page.took_ms)} ms; one after another: ${page.in_sequence_ms} ms.${missing}`, "good");
  };

  const runs = {
    ads: (out) => ads(out, 0),
    "ads-slow": (out) => ads(out, 3),
    sleep: async (out) => {
      const results = await Promise.all([1, 2, 3, 4, 5].map((n) => timed(`wait ${n}`, `/sleep/500?${n}`)));
      const all = draw(out, results);
      say(out, `Together ${Math.round(all)} ms; one after another 2500 ms.`, "good");
    },
    lanes: async (out) => {
      const reports = [1, 2, 3].map((n) => timed(`report ${n}`, `/reports/1500?${n}`));
      await new Promise((resolve) => setTimeout(resolve, 200));
      const hello = timed("hello", "/hello");
      draw(out, await Promise.all([...reports, hello]));
      const { begin, end } = await hello;
      say(out, `The short request took ${Math.round(end - begin)} ms while the reports ran.`, "good");
    },
    upload: async (out, form) => {
      const chosen = form.elements.file.files[0];
      const body = chosen || new Blob([new Uint8Array(8 << 20)]);
      const result = await timed("upload", "/upload", { method: "POST", body });
      draw(out, [result]);
      say(out, result.status === 200 ? `${body.size.toLocaleString("en")} bytes, SHA-256 ${result.body}` : result.body, result.status === 200 ? "" : "bad");
    },
    panic: async (out) => {
      const failed = await timed("panic", "/panic");
      const after = await timed("hello", "/hello");
      draw(out, [failed, after]);
      say(out, `The panic was answered with ${failed.status}, and then: ${after.body}`, after.status === 200 ? "good" : "bad");
    },
  };

  const start = async (name, control, form) => {
    const out = document.querySelector(`output[data-for="${name.split("-")[0]}"]`);
    const controls = control.closest(".card").querySelectorAll("button");
    controls.forEach((one) => (one.disabled = true));
    out.replaceChildren();
    try {
      await runs[name](out, form);
    } catch (error) {
      say(out, String(error), "bad");
    } finally {
      controls.forEach((one) => (one.disabled = false));
    }
  };

  document.querySelectorAll("button[data-run]").forEach((button) => {
    button.addEventListener("click", () => start(button.dataset.run, button));
  });
  document.querySelectorAll("form[data-run]").forEach((form) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      start(form.dataset.run, form, form);
    });
  });
})();
