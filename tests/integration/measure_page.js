// Measures an open page, and returns what is wrong with it, in words.
() => {
  const problems = [];
  const say = (what, node) => problems.push(`${what}: ${(node.textContent || "").trim().slice(0, 60)}`);

  // The part of a rectangle that its scrolling ancestors do not cut off.
  const clipped = (rect, element) => {
    let {left, right, top, bottom} = rect;
    for (let e = element; e && e !== document.documentElement; e = e.parentElement) {
      if (getComputedStyle(e).overflowX === "visible" || e instanceof SVGElement) continue;
      const box = e.getBoundingClientRect();
      [left, right] = [Math.max(left, box.left), Math.min(right, box.right)];
      [top, bottom] = [Math.max(top, box.top), Math.min(bottom, box.bottom)];
    }
    return right - left > 1 && bottom - top > 1 ? {left, right, top, bottom} : null;
  };

  // Every visible piece of text: its boxes, and the element that colours it.
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || ["STYLE", "SCRIPT"].includes(element.tagName)) continue;
    if (!element.checkVisibility({visibilityProperty: true})) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const svg = element.closest("text");
    const rects = svg ? [svg.getBoundingClientRect()] : [...range.getClientRects()];
    texts.push({node, element, boxes: rects.map(r => clipped(r, element)).filter(Boolean)});
  }

  // Overlap: the ink of a line is lower than its box, so that a sixth is cut off on both sides.
  const boxes = texts.flatMap(({node, boxes}) => boxes.map(({left, right, top, bottom}) => {
    const edge = (bottom - top) / 6;
    return {node, left, right, top: top + edge, bottom: bottom - edge};
  })).sort((a, b) => a.top - b.top);
  boxes.forEach((a, place) => {
    for (let next = place + 1; next < boxes.length && boxes[next].top < a.bottom; next++) {
      const b = boxes[next];
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - b.top;
      if (a.node !== b.node && wide > 2 && high > 2)
        say(`overlap with "${b.node.data.trim().slice(0, 40)}"`, a.node);
    }
  });

  // Width.
  if (document.documentElement.scrollWidth > window.innerWidth)
    problems.push(`wider than the screen: ${document.documentElement.scrollWidth}`);

  // Contrast by WCAG 2 (1.4.3, AA): 4.5, for large text 3.
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (front, back) => [0, 1, 2].map(i => front[i] * front[3] + back[i] * (1 - front[3]));
  const background = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const luminance = colour => {
    const [r, g, b] = colour.slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  for (const {node, element, boxes} of texts) {
    if (!boxes.length) continue;
    const style = getComputedStyle(element);
    const back = background(element);
    const front = over(rgba(element.closest("text") ? style.fill : style.color), back);
    const [light, dark] = [luminance(front), luminance(back)].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (contrast < (large ? 3 : 4.5)) say(`contrast ${contrast.toFixed(1)}`, node);
  }

  // Headings: one h1, and no level left out.
  let before = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const level = Number(heading.tagName[1]);
    if (level > before + 1) say(`h${level} after h${before}`, heading);
    before = level;
  }
  if (document.querySelectorAll("h1").length !== 1) problems.push("not one h1");

  for (const cell of document.querySelectorAll("th"))
    if (!cell.textContent.trim()) say("empty th", cell.parentElement);

  // What scrolls says so, and what says so scrolls.
  for (const region of document.querySelectorAll(".scroll")) {
    const scrolls = region.scrollWidth > region.clientWidth + 1;
    const hint = region.parentElement.querySelector(":scope > .hint");
    const hinted = Boolean(hint) && getComputedStyle(hint).display !== "none";
    if (scrolls !== hinted) say(scrolls ? "no hint" : "a hint for nothing", region);
  }

  for (const link of document.querySelectorAll("a[href^='#']"))
    if (!document.getElementById(link.getAttribute("href").slice(1))) say("leads nowhere", link);
  const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
  if (new Set(ids).size !== ids.length) problems.push("an id stands twice");
  return [...new Set(problems)];
}
