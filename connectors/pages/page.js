// The chat page. What people and the model write is set as text, never as HTML.

const $ = (id) => document.getElementById(id);
const log = $("log");
const field = $("text");
const composer = $("composer");

const SOURCES = { model: "Model", cache: "Cache", knowledge: "Knowledge base", fallback: "Fixed text", agent: "A person" };
const LONGEST_PAUSE = 10_000;
const MOST_KEPT = 100;

const kept = read();
let tab = "";
let stream = null;
let pause = 500;
let timer = 0;
let draft = null;
// Messages without a reply yet: own id -> { sentAt, acceptedMs, serverId }.
const waiting = new Map();
// Server ids that were answered before the acknowledgement of their message came.
const answered = new Set();

// -- what is kept over a reload ------------------------------------------------------------------------------------------------

function read() {
  try {
    return { tab: "", lastId: "", items: [], seen: [], ...JSON.parse(sessionStorage.getItem("chat") || "{}") };
  } catch {
    return { tab: "", lastId: "", items: [], seen: [] };
  }
}

function keep() {
  kept.items = kept.items.slice(-MOST_KEPT);
  kept.seen = kept.seen.slice(-MOST_KEPT);
  try {
    sessionStorage.setItem("chat", JSON.stringify(kept));
  } catch {
    // A full or forbidden store only costs the memory over a reload.
  }
}

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// A duplicated tab begins with a copy of what the first one kept: only the holder of the lock goes on with it.
async function claimTab() {
  if (kept.tab && (await locked(kept.tab))) return kept.tab;
  Object.assign(kept, { tab: randomId(), lastId: "", items: [], seen: [] });
  await locked(kept.tab);
  keep();
  return kept.tab;
}

function locked(name) {
  if (!navigator.locks) return Promise.resolve(false); // without a secure context each load is a new conversation
  return new Promise((resolve) => {
    navigator.locks.request(`replymill ${name}`, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock && new Promise(() => {}); // held until the page goes
    });
  });
}

// -- the event stream ----------------------------------------------------------------------------------------------------------

function connect() {
  clearTimeout(timer);
  stream?.close();
  stream = new EventSource(`/page/events?tab=${tab}&after=${kept.lastId}`);
  stream.addEventListener("hello", () => {
    pause = 500;
    connection("open", "Connected");
  });
  stream.addEventListener("store", (event) => {
    const { away } = JSON.parse(event.data);
    connection(away ? "lost" : "open", away ? "The message store is away. Replies arrive when it is back." : "Connected");
  });
  stream.addEventListener("typing", () => typing());
  stream.addEventListener("text", (event) => typing(JSON.parse(event.data).text));
  stream.addEventListener("reply", (event) => {
    kept.lastId = event.lastEventId;
    reply(JSON.parse(event.data));
    keep();
  });
  stream.addEventListener("error", () => {
    stream.close();
    connection("lost", "The connection is lost. Trying again…");
    timer = setTimeout(connect, pause);
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  });
}

function connection(state, text) {
  const before = $("connection").dataset.state;
  $("connection").dataset.state = state;
  $("connection-text").textContent = state === "open" ? text : "Not connected";
  $("banner").hidden = state === "open";
  $("banner").textContent = state === "open" ? "" : text;
  if (state === "open" && before === "lost") $("status").textContent = "The connection is back.";
}

// -- sending -------------------------------------------------------------------------------------------------------------------

async function send(item, node) {
  item.error = "";
  waiting.set(item.id, { sentAt: performance.now() });
  typing();
  paint(item, node);
  const problem = await post(item);
  if (problem) {
    waiting.delete(item.id);
    item.error = problem;
    if (!waiting.size) drop();
    paint(item, node);
  }
  keep();
}

