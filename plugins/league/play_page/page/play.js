// The strategy game's page. Each request is a POST whose answer is the match as the person sees it, one JSON object.
// The server's view has the person's side up; it is drawn turned by 180 degrees, so that it is down.

const token = document.querySelector('meta[name="page-token"]').content;
const element = (id) => document.getElementById(id);
const canvas = element("board"), pen = canvas.getContext("2d");
const colours = { own: "#2d69cd", other: "#e17314", ink: "#1c1e24", paper: "#f6f5f0", gold: "#d6a614" };
const products = { base: ["worker"], barracks: ["light", "heavy"], worker: ["barracks"] };
let match = null, chosen = null, running = false, busy = false;

// --- asking the server -----------------------------------------------------------------------------------------------

async function ask(activity, options = {}) {
  if (busy) return;
  busy = true;
  try {
    const answer = await fetch(`/do/${activity}?${new URLSearchParams(options)}`, {
      method: "POST", body: "", headers: { "X-Page-Token": token },
    });
    const given = JSON.parse((await answer.text()).trim().split("\n").pop());
    if (given.error) throw new Error(given.error);
    match = given;
    report(outcome());
  } catch (error) {
    running = false;
    report(error instanceof TypeError ? "The game does not answer. Is diffobj play still running?" : error.message, true);
  } finally {
    busy = false;
  }
  if (match) show();
}

function report(text, wrong = false) {
  element("status").textContent = text;
  element("status").classList.toggle("wrong", wrong);
}

function outcome() {
  if (!match.over) return "";
  running = false;
  return match.payoff > 0 ? "You win." : match.payoff < 0 ? "The agent wins." : "A draw.";
}

// --- drawing ---------------------------------------------------------------------------------------------------------

const side = () => canvas.width / match.size;
const turned = (cell) => match.size ** 2 - 1 - cell;

function corner(cell) {
  const place = turned(cell);
  return [(place % match.size) * side(), Math.floor(place / match.size) * side()];
}

function shape(points, [left, top], fill) {
  pen.beginPath();
  points.forEach(([x, y], number) => pen[number ? "lineTo" : "moveTo"](left + x * side(), top + y * side()));
  pen.closePath();
  pen.fillStyle = fill;
  pen.fill();
  pen.strokeStyle = colours.ink;
  pen.lineWidth = 1.5;
  pen.stroke();
}

function disc(x, y, radius, [left, top], fill) {
  pen.beginPath();
  pen.arc(left + x * side(), top + y * side(), radius * side(), 0, 7);
  pen.fillStyle = fill;
  pen.fill();
  pen.strokeStyle = colours.ink;
  pen.lineWidth = 1.5;
  pen.stroke();
}

const figures = {
  base: (at, fill) => {
    shape([[0.12, 0.9], [0.12, 0.3], [0.24, 0.3], [0.24, 0.42], [0.38, 0.42], [0.38, 0.3], [0.62, 0.3], [0.62, 0.42],
      [0.76, 0.42], [0.76, 0.3], [0.88, 0.3], [0.88, 0.9]], at, fill);
    shape([[0.42, 0.9], [0.42, 0.62], [0.58, 0.62], [0.58, 0.9]], at, colours.ink);
  },
  barracks: (at, fill) => {
    shape([[0.18, 0.5], [0.82, 0.5], [0.82, 0.88], [0.18, 0.88]], at, fill);
    shape([[0.12, 0.5], [0.5, 0.24], [0.88, 0.5]], at, colours.ink);
    for (const x of [0.34, 0.5, 0.66]) shape([[x, 0.58], [x + 0.03, 0.58], [x + 0.03, 0.88], [x, 0.88]], at, colours.ink);
  },
  worker: (at, fill) => {
    shape([[0.28, 0.84], [0.34, 0.56], [0.5, 0.46], [0.66, 0.56], [0.72, 0.84]], at, fill);
    disc(0.5, 0.36, 0.12, at, "#f0cdaa");
  },
  light: (at, fill) => shape([[0.5, 0.22], [0.78, 0.86], [0.5, 0.7], [0.22, 0.86]], at, fill),
  heavy: (at, fill) => {
    const points = Array.from({ length: 8 }, (_, n) => Math.PI / 8 + (n * Math.PI) / 4);
    shape(points.map((angle) => [0.5 + 0.36 * Math.cos(angle), 0.56 + 0.36 * Math.sin(angle)]), at, fill);
    disc(0.5, 0.56, 0.14, at, colours.paper);
  },
};

function drawUnit(unit) {
  const at = corner(unit.cell), [left, top] = at, part = unit.health / unit.whole;
  figures[unit.kind](at, colours[unit.side]);
  pen.fillStyle = colours.ink;
  pen.fillRect(left + 0.1 * side(), top + 0.07 * side(), 0.8 * side(), 0.1 * side());
  pen.fillStyle = part > 0.6 ? "#32a046" : part > 0.3 ? "#d7aa1e" : "#cd3228";
  pen.fillRect(left + 0.12 * side(), top + 0.09 * side(), 0.76 * side() * part, 0.06 * side());
  for (let dot = 0; dot < unit.rest; dot++) disc(0.9, 0.88 - 0.11 * dot, 0.035, at, colours.paper);
  if (unit.carries) shape([[0.1, 0.72], [0.24, 0.56], [0.38, 0.72], [0.24, 0.88]], at, colours.gold);
}

