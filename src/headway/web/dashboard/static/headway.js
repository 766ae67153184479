// Keeps the page true: an event says that something changed, the page asks for its parts anew and
// changes only what differs, so that what somebody types or has opened stays.
"use strict";

const QUIET_MS = 12000; // the server speaks at least every ten seconds
const POLL_MS = 5000;
// The command line says UTC, this page the reader's own time: each says which.
const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZoneName: "short" };
const page = document.getElementById("page");
const connection = document.getElementById("connection");
const lost = document.getElementById("lost");

function localise(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const then = new Date(time.dateTime);
    const near = Math.abs(Date.now() - then) < 20 * 3600e3;
    time.textContent = near
      ? then.toLocaleTimeString([], { ...clock, second: "2-digit" })
      : then.toLocaleString([], { ...clock, day: "numeric", month: "short" });
  }
}

function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.data = fresh.data;
    return;
  }
  const kept = old.nodeName === "DETAILS" ? ["open"] : [];
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !kept.includes(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morphChildren(old, fresh);
}

function morphChildren(old, fresh) {
  const named = new Map([...old.children].filter((c) => c.id).map((c) => [c.id, c]));
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const known = child.id && named.get(child.id);
    if (known) {
      if (known === at) at = at.nextSibling;
      else old.insertBefore(known, at);
      morph(known, child);
    } else if (at && !at.id && !child.id) {
      const next = at.nextSibling;
      morph(at, child);
      at = next;
    } else {
      old.insertBefore(child, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

let heard = performance.now(); // when we last knew that what is shown is true
let asOf = null;
let used = false;
let asking = false;
let again = false;
let failed = false;

async function look() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  try {
    const touched = used;
    used = false;
    const answer = await fetch(touched ? "/parts?used=yes" : "/parts", {
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(QUIET_MS),
    });
    if (answer.status === 401 || answer.status === 403) {
      location.assign("/login");
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").body;
    localise(fresh);
    morphChildren(page, fresh);
    heard = performance.now();
    failed = false;
    const { at, title } = document.getElementById("left").dataset;
    asOf = Number(at);
    document.title = title;
  } catch {
    failed = true; // the page says how old it is
  } finally {
    asking = false;
    show();
  }
  if (again) {
    again = false;
    setTimeout(look, 1000);
  }
}

let source = null;

function follow() {
  source = new EventSource("/live");
  source.addEventListener("changed", look);
  source.addEventListener("error", look);
  source.addEventListener("end", () => {
    source.close();
    look();
  });
}

function lasting(seconds) {
  return seconds < 120 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`;
}

function show() {
  const age = Math.round((performance.now() - heard) / 1000);
  const gone = age * 1000 > QUIET_MS || (failed && age >= 2);
  const then = new Date(asOf).toLocaleTimeString([], { ...clock, second: "2-digit" });
  connection.dataset.state = gone ? "lost" : ["still", "live", "slow"][source.readyState];
  // The words are read out when they change, so the seconds stand apart from them.
  const when = document.getElementById("as-of");
  when.textContent = `as of ${then}`;
  when.title = new Date(asOf).toISOString().replace("T", " ").replace(/\..*/, " UTC");
  const words = {
    still: "connecting",
    live: "live",
    slow: "every 5 seconds",
    lost: "connection lost",
  };
  if (connection.textContent !== words[connection.dataset.state]) {
    connection.textContent = words[connection.dataset.state];
  }
  document.body.classList.toggle("is-lost", gone);
  lost.hidden = !gone;
  document.getElementById("lost-age").textContent =
    `What you see was true at ${then}, ${lasting(age)} ago. Trying again every 5 seconds.`;
  const what = gone
    ? "No connection to Headway. Gateways that still run answer with the last shares that they read; " +
      "the buttons come back with the connection."
    : "";
  const told = document.getElementById("lost-what");
  if (told.textContent !== what) told.textContent = what;
}

function start() {
  localise(document);
  asOf = Number(document.getElementById("left").dataset.at);
  follow();
  for (const touch of ["pointerdown", "keydown", "wheel"]) {
    addEventListener(touch, () => (used = true), { passive: true });
  }
  setInterval(show, 1000);
  setInterval(() => {
    if (source.readyState === EventSource.OPEN && performance.now() - heard < QUIET_MS) return;
    look();
    if (source.readyState === EventSource.CLOSED) follow();
  }, POLL_MS);
  show();
}

if (page) start();
const insecure = document.getElementById("insecure");
if (insecure) insecure.hidden = isSecureContext;