async function post(item) {
  const entry = waiting.get(item.id);
  let response;
  try {
    response = await fetch("/page/messages", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ tab, id: item.id, text: item.text }),
    });
  } catch {
    return "The service cannot be reached. Check your connection and try again.";
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) return inWords(response, body);
  entry.acceptedMs = performance.now() - entry.sentAt;
  entry.serverId = body.id;
  if (answered.has(body.id)) waiting.delete(item.id);
  return "";
}

function inWords(response, body) {
  const seconds = response.headers.get("retry-after");
  const later = seconds ? `Try again in ${seconds} seconds.` : "Try again later.";
  switch (response.status) {
    case 413: return "This message is too long. Please shorten it.";
    case 429: return `Too many messages are waiting here. ${later}`;
    case 503: return `The service is away for a moment, and your message was not taken. ${later}`;
    case 403: return "This page has lost its session. Load the page again.";
    case 422: return body.error?.message ?? "There is no text to answer.";
    default: return body.error?.message ? `It did not work: ${body.error.message}.` : `It did not work (${response.status}). ${later}`;
  }
}

// -- replies -------------------------------------------------------------------------------------------------------------------

function reply(data) {
  if (kept.seen.includes(data.id)) return;
  kept.seen.push(data.id);
  data.answers.forEach((id) => answered.add(id));
  const timed = [...waiting].filter(([own, entry]) => own === data.reference || data.answers.includes(entry.serverId));
  const first = waiting.get(data.reference) ?? timed[0]?.[1];
  const item = {
    who: "theirs",
    text: data.text,
    choices: data.choices,
    source: data.source,
    trace: data.trace,
    acceptedMs: first?.acceptedMs,
    totalMs: first ? performance.now() - first.sentAt : undefined,
  };
  timed.forEach(([own]) => waiting.delete(own));
  drop();
  add(item);
  if (waiting.size) typing();
}

function typing(text) {
  if (!draft) {
    draft = element("li", "theirs draft");
    draft.setAttribute("aria-hidden", "true"); // the final reply is read aloud, not each of its beginnings
    draft.append(element("div", "bubble"));
    $("status").textContent = "A reply is being written.";
  }
  const bubble = draft.firstChild;
  if (text) bubble.textContent = text;
  else if (!bubble.textContent) bubble.replaceChildren(dots());
  show(draft);
}

function drop() {
  draft?.remove();
  draft = null;
  $("status").textContent = "";
}

function dots() {
  const node = element("span", "typing");
  node.append(element("i"), element("i"), element("i"));
  return node;
}

// -- painting ------------------------------------------------------------------------------------------------------------------