function draw() {
  for (let cell = 0; cell < match.size ** 2; cell++) {
    const at = corner(cell), [left, top] = at;
    pen.fillStyle = match.seen[cell] ? "#dedcd4" : "#707278";
    pen.fillRect(left, top, side(), side());
    pen.strokeStyle = "#969694";
    pen.lineWidth = 1;
    pen.strokeRect(left, top, side(), side());
    if (match.ore[cell]) {
      for (const [x, high] of [[0.3, 0.3], [0.74, 0.36], [0.52, 0.52]]) {
        shape([[x - 0.12, 0.74], [x - 0.12, 0.74 - 0.6 * high], [x, 0.74 - high], [x + 0.12, 0.74 - 0.6 * high], [x + 0.12, 0.74]], at, colours.gold);
      }
      pen.fillStyle = colours.ink;
      pen.font = `${side() / 5}px system-ui, sans-serif`;
      pen.textAlign = "center";
      pen.fillText(match.ore[cell], left + side() / 2, top + 0.94 * side());
    }
  }
  match.units.forEach(drawUnit);
  const unit = own(chosen);
  if (!unit) return;
  const [left, top] = corner(unit.cell);
  pen.strokeStyle = "#b3261e";
  pen.lineWidth = 4;
  pen.strokeRect(left + 2, top + 2, side() - 4, side() - 4);
  if (unit.order && unit.order.task !== "make") {
    const [x, y] = corner(unit.order.cell);
    pen.setLineDash([8, 6]);
    pen.strokeRect(x + 4, y + 4, side() - 8, side() - 8);
    pen.setLineDash([]);
  }
}

// --- what is chosen --------------------------------------------------------------------------------------------------

const own = (slot) => match.units.find((unit) => unit.side === "own" && unit.slot === slot);

function said(unit) {
  const order = unit.order;
  if (!order) return "It waits.";
  if (order.task === "gather") return "It gathers ore.";
  if (order.task === "go") return "It goes to the marked cell.";
  return unit.kind === "worker" ? "It builds barracks." : "It makes units as long as there is ore.";
}

function button(text, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", act);
  element("orders").append(made);
}

function show() {
  draw();
  const unit = own(chosen), fighters = match.units.filter((one) => one.side === "own" && ["light", "heavy"].includes(one.kind));
  element("figures").textContent = `Step ${match.step} of ${match.longest} · ore ${match.stock} · fighters ${fighters.length}`;
  element("run").textContent = running ? "Pause" : "Play";
  element("step").disabled = element("run").disabled = match.over;
  element("orders").replaceChildren();
  element("chosen").textContent = unit ? `Chosen: ${unit.kind}` : "Nothing is chosen";
  element("about").textContent = unit ? `Health ${unit.health} of ${unit.whole}. ${said(unit)}` : "Click one of your units.";
  canvas.setAttribute("aria-label", `The board at step ${match.step}: ${match.units.filter((one) => one.side === "own").length} units of yours, ${match.units.filter((one) => one.side === "other").length} of the other side are seen`);
  if (!unit || match.over) return;
  for (const product of products[unit.kind] ?? []) {
    button(`${product === "barracks" ? "Build" : "Make"} ${product}`, () => ask("order", { slot: chosen, task: "make", product }));
  }
  button("Stop", () => ask("order", { slot: chosen, task: "wait" }));
}

function click(cell) {
  const there = match.units.find((unit) => unit.cell === cell && unit.side === "own"), unit = own(chosen);
  if (there) {
    chosen = there.slot;
    show();
  } else if (unit && !["base", "barracks"].includes(unit.kind)) {
    ask("order", { slot: chosen, task: unit.kind === "worker" && match.ore[cell] ? "gather" : "go", cell });
  }
}

canvas.addEventListener("click", (event) => {
  if (!match) return;
  const box = canvas.getBoundingClientRect();
  const column = Math.floor(((event.clientX - box.left) / box.width) * match.size);
  const row = Math.floor(((event.clientY - box.top) / box.height) * match.size);
  const inside = [row, column].every((place) => place >= 0 && place < match.size);
  if (inside) click(turned(row * match.size + column));
});

element("step").addEventListener("click", () => ask("step"));
element("begin").addEventListener("click", () => {
  chosen = null;
  running = false;
  ask("begin", { seed: Math.floor(Math.random() * 2 ** 31) });
});
element("run").addEventListener("click", () => {
  running = !running;
  show();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== " " || event.target instanceof HTMLButtonElement) return;
  event.preventDefault();
  if (match && !match.over) ask("step");
});
setInterval(() => {
  if (running && match && !match.over) ask("step");
}, 500);
ask("look");
