"""The glossary: every public option and metric, generated for docs/glossary.md and held to the truth by a test."""
