// Boxes that scroll sideways can be reached with the keyboard, once MathJax has set their contents.
(function () {
  function reachable() {
    document
      .querySelectorAll(".pst-scrollable-table-container, mjx-container[display='true'], pre")
      .forEach(function (box) {
        if (box.scrollWidth > box.clientWidth + 1) box.setAttribute("tabindex", "0");
      });
  }
  window.addEventListener("load", function () {
    var ready = window.MathJax && window.MathJax.startup && window.MathJax.startup.promise;
    Promise.resolve(ready).then(reachable);
    window.addEventListener("resize", reachable);
  });
})();
