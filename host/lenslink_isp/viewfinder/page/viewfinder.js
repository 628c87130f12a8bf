// The viewfinder's page: shows pictures as they come, and sends what the user wants.
// Messages are described in viewers.py (to the page) and viewer_messages.py (from the page).
"use strict";

const $ = (id) => document.getElementById(id);
const STEPS = 1000; // of a slider
const SETTLED_MS = 700; // after this time without a change, a slider follows the camera
const POINT_STEP = 0.05; // of the picture, for an arrow key
const LONGEST_US = 1_000_000; // a longer exposure is too slow for a preview
const [FIRST_WAIT_MS, LONGEST_WAIT_MS] = [250, 4000];
const OVERLAYS = ["zebra", "peaking"];

const camera = { controls: {}, state: null, frame: null, socket: null, waitMs: FIRST_WAIT_MS };
let boxSerial = null; // of the box that is shown
let point = { x: 0.5, y: 0.5 };

// --- connection -------------------------------------------------------------------------------

function connect() {
  const url = new URL("socket", location.href);
  url.protocol = "ws:";
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  camera.socket = socket;
  socket.onopen = () => {
    camera.waitMs = FIRST_WAIT_MS;
    boxSerial = null;
    sendOverlays();
  };
  socket.onmessage = (event) => {
    if (typeof event.data === "string") onText(JSON.parse(event.data));
    else showPicture(socket, event.data);
  };
  socket.onclose = (event) => {
    setLink("bad", "disconnected");
    setBanner(event.reason || "The viewfinder has ended, or the network is gone. Trying again.");
    setTimeout(connect, camera.waitMs);
    camera.waitMs = Math.min(2 * camera.waitMs, LONGEST_WAIT_MS);
  };
}

function send(message) {
  if (camera.socket?.readyState === WebSocket.OPEN) camera.socket.send(JSON.stringify(message));
}

function onText(message) {
  if (message.type === "module") showModule(message);
  else if (message.type === "state") showState(message);
  else if (message.type === "still") showStill(message.files);
  else if (message.type === "error") showMessage(message.message);
}

// --- pictures ---------------------------------------------------------------------------------

const canvases = Object.fromEntries(
  ["picture", ...OVERLAYS].map((name) => [name, $(name).getContext("2d")]),
);

async function showPicture(socket, data) {
  const length = new DataView(data).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  let at = 4 + length;
  for (const [name, size] of Object.entries(header.parts)) {
    const part = new Blob([new Uint8Array(data, at, size)]);
    at += size;
    if (size) await draw(canvases[name === "jpeg" ? "picture" : name], part, header.serial);
  }
  // The answer asks for the next picture, so it is sent when this one is on the screen.
  requestAnimationFrame(() => {
    showFrame(header);
    if (socket.readyState === WebSocket.OPEN) {
      socket.send(JSON.stringify({ op: "drawn", serial: header.serial }));
    }
  });
}

async function draw(context, blob, serial) {
  const picture = await createImageBitmap(blob);
  const { canvas } = context;
  // Two pictures may be decoded at once, and the older may end last.
  if (serial >= (canvas.serial ?? 0) || camera.socket !== canvas.socket) {
    canvas.serial = serial;
    canvas.socket = camera.socket;
    if (canvas.width !== picture.width || canvas.height !== picture.height) {
      canvas.width = picture.width;
      canvas.height = picture.height;
      fitPicture();
    }
    if (canvas.id !== "picture") context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(picture, 0, 0);
  }
  picture.close();
}

function fitPicture() {
  const stage = $("stage");
  const { width, height } = $("picture");
  const style = getComputedStyle(stage);
  const isTall = getComputedStyle(document.body).gridTemplateColumns.split(" ").length === 1;
  const room = stage.clientWidth - 2 * parseFloat(style.paddingLeft);
  const most = isTall ? 0.55 * innerHeight : stage.clientHeight - 2 * parseFloat(style.paddingTop);
  const scale = Math.min(room / width, most / height);
  $("frame").style.width = `${Math.floor(width * scale)}px`;
  $("frame").style.height = `${Math.floor(height * scale)}px`;
}

