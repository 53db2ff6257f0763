"""Downloads from a real server: resumed, checked, and whole or absent."""

from __future__ import annotations

import hashlib
import os

import pytest

from ecotone.errors import DataError
from ecotone.weights import download

CONTENT = bytes(os.urandom(3_000_000))
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def url(server):
    server.files["/weights.pth"] = CONTENT
    return f"{server.url}/weights.pth"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "files"


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def interrupted(server, url, folder):
    """A download that broke off after a million bytes."""
    server.stop_after = 1_000_000
    with pytest.raises(DataError, match=r"broke off; found 1000000 of 3000000 bytes.*goes on where it stopped"):
        download(url, folder)
    server.stop_after = None
    server.requests.clear()
    assert names(folder) == ["weights.pth.part", "weights.pth.part.json"]


def test_a_file_arrives_whole_and_alone_with_its_progress(url, folder):
    seen = []
    file = download(url, folder, sha256=SHA, size=len(CONTENT), progress=lambda done, total: seen.append((done, total)))
    assert file.read_bytes() == CONTENT
    assert names(folder) == ["weights.pth"]
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT)) and seen == sorted(seen)


def test_a_file_that_is_there_is_not_fetched_again_but_checked(server, url, folder):
    download(url, folder)
    server.requests.clear()
    assert download(url, folder, sha256=SHA).read_bytes() == CONTENT
    assert not server.requests
    (folder / "weights.pth").write_bytes(b"spoilt")
    with pytest.raises(DataError, match="not the published file; found sha256"):
        download(url, folder, sha256=SHA)
    assert (folder / "weights.pth").read_bytes() == b"spoilt"


@pytest.mark.usefixtures("interrupted")
def test_an_interrupted_download_goes_on_where_it_stopped(server, url, folder):
    assert download(url, folder, sha256=SHA).read_bytes() == CONTENT
    assert server.requests == [("/weights.pth", "bytes=1000000-")]
    assert names(folder) == ["weights.pth"]


@pytest.mark.usefixtures("interrupted")
def test_a_server_that_ignores_ranges_sends_the_whole_again(server, url, folder):
    server.ranges = False
    assert download(url, folder).read_bytes() == CONTENT
    assert server.requests == [("/weights.pth", "bytes=1000000-")]


@pytest.mark.usefixtures("interrupted")
@pytest.mark.parametrize("new", [CONTENT[::-1], CONTENT[:500_000], CONTENT[:1_000_000]], ids=["other", "short", "same"])
def test_a_file_that_changed_in_between_starts_anew(new, server, url, folder):
    server.files["/weights.pth"] = new
    assert download(url, folder).read_bytes() == new


@pytest.mark.usefixtures("interrupted")
def test_what_waits_from_another_url_is_not_continued(server, folder):
    server.files["/other/weights.pth"] = CONTENT[::-1]
    assert download(f"{server.url}/other/weights.pth", folder).read_bytes() == CONTENT[::-1]
    assert server.requests == [("/other/weights.pth", None)]


def test_without_a_strong_version_only_a_checksum_allows_to_go_on(server, url, folder):
    server.weak, server.stop_after = True, 1_000_000
    for sha256, asked in ((None, None), (SHA, "bytes=1000000-")):
        with pytest.raises(DataError, match="broke off"):
            download(url, folder)
        server.requests.clear()
        server.stop_after = None
        assert download(url, folder, sha256=sha256).read_bytes() == CONTENT
        assert server.requests == [("/weights.pth", asked)]
        (folder / "weights.pth").unlink()
        server.stop_after = 1_000_000


def test_everything_there_but_the_name_needs_no_more_bytes(server, url, folder):
    folder.mkdir()
    (folder / "weights.pth.part").write_bytes(CONTENT)
    assert download(url, folder, sha256=SHA).read_bytes() == CONTENT


@pytest.mark.parametrize("published", [{"sha256": "0" * 64}, {"size": 2_999_999}])
def test_a_file_that_is_not_the_published_one_is_refused_and_not_kept(published, url, folder):
    with pytest.raises(DataError, match="not the published file"):
        download(url, folder, **published)
    assert names(folder) == []


def test_a_refusal_of_the_server_is_passed_on(server, folder):
    with pytest.raises(DataError, match=r"cannot download .*gone\.pth; found 404 .*look for it"):
        download(f"{server.url}/gone.pth", folder)


def test_an_absent_server_is_named(server, folder):
    url = f"{server.url}/x.pth"
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"the download of .*x\.pth broke off; found .*refused"):
        download(url, folder)


def test_redirects_are_followed(server, url, folder):
    server.redirects["/moved.pth"] = url
    assert download(f"{server.url}/moved.pth", folder).read_bytes() == CONTENT


@pytest.mark.parametrize("scheme", ["file", "ftp"])
def test_redirects_do_not_leave_the_web(scheme, server, folder, tmp_path):
    (tmp_path / "secret").write_text("secret")
    server.redirects["/escape.pth"] = f"{scheme}://localhost{tmp_path}/secret"
    with pytest.raises(DataError, match=r"refusing to download ftp:.*found ftp|cannot download .*found 302"):
        download(f"{server.url}/escape.pth", folder)
    assert names(folder) == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/x.pth", "/etc/passwd.pth", "data:,x.pth"])
def test_only_the_web_is_downloaded_from(url, folder):
    with pytest.raises(DataError, match="refusing to download"):
        download(url, folder, name="x.pth")
    assert not (folder / "x.pth").exists()


@pytest.mark.parametrize(
    "name", ["../x.pth", "/tmp/x.pth", "..", "", ".hidden", "a/b.pth", "a\\b.pth", "x\n", "x.part"]
)
def test_a_name_cannot_leave_its_folder(name, url, folder):
    with pytest.raises(DataError, match="plain file name"):
        download(url, folder, name=name)


@pytest.mark.parametrize("path", ["/a/..%2Fx.pth", "/%2e%2e", "/a/%5C..%5Cx.pth", "/"])
def test_a_url_cannot_name_a_place_outside_the_folder(path, server, folder):
    with pytest.raises(DataError, match="plain file name"):
        download(server.url + path, folder)


def test_a_plus_and_a_query_in_a_url_give_the_authors_name(server, folder):
    server.files["/files/SpectralGPT%2B.pth"] = b"x"
    assert download(f"{server.url}/files/SpectralGPT%2B.pth?download=1", folder).name == "SpectralGPT+.pth"
