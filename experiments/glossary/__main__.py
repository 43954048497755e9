"""Write the generated parts of docs/ again: python -m experiments.glossary."""

from experiments.command import given_arguments
from experiments.glossary.page import pages

given_arguments(__doc__, most=0)
for page, text in pages().items():
    page.write_text(text, encoding="utf-8")
    print(page)
