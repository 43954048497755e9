"""diffobj plugins: everything that is installed, a line each."""

from framework.config.composition import config_options
from framework.plugin import registry
from tests.runs import Diffobj


def test_everything_is_listed_with_a_line(diffobj: Diffobj):
    outcome = diffobj("plugins")
    assert outcome.status == 0
    assert outcome.err == ""
    sections: dict[str, dict[str, str]] = {}
    for block in outcome.out.strip().split("\n\n"):
        title, *listed = block.splitlines()
        sections[title] = dict(line.split(None, 1) for line in listed)
    assert sections["plugins"].keys() == {found.name for found in registry().found}
    for group in registry().groups:
        assert list(sections[group]) == registry().names(group)
    assert sections["what estimators serve"].keys() == sections["estimators"].keys()
    assert sections["experiments"].keys() == config_options()["experiment"].keys()
    for title, lines in sections.items():
        for name, summary in lines.items():
            assert len(summary.split()) > 2, f"{title}: {name} needs a line of what it is"
