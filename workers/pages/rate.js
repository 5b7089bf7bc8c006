// One pair after the other; which system said what is never sent here.

const $ = (id) => document.getElementById(id);
const KEYS = { 1: "left", 2: "right", t: "tie", 0: "tie" };
let shown = { item: null, at: 0 };
let busy = false;

function show(state) {
  $("progress").textContent = `${state.done} of ${state.total}`;
  $("bar").value = state.total ? state.done / state.total : 0;
  $("pair").hidden = !state.item;
  $("end").hidden = Boolean(state.item);
  shown = { item: state.item, at: performance.now() };
  if (!state.item) return;
  $("question").textContent = state.question;
  for (const side of ["left", "right"]) $(side).querySelector(".text").textContent = state[side];
  $("note").value = "";
  $("undo").hidden = !state.done;
  scrollTo({ top: 0 });
}

async function ask(path, body) {
  if (busy) return;
  busy = true;
  try {
    const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
    const response = await fetch(path, options);
    if (!response.ok) throw new Error(await response.text());
    show(await response.json());
    $("banner").hidden = true;
  } catch (error) {
    $("banner").textContent = `That was not kept: ${error.message}. Is the command still running?`;
    $("banner").hidden = false;
  } finally {
    busy = false;
  }
}

function judge(side) {
  if (shown.item) ask("judge", { item: shown.item, side, note: $("note").value, seconds: (performance.now() - shown.at) / 1000 });
}

for (const button of document.querySelectorAll("[data-side]")) button.addEventListener("click", () => judge(button.dataset.side));
$("undo").addEventListener("click", () => ask("undo", {}));

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target === $("note")) {
    if (event.key === "Escape") $("note").blur();
    return;
  }
  const key = event.key.toLowerCase();
  if (KEYS[key]) judge(KEYS[key]);
  else if (key === "u" && !$("undo").hidden) ask("undo", {});
  else if (key === "n") $("note").focus();
  else return;
  event.preventDefault();
});

ask("next");
