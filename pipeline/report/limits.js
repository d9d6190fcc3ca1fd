"use strict";
// The page's limits, as they are moved. The arithmetic comes first and knows nothing of the page; tests run it by itself.

/** Numbers from base64: "f4" and "f8" are floats of so many bytes, "u1" bytes. */
function decoded(text, type) {
  const raw = atob(text);
  const bytes = Uint8Array.from(raw, (character) => character.charCodeAt(0));
  return type === "f4" ? new Float32Array(bytes.buffer) : type === "f8" ? new Float64Array(bytes.buffer) : bytes;
}

/** A group with its arrays decoded. */
function prepared(group) {
  const rules = group.rules.map((rule) => ({ ...rule, values: decoded(rule.data, rule.type) }));
  return { ...group, rules, sizes: decoded(group.sizes, "f8"), fixed: decoded(group.fixed, "u1") };
}

/** For each rule what it allows, [minimum, maximum], where the limits have the given values. */
function allowed(group, values) {
  const bounds = new Map(group.rules.map((rule) => [rule.rule, [rule.minimum ?? -Infinity, rule.maximum ?? Infinity]]));
  group.limits.forEach((limit, index) => {
    for (const [rule, end] of limit.bounds) bounds.get(rule)[end === "minimum" ? 0 : 1] = values[index];
  });
  return group.rules.map((rule) => bounds.get(rule.rule));
}

/** Of each document in the sample how many rules drop it, and which did last: twice its number, and 1 for its maximum; -1: none that moves. */
function failures(group, bounds) {
  const count = Uint8Array.from(group.fixed);
  const last = new Int16Array(group.sample).fill(-1);
  group.rules.forEach((rule, number) => {
    const low = rule.type === "f4" ? Math.fround(bounds[number][0]) : bounds[number][0];
    const high = rule.type === "f4" ? Math.fround(bounds[number][1]) : bounds[number][1];
    rule.values.forEach((value, document) => {
      if (value < low || value > high) { // what was not measured is NaN, and passes
        count[document] += 1;
        last[document] = 2 * number + (value > high);
      }
    });
  });
  return { count, last };
}

/** The share of all documents that a rule by itself lets pass, from its histogram. */
function alone(group, rule, [low, high]) {
  let dropped = 0;
  rule.counts.forEach((count, bin) => {
    const begin = rule.begins[bin], end = rule.ends[bin];
    const inside = begin === end ? Number(low <= end && end <= high) : (Math.min(high, end) - Math.max(low, begin)) / (end - begin);
    dropped += count * (1 - Math.min(1, Math.max(0, inside)));
  });
  return 1 - dropped / group.documents;
}

/**
 * Shares of documents and text that are kept, with half the width of their 95 % intervals. What is kept now is known of all documents;
 * of the sample only the difference is taken, which is far nearer to the truth than its share by itself. Where no document of the sample
 * changes, up to 3 in its size may (the "rule of three").
 */
function estimate(group, now, then) {
  const size = group.sample, all = group.documents;
  const left = Math.max(0, 1 - size / all); // nothing is uncertain where the sample is everything
  const moved = now.some((value, index) => value !== then[index]);
  const before = failures(group, allowed(group, now)), after = failures(group, allowed(group, then));
  const sums = [0, 0, 0, 0];
  for (let document = 0; document < size; document += 1) {
    const change = (after.count[document] === 0) - (before.count[document] === 0);
    const text = change * group.sizes[document];
    sums[0] += change; sums[1] += change * change; sums[2] += text; sums[3] += text * text;
  }
  const half = (sum, squares) => 1.96 * Math.sqrt((Math.max(0, squares / size - (sum / size) ** 2) / size) * left);
  const rare = moved && left > 0 && sums[1] === 0 ? 3 / size : 0;
  const share = (value) => Math.min(1, Math.max(0, value));
  const scale = all / Math.max(1, group.bytes);
  const only = new Array(2 * group.rules.length).fill(0);
  for (let document = 0; document < size; document += 1) {
    if (after.count[document] === 1 && after.last[document] >= 0) only[after.last[document]] += 1;
  }
  return {
    documents: share(group.kept.documents / all + sums[0] / size),
    error: Math.max(half(sums[0], sums[1]), rare),
    text: share(group.kept.bytes / Math.max(1, group.bytes) + (sums[2] / size) * scale),
    textError: half(sums[2], sums[3]) * scale,
    only: only.map((count) => count / size),
    sampleNow: before.count.reduce((sum, count) => sum + (count === 0), 0),
    sampleThen: after.count.reduce((sum, count) => sum + (count === 0), 0),
  };
}

