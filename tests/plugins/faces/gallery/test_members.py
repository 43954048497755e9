"""Who is in a gallery: each embedding counts under its own consent, until that expires."""

import datetime
import unicodedata

import pytest
import torch

from framework import UserError
from plugins.faces.gallery.members import Members
from plugins.faces.models.networks import unit

TODAY = datetime.date(2026, 5, 1)
TOMORROW, NEXT_YEAR = datetime.date(2026, 5, 2), datetime.date(2027, 5, 1)


def some(count: int, seed: int = 0) -> torch.Tensor:
    return unit(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)))


def members() -> Members:
    filled = Members("abc")
    filled.enrol("Ann Lee", some(2), "signed form of 1 May 2026", TODAY, NEXT_YEAR)
    filled.enrol("Björn", some(1, 1), "e-mail of 30 April 2026", TODAY, TOMORROW)
    return filled


def test_pictures_under_the_same_consent_join_and_its_last_day_counts_for_all():
    filled = members()
    filled.enrol("Björn", some(3, 2), "e-mail of 30 April 2026", TODAY, NEXT_YEAR)
    (consent,) = filled.people["Björn"]
    assert consent.embeddings.shape == (4, 6)
    assert consent.expires == NEXT_YEAR


def test_pictures_under_another_consent_do_not_prolong_the_earlier_ones():
    filled = members()
    filled.enrol("Björn", some(3, 2), "new form", TODAY, NEXT_YEAR)
    assert [len(consent.embeddings) for consent in filled.people["Björn"]] == [1, 3]
    assert torch.allclose(filled.known(TODAY)["Björn"], torch.cat([some(1, 1), some(3, 2)]).mean(0))
    later = TODAY + datetime.timedelta(2)
    assert torch.allclose(filled.known(later)["Björn"], some(3, 2).mean(0))


def test_a_new_consent_does_not_revive_what_has_expired():
    filled, later = members(), TODAY + datetime.timedelta(2)
    for note in ("e-mail of 30 April 2026", "new form"):
        filled.enrol("Björn", some(3, 2), note, later, NEXT_YEAR)
        assert torch.allclose(filled.known(later)["Björn"], some(3, 2).mean(0))
        assert all(consent.expires == NEXT_YEAR for consent in filled.people["Björn"])


def test_people_whose_day_is_over_are_unknown_and_are_purged():
    filled = members()
    assert set(filled.known(TODAY)) == {"Ann Lee", "Björn"}
    later = TODAY + datetime.timedelta(2)
    assert set(filled.known(later)) == {"Ann Lee"}
    assert filled.purge(TODAY) == []
    assert filled.purge(later) == ["Björn"]
    assert list(filled.people) == ["Ann Lee"]
    assert filled.purge(NEXT_YEAR + datetime.timedelta(1)) == ["Ann Lee"]
    assert filled.people == {}


def test_a_person_is_as_near_as_their_pictures_are_on_average():
    """So that a threshold of pairs holds: the cosine with a mean of norm 1 would be larger."""
    probe, pictures = some(1, 5)[0], some(2)
    assert torch.allclose(members().known(TODAY)["Ann Lee"] @ probe, (pictures @ probe).mean())


def test_one_name_in_two_encodings_is_one_person():
    filled = members()
    kept = filled.enrol(unicodedata.normalize("NFD", " Björn "), some(1), "form", TODAY, NEXT_YEAR)
    assert kept == "Björn"
    assert len(filled.people) == 2
    filled.forget(unicodedata.normalize("NFD", "Björn"))
    assert list(filled.people) == ["Ann Lee"]
    with pytest.raises(UserError, match="'Bjorn' is not in the gallery; did you mean"):
        members().forget("Bjorn")


@pytest.mark.parametrize(
    ("name", "consent", "expires", "message"),
    [
        (" ", "form", NEXT_YEAR, "name = ''"),
        ("Cy\x1b[2J", "form", NEXT_YEAR, r"U\+001B"),
        ("Cy\u202egnp", "form", NEXT_YEAR, r"U\+202E"),
        ("Cy\ud800", "form", NEXT_YEAR, r"U\+D800"),
        ("c" * 201, "form", NEXT_YEAR, "201 characters; expected 200"),
        ("Unknown", "form", NEXT_YEAR, "the answer where no person is recognised"),
        ("Cy", " ", NEXT_YEAR, "consent = ''"),
        ("Cy", "form\nof May", NEXT_YEAR, r"U\+000A"),
        ("Cy", "form", TODAY, "expires"),
    ],
)
def test_enrolling_takes_a_name_a_note_of_consent_and_a_day_to_come(
    name, consent, expires, message
):
    with pytest.raises(UserError, match=message) as refused:
        members().enrol(name, some(1), consent, TODAY, expires)
    assert "\n" not in str(refused.value)


def test_a_name_may_have_joiners_and_any_letters():
    filled = members()
    for name in ("نیلوفر می\u200cخواهد", "O'Brien-Łukasz", "김 수"):
        assert filled.enrol(name, some(1), "form", TODAY, NEXT_YEAR) == unicodedata.normalize(
            "NFC", name
        )


def test_embeddings_of_another_size_are_refused():
    with pytest.raises(UserError, match="embeddings of 3 numbers; expected 6"):
        members().enrol("Cy", torch.eye(3), "form", TODAY, NEXT_YEAR)
