"""The demo's server: its own page only, from this machine only, within limits."""

import http.client
import io
import json
import math
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from framework import UserError
from plugins.demo import server as server_module
from plugins.demo.activities import ACTIVITIES
from plugins.demo.pictures import MAX_BYTES, MAX_PIXELS
from plugins.demo.server import Demo
from tests.runs import Diffobj


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with Demo() as served:
        yield served


def ask(
    demo: Demo, method: str, path: str, body: bytes = b"", **headers: str | None
) -> tuple[http.client.HTTPResponse, bytes]:
    """One request as the page would make it, but for the headers given (None: without that one)."""
    given: dict[str, str | None] = {
        "Host": f"127.0.0.1:{demo.port}",
        "X-Page-Token": demo.token,
        "Origin": f"http://127.0.0.1:{demo.port}",
        "Content-Length": str(len(body)),
    }
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", demo.port, timeout=60)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in given.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders()
    connection.send(body)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, data


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


NOISE = io.BytesIO()
Image.effect_noise((64, 64), 50).save(NOISE, "PNG")
CUT_OFF = NOISE.getvalue()[:2000]


def test_it_listens_on_this_machine_only(demo):
    assert demo.server.server_address[0] == "127.0.0.1"


def test_the_page_carries_the_token_and_may_load_from_here_only(demo):
    answer, page = ask(demo, "GET", "/")
    assert answer.status == 200
    assert demo.token.encode() in page
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "http" not in policy
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_no_file_of_the_page_names_another_site():
    for path in server_module.static_files().values():
        if path.suffix != ".png":
            text = path.read_text(encoding="utf-8")
            assert "http://" not in text
            assert "https://" not in text


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "", None])
def test_a_request_to_another_name_is_refused(demo, method, host):
    host = host.format(port=demo.port) if host else host
    answer, data = ask(demo, method, "/do/hill" if method == "POST" else "/", Host=host)
    assert answer.status == 421
    assert demo.token.encode() not in data


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Page_Token": None},
        {"X_Page_Token": "wrong"},
        {"X_Page_Token": "Ã¼"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_what_another_site_has_a_browser_send_is_refused(demo, headers):
    answer, data = ask(demo, "POST", "/do/hill", **headers)
    assert answer.status == 403
    assert lines(data) == [{"error": "only the page itself may ask; reload it"}]


def test_no_other_site_is_allowed_to_ask_beforehand(demo):
    answer, _ = ask(demo, "OPTIONS", "/do/hill", Origin="http://evil.example")
    assert answer.status == 501
    assert not [name for name in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    "path", ["/server.py", "/../server.py", "/%2e%2e/server.py", "//etc/passwd", "/page/", "/runs"]
)
def test_nothing_but_the_page_is_served(demo, path):
    assert ask(demo, "GET", path)[0].status == 404


def test_an_unknown_activity_is_refused(demo):
    assert ask(demo, "POST", "/do/nothing")[0].status == 404


@pytest.mark.parametrize("length", [None, "", "-1", "1e3", "²"])
def test_a_post_without_a_length_is_refused(demo, length):
    value = length.encode("utf-8").decode("latin-1") if length else length
    assert ask(demo, "POST", "/do/detect", Content_Length=value)[0].status == 411


def test_too_many_bytes_are_refused_before_they_are_read(demo):
    answer, data = ask(demo, "POST", "/do/detect", Content_Length=str(MAX_BYTES + 1))
    assert answer.status == 413
    assert lines(data)[0]["error"] == "10,000,001 bytes were posted; expected at most 10,000,000"


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(demo):
    _, data = ask(demo, "POST", "/do/detect", png(6000, 6000))
    assert MAX_PIXELS < 6000 * 6000
    assert lines(data) == [
        {"error": "the picture has 6000 x 6000 pixels; expected at most 30,000,000"}
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<svg/>", "the file is no JPEG, PNG or WebP picture"),
        (b"GIF89a", "the file is no JPEG, PNG or WebP picture"),
        (CUT_OFF, "the picture cannot be read: "),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(demo, body, said):
    (line,) = lines(ask(demo, "POST", "/do/detect", body)[1])
    assert line["error"].startswith(said)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("degrees=90", "descend.degrees = '90': expected less than 90"),
        ("degrees=x", "descend.degrees = 'x': expected a valid number"),
        ("steps=501", "descend.steps = '501': expected less than or equal to 500"),
        ("estimator=rlo", "descend.estimator = 'rlo': expected 'exact', "),
        ("step=3", "descend.step"),
    ],
)
def test_options_are_checked(demo, query, said):
    (line,) = lines(ask(demo, "POST", f"/do/descend?{query}")[1])
    assert said in line["error"]
    assert "\n" not in line["error"]


