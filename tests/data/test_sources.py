"""Finding, verifying, downloading and reading datasets."""

import dataclasses
import functools
import gzip
import hashlib
import http.server
import io
import shutil
import socket
import tarfile
import threading

import pytest

from lstm_zoo.data import small, sources
from lstm_zoo.errors import DataError, UnknownNameError

GENERATED_ARCHIVE = "speech_commands_generated.tar.gz"

UNPACKED = {
    "speech_commands": "speech/speech_commands",
    "fsdd": "speech/fsdd",
    "imdb": "sentiment/imdb",
    "sst2": "sentiment/sst",
    "sst5": "sentiment/sst",
    "movie_reviews": "sentiment/mr",
}


# === Finding ===


@pytest.mark.parametrize("dataset", sources.SOURCES)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_unpacked_copy_is_found_at_each_depth(generated, dataset, depth):
    parts = UNPACKED[dataset].split("/")
    assert sources.find(dataset, generated.joinpath(*parts[:depth])) == generated / UNPACKED[dataset]


@pytest.mark.parametrize(
    ("dataset", "archive"),
    [
        ("speech_commands", f"speech_commands/{GENERATED_ARCHIVE}"),
        ("fsdd", "fsdd/fsdd_generated.tar.gz"),
        ("imdb", "imdb/imdb_generated.tar.gz"),
        ("sst2", "sst/sst_generated.tar.gz"),
        ("sst5", "sst/sst_generated.tar.gz"),
        ("movie_reviews", "movie_reviews/movie_reviews_generated.tar.gz"),
    ],
)
def test_archive_is_found_by_folder_and_by_path(archives, dataset, archive):
    archive = archives / archive
    assert sources.find(dataset, archives) == sources.find(dataset, archive) == archive


def test_order_is_directory_environment_cache(generated, archives, nothing_on_this_machine, monkeypatch):
    cached = shutil.copytree(archives / "speech_commands", nothing_on_this_machine / "speech_commands")
    assert sources.find("speech_commands") == cached / GENERATED_ARCHIVE
    monkeypatch.setenv("LSTM_ZOO_DATA", str(generated))
    assert sources.find("speech_commands") == generated / "speech" / "speech_commands"
    assert sources.find("speech_commands", archives) == archives / "speech_commands" / GENERATED_ARCHIVE


def test_unpacked_copy_is_preferred_to_its_archive(archives, tmp_path):
    root = shutil.copytree(archives / "fsdd", tmp_path / "both")
    unpacked = small.write_fsdd(root / "free-spoken-digit-dataset")
    assert sources.find("fsdd", root) == unpacked


def test_named_folder_without_the_dataset_is_an_error_not_a_download(tmp_path):
    with pytest.raises(DataError, match=r"directory: .*speech_commands_v\*\.tar.*speech_commands_v0\.02\.tar\.gz"):
        sources.find("speech_commands", tmp_path)
    assert sources.locate("speech_commands", tmp_path) is None


def test_environment_names_a_folder_that_does_not_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("LSTM_ZOO_DATA", str(tmp_path / "absent"))
    with pytest.raises(DataError, match="LSTM_ZOO_DATA: .*absent does not exist"):
        sources.find("fsdd")


def test_unknown_dataset():
    with pytest.raises(UnknownNameError, match="did you mean 'speech_commands'"):
        sources.find("speech_comands")


# === Checksums and downloads ===


def test_known_archive_with_other_content(archives, tmp_path):
    """A truncated download under the official name is caught by its checksum, and both are named."""
    archive = tmp_path / "speech_commands_v0.02.tar.gz"
    archive.write_bytes((archives / "speech_commands" / GENERATED_ARCHIVE).read_bytes())
    actual, expected = hashlib.sha256(archive.read_bytes()).hexdigest(), sources.KNOWN_SHA256[archive.name]
    with pytest.raises(DataError, match=f"{actual}; expected {expected}"):
        sources.find("speech_commands", tmp_path)


def test_every_official_checksum_is_enforced_for_local_files():
    for source in sources.SOURCES.values():
        assert sources.KNOWN_SHA256.get(source.file_name) == source.sha256


@pytest.fixture
def official(monkeypatch):
    """Change facts of a source for one test, and let no proxy answer for this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def change(dataset, **facts):
        monkeypatch.setitem(sources.SOURCES, dataset, dataclasses.replace(sources.SOURCES[dataset], **facts))

    return change


@pytest.fixture
def server(archives):
    """The generated archives at an address of this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(archives))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_download_is_checked_and_kept(official, server, archives, nothing_on_this_machine):
    sha256 = hashlib.sha256((archives / "speech_commands" / GENERATED_ARCHIVE).read_bytes()).hexdigest()
    url = f"{server}/speech_commands/{GENERATED_ARCHIVE}"
    official("speech_commands", url=url, file_name=GENERATED_ARCHIVE, sha256=sha256)
    fetched = sources.find("speech_commands")
    assert fetched == nothing_on_this_machine / "speech_commands" / GENERATED_ARCHIVE
    assert sources.open_files(fetched).names
    official("speech_commands", url="http://127.0.0.1:1/never")
    assert sources.find("speech_commands") == fetched  # from the cache: nothing is asked for again


