// Boxes that scroll sideways can be reached with the keyboard. Whether one scrolls is known once it
// is laid out, and most of a page is not until somebody scrolls there or presses Tab.
(function () {
  var boxes =
    ".pst-scrollable-table-container, mjx-container[display='true'], .long mjx-container, pre, " +
    ".cell_output > .output";
  var measured = 0; // the width of the window at which they were, or 0
  function measure() {
    measured = window.innerWidth;
    document.querySelectorAll(boxes).forEach(function (box) {
      var scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight + 1;
      if (scrolls && !box.closest("summary")) box.setAttribute("tabindex", "0");
    });
  }
  // A typeface that arrives late, or a fold that opens, may widen a box: for a reader who uses the
  // keyboard they are measured again at once, so that the next Tab finds them.
  function again() {
    if (measured) measure();
  }
  document.fonts.addEventListener("loadingdone", again);
  document.addEventListener("toggle", again, true);
  document.addEventListener("keydown", function (event) {
    if (event.key === "Tab" && measured !== window.innerWidth) measure();
  }, true);
})();

// The contents beside a page say where the reader is, after a jump and on the way up as well: the
// theme marks a heading only while it passes.
document.addEventListener("DOMContentLoaded", function () {
  var links = Array.from(document.querySelectorAll("#pst-page-toc-nav a[href^='#']"));
  var entries = document.querySelectorAll("#pst-page-toc-nav .toc-entry");
  var whole = document.querySelector(".bd-article > section");
  var waiting = false;
  if (!links.length || !whole) return;

  function linkTo(section) {
    return links.find(function (link) { return decodeURIComponent(link.hash) === "#" + section.id; });
  }
  function mark() {
    waiting = false;
    var root = document.documentElement;
    var atEnd = window.scrollY + window.innerHeight > root.scrollHeight - 4;
    var line = window.innerHeight * (atEnd ? 1 : 0.3);
    var here = null;
    for (var inside = whole; inside; ) {
      inside = Array.from(inside.children).filter(function (part) {
        return part.tagName === "SECTION" && part.getBoundingClientRect().top < line && linkTo(part);
      }).pop();
      if (inside) here = linkTo(inside);
    }
    links.forEach(function (link) {
      link.classList.toggle("active", link === here);
      if (link === here) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    });
    entries.forEach(function (entry) { entry.classList.toggle("active", entry.contains(here)); });
  }
  window.addEventListener("scroll", function () {
    if (!waiting) window.setTimeout(mark, 150);
    waiting = true;
  }, { passive: true });
});

// A slider's other pictures are fetched when the reader is about to move it.
["pointerover", "focusin"].forEach(function (name) {
  document.addEventListener(name, function (event) {
    var slider = event.target.closest && event.target.closest(".unigen-slider");
    if (!slider) return;
    slider.querySelectorAll("img[loading]").forEach(function (image) {
      image.removeAttribute("loading");
    });
  });
});

// A copied formula is its TeX, ready for a Markdown cell or a paper.
document.addEventListener("copy", function (event) {
  var selection = window.getSelection();
  if (!selection.rangeCount || selection.isCollapsed) return;
  var range = selection.getRangeAt(0).cloneRange();
  function formulaOf(node) {
    return (node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement).closest(".math");
  }
  var first = formulaOf(range.startContainer);
  var last = formulaOf(range.endContainer);
  if (first) range.setStartBefore(first);
  if (last) range.setEndAfter(last);
  var copy = range.cloneContents();
  var formulas = copy.querySelectorAll(".math[data-tex]");
  if (!formulas.length) return;
  formulas.forEach(function (formula) {
    var mark = formula.tagName === "DIV" ? "$$" : "$";
    formula.textContent = mark + formula.dataset.tex + mark;
  });
  copy.querySelectorAll(".headerlink").forEach(function (link) { link.remove(); });
  // The text of an element depends on its layout, so it has to stand in the page for a moment.
  var box = document.createElement("div");
  box.style.cssText = "position: fixed; left: -10000px; white-space: pre-line";
  box.append(copy);
  document.body.append(box);
  event.clipboardData.setData("text/plain", box.innerText);
  event.clipboardData.setData("text/html", box.innerHTML);
  box.remove();
  event.preventDefault();
});

