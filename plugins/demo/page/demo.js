// The demo's page. Each activity is a POST whose answer is JSON, one object a line, as it is computed.

const token = document.querySelector('meta[name="page-token"]').content;
const mostBytes = Number(document.querySelector('meta[name="demo-bytes"]').content);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const element = (id) => document.getElementById(id);

// --- asking the server -----------------------------------------------------------------------------------------------

async function* ask(activity, options = {}, body = null, signal = undefined) {
  const answer = await fetch(`/do/${activity}?${new URLSearchParams(options)}`, {
    method: "POST", body: body ?? "", signal, headers: { "X-Page-Token": token },
  });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const object = JSON.parse(line);
      if (object.error) throw new Error(object.error);
      yield object;
    }
    if (done) return;
  }
}

function report(place, text, wrong = false) {
  place.textContent = text;
  place.classList.toggle("wrong", wrong);
}

// One activity of a section at a time: a new one ends the one before.
function section(status, act) {
  let running = null;
  return async (...given) => {
    running?.abort();
    const mine = running = new AbortController();
    try {
      await act(mine.signal, ...given);
    } catch (error) {
      if (mine.signal.aborted) return;
      const gone = error instanceof TypeError;
      report(status, gone ? "The demo does not answer. Is diffobj demo still running?" : error.message, true);
    }
  };
}

// --- the javelin -----------------------------------------------------------------------------------------------------

const javelin = element("javelin-form"), javelinStatus = element("javelin-status");
const far = 80;
let ranges = null, path = [];

function range(degrees) {
  const place = Math.min(Math.max(degrees, 0), 90) * 2, low = Math.min(Math.floor(place), 179);
  return ranges[low] + (ranges[low + 1] - ranges[low]) * (place - low);
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(name).trim();
}

function surface(canvas) {
  const pen = canvas.getContext("2d"), colour = colours();
  pen.fillStyle = colour("--ground");
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.font = "20px system-ui, sans-serif";
  return [pen, colour];
}