def test_download_with_a_wrong_checksum_leaves_nothing(official, server, archives, nothing_on_this_machine):
    actual = hashlib.sha256((archives / "speech_commands" / GENERATED_ARCHIVE).read_bytes()).hexdigest()
    official("speech_commands", url=f"{server}/speech_commands/{GENERATED_ARCHIVE}", sha256="0" * 64)
    with pytest.raises(DataError) as caught:
        sources.find("speech_commands")
    assert actual in str(caught.value)
    assert "0" * 64 in str(caught.value)
    assert not list((nothing_on_this_machine / "speech_commands").iterdir())


def test_address_that_does_not_exist(official, server):
    official("fsdd", url=f"{server}/absent.tar.gz")
    with pytest.raises(DataError, match="cannot be downloaded"):
        sources.find("fsdd")


def test_no_network(official, nothing_on_this_machine):
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/speech_commands_v0.02.tar.gz"
        official("speech_commands", url=url)
        with pytest.raises(DataError) as caught:
            sources.find("speech_commands")
    message = str(caught.value)
    for expected in (url, str(nothing_on_this_machine / "speech_commands"), "LSTM_ZOO_DATA"):
        assert expected in message
    assert not list((nothing_on_this_machine / "speech_commands").iterdir())


# === Reading ===


@pytest.mark.parametrize("kept", [sources.KEPT_IN_MEMORY, 0])
def test_archive_and_folder_have_the_same_content(generated, archives, monkeypatch, kept):
    monkeypatch.setattr(sources, "KEPT_IN_MEMORY", kept)
    folder = sources.open_files(generated / "speech" / "speech_commands")
    archive = sources.open_files(archives / "speech_commands" / GENERATED_ARCHIVE)
    assert folder.names == archive.names
    assert "yes/" in "".join(folder.names)
    assert dict(folder.read(folder.names)) == dict(archive.read(archive.names))


def write_tar(path, members: dict[str, bytes], kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(content), kind, "/etc/passwd"
            archive.addfile(member, io.BytesIO(content))
    return path


def test_folder_around_everything_is_left_out(tmp_path):
    """As in the archives that GitHub makes of a repository."""
    archive = write_tar(tmp_path / "a.tar.gz", {"set-26eb9aaf/recordings/a.wav": b"a", "set-26eb9aaf/notes.txt": b"n"})
    assert sources.Archive(archive).names == ("notes.txt", "recordings/a.wav")
    assert dict(sources.Archive(archive).read(["recordings/a.wav"])) == {"recordings/a.wav": b"a"}


@pytest.mark.parametrize("name", ["/etc/a.wav", "../a.wav", "yes/../../a.wav", "..\\a.wav"])
def test_member_that_points_outside(tmp_path, name):
    with pytest.raises(DataError, match="points outside"):
        sources.Archive(write_tar(tmp_path / "a.tar.gz", {name: b"a"}))


def test_links_and_hidden_files_are_not_read(tmp_path):
    assert sources.Archive(write_tar(tmp_path / "a.tar.gz", {"yes/a.wav": b""}, tarfile.SYMTYPE)).names == ()
    assert sources.Archive(write_tar(tmp_path / "b.tar.gz", {"yes/._a.wav": b"a", "yes/a.wav": b"a"})).names == (
        "a.wav",
    )


def test_too_large(tmp_path, monkeypatch):
    archive = write_tar(tmp_path / "a.tar.gz", {"yes/a.wav": bytes(600), "no/a.wav": bytes(600)})
    monkeypatch.setattr(sources, "LARGEST_ARCHIVE", 1000)
    with pytest.raises(DataError, match="unpacks to more than"):
        sources.Archive(archive)
    monkeypatch.setattr(sources, "LARGEST_MEMBER", 500)
    with pytest.raises(DataError, match="is larger than"):
        sources.Archive(archive)


def test_text_that_is_none_is_named(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "broken.tsv.gz").write_bytes(gzip.compress(b"sentence\tlabel")[:-9])
    (tmp_path / "plain.tsv.gz").write_bytes(b"sentence\tlabel")
    files = sources.open_files(tmp_path)
    for name in files.names:
        with pytest.raises(DataError, match=f"{name} is not a text file in UTF-8; fetch it again"):
            sources.read_text(files, name)
    assert dict(sources.read_texts(files, ["latin.txt"], "iso-8859-1")) == {"latin.txt": "café"}


def test_text_that_unpacks_to_too_much(tmp_path, monkeypatch):
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(bytes(1000)))
    files = sources.open_files(tmp_path)
    assert len(sources.read_text(files, "a.tsv.gz")) == 1000
    monkeypatch.setattr(sources, "LARGEST_MEMBER", 999)
    with pytest.raises(DataError, match="a.tsv.gz is not a text file"):
        sources.read_text(files, "a.tsv.gz")


@pytest.mark.parametrize("compression", ["gz", "xz", "bz2"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9])
def test_truncated_archive(generated, tmp_path, compression, share):
    path = tmp_path / f"speech_commands_v9.tar.{compression}"
    with tarfile.open(path, f"w:{compression}") as archive:
        archive.add(generated / "speech" / "speech_commands" / "yes", "yes")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match="truncated or not a tar archive"):
        sources.open_files(path)