/** Where a value lies on an axis, 0 to 1, and the value at a place. */
function placeOf(axis, value) {
  const share = axis.logarithmic ? Math.log(Math.max(value, axis.low) / axis.low) / Math.log(axis.high / axis.low)
    : (value - axis.low) / (axis.high - axis.low);
  return Math.min(1, Math.max(0, share));
}
function valueAt(axis, place, whole) {
  const value = axis.logarithmic ? axis.low * (axis.high / axis.low) ** place : axis.low + (axis.high - axis.low) * place;
  if (whole) return Math.round(value);
  if (axis.logarithmic) return Number(value.toPrecision(3));
  return Number(value.toFixed(Math.max(0, Math.ceil(-Math.log10((axis.high - axis.low) / 200)))));
}

/** The limits that were changed, as a part of a recipe, and as a command. */
function asRecipe(group, values) {
  const sections = {};
  group.limits.forEach((limit, index) => {
    if (values[index] === limit.value) return;
    const parts = limit.key.split(".");
    let within = sections;
    for (const part of parts.slice(0, -1)) within = within[part] ??= {};
    within[parts.at(-1)] = values[index];
  });
  const lines = (section, indent) => Object.entries(section).flatMap(([key, value]) =>
    typeof value === "object" ? [`${indent}${key}:`, ...lines(value, `${indent}  `)] : [`${indent}${key}: ${value}`]);
  return ["filter:", `  ${group.name}:`, ...lines(sections, "    ")].join("\n");
}
function asCommand(group, values) {
  const set = group.limits.flatMap((limit, index) =>
    values[index] === limit.value ? [] : [`--set filter.${group.name}.${limit.key}=${values[index]}`]);
  return `foundry whatif RECIPE ${set.join(" \\\n  ")}`;
}

// --- the page ----------------------------------------------------------------------------------------------------------

const STEPS = 200; // of a slider
const percent = (share) => `${(100 * share).toFixed(1)} %`;

