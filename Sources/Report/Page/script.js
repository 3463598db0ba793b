"use strict";
// Only what cannot be had without a script: zooming, filtering, opening what a link points to. Without
// it everything can be read.
(() => {
  const reveal = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    target.scrollIntoView({ block: "center" });
  };
  addEventListener("hashchange", reveal);
  if (location.hash) reveal();
  // Closed details are not printed: the first of each group stands for it.
  addEventListener("beforeprint", () => {
    for (const group of document.querySelectorAll("details.group")) {
      group.open = true;
      const first = group.querySelector("details.incident");
      if (first) first.open = true;
    }
  });

  const filter = document.getElementById("filter");
  if (filter) {
    filter.parentElement.hidden = false;
    const entries = [...document.querySelectorAll(".i")].map((element) => ({ element, text: "" }));
    const found = document.getElementById("found");
    filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const entry of entries) {
        const group = entry.element.closest("details.group");
        entry.text ||= (group.querySelector("summary").textContent + " " + entry.element.textContent).toLowerCase();
        entry.element.hidden = !words.every((word) => entry.text.includes(word));
        if (!entry.element.hidden) shown++;
      }
      for (const group of document.querySelectorAll("details.group")) {
        group.hidden = words.length > 0 && !group.querySelector(".i:not([hidden])");
      }
      found.textContent = words.length ? shown + " of " + entries.length + " listed" : "";
    });
  }

  const svg = document.querySelector("svg.lanes");
  if (!svg) return;
  const start = Number(svg.dataset.start), length = Number(svg.dataset.length);
  const offset = Number(svg.dataset.offset);
  const marks = [...svg.querySelectorAll("rect.m")].map((element) => {
    const width = element.getAttribute("width");
    return { element, x: parseFloat(element.getAttribute("x")), width: width.endsWith("%") ? parseFloat(width) : 0 };
  });
  const axis = svg.querySelector(".axis"), height = svg.height.baseVal.value;
  let from = 0, to = 100;
  const steps = [1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 15e6, 3e7, 6e7, 12e7,
    3e8, 6e8, 9e8, 18e8, 36e8, 72e8, 216e8, 432e8, 864e8];
  const make = (name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    if (text) element.textContent = text;
    return element;
  };
  const clock = (microseconds, step) => {
    const iso = new Date(Math.floor((microseconds + offset * 1e6) / 1000)).toISOString();
    return step >= 1e6 ? iso.slice(11, 19) : iso.slice(11, 23);
  };
  const draw = () => {
    const scale = 100 / (to - from);
    for (const mark of marks) {
      const x = (mark.x - from) * scale, width = mark.width * scale;
      mark.element.setAttribute("x", x + "%");
      mark.element.setAttribute("width", width * svg.clientWidth / 100 > 3 ? width + "%" : "3");
      mark.element.style.display = x + width < -1 || x > 101 ? "none" : "";
    }
    const first = start + length * from / 100, span = length * (to - from) / 100;
    const most = Math.max(2, Math.floor(svg.clientWidth / 130));
    const step = steps.find((step) => step >= span / most) || Math.ceil(span / most / 864e8) * 864e8;
    axis.replaceChildren();
    const shift = offset * 1e6;
    for (let at = Math.ceil((first + shift) / step) * step - shift; at <= first + span; at += step) {
      const x = (at - first) / span * 100 + "%";
      axis.append(make("line", { x1: x, x2: x, y1: 0, y2: height - 18 }));
      axis.append(make("text", { x, y: height - 5, "text-anchor": "middle" }, clock(at, step)));
    }
  };
  const show = (a, b) => {
    // Down to a millisecond, and never past the ends.
    const width = Math.min(100, Math.max(b - a, 1e5 / length));
    from = Math.min(Math.max(0, a), 100 - width);
    to = from + width;
    draw();
  };
  const zoom = (factor, at = 0.5) => {
    const middle = from + (to - from) * at, width = (to - from) * factor;
    show(middle - width * at, middle - width * at + width);
  };
  const actions = {
    in: () => zoom(0.5), out: () => zoom(2), left: () => show(from - (to - from) / 3, to - (to - from) / 3),
    right: () => show(from + (to - from) / 3, to + (to - from) / 3), all: () => show(0, 100),
  };
  const tools = document.getElementById("zoom");
  tools.hidden = false;
  tools.addEventListener("click", (event) => actions[event.target.dataset.zoom]?.());
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey) return;
    event.preventDefault();
    const box = svg.getBoundingClientRect();
    zoom((event.deltaY || event.deltaX) < 0 ? 0.7 : 1 / 0.7, (event.clientX - box.left) / box.width);
  }, { passive: false });
  let drag = null;
  svg.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, from, to }; });
  addEventListener("pointermove", (event) => {
    if (!drag || to - from >= 100) return;
    const moved = (event.clientX - drag.x) / svg.clientWidth * (drag.to - drag.from);
    show(drag.from - moved, drag.to - moved);
  });
  addEventListener("pointerup", () => { drag = null; });
  addEventListener("resize", draw);
  draw();
})();