function showFrame(header) {
  camera.frame = header;
  for (const [name, slider] of Object.entries(sliders)) slider.follow(header[name]);
  $("ring-position").textContent = `${header.focus_ring} ticks`;
  $("clipped").hidden = header.clipped < 0.0005;
  $("clipped").textContent = `${(100 * header.clipped).toFixed(1)} % clipped`;
  if (!$("histogram").hidden) drawHistogram(header.histogram);
}

function drawHistogram(counts) {
  const context = $("histogram").getContext("2d");
  const { width, height } = context.canvas;
  const bins = counts[0].length;
  // The ends hold what is black or clipped, and would make the rest flat.
  const highest = Math.max(1, ...counts.flatMap((each) => each.slice(1, -1)));
  context.clearRect(0, 0, width, height);
  context.globalCompositeOperation = "lighter";
  ["#d33a3a", "#2fae58", "#3a6be0"].forEach((colour, channel) => {
    context.fillStyle = colour;
    context.beginPath();
    context.moveTo(0, height);
    counts[channel].forEach((count, bin) => {
      const y = height * (1 - 0.95 * Math.min(1, count / highest));
      context.lineTo((bin * width) / bins, y);
      context.lineTo(((bin + 1) * width) / bins, y);
    });
    context.lineTo(width, height);
    context.fill();
  });
  context.globalCompositeOperation = "source-over";
}

// --- state ------------------------------------------------------------------------------------

function setLink(level, text) {
  $("frame").dataset.level = level;
  $("link").dataset.level = level;
  $("link").textContent = text;
}

function setBanner(text) {
  if ($("banner").textContent !== text) $("banner").textContent = text;
}

function showModule(module) {
  $("model").textContent = `${module.maker ?? ""} ${module.model} ${module.serial}`.trim();
  camera.controls = module.controls;
  for (const [name, slider] of Object.entries(sliders)) slider.setRange(module.controls[name]);
}

function showState(state) {
  camera.state = state;
  setLink(state.is_attached ? "good" : "bad", state.is_attached ? "live" : "unplugged");
  setBanner(state.is_attached ? "" : "The module is unplugged. Put it back to go on.");
  const heat = state.heat && state.heat !== "NONE" ? ` ${state.heat.toLowerCase()}` : "";
  const degrees = state.temperature_c === null ? "–" : `${state.temperature_c.toFixed(1)} °C`;
  showFigure("rate", `${state.frames_s}/s`, state.incomplete_frames > 0);
  showFigure("temperature", degrees + heat, Boolean(heat));
  showFigure("power", state.power_mw ? `${state.power_mw} mW` : "–", false);
  const rejected = state.discarded_packets + state.lost_packets;
  showFigure("discards", `${rejected}`, rejected > 0);
  showFigure("delay", state.delay_ms.count ? `${Math.round(state.delay_ms.p50)} ms` : "–", false);
  showFigure("viewers", `${state.viewers}`, false);
  for (const slider of Object.values(sliders)) slider.showAuto(state.is_automatic);
  if (document.activeElement !== $("compensation")) $("compensation").value = state.compensation_ev;
  showCompensation();
  $("hdr").setAttribute("aria-pressed", state.is_hdr);
  $("shutter").setAttribute("aria-busy", state.is_taking_still);
  showPoint(state.focus);
}

function showFigure(id, text, isBad) {
  $(id).textContent = text;
  $(id).dataset.level = isBad ? "bad" : "";
}

function showPoint(focus) {
  const box = $("point");
  box.hidden = focus.point === null;
  if (focus.point) [point.x, point.y] = focus.point;
  placePoint();
  box.dataset.state = focus.state;
  const notes = { scanning: "focusing", reached: "in focus", failed: "no focus", idle: "" };
  $("point-note").textContent = focus.note || notes[focus.state];
  // The answer says how long a change took to the screen. The first state tells of no change.
  if (boxSerial !== null && boxSerial !== focus.serial) {
    requestAnimationFrame(() => send({ op: "box_drawn", serial: focus.serial }));
  }
  boxSerial = focus.serial;
}

function placePoint() {
  $("point").style.left = `${100 * point.x}%`;
  $("point").style.top = `${100 * point.y}%`;
}