function element(name, attributes = {}, ...children) {
  const made = name === "svg" || ["g", "path", "rect", "text"].includes(name)
    ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** One group: its panel, and the controls below its plots. */
function setUp(group, panel, figures) {
  const now = group.limits.map((limit) => limit.value);
  const values = [...now];
  const controls = group.limits.map(() => []);
  const drawings = [];
  const output = element("output", { "aria-live": "polite" });
  const note = element("p");
  const fill = element("i", { style: `background: var(--${group.domain})` }), mark = element("b", { title: "now" });
  const yaml = element("pre", { tabindex: "0", "aria-label": "These limits for the recipe" });
  const command = element("pre", { tabindex: "0", "aria-label": "A command that decides them again exactly" });
  const reset = element("button", { type: "button", class: "reset" }, "Reset");
  const copied = (pre, name) => {
    const button = element("button", { type: "button" }, "Copy");
    button.addEventListener("click", async () => {
      try { await navigator.clipboard.writeText(pre.textContent); } catch { // a page that may not write there selects it instead
        getSelection().selectAllChildren(pre);
        document.execCommand("copy");
      }
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    return element("div", {}, `${name} `, button, pre);
  };
  panel.append(reset, output, element("div", { class: "meter", "aria-hidden": "true" }, fill, mark), note,
    element("details", { class: "snippets" }, element("summary", {}, "These limits as a part of the recipe, and as a command"),
      element("div", {}, copied(yaml, "For the recipe"), copied(command, "To decide them again exactly"))));
  panel.hidden = false;

  function show() {
    const bounds = allowed(group, values), found = estimate(group, now, values);
    const share = group.kept.documents / group.documents;
    const exact = group.sample === group.documents;
    const moved = values.some((value, index) => value !== now[index]);
    const error = moved && !exact ? ` ± ${(100 * found.error).toFixed(1)}` : "";
    const textError = moved && !exact ? ` ± ${(100 * found.textError).toFixed(1)}` : "";
    const kept = `${percent(found.documents)}${error} of ${group.documents.toLocaleString("en")} documents and ${percent(found.text)}${textError} of their text`;
    output.textContent = moved ? `All limits together would keep ${kept}; now ${percent(share)} and ${percent(group.kept.bytes / Math.max(1, group.bytes))}.`
      : `All limits together keep ${kept}.`;
    note.textContent = exact ? "This page holds every document of this group, so this is exact."
      : `A difference is estimated from ${group.sample.toLocaleString("en")} documents, drawn by a hash; ± is its 95 % interval.`;
    panel.dataset.changed = moved ? "1" : "0";
    fill.style.width = percent(found.documents).replace(" ", "");
    mark.style.left = `calc(${(100 * share).toFixed(2)}% - 1px)`;
    yaml.textContent = asRecipe(group, values);
    command.textContent = asCommand(group, values);
    group.limits.forEach((limit, index) => {
      for (const control of controls[index]) {
        const here = limit.bounds.map(([rule, end]) => [group.rules.findIndex((each) => each.rule === rule), end === "maximum"])
          .filter(([number]) => group.rules[number].statistic === control.statistic);
        const passes = here.map(([number, most]) =>
          percent(alone(group, group.rules[number], most ? [-Infinity, bounds[number][1]] : [bounds[number][0], Infinity])));
        const only = here.reduce((sum, [number, most]) => sum + found.only[2 * number + most], 0);
        control.alone.textContent = `by itself keeps ${passes.join(", ")}${only ? `; alone drops ${percent(only)}` : ""}`;
        control.box.classList.toggle("moved", values[index] !== now[index]);
      }
    });
    for (const draw of drawings) draw();
  }

  function move(index, value, from) {
    const limit = group.limits[index];
    values[index] = Math.min(limit.most ?? Infinity, Math.max(limit.least ?? -Infinity, value));
    for (const control of controls[index]) {
      if (control.number !== from) control.number.value = values[index];
      if (control.range !== from) control.range.value = Math.round(STEPS * placeOf(control.axis, values[index]));
      control.range.setAttribute("aria-valuetext", String(values[index]));
      control.last = Number(control.range.value);
    }
    show();
  }

  function control(index, statistic, axis, figure) {
    const limit = group.limits[index];
    const least = limit.bounds.some(([, end]) => end === "minimum");
    const number = element("input", { type: "number", step: "any", value: limit.value });
    const range = element("input", { type: "range", min: 0, max: STEPS, step: 1, "aria-label": `${limit.key}, of ${statistic}` });
    const field = limit.key.split(".").slice(limit.key.startsWith("limits.") ? 0 : 1).join(".");
    const words = field.split(/(?<=_)/).flatMap((part) => [part, element("wbr")]);
    const name = element("span", { title: `filter.${group.name}.${limit.key}: ${least ? "at least" : "at most"}` }, ...words);
    const made = { statistic, axis, number, range, alone: element("div", { class: "alone" }) };
    made.box = element("div", { class: "limit" }, element("label", {}, name, number), range, made.alone);
    range.value = Math.round(STEPS * placeOf(axis, limit.value));
    range.setAttribute("aria-valuetext", String(limit.value));
    made.last = Number(range.value);
    range.addEventListener("input", () => {
      const place = Number(range.value);
      let value = valueAt(axis, place / STEPS, limit.whole);
      if (limit.whole && value === values[index]) value += Math.sign(place - made.last); // a step of a slider is at least one
      move(index, value, range);
    });
    number.addEventListener("input", () => {
      if (number.value !== "" && Number.isFinite(Number(number.value))) move(index, limit.whole ? Math.round(Number(number.value)) : Number(number.value), number);
    });
    number.addEventListener("change", () => { number.value = values[index]; });
    controls[index].push(made);
    figure.append(made.box);
  }

  for (const figure of figures) {
    const axis = { low: Number(figure.dataset.low), high: Number(figure.dataset.high), logarithmic: figure.dataset.logarithmic === "1" };
    const statistic = figure.dataset.statistic;
    const here = group.rules.filter((rule) => rule.statistic === statistic).map((rule) => rule.rule);
    const indices = group.limits.flatMap((limit, index) => (limit.bounds.some(([rule]) => here.includes(rule)) ? [index] : []));
    if (!indices.length) continue;
    const picture = figure.querySelector("svg"), drawn = picture.querySelector("g.limits");
    for (const index of indices) control(index, statistic, axis, figure);
    drawings.push(() => {
      const parts = indices.flatMap((index) => {
        const at = 232 * placeOf(axis, values[index]);
        const least = group.limits[index].bounds.some(([rule, end]) => end === "minimum" && here.includes(rule));
        const right = at > 232 * 0.7;
        const wash = least ? { x: 0, width: at } : { x: at, width: 232 - at };
        return [
          element("rect", { ...wash, y: 12, height: 66, fill: "var(--red)", opacity: 0.1 }),
          element("path", { d: `M${at.toFixed(1)} 2V78`, stroke: "var(--red)", "stroke-dasharray": "3 2" }),
          element("text", { x: at + (right ? -3 : 3), y: 9, fill: "var(--red)", "text-anchor": right ? "end" : "start" }, String(values[index])),
        ];
      });
      drawn.replaceChildren(...parts);
    });
  }
  reset.addEventListener("click", () => now.forEach((value, index) => move(index, value, null)));
  show();
}

if (typeof module !== "undefined") {
  module.exports = { prepared, allowed, failures, alone, estimate, placeOf, valueAt, asRecipe, asCommand };
} else {
  for (const text of document.querySelectorAll(".needs-script")) text.hidden = false;
  for (const group of JSON.parse(document.getElementById("limits").textContent)) {
    const named = `[data-group="${group.name}"]`;
    const panel = document.querySelector(`.moves${named}`);
    if (panel) setUp(prepared(group), panel, document.querySelectorAll(`figure${named}`));
  }
}
