// Shows a run's answer as it grows (templates/run_watch.html).
//
// What the page's markup owes this file:
//   #watch[data-stream="/runs/<id>/stream"]   where its events come from, as server-sent events
//   #watch-status                             gets in one sentence how it stands
//   #watch-epochs                             gets a line for each owner of the run
//   #watch-text                               gets the answer; an owner that began anew clears it
//
// Read by fetch and not by EventSource, which tells neither why a stream is refused nor what its comments say.
"use strict";
(() => {
  const panel = document.getElementById("watch");
  if (!panel || !window.ReadableStream) return;

  const RETRY_MS = 500; // doubled with each failure, with jitter
  const RETRY_MAX_MS = 15_000;
  const SILENT_MS = 40_000; // the server says something every 15 s
  const PAINT_MS = 50; // what came meanwhile is shown at once
  const SHOWN_MAX = 1_000_000; // characters; of a longer answer the end is shown
  const SLACK_PX = 24; // so near the end the text is followed

  const FOREVER = {
    401: "You are signed out.",
    403: "Your account may not watch this.",
    404: "Its log has this run no longer, so there is nothing to watch.",
  };
  const STARTED = { started: "began", continued: "goes on", restarted: "began anew" };

  const byId = (id) => document.getElementById(id);
  const text = byId("watch-text");
  const run = { last: null, chunks: 0, shown: 0, over: false, failures: 0 };
  const waiting = []; // strings and elements that are not on the page yet
  let painting = 0;
  let reading = null;

  const say = (words) => {
    if (byId("watch-status").textContent !== words) byId("watch-status").textContent = words;
  };

  // The text.

  function add(piece) {
    waiting.push(piece);
    painting ||= setTimeout(paint, PAINT_MS);
  }

  function paint() {
    clearTimeout(painting);
    painting = 0;
    const follows = text.scrollHeight - text.scrollTop - text.clientHeight < SLACK_PX;
    let words = "";
    for (const piece of waiting.splice(0)) {
      if (typeof piece === "string") {
        words += piece;
      } else {
        text.append(words, piece);
        words = "";
      }
      run.shown += typeof piece === "string" ? piece.length : 0;
    }
    if (words) text.append(words);
    cut();
    if (follows) text.scrollTop = text.scrollHeight;
  }

  function cut() {
    while (run.shown > SHOWN_MAX && text.firstChild !== text.lastChild) {
      run.shown -= text.firstChild.nodeType === Node.TEXT_NODE ? text.firstChild.length : 0;
      text.firstChild.remove();
      panel.dataset.cut = "";
    }
  }

  function clear() {
    waiting.length = 0;
    run.shown = 0;
    text.replaceChildren();
    delete panel.dataset.cut;
  }

  function mark(words) {
    const element = document.createElement("span");
    element.className = "watch-mark";
    element.textContent = words;
    return element;
  }

  // The events.

  function chunk({ delta }) {
    run.chunks += 1;
    const { role: _, content, ...more } = delta;
    if (typeof content === "string" && content) add(content);
    const beyond = Object.fromEntries(Object.entries(more).filter(([, value]) => value));
    if (Object.keys(beyond).length) add(`${JSON.stringify(beyond)}\n`); // a tool call, reasoning
    if (run.chunks === 1) say("comes in");
  }

  function epoch({ epoch: number, reason, node }) {
    if (reason === "restarted") {
      clear();
      add(mark(`${node} began anew: what was answered before doesn't count\n`));
    } else if (reason === "continued") {
      add(mark(` ${node} goes on from here `));
    }
    const line = document.createElement("li");
    line.dataset.epoch = number;
    line.textContent = `${node} ${STARTED[reason] ?? reason}`;
    if (!byId("watch-epochs").querySelector(`[data-epoch="${number}"]`)) byId("watch-epochs").append(line);
    say(`${node} answers`);
  }

  function end({ status, reason }) {
    run.over = true;
    paint(); // all of it is there when the status says so
    const why = reason && reason !== status ? ` (${reason})` : "";
    const empty = run.chunks || status !== "completed" ? "" : "; its log keeps an answer for 15 minutes";
    say(`${status}${why}${empty}`);
  }

  const EVENTS = { chunk, epoch, end };

  function take(block) {
    const fields = {};
    for (const line of block.split("\n")) {
      if (line.startsWith(":")) {
        comment(line.slice(1).trim());
      } else {
        const at = line.indexOf(": ");
        if (at > 0) fields[line.slice(0, at)] = line.slice(at + 2);
      }
    }
    if (!fields.data) return;
    if (fields.id) run.last = fields.id;
    EVENTS[fields.event]?.(JSON.parse(fields.data));
  }

  function comment(words) {
    if (words.startsWith("waiting:")) say("waits: its nodes send as many runs as they may");
    else if (words.startsWith("waiting")) say("waits: no node of its log can be reached now");
    else if (words === "attached" && !run.chunks) say("waits for the first words");
  }

  // The connection.

  class NotNow extends Error {} // its message is the server's own sentence

  async function read(signal, heard) {
    const url = new URL(panel.dataset.stream, location.href);
    if (run.last !== null) url.searchParams.set("starting_after", run.last);
    const response = await fetch(url, { signal, cache: "no-store", headers: { Accept: "text/event-stream" } });
    if (FOREVER[response.status]) {
      run.over = true;
      say(FOREVER[response.status]);
      return;
    }
    if (!response.ok) throw new NotNow((await response.json()).detail);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      blocks.forEach(take);
      run.failures = 0;
    }
  }

  async function watch() {
    if (reading || run.over) return;
    const mine = (reading = new AbortController());
    let silence = 0;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => mine.abort(), SILENT_MS);
    };
    heard();
    try {
      await read(mine.signal, heard);
    } catch (error) {
      run.failures += 1;
      const words = error instanceof NotNow ? error.message : "The dashboard can't be reached: what you see is old.";
      if (reading === mine) say(`${words} Trying again.`);
    }
    clearTimeout(silence);
    if (reading !== mine) return;
    reading = null;
    if (!run.over) setTimeout(watch, Math.random() * Math.min(RETRY_MS * 2 ** run.failures, RETRY_MAX_MS));
  }

  window.addEventListener("pagehide", () => {
    reading?.abort();
    reading = null;
  });
  window.addEventListener("pageshow", (event) => { if (event.persisted) watch(); });
  window.addEventListener("online", watch);

  say("asks for the answer");
  watch();
})();