let messageTimer = 0;
function showMessage(text) {
  $("message").textContent = text;
  clearTimeout(messageTimer);
  messageTimer = setTimeout(() => ($("message").textContent = ""), 6000);
}

function showStill(files) {
  const row = document.createElement("li");
  const name = document.createElement("span");
  name.textContent = files[0].replace(/\.\w+$/, "");
  row.append(name);
  for (const file of files) {
    const anchor = document.createElement("a");
    anchor.href = `stills/${file}`;
    anchor.download = file;
    anchor.textContent = file.split(".").pop().toUpperCase();
    row.append(anchor);
  }
  $("stills").prepend(row);
  while ($("stills").children.length > 3) $("stills").lastChild.remove();
}

// --- controls ---------------------------------------------------------------------------------

// A slider of a setting. Its scale is even in stops, or in dioptres. A key changes the value by
// `step`: a factor, or milli-dioptres.
class Slider {
  constructor(name, format, step, isEven = false) {
    this.name = name;
    this.format = format;
    this.keyStep = step;
    this.isEven = isEven;
    this.input = $(name);
    this.output = document.querySelector(`output[for=${name}]`);
    this.row = this.input.closest(".control");
    this.auto = this.row.querySelector(".auto");
    this.isWaiting = false;
    this.changedAt = -Infinity;
    this.input.addEventListener("input", () => this.change(this.value));
    this.auto?.addEventListener("click", () => this.toggleAuto());
  }

  setRange(control) {
    this.row.hidden = !control || control.minimum >= control.maximum;
    if (this.row.hidden) return;
    this.least = control.minimum;
    this.most = this.name === "exposure_us" ? Math.min(control.maximum, LONGEST_US) : control.maximum;
  }

  get value() {
    const part = this.input.value / STEPS;
    const { least, most } = this;
    return Math.round(this.isEven ? least + part * (most - least) : least * (most / least) ** part);
  }

  set value(value) {
    const { least, most } = this;
    const part = this.isEven
      ? (value - least) / (most - least)
      : Math.log(value / least) / Math.log(most / least);
    this.input.value = Math.round(part * STEPS);
  }

  // Show what a frame had. The user's hand on the slider comes first.
  follow(value) {
    if (this.least === undefined || !this.isSettled) return;
    this.wanted = value;
    this.value = value;
    this.output.textContent = this.format(value);
    this.input.setAttribute("aria-valuetext", this.output.textContent);
  }

  get isSettled() {
    return performance.now() - this.changedAt > SETTLED_MS;
  }

  showAuto(isAutomatic) {
    this.auto?.setAttribute("aria-pressed", Boolean(isAutomatic[this.name]));
  }

  // Send the newest value once for each picture of the screen.
  change(value) {
    this.changedAt = performance.now();
    this.wanted = value;
    this.output.textContent = this.format(value);
    if (this.isWaiting) return;
    this.isWaiting = true;
    requestAnimationFrame(() => {
      this.isWaiting = false;
      send({ op: "set", name: this.name, value: this.wanted });
    });
  }

  step(count) {
    if (this.row.hidden || this.wanted === undefined) return;
    const { least, most, wanted, keyStep } = this;
    const next = Math.round(this.isEven ? wanted + count * keyStep : wanted * keyStep ** count);
    // Near 1 a step is less than one unit.
    const value = Math.min(most, Math.max(least, next === wanted ? wanted + count : next));
    this.value = value;
    this.change(value);
  }

  toggleAuto() {
    const isOn = this.auto.getAttribute("aria-pressed") === "true";
    if (isOn) send({ op: "set", name: this.name, value: camera.frame?.[this.name] ?? this.value });
    else send({ op: "auto", name: this.name });
  }
}

function formatExposure(us) {
  if (us >= 300_000) return `${(us / 1e6).toFixed(1)} s`;
  return us >= 100 ? `1/${Math.round(1e6 / us)} s` : `${us} µs`;
}

function formatDistance(mdpt) {
  if (mdpt <= 0) return "∞";
  return mdpt < 1000 ? `${(1000 / mdpt).toFixed(2)} m` : `${(100_000 / mdpt).toFixed(1)} cm`;
}