def test_gradient_descent_arrives_at_45_degrees_step_by_step(demo):
    _, data = ask(
        demo, "POST", "/do/descend?degrees=20&estimator=exact&learning_rate=0.002&steps=40"
    )
    answers = lines(data)
    assert [answer["step"] for answer in answers] == list(range(1, 41))
    # The mean of 80 sin 2a over a shaking hand of standard deviation s is 80 sin 2a exp(-2 s^2).
    slope = 160 * math.cos(math.radians(40)) * math.exp(-2 * math.radians(5) ** 2)
    assert answers[0]["degrees"] == pytest.approx(20 + math.degrees(0.002 * slope), abs=1e-3)
    assert answers[-1]["degrees"] == pytest.approx(45, abs=0.01)
    assert answers[-1]["metres"] == pytest.approx(80, abs=0.001)


def test_the_hill_is_the_range_at_each_half_degree(demo):
    (hill,) = lines(ask(demo, "POST", "/do/hill")[1])
    assert len(hill["metres"]) == 181
    assert hill["metres"][90] == pytest.approx(80, abs=1e-3)
    assert hill["metres"][60] == pytest.approx(80 * 3**0.5 / 2, abs=1e-3)


def test_a_fault_of_ours_ends_the_answer_and_the_next_one_is_served(demo, monkeypatch, capsys):
    def broken(runs, send, picture):
        raise ZeroDivisionError("no\nmore")

    monkeypatch.setattr(server_module, "ACTIVITIES", {**ACTIVITIES, "broken": broken})
    assert lines(ask(demo, "POST", "/do/broken")[1]) == [{"error": "ZeroDivisionError: no"}]
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert ask(demo, "POST", "/do/hill")[0].status == 200


def test_an_activity_ends_when_its_visitor_has_gone(demo, monkeypatch):
    told: list[bool] = []

    def endless(runs, send, picture):
        while send({"more": "x" * 10_000}):
            pass
        told.append(True)

    monkeypatch.setattr(server_module, "ACTIVITIES", {**ACTIVITIES, "endless": endless})
    with socket.create_connection(("127.0.0.1", demo.port)) as connection:
        request = f"POST /do/endless HTTP/1.0\r\nHost: 127.0.0.1:{demo.port}\r\nX-Page-Token: {demo.token}\r\n"
        connection.sendall(f"{request}Content-Length: 0\r\n\r\n".encode())
        connection.recv(1000)
    # It waits until the other one has ended.
    assert ask(demo, "POST", "/do/hill")[0].status == 200
    assert told == [True]


def test_two_activities_do_not_run_at_once(demo, monkeypatch):
    monkeypatch.setattr(demo, "patience", 0.01)
    with demo.working:
        answer, data = ask(demo, "POST", "/do/hill")
    assert answer.status == 503
    assert lines(data) == [{"error": "something else is being computed"}]


def test_a_port_that_is_taken_is_one_line(demo):
    with pytest.raises(UserError, match=rf"^port = {demo.port}: .*; port=0 takes any free one$"):
        Demo(demo.port)


@pytest.mark.parametrize("port", ["x", "-1", "65536", "1.5"])
def test_the_command_refuses_what_is_no_port(diffobj: Diffobj, port):
    outcome = diffobj("demo", f"port={port}")
    assert outcome.status == 2
    assert outcome.err == (f"diffobj: port = '{port}': expected a whole number from 0 to 65535\n")
