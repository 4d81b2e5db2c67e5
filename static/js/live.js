// Keeps an open page live, and honest about how live it is.
//
// What the page's markup owes this file:
//   <body data-live-page="fleet">        or "node:<name>", "run:<id>", "traces", "audit"; other pages are left alone
//   <div id="live-no" data-no="0" data-at="<server's time, ISO>" data-health-seconds="1" [data-cursor="17"] hidden>
//                                        data-cursor: id of the newest change when the page was rendered;
//                                        data-failed: the server can't render some cells now
//   #live-status                         gets "live · heard 1 s ago"
//   #live-banner  hidden, role="alert"   gets what is wrong, and is shown
//   #list-changed                        gets "3 changes" while the list must not move
//   #rows  hx-trigger="rows-changed from:body" and its own address in hx-get: the list, fetched again by that event
//   [data-heard="<ISO>"], [data-since="<ISO>"], [data-until="<ISO>"]
//                                        ages of nodes' words, durations and countdowns, ticked here on the server's time
//   [data-confirm]                       an open confirm; a half-typed reason is never wiped, nor an open detail of #rows
//   the scripts of htmx and of its websocket extension, before this one
//
// htmx's websocket extension swaps what arrives. It sees one socket that never closes: `Line`, which dials again
// underneath by our own rules, because the extension gives up on most close codes.
"use strict";
(() => {
  const page = document.body.dataset.livePage;
  if (!page) return;

  const SIGNED_OUT = 4401; // also: may not look; the server won't have us, so there is nothing to try again
  const UNKNOWN_PAGE = 4404; // its node was taken away
  const RETRY_MS = 500; // doubled with each failure, with full jitter
  const RETRY_MAX_MS = 30_000;
  const SILENT_MS = 8_000; // the server speaks every 5 s
  const FAILURES_BEFORE_POLLING = 3;
  const POLL_MS = 5_000;
  const JITTER_MS = 2_000; // so that all open pages don't fetch their rows at once
  const REFETCH_MIN_MS = 5_000; // a list that changes all the time is fetched this often
  const STALE_MIN_SECONDS = 5;
  const TICK_MS = 1_000;

  const byId = (id) => document.getElementById(id);
  const wsUrl = (cursor) => {
    const url = new URL("/live", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    url.searchParams.set("page", page);
    if (cursor) url.searchParams.set("since", cursor);
    return url;
  };

  // The server's time, and when it was last heard.

  const present = { skewMs: 0, healthSeconds: 1, cursor: "", failed: false, heardAt: performance.now() };

  const serverNow = () => Date.now() + present.skewMs;
  const silentMs = () => performance.now() - present.heardAt;

  function readHead() {
    const head = byId("live-no");
    if (!head) return { no: 0, changed: 0 };
    const { no, at, cursor, changed, failed, healthSeconds } = head.dataset;
    if (at) present.skewMs = Date.parse(at) - Date.now();
    if (cursor) present.cursor = cursor;
    present.failed = failed !== undefined;
    present.healthSeconds = Number(healthSeconds) || 1;
    return { no: Number(no) || 0, changed: Number(changed) || 0 };
  }

  function heard() {
    present.heardAt = performance.now();
    const { no, changed } = readHead();
    if (no) line.send(JSON.stringify({ ack: no }));
    list.changed(changed);
    show();
  }

  // Cells without a place on this page are left out: of a node whose row is not fetched yet, or filtered away.
  function withPlaces(text) {
    const parsed = document.createElement("template");
    parsed.innerHTML = text;
    for (const cell of [...parsed.content.children]) {
      if (!byId(cell.id)) cell.remove();
    }
    return parsed.innerHTML;
  }

  // The line to the server: looks like one WebSocket to htmx's extension, and is many, one after the other.

  class Line extends EventTarget {
    readyState = WebSocket.CONNECTING;
    CONNECTING = WebSocket.CONNECTING;
    OPEN = WebSocket.OPEN;
    failures = 0;
    ended = 0; // the code with which the server ended it for good
    #dialedAt = 0;
    #socket = null;
    #timer = 0;

    dial() {
      clearTimeout(this.#timer);
      if (this.ended || this.#socket) return;
      const socket = new WebSocket(wsUrl(present.cursor));
      this.#socket = socket;
      this.#dialedAt = performance.now();
      socket.addEventListener("open", () => this.#opened(socket));
      socket.addEventListener("close", (event) => this.#closed(socket, event.code));
      socket.addEventListener("message", (event) => {
        if (socket !== this.#socket) return;
        this.dispatchEvent(new MessageEvent("message", { data: withPlaces(event.data) }));
      });
    }

    // Dial again now: the browser came back, from sleep, from the background, or online.
    hurry() {
      if (this.ended === SIGNED_OUT) this.ended = 0; // perhaps signed in again, in another tab
      if (this.readyState === this.OPEN && silentMs() < SILENT_MS) return;
      this.drop();
      this.dial();
    }

    // Give up on a socket that says nothing any more, without waiting for its close.
    drop() {
      const socket = this.#socket;
      this.#socket = null;
      this.readyState = this.CONNECTING;
      socket?.close();
    }

    send(text) {
      if (this.#socket?.readyState === this.OPEN) this.#socket.send(text);
    }

    // Whether the present socket has said nothing for too long, be it open or still connecting.
    hangs() {
      return this.#socket !== null && performance.now() - Math.max(this.#dialedAt, present.heardAt) >= SILENT_MS;
    }

    close() {
      // The extension closes when its element goes; ours stays with the page.
    }

    again() {
      this.failures += 1;
      clearTimeout(this.#timer);
      const most = Math.min(RETRY_MS * 2 ** (this.failures - 1), RETRY_MAX_MS);
      this.#timer = setTimeout(() => this.dial(), Math.random() * most);
    }

    #opened(socket) {
      if (socket !== this.#socket) return;
      this.readyState = this.OPEN;
      this.onopen?.(new Event("open"));
    }

    #closed(socket, code) {
      if (socket !== this.#socket) return;
      this.drop();
      if (code === SIGNED_OUT || code === UNKNOWN_PAGE) {
        this.ended = code;
      } else {
        this.again();
      }
      show();
    }
  }

  const line = new Line();

  // A message that arrives is what makes a connection a success: some proxies accept and then say nothing.
  line.addEventListener("message", () => { line.failures = 0; });

  // When no websocket gets through: the same cells by plain requests.

  const poll = { at: 0, working: false };

  const polling = () => !line.ended && line.failures >= FAILURES_BEFORE_POLLING;

  async function fetchCells() {
    if (poll.working || performance.now() - poll.at < POLL_MS) return;
    poll.working = true;
    try {
      const url = new URL("/live/cells", location.href);
      url.searchParams.set("page", page);
      const response = await fetch(url, { signal: AbortSignal.timeout(POLL_MS), cache: "no-store" });
      if (response.redirected || response.status === 401 || response.status === 403) {
        line.ended = SIGNED_OUT;
      } else if (response.ok) {
        htmx.swap(byId("live-no"), withPlaces(await response.text()), { swapStyle: "none" });
        present.heardAt = performance.now();
        readHead();
        if (!list.busy()) list.changed(1); // nobody tells us whether it changed
      }
    } catch {
      // Not even that: the banner says how long ago the last word was.
    } finally {
      poll.working = false;
      poll.at = performance.now();
      show();
    }
  }

  // The list: which rows, in which order. Never moved under somebody's hands.

  const list = {
    pending: 0,
    timer: 0,
    fetchedAt: -Infinity,

    changed(count) {
      this.pending += count;
      this.settle();
    },

    busy() {
      const active = document.activeElement;
      return active?.matches("input, select, textarea, [contenteditable]") || document.querySelector("[data-confirm], #rows details[open]");
    },

    settle() {
      if (this.pending && !this.busy() && !this.timer && byId("rows")) {
        const rest = Math.max(0, REFETCH_MIN_MS - (performance.now() - this.fetchedAt));
        this.timer = setTimeout(() => this.refetch(), rest + Math.random() * JITTER_MS);
      }
      this.note();
    },

    refetch() {
      clearTimeout(this.timer);
      this.timer = 0;
      if (this.busy()) return this.note();
      this.pending = 0;
      this.fetchedAt = performance.now();
      htmx.trigger(document.body, "rows-changed");
      this.note();
    },

    note() {
      const place = byId("list-changed");
      if (!place) return;
      const words = this.pending && this.busy() ? `${this.pending} change${this.pending === 1 ? "" : "s"}` : "";
      if (place.textContent !== words) place.textContent = words;
    },
  };

  // An order that was not taken says so where it was given: a click without an answer is clicked again.
  function notTaken(status) {
    if (status === 403) return "Refused: your account may not do that, or you have signed in anew since. Load the page again.";
    return `No good answer came${status ? ` (${status})` : ""}: it may be done or not. Load the page again to see.`;
  }
  for (const failure of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
    document.addEventListener(failure, (event) => {
      const place = byId("confirm");
      if (!place || event.detail.target !== place) return;
      place.querySelector("[data-not-taken]")?.remove();
      const words = document.createElement("p");
      words.className = "error";
      words.dataset.notTaken = "";
      words.setAttribute("role", "alert");
      words.textContent = notTaken(event.detail.xhr?.status);
      place.prepend(words);
    });
  }

  // A list that could not be fetched is still owed: nobody tells us of the same change again.
  for (const failure of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
    document.addEventListener(failure, (event) => {
      if (event.target.id === "rows" && !line.ended) list.changed(1);
    });
  }

  // Whoever walks the rows by keyboard keeps their place when the rows are fetched again.
  let focused = "";
  document.addEventListener("htmx:beforeSwap", (event) => {
    const inside = event.target.id === "rows" && event.target.contains(document.activeElement);
    focused = inside ? document.activeElement.getAttribute("href") || "" : "";
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.id !== "rows") return;
    line.send(JSON.stringify({ all: true })); // a cell that came meanwhile was newer than these rows
    if (!focused) return;
    byId("rows")?.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    focused = "";
  });

  // What the page says of itself.

  function span(seconds) { // as templatetags/times.py
    const s = Math.max(0, Math.floor(seconds));
    if (s >= 86_400) return `${Math.floor(s / 86_400)} d`;
    if (s >= 3_600) return `${Math.floor(s / 3_600)} h`;
    if (s >= 120) return `${Math.floor(s / 60)} min`;
    return `${s} s`;
  }

  // Said once, and not anew each second: a screen reader reads the banner whenever it changes.
  const clock = (ms) => `${new Date(Math.round(ms / 1000) * 1000).toISOString().slice(11, 19)} UTC`;

  const setText = (element, text) => {
    if (element && element.textContent !== text) element.textContent = text;
  };

  function tickTimes() {
    const now = serverNow();
    const staleSeconds = Math.max(3 * present.healthSeconds, STALE_MIN_SECONDS);
    const deaf = silentMs() > TICK_MS * STALE_MIN_SECONDS; // while we hear, the server itself says what is stale
    for (const element of document.querySelectorAll("[data-heard]")) {
      const age = (now - Date.parse(element.dataset.heard)) / 1000;
      setText(element, span(age));
      if (deaf && age >= staleSeconds) element.dataset.stale = "";
    }
    for (const element of document.querySelectorAll("[data-since]")) {
      setText(element, span((now - Date.parse(element.dataset.since)) / 1000));
    }
    for (const element of document.querySelectorAll("[data-until]")) {
      setText(element, span((Date.parse(element.dataset.until) - now) / 1000));
    }
  }

  function status() {
    const ago = `heard ${span(silentMs() / 1000)} ago`;
    if (line.ended) return "not live";
    if (polling()) return `every 5 s · ${ago}`;
    return line.readyState === line.OPEN ? `live · ${ago}` : `connecting · ${ago}`;
  }

  function trouble() {
    if (line.ended === SIGNED_OUT) return "You are signed out: this page is not live any more.";
    if (line.ended === UNKNOWN_PAGE) return "This is not there any more.";
    if (silentMs() >= SILENT_MS) return `No word from the dashboard since ${clock(serverNow() - silentMs())}: what you see is old.`;
    if (present.failed) return "The dashboard can't show some of this page now: what is faded is old. It tries again every 5 seconds.";
    if (polling()) return "No live connection gets through: this page asks every 5 seconds instead.";
    return "";
  }

  function showBanner(text) {
    const banner = byId("live-banner");
    if (!banner || banner.dataset.text === text) return;
    banner.dataset.text = text;
    banner.textContent = text;
    if (line.ended === SIGNED_OUT) {
      const link = document.createElement("a");
      link.href = `/login/?next=${encodeURIComponent(location.pathname + location.search)}`;
      link.textContent = "Sign in";
      banner.append(" ", link);
    }
    banner.hidden = !text;
  }

  function show() {
    document.body.toggleAttribute("data-failed", present.failed);
    setText(byId("live-status"), status());
    showBanner(trouble());
  }

  function tick() {
    if (line.hangs()) {
      line.drop();
      line.again();
    }
    if (polling()) fetchCells();
    tickTimes();
    list.settle();
    show();
  }

  // Begin.

  document.addEventListener("htmx:wsAfterMessage", heard);
  window.addEventListener("online", () => line.hurry());
  document.addEventListener("visibilitychange", () => { if (!document.hidden) line.hurry(); });
  window.addEventListener("pageshow", (event) => { if (event.persisted) line.hurry(); });
  document.addEventListener("focusout", () => setTimeout(() => list.settle()));

  htmx.createWebSocket = () => line;
  const holder = document.createElement("div");
  holder.hidden = true;
  holder.setAttribute("hx-ext", "ws");
  holder.setAttribute("ws-connect", wsUrl("").href);
  document.body.append(holder);
  readHead();
  htmx.process(holder);
  line.dial();
  setInterval(tick, TICK_MS);
  tick();
})();