// What a reader writes and marks stays in this browser: nothing is sent anywhere.
(function () {
  var NOTES = "unigen notes";
  var READ = "unigen read";

  function kept(name) {
    try {
      return JSON.parse(window.localStorage.getItem(name)) || {};
    } catch (error) {
      return {}; // storage is switched off, or holds something else
    }
  }
  function keep(name, values) {
    try {
      window.localStorage.setItem(name, JSON.stringify(values));
      return true;
    } catch (error) {
      return false;
    }
  }
  function element(tag, attributes, text) {
    var made = document.createElement(tag);
    Object.keys(attributes).forEach(function (name) { made.setAttribute(name, attributes[name]); });
    if (text) made.textContent = text;
    return made;
  }
  function pageName(path) {
    return path.split("/").pop().replace(/\.html$/, "");
  }
  var page = pageName(window.location.pathname);

  // --- An answer beside each question -----------------------------------------------------------

  function answerBox(question, number) {
    // The question's words name its answer, so that an answer survives a new question before it.
    var name = page + ": " + question.replace(/\s+/g, " ").trim().slice(0, 120);
    var id = "answer-" + number;
    var box = element("div", { class: "own-answer" });
    var label = element("label", { for: id }, "Your answer ");
    label.append(element("span", { class: "own-answer-where" }, "kept in this browser only"));
    var area = element("textarea", { id: id, rows: "2" });
    var question_id = id + "-question";
    label.append(element("span", { class: "visually-hidden", id: question_id }, " to: " + question));
    area.value = kept(NOTES)[name] || "";
    function fit() {
      area.style.height = "auto";
      area.style.height = Math.max(area.scrollHeight, 60) + "px";
    }
    area.addEventListener("input", function () {
      var notes = kept(NOTES);
      if (area.value.trim()) notes[name] = area.value;
      else delete notes[name];
      var stored = keep(NOTES, notes);
      box.classList.toggle("not-kept", !stored);
      fit();
    });
    box.append(label, area);
    window.requestAnimationFrame(function () { if (area.value) fit(); });
    return box;
  }
  function questions() {
    var number = 0;
    document.querySelectorAll("#test-yourself details.sd-dropdown").forEach(function (question) {
      var words = question.querySelector("summary").textContent;
      question.after(answerBox(words, (number += 1)));
    });
    document.querySelectorAll("article div.admonition.question").forEach(function (question) {
      var words = question.querySelector("p:not(.admonition-title)");
      if (words) question.append(answerBox(words.textContent, (number += 1)));
    });
  }

  // --- Chapters that were read ------------------------------------------------------------------

  function showRead() {
    var read = kept(READ);
    document.querySelectorAll("nav.bd-links a.reference.internal").forEach(function (link) {
      var target = link.getAttribute("href") === "#" ? page : pageName(link.pathname);
      var mark = link.querySelector(".read-mark");
      if (read[target] && !mark) {
        mark = element("span", { class: "read-mark" });
        mark.append(element("span", { "aria-hidden": "true" }, " ✓"));
        mark.append(element("span", { class: "visually-hidden" }, " (read)"));
        link.append(mark);
      } else if (!read[target] && mark) mark.remove();
    });
  }
  function offerRead() {
    if (!/^\d\d_/.test(page)) return;
    var button = element("button", { type: "button", class: "mark-read" });
    function say() {
      var done = Boolean(kept(READ)[page]);
      button.setAttribute("aria-pressed", String(done));
      button.textContent = done ? "✓ You have read this chapter" : "Mark this chapter as read";
    }
    button.addEventListener("click", function () {
      var read = kept(READ);
      if (read[page]) delete read[page];
      else read[page] = true;
      keep(READ, read);
      say();
      showRead();
    });
    say();
    var article = document.querySelector("article.bd-article");
    if (article) article.append(button);
  }

  // --- Take them along, or forget them ----------------------------------------------------------

  function offerKept() {
    var place = document.querySelector(".kept-in-browser");
    if (!place) return;
    var save = element("button", { type: "button" }, "Save my answers as a file");
    save.addEventListener("click", function () {
      var notes = kept(NOTES);
      var text = Object.keys(notes).sort().map(function (name) {
        return "## " + name + "\n\n" + notes[name] + "\n";
      }).join("\n");
      var link = element("a", { download: "my-answers.md" });
      link.href = URL.createObjectURL(new Blob([text], { type: "text/markdown" }));
      link.click();
      URL.revokeObjectURL(link.href);
    });
    var forget = element("button", { type: "button" }, "Delete all of it");
    var said = element("span", { role: "status" });
    forget.addEventListener("click", function () {
      if (!window.confirm("Delete your answers and the marks of what you have read?")) return;
      window.localStorage.removeItem(NOTES);
      window.localStorage.removeItem(READ);
      said.textContent = " Deleted.";
      showRead();
    });
    place.append(save, " ", forget, said);
  }

  document.addEventListener("DOMContentLoaded", function () {
    questions();
    offerRead();
    showRead();
    offerKept();
  });
})();

