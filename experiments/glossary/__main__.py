"""Write the generated parts of docs/ again: python -m experiments.glossary."""

from experiments.glossary.page import pages

for page, text in pages().items():
    page.write_text(text, encoding="utf-8")
    print(page)