const sliders = {
  exposure_us: new Slider("exposure_us", formatExposure, 2 ** (1 / 3)),
  gain_milli: new Slider("gain_milli", (milli) => `× ${(milli / 1000).toFixed(2)}`, 2 ** (1 / 3)),
  aperture_milli: new Slider("aperture_milli", (milli) => `f/${(milli / 1000).toFixed(1)}`, 2 ** 0.5),
  focus_mdpt: new Slider("focus_mdpt", formatDistance, 25, true),
};

function focusAtPoint() {
  $("point").hidden = false;
  placePoint();
  send({ op: "tap", x: point.x, y: point.y });
}

function movePoint(across, down) {
  const clamp = (value) => Math.min(1, Math.max(0, value));
  point = { x: clamp(point.x + across * POINT_STEP), y: clamp(point.y + down * POINT_STEP) };
  $("point").hidden = false;
  $("point").dataset.state = "idle";
  $("point-note").textContent = "F focuses here";
  placePoint();
}

function showCompensation() {
  const ev = Number($("compensation").value);
  document.querySelector("output[for=compensation]").textContent = `${ev > 0 ? "+" : ""}${ev} EV`;
}

function setCompensation(ev) {
  $("compensation").value = ev;
  showCompensation();
  send({ op: "compensate", ev: Number($("compensation").value) });
}

function stepCompensation(count) {
  const input = $("compensation");
  setCompensation(Number(input.value) + count * Number(input.step));
}

function toggle(id) {
  const button = $(`${id}-button`);
  const isOn = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", isOn);
  $(id).hidden = !isOn;
  sendOverlays();
}

function sendOverlays() {
  send({ op: "overlays", names: OVERLAYS.filter((name) => !$(name).hidden) });
}

function showHelp() {
  if (!$("help").open) $("help").showModal();
}

$("picture").addEventListener("click", (event) => {
  const box = $("picture").getBoundingClientRect();
  point = { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  focusAtPoint();
});
$("focus-auto").addEventListener("click", focusAtPoint);
$("release").addEventListener("click", () => send({ op: "release" }));
$("hdr").addEventListener("click", () => {
  send({ op: "hdr", is_on: $("hdr").getAttribute("aria-pressed") !== "true" });
});
$("shutter").addEventListener("click", () => send({ op: "shutter" }));
$("compensation").addEventListener("input", (event) => setCompensation(event.target.value));
$("compensation-reset").addEventListener("click", () => setCompensation(0));
$("help-button").addEventListener("click", showHelp);
for (const id of [...OVERLAYS, "histogram"]) {
  $(`${id}-button`).addEventListener("click", () => toggle(id));
}

const KEYS = {
  " ": () => $("shutter").click(),
  f: focusAtPoint,
  Escape: () => $("release").click(),
  ArrowLeft: () => movePoint(-1, 0),
  ArrowRight: () => movePoint(1, 0),
  ArrowUp: () => movePoint(0, -1),
  ArrowDown: () => movePoint(0, 1),
  "[": () => sliders.exposure_us.step(-1),
  "]": () => sliders.exposure_us.step(1),
  "-": () => sliders.gain_milli.step(-1),
  "=": () => sliders.gain_milli.step(1),
  ";": () => sliders.aperture_milli.step(-1),
  "'": () => sliders.aperture_milli.step(1),
  ",": () => sliders.focus_mdpt.step(-1),
  ".": () => sliders.focus_mdpt.step(1),
  8: () => stepCompensation(-1),
  9: () => stepCompensation(1),
  0: () => setCompensation(0),
  e: () => sliders.exposure_us.toggleAuto(),
  g: () => sliders.gain_milli.toggleAuto(),
  d: () => $("hdr").click(),
  z: () => toggle("zebra"),
  p: () => toggle("peaking"),
  h: () => toggle("histogram"),
  "?": showHelp,
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const on = event.target;
  // A slider that has the focus keeps its arrows, a button its space bar.
  if (on.matches("input") && key.startsWith("Arrow")) return;
  if (on.matches("button") && key === " ") return;
  if (!(key in KEYS)) return;
  event.preventDefault();
  KEYS[key]();
});

new ResizeObserver(fitPicture).observe($("stage"));
addEventListener("resize", fitPicture);
connect();