// The steps of a derivation fold, one by one or all, so that its plan can be seen on one screen.
(function () {
  function fold(section, folded) {
    section.classList.toggle("folded", folded);
    section.querySelector(":scope > h3 .fold").setAttribute("aria-expanded", String(!folded));
  }
  function prepare(section, heading) {
    var title = heading.firstChild.textContent.trim();
    var button = document.createElement("button");
    button.type = "button";
    button.className = "fold";
    button.setAttribute("aria-expanded", "true");
    button.setAttribute("aria-label", title);
    button.addEventListener("click", function () {
      fold(section, !section.classList.contains("folded"));
    });
    heading.prepend(button);
  }
  document.addEventListener("DOMContentLoaded", function () {
    var parents = new Set();
    document.querySelectorAll("article section > h3").forEach(function (heading) {
      if (!/^Step \d/.test(heading.textContent)) return;
      prepare(heading.parentElement, heading);
      parents.add(heading.parentElement.parentElement);
    });
    parents.forEach(function (parent) {
      var heading = parent.querySelector(":scope > h2");
      var steps = parent.querySelectorAll(":scope > section:has(> h3 .fold)");
      if (!heading || steps.length < 2) return;
      var button = document.createElement("button");
      button.type = "button";
      button.className = "fold-all";
      button.textContent = "Fold all steps";
      button.addEventListener("click", function () {
        var folding = button.textContent === "Fold all steps";
        steps.forEach(function (step) { fold(step, folding); });
        button.textContent = folding ? "Unfold all steps" : "Fold all steps";
      });
      heading.after(button);
    });
    // Whoever follows a link into a folded step sees it.
    window.addEventListener("hashchange", function () {
      var target = document.getElementById(decodeURIComponent(window.location.hash.slice(1)));
      var step = target && target.closest("section.folded");
      if (step) {
        fold(step, false);
        target.scrollIntoView();
      }
    });
  });
})();