function element(name, className = "", text = "") {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

function add(item) {
  kept.items.push(item);
  const node = element("li");
  paint(item, node);
  show(node);
  return node;
}

function paint(item, node) {
  node.className = item.error ? `${item.who} failed` : item.who;
  const said = element("span", "unseen", item.who === "mine" ? "You: " : "Reply: ");
  const bubble = element("div", "bubble");
  bubble.append(said, item.text);
  node.replaceChildren(bubble);
  if (item.error) node.append(failure(item, node));
  if (item.choices?.length) node.append(choices(item));
  if (item.who === "theirs") node.append(facts(item));
}

// A press says the choice's own text, as if it were typed; below an older reply too.
function choices(item) {
  const box = element("div", "choices");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Choose one, or type your answer");
  item.choices.forEach((choice) => {
    const button = element("button", "", choice);
    button.type = "button";
    button.addEventListener("click", () => {
      box.querySelectorAll("button").forEach((one) => (one.disabled = true));
      button.classList.add("chosen");
      say(choice);
      field.focus();
    });
    box.append(button);
  });
  return box;
}

function failure(item, node) {
  const note = element("p", "note");
  note.setAttribute("role", "alert");
  const again = element("button", "", "Try again");
  again.type = "button";
  again.addEventListener("click", () => {
    field.focus();
    send(item, node);
  });
  note.append(element("span", "", item.error), again);
  return note;
}

function facts(item) {
  const box = element("details", "facts");
  const summary = element("summary");
  const source = element("span", "source", SOURCES[item.source] ?? item.source);
  source.dataset.source = item.source;
  summary.append(source, element("span", "took", item.totalMs === undefined ? "How it was made" : `in ${time(item.totalMs)}`));
  box.append(summary, steps(item));
  return box;
}

function steps(item) {
  const trace = item.trace ?? {};
  const rows = [
    ["Waited for its turn", trace.waited_ms],
    ["Prepared", trace.prepared_ms],
    ["Generated", trace.generated_ms],
  ].filter(([, ms]) => Number.isFinite(ms));
  if (item.totalMs !== undefined) {
    // The way there and back is what the worker did not take; the acknowledgement travels while the worker works already.
    const way = Math.max(0, item.totalMs - rows.reduce((all, [, ms]) => all + ms, 0));
    const received = Math.min(way, item.acceptedMs ?? 0);
    rows.unshift(["Received", received]);
    rows.push(["Delivered", way - received]);
  }
  const longest = Math.max(1, ...rows.map(([, ms]) => ms));
  const box = element("div", "steps");
  const list = element("dl");
  rows.forEach(([name, ms]) => list.append(element("dt", "", name), bar(ms / longest), element("dd", "", time(ms))));
  if (item.totalMs !== undefined) {
    list.append(element("dt", "total", "In all"), element("div", "total rule", "\u00a0"), element("dd", "total", time(item.totalMs)));
  }
  box.append(list);
  const notes = remarks(trace);
  if (notes.length) box.append(element("p", "", `${notes.join(", ")}.`));
  return box;
}

function remarks(trace) {
  const notes = [];
  if (trace.tokens) notes.push(count(trace.tokens, "token") + rate(trace));
  if (Number.isFinite(trace.first_token_ms)) notes.push(`the first after ${time(trace.first_token_ms)}`);
  if (trace.prompt_tokens) notes.push(`from a prompt of ${trace.prompt_tokens}`);
  if (trace.batch > 1) notes.push(`in a batch of ${trace.batch}`);
  if (trace.truncated) notes.push("your message was too long and was cut");
  if (notes.length) notes[0] = notes[0][0].toUpperCase() + notes[0].slice(1);
  return notes;
}

function rate(trace) {
  return trace.generated_ms > 0 ? ` at ${Math.round((trace.tokens * 1000) / trace.generated_ms)} a second` : "";
}

function count(number, name) {
  return number === 1 ? `1 ${name}` : `${number} ${name}s`;
}

function bar(share) {
  const meter = element("meter");
  meter.value = share;
  meter.setAttribute("aria-hidden", "true"); // the figure beside it says the same
  return meter;
}

function time(ms) {
  if (ms < 1) return "under 1 ms";
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

// The draft stays last; whoever has scrolled up to read is left there.
function show(node) {
  const pane = document.querySelector("main");
  const atEnd = pane.scrollHeight - pane.scrollTop - pane.clientHeight < 80;
  $("welcome").hidden = true;
  if (node === draft || !draft) log.append(node);
  else log.insertBefore(node, draft);
  if (atEnd || node.classList.contains("mine")) pane.scrollTop = pane.scrollHeight;
}

// -- the form ------------------------------------------------------------------------------------------------------------------

function grow() {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
  $("send").disabled = !field.value.trim();
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = field.value.trim();
  if (!text) return;
  field.value = "";
  grow();
  say(text);
});

function say(text) {
  const item = { who: "mine", text: text.toWellFormed?.() ?? text, id: randomId(), error: "" };
  send(item, add(item));
}

field.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    composer.requestSubmit();
  }
});
field.addEventListener("input", grow);

$("fresh").addEventListener("click", () => {
  stream?.close();
  sessionStorage.removeItem("chat");
  location.reload();
});

addEventListener("online", connect);
addEventListener("pagehide", () => stream?.close());
addEventListener("pageshow", (event) => event.persisted && connect());

tab = await claimTab();
kept.items.splice(0).forEach((item) => add(item));
grow();
connect();
