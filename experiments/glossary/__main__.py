"""Write the options and metrics of docs/glossary.md again: python -m experiments.glossary."""

from experiments.glossary.page import PAGE, write

write()
print(PAGE)