// What a link to an equation, a statement, a figure or a source leads to, shown beside the link.
(function () {
  var SHOWN = ".math, .proof, figure, div.citation, dl.citation, .admonition, dt, table, .exercise";
  var card = null;
  var current = null;
  var timer = null;
  var asked = null; // the event that was last answered: a page that arrives late is not shown
  var pages = {};
  var touched = false; // a finger has no way of pointing at a link without following it

  function documentOf(url) {
    var address = url.origin + url.pathname;
    if (url.pathname === window.location.pathname) return Promise.resolve(document);
    if (!/^https?:$/.test(url.protocol)) return Promise.reject(new Error("a file cannot be read"));
    if (!pages[address])
      pages[address] = window.fetch(address).then(function (answer) {
        if (!answer.ok) throw new Error(answer.status);
        return answer.text();
      }).then(function (text) { return new DOMParser().parseFromString(text, "text/html"); });
    return pages[address];
  }
  function close() {
    window.clearTimeout(timer);
    if (card) card.remove();
    if (current) current.removeAttribute("aria-describedby");
    card = current = asked = null;
  }
  function show(link, found, url) {
    close();
    var target = found.matches(SHOWN) ? found : found.closest(SHOWN) || found.querySelector(SHOWN);
    if (!target || target.contains(link)) return;
    if (target.tagName === "DT") target = target.parentElement;
    var copy = document.importNode(target, true);
    copy.querySelectorAll(".headerlink, script, .own-answer").forEach(function (e) { e.remove(); });
    copy.querySelectorAll("[id]").forEach(function (e) { e.removeAttribute("id"); });
    copy.removeAttribute("id");
    copy.querySelectorAll("img").forEach(function (image) {
      image.src = new URL(image.getAttribute("src"), url).href;
    });
    card = document.createElement("div");
    card.className = "preview bd-article";
    card.id = "preview";
    card.setAttribute("role", "tooltip");
    card.append(copy);
    document.body.append(card);
    current = link;
    link.setAttribute("aria-describedby", "preview");
    var place = link.getBoundingClientRect();
    var width = card.offsetWidth;
    var left = Math.max(8, Math.min(place.left, document.documentElement.clientWidth - width - 8));
    var below = place.bottom + 8 + card.offsetHeight < window.innerHeight;
    card.style.left = left + window.scrollX + "px";
    card.style.top =
      window.scrollY + (below ? place.bottom + 8 : place.top - card.offsetHeight - 8) + "px";
    card.addEventListener("mouseleave", close);
  }
  function wanted(event) {
    var link = event.target.closest && event.target.closest("article a.internal[href*='#']");
    if (touched || !link || link.classList.contains("headerlink") || link === current) return;
    var url = new URL(link.href);
    if (!url.hash) return;
    window.clearTimeout(timer);
    asked = event;
    timer = window.setTimeout(function () {
      documentOf(url).then(function (page) {
        var found = page.getElementById(decodeURIComponent(url.hash.slice(1)));
        if (found && asked === event) show(link, found, url);
      }).catch(function () {}); // the link itself still works
    }, event.type === "focusin" ? 0 : 150);
  }
  document.addEventListener("pointerdown", function (event) {
    touched = event.pointerType === "touch";
  }, true);
  document.addEventListener("mouseover", wanted);
  document.addEventListener("focusin", wanted);
  document.addEventListener("mouseout", function (event) {
    // Focus scrolls the page, and so moves what is under a pointer at rest: that ends nothing.
    if (!current && asked && asked.type === "focusin") return;
    if (!current) return close();
    if (card && event.relatedTarget && card.contains(event.relatedTarget)) return;
    if (event.target.closest && event.target.closest("a") === current) timer = window.setTimeout(function () {
      if (card && !card.matches(":hover")) close();
    }, 200);
  });
  document.addEventListener("focusout", close);
  document.addEventListener("keydown", function (event) {
    touched = false;
    if (event.key === "Escape") close();
  }, true);
})();

// The form for an error names the section that the reader was looking at.
document.addEventListener("click", function (event) {
  var link = event.target.closest && event.target.closest("a.report-error");
  if (!link) return;
  var section = null;
  document.querySelectorAll("article section[id]").forEach(function (candidate) {
    if (candidate.getBoundingClientRect().top < window.innerHeight / 2) section = candidate;
  });
  var heading = section && section.querySelector("h1, h2, h3, h4");
  if (!heading) return;
  var title = heading.textContent.replace(/[#¶]\s*$/, "").trim();
  var url = new URL(link.href);
  var body = url.searchParams.get("body") || "";
  body = body.replace(/^Section: .*\n/m, "");
  url.searchParams.set("body", body.replace(/^(Page: .*)$/m, "$1\nSection: " + title));
  link.href = url.href;
});