function line(pen, points, colour, width = 3) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  points.forEach(([x, y], number) => (number ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
}

// Without drag the flight is the parabola of its angle and its range.
function drawFlight(degrees) {
  const canvas = element("flight"), [pen, colour] = surface(canvas);
  const metres = range(degrees), slope = Math.tan((degrees * Math.PI) / 180), scale = (canvas.width - 40) / (far * 1.1);
  const ground = canvas.height - 40;
  line(pen, [[0, ground], [canvas.width, ground]], colour("--line"));
  const points = [];
  for (let part = 0; part <= 60; part++) {
    const x = (metres * part) / 60;
    points.push([20 + scale * x, ground - scale * x * slope * (1 - part / 60)]);
  }
  line(pen, points, colour("--mark"), 4);
  pen.fillStyle = colour("--ink");
  for (let mark = 0; mark <= far; mark += 20) pen.fillText(`${mark} m`, 10 + scale * mark, ground + 28);
  canvas.setAttribute("aria-label", `A throw at ${degrees.toFixed(1)} degrees flies ${metres.toFixed(1)} metres`);
}

function drawHill(degrees) {
  const canvas = element("hill"), [pen, colour] = surface(canvas);
  const x = (angle) => 40 + ((canvas.width - 80) * angle) / 90, y = (metres) => canvas.height - 40 - ((canvas.height - 70) * metres) / far;
  line(pen, [[x(0), y(0)], [x(90), y(0)]], colour("--line"));
  line(pen, ranges.map((metres, place) => [x(place / 2), y(metres)]), colour("--soft"));
  const seen = path.map((angle) => Math.min(Math.max(angle, 0), 90));
  line(pen, seen.map((angle) => [x(angle), y(range(angle))]), colour("--hot"), 2);
  pen.fillStyle = colour("--hot");
  for (const angle of seen) {
    pen.beginPath();
    pen.arc(x(angle), y(range(angle)), 4, 0, 7);
    pen.fill();
  }
  const slope = range(degrees + 0.5) - range(degrees - 0.5);
  const tangent = [-12, 12].map((step) => [x(degrees + step), y(range(degrees) + slope * step)]);
  line(pen, tangent, colour("--mark"), 4);
  pen.fillStyle = colour("--ink");
  for (let mark = 0; mark <= 90; mark += 15) pen.fillText(`${mark}°`, x(mark) - 16, canvas.height - 12);
  canvas.setAttribute("aria-label", `The hill of ranges; at ${degrees.toFixed(1)} degrees it rises by ${slope.toFixed(2)} metres a degree`);
}

function showThrow(degrees) {
  const within = Math.min(Math.max(degrees, 0.5), 89.5);
  drawFlight(within);
  drawHill(within);
  const slope = range(within + 0.5) - range(within - 0.5);
  return `${degrees.toFixed(1)} degrees: ${range(within).toFixed(1)} metres; the slope is ${slope.toFixed(2)} metres a degree.`;
}

async function hill() {
  if (ranges) return;
  report(javelinStatus, "Getting ready…");
  for await (const answer of ask("hill")) ranges = answer.metres;
}

const throwOnce = section(javelinStatus, async () => {
  await hill();
  path = [];
  report(javelinStatus, showThrow(Number(javelin.degrees.value)));
});

const descend = section(javelinStatus, async (signal) => {
  await hill();
  const options = Object.fromEntries(new FormData(javelin));
  path = [Number(options.degrees)];
  report(javelinStatus, "Descending…");
  const seed = Math.floor(Math.random() * 2 ** 31);
  for await (const answer of ask("descend", { ...options, seed }, null, signal)) {
    path.push(answer.degrees);
    const text = `Step ${answer.step}. ${showThrow(answer.degrees)}`;
    if (!calm.matches) await new Promise((done) => setTimeout(done, 60));
    if (signal.aborted) return;
    report(javelinStatus, text);
  }
});

javelin.degrees.addEventListener("input", () => throwOnce());
javelin.addEventListener("submit", (event) => { event.preventDefault(); descend(); });

// --- the agent -------------------------------------------------------------------------------------------------------

const agent = element("agent-form"), agentStatus = element("agent-status");
const frame = element("frame"), pause = element("pause"), scrub = element("scrub"), list = element("episodes");
const episodes = [];
let shown = null, playing = false, clock = 0;

function showFrame(number) {
  scrub.max = Math.max(0, shown.frames.length - 1);
  scrub.value = number;
  frame.src = shown.frames[number];
  frame.hidden = false;
  frame.alt = `${shown.name}, frame ${number + 1} of ${shown.frames.length}`;
}

function setPlaying(now) {
  playing = now;
  pause.textContent = playing ? "Pause" : "Play";
  clearInterval(clock);
  if (!playing) return;
  clock = setInterval(() => {
    const next = Number(scrub.value) + 1;
    if (next < shown.frames.length) showFrame(next);
    else if (shown.whole) setPlaying(false);
  }, 1000 / shown.rate);
}

function watch(episode) {
  shown = episode;
  for (const control of [pause, scrub, list]) control.disabled = false;
  if (episode.frames.length) showFrame(0);
  setPlaying(!calm.matches);
}

const play = section(agentStatus, async (signal) => {
  const options = Object.fromEntries(new FormData(agent));
  const seed = Math.floor(Math.random() * 1000), game = agent.game.selectedOptions[0].text;
  const name = `${game}, ${agent.trained.selectedOptions[0].text}, start ${seed}`;
  const episode = { name, frames: [], rate: 25, whole: false };
  report(agentStatus, "The agent begins…");
  for await (const answer of ask("play", { ...options, seed }, null, signal)) {
    if (answer.frame) episode.frames.push(answer.frame);
    else [episode.rate, episode.whole] = [answer.rate, true];
    if (episode.frames.length === 1) watch(episode);
  }
  episodes.push(episode);
  list.replaceChildren(...episodes.map((one, number) => new Option(one.name, number, false, one === shown)));
  setPlaying(playing);
  report(agentStatus, `${name}: ${(episode.frames.length / episode.rate).toFixed(1)} seconds, ${episode.frames.length} frames.`);
});

agent.addEventListener("submit", (event) => { event.preventDefault(); play(); });
pause.addEventListener("click", () => {
  if (!playing && Number(scrub.value) >= shown.frames.length - 1) showFrame(0);
  setPlaying(!playing);
});
scrub.addEventListener("input", () => { setPlaying(false); showFrame(Number(scrub.value)); });
list.addEventListener("change", () => watch(episodes[Number(list.value)]));

// --- pictures --------------------------------------------------------------------------------------------------------

const words = { detect: "objects", faces: "faces" };

function made(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

function dropZone(place) {
  const { activity, examples, form } = place.dataset;
  const chooser = made("input", { type: "file", accept: "image/jpeg,image/png,image/webp" });
  const zone = made("div", { className: "zone" }, made("label", {}, "Drop a picture here, or choose one", chooser));
  const status = made("p", { className: "status" });
  status.setAttribute("role", "status");
  const result = made("img", { className: "result", hidden: true, alt: "" });
  const save = made("a", { hidden: true, textContent: "Save the drawing as SVG", download: "drawing.svg" });

  const look = section(status, async (signal, picture) => {
    if (picture && picture.size > mostBytes) throw new Error(`The picture has ${picture.size} bytes; at most ${mostBytes} are taken.`);
    report(status, "Looking…");
    save.hidden = true;
    const options = form ? Object.fromEntries(new FormData(element(form))) : {};
    for await (const answer of ask(activity, options, picture, signal)) {
      result.src = answer.picture;
      result.hidden = false;
      if (answer.found) {
        const named = answer.found.map((one) => `${one.label} ${one.score.toFixed(2)}`).join(", ");
        report(status, answer.found.length ? `Found: ${named}.` : `No ${words[activity]} found.`);
        result.alt = `The picture with ${answer.found.length} ${words[activity]} marked`;
      } else if (answer.svg) {
        report(status, "Done.");
        result.alt = "The drawing";
        URL.revokeObjectURL(save.href);
        save.href = URL.createObjectURL(new Blob([answer.svg], { type: "image/svg+xml" }));
        save.hidden = false;
      } else {
        report(status, `Step ${answer.step} of ${answer.steps}, loss ${answer.loss.toPrecision(3)}.`);
        result.alt = "The drawing so far";
      }
    }
  });

  const choices = made("div", { className: "choices" });
  for (const example of examples.split(" ")) {
    const own = example === "portrait";
    const label = own ? "the portrait that comes along" : `example ${example.split("_")[1]}`;
    const button = made("button", { type: "button", ariaLabel: `Take ${label}` });
    button.append(own ? "Take the portrait that comes along" : made("img", { src: `examples/${example}.png`, alt: "" }));
    button.addEventListener("click", async () => {
      look(own ? null : await (await fetch(`examples/${example}.png`)).blob());
    });
    choices.append(button);
  }

  chooser.addEventListener("change", () => { if (chooser.files[0]) look(chooser.files[0]); });
  zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const [picture] = event.dataTransfer.files;
    if (picture) look(picture);
    else report(status, "That was no file: save the picture first, then drop the file.", true);
  });
  place.append(zone, choices, status, result, save);
}

document.querySelectorAll(".drop").forEach(dropZone);
// A picture that misses its place must not replace the page.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
throwOnce();
