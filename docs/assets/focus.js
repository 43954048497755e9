// What is wider than the page can be scrolled by the keyboard, too; the theme wraps tables once it has begun.
addEventListener("load", () => {
  for (const part of document.querySelectorAll(".md-typeset pre, .md-typeset__scrollwrap")) part.tabIndex = 0;
});
